import { randomBytes } from 'node:crypto'
import { isToSave } from './arguments'
import { nonceLength } from './format/cipher'
import { encodeAad, encryptEnvelope } from './format/envelope'
import { encodePlace } from './opening'
import type { EncryptedRecord, OpenedKey } from './record'
import { mint } from './sealed'

/** BSON's first user-defined binary subtype: tells an envelope from other binary data in the raw document. */
export const envelopeSubtype = 0x80

/** The values that the next write has to encrypt or remove, in the shape in which they are stored. */
export function valuesToWrite(record: EncryptedRecord): Map<string, unknown> {
  const { known, values, doc, staged } = record
  const written = new Map<string, unknown>()
  let shape: Record<string, unknown> | undefined
  const shapeOnce = () => {
    shape ??= record.shape()
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
export function isLeft({ doc }: EncryptedRecord, name: string): boolean {
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
  const shape = record.shape()
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
export function seal(
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

/** Whether the record holds a value that the database has not seen and that nothing has encrypted. */
export function isUnencrypted(record: EncryptedRecord): boolean {
  return [...valuesToWrite(record).values()].some(isPresent)
}

/** Whether a value is one to encrypt: null and undefined are stored as they are. */
export function isPresent(value: unknown): boolean {
  return value !== null && value !== undefined
}

function isEmpty(value: unknown): boolean {
  return (
    typeof value === 'object' &&
    value !== null &&
    Object.values(value).every((item) => item === undefined || isEmpty(item))
  )
}
