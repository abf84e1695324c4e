import { type Binary, Decimal128, Double, Int32, Long, type ObjectId, type Timestamp } from 'bson'
import { type Doc, notImplemented, ServerError } from './errors'

/** MongoDB's names of the BSON types (`$type`), with the place of each in the comparison order. */
const RANKS = {
  minKey: 0,
  missing: 1,
  null: 1,
  int: 2,
  long: 2,
  double: 2,
  decimal: 2,
  symbol: 3,
  string: 3,
  object: 4,
  array: 5,
  binData: 6,
  objectId: 7,
  bool: 8,
  date: 9,
  timestamp: 10,
  regex: 11,
  dbPointer: 12,
  javascript: 13,
  maxKey: 14,
} as const

export type TypeName = keyof typeof RANKS

const TYPE_OF_TAG: Record<string, TypeName> = {
  Int32: 'int',
  Long: 'long',
  Double: 'double',
  Decimal128: 'decimal',
  ObjectId: 'objectId',
  Binary: 'binData',
  UUID: 'binData',
  Timestamp: 'timestamp',
  BSONRegExp: 'regex',
  BSONSymbol: 'symbol',
  Code: 'javascript',
  DBRef: 'dbPointer',
  MinKey: 'minKey',
  MaxKey: 'maxKey',
}

/** The numbers by which `$type` also knows the types. */
export const TYPE_NUMBERS: Record<number, TypeName> = {
  1: 'double',
  2: 'string',
  3: 'object',
  4: 'array',
  5: 'binData',
  7: 'objectId',
  8: 'bool',
  9: 'date',
  10: 'null',
  11: 'regex',
  13: 'javascript',
  14: 'symbol',
  16: 'int',
  17: 'timestamp',
  18: 'long',
  19: 'decimal',
  [-1]: 'minKey',
  127: 'maxKey',
}

export function isTypeName(name: string): name is TypeName {
  return name !== 'missing' && Object.hasOwn(RANKS, name)
}

export function typeOf(value: unknown): TypeName {
  switch (typeof value) {
    case 'string':
      return 'string'
    case 'boolean':
      return 'bool'
    case 'number':
      return isInt32(value) ? 'int' : 'double'
    case 'bigint':
      return 'long'
    case 'undefined':
      return 'missing'
  }
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'array'
  if (value instanceof Date) return 'date'
  return TYPE_OF_TAG[(value as { _bsontype?: string })._bsontype ?? ''] ?? 'object'
}

export function isInt32(value: number): boolean {
  return (value | 0) === value && !Object.is(value, -0)
}

export function isDoc(value: unknown): value is Doc {
  return typeOf(value) === 'object'
}

export function rankOf(value: unknown): number {
  return RANKS[typeOf(value)]
}

export function isNumeric(value: unknown): boolean {
  return rankOf(value) === RANKS.int
}

/** The own field of a document, never something inherited from `Object.prototype`. */
export function field(doc: Doc, name: string): unknown {
  return Object.hasOwn(doc, name) ? doc[name] : undefined
}

/** A number option of a command, whichever BSON number type it came as. */
export function toNumber(value: unknown): number {
  const exact = numeric(value)
  return typeof exact === 'bigint' ? Number(exact) : exact
}

export function isTrue(value: unknown): boolean {
  return isNumeric(value) ? toNumber(value) !== 0 : value !== undefined && value !== null && value !== false
}

/** JavaScript compares `number` with `bigint` exactly, so 64-bit integers need no rounding. */
function numeric(value: unknown): number | bigint {
  if (typeof value === 'number' || typeof value === 'bigint') return value
  if (value instanceof Int32 || value instanceof Double) return value.value
  if (value instanceof Long) return value.toBigInt()
  if (value instanceof Decimal128) {
    const text = value.toString()
    if (/^-?\d{1,30}$/.test(text)) return BigInt(text)
    throw notImplemented('comparing Decimal128 values that are not plain integers')
  }
  throw new ServerError(14, `expected a number, got ${typeOf(value)}`)
}

