import { Decimal128, Double, Int32, Long } from 'bson'
import { type Doc, notImplemented, ServerError } from './errors'

/** MongoDB's names of the BSON types (`$type`), with the place of each in the comparison order. */
export const RANKS = {
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

type TypeName = keyof typeof RANKS

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

/** The numbers by which `$type` also knows the types. No value here has the types that are deprecated. */
export const TYPE_NUMBERS: Record<number, string> = {
  1: 'double',
  2: 'string',
  3: 'object',
  4: 'array',
  5: 'binData',
  6: 'undefined',
  7: 'objectId',
  8: 'bool',
  9: 'date',
  10: 'null',
  11: 'regex',
  12: 'dbPointer',
  13: 'javascript',
  14: 'symbol',
  15: 'javascriptWithScope',
  16: 'int',
  17: 'timestamp',
  18: 'long',
  19: 'decimal',
  [-1]: 'minKey',
  127: 'maxKey',
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
export function numeric(value: unknown): number | bigint {
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

const INT64 = 2n ** 63n

/** A number without its fraction; `undefined` when that is none of 64 bits. */
export function toInt64(value: unknown): bigint | undefined {
  const exact = numeric(value)
  if (typeof exact === 'number' && !Number.isFinite(exact)) return undefined
  const integer = typeof exact === 'bigint' ? exact : BigInt(Math.trunc(exact))
  return integer >= -INT64 && integer < INT64 ? integer : undefined
}

/** A JavaScript number as the driver would send it. */
export function fromNumber(value: number): Int32 | Double {
  return isInt32(value) ? new Int32(value) : new Double(value)
}

/** Copies the containers only: leaves are never changed in place, so they may be shared. */
export function clone<T>(value: T): T {
  if (Array.isArray(value)) return value.map(clone) as T
  if (!isDoc(value)) return value
  const copy: Doc = {}
  for (const name of Object.keys(value)) copy[name] = clone(value[name])
  return copy as T
}
