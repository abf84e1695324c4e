import { OperationError } from '../errors'
import type { AnySchema, Plain } from '../mongoose/host'
import { isPlainObject } from '../mongoose/plain'
import { discriminatorOf } from '../mongoose/schema'
import { checkExpression, checkFilter } from '../queries/filter'
import { follow, type Place } from '../schema/layout'
import { checkIndexed, recordsAt } from './indexed'
import { keysAssigned } from './refusals'
import { type Slot, scanDocument, scanOperand } from './scan'

/** An update as it can be sent once its slots are filled. */
export interface Plan {
  readonly update: Plain | Plain[]
  readonly slots: readonly PlannedSlot[]
  /** The paths that it changes in an existing record. */
  readonly touched: readonly string[]
  readonly isReplacement: boolean
}

/** A slot of an update, with the operator that it is the operand of. */
export type PlannedSlot = Slot & { readonly operator: string }

const assigning = new Set(['$set', '$setOnInsert'])
const adding = new Set(['$push', '$addToSet'])

/**
 * Takes an update apart: finds its values for encrypted fields, and refuses what would have to work on ciphertext.
 *
 * @param place names the operation for messages, such as `User.updateOne()`
 * @throws {OperationError} UPDATE_REFUSED, WRITE_REFUSED
 * @throws {RecordError} STORED_PATH_ASSIGNED where it names wrapped keys
 */
export function planUpdate(root: Place, update: unknown, place: string): Plan {
  if (Array.isArray(update)) return planPipeline(root, update, place)
  const copy: Plain = {}
  const slots: PlannedSlot[] = []
  const touched: string[] = []
  const cleared = new Set<string>()
  for (const [operator, operand] of Object.entries((update ?? {}) as Plain)) {
    if (!operator.startsWith('$')) {
      throw new OperationError('UPDATE_REFUSED', `${place}: ${operator} is no operator of an update. Use $set.`)
    }
    copy[operator] = isPlainObject(operand) ? { ...operand } : operand
    if (!isPlainObject(operand)) continue
    for (const [path, value] of Object.entries(operand)) {
      if (operator !== '$setOnInsert') touched.push(path)
      if (operator === '$rename') touched.push(String(value))
      checkPath(root, operator, path, value, place)
      if (assigning.has(operator) || adding.has(operator)) {
        const found: Slot[] = []
        planValue(root, copy[operator], path, operator, place, found, cleared)
        for (const slot of found) slots.push({ ...slot, operator })
      } else if (operator === '$pull') checkPull(root, path, value, place)
      else refuseParts(root, operator, path, value, place)
      if (operator === '$unset') for (const each of indexedBy(root, path)) cleared.add(each)
    }
    if (!assigning.has(operator)) continue
    const clear = operator === '$set' ? (path: string) => void cleared.add(path) : undefined
    for (const [prefix, indexes] of recordsAt(root, Object.keys(operand)))
      checkIndexed(indexes, copy[operator], prefix, place, clear)
  }
  keepAbsent(root, copy)
  if (cleared.size > 0) {
    copy.$unset = { ...copy.$unset, ...Object.fromEntries(Array.from(cleared, (path) => [path, 1])) }
  }
  return { update: copy, slots, touched, isReplacement: false }
}

/** Where another library's value is read while there is none here, that there is to be none is said by null. */
function keepAbsent(root: Place, update: Plain): void {
  const paths = Object.keys(update.$unset ?? {}).filter((path) =>
    follow(root, path)?.place.fields.some(({ use }) => use.from),
  )
  if (paths.length === 0) return
  update.$set ??= {}
  for (const path of paths) {
    update.$set[path] = null
    delete update.$unset[path]
  }
  if (Object.keys(update.$unset).length === 0) delete update.$unset
}

/**
 * Refuses an update that names encrypted fields which the schema of its model does not know, such as those of a discriminator:
 * Mongoose would leave them out.
 *
 * @throws {OperationError} UPDATE_REFUSED
 */
export function refuseUnknown(root: Place, update: unknown, schema: AnySchema, place: string): void {
  if (typeof update !== 'object' || update === null || Array.isArray(update)) return
  // Mongoose takes the discriminator that the update names.
  const { discriminatorKey } = schema.options as { discriminatorKey?: string }
  if (discriminatorKey && (discriminatorKey in update || discriminatorKey in ((update as Plain).$set ?? {}))) return
  for (const [key, operand] of Object.entries(update)) {
    const paths = key.startsWith('$') && isPlainObject(operand) ? Object.keys(operand) : [key]
    for (const path of paths) refuseUnknownAt(root, path, schema, place)
  }
}

function refuseUnknownAt(root: Place, path: string, schema: AnySchema, place: string): void {
  const location = follow(root, path)
  const fields = location?.place.fields ?? []
  if (!location || fields.length === 0) return
  if (!fields.every(({ schema: own }) => discriminatorOf(own)?.isRoot === false)) return
  if (schema.path(location.segments.join('.'))) return
  const names = [...new Set(fields.map(({ schema: own }) => schemaName(own)))].join(', ')
  throw new OperationError(
    'UPDATE_REFUSED',
    `${place}: ${path} is an encrypted field of ${names}. Write it by that model.`,
  )
}

