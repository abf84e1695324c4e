import type { Filter } from './requests'

/** For a write that found nothing to encrypt for: a record that comes up meanwhile must not be reached. */
export function matchingNothing(filter: Filter): Filter {
  return { $and: [filter, { _id: { $in: [] } }] }
}

/** A filter that matches one record alone, and only while it matches what was asked for. */
export function tiedFilter(filter: Filter, id: unknown): Filter {
  const { _id, ...rest } = filter
  if (_id === undefined) return { ...rest, _id: id }
  return isOperators(_id) ? { $and: [filter], _id: id } : { ...rest, _id: id }
}

/** What an upsert takes over from its filter: the conditions of equality, also those within `$and`. */
export function equalities(filter: Filter): Record<string, unknown> {
  const taken: Record<string, unknown> = {}
  for (const [path, condition] of Object.entries(filter)) {
    if (path === '$and' && Array.isArray(condition))
      for (const each of condition) Object.assign(taken, equalities(each))
    else if (!path.startsWith('$') && !isOperators(condition)) taken[path] = condition
    else if (!path.startsWith('$') && condition && '$eq' in condition) taken[path] = condition.$eq
  }
  return taken
}

/** The `_id` that a filter asks for, if it asks for one. */
export function idOfFilter(filter: Filter): unknown {
  return equalities(filter)._id
}

function isOperators(condition: unknown): condition is Record<string, unknown> {
  if (condition === null || typeof condition !== 'object') return false
  return (
    Object.getPrototypeOf(condition) === Object.prototype && Object.keys(condition).some((key) => key.startsWith('$'))
  )
}
