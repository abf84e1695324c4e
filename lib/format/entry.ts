import { crc32 } from 'node:zlib'
import { DecryptionError } from '../errors'
import { lengthPrefixed } from './bytes'
import { type KeyReference, readReference } from './datakey'

/** One wrapped key as the record has it, with the bytes taken out of their BSON classes. */
export interface WrappedKey {
  /** The generation of key and context it was made under, the plugin's option `version`. */
  readonly version: number
  /** The generation whose encryption context the envelopes under it are bound to: an earlier one, where it was wrapped anew. */
  readonly boundVersion: number
  /** The KMS key that wrapped it: the ARN that the KMS returned. */
  readonly keyId: string
  readonly wrapped: Uint8Array
  readonly commitment: Uint8Array
  readonly createdAt: Date
}

/** What makes BSON binary values, from the BSON library of the user's own Mongoose. */
export type MakeBinary = (bytes: Uint8Array, subtype?: number) => unknown

/** The entry as it is stored. The checksum tells a damaged wrapped key from a wrong context, which KMS does not. */
export function encodeWrappedKey(entry: WrappedKey, binary: MakeBinary): Record<string, unknown> {
  const { version, boundVersion, keyId, createdAt } = entry
  const [wrapped, commitment] = [binary(entry.wrapped), binary(entry.commitment)]
  const crc32 = checksum(entry)
  // Spread, what comes after would take many times as long.
  if (boundVersion === version) return { version, keyId, wrapped, commitment, createdAt, crc32 }
  return { version, boundVersion, keyId, wrapped, commitment, createdAt, crc32 }
}

/**
 * The mirror of {@link encodeWrappedKey}.
 *
 * @param place names the record for messages
 * @throws {DecryptionError} WRAPPED_KEY_DAMAGED when the entry is not what this library writes
 */
export function parseWrappedKey(stored: unknown, place: string): WrappedKey {
  const entry = (stored ?? {}) as Record<string, unknown>
  const wrapped = bytesOf(entry.wrapped)
  const commitment = bytesOf(entry.commitment)
  const { keyId, createdAt } = entry
  const version = int32Of(entry.version)
  const boundVersion = int32Of(entry.boundVersion ?? version)
  if (
    version === undefined ||
    boundVersion === undefined ||
    typeof keyId !== 'string' ||
    !(createdAt instanceof Date && !Number.isNaN(createdAt.getTime())) ||
    commitment?.length !== 32 ||
    wrapped === undefined ||
    int32Of(entry.crc32) !== checksum({ version, boundVersion, keyId, wrapped, commitment, createdAt })
  ) {
    throw new DecryptionError(
      'WRAPPED_KEY_DAMAGED',
      `${place}: the stored wrapped key is damaged. Restore it from a backup: the fields it encrypts cannot be read without.`,
    )
  }
  return { version, boundVersion, keyId, wrapped, commitment, createdAt }
}

/** What stands in the place of wrapped keys that were erased, and says when. */
export function encodeTombstone(erasedAt: Date): Record<string, unknown> {
  return { erasedAt }
}

/** The mirror of {@link encodeTombstone}; `undefined` for anything else. */
export function erasedAtOf(stored: unknown): Date | undefined {
  const { erasedAt, wrapped, commitment } = (stored ?? {}) as Record<string, unknown>
  return erasedAt instanceof Date && wrapped === undefined && commitment === undefined ? erasedAt : undefined
}

export function isTombstone(stored: unknown): boolean {
  return erasedAtOf(stored) !== undefined
}

/** The key reference that envelopes under this key carry. */
export function referenceOf(commitment: Uint8Array): KeyReference {
  return readReference(commitment, 0)
}

/** The bytes of a BSON binary value or of a `Buffer`; `undefined` for anything else. */
export function bytesOf(value: unknown): Uint8Array | undefined {
  if (value instanceof Uint8Array) return value
  const binary = value as { _bsontype?: string; buffer?: Uint8Array; position?: number } | null | undefined
  if (binary?._bsontype !== 'Binary' || !(binary.buffer instanceof Uint8Array)) return undefined
  const { buffer, position } = binary
  return position === buffer.length ? buffer : buffer.subarray(0, position)
}

/** A whole number of 32 bits, also as the class of BSON that the driver gives with `promoteValues: false`; `undefined` for anything else. */
export function int32Of(value: unknown): number | undefined {
  const { _bsontype, value: held } = (value ?? {}) as { _bsontype?: unknown; value?: unknown }
  const number = _bsontype === 'Int32' ? held : value
  return typeof number === 'number' && (number | 0) === number ? number : undefined
}

/** CRC-32 of all that an entry holds, as a signed 32-bit integer, which is what BSON's int32 can carry. */
function checksum(entry: WrappedKey): number {
  const isBoundElsewhere = entry.boundVersion !== entry.version
  const numbers = Buffer.allocUnsafe(isBoundElsewhere ? 16 : 12)
  const time = entry.createdAt.getTime()
  numbers.writeInt32BE(entry.version)
  // As a signed 64-bit integer, but for the detour by BigInt.
  numbers.writeInt32BE(Math.floor(time / 2 ** 32), 4)
  numbers.writeUInt32BE(time >>> 0, 8)
  if (isBoundElsewhere) numbers.writeInt32BE(entry.boundVersion, 12)
  return crc32(lengthPrefixed([numbers, entry.keyId, entry.wrapped, entry.commitment])) | 0
}
