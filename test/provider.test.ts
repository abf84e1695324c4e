import { randomBytes } from 'node:crypto'
import { inspect } from 'node:util'
import {
  AlreadyExistsException,
  DecryptCommand,
  DependencyTimeoutException,
  DisabledException,
  GenerateDataKeyCommand,
  IncorrectKeyException,
  InvalidCiphertextException,
  InvalidKeyUsageException,
  KeyUnavailableException,
  KMSClient,
  KMSInternalException,
  KMSInvalidStateException,
  KMSServiceException,
  LimitExceededException,
  NotFoundException,
  ReEncryptCommand,
} from '@aws-sdk/client-kms'
import { mockClient } from 'aws-sdk-client-mock'
import { Schema } from 'mongoose'
import { awsKms, type KeyProvider, KeyProviderError, localKms } from '../lib'
import { modelOf, useDatabase } from './support'

const { connection } = useDatabase()

const client = new KMSClient({ region: 'eu-central-1' })
const kms = mockClient(client)
const provider = awsKms({ client })

const keyId = 'alias/users'
const arn = 'arn:aws:kms:eu-central-1:111122223333:key/0195e3a0-6f3d-7cc2-b2f5-000000000001'
const context = { Record: 'User/1' }
const wrapped = Buffer.from('wrapped')

beforeEach(() => kms.reset())

