import { randomBytes } from 'node:crypto'
import { isToSave } from './arguments'
import { nonceLength } from './cipher'
import type { Config } from './config'
import { encodeContext } from './context'
import { bytesOf, encodeWrappedKey, parseWrappedKey, referenceOf, type WrappedKey } from './entry'
import { encodeAad, encryptEnvelope } from './envelope'
import { RecordError } from './errors'
import { fetchStored, sessionOf } from './fetching'
import { storedShape } from './fields'
import type { Doc } from './host'
import { idOf, ownerOf, pathInOwner, topOf } from './naming'
import { noticeRecord } from './noticing'
import {
  contextFor,
  encodePlace,
  openDataKey,
  openFields,
  requesterOf,
  storedCommitment,
  storedKeys,
  storedReference,
} from './opening'
import type { EncryptedRecord, OpenedKey } from './record'
import { assignSealed, mint, Sealed } from './sealed'

/** BSON's first user-defined binary subtype: tells an envelope from other binary data in the raw document. */
export const envelopeSubtype = 0x80

/** What a write put on the document, and how to take it back. */
export interface Staged {
  /** The fields written, with what was stored before. */
  readonly fields: Map<string, unknown>
  /** The paths of open values that were modified. */
  readonly modified: Set<string>
  /** What was at the key path before, where the write changes it. */
  keysBefore?: { readonly value: unknown }
  /** The condition that the write is under. */
  guard?: Record<string, unknown>
  /** The data key that the fields were encrypted with, if any needed one. */
  used?: UsedKey
}

/**
 * Encrypts what was modified and puts it on the document, for Mongoose to write. Asks the KMS only where something is
 * to be encrypted, and before anything on the document changes: when it refuses, the document is as the user had it.
 * May be called again for what was modified since.
 */
export async function stage(record: EncryptedRecord): Promise<void> {
  const { doc, config } = record
  await restoreAborted(record)
  if (record.loadedContexts && !doc.$isNew) checkContexts(record)
  if (doc.$isNew) settleAll(record)
  await openFields(record, record.marked)
  for (const name of record.marked) record.values.markModified(name)
  record.marked.clear()
  noticeRecord(record)

  let values = valuesToWrite(record)
  let used: UsedKey | undefined
  while (!used && [...values.values()].some(isPresent)) {
    used = await keyForWriting(record)
    // The user may have changed values while the KMS was asked.
    values = valuesToWrite(record)
  }
  if (values.size === 0) return
  const envelopes = seal(record, values, used?.opened)

  const staged: Staged = record.staged ?? { fields: new Map(), modified: new Set() }
  assignSealed(() => {
    for (const [name, envelope] of envelopes) assignEnvelope(record, staged, name, envelope)
    if (used?.added) assignKeys(record, staged, used.added)
  })
  if (used && !doc.$isNew) {
    liftGuard(record, staged)
    staged.guard = placed(doc, guard(config, used))
    changeGuards(ownerOf(doc), (guards) => guards.add(staged.guard!))
  }
  const modified = record.values.directModifiedPaths()
  record.values.$clearModifiedPaths()
  for (const path of modified) {
    if (isLeft(record, topOf(path))) record.values.markModified(path)
    else staged.modified.add(path)
  }
  if (used) staged.used = used
  record.staged = staged
}

/** After the write: what was staged is what is stored. */
export function commit(record: EncryptedRecord): void {
  const { staged, doc } = record
  if (!staged) return
  liftGuard(record, staged)
  record.staged = undefined
  record.unsaved = undefined
  record.values.$isNew = false
  record.uncommitted = uncommittedOf(record, staged)
  for (const name of staged.fields.keys()) {
    // `save({ pathsToSave })` leaves what it did not write modified.
    if (doc.isModified(record.field(name).storedPath)) record.values.markModified(name)
    else if (!record.values.isModified(name)) record.assigned.delete(name)
  }
}

