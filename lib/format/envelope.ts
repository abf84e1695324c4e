import { DecryptionError, type PlaceName, textOf } from '../errors'
import { lengthPrefixed } from './bytes'
import { decrypt, encrypt, nonceLength, tagLength } from './cipher'
import { type DataKey, type KeyReference, readReference, referenceLength } from './datakey'
import { bytesOf, type MakeBinary } from './entry'
import { RandomBytes } from './random'

/** AES-256-GCM with a key from HKDF-SHA-256, the one suite of format version 1. */
const suite = 1
const headerLength = 1 + referenceLength + nonceLength

/** How many bytes an envelope is longer than what it holds. */
const envelopeOverhead = headerLength + tagLength

/** BSON's first user-defined binary subtype: tells an envelope from other binary data in the raw document. */
export const envelopeSubtype = 0x80

/** The bytes of an envelope as the driver gives it; `undefined` for whatever else is stored in its place. */
export function envelopeOf(stored: unknown): Uint8Array | undefined {
  const bytes = bytesOf(stored)
  // Where the driver gives buffers, the subtype is not to be seen.
  const { sub_type: subtype = envelopeSubtype } = (stored ?? {}) as { sub_type?: number }
  return bytes && subtype === envelopeSubtype ? bytes : undefined
}

/** An envelope as it is stored: the mirror of {@link envelopeOf}. */
export function encodeEnvelope(envelope: Uint8Array, binary: MakeBinary): unknown {
  return binary(envelope, envelopeSubtype)
}

const label = Buffer.from('mongoose-kms-encrypted/1')
const suiteBytes = Buffer.of(suite)

/**
 * The part of the AAD that all envelopes of one record under one key share.
 *
 * @param context the encryption context, by `encodeContext`
 * @param id the record's `_id` with its type: BSON of `{ v: _id }`
 */
export function encodeAadPrefix(context: Uint8Array, id: Uint8Array): Buffer {
  return lengthPrefixed([label, suiteBytes, context, id])
}

/** The AAD of one field, such as `email`: injective, so that no other field, record or context has the same. */
export function encodeAad(prefix: Uint8Array, path: string): Buffer {
  const length = Buffer.byteLength(path)
  const aad = Buffer.allocUnsafe(prefix.length + 4 + length)
  aad.set(prefix)
  aad.write(path, aad.writeUInt32BE(length, prefix.length))
  return aad
}

const nonces = new RandomBytes()

/** Encrypts the bytes of one field: suite 1 ‖ key reference 4 ‖ nonce 12 ‖ ciphertext ‖ tag 16. */
export function encryptEnvelope(key: DataKey, aad: Uint8Array, plaintext: Uint8Array): Buffer {
  const envelope = Buffer.allocUnsafe(envelopeOverhead + plaintext.length)
  const nonce = envelope.subarray(1 + referenceLength, headerLength)
  envelope[0] = suite
  key.commitment.copy(envelope, 1, 0, referenceLength)
  nonces.drawInto(nonce)
  const { ciphertext, tag } = encrypt(key.encryptionKey, nonce, aad, plaintext)
  ciphertext.copy(envelope, headerLength)
  tag.copy(envelope, headerLength + ciphertext.length)
  return envelope
}

/**
 * Reads which data key an envelope needs.
 *
 * @param place names the field for messages, such as `User/65f0… email`
 * @throws {DecryptionError} ENVELOPE_TRUNCATED, ENVELOPE_UNKNOWN
 */
export function parseReference(envelope: Uint8Array, place: PlaceName): KeyReference {
  if (envelope.length < envelopeOverhead) {
    throw new DecryptionError(
      'ENVELOPE_TRUNCATED',
      `${textOf(place)}: an envelope has at least ${envelopeOverhead} bytes, the stored one has ${envelope.length}. ` +
        'Restore the field from a backup or set it anew.',
    )
  }
  if (envelope[0] !== suite) {
    throw new DecryptionError(
      'ENVELOPE_UNKNOWN',
      `${textOf(place)}: expected an envelope of suite ${suite}, got ${envelope[0]}. ` +
        'It is damaged, or a newer version of this library wrote it.',
    )
  }
  return readReference(envelope, 1)
}

/**
 * The mirror of {@link encryptEnvelope}.
 *
 * @throws {DecryptionError} ENVELOPE_TRUNCATED, ENVELOPE_UNKNOWN, or ENVELOPE_REJECTED when the tag does not verify
 */
export function decryptEnvelope(key: DataKey, aad: Uint8Array, envelope: Uint8Array, place: PlaceName): Buffer {
  parseReference(envelope, place)
  const end = envelope.length - tagLength
  const plaintext = decrypt(
    key.encryptionKey,
    envelope.subarray(1 + referenceLength, headerLength),
    aad,
    envelope.subarray(headerLength, end),
    envelope.subarray(end),
  )
  if (plaintext === undefined) {
    throw new DecryptionError(
      'ENVELOPE_REJECTED',
      `${textOf(place)}: the stored bytes do not verify. They are damaged, or were written for another field, record or ` +
        'encryption context. Restore the field from a backup or set it anew.',
    )
  }
  return plaintext
}

/** Whether bytes have the form of an envelope of this format; what is in it need not verify. */
export function looksLikeEnvelope(bytes: Uint8Array): boolean {
  return bytes.length >= envelopeOverhead && bytes[0] === suite
}
