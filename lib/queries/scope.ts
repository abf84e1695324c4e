import { fieldsBelow, follow, type Place, step } from '../schema/layout'
import { refused, refusedKeys } from './refusals'
import { arrayOf } from './shapes'

/** What an aggregation expression is evaluated on. */
export interface Scope {
  /** What `$path` reads from. */
  readonly current: Place
  /** What `$$ROOT` is. */
  readonly record: Place
  /** What the variables of `$let`, `$map`, `$lookup` and others hold, where there is anything encrypted in it. */
  readonly variables: Variables
  /** Names the operation for messages. */
  readonly place: string
}

export type Variables = ReadonlyMap<string, Place | undefined>

const noVariables: Variables = new Map()

/** The scope of a whole record. */
export function scopeOf(root: Place, place: string, variables = noVariables): Scope {
  return { current: root, record: root, variables, place }
}

/** The same scope with more variables. */
export function binding(scope: Scope, variables: Readonly<Record<string, Place | undefined>>): Scope {
  return { ...scope, variables: new Map([...scope.variables, ...Object.entries(variables)]) }
}

/**
 * What a path such as `$contacts` or `$$ROOT.contacts` gives; `undefined` where nothing in it is encrypted.
 *
 * @throws {OperationError} QUERY_REFUSED when it leads to an encrypted field, or to index values
 */
export function readPath(scope: Scope, expression: string): Place | undefined {
  const segments = expression.replace(/^\$\$?/, '').split('.')
  let at = expression.startsWith('$$') ? variable(scope, segments.shift() as string) : scope.current
  if (at === undefined) return undefined
  const location = follow(at, segments)
  if (location) refuseToRead(scope, location.place, expression.replace(/^\$\$(ROOT\.|CURRENT\.)?|^\$/, ''))
  if (location === undefined || location.place.keysOf.length > 0) return undefined
  // A path through an array gives an array of what stands there in its elements.
  let isArray = at.isArray
  for (const segment of segments) {
    at = step(at, segment)
    isArray ||= at?.isArray === true
  }
  return isArray ? arrayOf(location.place) : location.place
}

function variable({ current, record, variables }: Scope, name: string): Place | undefined {
  if (name === 'ROOT') return record
  return name === 'CURRENT' ? current : variables.get(name)
}

/**
 * What one key of an object holds.
 *
 * @throws {OperationError} QUERY_REFUSED when it is an encrypted field, or index values
 */
export function readKey(scope: Scope, object: Place, key: string): Place | undefined {
  const within = object.children.get(key) ?? object.any
  if (within) refuseToRead(scope, within, key)
  return within?.keysOf.length ? undefined : within
}

function refuseToRead({ place }: Scope, at: Place, path: string): void {
  if (at.fields.length > 0) throw refused(place, path)
  if (at.indexOf.length > 0) throw refusedKeys(place, path)
}

/**
 * Refuses JavaScript that names an encrypted field or its index values, for it would find bytes there.
 *
 * @throws {OperationError} QUERY_REFUSED
 */
export function checkCode(at: Place | undefined, code: unknown, place: string): void {
  if (at === undefined || code === undefined || code === null) return
  const words = new Set(String((code as { code?: unknown }).code ?? code).match(/[\w$]+/g))
  for (const { path, place: found } of fieldsBelow(at)) {
    const name = path.at(-1) as string
    if (words.has(name)) throw refused(place, name)
    for (const { field } of found.fields)
      if (field.index && words.has(field.index.path)) throw refusedKeys(place, field.index.path)
  }
}