/** After a failed write: the document is as the user had it, and the next save writes the same again. */
export function rollback(record: EncryptedRecord): void {
  const { staged, doc, config } = record
  if (!staged) return
  liftGuard(record, staged)
  record.staged = undefined
  assignSealed(() => {
    for (const [name, before] of staged.fields) restore(record, record.field(name).storedPath, before)
    if (staged.keysBefore) restore(record, config.keyPath, staged.keysBefore.value)
  })
  record.values.$isNew = doc.$isNew
  for (const path of staged.modified) record.values.markModified(path)
}

/** What was written in a transaction that may still be aborted. */
export interface Uncommitted {
  /** The driver's own object, one for each transaction. */
  readonly transaction: { readonly isActive: boolean; readonly isCommitted: boolean }
  readonly staged: Staged
}

function uncommittedOf(record: EncryptedRecord, staged: Staged): Uncommitted | undefined {
  const session = sessionOf(record.doc)
  if (!session?.inTransaction()) return undefined
  const { transaction } = session as unknown as Uncommitted
  const earlier = record.uncommitted?.transaction === transaction ? record.uncommitted.staged : undefined
  return { transaction, staged: earlier ? joined(earlier, staged) : staged }
}

/** Two writes of one transaction, which take effect together or not at all. */
function joined(earlier: Staged, later: Staged): Staged {
  const keysBefore = earlier.keysBefore ?? later.keysBefore
  const used = earlier.used?.added ? earlier.used : (later.used ?? earlier.used)
  return {
    fields: new Map([...later.fields, ...earlier.fields]),
    modified: new Set([...earlier.modified, ...later.modified]),
    ...(keysBefore ? { keysBefore } : {}),
    ...(used ? { used } : {}),
  }
}

/** What an aborted transaction wrote is written again, by the save that runs when the transaction is tried anew. */
async function restoreAborted(record: EncryptedRecord): Promise<void> {
  const { uncommitted, doc, config } = record
  if (!uncommitted || uncommitted.transaction.isActive) return
  record.uncommitted = undefined
  const { staged } = uncommitted
  if (!doc.$isNew && (await wasCommitted(record, uncommitted))) return
  if (staged.keysBefore) {
    const { value } = staged.keysBefore
    assignSealed(() => restore(record, config.keyPath, value))
    record.unsaved = staged.used?.added
  }
  for (const path of staged.modified) record.values.markModified(path)
}

/** Asks the database: the driver takes a transaction for committed also when its commit failed. */
async function wasCommitted(record: EncryptedRecord, { transaction, staged }: Uncommitted): Promise<boolean> {
  const { doc, config } = record
  if (doc.$isSubdocument) return transaction.isCommitted
  const paths = [...staged.fields.keys()].map((name) => record.field(name).storedPath)
  const stored = await fetchStored(doc, [config.keyPath, ...paths])
  if (!stored) return false
  const keys = stored[config.keyPath]
  const { used } = staged
  // Another process may have written the fields since, but under a key that came with the transaction.
  if (used?.added && Array.isArray(keys)) {
    return keys.map(storedCommitment).some((commitment) => commitment && used.opened.key.matches(commitment))
  }
  return paths.some((path) => isSameEnvelope(stored[path], doc[path]))
}

function isSameEnvelope(stored: unknown, held: unknown): boolean {
  const [one, other] = [bytesOf(stored), bytesOf(held instanceof Sealed ? held.toBSON() : undefined)]
  return one && other ? Buffer.compare(one, other) === 0 : one === other
}

/** Whether the staged write reached the database although the save failed later on, in a hook after it. */
export function wasWritten(record: EncryptedRecord): boolean {
  const { staged, doc } = record
  if (!staged || doc.$isNew) return false
  return [...staged.fields.keys()].every((name) => !doc.isModified(record.field(name).storedPath))
}