describe('awsKms', () => {
  test('generates a data key of 256 bits under the context', async () => {
    const Plaintext = Buffer.alloc(32, 7)
    kms.on(GenerateDataKeyCommand).resolves({ Plaintext, CiphertextBlob: wrapped, KeyId: arn })
    expect(await provider.generateDataKey({ keyId, context })).toEqual({ plaintext: Plaintext, wrapped, keyId: arn })
    expect(kms.commandCalls(GenerateDataKeyCommand)[0]!.args[0].input).toEqual({
      KeyId: keyId,
      KeySpec: 'AES_256',
      EncryptionContext: context,
    })
  })

  test('unwraps under the key that wrapped', async () => {
    kms.on(DecryptCommand).resolves({ Plaintext: Buffer.alloc(32, 7), KeyId: arn })
    expect(await provider.unwrapDataKey({ wrapped, keyId: arn, context })).toEqual(Buffer.alloc(32, 7))
    expect(kms.commandCalls(DecryptCommand)[0]!.args[0].input).toEqual({
      KeyId: arn,
      CiphertextBlob: wrapped,
      EncryptionContext: context,
    })
  })

  test('rewraps from one key and context to another', async () => {
    const to = { keyId: 'alias/other', context: { Record: 'User/2' } }
    kms.on(ReEncryptCommand).resolves({ CiphertextBlob: Buffer.from('again'), KeyId: `${arn}-other` })
    const answer = await provider.rewrapDataKey!({ wrapped, keyId: arn, context, to })
    expect(answer).toEqual({ wrapped: Buffer.from('again'), keyId: `${arn}-other` })
    expect(kms.commandCalls(ReEncryptCommand)[0]!.args[0].input).toEqual({
      SourceKeyId: arn,
      CiphertextBlob: wrapped,
      SourceEncryptionContext: context,
      DestinationKeyId: 'alias/other',
      DestinationEncryptionContext: { Record: 'User/2' },
    })
  })

  test('connects when it is first used, not when it is made', () => {
    expect(() => awsKms()).not.toThrow()
  })

  const init = { message: 'from KMS', $metadata: {} }
  const service = (name: string, status?: number) =>
    new KMSServiceException({ name, $fault: 'client', message: 'from KMS', $metadata: { httpStatusCode: status } })
  const errors: [string, Error][] = [
    ['KMS_ACCESS_DENIED', service('AccessDeniedException', 400)],
    ['KMS_KEY_DISABLED', new DisabledException(init)],
    ['KMS_KEY_UNAVAILABLE', new KMSInvalidStateException({ ...init, message: `${arn} is pending import.` })],
    ['KMS_KEY_UNAVAILABLE', new KMSInvalidStateException({ ...init, message: `${arn} is unavailable.` })],
    ['KMS_KEY_PENDING_DELETION', new KMSInvalidStateException({ ...init, message: `${arn} is pending deletion.` })],
    [
      'KMS_KEY_PENDING_DELETION',
      new KMSInvalidStateException({ ...init, message: `${arn} is pending replica deletion.` }),
    ],
    ['KMS_KEY_NOT_FOUND', new NotFoundException(init)],
    ['KMS_THROTTLED', service('ThrottlingException', 400)],
    ['KMS_THROTTLED', new LimitExceededException(init)],
    ['KMS_WRONG_CONTEXT', new InvalidCiphertextException(init)],
    ['KMS_WRONG_KEY', new IncorrectKeyException(init)],
    ['KMS_UNREACHABLE', new KMSInternalException(init)],
    ['KMS_UNREACHABLE', new DependencyTimeoutException(init)],
    ['KMS_UNREACHABLE', new KeyUnavailableException(init)],
    ['KMS_UNREACHABLE', service('ServiceUnavailable', 503)],
    ['KMS_UNREACHABLE', Object.assign(new Error('socket hang up'), { name: 'TimeoutError' })],
    ['KMS_UNREACHABLE', Object.assign(new Error('connect'), { code: 'ECONNREFUSED' })],
    ['KMS_KEY_TYPE_WRONG', new InvalidKeyUsageException(init)],
    ['KMS_KEY_TYPE_WRONG', service('UnsupportedOperationException', 400)],
    ['KMS_FAILED', new AlreadyExistsException(init)],
    ['KMS_NO_CREDENTIALS', Object.assign(new Error('no credentials'), { name: 'CredentialsProviderError' })],
    ['KMS_NO_REGION', new Error('Region is missing')],
    ...[
      'UnrecognizedClientException',
      'ExpiredTokenException',
      'InvalidSignatureException',
      'IncompleteSignatureException',
    ].map((name): [string, Error] => ['KMS_CREDENTIALS_REJECTED', service(name, 400)]),
    ...['TooManyRequestsException', 'RequestLimitExceeded', 'SlowDown', 'RequestThrottledException', 'Throttling'].map(
      (name): [string, Error] => ['KMS_THROTTLED', service(name, 400)],
    ),
    ['KMS_THROTTLED', service('Unknown', 429)],
    ['KMS_KEY_ID_INVALID', service('ValidationException', 400)],
    ['KMS_KEY_ID_INVALID', service('InvalidArnException', 400)],
    ...[
      'CERT_HAS_EXPIRED',
      'SELF_SIGNED_CERT_IN_CHAIN',
      'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
      'ERR_TLS_CERT_ALTNAME_INVALID',
    ].map((code): [string, Error] => ['KMS_TLS_FAILED', Object.assign(new Error('certificate'), { code })]),
  ]

  test.each(errors.map(([code, cause]) => [code, cause.name, cause] as const))(
    '%s for %s',
    async (code, _name, cause) => {
      kms.onAnyCommand().rejects(cause)
      for (const call of [
        provider.generateDataKey({ keyId: arn, context }),
        provider.unwrapDataKey({ wrapped, keyId: arn, context }),
        provider.rewrapDataKey!({ wrapped, keyId: arn, context, to: { keyId: arn, context } }),
      ]) {
        const error = await call.catch((reason: unknown) => reason)
        expect(error).toBeInstanceOf(KeyProviderError)
        expect(error).toMatchObject({ code, cause, message: expect.stringContaining(arn) })
        expect((error as Error).message).toContain(cause.message)
        expect((error as Error).message).not.toContain('User/1')
      }
    },
  )

  test('an error that may quote a key is kept without what it says', async () => {
    const key = Buffer.alloc(32, 'quoted').toString('base64')
    for (const cause of [
      new SyntaxError(`Unexpected token, "${key}" is not valid JSON`),
      new TypeError(`got ${key}`),
    ]) {
      kms.onAnyCommand().rejects(cause)
      const error: any = await provider
        .unwrapDataKey({ wrapped, keyId: arn, context })
        .catch((reason: unknown) => reason)
      expect(error).toMatchObject({ code: 'KMS_FAILED', message: expect.stringContaining(cause.name) })
      expect(`${error.stack} ${error.cause.message} ${error.cause.stack}`).not.toContain(key.slice(0, 6))
      expect(error.cause.stack).toMatch(/\n\s+at /)
    }
  })

  test('an answer without what was asked for is KMS_FAILED', async () => {
    kms.on(GenerateDataKeyCommand).resolves({ CiphertextBlob: wrapped, KeyId: arn })
    kms.on(DecryptCommand).resolves({ Plaintext: Buffer.alloc(16) })
    kms.on(ReEncryptCommand).resolves({ KeyId: arn })
    const failed = { code: 'KMS_FAILED' }
    await expect(provider.generateDataKey({ keyId, context })).rejects.toMatchObject(failed)
    await expect(provider.unwrapDataKey({ wrapped, keyId, context })).rejects.toMatchObject(failed)
    const to = { keyId, context }
    await expect(provider.rewrapDataKey!({ wrapped, keyId, context, to })).rejects.toMatchObject(failed)
  })
})

