import { isNativeError } from 'node:util/types'
import { OperationError } from '../errors'
import { isPlainObject } from '../mongoose/plain'
import { fieldsBelow, follow, type Location, type Place } from '../schema/layout'
import type { Use } from '../schema/use'
import { evaluate } from './expression'
import { checkFilter } from './filter'
import { scopeOf } from './scope'
import { entriesOf, hasOperators, isOff, isSwitch, itemsOf, optionsOf, pathsIn } from './values'

/**
 * Translates a projection, so that what decryption needs is loaded with an encrypted field: the wrapped keys, the `_id` of a
 * subdocument, and what the encryption context was seen to read.
 *
 * @param place names the operation for messages, such as `User.find()`
 * @returns the projection to send, or `undefined` when it may stay as it is
 * @throws {OperationError} QUERY_REFUSED when it asks for more than whether to load a field
 */
export function translateProjection(
  root: Place,
  projection: unknown,
  place: string,
): Record<string, unknown> | undefined {
  if (isOfNumbers(projection)) {
    const known = knownOf(root)
    if (known) return translateOnce(known, root, projection, place)
  }
  // Mongoose gives the error of casting `$elemMatch` in place of the projection, and would send it.
  if (isNativeError(projection)) throw projection
  return translatePaths(root, givenPaths(projection), place)
}

function isOfNumbers(projection: unknown): projection is Readonly<Record<string, number>> {
  if (!isPlainObject(projection)) return false
  for (const key of Object.keys(projection)) if (typeof projection[key] !== 'number') return false
  return true
}

/** What projections of numbers are translated to, by their text; `null` where one stays as it is. */
type Translations = Map<string, Readonly<Record<string, unknown>> | null>

const translations = new WeakMap<Place, Translations | null>()
const maxTranslations = 1000

/**
 * Where a schema leaves paths out, as it does index values, every query has a projection, and it is the same each time. What contexts are
 * made of is only found out by and by, and loaded with the fields: where there are any, each projection is looked at anew.
 */
function knownOf(root: Place): Translations | null {
  let known = translations.get(root)
  if (known === undefined) {
    const isCustom = fieldsBelow(root).some(({ place: { fields } }) => fields.some(({ use }) => use.isCustom))
    known = isCustom ? null : new Map()
    translations.set(root, known)
  }
  return known
}

function translateOnce(
  known: Translations,
  root: Place,
  projection: Readonly<Record<string, number>>,
  place: string,
): Record<string, unknown> | undefined {
  const key = JSON.stringify(projection)
  let translated = known.get(key)
  if (translated === undefined) {
    translated = translatePaths(root, givenPaths(projection), place) ?? null
    if (known.size === maxTranslations) known.clear()
    known.set(key, translated)
  }
  return translated ?? undefined
}

function translatePaths(
  root: Place,
  given: readonly [string, unknown][],
  place: string,
): Record<string, unknown> | undefined {
  const translated: Record<string, unknown> = {}
  const needed = new Set<string>()
  const isInclusive = given.some(([path, value]) => path !== '_id' && !path.startsWith('+') && includes(value))
  let changed = false
  for (const [key, value] of given) {
    const location = follow(root, key.replace(/^[+-]/, ''))
    const [path, sent] = translateEntry(root, key, value, location, place)
    translated[path] = sent
    if (path !== key || sent !== value) changed = true
    if (isInclusive && location && !key.startsWith('+') && loads(value)) {
      for (const each of neededFor(root, location)) needed.add(each)
    }
  }
  for (const path of isInclusive ? needed : unneeded(root, translated)) {
    if (addPath(translated, path, isInclusive ? 1 : 0)) changed = true
  }
  return changed ? Object.freeze(translated) : undefined
}

/** Paths with their values, also of a text or list of paths. */
function givenPaths(projection: unknown): [string, unknown][] {
  const paths = typeof projection === 'string' ? projection.split(/\s+/).filter(Boolean) : itemsOf(projection)
  if (!paths) return pathsIn(projection)
  return paths.map((path) => (String(path).startsWith('-') ? [String(path).slice(1), 0] : [String(path), 1]))
}

