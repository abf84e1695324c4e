import { OperationError } from '../errors'
import type { Plain } from '../mongoose/host'
import { isPlainObject } from '../mongoose/plain'
import { type Asked, AskedValue } from '../queries/indexvalue'
import type { Place } from '../schema/layout'

/**
 * An update whose upsert stores the values that its filter asks for by their index values: MongoDB would take over these alone.
 *
 * @throws {OperationError} UPDATE_REFUSED where nothing can be added to what it does, or MongoDB alone knows what it would take over
 */
export function withAsked(root: Place, filter: Plain, update: unknown, place: string): unknown {
  for (const { path, name } of root.indexes) if (asksForNull(filter, path)) throw withoutAsked(place, name)
  const equal = equalAsked(filter)
  const { $setOnInsert, ...others } = (update ?? {}) as Plain
  const added: Plain = {}
  for (const asked of askedIn(filter)) {
    if (asked.isWithin) {
      if (equal.has(asked) || asked.here.use.migrating) throw withoutAsked(place, asked.index.name)
      continue
    }
    for (const [position, field] of asked.index.fields.entries()) {
      if (Object.values(others).some((operand) => Object.hasOwn(Object(operand), field))) continue
      const isGiven = Object.hasOwn(Object($setOnInsert), field)
      if (isGiven && ($setOnInsert[field] ?? null) !== null) continue
      if (Array.isArray(update) || isGiven || !equal.has(asked)) throw withoutAsked(place, field)
      added[field] = asked.boxes[position]
    }
  }
  return Object.keys(added).length > 0 ? { ...others, $setOnInsert: { ...$setOnInsert, ...added } } : update
}

/** All that a filter asks of the indexes of records. What it asks of elements of arrays, no upsert stores. */
function askedIn(filter: unknown): Set<Asked> {
  if (filter instanceof AskedValue) return new Set([filter.asked])
  if (Array.isArray(filter)) return new Set(filter.flatMap((each) => [...askedIn(each)]))
  if (!isPlainObject(filter)) return new Set()
  return new Set(Object.values(filter).flatMap((each) => [...askedIn(each)]))
}

/** What every record that a filter matches has. */
function equalAsked(filter: unknown): Set<Asked> {
  const found = new Set<Asked>()
  for (const [key, condition] of Object.entries(Object(filter) as Plain)) {
    if ((key === '$and' || key === '$or') && Array.isArray(condition)) {
      const [first = new Set<Asked>(), ...others] = condition.map(equalAsked)
      // Of alternatives, what all of them have.
      const have = (asked: Asked) => key === '$and' || others.every((each) => each.has(asked))
      for (const each of key === '$and' ? [first, ...others] : [first])
        for (const asked of each) if (have(asked)) found.add(asked)
    }
    if (!key.startsWith('$')) {
      const { $eq = condition, $in = [$eq] } = Object(condition) as Plain
      const values = new Set([$in].flat().map((value) => (value instanceof AskedValue ? value.asked : undefined)))
      const [only] = values as Set<Asked | undefined>
      if (values.size === 1 && only) found.add(only)
    }
  }
  return found
}

/** MongoDB would store it as what was asked for, and a unique index take it for a value. */
function asksForNull(filter: unknown, path: string): boolean {
  if (Array.isArray(filter)) return filter.some((part) => asksForNull(part, path))
  if (!isPlainObject(filter)) return false
  return Object.entries(filter).some(([key, condition]) => {
    if (key !== path) return key.startsWith('$') && asksForNull(condition, path)
    const { $eq, $in = [] } = Object(condition)
    return condition === null || $eq === null || [$in].flat().includes(null)
  })
}

function withoutAsked(place: string, field: string): OperationError {
  return new OperationError(
    'UPDATE_REFUSED',
    `${place}: an upsert stores what its filter asks for, and it is not plain which ${field} that would be. Ask for one value, or set the ${field} by ` +
      '$set or $setOnInsert.',
  )
}
