import { isOperators } from './conditions'
import { type Doc, notImplemented, ServerError } from './errors'
import { parentOf, put } from './paths'
import { clone, field, typeOf } from './values'

/** The document an upsert starts from: the equality conditions of its filter. */
export function upsertBase(filter: Doc, replacing: boolean): Doc {
  const base: Doc = {}
  const taken = new Set<string>()
  for (const [path, value] of equalities(filter).sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (replacing && path !== '_id') continue
    if (taken.has(path)) throw new ServerError(54, `cannot infer query fields to set, path '${path}' is matched twice`)
    taken.add(path)
    const parts = path.split('.')
    put(parentOf(base, parts, true)!, parts.at(-1)!, clone(value))
  }
  return base
}

function equalities(filter: Doc): [string, unknown][] {
  return Object.entries(filter).flatMap(([name, condition]): [string, unknown][] => {
    if (name === '$and') return (condition as Doc[]).flatMap(equalities)
    if (name === '$or') return (condition as Doc[]).length === 1 ? equalities((condition as Doc[])[0]!) : []
    if (name.startsWith('$') || typeOf(condition) === 'regex') return []
    if (!isOperators(condition)) return [[name, condition]]
    const list = field(condition, '$in') ?? field(condition, '$all')
    if (Array.isArray(list) && list.length === 1)
      throw notImplemented('an upsert whose filter has $in or $all of one value')
    return field(condition, '$eq') === undefined ? [] : [[name, condition.$eq]]
  })
}
