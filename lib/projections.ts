import type { Config } from './config'
import { OperationError } from './errors'
import { translateElements } from './filters'
import type { AnySchema } from './host'
import { layoutOf, locate, storedPathsOf } from './layout'

/**
 * Rewrites a projection, so that an encrypted field means in it what an ordinary path would: its envelope is loaded or
 * not, and with it what decryption needs.
 *
 * @param place names the operation for messages, such as `User.find()`
 * @returns the projection, or `undefined` when it may stay as it is
 * @throws {OperationError} QUERY_REFUSED when it asks for more than whether to load a field
 */
export function translateProjection(
  schema: AnySchema,
  projection: Readonly<Record<string, unknown>>,
  place: string,
): Record<string, unknown> | undefined {
  const translated: Record<string, unknown> = {}
  const needed = new Map<Config, string>()
  let changed = false
  for (const [key, value] of Object.entries(projection)) {
    // Mongoose keeps the signs of `select('-email +phone')` in the keys until the query runs.
    const plus = key.startsWith('+') ? '+' : ''
    const location = locate(schema, key.replace(/^[+-]/, ''))
    if (!location || location.stored) {
      translated[key] = translateElements(schema, key, value, place)
      if (translated[key] !== value) changed = true
    } else {
      if (!isSwitch(value)) throw refused(place, key)
      translated[`${plus}${location.prefix}${location.config.fields.byName.get(location.name)!.storedPath}`] = value
      changed = true
    }
    if (location && isOn(value) && !plus && location.name !== location.config.keyPath) {
      needed.set(location.config, location.prefix)
    }
  }
  if (isInclusive(projection)) {
    for (const [config, prefix] of needed) {
      for (const path of [config.keyPath, ...config.dependencies]) {
        if (addPath(translated, `${prefix}${path}`)) changed = true
      }
    }
  } else if (excludeUnneededKeys(schema, translated)) {
    changed = true
  }
  return changed ? translated : undefined
}

/** Includes a path, unless it or a parent of it is included already: MongoDB refuses both. */
function addPath(projection: Record<string, unknown>, path: string): boolean {
  const covered = Object.keys(projection).some((key) => key === path || path.startsWith(`${key}.`))
  if (!covered) projection[path] = 1
  return !covered
}

/** Where no envelope is loaded, the wrapped keys are of no use either. */
function excludeUnneededKeys(schema: AnySchema, projection: Record<string, unknown>): boolean {
  let changed = false
  for (const config of layoutOf(schema).configs) {
    const envelopes = storedPathsOf(config).filter((path) => path !== config.keyPath)
    if (config.keyPath in projection || !envelopes.every((path) => isOff(projection[path]))) continue
    projection[config.keyPath] = 0
    changed = true
  }
  return changed
}

/** Whether a projection lists what to load, as opposed to what to leave out. `_id` and `+path` do not decide it. */
function isInclusive(projection: Readonly<Record<string, unknown>>): boolean {
  return Object.entries(projection).some(([key, value]) => key !== '_id' && !key.startsWith('+') && !isOff(value))
}

function isSwitch(value: unknown): boolean {
  return value === 0 || value === 1 || typeof value === 'boolean'
}

function isOn(value: unknown): boolean {
  return value === 1 || value === true
}

function isOff(value: unknown): boolean {
  return value === 0 || value === false
}

function refused(place: string, key: string): OperationError {
  return new OperationError(
    'QUERY_REFUSED',
    `${place}: ${key} is stored encrypted, so a projection can only load it or leave it out. Use 1 or 0.`,
  )
}
