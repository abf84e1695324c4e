import { createHash, createSecretKey, type KeyObject } from 'node:crypto'
import { ConfigurationError, KeyProviderError } from '../errors'
import { decrypt, encrypt, hkdf, nonceLength, tagLength } from '../format/cipher'
import { type EncryptionContext, encodeContext } from '../format/context'
import { dataKeyLength } from '../format/datakey'
import { RandomBytes } from '../format/random'
import type { KeyProvider } from './provider'

/** Options of {@link localKms}. */
export interface LocalKmsOptions {
  /** 32 bytes, as bytes, 64 hexadecimal digits or base64. Default: random, the same for the life of the process. */
  readonly secret?: string | Uint8Array
}

const random = new RandomBytes()
const keyIdPrefix = 'local:not-for-production/'
let processSecret: Buffer | undefined

/**
 * A key provider for examples and tests: wraps data keys with AES-256-GCM under a secret in memory, and checks the
 * encryption context as KMS does. It needs no network, leaves no audit trail and protects nothing from whoever holds
 * the secret: **not for production**.
 *
 * @throws {ConfigurationError} OPTION_INVALID when the secret is not 32 bytes
 */
export function localKms(options: LocalKmsOptions = {}): KeyProvider & { readonly keyId: string } {
  const secret = readSecret(options.secret)
  const wrappingKey = createSecretKey(secret)
  const keyId = keyIdPrefix + createHash('sha256').update('key id').update(secret).digest('hex').slice(0, 16)
  const unwrap = (wrapped: Uint8Array, usedKeyId: string, context: EncryptionContext) => {
    if (usedKeyId !== keyId) {
      throw new KeyProviderError(
        'KMS_WRONG_KEY',
        `localKms: the data key was wrapped under ${usedKeyId}, this provider has ${keyId}. Give the same secret.`,
      )
    }
    return unwrapLocally(wrappingKey, wrapped, context)
  }

  return Object.freeze({
    keyId,
    async generateDataKey(request: { keyId: string; context: EncryptionContext }) {
      if (request.keyId !== keyId) throw keyNotFound(request.keyId)
      const plaintext = random.next(dataKeyLength)
      return { plaintext, wrapped: wrapLocally(wrappingKey, plaintext, request.context), keyId }
    },
    async unwrapDataKey(request: { wrapped: Uint8Array; keyId: string; context: EncryptionContext }) {
      return unwrap(request.wrapped, request.keyId, request.context)
    },
    async deriveIndexKey({ context }: { context: EncryptionContext }) {
      return hkdf(
        secret,
        encodeContext(context),
        Buffer.from('mongoose-kms-encrypted/1 local index key'),
        dataKeyLength,
      )
    },
    async rewrapDataKey(request: {
      wrapped: Uint8Array
      keyId: string
      context: EncryptionContext
      to: { keyId: string; context: EncryptionContext }
    }) {
      if (request.to.keyId !== keyId) throw keyNotFound(request.to.keyId)
      const plaintext = unwrap(request.wrapped, request.keyId, request.context)
      const wrapped = wrapLocally(wrappingKey, plaintext, request.to.context)
      plaintext.fill(0)
      return { wrapped, keyId }
    },
  })
}

function wrapLocally(key: KeyObject, plaintext: Uint8Array, context: EncryptionContext): Buffer {
  const nonce = random.next(nonceLength)
  const { ciphertext, tag } = encrypt(key, nonce, encodeContext(context), plaintext)
  return Buffer.concat([nonce, ciphertext, tag])
}

function unwrapLocally(key: KeyObject, wrapped: Uint8Array, context: EncryptionContext): Buffer {
  const end = wrapped.length - tagLength
  const plaintext =
    wrapped.length === nonceLength + dataKeyLength + tagLength
      ? decrypt(
          key,
          wrapped.subarray(0, nonceLength),
          encodeContext(context),
          wrapped.subarray(nonceLength, end),
          wrapped.subarray(end),
        )
      : undefined
  if (plaintext === undefined) {
    throw new KeyProviderError(
      'KMS_WRONG_CONTEXT',
      'localKms: the data key was wrapped under another encryption context, or the wrapped key was altered. ' +
        'Compare the context option with the one the record was written with.',
    )
  }
  return plaintext
}

function keyNotFound(keyId: string): KeyProviderError {
  return new KeyProviderError(
    'KMS_KEY_NOT_FOUND',
    `localKms has no key ${keyId}. Leave keyId out of the plugin's options when localKms is the provider.`,
  )
}

function readSecret(secret: string | Uint8Array | undefined): Buffer {
  if (secret === undefined) {
    processSecret ??= random.next(dataKeyLength)
    return processSecret
  }
  const bytes = typeof secret === 'string' ? decodeSecret(secret) : secret
  if (!(bytes instanceof Uint8Array) || bytes.length !== dataKeyLength) {
    throw new ConfigurationError(
      'OPTION_INVALID',
      `localKms: secret must be ${dataKeyLength} bytes (a Uint8Array, 64 hexadecimal digits or base64), got ` +
        (bytes instanceof Uint8Array ? bytes.length : 'something else'),
    )
  }
  return Buffer.from(bytes)
}

/** Text that is neither hexadecimal nor base64 gives nothing: `Buffer` would skip what it does not know. */
function decodeSecret(text: string): Uint8Array | undefined {
  if (/^[0-9a-f]{64}$/i.test(text)) return Buffer.from(text, 'hex')
  return /^[\w+/-]*={0,2}$/.test(text) ? Buffer.from(text, 'base64') : undefined
}
