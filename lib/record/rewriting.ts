import { OperationError } from '../errors'
import { indexedPathOf } from '../mongoose/document'
import { type AnyModel, type Doc, modelOf, ownerOf, type Plain, schemaOf } from '../mongoose/host'
import { recordOf } from '../mongoose/model'
import { noValue, withValueAt } from '../mongoose/plain'
import type { Use } from '../schema/use'
import { usesOf } from '../schema/uses'
import { recordChanged } from './changed'
import { fetchStored, filterOf, sessionOf } from './fetching'
import { idOf, modelNameOf, recordName } from './identity'
import { boxesOf } from './opening'
import { refresh } from './refreshing'
import type { KeyRing } from './ring'
import { currentTarget, requireId } from './rings'
import { encryptedPartsOf } from './staging'
import { noteRewriting, settleTransactions } from './transactions'

/** What writes of the wrapped keys of a record have in common: they are made past the gate, and only while the keys are what was read. */

/** How often a record is tried when other writes come between its reading and its writing. */
const maxAttempts = 5

/**
 * Rewrites a record that was read, and does so again until no other write comes between.
 *
 * @param read all of the record: another version of the schema may have put fields of its own under the same keys
 * @param readAgain reads it as it is stored by then
 * @param deed what is done to it, for the message
 * @param attempt is given a document of the record for which nothing of the application's was called, and whether it was tried before; gives nothing
 *   where another write came between
 * @returns nothing where the record is gone
 * @throws {RecordError} RECORD_CHANGED when another write came between every time
 */
export async function rewriteStored<T>(
  model: AnyModel,
  read: Plain,
  readAgain: () => Promise<Plain | null>,
  deed: string,
  attempt: (fresh: Doc, stored: Plain, isAgain: boolean) => Promise<T | undefined>,
): Promise<T | undefined> {
  let stored: Plain | null = read
  for (let count = 0; stored && count < maxAttempts; count++) {
    const done = await attempt(recordOf(model, stored), stored, count > 0)
    if (done !== undefined) return done
    stored = await readAgain()
  }
  if (!stored) return undefined
  throw recordChanged(
    `${recordName(recordOf(model, stored))}: other writes changed the record during each of ${maxAttempts} attempts to ${deed}. Try again.`,
    'retry',
  )
}

/**
 * The same for the record of a document, which takes over what is stored.
 *
 * @throws {RecordError} RECORD_CHANGED, ID_NOT_SELECTED; {DocumentNotFoundError} Mongoose's own, when the record is not stored
 */
export async function rewrite<T>(
  doc: Doc,
  deed: string,
  attempt: (owner: Doc, fresh: Doc, stored: Plain, isAgain: boolean) => Promise<T | undefined>,
): Promise<T> {
  const owner = ownerOf(doc)
  const read = await readToRewrite(doc)
  const readAgain = () => fetchStored(owner, [])
  const done = await rewriteStored(modelOf(owner), read, readAgain, deed, (fresh, stored, isAgain) => {
    if (isAgain) refresh(owner, stored)
    return attempt(owner, fresh, stored, isAgain)
  })
  if (done === undefined) throw notFound(owner)
  return done
}

/**
 * Reads the record of a document before a job writes it. The document takes it over, and remembers that: should the job write in a transaction that
 * is aborted, the document is to know it again.
 *
 * @throws {RecordError} ID_NOT_SELECTED; {DocumentNotFoundError} Mongoose's own, when it is not stored
 */
export async function readToRewrite(doc: Doc): Promise<Plain> {
  const owner = ownerOf(doc)
  const stored = await requireStored(doc)
  await settleTransactions(owner, encryptedPartsOf(owner))
  refresh(owner, stored)
  const boxesIn = () => encryptedPartsOf(owner).flatMap(boxesOf)
  noteRewriting(owner, boxesIn(), (isKept) => {
    refresh(owner, stored, isKept)
    for (const box of boxesIn()) box.failure = undefined
  })
  return stored
}

/** Sends an update to the collection of a model, past the gate: here envelopes are conditions. */
export type Send = (model: AnyModel, filter: Plain, update: Plain, options: Plain) => Promise<{ matchedCount: number }>

/**
 * All of the record of a document, or of what holds a subdocument, as it is stored.
 *
 * @throws {RecordError} ID_NOT_SELECTED; {DocumentNotFoundError} Mongoose's own, when it is not stored
 */
export async function requireStored(doc: Doc): Promise<Plain> {
  requireId(doc)
  const owner = ownerOf(doc)
  const stored = await fetchStored(owner, [])
  if (!stored) throw notFound(owner)
  return stored
}

/** The error that Mongoose itself has for the save of a document that is not stored, or no longer. */
function notFound(doc: Doc): Error {
  const { Error: errors } = modelOf(doc).base
  const NotFound = errors.DocumentNotFoundError as unknown as new (filter: object, model: string) => Error
  return new NotFound({ _id: doc._id }, modelNameOf(doc))
}

/**
 * The parts of a record that a document stands for: all of them, or a subdocument alone.
 *
 * @param fresh the record as it is stored
 * @throws {AccessError} ACCESS_READ_ONLY; {OperationError} WRITE_REFUSED for a subdocument without a key of its own; {RecordError} RECORD_CHANGED for one that is not stored
 *   where it stands in the document
 */
export function partsFor(doc: Doc, fresh: Doc): Doc[] {
  if (doc.$isSubdocument && usesOf(schemaOf(doc)).every(({ byOwner }) => byOwner)) {
    throw new OperationError(
      'WRITE_REFUSED',
      `${recordName(doc)}: its data key is that of the record that holds it. Do it to that record.`,
    )
  }
  const parts = partsWithin(fresh, doc)
  requireWriting(parts)
  return parts
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
  throw recordChanged(
    `${recordName(doc)}: the subdocument is not stored, or at another place. If it is new, save the record first, else load the record.`,
    'reload',
  )
}

/** The rings of a part that have data keys, be there anything encrypted under them or not. */
export function ringsWithKeys(part: Doc): KeyRing[] {
  const own = usesOf(schemaOf(part)).filter(({ byOwner }) => !byOwner)
  return own.map((use) => currentTarget(part, use).ring).filter(({ stored }) => stored.length > 0)
}

/** The conditions under which the wrapped keys of a part are those that a ring knows. */
export function unchangedKeys({ use, stored, subject }: KeyRing, prefix: string): Plain {
  const keyPath = `${prefix}${use.keyPath}`
  const conditions: Plain = { [keyPath]: { $size: stored.length } }
  for (const [index, entry] of stored.entries())
    conditions[`${keyPath}.${index}.commitment`] = (entry as Plain | null)?.commitment ?? noValue
  const id = prefix === '' ? undefined : idOf(subject as Doc)
  if (id !== undefined) conditions[`${prefix}_id`] = id
  return conditions
}

/**
 * @param conditions on the record as it is stored, by their paths
 * @param _id as it is stored, which need not be of the type that the schema says
 * @returns whether the record was found, by these conditions
 */
export async function sendUpdate(
  owner: Doc,
  update: Plain,
  conditions: Plain,
  send: Send,
  _id: unknown,
): Promise<boolean> {
  const session = sessionOf(owner)
  const filter = { ...filterOf(owner), _id, ...conditions }
  const result = await send(modelOf(owner), filter, update, session ? { session } : {})
  return result.matchedCount === 1
}

/** What is stored after the write. */
export function withWritten(stored: Plain, written: Plain): Plain {
  let result = stored
  for (const [path, value] of Object.entries(written)) result = withValueAt(result, path.split('.'), value)
  return result
}
