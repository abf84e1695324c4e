/** A copy of an open value without Mongoose's containers: what `decrypt()` returns, apart from the record. */
export function toPlain(value: unknown): unknown {
  if (value === null || typeof value !== 'object') return value
  if (Buffer.isBuffer(value)) {
    // Only BSON's own class can tell the subtype.
    const { _subtype, toObject } = value as Buffer & { _subtype?: number; toObject?: () => unknown }
    return _subtype && toObject ? toObject.call(value) : Buffer.from(value)
  }
  if (value instanceof Date) return new Date(value)
  if (Array.isArray(value)) return Array.from(value, toPlain)
  if (value instanceof Map) return new Map(Array.from(value, ([key, item]) => [key, toPlain(item)]))
  const { toObject, _bsontype } = value as { toObject?: (options: object) => unknown; _bsontype?: string }
  if (_bsontype !== undefined) return value
  if (typeof toObject === 'function') return copyObject(toObject.call(value, { flattenMaps: false, versionKey: false }))
  return isPlainObject(value) ? copyObject(value) : value
}

function copyObject(value: unknown): unknown {
  if (value === null || typeof value !== 'object') return value
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, toPlain(item)]))
}

/** Whether a value is an object literal, not an instance of a class. */
export function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (value === null || typeof value !== 'object') return false
  const prototype = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}
