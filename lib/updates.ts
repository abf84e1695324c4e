import type { Config } from './config'
import { OperationError, RecordError } from './errors'
import { refuseExpression, refusePath, translateFilter } from './filters'
import type { AnySchema } from './host'
import { childSchema, locate, reachesEncrypted } from './layout'
import { isPlainObject } from './plain'
import { assigned, Sealed } from './sealed'

/** An update, taken apart into what MongoDB can do as it is and what must be encrypted first. */
export interface SplitUpdate {
  /** The update without the encrypted fields. */
  readonly clear: Record<string, any> | Record<string, any>[]
  readonly set: ReadonlyMap<string, unknown>
  readonly setOnInsert: ReadonlyMap<string, unknown>
  readonly unset: ReadonlySet<string>
}

/**
 * Takes an update apart.
 *
 * @param place names the operation for messages, such as `User.updateOne()`
 * @throws {OperationError} UPDATE_REFUSED when an operator would have to work on ciphertext
 * @throws {RecordError} STORED_PATH_ASSIGNED when it names what is stored
 */
export function splitUpdate(schema: AnySchema, update: unknown, place: string): SplitUpdate {
  const set = new Map<string, unknown>()
  const setOnInsert = new Map<string, unknown>()
  const unset = new Set<string>()
  if (Array.isArray(update)) {
    for (const stage of update) checkPipelineStage(schema, stage, place)
    return { clear: update, set, setOnInsert, unset }
  }
  const clear: Record<string, any> = {}
  const take = (operator: string, path: string, value: unknown): boolean => {
    const location = locate(schema, path)
    if (!location) {
      checkSubdocuments(schema, operator, path, value, place)
      return false
    }
    if (location.stored) {
      if (value instanceof Sealed) return false
      throw assigned(path)
    }
    refuseForeign(schema, path, place)
    if (!location.whole)
      throw refused(place, operator, path, 'only a whole field can be written. Set the field itself.')
    if (operator === '$set') set.set(location.name, value)
    else if (operator === '$setOnInsert') setOnInsert.set(location.name, value)
    else if (operator === '$unset') unset.add(location.name)
    else {
      throw refused(
        place,
        operator,
        path,
        'the operator cannot work on it. Load the record, change the value and save it.',
      )
    }
    return true
  }
  for (const [key, operand] of Object.entries((update ?? {}) as Record<string, any>)) {
    if (!key.startsWith('$')) {
      if (!take('$set', key, operand)) clear[key] = operand
      continue
    }
    if (operand === null || typeof operand !== 'object') {
      clear[key] = operand
      continue
    }
    const kept: Record<string, unknown> = {}
    for (const [path, value] of Object.entries(operand)) {
      if (key === '$rename') refuseRename(schema, String(value), place)
      if (take(key, path, value)) continue
      kept[path] = key === '$pull' ? translatePull(schema, path, value, place) : value
    }
    if (Object.keys(kept).length > 0 || Object.keys(operand).length === 0) clear[key] = kept
  }
  return { clear, set, setOnInsert, unset }
}

/**
 * Refuses array filters that compare an encrypted field of the elements they choose: `{ 'e.phone': … }` for a path such as
 * `contacts.$[e].label`.
 *
 * @throws {OperationError} QUERY_REFUSED
 */
export function refuseArrayFilters(schema: AnySchema, update: unknown, filters: unknown, place: string): void {
  if (!Array.isArray(filters) || !isObject(update)) return
  const operands = Object.entries(update).flatMap(([key, operand]) =>
    key.startsWith('$') && isObject(operand) ? Object.keys(operand) : [key],
  )
  for (const path of new Set(operands)) {
    for (const match of path.matchAll(/\.\$\[(\w+)\]/g)) {
      const child = childSchema(schema, path.slice(0, match.index))
      if (child) for (const filter of filters) refuseElementFilter(child.schema, filter, match[1] as string, place)
    }
  }
}

function refuseElementFilter(schema: AnySchema, filter: unknown, identifier: string, place: string): void {
  if (Array.isArray(filter)) for (const each of filter) refuseElementFilter(schema, each, identifier, place)
  if (!isPlainObject(filter)) return
  for (const [key, condition] of Object.entries(filter)) {
    if (key.startsWith('$')) refuseElementFilter(schema, condition, identifier, place)
    else if (key === identifier) translateFilter(schema, condition, place)
    else if (key.startsWith(`${identifier}.`)) refusePath(schema, key.slice(identifier.length + 1), place)
  }
}