function schemaName(schema: AnySchema): string {
  return String(discriminatorOf(schema)?.value ?? 'another model')
}

/** The same for a replacement, which is a whole record. */
export function planReplacement(root: Place, replacement: unknown, place: string): Plan {
  const slots: Slot[] = []
  const update = scanDocument(root, replacement, place, slots)
  return {
    update,
    slots: slots.map((slot) => ({ ...slot, operator: 'replace' })),
    touched: [],
    isReplacement: true,
  }
}

/** The paths of the index values that are made of a field, among others. */
function indexedBy(root: Place, path: string): string[] {
  return [...recordsAt(root, [path])].flatMap(([prefix, indexes]) =>
    indexes
      .filter(({ fields }) => fields.some((name) => `${prefix}${name}` === path))
      .map((index) => `${prefix}${index.path}`),
  )
}

function planValue(
  root: Place,
  operand: Plain,
  path: string,
  operator: string,
  place: string,
  found: Slot[],
  cleared: ReadonlySet<string>,
): void {
  const value = operand[path]
  if (!adding.has(operator) || !isPlainObject(value) || !('$each' in value)) {
    scanOperand(root, operand, path, place, found, cleared)
    return
  }
  operand[path] = { ...value }
  if (isPlainObject(value.$sort)) {
    for (const key of Object.keys(value.$sort)) {
      if (follow(root, `${path}.${key}`)) throw refused(place, '$sort', `${path}.${key}`, 'ciphertexts have no order.')
    }
  }
  scanOperand(root, operand[path], '$each', place, found, cleared, path)
}

function checkPath(root: Place, operator: string, path: string, value: unknown, place: string): void {
  checkTarget(root, operator, path, place)
  if (operator !== '$rename') return
  for (const each of [path, String(value)]) if (follow(root, each)?.place.keysOf.length) throw keysAssigned(place, each)
  if (follow(root, path))
    throw refused(place, operator, path, 'what is in it is bound to the path. Load the record and save it.')
  if (follow(root, String(value)))
    throw refused(place, operator, String(value), 'nothing can be moved there. Choose another name.')
}

function checkTarget(root: Place, operator: string, path: string, place: string): void {
  refuseIdentity(root, path, place)
  const location = follow(root, path)
  if (!location) return
  if (location.place.keysOf.length > 0) {
    if (assigning.has(operator) && location.below.length === 0) return
    throw keysAssigned(place, path)
  }
  if (location.place.fields.length === 0) return
  if (location.below.length > 0)
    throw refused(place, operator, path, 'only a whole field can be written. Set the field itself.')
  if (!assigning.has(operator) && operator !== '$unset') {
    throw refused(
      place,
      operator,
      path,
      'the operator cannot work on it. Load the record, change the value and save it.',
    )
  }
}

/** Ciphertexts of a subdocument are bound to its `_id`. */
function refuseIdentity(root: Place, path: string, place: string): void {
  if (!path.endsWith('._id')) return
  const beside = follow(root, path.slice(0, -'._id'.length))?.place.children.values() ?? []
  if ([...beside].some(({ fields }) => fields.length > 0))
    throw refused(place, '$set', path, 'the fields beside it are bound to it. Replace the subdocument as a whole.')
}

/** `$max`, `$pullAll` and their like would send a whole subdocument as it is. */
function refuseParts(root: Place, operator: string, path: string, value: unknown, place: string): void {
  if (operator === '$unset' || typeof value !== 'object' || value === null) return
  if (!follow(root, path) || Object.keys(value).length === 0) return
  throw refused(place, operator, path, 'the operator cannot work on it. Load the record, change the value and save it.')
}

function checkPull(root: Place, path: string, condition: unknown, place: string): void {
  const at = follow(root, path)?.place
  if (at) checkFilter(at, condition, `${place} $pull ${path}`)
}

function planPipeline(root: Place, stages: readonly unknown[], place: string): Plan {
  const touched: string[] = []
  const planned: Plain[] = []
  for (const stage of stages) {
    planned.push(stage as Plain)
    for (const [operator, operand] of Object.entries((stage ?? {}) as Plain)) {
      if (operator === '$replaceRoot' || operator === '$replaceWith' || operator === '$project') {
        throw refused(place, operator, 'the record', 'a pipeline encrypts nothing. Load the records and save them.')
      }
      const paths = operator === '$unset' ? [operand].flat().map(String) : Object.keys((operand ?? {}) as Plain)
      for (const path of paths) {
        touched.push(path)
        checkTarget(root, operator === '$unset' ? '$unset' : 'a pipeline', path, place)
        if (operator === '$unset') for (const each of indexedBy(root, path)) planned.push({ $unset: each })
        if (operator !== '$unset' && follow(root, path)) {
          throw refused(place, operator, path, 'a pipeline encrypts nothing. Load the records and save them.')
        }
      }
      if (operator !== '$unset') checkExpression(root, operand, place)
    }
  }
  return { update: planned, slots: [], touched, isReplacement: false }
}

function refused(place: string, operator: string, path: string, why: string): OperationError {
  return new OperationError('UPDATE_REFUSED', `${place}: ${operator} on ${path}: it is stored encrypted, and ${why}`)
}
