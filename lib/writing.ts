import { encodeWrappedKey, type WrappedKey } from './format/entry'
import { RecordError } from './errors'
import { changeGuards, guard, liftGuard, placed } from './guards'
import { keyForWriting } from './keying'
import { ownerOf, topOf } from './naming'
import { noticeRecord } from './noticing'
import { contextFor, openFields, storedKeys } from './opening'
import type { EncryptedRecord, Staged, UsedKey } from './record'
import { assignSealed, mint, restore } from './sealed'
import { isLeft, isPresent, seal, valuesToWrite } from './sealing'
import { restoreAborted, uncommittedOf } from './transactions'

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
    for (const [name, before] of staged.fields) restore(doc, record.field(name).storedPath, before)
    if (staged.keysBefore) restore(doc, config.keyPath, staged.keysBefore.value)
  })
  record.values.$isNew = doc.$isNew
  for (const path of staged.modified) record.values.markModified(path)
}

/** Whether the staged write reached the database although the save failed later on, in a hook after it. */
export function wasWritten(record: EncryptedRecord): boolean {
  const { staged, doc } = record
  if (!staged || doc.$isNew) return false
  return [...staged.fields.keys()].every((name) => !doc.isModified(record.field(name).storedPath))
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