/** The data key of a write. */
export interface UsedKey {
  readonly opened: OpenedKey
  readonly commitment: Uint8Array
  /** The entry to store, where the record does not have it yet. */
  readonly added?: WrappedKey
  /** The commitments of the keys that the record had when it was loaded. */
  readonly before: readonly Uint8Array[]
}

/** Every field of a new record is written, so each needs its value: set, or by default. */
function settleAll(record: EncryptedRecord): void {
  for (const name of record.config.fields.byName.keys()) {
    if (record.settle(name) || record.staged) continue
    throw new RecordError(
      'RECORD_LOCKED',
      `${record.place(name)}: this is a copy of a record, and its ciphertext is bound to the other one. Open that one with ` +
        '`await record.decrypt()` and assign the values to a new record.',
    )
  }
}

/** A change of what the context depends on would leave every field unreadable, so even a save of other paths is refused. */
function checkContexts(record: EncryptedRecord): void {
  for (const stored of storedKeys(record)) {
    const version = (stored as { version?: unknown } | null)?.version
    if (typeof version === 'number' && record.loadedContexts?.has(version)) contextFor(record, version)
  }
}

/** The values that the next write has to encrypt or remove, in the shape in which they are stored. */
function valuesToWrite(record: EncryptedRecord): Map<string, unknown> {
  const { known, values, doc, staged } = record
  const written = new Map<string, unknown>()
  let shape: Record<string, unknown> | undefined
  const shapeOnce = () => {
    shape ??= values.toObject(storedShape) as Record<string, unknown>
    return shape
  }
  for (const name of known) {
    const isFirst = doc.$isNew && !staged?.fields.has(name)
    if (!isFirst && (!values.isModified(name) || isLeft(record, name))) continue
    const value = storedValue(record, name, shapeOnce)
    if (!isFirst || value !== undefined) written.set(name, value)
  }
  return written
}

/** Whether a field is left for a later save, by the option `pathsToSave`. */
function isLeft({ doc }: EncryptedRecord, name: string): boolean {
  return !doc.$isNew && !isToSave(doc, name)
}

function storedValue(record: EncryptedRecord, name: string, shape: () => Record<string, unknown>): unknown {
  const { values } = record
  const { nested } = record.field(name)
  if (!nested) {
    const value = values.get(name, null, { getters: false })
    if (value === null || typeof value !== 'object' || value instanceof Date) return value
  }
  const value = shape()[name]
  // A nested object is always there in Mongoose; it counts as absent until something is in it, or it is set.
  const isAbsent = nested && !record.assigned.has(name) && isEmpty(value) && !values.isModified(name)
  return isAbsent ? undefined : value
}

/** The values that an open record has, in the shape in which they are stored. */
export function openValuesOf(record: EncryptedRecord): Record<string, unknown> {
  const shape = record.values.toObject(storedShape) as Record<string, unknown>
  const values = [...record.known].map((name) => [name, storedValue(record, name, () => shape)] as const)
  return Object.fromEntries(values.filter(([, value]) => value !== undefined))
}

/** Gives a clone of a document the open values, the changes and the open keys of the original. */
export function copyRecord(record: EncryptedRecord, clone: EncryptedRecord): void {
  clone.learn({ ...Object.fromEntries([...record.known].map((name) => [name, undefined])), ...openValuesOf(record) })
  for (const path of record.values.directModifiedPaths()) clone.values.markModified(path)
  for (const name of record.assigned) clone.assigned.add(name)
  for (const name of record.marked) clone.marked.add(name)
  for (const [reference, key] of record.dataKeys) clone.dataKeys.set(reference, key)
  clone.loadedContexts = record.loadedContexts
}

