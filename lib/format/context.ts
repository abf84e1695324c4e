import { ConfigurationError } from '../errors'
import { lengthPrefixed } from './bytes'

/** The KMS encryption context: a flat map of non-empty strings that is logged with every use of the key. */
export type EncryptionContext = Readonly<Record<string, string>>

/** KMS accepts no encryption context whose keys and values are longer than this together, in bytes of UTF-8. */
const maxContextBytes = 8192

/**
 * Checks that a value is an encryption context.
 *
 * @param place names the option for the message, such as `User: context`
 * @throws {ConfigurationError} CONTEXT_INVALID when it is not a flat map of non-empty strings that KMS would accept
 */
export function checkContext(value: unknown, place: string): EncryptionContext {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) {
    throw invalid(place, `got ${value === null ? 'null' : Array.isArray(value) ? 'an array' : typeof value}`)
  }
  if (typeof (value as PromiseLike<unknown>).then === 'function') {
    throw invalid(place, 'got a promise; the function must be synchronous')
  }
  const entries = Object.entries(value)
  if (entries.length === 0) throw invalid(place, 'got an empty object')
  let bytes = 0
  for (const [key, item] of entries) {
    if (key === '') throw invalid(place, 'got an empty key')
    if (typeof item !== 'string') {
      throw invalid(place, `got ${item === null ? 'null' : typeof item} for the key "${key}"; convert it to a string`)
    }
    if (item === '') throw invalid(place, `got an empty string for the key "${key}"`)
    bytes += Buffer.byteLength(key) + Buffer.byteLength(item)
  }
  if (bytes > maxContextBytes) throw invalid(place, `got ${bytes} bytes, KMS accepts at most ${maxContextBytes}`)
  return value as EncryptionContext
}

/** The bytes of a context for use in AAD: its keys in the order of their UTF-8 bytes, each followed by its value. */
export function encodeContext(context: EncryptionContext): Buffer {
  const keys = Object.keys(context)
  if (keys.length > 1) keys.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
  const parts: string[] = []
  for (const key of keys) parts.push(key, context[key] as string)
  return lengthPrefixed(parts)
}

function invalid(place: string, got: string): ConfigurationError {
  return new ConfigurationError(
    'CONTEXT_INVALID',
    `${place}: expected a flat map of non-empty strings such as { Record: 'User/65f0…' }, ${got}`,
  )
}
