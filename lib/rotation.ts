import { refresh } from './conflicts'
import { encodeContext } from './format/context'
import { bytesOf, encodeWrappedKey, referenceOf } from './format/entry'
import { decryptEnvelope, encodeAad, encryptEnvelope, parseReference } from './format/envelope'
import { OperationError, RecordError } from './errors'
import { fetchStored, filterOf, sessionOf } from './fetching'
import type { AnyModel } from './host'
import { storedPathsOf } from './layout'
import { modelNameOf } from './naming'
import { contextFor, encodePlace, openDataKey, requesterOf, storedReference } from './opening'
import type { EncryptedRecord } from './record'
import { envelopeSubtype } from './sealing'

/** How often a rotation starts anew when another write comes between its reading and its writing. */
const maxAttempts = 5

/**
 * Gives a record a new data key: every field is encrypted anew under it, and the keys before are dropped, in one write
 * that is made only if nothing of the record's encrypted fields has changed since they were read. So no field can be
 * left behind under a key that is gone. Unsaved changes of the document stay as they are.
 *
 * @throws {RecordError} RECORD_CHANGED when other writes came between every time
 * @throws {DocumentNotFoundError} Mongoose's own, when the record is not stored
 * @throws {OperationError} WRITE_REFUSED for a subdocument
 * @throws {KeyProviderError} when the KMS refuses; {DecryptionError} when a stored field does not verify
 */
export async function rotateRecord(record: EncryptedRecord): Promise<void> {
  if (record.doc.$isSubdocument) {
    throw new OperationError(
      'WRITE_REFUSED',
      `${record.place()}: the data key of a subdocument cannot be rotated in place. Put a new subdocument with the decrypted ` +
        'values in its stead, and save the owner.',
    )
  }
  for (let attempt = 1; attempt <= maxAttempts; attempt++) {
    // The whole record: another version of the schema may have put fields of its own under the same keys.
    const stored = await fetchStored(record.doc, [])
    if (!stored) throw notFound(record)
    refresh({ records: [record], stored })
    if (await tryRotation(record, stored)) return
  }
  throw new RecordError(
    'RECORD_CHANGED',
    `${record.place()}: other writes changed the record during each of ${maxAttempts} attempts to rotate its data key. Try again.`,
  )
}

/** The error that Mongoose itself has for the save of a document that is not stored, or no longer. */
function notFound({ config, doc }: EncryptedRecord): Error {
  const NotFound = config.host.mongoose.Error.DocumentNotFoundError as unknown as new (
    filter: object,
    model: string,
  ) => Error
  return new NotFound({ _id: doc._id }, modelNameOf(doc))
}

async function tryRotation(record: EncryptedRecord, stored: Record<string, unknown>): Promise<boolean> {
  const { config, doc } = record
  const plaintexts = await decryptStored(record, stored)
  if (plaintexts.size === 0) return true
  const context = contextFor(record, config.version)
  const generation = config.generations.get(config.version)!
  const generated = await config.keys.generate({ keyId: generation.keyIdOf(doc), context }, requesterOf(record))
  const opened = { key: generated.key, context: encodeContext(context) }
  const { binary } = config.host
  const entry = {
    version: config.version,
    keyId: generated.keyId,
    wrapped: generated.wrapped,
    commitment: generated.key.commitment,
    createdAt: new Date(),
  }
  const keys = [...keysInUse(record, stored), encodeWrappedKey(entry, binary)]
  const written: Record<string, unknown> = { [config.keyPath]: keys }
  const place = encodePlace(record, opened.context)
  for (const [name, plaintext] of plaintexts) {
    const envelope = encryptEnvelope(opened.key, encodeAad(place, name), plaintext)
    plaintext.fill(0)
    written[record.field(name).storedPath] = binary(envelope, envelopeSubtype)
  }
  if (!(await writeUnlessChanged(record, stored, written))) return false
  record.dataKeys.set(referenceOf(entry.commitment), opened)
  refresh({ records: [record], stored: { ...stored, ...written } })
  return true
}

/** The plaintext of every stored field, without parsing it. */
async function decryptStored(record: EncryptedRecord, stored: Record<string, unknown>): Promise<Map<string, Buffer>> {
  const plaintexts = new Map<string, Buffer>()
  for (const { name, storedPath } of record.config.fields.byName.values()) {
    if (stored[storedPath] === undefined || stored[storedPath] === null) continue
    const place = record.place(name)
    const envelope = bytesOf(stored[storedPath]) ?? new Uint8Array(0)
    const reference = parseReference(envelope, place)
    await openDataKey(record, reference, [name])
    const { key, context } = record.dataKeys.get(reference)!
    plaintexts.set(name, decryptEnvelope(key, encodeAad(encodePlace(record, context), name), envelope, place))
  }
  return plaintexts
}

/** The stored keys that must stay: those of envelopes in fields that this version of the schema does not know. */
function keysInUse({ config }: EncryptedRecord, stored: Record<string, unknown>): unknown[] {
  const keys = stored[config.keyPath] as unknown[]
  const known = new Set(storedPathsOf(config))
  const references = new Set<string>()
  for (const [path, value] of Object.entries(stored)) {
    if (known.has(path) || (value as { sub_type?: unknown } | null)?.sub_type !== envelopeSubtype) continue
    try {
      references.add(parseReference(bytesOf(value) as Uint8Array, path))
    } catch {
      // Whatever it is, it may need any of them.
      return keys
    }
  }
  return keys.filter((entry) => references.has(storedReference(entry) as string))
}

async function writeUnlessChanged(
  record: EncryptedRecord,
  stored: Record<string, unknown>,
  written: Record<string, unknown>,
): Promise<boolean> {
  const { doc, config } = record
  const { collection } = doc.constructor as unknown as AnyModel
  const unchanged = storedPathsOf(config)
    .filter((path) => path !== config.keyPath)
    .map((path) => ({ [path]: stored[path] ?? null }))
  const keys = stored[config.keyPath] as { commitment: unknown }[]
  const sameKeys = [
    { [config.keyPath]: { $size: keys.length } },
    ...keys.map(({ commitment }) => ({ [config.keyPath]: { $elemMatch: { commitment } } })),
  ]
  const session = sessionOf(doc)
  const filter = { ...filterOf(doc), $and: [...unchanged, ...sameKeys] }
  const result = await collection.updateOne(filter as never, { $set: written }, session ? { session } : {})
  return result.matchedCount === 1
}
