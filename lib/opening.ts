import type { Config } from './config'
import { encodeContext } from './format/context'
import { bytesOf, parseWrappedKey, referenceOf, type WrappedKey } from './format/entry'
import { decryptEnvelope, encodeAad, encodeAadPrefix, parseReference } from './format/envelope'
import { DecryptionError, RecordError } from './errors'
import type { Doc } from './host'
import { LockedValue } from './locked'
import { idOf, modelNameOf, ownerOf, pathInOwner } from './naming'
import { type EncryptedRecord, type OpenedKey, recordOf } from './record'
import { Sealed } from './sealed'

/** Reads a field as its virtual does: the value, or a lazy promise of it where the record is locked. */
export function readField(record: EncryptedRecord, name: string): unknown {
  const envelope = record.settle(name) ? undefined : record.envelope(name)
  if (envelope === undefined) return record.known.has(name) ? record.read(name) : undefined
  const eager = record.config.decrypt === 'onLoad'
  try {
    const reference = parseReference(envelopeBytes(envelope), record.place(name))
    if (record.dataKeys.has(reference)) {
      decryptFields(record, [name])
      return record.read(name)
    }
  } catch (error) {
    if (eager) throw error
    return new LockedValue(() => Promise.reject(error))
  }
  if (eager) throw record.failure ?? locked(record, name)
  // The state is looked up again when awaited: by then the document may have been loaded anew.
  const { config, doc } = record
  return new LockedValue(async () => {
    const current = recordOf(config, doc)
    await openFields(current, [name])
    return current.read(name)
  })
}

/**
 * Opens locked fields: one call to the KMS for each data key that is not open yet, usually one for the record.
 *
 * @throws {KeyProviderError} when the KMS refuses; {DecryptionError} when stored bytes do not verify; {RecordError}
 */
export async function openFields(record: EncryptedRecord, names: Iterable<string>): Promise<void> {
  const wanted = [...names].filter((name) => !record.settle(name) && record.envelope(name))
  const references = new Set(wanted.map((name) => referenceFor(record, name)))
  await Promise.all([...references].map((reference) => openDataKey(record, reference, wanted)))
  decryptFields(record, wanted)
}

/** Opens the data key with this reference, unless it is open. */
export async function openDataKey(
  record: EncryptedRecord,
  reference: string,
  fields: readonly string[],
): Promise<void> {
  if (record.dataKeys.has(reference)) return
  const entry = wrappedKeyFor(record, reference, fields)
  const context = contextFor(record, entry.version)
  const requester = requesterOf(record)
  const key = await record.config.keys.unwrap({ ...entry, context }, requester, record.place())
  record.dataKeys.set(reference, { key, context: encodeContext(context) })
}

/** The encryption context of a record for one generation of keys. */
export function contextFor(record: EncryptedRecord, version: number) {
  const generation = record.config.generations.get(version)
  if (!generation) {
    throw new DecryptionError(
      'KEY_VERSION_UNKNOWN',
      `${record.place()}: a data key of version ${version} is stored, and the plugin knows version ` +
        `${[...record.config.generations.keys()].join(', ')}. Describe the missing one in previousVersions.`,
    )
  }
  const context = generation.contextOf(record.doc)
  const loaded = record.loadedContexts?.get(version)
  if (loaded && !encodeContext(context).equals(loaded)) {
    throw new RecordError(
      'CONTEXT_CHANGED',
      `${record.place()}: what the encryption context depends on was changed since the record was loaded, and its ` +
        'fields are bound to the context they were written under. Set it back, or move the values to a new record.',
    )
  }
  return context
}

/** Remembers the encryption contexts of a record that was just loaded, to notice when a change of the record alters one. */
export function rememberContexts(config: Config, doc: Doc): void {
  const record = recordOf(config, doc)
  const contexts = new Map<number, Buffer>()
  for (const [version, generation] of config.generations) {
    try {
      contexts.set(version, encodeContext(generation.contextOf(doc)))
    } catch {
      // A partly selected record may have no context. That must not fail the find; it does fail the opening.
    }
  }
  record.loadedContexts = contexts
}

/** Who asks the KMS, for the trace. */
export function requesterOf(record: EncryptedRecord) {
  return { model: modelNameOf(record.doc), id: record.doc._id, fields: [...record.config.fields.byName.keys()] }
}

