/**
 * A copy of an open value without Mongoose's containers: what `decrypt()` returns, apart from the record. `_subtype` of Mongoose's buffers;
 * `values.test`.
 */
export function toPlain(value: unknown): unknown {
  if (value === null || typeof value !== 'object') return value
  if (Buffer.isBuffer(value)) {
    // Only BSON's own class can tell the subtype.
    const { _subtype, toObject } = value as Buffer & { _subtype?: number; toObject?: () => unknown }
    return _subtype && toObject ? toObject.call(value) : Buffer.from(value)
  }
  if (value instanceof Date) return new Date(value)
  if (Array.isArray(value)) return Array.from(value, toPlain)
  if (value instanceof Map) return copyMap(value)
  const { toObject, _bsontype } = value as { toObject?: (options: object) => unknown; _bsontype?: string }
  if (_bsontype !== undefined) return value
  if (typeof toObject === 'function') return copyObject(toObject.call(value, { flattenMaps: false, versionKey: false }))
  return isPlainObject(value) ? copyObject(value) : value
}

/** Mongoose's maps are in JSON objects of their entries; others would be empty ones. */
function copyMap(value: Map<unknown, unknown>): unknown {
  const copy = new Map(Array.from(value, ([key, item]) => [key, toPlain(item)]))
  return Object.defineProperty(copy, 'toJSON', { value: entriesToJson })
}

function entriesToJson(this: Map<string, unknown>): unknown {
  return Object.fromEntries(this)
}

function copyObject(value: unknown): unknown {
  if (value === null || typeof value !== 'object') return value
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, toPlain(item)]))
}

/** A plain value with objects in the place of maps, as JSON has them. */
export function flattenMaps(value: unknown): unknown {
  if (value instanceof Map) return flattenMaps(Object.fromEntries(value))
  if (Array.isArray(value)) return value.map(flattenMaps)
  if (!isPlainObject(value)) return value
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, flattenMaps(item)]))
}

/** A value of any kind with texts, numbers and booleans in the place of objects of them, as Mongoose stores it. */
export function unboxed(value: unknown): unknown {
  if (value instanceof String || value instanceof Number || value instanceof Boolean) return value.valueOf()
  if (!Array.isArray(value) && !isPlainObject(value)) return value
  const changed = Object.entries(value)
    .map(([key, item]) => [key, unboxed(item), item] as const)
    .filter(([, item, before]) => !Object.is(item, before))
  if (changed.length === 0) return value
  const copy = Array.isArray(value) ? [...value] : { ...value }
  return Object.assign(copy, Object.fromEntries(changed))
}

/** What stands at a path within plain objects and arrays; `undefined` where it leads nowhere. */
export function valueAt(value: unknown, path: string | readonly string[]): any {
  const segments = typeof path === 'string' ? path.split('.') : path
  return segments.reduce<any>((found, segment) => found?.[segment], value)
}

/** A copy of plain objects and arrays with another value at a path; what is beside the path is shared. */
export function withValueAt(value: any, [segment, ...rest]: readonly string[], put: unknown): any {
  if (segment === undefined) return put
  const copy = Array.isArray(value) ? [...value] : { ...value }
  copy[segment] = withValueAt(copy[segment], rest, put)
  return copy
}

/** Whether a value holds others. A number, a date, a pattern, bytes and a BSON type are whole. */
export function holdsOthers(value: unknown): value is object {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return false
  if ((value as { _bsontype?: unknown })._bsontype !== undefined) return false
  const tag = Object.prototype.toString.call(value)
  return tag !== '[object Date]' && tag !== '[object RegExp]'
}

/** Whether a value is an object literal, not an instance of a class. */
export function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (value === null || typeof value !== 'object') return false
  const prototype = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

/**
 * The condition that there is nothing at a path, or null. Equality with null says it of most paths, but not of one that leads through a position
 * in an array: there MongoDB looks for a field of that name in the elements, too, and that is missing. By all types but null and undefined.
 */
export const noValue = Object.freeze({ $not: { $type: [1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 18, 19] } })

/** An object with such keys comes out of the driver in another order than it is stored in, so no condition can hold it. */
export function hasPositionLikeKey(value: unknown): boolean {
  if (Array.isArray(value)) return value.some(hasPositionLikeKey)
  if (!isPlainObject(value)) return false
  return Object.entries(value).some(([key, item]) => /^\d+$/.test(key) || hasPositionLikeKey(item))
}