function order(a: number | bigint | string | boolean, b: number | bigint | string | boolean): number {
  return a < b ? -1 : a > b ? 1 : 0
}

function compareNumbers(a: unknown, b: unknown): number {
  if (a instanceof Decimal128 && b instanceof Decimal128 && a.bytes.every((byte, i) => byte === b.bytes[i])) return 0
  const [x, y] = [numeric(a), numeric(b)]
  if (Number.isNaN(x) || Number.isNaN(y)) return order(Number.isNaN(x) ? 0 : 1, Number.isNaN(y) ? 0 : 1)
  return order(x, y)
}

/** MongoDB orders strings by their UTF-8 bytes, which differs from UTF-16 order beyond the basic plane. */
function compareStrings(a: string, b: string): number {
  if (a === b) return 0
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}

function bytesOf(value: Binary): Uint8Array {
  return value.buffer.subarray(0, value.position)
}

/** MongoDB's comparison order across all BSON types, for sorts, ranges, `$min` and `$max`. Equal is 0. */
export function compare(a: unknown, b: unknown): number {
  if (a === b) return 0
  const rank = rankOf(a)
  const difference = rank - rankOf(b)
  if (difference !== 0) return difference
  switch (rank) {
    case RANKS.int:
      return compareNumbers(a, b)
    case RANKS.string:
      return compareStrings(String(a), String(b))
    case RANKS.object:
      return compareDocs(a as Doc, b as Doc)
    case RANKS.array:
      return compareArrays(a as unknown[], b as unknown[])
    case RANKS.binData: {
      const [x, y] = [a as Binary, b as Binary]
      return x.position - y.position || x.sub_type - y.sub_type || Buffer.compare(bytesOf(x), bytesOf(y))
    }
    case RANKS.objectId:
      return order((a as ObjectId).toHexString(), (b as ObjectId).toHexString())
    case RANKS.bool:
      return order(a as boolean, b as boolean)
    case RANKS.date:
      return order((a as Date).getTime(), (b as Date).getTime())
    case RANKS.timestamp:
      return (a as Timestamp).compare(b as Timestamp)
    case RANKS.minKey:
    case RANKS.missing:
    case RANKS.maxKey:
      return 0
    default:
      return order(keyOf(a), keyOf(b))
  }
}

function compareArrays(a: unknown[], b: unknown[]): number {
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    const result = compare(a[i], b[i])
    if (result !== 0) return result
  }
  return a.length - b.length
}

/** Documents compare field by field in their order: type first, then name, then value. */
function compareDocs(a: Doc, b: Doc): number {
  const [fieldsA, fieldsB] = [Object.entries(a), Object.entries(b)]
  for (let i = 0; i < Math.min(fieldsA.length, fieldsB.length); i++) {
    const [nameA, valueA] = fieldsA[i]!
    const [nameB, valueB] = fieldsB[i]!
    const result = rankOf(valueA) - rankOf(valueB) || compareStrings(nameA, nameB) || compare(valueA, valueB)
    if (result !== 0) return result
  }
  return fieldsA.length - fieldsB.length
}

/** A string that two values share exactly when `compare` calls them equal: the key of index maps. */
export function keyOf(value: unknown): string {
  switch (typeOf(value)) {
    case 'missing':
    case 'null':
      return 'null'
    case 'string':
    case 'symbol':
      return JSON.stringify(String(value))
    case 'int':
    case 'long':
    case 'double':
    case 'decimal': {
      const number = numeric(value)
      return `n${typeof number === 'number' && Number.isInteger(number) ? BigInt(number) : number}`
    }
    case 'object':
      return `{${Object.entries(value as Doc).map(([name, inner]) => `${JSON.stringify(name)}:${keyOf(inner)}`)}}`
    case 'array':
      return `[${(value as unknown[]).map(keyOf)}]`
    case 'objectId':
      return `o${(value as ObjectId).toHexString()}`
    case 'binData': {
      const binary = value as Binary
      return `b${binary.sub_type}:${Buffer.from(bytesOf(binary)).toString('base64')}`
    }
    case 'bool':
      return String(value)
    case 'date':
      return `d${(value as Date).getTime()}`
    case 'timestamp':
      return `t${(value as Timestamp).toBigInt()}`
    default:
      return `${typeOf(value)}:${JSON.stringify(value)}`
  }
}