/** What all envelopes of a record under one key are bound to, for `encodeAad`. */
export function encodePlace(record: EncryptedRecord, context: Uint8Array): Buffer {
  const { doc, config } = record
  const owner = ownerOf(doc)
  const place = owner === doc ? { v: idOf(doc) } : { v: idOf(owner), at: pathInOwner(doc), id: idOf(doc) }
  return encodeAadPrefix(context, config.host.serialize(place))
}

/** The wrapped keys as they are stored on the record, unparsed: one that is damaged must not stop the others. */
export function storedKeys(record: EncryptedRecord): readonly unknown[] {
  const sealed = record.doc[record.config.keyPath]
  const stored = sealed instanceof Sealed ? sealed.toBSON() : undefined
  return Array.isArray(stored) ? stored : []
}

/** The commitment of a stored key, without checking the rest of it. */
export function storedCommitment(stored: unknown): Uint8Array | undefined {
  return bytesOf((stored as { commitment?: unknown } | null)?.commitment)
}

/** The reference of a stored key, likewise. */
export function storedReference(stored: unknown): string | undefined {
  const commitment = storedCommitment(stored)
  return commitment && referenceOf(commitment)
}

function wrappedKeyFor(record: EncryptedRecord, reference: string, fields: readonly string[]): WrappedKey {
  const stored = storedKeys(record).find((entry) => storedReference(entry) === reference)
  if (stored !== undefined) return parseWrappedKey(stored, record.place())
  const { doc, config } = record
  if (!doc.$isNew && !doc.isSelected(config.keyPath)) {
    throw new RecordError(
      'KEY_NOT_SELECTED',
      `${record.place()}: ${config.keyPath} was not selected when the record was loaded. Select it, or the whole record.`,
    )
  }
  throw new DecryptionError(
    'DATA_KEY_MISSING',
    `${record.place(fields.join(', '))}: the record has no data key with the reference ${reference}. The stored bytes are damaged ` +
      'or come from another record.',
  )
}

function referenceFor(record: EncryptedRecord, name: string): string {
  return parseReference(envelopeBytes(record.envelope(name) as Sealed), record.place(name))
}

/** Decrypts locked fields whose data keys are open, all or none. */
function decryptFields(record: EncryptedRecord, names: readonly string[]): void {
  const values: Record<string, unknown> = {}
  for (const name of names) {
    const sealed = record.envelope(name)
    // Another access may have opened it meanwhile, or the user may have set it.
    if (!sealed) continue
    const envelope = envelopeBytes(sealed)
    const place = record.place(name)
    const opened = record.dataKeys.get(parseReference(envelope, place))
    if (!opened) throw locked(record, name)
    values[name] = decryptField(record, name, envelope, opened)
  }
  if (Object.keys(values).length === 0) return
  record.learn(values)
  for (const name of Object.keys(values)) if (record.field(name).nested) record.fillDefaults(name)
}

/** What is stored for a field whose data key is open, decrypted anew; `undefined` where nothing is, or nothing is open. */
export function readStored(record: EncryptedRecord, name: string): unknown {
  const sealed = record.doc[record.field(name).storedPath]
  if (!(sealed instanceof Sealed)) return undefined
  const envelope = envelopeBytes(sealed)
  const place = record.place(name)
  const opened = record.dataKeys.get(parseReference(envelope, place))
  return opened && decryptField(record, name, envelope, opened)
}

function decryptField(
  record: EncryptedRecord,
  name: string,
  envelope: Uint8Array,
  { key, context }: OpenedKey,
): unknown {
  const aad = encodeAad(encodePlace(record, context), name)
  // The plaintext is not zeroed: binary values are views into it.
  return record.config.host.deserialize(decryptEnvelope(key, aad, envelope, record.place(name))).v
}

function envelopeBytes(sealed: Sealed): Uint8Array {
  // Anything but binary data is not an envelope; its length says so.
  return bytesOf(sealed.toBSON()) ?? new Uint8Array(0)
}

function locked(record: EncryptedRecord, name: string): RecordError {
  return new RecordError(
    'RECORD_LOCKED',
    `${record.place(name)}: the record is locked. Open it first with \`await record.decrypt()\`.`,
  )
}
