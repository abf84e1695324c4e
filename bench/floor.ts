// The least that the format needs for a record (docs/format.md), by direct calls of `node:crypto`, with no checks and nothing around them.
import { createCipheriv, createDecipheriv, createHmac, randomBytes, randomFillSync, timingSafeEqual } from 'node:crypto'

const wrappingKey = randomBytes(32)
const noSalt = Buffer.alloc(32)
const one = Buffer.of(1)
const encryptionInfo = Buffer.from('mongoose-kms-encrypted/1 encryption')
const commitmentInfo = Buffer.from('mongoose-kms-encrypted/1 commitment')
/** As long as the context and the AAD of a record of the bench. */
const context = Buffer.alloc(48)
const aad = Buffer.alloc(118)

let pool = Buffer.alloc(0)
let used = 0

/** One call gives the random bytes of many. */
function random(length: number): Buffer {
  if (used + length > pool.length) {
    pool = randomFillSync(Buffer.allocUnsafeSlow(4096))
    used = 0
  }
  used += length
  return pool.subarray(used - length, used)
}

interface Encrypted {
  readonly nonce: Buffer
  readonly ciphertext: Buffer
  readonly tag: Buffer
}

function encrypt(key: Buffer, about: Buffer, plaintext: Buffer): Encrypted {
  const nonce = random(12)
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(about)
  const ciphertext = cipher.update(plaintext)
  cipher.final()
  return { nonce, ciphertext, tag: cipher.getAuthTag() }
}

function decrypt(key: Buffer, about: Buffer, { nonce, ciphertext, tag }: Encrypted): Buffer {
  const decipher = createDecipheriv('aes-256-gcm', key, nonce).setAAD(about).setAuthTag(tag)
  const plaintext = decipher.update(ciphertext)
  decipher.final()
  return plaintext
}

/** HKDF by HMAC takes three of them for two values, and `hkdfSync` four. */
function derive(dataKey: Buffer): { key: Buffer; commitment: Buffer } {
  const secret = createHmac('sha256', noSalt).update(dataKey).digest()
  return {
    key: createHmac('sha256', secret).update(encryptionInfo).update(one).digest(),
    commitment: createHmac('sha256', secret).update(commitmentInfo).update(one).digest(),
  }
}

/** A record as it would be stored. */
export interface BareRecord {
  readonly wrapped: Encrypted
  readonly commitment: Buffer
  readonly fields: readonly Encrypted[]
}

/** Generates and wraps a data key, derives from it, encrypts each field. */
export function saveBare(plaintexts: readonly Buffer[]): BareRecord {
  const dataKey = random(32)
  const wrapped = encrypt(wrappingKey, context, dataKey)
  const { key, commitment } = derive(dataKey)
  return { wrapped, commitment, fields: plaintexts.map((plaintext) => encrypt(key, aad, plaintext)) }
}

function openBare({ wrapped, commitment }: BareRecord): Buffer {
  const derived = derive(decrypt(wrappingKey, context, wrapped))
  timingSafeEqual(derived.commitment, commitment)
  return derived.key
}

/** Unwraps the data key, derives from it, decrypts each field. */
export function readBare(record: BareRecord): Buffer[] {
  const key = openBare(record)
  return record.fields.map((field) => decrypt(key, aad, field))
}

/** Unwraps the data key, derives from it, encrypts one field. */
export function updateBare(record: BareRecord, plaintext: Buffer): Encrypted {
  return encrypt(openBare(record), aad, plaintext)
}
