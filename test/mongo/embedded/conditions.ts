import { BSONRegExp } from 'bson'
import { compare } from './compare'
import { type Doc, notImplemented, ServerError } from './errors'
import { isDoc, isNumeric, isTypeName, rankOf, TYPE_NUMBERS, toNumber, typeOf } from './values'

export type Test = (value: unknown) => boolean

/** Whether a value is `{ $gt: … }` and the like; `{ $ref, $id }` is a value. */
export function isOperators(value: unknown): value is Doc {
  if (!isDoc(value)) return false
  const first = Object.keys(value)[0]
  return first?.startsWith('$') === true && !['$ref', '$id', '$db'].includes(first)
}

export function equals(operand: unknown): Test {
  const rank = rankOf(operand)
  return (value) => rankOf(value) === rank && compare(value, operand) === 0
}

export function isIn(name: string, operand: unknown): Test {
  if (!Array.isArray(operand)) throw new ServerError(2, `${name} needs an array`)
  const tests = operand.map((item) => {
    if (isOperators(item)) throw new ServerError(2, `cannot nest $ under ${name}`)
    return typeOf(item) === 'regex' ? regexTest(item) : equals(item)
  })
  return (value) => tests.some((test) => test(value))
}

/** Ranges compare within one type only. */
export function range(name: '$gt' | '$gte' | '$lt' | '$lte', operand: unknown): Test {
  const type = typeOf(operand)
  if (type === 'regex') throw new ServerError(2, `Can't have RegEx as arg to predicate over field`)
  if (type === 'minKey' || type === 'maxKey') throw notImplemented(`${name} of ${type}`)
  const isNaNOperand = isNumeric(operand) && Number.isNaN(toNumber(operand))
  const rank = rankOf(operand)
  return (value) => {
    if (rankOf(value) !== rank) return false
    const result = compare(value, operand)
    if (result === 0) return name === '$gte' || name === '$lte'
    // NaN sorts below every number, yet no number is greater or less than it.
    if (isNaNOperand || (isNumeric(value) && Number.isNaN(toNumber(value)))) return false
    return result > 0 ? name === '$gt' || name === '$gte' : name === '$lt' || name === '$lte'
  }
}

export function regexTest(operand: unknown, options?: unknown): Test {
  if (!(operand instanceof BSONRegExp) && typeof operand !== 'string')
    throw new ServerError(2, '$regex has to be a string')
  const source = operand instanceof BSONRegExp ? operand.pattern : operand
  const flags = options === undefined ? (operand instanceof BSONRegExp ? operand.options : '') : String(options)
  if (!/^[imsu]*$/.test(flags)) throw notImplemented(`regular expression options ${flags}`)
  const regex = new RegExp(source, flags)
  return (value) => {
    if (typeof value === 'string') return regex.test(value)
    return value instanceof BSONRegExp && value.pattern === source && value.options === flags
  }
}

export function typeTest(operand: unknown): Test {
  const names = (Array.isArray(operand) ? operand : [operand]).map((item) => {
    const name = isNumeric(item) ? TYPE_NUMBERS[toNumber(item)] : item
    if (typeof name !== 'string' || (name !== 'number' && !isTypeName(name))) {
      throw new ServerError(2, `Unknown type name alias: ${item}`)
    }
    return name
  })
  return (value) => names.includes(typeOf(value)) || (names.includes('number') && isNumeric(value))
}

export function modulo(operand: unknown): Test {
  if (!Array.isArray(operand) || operand.length !== 2)
    throw new ServerError(2, 'malformed mod, needs to be an array of two')
  const [divisor, remainder] = operand.map((item) => Math.trunc(toNumber(item))) as [number, number]
  if (divisor === 0) throw new ServerError(2, 'divisor cannot be 0')
  return (value) => isNumeric(value) && Math.trunc(toNumber(value)) % divisor === remainder
}
