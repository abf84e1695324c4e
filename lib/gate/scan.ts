import { OperationError } from '../errors'
import { bytesOf, isTombstone, parseWrappedKey } from '../format/entry'
import { envelopeSubtype, looksLikeEnvelope } from '../format/envelope'
import { invalidationsOf } from '../mongoose/document'
import { isDocument, type Plain } from '../mongoose/host'
import { discriminatorOf } from '../mongoose/schema'
import { asSent, isMap, isOpen } from '../queries/values'
import { Box } from '../schema/box'
import { StoredIndex, StoredKeys } from '../schema/kept'
import { isPositionOfNone, type Place, step } from '../schema/layout'
import type { Use } from '../schema/use'
import { checkIndexed } from './indexed'
import { keysAssigned } from './refusals'

/**
 * Looks through what is about to be sent for the values of encrypted fields. Comes in: a value, and the place in the layout that
 * it is for. Goes out: the value with the objects around each box copied, and the boxes as slots to be filled. Keeps
 * invariant 1: what stands at an encrypted path is a box, an envelope or null, and anything else becomes a box here.
 */

/** One box in what is about to be sent, to be replaced by its envelope. */
export interface Slot {
  readonly box: Box
  readonly place: Place
  /** The path in the stored document, with positions in arrays. */
  readonly path: readonly string[]
  /** The same without positions. */
  readonly names: readonly string[]
  /** Where the box stands: the record that the field is of, or the operand of an update with the path as its key. */
  readonly holder: Plain
  readonly key: string
  /** Whether the record is sent with it, so that its wrapped keys go into the holder. */
  readonly isWhole: boolean
  /** The paths of index values that the write takes away. */
  readonly cleared: ReadonlySet<string>
}

/** What is known on the way down. */
interface Walk {
  readonly slots: Slot[]
  readonly cleared: ReadonlySet<string>
  /** Names the operation for messages. */
  readonly place: string
  readonly path: string[]
  readonly names: string[]
  /** The discriminator that the document says it is of, where several models encrypt the same path. */
  readonly root: unknown
}

/** Looks through a whole document. */
export function scanDocument(root: Place, document: unknown, place: string, slots: Slot[]): Plain {
  const walk: Walk = { slots, cleared: none, place, path: [], names: [], root: document }
  return walkValue(walk, document, root) as Plain
}

const none: ReadonlySet<string> = new Set()

/**
 * Looks through the value that an operator of an update gives a path; `operand[key]` is replaced where it holds a box.
 *
 * @param cleared the paths of index values that the update takes away, once it is looked through
 */
export function scanOperand(
  root: Place,
  operand: Plain,
  key: string,
  place: string,
  slots: Slot[],
  cleared: ReadonlySet<string>,
  target: string = key,
): void {
  const walk: Walk = { slots, cleared, place, path: [], names: [], root: undefined }
  let at: Place | undefined = root
  for (const segment of target.split('.')) {
    const next = step(at, segment)
    if (next === undefined) {
      if (walk.path.length > 0 && isPositionOfNone(at, segment)) throw wrongShape(walk, 'no array')
      return
    }
    walk.path.push(segment)
    if (next !== at) walk.names.push(segment)
    at = next
  }
  const value = operand[key]
  if (at === undefined) return
  if (at.fields.length > 0) putField(walk, at, value, operand, key, false)
  else if (at.keysOf.length > 0) operand[key] = checkKeys(at, value, place, key)
  else operand[key] = walkValue(walk, value, at)
}

