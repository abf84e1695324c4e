import { encodeContext } from './format/context'
import { parseWrappedKey, referenceOf, type WrappedKey } from './format/entry'
import { RecordError } from './errors'
import { fetchStored } from './fetching'
import { contextFor, openDataKey, requesterOf, storedCommitment, storedKeys, storedReference } from './opening'
import type { EncryptedRecord, OpenedKey, UsedKey } from './record'
import { assignSealed, restore, Sealed } from './sealed'

/** The data key to encrypt with: the record's own of the current version, or a new one. */
export async function keyForWriting(record: EncryptedRecord): Promise<UsedKey> {
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
  if (keys !== undefined && keys !== null) assignSealed(() => restore(doc, config.keyPath, new Sealed(keys)))
}

async function generate(record: EncryptedRecord, stored: readonly unknown[]): Promise<WrappedKey> {
  const { config, doc } = record
  const context = contextFor(record, config.version)
  const encoded = encodeContext(context)
  // A save that failed after the key was generated uses the same key when it is tried again.
  const { unsaved } = record
  const opened = unsaved && record.dataKeys.get(referenceOf(unsaved.commitment))
  if (opened && encoded.equals(opened.context)) return unsaved
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
