import { invalid, KmsError } from './errors'

/** A request body as it came over the wire: nothing about its members is known yet. */
export type Body = Readonly<Record<string, unknown>>

/** Flat map of strings bound to a wrapped key. */
export type EncryptionContext = Readonly<Record<string, string>>

const MAX_KEY_ID_LENGTH = 2048
const MAX_DATA_KEY_BYTES = 1024
const MAX_CONTEXT_BYTES = 8192
const DATA_KEY_BYTES: Readonly<Record<string, number>> = { AES_128: 16, AES_256: 32 }

/** Features of the API that the stand-in lacks. Ignoring them would let a test pass that real KMS fails. */
const UNSUPPORTED = ['Recipient', 'DryRun', 'DryRunModifiers', 'GrantTokens']

/** @throws {KmsError} SerializationException unless `text` is a JSON object; UnsupportedOperationException. */
export function parseBody(text: string): Body {
  let body: unknown
  try {
    body = JSON.parse(text)
  } catch {
    throw new KmsError('SerializationException', 'Request body is not valid JSON')
  }
  if (!isObject(body)) throw new KmsError('SerializationException', 'Expected a structure')
  for (const member of UNSUPPORTED) {
    if (body[member] !== undefined) {
      throw new KmsError('UnsupportedOperationException', `The stand-in does not implement ${member}`)
    }
  }
  return body
}

export function optionalKeyId(body: Body, member: string): string | undefined {
  const value = body[member]
  if (value === undefined) return undefined
  if (typeof value !== 'string') throw notAString(value)
  if (value.length < 1) throw invalid(member, value, 'have length greater than or equal to 1')
  if (value.length > MAX_KEY_ID_LENGTH) {
    throw invalid(member, value, `have length less than or equal to ${MAX_KEY_ID_LENGTH}`)
  }
  return value
}

export function requiredKeyId(body: Body, member: string): string {
  const value = optionalKeyId(body, member)
  if (value === undefined) throw invalid(member, value, 'not be null')
  return value
}

/** A blob member, which must be there and decode to 1 to `maxBytes` bytes. The message never shows the value. */
export function requiredBytes(body: Body, member: string, maxBytes: number): Buffer {
  const value = body[member]
  if (value === undefined) throw invalid(member, value, 'not be null')
  if (typeof value !== 'string') throw notAString(value)
  const bytes = Buffer.from(value, 'base64')
  if (bytes.toString('base64') !== value) throw new KmsError('SerializationException', `${member} is not valid base64`)
  if (bytes.length < 1) throw invalid(member, '<bytes>', 'have length greater than or equal to 1')
  if (bytes.length > maxBytes) throw invalid(member, '<bytes>', `have length less than or equal to ${maxBytes}`)
  return bytes
}

/** The encryption context, `{}` when none was sent: to KMS an empty one and none are the same. */
export function encryptionContext(body: Body, member = 'EncryptionContext'): EncryptionContext {
  const value = body[member] ?? {}
  if (!isObject(value)) throw new KmsError('SerializationException', 'Expected a map')
  const context: Record<string, string> = {}
  let bytes = 0
  for (const [key, entry] of Object.entries(value)) {
    if (typeof entry !== 'string') throw notAString(entry)
    context[key] = entry
    bytes += Buffer.byteLength(key) + Buffer.byteLength(entry)
  }
  if (bytes > MAX_CONTEXT_BYTES) {
    throw new KmsError('ValidationException', `Encryption context is ${bytes} bytes, more than ${MAX_CONTEXT_BYTES}`)
  }
  return context
}

/** Length of the data key asked for, in bytes, by exactly one of `KeySpec` and `NumberOfBytes`. */
export function dataKeyLength({ KeySpec: spec, NumberOfBytes: bytes }: Body): number {
  if ((spec === undefined) === (bytes === undefined)) {
    throw new KmsError('ValidationException', 'Please specify either number of bytes or key spec.')
  }
  if (spec !== undefined) {
    const length = typeof spec === 'string' ? DATA_KEY_BYTES[spec] : undefined
    if (length === undefined) throw invalid('KeySpec', spec, 'satisfy enum value set: [AES_256, AES_128]')
    return length
  }
  if (typeof bytes !== 'number' || !Number.isInteger(bytes)) {
    throw new KmsError('SerializationException', 'NumberOfBytes is not an integer')
  }
  if (bytes < 1) throw invalid('NumberOfBytes', bytes, 'have value greater than or equal to 1')
  if (bytes > MAX_DATA_KEY_BYTES) {
    throw invalid('NumberOfBytes', bytes, `have value less than or equal to ${MAX_DATA_KEY_BYTES}`)
  }
  return bytes
}

/** Only symmetric encryption keys exist here, hence only their one algorithm. */
export function symmetricDefault(body: Body, member = 'EncryptionAlgorithm'): 'SYMMETRIC_DEFAULT' {
  const value = body[member] ?? 'SYMMETRIC_DEFAULT'
  if (value !== 'SYMMETRIC_DEFAULT') throw invalid(member, value, 'satisfy enum value set: [SYMMETRIC_DEFAULT]')
  return value
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function notAString(value: unknown): KmsError {
  return new KmsError('SerializationException', `${typeof value} can not be converted to a String`)
}
