import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto'
import type { EncryptionContext } from './params'

/** One generation of a KMS key's secret; rotation adds another and keeps this one for what it has wrapped. */
export interface Material {
  /** `KeyMaterialId` of the API: 64 hex digits. */
  readonly id: string
  /** 32 bytes. */
  readonly secret: Buffer
}

/** Names what a blob was wrapped with, so that `Decrypt` works without a `KeyId`. */
export interface Header {
  readonly keyId: string
  readonly materialId: string
}

/*
 * format 4 ‖ key id 16 ‖ key material id 32 ‖ checksum of these 32 ‖ reserved 40 ‖ nonce 12 ‖ ciphertext ‖ tag 16
 *
 * 152 bytes more than the plaintext. Real blobs are opaque; their overhead is the one property of them that callers
 * see, in their storage, and `reserved` makes it come out the same: 184 bytes for a data key of 32.
 * The checksum tells a damaged blob from one that names another key.
 */
const FORMAT = Buffer.from('KMS1')
const KEY_ID_BYTES = 16
const MATERIAL_ID_BYTES = 32
const CHECKSUM_BYTES = 32
const RESERVED = Buffer.alloc(40)
const NONCE_BYTES = 12
const TAG_BYTES = 16
const NAMES_BYTES = FORMAT.length + KEY_ID_BYTES + MATERIAL_ID_BYTES
const HEADER_BYTES = NAMES_BYTES + CHECKSUM_BYTES + RESERVED.length

export function encodeBlob(plaintext: Uint8Array, keyId: string, material: Material, context: EncryptionContext) {
  const names = Buffer.concat([FORMAT, Buffer.from(keyId.replace(/^mrk/, '').replaceAll('-', '') + material.id, 'hex')])
  const header = Buffer.concat([names, checksum(names), RESERVED])
  const nonce = randomBytes(NONCE_BYTES)
  const cipher = createCipheriv('aes-256-gcm', material.secret, nonce, { authTagLength: TAG_BYTES })
  cipher.setAAD(aad(header, context))
  const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()])
  return Buffer.concat([header, nonce, ciphertext, cipher.getAuthTag()])
}

/** Whether a blob names a key. Those of a Multi-Region key have one id in all regions, which is written in another way. */
export function namesKey({ keyId }: Header, id: string): boolean {
  return keyId === id || `mrk-${keyId.replaceAll('-', '')}` === id
}

/** @returns `undefined` for bytes that are no blob of this format. */
export function parseHeader(blob: Buffer): Header | undefined {
  if (blob.length < HEADER_BYTES + NONCE_BYTES + TAG_BYTES) return undefined
  const names = blob.subarray(0, NAMES_BYTES)
  if (!names.subarray(0, FORMAT.length).equals(FORMAT)) return undefined
  if (!blob.subarray(NAMES_BYTES, NAMES_BYTES + CHECKSUM_BYTES).equals(checksum(names))) return undefined
  const materialAt = FORMAT.length + KEY_ID_BYTES
  const uuid = names.toString('hex', FORMAT.length, materialAt)
  return {
    keyId: uuid.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-'),
    materialId: names.toString('hex', materialAt),
  }
}

/** @returns `undefined` when the blob is damaged or the context is another: like KMS, it cannot tell which. */
export function decryptBlob(blob: Buffer, material: Material, context: EncryptionContext): Buffer | undefined {
  const nonceEnd = HEADER_BYTES + NONCE_BYTES
  const nonce = blob.subarray(HEADER_BYTES, nonceEnd)
  const decipher = createDecipheriv('aes-256-gcm', material.secret, nonce, { authTagLength: TAG_BYTES })
  decipher.setAAD(aad(blob.subarray(0, HEADER_BYTES), context))
  decipher.setAuthTag(blob.subarray(-TAG_BYTES))
  try {
    return Buffer.concat([decipher.update(blob.subarray(nonceEnd, -TAG_BYTES)), decipher.final()])
  } catch {
    return undefined
  }
}

function checksum(names: Buffer): Buffer {
  return createHash('sha256').update(names).digest()
}

/** The whole header is authenticated too, so that no byte of a blob can change unnoticed. */
function aad(header: Buffer, context: EncryptionContext): Buffer {
  const pairs = Object.entries(context).sort(([a], [b]) => (a < b ? -1 : 1))
  return Buffer.concat([header, Buffer.from(JSON.stringify(pairs))])
}
