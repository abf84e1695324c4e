import { RecordError } from './errors'
import { fetchStored } from './fetching'
import type { AnyModel, Doc } from './host'
import { storedPathsOf } from './layout'
import { recordName } from './naming'
import { storedCommitment } from './opening'
import type { EncryptedRecord, UsedKey } from './record'
import { touchedRecordsOf } from './records'
import { assignSealed, restore, Sealed } from './sealed'

/** What was found of a document whose save matched nothing. */
export interface Overtaken {
  readonly records: readonly EncryptedRecord[]
  readonly stored: Record<string, unknown>
}

/**
 * Finds out whether a save matched nothing because another process changed the record's keys meanwhile. To be called
 * before what was staged is taken back.
 */
export async function findOvertaken(doc: Doc): Promise<Overtaken | undefined> {
  const guarded = touchedRecordsOf(doc).filter((record) => record.staged?.guard)
  if (guarded.length === 0) return undefined
  const stored = await fetchStored(
    doc,
    guarded.flatMap((record) => storedPathsOf(record.config)),
  )
  if (!stored) return undefined
  const records = guarded.filter((record) => !stillHolds(stored[record.config.keyPath], record.staged?.used as UsedKey))
  return records.length > 0 ? { records, stored } : undefined
}

/** Takes over the keys and ciphertexts that are stored now, so that the same save can be tried again. */
export function refresh({ records, stored }: Overtaken): void {
  for (const record of records) {
    const modified = new Set(
      record.modifiedPaths((values) => values.directModifiedPaths()).map((path) => path.split('.')[0]),
    )
    assignSealed(() => {
      takeOver(record, record.config.keyPath, stored)
      for (const field of record.config.fields.byName.values()) {
        if (!modified.has(field.name) && record.doc.isSelected(field.storedPath))
          takeOver(record, field.storedPath, stored)
      }
    })
    record.unsaved = undefined
  }
}

/** The error for a save that was overtaken. */
export function overtakenError(doc: Doc, { records }: Overtaken, cause: unknown): RecordError {
  const place = records[0]?.place() ?? String(doc._id)
  return new RecordError(
    'RECORD_CHANGED',
    `${place}: another process changed the record's data key since it was loaded, and nothing was written. ` +
      'The document has the new key now: save it again.',
    { cause },
  )
}

/** The same for documents of a `bulkSave()`. */
export function overtakenBulkError(model: AnyModel, overtaken: readonly Overtaken[], cause: unknown): RecordError {
  const places = overtaken.flatMap(({ records }) => records.map((record) => record.place()))
  return new RecordError(
    'RECORD_CHANGED',
    `${model.modelName}.bulkSave(): another process changed the data keys of ${places.join(', ')} since they were loaded, and those ` +
      'were not written. The documents have the new keys now: save them again.',
    { cause },
  )
}

/** The same for one in a subdocument, which is not refreshed: its place in the record may have changed too. */
export function overtakenSubdocumentError(doc: Doc, cause: unknown): RecordError {
  return new RecordError(
    'RECORD_CHANGED',
    `${recordName(doc)}: another process changed a subdocument or its data key since the record was loaded, and nothing was ` +
      'written. Load the record again and repeat the change.',
    { cause },
  )
}

/** Whether stored wrapped keys hold the one with this commitment. */
export function hasKey(stored: unknown, commitment: Uint8Array): boolean {
  if (!Array.isArray(stored)) return false
  return stored.map(storedCommitment).some((bytes) => bytes !== undefined && Buffer.compare(bytes, commitment) === 0)
}

/** The same as the guard of the write, on what was read. */
function stillHolds(stored: unknown, used: UsedKey): boolean {
  if (!used.added) return hasKey(stored, used.commitment)
  const count = Array.isArray(stored) ? stored.length : 0
  const isExactly = (commitments: readonly Uint8Array[]) =>
    count === commitments.length && commitments.every((commitment) => hasKey(stored, commitment))
  return isExactly(used.before) || isExactly([...used.before, used.commitment])
}

function takeOver(record: EncryptedRecord, path: string, stored: Record<string, unknown>): void {
  const value = stored[path]
  restore(record.doc, path, value === undefined || value === null ? value : new Sealed(value))
}
