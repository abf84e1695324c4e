import { randomBytes } from 'node:crypto'
import { decryptBlob, encodeBlob, type Material, namesKey, parseHeader } from './blob'
import type { Call } from './calls'
import { KmsError } from './errors'
import { ACCOUNT, assertUsable, type Key, type Keys, newestMaterial } from './keys'
import {
  type Body,
  dataKeyLength,
  type EncryptionContext,
  encryptionContext,
  optionalKeyId,
  requiredBytes,
  requiredKeyId,
  symmetricDefault,
} from './params'
import type { Policy } from './policy'

const MAX_PLAINTEXT_BYTES = 4096
const MAX_BLOB_BYTES = 6144

/** What an operation works on: the keys and the policy, and the line of the log it completes. */
export interface Scope {
  readonly keys: Keys
  readonly policy: Policy
  readonly call: Call
}

type Operation = (body: Body, scope: Scope) => Record<string, unknown>

/*
 * Each checks in the order KMS does: the form of the request, the key, the permission, the key's state, and the blob
 * last. Whoever may not use a key learns nothing about its state, nor about the blob.
 */
export const operations: ReadonlyMap<string, Operation> = new Map<string, Operation>([
  ['GenerateDataKey', generateDataKey],
  ['GenerateDataKeyWithoutPlaintext', generateDataKeyWithoutPlaintext],
  ['Encrypt', encrypt],
  ['Decrypt', decrypt],
  ['ReEncrypt', reEncrypt],
  ['DescribeKey', describeKey],
])

function generateDataKey(body: Body, scope: Scope) {
  const keyId = requiredKeyId(body, 'KeyId')
  const context = encryptionContext(body)
  const length = dataKeyLength(body)
  const key = usableKey(keyId, context, scope)
  const plaintext = randomBytes(length)
  const material = newestMaterial(key)
  const blob = encodeBlob(plaintext, key.id, material, context)
  return {
    CiphertextBlob: blob.toString('base64'),
    Plaintext: plaintext.toString('base64'),
    KeyId: key.arn,
    KeyMaterialId: material.id,
  }
}

function generateDataKeyWithoutPlaintext(body: Body, scope: Scope) {
  const { Plaintext: _, ...response } = generateDataKey(body, scope)
  return response
}

function encrypt(body: Body, scope: Scope) {
  const keyId = requiredKeyId(body, 'KeyId')
  const plaintext = requiredBytes(body, 'Plaintext', MAX_PLAINTEXT_BYTES)
  const context = encryptionContext(body)
  const algorithm = symmetricDefault(body)
  const key = usableKey(keyId, context, scope)
  const blob = encodeBlob(plaintext, key.id, newestMaterial(key), context)
  return { CiphertextBlob: blob.toString('base64'), KeyId: key.arn, EncryptionAlgorithm: algorithm }
}

function decrypt(body: Body, scope: Scope) {
  const blob = requiredBytes(body, 'CiphertextBlob', MAX_BLOB_BYTES)
  const keyId = optionalKeyId(body, 'KeyId')
  const context = encryptionContext(body)
  const algorithm = symmetricDefault(body)
  const key = keyId === undefined ? namedByBlob(blob, scope) : lookUp(keyId, scope)
  scope.call.keyId = key.arn
  authorize(key, context, scope)
  const { plaintext, material } = open(blob, key, context)
  return {
    KeyId: key.arn,
    Plaintext: plaintext.toString('base64'),
    EncryptionAlgorithm: algorithm,
    KeyMaterialId: material.id,
  }
}

