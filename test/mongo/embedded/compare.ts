import { type Binary, Decimal128, type ObjectId, type Timestamp } from 'bson'
import type { Doc } from './errors'
import { numeric, RANKS, rankOf, toNumber, typeOf } from './values'

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

export function bytesOf(value: Binary): Uint8Array {
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
    const [x, y] = [a as Doc, b as Doc]
    const [names, others] = [Object.keys(x), Object.keys(y)]
    return names.length === others.length && names.every((name, i) => name === others[i] && identical(x[name], y[name]))
  }
  if (type === 'binData') return compare(a, b) === 0
  if (type === 'decimal') return (a as Decimal128).toString() === (b as Decimal128).toString()
  if (type === 'double') return Object.is(toNumber(a), toNumber(b))
  return keyOf(a) === keyOf(b)
}
