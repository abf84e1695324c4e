import { type Doc, ServerError } from './errors'
import { compileFilter, type Match, type Predicate } from './match'
import { show } from './show'
import { field, isDoc } from './values'

/** The paths one update may touch: none twice, none inside another, and no element by name beside all that match. */
export class Paths {
  readonly #root = new Map<string, unknown>()

  add(path: string[]): void {
    let node = this.#root as Map<string, unknown>
    for (const [i, part] of path.entries()) {
      const [sibling] = node.keys()
      if (sibling !== undefined && sibling.startsWith('$[') !== part.startsWith('$[')) throw conflict(path, i)
      const next = node.get(part)
      const last = i === path.length - 1
      if (next === null || (last && next !== undefined)) throw conflict(path, i + 1)
      if (last) node.set(part, null)
      else if (next === undefined) node.set(part, new Map())
      node = node.get(part) as Map<string, unknown>
    }
  }
}

function conflict(path: string[], length: number): ServerError {
  const at = path.slice(0, length).join('.')
  return new ServerError(40, `Updating the path '${path.join('.')}' would create a conflict at '${at}'`)
}

/** New fields appear in the order of their names, numbers by value, as since MongoDB 5.0. */
export function comparePaths(a: string[], b: string[]): number {
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    const [x, y] = [a[i]!, b[i]!]
    if (x === y) continue
    if (/^\d+$/.test(x) && /^\d+$/.test(y)) return Number(x) - Number(y)
    return x < y ? -1 : 1
  }
  return a.length - b.length
}

export function identifierOf(part: string): string | undefined {
  return /^\$\[(.+)\]$/.exec(part)?.[1]
}

export function compileArrayFilters(arrayFilters: unknown): Map<string, Predicate> {
  const filters = new Map<string, Predicate>()
  for (const filter of (arrayFilters ?? []) as Doc[]) {
    const [id, ...more] = new Set(topNames(filter))
    if (id === undefined)
      throw new ServerError(9, 'Cannot use an expression without a top-level field name in arrayFilters')
    if (more.length > 0) {
      throw new ServerError(
        9,
        `Error parsing array filter :: caused by :: Expected a single top-level field name, found '${id}' and '${more[0]}'`,
      )
    }
    if (filters.has(id))
      throw new ServerError(9, `Found multiple array filters with the same top-level field name ${id}`)
    filters.set(id, compileFilter(filter))
  }
  return filters
}

function topNames(filter: Doc): string[] {
  return Object.entries(filter).flatMap(([name, value]) =>
    name.startsWith('$') && Array.isArray(value) ? value.flatMap((part) => topNames(part as Doc)) : name.split('.')[0]!,
  )
}

/** Replaces `$`, `$[]` and `$[id]` in a path by the array positions they stand for in this document. */
export function expand(doc: Doc, path: string[], filters: Map<string, Predicate>, match: Match): string[][] {
  if (!path.some((part) => part.startsWith('$'))) return [path]
  let paths: { at: string[]; node: unknown }[] = [{ at: [], node: doc }]
  for (const part of path) {
    paths = paths.flatMap(({ at, node }) =>
      positions(part, node, at, filters, match).map((step) => ({ at: [...at, step], node: child(node, step) })),
    )
  }
  return paths.map(({ at }) => at)
}

function positions(part: string, node: unknown, at: string[], filters: Map<string, Predicate>, match: Match): string[] {
  if (!part.startsWith('$')) return [part]
  if (part === '$') {
    if (match.index === undefined) {
      throw new ServerError(2, 'The positional operator did not find the match needed from the query.')
    }
    return [String(match.index)]
  }
  const path = at.join('.')
  if (node === undefined) {
    throw new ServerError(2, `The path '${path}' must exist in the document in order to apply array updates.`)
  }
  if (!Array.isArray(node)) {
    throw new ServerError(2, `Cannot apply array updates to non-array element ${at.at(-1)}: ${show(node)}`)
  }
  const id = identifierOf(part)
  return [...node.keys()].filter((i) => id === undefined || filters.get(id)!({ [id]: node[i] })).map(String)
}

export function child(node: unknown, name: string): unknown {
  if (Array.isArray(node)) return /^\d+$/.test(name) ? node[Number(name)] : undefined
  return isDoc(node) ? field(node, name) : undefined
}

/** The container of the last part of a path; `undefined` when it does not exist and is not to be created. */
export function parentOf(doc: Doc, path: string[], create: boolean): Doc | unknown[] | undefined {
  let node: Doc | unknown[] = doc
  for (const [i, part] of path.entries()) {
    if (Array.isArray(node) && !/^\d+$/.test(part)) {
      if (!create) return undefined
      throw new ServerError(28, `Cannot create field '${part}' in element {${path[i - 1]}: ${show(node)}}`)
    }
    if (i === path.length - 1) break
    let next = child(node, part)
    if (next === undefined) {
      if (!create) return undefined
      next = {}
      put(node, part, next)
    }
    if (!isDoc(next) && !Array.isArray(next)) {
      if (!create) return undefined
      throw new ServerError(28, `Cannot create field '${path[i + 1]}' in element {${part}: ${show(next)}}`)
    }
    node = next
  }
  return node
}

export function put(node: Doc | unknown[], name: string, value: unknown): void {
  if (!Array.isArray(node)) {
    node[name] = value
    return
  }
  if (Number(name) - node.length > 1_500_000) throw new ServerError(2, `can't backfill more than 1500000 elements`)
  while (node.length < Number(name)) node.push(null)
  node[Number(name)] = value
}
