import { Double, Long } from 'bson'
import { calculate, integer, sum } from './arithmetic'
import { compare } from './compare'
import { type Doc, notImplemented, ServerError } from './errors'
import { isDoc, isInt32, isNumeric, isTrue, numeric, toNumber, typeOf } from './values'

type Arguments = unknown[]

/** How many arguments an operator takes, at least and at most. */
type Callable = { least: number; most: number; call: (args: Arguments) => unknown }

function takes(least: number, most: number, call: (args: Arguments) => unknown): Callable {
  return { least, most, call }
}

function takesAny(call: (args: Arguments) => unknown): Callable {
  return takes(0, Number.POSITIVE_INFINITY, call)
}

/** The operators that are functions of the values of their operands; `undefined` is a missing value. */
const FUNCTIONS: Record<string, Callable> = {
  $eq: comparison((result) => result === 0),
  $ne: comparison((result) => result !== 0),
  $gt: comparison((result) => result > 0),
  $gte: comparison((result) => result >= 0),
  $lt: comparison((result) => result < 0),
  $lte: comparison((result) => result <= 0),
  $cmp: comparison((result) => Math.sign(result)),
  $not: takes(1, 1, ([value]) => !isTrue(value)),

  $add: takesAny(add),
  $multiply: takesAny((args) => {
    const numbers = numbersOf('$multiply', args)
    return numbers === null ? null : calculate('multiply', [1, ...numbers])
  }),
  $subtract: takes(2, 2, subtract),
  $divide: takes(2, 2, ([dividend, divisor]) => {
    if (!areNumbers('$divide', 14, dividend, divisor)) return null
    if (toNumber(divisor) === 0) throw new ServerError(2, "can't $divide by zero")
    return new Double(toNumber(dividend) / toNumber(divisor))
  }),
  $mod: takes(2, 2, ([dividend, divisor]) => {
    if (!areNumbers('$mod', 16611, dividend, divisor)) return null
    if (toNumber(divisor) === 0) throw new ServerError(16610, "can't $mod by zero")
    // An int stays one beside a double that is as good as an int.
    const whole = typeOf(dividend) !== 'double' && typeOf(divisor) === 'double' && isInt32(toNumber(divisor))
    return calculate('remainder', [dividend, whole ? toNumber(divisor) : divisor])
  }),
  $abs: takes(1, 1, ([value]) =>
    rounded('$abs', value, Math.abs, (number) => {
      const result = integer(number < 0n ? -number : number, typeOf(value))
      if (result === undefined) throw new ServerError(28680, "can't take $abs of long long min")
      return result
    }),
  ),
  $ceil: takes(1, 1, ([value]) => rounded('$ceil', value, Math.ceil, () => value)),
  $floor: takes(1, 1, ([value]) => rounded('$floor', value, Math.floor, () => value)),

  $arrayElemAt: takes(2, 2, ([list, position]) => {
    if (isNullish(list) || isNullish(position)) return null
    if (!isNumeric(position)) throw new ServerError(28690, `$arrayElemAt's second argument must be numeric`)
    return arrayOf('$arrayElemAt', 28689, list).at(int32('$arrayElemAt', 28691, position))
  }),
  $first: takes(1, 1, ([list]) => (isNullish(list) ? null : arrayOf('$first', 28689, list)[0])),
  $last: takes(1, 1, ([list]) => (isNullish(list) ? null : arrayOf('$last', 28689, list).at(-1))),
  $concatArrays: takesAny((lists) =>
    join<unknown[]>(lists, [], (joined, list) => [...joined, ...arrayOf('$concatArrays', 28664, list)]),
  ),
  $in: takes(2, 2, ([item, list]) => arrayOf('$in', 40081, list).some((member) => order(member, item) === 0)),
  $isArray: takes(1, 1, ([value]) => Array.isArray(value)),
  $size: takes(1, 1, ([list]) => arrayOf('$size', 17124, list).length),
  $slice: takes(2, 3, slice),

  $concat: takesAny((texts) => join(texts, '', (joined, text) => joined + textOf('$concat', 16702, text))),
  $strLenCP: takes(1, 1, ([text]) => [...textOf('$strLenCP', 34471, text)].length),
  $substrCP: takes(3, 3, ([text, start, length]) => {
    if (!isNumeric(start)) throw new ServerError(34450, '$substrCP: starting index must be a numeric type')
    if (!isNumeric(length)) throw new ServerError(34452, '$substrCP: length must be a numeric type')
    const [from, count] = [int32('$substrCP', 34451, start), int32('$substrCP', 34453, length)]
    if (count < 0) throw new ServerError(34454, '$substrCP: length must be a nonnegative integer.')
    if (from < 0) throw new ServerError(34455, '$substrCP: the starting index must be nonnegative integer.')
    return [...asText('$substrCP', text)].slice(from, from + count).join('')
  }),
  // Only ASCII letters have a case here.
  $toLower: takes(1, 1, ([text]) => asText('$toLower', text).replace(/[A-Z]/g, (letter) => letter.toLowerCase())),
  $toUpper: takes(1, 1, ([text]) => asText('$toUpper', text).replace(/[a-z]/g, (letter) => letter.toUpperCase())),

  $type: takes(1, 1, ([value]) => (value === undefined ? 'missing' : typeOf(value))),
  $objectToArray: takes(1, 1, ([value]) => {
    if (isNullish(value)) return null
    if (isDoc(value)) return Object.entries(value).map(([k, v]) => ({ k, v }))
    throw new ServerError(40390, `$objectToArray requires a document input, found: ${typeOf(value)}`)
  }),
  $mergeObjects: takesAny((args) => {
    const docs = args.length === 1 && Array.isArray(args[0]) ? args[0] : args
    return Object.assign({}, ...docs.filter((doc) => !isNullish(doc)).map(docOf))
  }),
}