function walkValue(walk: Walk, given: unknown, place: Place): unknown {
  const value = asObject(given)
  if (Array.isArray(value)) return walkArray(walk, value, place)
  if (!isObject(value)) {
    if (value instanceof Box) throw misplaced(walk, value)
    return value
  }
  let copy: Plain | undefined = value === given ? undefined : value
  for (const key of Object.keys(value)) {
    const next = stepInto(walk, place, key)
    const item = value[key]
    if (next === undefined) {
      // Mongoose makes such an object of an array that a nested path is given.
      if (walk.path.length > 0 && isPositionOfNone(place, key) && isOpen(asSent(item)))
        throw wrongShape(walk, 'no array')
      continue
    }
    walk.path.push(key)
    walk.names.push(key)
    if (item instanceof StoredIndex) {
      // As it was loaded; the value brings its own again.
      copy ??= { ...value }
      delete copy[key]
    } else if (next.fields.length > 0) {
      if (needsSlot(walk, next, item)) {
        copy ??= { ...value }
        putField(walk, next, item, copy, key, true)
      }
    } else {
      const walked = next.keysOf.length > 0 ? checkKeys(next, item, walk.place, key) : walkValue(walk, item, next)
      if (walked !== item) {
        copy ??= { ...value }
        copy[key] = walked
      }
    }
    walk.path.pop()
    walk.names.pop()
  }
  if (place.indexes.length > 0) checkIndexed(place.indexes, copy ?? value, '', walk.place)
  return copy ?? value
}

function walkArray(walk: Walk, value: readonly unknown[], place: Place): unknown {
  if (place.any && !place.isArray && value.length > 0) throw wrongShape(walk, 'a map')
  let copy: unknown[] | undefined
  for (let index = 0; index < value.length; index++) {
    walk.path.push(String(index))
    const walked = walkValue(walk, value[index], place)
    walk.path.pop()
    if (walked !== value[index]) {
      copy ??= Array.from(value)
      copy[index] = walked
    }
  }
  return copy ?? value
}

/**
 * The place of a key. A key that holds dots would be stored as it is, and is no path to a field; nor is a position where an
 * object is given in the place of an array.
 */
function stepInto(walk: Walk, place: Place, key: string): Place | undefined {
  const next = step(place, key)
  if (next === place && !place.isClear) throw wrongShape(walk, 'an array')
  if (next !== undefined || !key.includes('.')) return next
  let at: Place | undefined = place
  for (const segment of key.split('.')) {
    at = step(at, segment)
    if (at?.keysOf.length) throw keysAssigned(walk.place, key)
    if (at?.fields.length) {
      throw new OperationError(
        'WRITE_REFUSED',
        `${walk.place}: ${key} holds dots, and is no path to the encrypted field.`,
      )
    }
  }
  return undefined
}

function wrongShape(walk: Walk, shape: string): OperationError {
  return new OperationError(
    'WRITE_REFUSED',
    `${walk.place}: ${walk.path.join('.')} holds encrypted fields and is ${shape}, unlike the value given.`,
  )
}

/** Whether something at an encrypted path is to be encrypted: what is null, and an envelope that is put back, stay. */
function needsSlot(walk: Walk, place: Place, value: unknown): boolean {
  if (value === null || value === undefined) return false
  const bytes = value instanceof Box ? undefined : bytesOf(value)
  if (!bytes || (value as { sub_type?: number }).sub_type !== envelopeSubtype) return true
  if (looksLikeEnvelope(bytes)) return false
  if (place.fields.some(({ field }) => field.inner?.instance === 'Buffer' || field.mutable)) return true
  throw new OperationError(
    'WRITE_REFUSED',
    `${walk.place}: ${walk.path.join('.')} is encrypted, and got bytes of the subtype of envelopes that are none.`,
  )
}

function putField(walk: Walk, place: Place, value: unknown, holder: Plain, key: string, isWhole: boolean): void {
  if (!needsSlot(walk, place, value)) return
  const box = boxFor(walk, place, value, isWhole ? holder : undefined)
  if (isWhole) refuseForeign(walk, place, box, holder)
  // A nested object that nobody has put anything into is there always, and is not stored.
  if (isWhole && box.isEmpty && isDocument(box.owner) && !box.owner.isModified(box.field.name)) {
    delete holder[key]
    return
  }
  holder[key] = box
  const { cleared } = walk
  walk.slots.push({ box, place, path: [...walk.path], names: [...walk.names], holder, key, isWhole, cleared })
}

