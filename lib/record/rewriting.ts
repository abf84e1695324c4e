import { OperationError, RecordError } from '../errors'
import { indexedPathOf } from '../mongoose/document'
import { type AnyModel, type Doc, modelOf, ownerOf, type Plain, schemaOf } from '../mongoose/host'
import { recordOf } from '../mongoose/model'
import { noValue, withValueAt } from '../mongoose/plain'
import type { Use } from '../schema/use'
import { usesOf } from '../schema/uses'
import { fetchStored, filterOf, sessionOf } from './fetching'
import { idOf, modelNameOf, recordName } from './identity'
import { refresh } from './refreshing'
import type { KeyRing } from './ring'
import { currentTarget, requireId } from './rings'
import { encryptedPartsOf } from './staging'

/** What writes of the wrapped keys of a record have in common: they are made past the gate, and only while the keys are what was read. */

/** How often a record is tried again when another write comes between its reading and its writing. */
export const maxAttempts = 5

/**
 * Reads the record of a document and rewrites it, until no other write comes between.
 *
 * @param attempt gives nothing where one did
 * @returns nothing where one did each time
 * @throws {RecordError} ID_NOT_SELECTED; {DocumentNotFoundError} Mongoose's own, when the record is not stored
 */
export async function rewrite<T>(
  doc: Doc,
  attempt: (owner: Doc, stored: Plain) => Promise<T | undefined>,
): Promise<T | undefined> {
  requireId(doc)
  const owner = ownerOf(doc)
  for (let count = 0; count < maxAttempts; count++) {
    // The whole record: another version of the schema may have put fields of its own under the same keys.
    const stored = await fetchStored(owner, [])
    if (!stored) throw notFound(owner)
    refresh(owner, stored)
    const done = await attempt(owner, stored)
    if (done !== undefined) return done
  }
  return undefined
}

/** The error where other writes came between every time. */
export function outrun(doc: Doc, deed: string): RecordError {
  return new RecordError(
    'RECORD_CHANGED',
    `${recordName(doc)}: other writes changed the record during each of ${maxAttempts} attempts to ${deed}. Try again.`,
  )
}

/** Sends an update to the collection of a model, past the gate: here envelopes are conditions. */
export type Send = (model: AnyModel, filter: Plain, update: Plain, options: Plain) => Promise<{ matchedCount: number }>

/** The error that Mongoose itself has for the save of a document that is not stored, or no longer. */
export function notFound(doc: Doc): Error {
  const { Error: errors } = modelOf(doc).base
  const NotFound = errors.DocumentNotFoundError as unknown as new (filter: object, model: string) => Error
  return new NotFound({ _id: doc._id }, modelNameOf(doc))
}

/**
 * The record as it is stored, with the parts of it that a document stands for: all of them, or a subdocument alone.
 *
 * @throws {AccessError} ACCESS_READ_ONLY; {OperationError} WRITE_REFUSED for a subdocument without a key of its own; {RecordError} RECORD_CHANGED for one that is not stored
 *   where it stands in the document
 */
export function partsOf(doc: Doc, owner: Doc, stored: Plain): { fresh: Doc; parts: Doc[] } {
  const fresh = recordOf(modelOf(owner), stored)
  if (doc !== owner && usesOf(schemaOf(doc)).every(({ byOwner }) => byOwner)) {
    throw new OperationError(
      'WRITE_REFUSED',
      `${recordName(doc)}: its data key is that of the record that holds it. Do it to that record.`,
    )
  }
  const parts = partsWithin(fresh, doc)
  requireWriting(parts)
  return { fresh, parts }
}

/**
 * Of all parts, before the KMS is asked for anything.
 *
 * @throws {AccessError} ACCESS_READ_ONLY
 */
export function requireWriting(parts: readonly Doc[], isMeant: (use: Use) => boolean = () => true): void {
  for (const part of parts)
    for (const use of usesOf(schemaOf(part)).filter(isMeant)) currentTarget(part, use).ring.requireWriting()
}

/**
 * The same parts, of a record that is there.
 *
 * @throws {RecordError} RECORD_CHANGED
 */
export function partsWithin(fresh: Doc, doc: Doc): Doc[] {
  const parts = encryptedPartsOf(fresh)
  if (!doc.$isSubdocument) return parts
  const own = parts.filter(
    (part) => part !== fresh && String(idOf(part)) === String(idOf(doc)) && indexedPathOf(part) === indexedPathOf(doc),
  )
  if (own.length > 0) return own
  throw new RecordError(
    'RECORD_CHANGED',
    `${recordName(doc)}: the subdocument is not stored, or at another place. If it is new, save the record first, else load the record.`,
  )
}

/** The rings of a part that have data keys, be there anything encrypted under them or not. */
export function ringsWithKeys(part: Doc): KeyRing[] {
  const own = usesOf(schemaOf(part)).filter(({ byOwner }) => !byOwner)
  return own.map((use) => currentTarget(part, use).ring).filter(({ stored }) => stored.length > 0)
}

/** The conditions under which the wrapped keys of a part are those that a ring knows. */
export function unchangedKeys({ use, stored, subject }: KeyRing, prefix: string): Plain[] {
  const keyPath = `${prefix}${use.keyPath}`
  const id = prefix === '' ? undefined : idOf(subject as Doc)
  return [
    { [keyPath]: { $size: stored.length } },
    ...stored.map((entry, index) => ({
      [`${keyPath}.${index}.commitment`]: (entry as Plain | null)?.commitment ?? noValue,
    })),
    ...(id === undefined ? [] : [{ [`${prefix}_id`]: id }]),
  ]
}

/**
 * @param _id as it is stored, which need not be of the type that the schema says
 * @returns whether the record was found, by these conditions
 */
export async function sendUpdate(
  owner: Doc,
  update: Plain,
  conditions: readonly Plain[],
  send: Send,
  _id: unknown = idOf(owner),
): Promise<boolean> {
  const session = sessionOf(owner)
  const filter = filterOf(owner)
  filter._id = _id
  if (conditions.length > 0) filter.$and = conditions
  const result = await send(modelOf(owner), filter, update, session ? { session } : {})
  return result.matchedCount === 1
}

/** What is stored after the write. */
export function withWritten(stored: Plain, written: Plain): Plain {
  let result = stored
  for (const [path, value] of Object.entries(written)) result = withValueAt(result, path.split('.'), value)
  return result
}
