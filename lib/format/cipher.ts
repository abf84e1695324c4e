import { createCipheriv, createDecipheriv, createHmac, hkdfSync, type KeyObject } from 'node:crypto'

/** Length of the nonce in bytes: the 96 bits that NIST SP 800-38D, section 8.2.2 recommends for random nonces. */
export const nonceLength = 12

/** Length of the authentication tag in bytes. Always stated: Node would otherwise accept a tag cut down to four. */
export const tagLength = 16

/**
 * AES-256-GCM (NIST SP 800-38D).
 *
 * @param key 32 bytes
 * @param nonce 12 bytes, never used twice with the same key
 * @returns ciphertext ‖ tag, 16 bytes longer than the plaintext
 */
export function encrypt(
  key: KeyObject | Uint8Array,
  nonce: Uint8Array,
  aad: Uint8Array,
  plaintext: Uint8Array,
): { ciphertext: Buffer; tag: Buffer } {
  const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: tagLength })
  cipher.setAAD(aad)
  const ciphertext = cipher.update(plaintext)
  cipher.final()
  return { ciphertext, tag: cipher.getAuthTag() }
}

/**
 * The mirror of {@link encrypt}.
 *
 * @returns the plaintext, or `undefined` when key, nonce, AAD, ciphertext and tag do not belong together
 */
export function decrypt(
  key: KeyObject | Uint8Array,
  nonce: Uint8Array,
  aad: Uint8Array,
  ciphertext: Uint8Array,
  tag: Uint8Array,
): Buffer | undefined {
  if (tag.length !== tagLength) return undefined
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: tagLength })
  decipher.setAAD(aad)
  decipher.setAuthTag(tag)
  const plaintext = decipher.update(ciphertext)
  try {
    decipher.final()
  } catch {
    plaintext.fill(0)
    return undefined
  }
  return plaintext
}

/** Length of what HKDF with SHA-256 gives in one block. */
const blockLength = 32

/**
 * HKDF with SHA-256 (RFC 5869) without a salt: one block, 32 bytes, for each of several infos, by `blockInfo`. What is extracted is the
 * same for all, and three calls of HMAC take a quarter of the time of two of `hkdfSync`.
 */
export function hkdfBlocks<const T extends readonly Uint8Array[]>(
  secret: Uint8Array,
  infos: T,
): { [K in keyof T]: Buffer } {
  const extracted = hmac(noSalt, secret)
  const blocks = infos.map((info) => hmac(extracted, info))
  extracted.fill(0)
  return blocks as { [K in keyof T]: Buffer }
}

/** What the first block of an info is the HMAC of. Section 2.3: T(1) = HMAC-Hash(PRK, T(0) | info | 0x01), where T(0) is empty. */
export function blockInfo(info: string): Buffer {
  return Buffer.from(`${info}\x01`)
}

/** Section 2.2: a salt that is not given is a string of zeros as long as the hash. */
const noSalt = new Uint8Array(blockLength)

function hmac(key: Uint8Array, data: Uint8Array): Buffer {
  return createHmac('sha256', key).update(data).digest()
}

/** HKDF with SHA-256 (RFC 5869): extract and expand. */
export function hkdf(secret: KeyObject | Uint8Array, salt: Uint8Array, info: Uint8Array, length: number): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, salt, info, length))
}