/** The envelopes of values; what is null or undefined stays as it is. */
function seal(
  record: EncryptedRecord,
  values: ReadonlyMap<string, unknown>,
  used: OpenedKey | undefined,
): Map<string, unknown> {
  const { host } = record.config
  const place = used && encodePlace(record, used.context)
  // One call for all nonces: the call costs more than the bytes.
  const nonces = randomBytes(nonceLength * values.size)
  const envelopes = new Map<string, unknown>()
  for (const [name, value] of values) {
    if (!isPresent(value)) {
      envelopes.set(name, value)
      continue
    }
    const plaintext = host.serialize({ v: value })
    const nonce = nonces.subarray(envelopes.size * nonceLength, (envelopes.size + 1) * nonceLength)
    const envelope = encryptEnvelope(used!.key, encodeAad(place!, name), plaintext, nonce)
    plaintext.fill(0)
    envelopes.set(name, mint(host.binary(envelope, envelopeSubtype)))
  }
  return envelopes
}

/** The data key to encrypt with: the record's own of the current version, or a new one. */
async function keyForWriting(record: EncryptedRecord): Promise<UsedKey> {
  const { config, doc } = record
  if (!doc.$isNew && !doc.isSelected(config.keyPath) && !(doc[config.keyPath] instanceof Sealed)) await loadKeys(record)
  const stored = doc.$isNew ? [] : storedKeys(record)
  const before = stored.map(storedCommitment).filter((commitment) => commitment !== undefined)
  const current = stored.filter((entry) => (entry as { version?: unknown } | null)?.version === config.version).at(-1)
  if (current !== undefined) {
    const { commitment } = parseWrappedKey(current, record.place())
    const reference = referenceOf(commitment)
    await openDataKey(record, reference, [])
    return { opened: record.dataKeys.get(reference) as OpenedKey, commitment, before }
  }
  const added = await generate(record, stored)
  const opened = record.dataKeys.get(referenceOf(added.commitment)) as OpenedKey
  return { opened, commitment: added.commitment, added, before }
}

/** Fetches the wrapped keys of a record that was loaded without them. */
async function loadKeys(record: EncryptedRecord): Promise<void> {
  const { doc, config } = record
  if (doc.$isSubdocument) {
    throw new RecordError(
      'KEY_NOT_SELECTED',
      `${record.place()}: ${config.keyPath} was not selected when the record was loaded. Select the subdocument whole.`,
    )
  }
  const stored = await fetchStored(doc, [config.keyPath])
  const keys = stored?.[config.keyPath]
  if (keys !== undefined && keys !== null) assignSealed(() => restore(record, config.keyPath, new Sealed(keys)))
}

async function generate(record: EncryptedRecord, stored: readonly unknown[]): Promise<WrappedKey> {
  const { config, doc } = record
  const context = contextFor(record, config.version)
  const encoded = encodeContext(context)
  // A save that failed after the key was generated uses the same key when it is tried again.
  const { unsaved } = record
  if (
    unsaved &&
    record.dataKeys.get(referenceOf(unsaved.commitment))?.context &&
    sameContext(record, unsaved, encoded)
  ) {
    return unsaved
  }
  const generation = config.generations.get(config.version)!
  const request = { keyId: generation.keyIdOf(doc), context }
  const { key, wrapped, keyId } = await config.keys.generate(request, requesterOf(record))
  const reference = referenceOf(key.commitment)
  // Four bytes tell the keys of a record apart; should chance make two alike, another key is drawn.
  if (stored.some((entry) => storedReference(entry) === reference)) return generate(record, stored)
  const entry = { version: config.version, keyId, wrapped, commitment: key.commitment, createdAt: new Date() }
  record.dataKeys.set(reference, { key, context: encoded })
  record.unsaved = entry
  return entry
}

function sameContext(record: EncryptedRecord, entry: WrappedKey, context: Buffer): boolean {
  return context.equals(record.dataKeys.get(referenceOf(entry.commitment))?.context ?? Buffer.alloc(0))
}