function translateEntry(
  root: Place,
  key: string,
  value: unknown,
  location: Location | undefined,
  place: string,
): [string, unknown] {
  if (location?.place.fields.length) {
    if (value !== 0 && value !== 1 && typeof value !== 'boolean') throw refused(place, key)
    if (location.below.length === 0) return [key, value]
    if (!value) throw refused(place, key)
    // Within an envelope there are no paths.
    return [location.segments.join('.'), value]
  }
  const entries = entriesOf(value)
  if (!entries || !hasOperators(entries)) {
    evaluate(scopeOf(root, place), value)
    return [key, value]
  }
  const { $elemMatch, ...others } = optionsOf(value)
  evaluate(scopeOf(root, place), others)
  if ($elemMatch !== undefined && location) checkFilter(location.place, $elemMatch, place)
  return [key, value]
}

/** What must be loaded with what stands at a location: it is in the same record, or in the one around. */
function neededFor(root: Place, { place, segments }: Location): string[] {
  const prefix = segments.slice(0, -1)
  const own = place.fields.filter(({ use }) => !use.byOwner)
  const isIdentified = prefix.length > 0 && place.fields.some(({ schema }) => schema.path('_id') !== undefined)
  const owned = fieldsBelow(place).flatMap(({ place: { fields } }) => fields.filter(({ use }) => use.byOwner))
  return [
    ...(isIdentified ? [[...prefix, '_id'].join('.')] : []),
    ...own.flatMap(({ use }) => [use.keyPath, ...use.dependencies].map((path) => [...prefix, path].join('.'))),
    ...owned.flatMap(({ use }) => ownersOf(root, use).flatMap((owner) => [owner.keyPath, ...owner.dependencies])),
  ]
}

/** The uses of the record whose data key the fields of a subdocument are encrypted under. */
function ownersOf(root: Place, { name }: Use): Use[] {
  return [...root.children.values()].flatMap(({ keysOf }) => keysOf.filter((use) => use.name === name))
}

/** Wrapped keys of the record that open nothing of what is loaded. */
function unneeded(root: Place, projection: Readonly<Record<string, unknown>>): string[] {
  const fields = fieldsBelow(root)
  return [...root.children].flatMap(([path, { keysOf }]) => {
    const opened = fields.filter((each) =>
      each.place.fields.some(
        ({ use }) => keysOf.includes(use) || (use.byOwner && keysOf.some(({ name }) => name === use.name)),
      ),
    )
    const isUnneeded = opened.length > 0 && opened.every((each) => isLeftOut(projection, each.path))
    return isUnneeded ? [path] : []
  })
}

function isLeftOut(projection: Readonly<Record<string, unknown>>, path: readonly string[]): boolean {
  return path.some((_segment, index) => {
    const key = path.slice(0, index + 1).join('.')
    return Object.hasOwn(projection, key) && isOff(projection[key])
  })
}

/** Adds a path in place of those below it, unless it or a parent of it is there already: MongoDB refuses both. */
function addPath(projection: Record<string, unknown>, path: string, value: 0 | 1): boolean {
  const keys = Object.keys(projection)
  if (keys.some((key) => key === path || path.startsWith(`${key}.`))) return false
  const below = keys.filter((key) => key.startsWith(`${path}.`))
  if (!below.every((key) => isSwitch(projection[key]))) return false
  for (const key of below) delete projection[key]
  projection[path] = value
  return true
}

/** Whether a value makes a projection list what to load, as opposed to what to leave out. */
function includes(value: unknown): boolean {
  return !isOff(value) && !('$slice' in optionsOf(value)) && !('$meta' in optionsOf(value))
}

/** Whether the path itself is loaded. */
function loads(value: unknown): boolean {
  const options = optionsOf(value)
  return (isSwitch(value) && !isOff(value)) || '$elemMatch' in options || '$slice' in options
}

function refused(place: string, key: string): OperationError {
  return new OperationError(
    'QUERY_REFUSED',
    `${place}: ${key} is stored encrypted, so a projection can only load it whole or leave it out. Use 1 or 0.`,
  )
}