test('a data key is copied out of the memory of the SDK, and zeroed there', async () => {
  const User = modelOf(connection, new Schema({}), { provider, keyId, fields: ['email'] })
  const generated = Buffer.alloc(32, 7)
  const unwrapped = Buffer.alloc(32, 7)
  kms.on(GenerateDataKeyCommand).resolves({ Plaintext: generated, CiphertextBlob: wrapped, KeyId: arn })
  kms.on(DecryptCommand).resolves({ Plaintext: unwrapped, KeyId: arn })
  const user = await User.create({ email: 'ada@example.org' })
  expect(generated).toEqual(Buffer.alloc(32))
  // What is left of the pool after that must not matter.
  generated.fill(9)
  expect(await (await User.findById(user._id)).email).toBe('ada@example.org')
  expect(unwrapped).toEqual(Buffer.alloc(32))
})

describe('a provider of your own', () => {
  const local = localKms()
  const wrong: [string, Partial<KeyProvider>][] = [
    ['a data key that is too short', generating({ plaintext: new Uint8Array(16) })],
    ['no wrapped key', generating({ wrapped: new Uint8Array() })],
    ['a wrapped key that is too long', generating({ wrapped: new Uint8Array(6145) })],
    ['no key id', generating({ keyId: '' })],
  ]

  test('that gives one data key twice is an error: the second would be of zeros, and no secret', async () => {
    let kept: Promise<any> | undefined
    const twice: KeyProvider = {
      ...local,
      generateDataKey(request) {
        kept ??= local.generateDataKey(request)
        return kept
      },
    }
    const context = () => ({ Record: 'one for all' })
    const User = modelOf(connection, new Schema({}), { provider: twice, fields: ['email'], context })
    await User.create({ email: 'ada@example.org' })
    await expect(User.create({ email: 'eve@example.org' })).rejects.toMatchObject({
      code: 'KMS_FAILED',
      message: expect.stringContaining('zeros alone'),
    })
    expect(await User.countDocuments()).toBe(1)
    expect(await (await User.findOne()).email).toBe('ada@example.org')
  })

  test('that always gives the same data key is an error where a record needs another', async () => {
    const { plaintext } = await local.generateDataKey({ keyId: local.keyId, context: { Record: 'one for all' } })
    const constant = Buffer.from(plaintext)
    let calls = 0
    const same: KeyProvider = {
      ...local,
      async generateDataKey(request) {
        calls++
        return { ...(await local.generateDataKey(request)), plaintext: Uint8Array.from(constant) }
      },
      unwrapDataKey: async () => Uint8Array.from(constant),
    }
    const User = modelOf(connection, new Schema({}), { provider: same, fields: ['email'] })
    const user = await User.create({ email: 'ada@example.org' })
    await expect(user.rotateKmsKey()).rejects.toMatchObject({
      code: 'KMS_FAILED',
      message: expect.stringContaining('the same data key again'),
    })
    expect(calls).toBeLessThan(6)
    expect(await user.email).toBe('ada@example.org')
  })

  test('whose wrapped key lies in the memory of the data key is stored as it was', async () => {
    const shared: KeyProvider = {
      ...local,
      async generateDataKey() {
        const wrapped = randomBytes(40)
        return { plaintext: wrapped.subarray(0, 32), wrapped, keyId: 'shared' }
      },
      unwrapDataKey: async ({ wrapped }) => Uint8Array.from(wrapped.subarray(0, 32)),
    }
    const User = modelOf(connection, new Schema({}), { provider: shared, fields: ['email'] })
    const { _id } = await User.create({ email: 'ada@example.org' })
    expect(await (await User.findById(_id)).email).toBe('ada@example.org')
  })

  test.each<[string, (quoting: Error) => unknown]>([
    ['as a cause', (cause) => new Error('cannot read the answer', { cause })],
    ['among several', (cause) => new AggregateError([cause], 'all tries failed')],
    ['in an error of this library', (cause) => new KeyProviderError('KMS_FAILED', 'no answer', { cause })],
    ['two deep', (cause) => new Error('a', { cause: new Error('b', { cause }) })],
  ])('that fails by an error that may quote a key, %s, shows nothing of it', async (_name, wrap) => {
    const key = 'c2VjcmV0IGtleSBieXRlcw'
    const quoting = new SyntaxError(`Unexpected token in JSON: ${key}`)
    const failing: KeyProvider = { ...local, generateDataKey: () => Promise.reject(wrap(quoting)) }
    const User = modelOf(connection, new Schema({}), { provider: failing, fields: ['email'] })
    const error = await User.create({ email: 'ada@example.org' }).catch((reason: unknown) => reason)
    expect(error).toMatchObject({ name: 'KeyProviderError', code: 'KMS_FAILED' })
    expect(inspect(error, { depth: 20, showHidden: true })).not.toContain(key)
  })

  test('that fails with an error of the right name and no code is KMS_FAILED', async () => {
    const odd = Object.assign(new Error('odd'), { name: 'KeyProviderError' })
    const failing: KeyProvider = { ...local, generateDataKey: () => Promise.reject(odd) }
    const User = modelOf(connection, new Schema({}), { provider: failing, fields: ['email'] })
    await expect(User.create({ email: 'a' })).rejects.toMatchObject({ code: 'KMS_FAILED' })
  })

  function generating(change: object): Partial<KeyProvider> {
    return { generateDataKey: async (request) => ({ ...(await local.generateDataKey(request)), ...change }) }
  }

  test.each(wrong)('that gives %s is an error, and nothing is stored', async (_name, change) => {
    const User = modelOf(connection, new Schema({}), { provider: { ...local, ...change }, fields: ['email'] })
    const user = new User({ email: 'ada@example.org' })
    await expect(user.save()).rejects.toMatchObject({ name: 'KeyProviderError', code: 'KMS_FAILED' })
    expect(await User.countDocuments()).toBe(0)
    expect(user.email).toBe('ada@example.org')
  })

  test('that throws what it likes is a KeyProviderError that says so', async () => {
    const refusal = new Error('closed for today')
    const unwrapDataKey = () => {
      throw refusal
    }
    const User = modelOf(connection, new Schema({}), { provider: { ...local, unwrapDataKey }, fields: ['email'] })
    await User.create({ email: 'ada@example.org' })
    await expect((await User.findOne()).email).rejects.toMatchObject({
      code: 'KMS_FAILED',
      cause: refusal,
      message: expect.stringContaining('closed for today'),
    })
  })
})