/** Ties an update to the keys that the record had: a record whose keys changed meanwhile is not written to. */
export function guard({ keyPath, host: { binary } }: Config, used: UsedKey): Record<string, unknown> {
  const has = (commitment: Uint8Array) => ({ $elemMatch: { commitment: binary(commitment) } })
  if (!used.added) return { [keyPath]: has(used.commitment) }
  const exactly = (commitments: readonly Uint8Array[]) =>
    commitments.length === 0
      ? { [keyPath]: null }
      : {
          $and: [
            { [keyPath]: { $size: commitments.length } },
            ...commitments.map((commitment) => ({ [keyPath]: has(commitment) })),
          ],
        }
  // The keys as they were, or as this very write left them, should its acknowledgement have been lost.
  return { $or: [exactly(used.before), exactly([...used.before, used.commitment])] }
}

function assignEnvelope(record: EncryptedRecord, staged: Staged, name: string, envelope: unknown): void {
  const { doc } = record
  const { storedPath } = record.field(name)
  if (!staged.fields.has(name)) staged.fields.set(name, doc[storedPath])
  doc.set(storedPath, envelope)
  // Two boxes look the same to Mongoose, which would take the new one for unmodified.
  doc.markModified(storedPath)
}

function assignKeys(record: EncryptedRecord, staged: Staged, added: WrappedKey): void {
  const { doc, config } = record
  staged.keysBefore ??= { value: doc[config.keyPath] }
  const kept = doc.$isNew ? [] : storedKeys(record)
  doc.set(config.keyPath, mint([...kept, encodeWrappedKey(added, config.host.binary)]))
  doc.markModified(config.keyPath)
}

function restore(record: EncryptedRecord, path: string, value: unknown): void {
  record.doc.set(path, value)
  record.doc.unmarkModified(path)
}

/** A condition on a subdocument, as a condition on the document that it is stored in. */
function placed(doc: Doc, condition: Record<string, unknown>): Record<string, unknown> {
  const parent = (doc as unknown as { $parent?(): Doc | undefined }).$parent?.()
  if (!doc.$isSubdocument || !parent) return condition
  const path = pathInOwner(doc).slice(parent.$isSubdocument ? pathInOwner(parent).length + 1 : 0)
  if (!('parentArray' in doc)) {
    return placed(parent, prefixed(condition, path))
  }
  const element = idOf(doc) === undefined ? condition : { _id: idOf(doc), ...condition }
  return placed(parent, { [path]: { $elemMatch: element } })
}

/** A condition on what stands at a path, with the logical operators left on top. */
function prefixed(condition: Record<string, unknown>, path: string): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(condition).map(([key, value]) =>
      key.startsWith('$')
        ? [key, (value as Record<string, unknown>[]).map((each) => prefixed(each, path))]
        : [`${path}.${key}`, value],
    ),
  )
}

/** The conditions that writes under way put on a document, beside the user's own `$where`. */
const guarded = new WeakMap<Doc, { readonly own: unknown; readonly guards: Set<Record<string, unknown>> }>()

function changeGuards(owner: Doc, change: (guards: Set<Record<string, unknown>>) => void): void {
  const { own, guards } = guarded.get(owner) ?? { own: owner.$where, guards: new Set<Record<string, unknown>>() }
  change(guards)
  if (guards.size > 0) {
    guarded.set(owner, { own, guards })
    owner.$where = { $and: [...(own ? [own] : []), ...guards] } as never
  } else {
    guarded.delete(owner)
    owner.$where = own as never
  }
}

function liftGuard(record: EncryptedRecord, staged: Staged): void {
  const { guard } = staged
  if (!guard) return
  staged.guard = undefined
  changeGuards(ownerOf(record.doc), (guards) => guards.delete(guard))
}

/** Whether the record holds a value that the database has not seen and that nothing has encrypted. */
export function isUnencrypted(record: EncryptedRecord): boolean {
  return [...valuesToWrite(record).values()].some(isPresent)
}

function isPresent(value: unknown): boolean {
  return value !== null && value !== undefined
}

function isEmpty(value: unknown): boolean {
  return (
    typeof value === 'object' &&
    value !== null &&
    Object.values(value).every((item) => item === undefined || isEmpty(item))
  )
}
