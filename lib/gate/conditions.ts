import type { Plain } from '../mongoose/host'
import { hasPositionLikeKey } from '../mongoose/plain'
import type { Box } from '../schema/box'
import { clearPaths } from '../schema/type'

/** A condition that no record meets. */
export const noRecord: Plain = Object.freeze({ _id: { $in: [] } })

/** For a write that found nothing to encrypt for: a record that comes up meanwhile must not be reached. */
export function matchingNothing(filter: Plain): Plain {
  return { $and: [filter, noRecord] }
}

/** What there is to ask of a record that was found by a filter: that it has the `_id` it has needs no list of those of the others. */
export function askedOfFound({ _id, ...rest }: Plain): Plain {
  return rest
}

/** A filter that matches one record alone, and only while it matches what was asked for and what else is given. */
export function tiedFilter(filter: Plain, id: unknown, conditions: Plain): Plain {
  const { _id, $and, ...rest } = filter
  const clauses = [
    // Operators on the `_id` stay beside the one that was found.
    ...(isOperators(_id) ? [{ _id }] : []),
    ...(Array.isArray($and) ? $and : []),
    ...Object.entries(conditions).map(([path, value]) => ({ [path]: value })),
  ]
  return { ...rest, _id: id, ...(clauses.length > 0 ? { $and: clauses } : {}) }
}

/** What an upsert takes over from its filter: the conditions of equality, also those within `$and`. */
export function equalities(filter: Plain): Plain {
  const taken: Plain = {}
  for (const [path, condition] of Object.entries(filter)) {
    if (path === '$and' && Array.isArray(condition)) {
      for (const each of condition) Object.assign(taken, equalities(each))
    } else if (path === '$or' && Array.isArray(condition) && condition.length === 1) {
      Object.assign(taken, equalities(condition[0]))
    } else if (!path.startsWith('$') && !isOperators(condition)) taken[path] = condition
    else if (!path.startsWith('$') && '$eq' in condition) taken[path] = condition.$eq
  }
  return taken
}

/** The `_id` that a filter asks for, if it asks for one. */
export function idOfFilter(filter: Plain): unknown {
  return equalities(filter)._id
}

/** Whether a value has no parts, so that a condition can hold it. */
export function isScalar(value: any): boolean {
  return typeof value !== 'object' || value === null || value instanceof Date || value._bsontype === 'ObjectId'
}

/** What a box was read from without encryption, by the paths in the record; `undefined` at those where nothing was. */
export function clearAt(box: Box, prefix: string): Plain {
  const stored = box.clear ? box.field.host.deserialize(box.clear) : {}
  return Object.fromEntries(clearPaths(box).map((path) => [prefix === '' ? path : `${prefix}.${path}`, stored[path]]))
}

/** Conditions for what stands at a path being what it was when it was read. */
export function isAsRead(path: string, value: unknown): Plain[] {
  if (value === undefined) return [{ [path]: { $exists: false } }]
  if (!hasPositionLikeKey(value)) return [{ [path]: { $eq: value } }]
  // JavaScript has such keys in an order of its own, and MongoDB compares objects by theirs: they are asked for one by one.
  if (Array.isArray(value))
    return [{ [path]: { $size: value.length } }, ...value.flatMap((item, index) => isAsRead(`${path}.${index}`, item))]
  const entries = Object.entries(value as Plain)
  const each = entries.flatMap(([key, item]) => isAsRead(`${path}.${key}`, item))
  // No expression can name an element of an array by its position.
  if (/\.\d+(\.|$)/.test(path)) return each
  const isObject = { $eq: [{ $type: `$${path}` }, 'object'] }
  const size = { $cond: [isObject, { $size: { $objectToArray: `$${path}` } }, -1] }
  return [{ $expr: { $eq: [size, entries.length] } }, ...each]
}

/** Whether a condition is more than a value that a path is to have. */
function isOperators(condition: unknown): condition is Plain {
  if (condition === null || typeof condition !== 'object') return false
  // A pattern is compared with, and not stored by an upsert.
  if (condition instanceof RegExp || (condition as Plain)._bsontype === 'BSONRegExp') return true
  return (
    Object.getPrototypeOf(condition) === Object.prototype && Object.keys(condition).some((key) => key.startsWith('$'))
  )
}