/** What is no box yet came past Mongoose's casts: a lean insert, the application's own use of the collection, a late plugin. */
function boxFor(walk: Walk, place: Place, value: unknown, record: Plain | undefined): Box {
  if (value instanceof Box) {
    // What could not be cast is an error of the query, whether or not a record matches.
    if (!value.isOpen && value.failure && !isDocument(value.owner)) throw value.failure
    if (place.fields.some(({ field }) => field === value.field)) return value
    throw misplaced(walk, value)
  }
  const { field, use } = fieldFor(walk, place, record)
  const at = walk.path.join('.')
  try {
    const box = field.complex
      ? Box.open(field, use, undefined, value)
      : Box.open(field, use, undefined, field.inner!.applySetters(value, undefined))
    const failed = box.holder && Object.keys(invalidationsOf(box.holder)).length > 0
    if (!failed && box.stored() !== undefined && box.stored() !== null) return box
  } catch {
    // Mongoose's message would hold the value.
  }
  throw new OperationError(
    'WRITE_REFUSED',
    `${walk.place}: ${at} is encrypted, and its value cannot be cast to ${field.inner?.instance ?? 'Object'}.`,
  )
}

/** A field of a discriminator in a record that is none of it: no document could read it. */
function refuseForeign(walk: Walk, { fields }: Place, box: Box, record: Plain): void {
  const isDeclared = fields.some(({ field, schema }) => {
    if (field !== box.field) return false
    const mapping = discriminatorOf(schema)
    return !mapping || mapping.isRoot || record[mapping.key] === mapping.value
  })
  if (isDeclared) return
  const own = fields.filter(({ field }) => field === box.field)
  const names = own.map(({ schema }) => String(discriminatorOf(schema)?.value)).join(', ')
  throw new OperationError(
    'WRITE_REFUSED',
    `${walk.place}: ${walk.path.join('.')} is an encrypted field of ${names}, and the record does not say that it is one.`,
  )
}

function fieldFor(walk: Walk, { fields }: Place, record: Plain | undefined) {
  if (fields.length === 1) return fields[0]!
  const own = fields.find(({ schema }) => {
    const mapping = discriminatorOf(schema)
    return mapping !== undefined && record?.[mapping.key] === mapping.value
  })
  const chosen = own ?? fields.find(({ use }) => use === fields[0]!.use && fields.every((each) => each.use === use))
  if (chosen) return chosen
  throw new OperationError(
    'WRITE_REFUSED',
    `${walk.place}: several models encrypt ${walk.path.join('.')} in this collection. Write it by the model that it is of.`,
  )
}

/** Wrapped keys that a backup has; nothing else may come to where they are stored. */
function checkKeys({ keysOf, indexOf }: Place, value: unknown, place: string, path: string): unknown {
  // Whether it belongs to an envelope is looked at when all is known that stands beside it.
  if (indexOf.length > 0) return value
  if (value instanceof StoredKeys) return value.toBSON()
  if (value === undefined) return value
  const isKey = (entry: unknown) => isTombstone(entry) || isWrappedKey(keysOf[0] as Use, entry)
  if (Array.isArray(value) && value.length > 0 && value.every(isKey)) return value
  throw keysAssigned(place, path)
}

/** As it would be read again: a backup may have numbers in classes of their own. */
function isWrappedKey({ host }: Use, entry: unknown): boolean {
  try {
    return parseWrappedKey(host.deserialize(host.serialize({ v: entry })).v, '') !== undefined
  } catch {
    return false
  }
}

function misplaced(walk: Walk, box: Box): OperationError {
  return new OperationError(
    'WRITE_REFUSED',
    `${walk.place}: ${walk.path.join('.') || 'the document'} was given the encrypted value of ${box.field.name}. Assign the value itself.`,
  )
}

/** What the driver would make of a value, with maps and references to records as the objects that they are stored as. */
function asObject(value: unknown): unknown {
  if ((value as { _bsontype?: unknown } | null)?._bsontype === 'DBRef') return (value as { toJSON(): unknown }).toJSON()
  const sent = asSent(value)
  return isOpen(sent) && isMap(sent) ? Object.fromEntries(sent) : sent
}

function isObject(value: unknown): value is Plain {
  return isOpen(value) && !Array.isArray(value)
}