/** Whether two values are the same bytes: stricter than `compare`, which calls an int and a double equal. */
export function identical(a: unknown, b: unknown): boolean {
  if (a === b) return true
  const type = typeOf(a)
  if (type !== typeOf(b)) return false
  if (type === 'array') {
    const [x, y] = [a as unknown[], b as unknown[]]
    return x.length === y.length && x.every((item, i) => identical(item, y[i]))
  }
  if (type === 'object') {
    const [x, y] = [Object.entries(a as Doc), Object.entries(b as Doc)]
    return x.length === y.length && x.every(([name, value], i) => name === y[i]![0] && identical(value, y[i]![1]))
  }
  if (type === 'decimal') return (a as Decimal128).toString() === (b as Decimal128).toString()
  if (type === 'double') return Object.is(toNumber(a), toNumber(b))
  return keyOf(a) === keyOf(b)
}

/** Copies the containers only: leaves are never changed in place, so they may be shared. */
export function clone<T>(value: T): T {
  if (Array.isArray(value)) return value.map(clone) as T
  if (!isDoc(value)) return value
  const copy: Doc = {}
  for (const name of Object.keys(value)) copy[name] = clone(value[name])
  return copy as T
}

const INT64_MAX = 2n ** 63n - 1n

/** `$inc` and `$mul` with MongoDB's result types: the wider of the two, and int widening to long on overflow. */
export function arithmetic(operator: '$inc' | '$mul', a: unknown, b: unknown): Int32 | Long | Double {
  const types = [typeOf(a), typeOf(b)]
  if (types.includes('decimal')) throw notImplemented(`${operator} with Decimal128`)
  if (types.includes('double')) {
    const [x, y] = [toNumber(a), toNumber(b)]
    return new Double(operator === '$inc' ? x + y : x * y)
  }
  const [x, y] = [BigInt(numeric(a)), BigInt(numeric(b))]
  const result = operator === '$inc' ? x + y : x * y
  if (!types.includes('long') && isInt32(Number(result))) return new Int32(Number(result))
  if (result > INT64_MAX || result < -INT64_MAX - 1n) {
    throw new ServerError(2, `Failed to apply ${operator} operations to current value: overflow of a 64-bit integer`)
  }
  return Long.fromBigInt(result)
}

/** A JavaScript number as the driver would send it. */
export function fromNumber(value: number): Int32 | Double {
  return isInt32(value) ? new Int32(value) : new Double(value)
}

/** A value as MongoDB prints it in messages: `{ name: "x" }`. */
export function show(value: unknown): string {
  switch (typeOf(value)) {
    case 'missing':
      return 'null'
    case 'string':
      return JSON.stringify(value)
    case 'object': {
      const fields = Object.entries(value as Doc).map(([name, inner]) => `${name}: ${show(inner)}`)
      return fields.length === 0 ? '{}' : `{ ${fields.join(', ')} }`
    }
    case 'array':
      return `[ ${(value as unknown[]).map(show).join(', ')} ]`
    case 'objectId':
      return `ObjectId('${(value as ObjectId).toHexString()}')`
    case 'double': {
      const number = toNumber(value)
      return Number.isInteger(number) ? number.toFixed(1) : String(number)
    }
    case 'date':
      return `new Date(${(value as Date).getTime()})`
    case 'binData':
      return `BinData(${(value as Binary).sub_type}, ${Buffer.from(bytesOf(value as Binary))
        .toString('hex')
        .toUpperCase()})`
    default:
      return String(value)
  }
}