/**
 * Refuses to write an encrypted field of a discriminator by its base model.
 *
 * @throws {OperationError} UPDATE_REFUSED
 */
export function refuseForeign(schema: AnySchema, path: string, place: string): void {
  const { discriminator, stored } = locate(schema, path) ?? {}
  if (discriminator === undefined || stored) return
  throw new OperationError(
    'UPDATE_REFUSED',
    `${place}: ${path} is an encrypted field of ${discriminator}. Write it by that model.`,
  )
}

/** The top-level paths that an update changes in an existing record. */
function changedPaths(update: unknown): string[] {
  const stages = Array.isArray(update) ? update : [update]
  return stages.flatMap((stage) =>
    Object.entries((stage ?? {}) as Record<string, any>).flatMap(([key, operand]) => {
      if (!key.startsWith('$')) return [key]
      if (key === '$unset' && !isPlainObject(operand)) return [operand].flat().map(String)
      if (key === '$setOnInsert' || operand === null || typeof operand !== 'object') return []
      return Object.keys(operand).concat(key === '$rename' ? Object.values(operand).map(String) : [])
    }),
  )
}

/**
 * Refuses an update that would change what the encryption context of existing records depends on.
 *
 * @throws {RecordError} CONTEXT_CHANGED
 */
export function refuseContextChange(configs: readonly Config[], update: unknown, place: string): void {
  const dependencies = new Set(configs.flatMap((config) => [...config.contextDependencies]))
  if (dependencies.size === 0) return
  const path = changedPaths(update).find((changed) => dependencies.has(changed.split('.')[0] as string))
  if (path === undefined) return
  throw new RecordError(
    'CONTEXT_CHANGED',
    `${place}: the encryption context depends on ${path}, so changing it would leave encrypted fields unreadable. ` +
      'Move the values to a new record; for an upsert, use $setOnInsert.',
  )
}

function checkPipelineStage(schema: AnySchema, stage: unknown, place: string): void {
  if (stage === null || typeof stage !== 'object') return
  for (const [operator, operand] of Object.entries(stage)) {
    const paths = operator === '$unset' ? [operand].flat().map(String) : isObject(operand) ? Object.keys(operand) : []
    for (const path of paths) {
      const location = path.startsWith('$') ? undefined : locate(schema, path)
      if (location?.stored) throw assigned(path)
      if (location) throw refused(place, operator, path, 'a pipeline cannot encrypt. Use $set without a pipeline.')
    }
    if (operator === '$replaceWith' || operator === '$replaceRoot') {
      if (reachesEncrypted(schema)) {
        throw refused(place, operator, 'the record', 'a pipeline cannot encrypt. Use replaceOne().')
      }
    }
    refuseExpression(schema, operand, place)
  }
}

/** An array element or subdocument given whole would bring its own encrypted fields, which only a save can encrypt. */
function checkSubdocuments(schema: AnySchema, operator: string, path: string, value: unknown, place: string): void {
  if (operator === '$pull' || operator === '$unset' || operator === '$pop' || value instanceof Sealed) return
  const child = childSchema(schema, path)
  if (child?.rest !== '' || !holdsObject(value) || !reachesEncrypted(child.schema)) return
  throw refused(
    place,
    operator,
    path,
    'subdocuments with encrypted fields are written by save(). Load the record and change it there.',
  )
}

function holdsObject(value: unknown): boolean {
  if (Array.isArray(value)) return value.some(holdsObject)
  return isObject(value) && Object.keys(value).length > 0
}

function translatePull(schema: AnySchema, path: string, condition: unknown, place: string): unknown {
  const child = childSchema(schema, path)
  return child && child.rest === '' && isObject(condition) ? translateFilter(child.schema, condition, place) : condition
}

function refuseRename(schema: AnySchema, target: string, place: string): void {
  const location = locate(schema, target)
  if (location?.stored) throw assigned(target)
  if (location) throw refused(place, '$rename', target, 'the plugin defines it. Choose another name.')
}

function isObject(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === 'object'
}

function refused(place: string, operator: string, path: string, why: string): OperationError {
  return new OperationError('UPDATE_REFUSED', `${place}: ${operator} on ${path}: it is stored encrypted, and ${why}`)
}
