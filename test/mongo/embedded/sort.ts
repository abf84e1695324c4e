import { compare } from './compare'
import { type Doc, notImplemented, ServerError } from './errors'
import { keysOf } from './keys'
import { isDoc, isNumeric, toNumber } from './values'

/**
 * Sorts by a MongoDB sort pattern: missing is null, and of an array (on the way of one path or of several) the element
 * counts that comes first.
 */
export function sortBy<T>(pattern: Doc, items: T[], docOf: (item: T) => Doc): T[] {
  const keys = Object.entries(pattern).map(([path, order]) => {
    if (isDoc(order)) throw notImplemented('sorting by $meta')
    if (path.startsWith('$'))
      throw new ServerError(16410, `FieldPath field names may not start with '$', found ${path}`)
    const direction = isNumeric(order) ? toNumber(order) : 0
    if (direction !== 1 && direction !== -1) {
      throw new ServerError(15975, `$sort key ordering must be 1 (for ascending) or -1 (for descending)`)
    }
    return { path: path.split('.'), direction }
  })
  const order = (a: unknown[], b: unknown[]): number => {
    for (const [i, { direction }] of keys.entries()) {
      const result = compareSortValues(a[i], b[i])
      if (result !== 0) return direction * result
    }
    return 0
  }
  const paths = keys.map(({ path }) => path)
  const rows = items.map((item) => ({
    item,
    key: sortKeysOf(docOf(item), paths).reduce((best, key) => (order(key, best) < 0 ? key : best)),
  }))
  return rows.sort((a, b) => order(a.key, b.key)).map(({ item }) => item)
}

function sortKeysOf(doc: Doc, paths: string[][]): unknown[][] {
  try {
    return keysOf(doc, paths)
  } catch (error) {
    if (!(error instanceof ServerError) || error.code !== 171) throw error
    throw new ServerError(2, 'cannot sort with keys that are parallel arrays')
  }
}

/** Whether a sort pattern asks for the order of insertion, and in which direction. */
export function naturalOrder(pattern: Doc | undefined): number | undefined {
  if (pattern?.$natural === undefined) return undefined
  const direction = isNumeric(pattern.$natural) ? toNumber(pattern.$natural) : 0
  if (Math.abs(direction) !== 1) {
    throw new ServerError(2, '$natural sort cannot be set to a value other than -1 or 1.')
  }
  if (Object.keys(pattern).length > 1) throw new ServerError(2, "Cannot include '$natural' in compound sort")
  return direction
}

/** An empty array, which is `undefined` here, sorts before null. */
function compareSortValues(a: unknown, b: unknown): number {
  if (a === undefined || b === undefined) return (a === undefined ? 0 : 1) - (b === undefined ? 0 : 1)
  return compare(a, b)
}
