import { compare } from './compare'
import { type Doc, notImplemented, ServerError } from './errors'
import { field, isDoc, isNumeric, toNumber } from './values'

/** Sorts by a MongoDB sort pattern: missing is null, an array sorts by its least (or, descending, greatest) element. */
export function sortBy<T>(pattern: Doc, items: T[], docOf: (item: T) => Doc): T[] {
  const keys = Object.entries(pattern).map(([path, order]) => {
    if (isDoc(order)) throw notImplemented('sorting by $meta')
    const direction = isNumeric(order) ? toNumber(order) : 0
    if (direction !== 1 && direction !== -1) {
      throw new ServerError(15975, `$sort key ordering must be 1 (for ascending) or -1 (for descending)`)
    }
    return { path: path.split('.'), direction }
  })
  const rows = items.map((item) => ({
    item,
    values: keys.map(({ path, direction }) => sortValue(docOf(item), path, direction)),
  }))
  rows.sort((a, b) => {
    for (const [i, { direction }] of keys.entries()) {
      const result = compareSortValues(a.values[i], b.values[i])
      if (result !== 0) return direction * result
    }
    return 0
  })
  return rows.map(({ item }) => item)
}

/** An empty array, which is `undefined` here, sorts before null. */
function compareSortValues(a: unknown, b: unknown): number {
  if (a === undefined || b === undefined) return (a === undefined ? 0 : 1) - (b === undefined ? 0 : 1)
  return compare(a, b)
}

function sortValue(doc: Doc, path: string[], direction: number): unknown {
  const values = [...indexValues(doc, path, 0)]
  return values.reduce((best, value) => (direction * compareSortValues(value, best) < 0 ? value : best))
}

/**
 * The values a path contributes to an index and to a sort: one, or one for every element of an array on the way. An
 * empty array counts as `undefined`, a missing field as null.
 */
export function indexValues(node: unknown, path: string[], at: number): unknown[] {
  const name = path[at]
  if (Array.isArray(node)) {
    if (name !== undefined && /^\d+$/.test(name)) return indexValues(node[Number(name)], path, at + 1)
    if (node.length === 0) return [undefined]
    return node.flatMap((item) => (name === undefined ? [item] : indexValues(isDoc(item) ? item : undefined, path, at)))
  }
  if (name === undefined) return [node ?? null]
  return isDoc(node) ? indexValues(field(node, name), path, at + 1) : [null]
}
