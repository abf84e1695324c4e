import { createSecretKey, type KeyObject, timingSafeEqual } from 'node:crypto'
import { blockInfo, hkdfBlocks } from './cipher'

/** Length of a data key in bytes. */
export const dataKeyLength = 32

/** Length of a key reference in bytes: the start of the commitment, enough to tell the few keys of one record apart. */
export const referenceLength = 4

/** A key reference, as an unsigned number. */
export type KeyReference = number

/** Reads a key reference where it stands in a commitment or an envelope. */
export function readReference(bytes: Uint8Array, offset: number): KeyReference {
  let reference = 0
  for (let index = offset; index < offset + referenceLength; index++) reference = reference * 256 + (bytes[index] ?? 0)
  return reference
}

/** A key reference for messages, in hexadecimal. */
export function referenceText(reference: KeyReference): string {
  return reference.toString(16).padStart(2 * referenceLength, '0')
}

const infos = [
  blockInfo('mongoose-kms-encrypted/1 encryption'),
  blockInfo('mongoose-kms-encrypted/1 commitment'),
] as const

/** An open data key: what encrypts the fields of one record, in memory only. Prints as nothing but its class. */
export class DataKey {
  readonly #encryptionKey: KeyObject
  readonly #commitment: Buffer

  private constructor(encryptionKey: KeyObject, commitment: Buffer) {
    this.#encryptionKey = encryptionKey
    this.#commitment = commitment
  }

  /**
   * Derives what is needed of a data key, once, and zeroes the bytes that were given.
   *
   * @param bytes 32 bytes
   */
  static derive(bytes: Uint8Array): DataKey {
    try {
      const [encryption, commitment] = hkdfBlocks(bytes, infos)
      const key = createSecretKey(encryption)
      encryption.fill(0)
      return new DataKey(key, commitment)
    } finally {
      bytes.fill(0)
    }
  }

  /** The AES-256 key of the fields. */
  get encryptionKey(): KeyObject {
    return this.#encryptionKey
  }

  /** 32 bytes that bind whoever holds them to this data key and reveal nothing of it. */
  get commitment(): Buffer {
    return this.#commitment
  }

  /** Compares commitments in constant time. */
  matches(commitment: Uint8Array): boolean {
    return commitment.length === this.#commitment.length && timingSafeEqual(commitment, this.#commitment)
  }
}