function reEncrypt(body: Body, scope: Scope) {
  const blob = requiredBytes(body, 'CiphertextBlob', MAX_BLOB_BYTES)
  const sourceKeyId = optionalKeyId(body, 'SourceKeyId')
  const sourceContext = encryptionContext(body, 'SourceEncryptionContext')
  const sourceAlgorithm = symmetricDefault(body, 'SourceEncryptionAlgorithm')
  const destinationKeyId = requiredKeyId(body, 'DestinationKeyId')
  const destinationContext = encryptionContext(body, 'DestinationEncryptionContext')
  const destinationAlgorithm = symmetricDefault(body, 'DestinationEncryptionAlgorithm')

  const source = sourceKeyId === undefined ? namedByBlob(blob, scope) : lookUp(sourceKeyId, scope)
  scope.call.sourceKeyId = source.arn
  const destination = lookUp(destinationKeyId, scope)
  scope.call.keyId = destination.arn
  authorize(source, sourceContext, scope, 'ReEncryptFrom')
  authorize(destination, destinationContext, scope, 'ReEncryptTo')
  assertUsable(destination)
  const { plaintext, material } = open(blob, source, sourceContext)
  const destinationMaterial = newestMaterial(destination)
  const rewrapped = encodeBlob(plaintext, destination.id, destinationMaterial, destinationContext)
  return {
    CiphertextBlob: rewrapped.toString('base64'),
    SourceKeyId: source.arn,
    KeyId: destination.arn,
    SourceEncryptionAlgorithm: sourceAlgorithm,
    DestinationEncryptionAlgorithm: destinationAlgorithm,
    SourceKeyMaterialId: material.id,
    DestinationKeyMaterialId: destinationMaterial.id,
  }
}

function describeKey(body: Body, scope: Scope) {
  const key = lookUp(requiredKeyId(body, 'KeyId'), scope)
  scope.call.keyId = key.arn
  authorize(key, {}, scope)
  return {
    KeyMetadata: {
      AWSAccountId: ACCOUNT,
      KeyId: key.id,
      Arn: key.arn,
      CreationDate: epochSeconds(key.createdAt),
      Enabled: key.state === 'Enabled',
      Description: '',
      KeyUsage: 'ENCRYPT_DECRYPT',
      KeyState: key.state,
      ...(key.deletionDate && { DeletionDate: epochSeconds(key.deletionDate) }),
      Origin: 'AWS_KMS',
      KeyManager: 'CUSTOMER',
      CustomerMasterKeySpec: 'SYMMETRIC_DEFAULT',
      KeySpec: 'SYMMETRIC_DEFAULT',
      EncryptionAlgorithms: ['SYMMETRIC_DEFAULT'],
      MultiRegion: false,
      CurrentKeyMaterialId: newestMaterial(key).id,
    },
  }
}

function lookUp(keyId: string, { keys, call }: Scope): Key {
  return keys.resolve(keyId, call.awsRegion)
}

/** KMS does not say whether the key that wrapped a blob is unknown or merely forbidden. */
function namedByBlob(blob: Buffer, { keys, call }: Scope): Key {
  const header = parseHeader(blob)
  if (!header) throw invalidCiphertext()
  const key = keys.find(header.keyId, call.awsRegion)
  if (!key) {
    throw new KmsError(
      'AccessDeniedException',
      'The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access.',
    )
  }
  return key
}

function usableKey(keyId: string, context: EncryptionContext, scope: Scope): Key {
  const key = lookUp(keyId, scope)
  scope.call.keyId = key.arn
  authorize(key, context, scope)
  assertUsable(key)
  return key
}

function authorize(key: Key, context: EncryptionContext, { policy, call }: Scope, action?: string): void {
  policy.authorize({ operation: call.eventName, keyId: key.arn, context, principal: call.principal }, action)
}

function open(blob: Buffer, key: Key, context: EncryptionContext): { plaintext: Buffer; material: Material } {
  assertUsable(key)
  const header = parseHeader(blob)
  if (!header) throw invalidCiphertext()
  if (!namesKey(header, key.id)) {
    throw new KmsError(
      'IncorrectKeyException',
      'The key ID in the request does not identify a CMK that can perform this operation.',
    )
  }
  const material = key.materials.find(({ id }) => id === header.materialId)
  const plaintext = material && decryptBlob(blob, material, context)
  if (!plaintext) throw invalidCiphertext()
  return { plaintext, material }
}

/** KMS sends no message with this one, lest it tell a damaged blob from a wrong context. */
function invalidCiphertext(): KmsError {
  return new KmsError('InvalidCiphertextException', '')
}

/** The protocol writes times as seconds since 1970. */
function epochSeconds(date: Date): number {
  return date.getTime() / 1000
}
