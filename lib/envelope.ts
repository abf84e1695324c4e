import { randomFillSync } from 'node:crypto'
import { lengthPrefixed } from './bytes'
import { decrypt, encrypt, nonceLength, tagLength } from './cipher'
import { type DataKey, referenceLength } from './datakey'
import { DecryptionError } from './errors'

/** AES-256-GCM with a key from HKDF-SHA-256, the one suite of format version 1. */
const suite = 1
const headerLength = 1 + referenceLength + nonceLength

/** How many bytes an envelope is longer than what it holds. */
export const envelopeOverhead = headerLength + tagLength

const label = Buffer.from('mongoose-kms-encrypted/1')
const suiteBytes = Buffer.of(suite)

/** What an envelope is bound to, apart from its key. */
export interface Binding {
  /** The encryption context, by `encodeContext`. */
  readonly context: Uint8Array
  /** The record's `_id` with its type: BSON of `{ v: _id }`. */
  readonly id: Uint8Array
  /** The field's path in the record, such as `email`. */
  readonly path: string
}

/** The AAD of one field: injective, so that no other field, record or context has the same. */
export function encodeAad(binding: Binding): Buffer {
  return lengthPrefixed([label, suiteBytes, binding.context, binding.id, Buffer.from(binding.path)])
}

/** Encrypts the bytes of one field: suite 1 ‖ key reference 4 ‖ nonce 12 ‖ ciphertext ‖ tag 16. */
export function encryptEnvelope(key: DataKey, binding: Binding, plaintext: Uint8Array): Buffer {
  const envelope = Buffer.allocUnsafe(envelopeOverhead + plaintext.length)
  envelope[0] = suite
  key.commitment.copy(envelope, 1, 0, referenceLength)
  const nonce = envelope.subarray(1 + referenceLength, headerLength)
  randomFillSync(nonce)
  const { ciphertext, tag } = encrypt(key.encryptionKey, nonce, encodeAad(binding), plaintext)
  ciphertext.copy(envelope, headerLength)
  tag.copy(envelope, headerLength + ciphertext.length)
  return envelope
}

/**
 * Reads which data key an envelope needs, in hexadecimal.
 *
 * @param place names the field for messages, such as `User/65f0… email`
 * @throws {DecryptionError} ENVELOPE_TRUNCATED, ENVELOPE_UNKNOWN
 */
export function parseReference(envelope: Uint8Array, place: string): string {
  if (envelope.length < envelopeOverhead) {
    throw new DecryptionError(
      'ENVELOPE_TRUNCATED',
      `${place}: an envelope has at least ${envelopeOverhead} bytes, the stored one has ${envelope.length}. ` +
        'Restore the field from a backup or set it anew.',
    )
  }
  if (envelope[0] !== suite) {
    throw new DecryptionError(
      'ENVELOPE_UNKNOWN',
      `${place}: expected an envelope of suite ${suite}, got ${envelope[0]}. ` +
        'It is damaged, or a newer version of this library wrote it.',
    )
  }
  return Buffer.from(envelope.subarray(1, 1 + referenceLength)).toString('hex')
}

/**
 * The mirror of {@link encryptEnvelope}.
 *
 * @throws {DecryptionError} ENVELOPE_TRUNCATED, ENVELOPE_UNKNOWN, or ENVELOPE_REJECTED when the tag does not verify
 */
export function decryptEnvelope(key: DataKey, binding: Binding, envelope: Uint8Array, place: string): Buffer {
  parseReference(envelope, place)
  const end = envelope.length - tagLength
  const plaintext = decrypt(
    key.encryptionKey,
    envelope.subarray(1 + referenceLength, headerLength),
    encodeAad(binding),
    envelope.subarray(headerLength, end),
    envelope.subarray(end),
  )
  if (plaintext === undefined) {
    throw new DecryptionError(
      'ENVELOPE_REJECTED',
      `${place}: the stored bytes do not verify. They are damaged, or were written for another field, record or ` +
        'encryption context. Restore the field from a backup or set it anew.',
    )
  }
  return plaintext
}
