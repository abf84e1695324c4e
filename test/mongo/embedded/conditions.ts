import { BSONRegExp } from 'bson'
import { compare } from './compare'
import { type Doc, notImplemented, ServerError } from './errors'
import { isDoc, isNumeric, rankOf, TYPE_NUMBERS, toInt64, toNumber, typeOf } from './values'

/** A test of one value. `match` is for `$elemMatch`, to note which element it found. */
export type Test = (value: unknown, match?: Match) => boolean

/** Filled while a filter matches: the array position that `$` in an update stands for. */
export type Match = { index?: number }

/** Whether a value is `{ $gt: … }` and the like; `{ $ref, $id }` is a value. */
export function isOperators(value: unknown): value is Doc {
  return isDoc(value) && Object.keys(value)[0]?.startsWith('$') === true && !('$ref' in value && '$id' in value)
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

export function regexTest(operand: unknown): Test {
  if (!(operand instanceof BSONRegExp)) throw new ServerError(2, '$regex has to be a string')
  const { pattern, options } = operand
  if (!/^[imsu]*$/.test(options)) throw notImplemented(`regular expression options ${options}`)
  const regex = compileRegex(pattern, options)
  return (value) => {
    if (typeof value === 'string') return regex.test(value)
    return value instanceof BSONRegExp && value.pattern === pattern && value.options === options
  }
}

function compileRegex(pattern: string, options: string): RegExp {
  try {
    return new RegExp(pattern, options)
  } catch {
    throw notImplemented(`the regular expression ${pattern}`)
  }
}

/** The regular expression of `$regex` and `$options`. */
export function regexOf(condition: Doc): BSONRegExp {
  const { $regex, $options } = condition
  if ($options !== undefined && typeof $options !== 'string') throw new ServerError(2, '$options has to be a string')
  if (!/^[imsux]*$/.test($options ?? '')) throw new ServerError(51108, `invalid flag in regex options: ${$options}`)
  if (typeof $regex === 'string') return new BSONRegExp($regex, $options)
  if (!($regex instanceof BSONRegExp)) throw new ServerError(2, '$regex has to be a string')
  if (!$regex.options) return new BSONRegExp($regex.pattern, $options)
  if (!$options) return $regex
  const names = Object.keys(condition)
  throw new ServerError(
    names.indexOf('$regex') < names.indexOf('$options') ? 51075 : 51074,
    'options set in both $regex and $options',
  )
}

export function typeTest(operand: unknown): Test {
  const names = typesNamed(operand)
  if (names.length === 0) throw new ServerError(9, '$type must match at least one type')
  return (value) => names.includes(typeOf(value)) || (names.includes('number') && isNumeric(value))
}

export function typesNamed(operand: unknown): string[] {
  return (Array.isArray(operand) ? operand : [operand]).map(typeNamed)
}

function typeNamed(type: unknown): string {
  if (isNumeric(type)) {
    const name = TYPE_NUMBERS[toNumber(type)]
    if (name === undefined) throw new ServerError(2, `Invalid numerical type code: ${toNumber(type)}`)
    return name
  }
  if (typeof type !== 'string') throw new ServerError(14, 'type must be represented as a number or a string')
  if (type !== 'number' && !Object.values(TYPE_NUMBERS).includes(type))
    throw new ServerError(2, `Unknown type name alias: ${type}`)
  return type
}

export function sizeTest(operand: unknown): Test {
  const size = isNumeric(operand) ? toNumber(operand) : Number.NaN
  if (!Number.isInteger(size) || size < 0)
    throw new ServerError(2, `Failed to parse $size. Expected a non-negative integer in: $size: ${operand}`)
  return (value) => Array.isArray(value) && value.length === size
}

export function modulo(operand: unknown): Test {
  if (!Array.isArray(operand) || operand.length !== 2)
    throw new ServerError(2, 'malformed mod, needs to be an array of two')
  const [divisor, remainder] = operand.map((item) => {
    const integer = isNumeric(item) ? toInt64(item) : undefined
    if (integer === undefined) throw new ServerError(2, 'malformed mod, divisor and remainder must be 64-bit integers')
    return integer
  }) as [bigint, bigint]
  if (divisor === 0n) throw new ServerError(2, 'divisor cannot be 0')
  return (value) => {
    const dividend = isNumeric(value) ? toInt64(value) : undefined
    return dividend !== undefined && dividend % divisor === remainder
  }
}
