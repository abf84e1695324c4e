import { isOperators } from './conditions'
import { type Doc, ServerError } from './errors'
import { parentOf, put } from './paths'
import { clone, field, isDoc, typeOf } from './values'

/** The document an upsert starts from: the equality conditions of its filter. */
export function upsertBase(filter: Doc, replacing: boolean): Doc {
  const base: Doc = {}
  const taken: string[] = []
  for (const [path, value] of equalities(filter).sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (replacing && path.split('.')[0] !== '_id') continue
    if (replacing && path !== '_id')
      throw new ServerError(55, `field at '_id' must be exactly specified, not '${path}'`)
    const other = taken.find((prefix) => `${path}.`.startsWith(`${prefix}.`))
    if (other !== undefined)
      throw new ServerError(54, `cannot infer query fields to set, both paths '${path}' and '${other}' are matched`)
    taken.push(path)
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
    return Object.entries(condition)
      .flatMap(([operator, operand]) => equalTo(operator, operand))
      .map((value) => [name, value])
  })
}

/** The values one operator compares with for equality: the server takes `$in` of one value for `$eq`. */
function equalTo(operator: string, operand: unknown): unknown[] {
  if (operator === '$eq') return [operand]
  if (!Array.isArray(operand) || !(operator === '$all' || (operator === '$in' && operand.length === 1))) return []
  return operand.filter((item) => typeOf(item) !== 'regex' && !(isDoc(item) && field(item, '$elemMatch') !== undefined))
}