export function isFunction(name: string): boolean {
  return Object.hasOwn(FUNCTIONS, name)
}

export function callFunction(name: string, count: number): (args: Arguments) => unknown {
  const { least, most, call } = FUNCTIONS[name]!
  checkCount(name, count, least, most)
  return call
}

/** @throws {ServerError} 16020 or 28667 when an operator does not take that many arguments */
export function checkCount(name: string, count: number, least: number, most: number): void {
  if (count >= least && count <= most) return
  if (least === most)
    throw new ServerError(16020, `Expression ${name} takes exactly ${least} arguments. ${count} were passed in.`)
  throw new ServerError(
    28667,
    `Expression ${name} takes at least ${least} arguments, and at most ${most}, but ${count} were passed in.`,
  )
}

function isNullish(value: unknown): value is null | undefined {
  return value === undefined || value === null
}

/** A missing value comes before all others, null included. */
function order(a: unknown, b: unknown): number {
  if (a === undefined || b === undefined) return (a === undefined ? 0 : 1) - (b === undefined ? 0 : 1)
  return compare(a, b)
}

function comparison(holds: (result: number) => unknown): Callable {
  return takes(2, 2, ([a, b]) => holds(order(a, b)))
}

/** The arguments up to the first that is null, which makes the whole result null. */
function numbersOf(name: string, args: Arguments): unknown[] | null {
  for (const arg of args) {
    if (isNullish(arg)) return null
    if (!isNumeric(arg)) throw new ServerError(14, `${name} only supports numeric types, not ${typeOf(arg)}`)
  }
  return args
}

function areNumbers(name: string, code: number, ...args: Arguments): boolean {
  if (args.some((arg) => typeOf(arg) === 'decimal')) throw notImplemented('arithmetic with Decimal128')
  if (args.every(isNumeric)) return true
  if (args.some(isNullish)) return false
  throw new ServerError(code, `${name} only supports numeric types, not ${args.map(typeOf).join(' and ')}`)
}

function add(args: Arguments): unknown {
  const isDate = (arg: unknown) => arg instanceof Date
  const numbers = numbersOf(
    '$add',
    args.map((arg) => (isDate(arg) ? Long.fromNumber(arg.getTime()) : arg)),
  )
  if (numbers === null) return null
  const dates = args.filter(isDate).length
  if (dates > 1) throw new ServerError(16612, 'only one date allowed in an $add expression')
  return dates === 0 ? sum(numbers) : new Date(Math.round(toNumber(sum(numbers))))
}

function subtract([a, b]: Arguments): unknown {
  if (isNullish(a) || isNullish(b)) return null
  if (isNumeric(a) && isNumeric(b)) return calculate('subtract', [a, b])
  if (a instanceof Date && b instanceof Date) return Long.fromNumber(a.getTime() - b.getTime())
  if (a instanceof Date && isNumeric(b)) return new Date(a.getTime() - Math.round(toNumber(b)))
  throw new ServerError(14, `can't $subtract ${typeOf(b)} from ${typeOf(a)}`)
}

/** A function of one number that keeps its type. */
function rounded(
  name: string,
  value: unknown,
  double: (value: number) => number,
  whole: (value: bigint) => unknown,
): unknown {
  if (isNullish(value)) return null
  if (!isNumeric(value)) throw new ServerError(28765, `${name} only supports numeric types, not ${typeOf(value)}`)
  if (typeOf(value) === 'decimal') throw notImplemented('arithmetic with Decimal128')
  return typeOf(value) === 'double' ? new Double(double(toNumber(value))) : whole(BigInt(numeric(value)))
}

function slice(args: Arguments): unknown {
  if (args.some(isNullish)) return null
  const [list, first, second] = args
  const items = arrayOf('$slice', 28724, list)
  if (!isNumeric(first)) throw new ServerError(28725, 'Second argument to $slice must be a numeric value')
  const start = int32('$slice', 28726, first)
  if (args.length === 2) return start < 0 ? items.slice(start) : items.slice(0, start)
  if (!isNumeric(second)) throw new ServerError(28727, 'Third argument to $slice must be numeric')
  const length = int32('$slice', 28728, second)
  if (length <= 0) throw new ServerError(28729, 'Third argument to $slice must be positive')
  const from = start < 0 ? Math.max(0, items.length + start) : start
  return items.slice(from, from + length)
}

function join<T>(args: Arguments, start: T, add: (joined: T, arg: unknown) => T): T | null {
  let joined = start
  for (const arg of args) {
    if (isNullish(arg)) return null
    joined = add(joined, arg)
  }
  return joined
}

function arrayOf(name: string, code: number, value: unknown): unknown[] {
  if (Array.isArray(value)) return value
  throw new ServerError(code, `the argument to ${name} must be an array, but was of type: ${typeOf(value)}`)
}

function textOf(name: string, code: number, value: unknown): string {
  if (typeof value === 'string') return value
  throw new ServerError(code, `${name} requires a string argument, found: ${typeOf(value)}`)
}

function asText(name: string, value: unknown): string {
  if (isNullish(value)) return ''
  if (typeof value === 'string') return value
  throw notImplemented(`${name} of ${typeOf(value)}`)
}

function docOf(value: unknown): Doc {
  if (isDoc(value)) return value
  throw new ServerError(40400, `$mergeObjects requires object inputs, but input is of type ${typeOf(value)}`)
}

function int32(name: string, code: number, value: unknown): number {
  const number = toNumber(value)
  if (isInt32(number)) return number
  throw new ServerError(code, `${name} needs a number that is a 32-bit integer: ${number}`)
}
