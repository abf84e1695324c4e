import {
  DecryptCommand,
  DescribeKeyCommand,
  EncryptCommand,
  GenerateDataKeyCommand,
  GenerateDataKeyWithoutPlaintextCommand,
  type KMSClient,
  KMSServiceException,
  ListKeysCommand,
  ReEncryptCommand,
} from '@aws-sdk/client-kms'
import { type KmsStandIn, startKms } from '.'

const CONTEXT = { Record: 'User/1' }

let kms: KmsStandIn
let client: KMSClient
let arn: string

beforeEach(async () => {
  kms = await startKms()
  client = kms.client({ fastRetries: true })
  arn = kms.createKey({ alias: 'alias/app' }).arn
})

afterEach(() => kms.stop())

const generate = (KeyId = arn, EncryptionContext: Record<string, string> = CONTEXT, by = client) =>
  by.send(new GenerateDataKeyCommand({ KeyId, EncryptionContext, KeySpec: 'AES_256' }))

const decrypt = (
  CiphertextBlob: Uint8Array | undefined,
  { KeyId, EncryptionContext = CONTEXT }: { KeyId?: string; EncryptionContext?: Record<string, string> } = {},
  by = client,
) => by.send(new DecryptCommand({ CiphertextBlob, KeyId, EncryptionContext }))

/** The error of a call that must fail, as the SDK presents it. */
async function failure(call: Promise<unknown>): Promise<KMSServiceException> {
  const error = await call.then(
    () => new Error('expected the call to fail, but it succeeded'),
    (reason: unknown) => reason,
  )
  if (!(error instanceof KMSServiceException)) throw error
  return error
}

const failed = async (call: Promise<unknown>) => {
  const { name, $metadata } = await failure(call)
  return { name, status: $metadata.httpStatusCode, attempts: $metadata.attempts }
}

const refused = (name: string) => ({ name, status: 400, attempts: 1 })

describe('wrapping and unwrapping', () => {
  test('a data key of 32 bytes is wrapped into 184, as by KMS, and comes back', async () => {
    const { Plaintext, CiphertextBlob, KeyId, KeyMaterialId } = await generate()
    expect(Plaintext).toHaveLength(32)
    expect(CiphertextBlob).toHaveLength(184)
    expect(KeyId).toMatch(/^arn:aws:kms:us-east-1:111122223333:key\/[0-9a-f-]{36}$/)
    const opened = await decrypt(CiphertextBlob, { KeyId })
    expect(opened).toMatchObject({ Plaintext, KeyId, KeyMaterialId, EncryptionAlgorithm: 'SYMMETRIC_DEFAULT' })
    expect(KeyMaterialId).toMatch(/^[0-9a-f]{64}$/)
  })

  test('the blob names its key, so that KeyId may be left out', async () => {
    const { Plaintext, CiphertextBlob } = await generate()
    expect(await decrypt(CiphertextBlob)).toMatchObject({ Plaintext, KeyId: arn })
  })

  test('a data key can be had without its plaintext', async () => {
    const command = new GenerateDataKeyWithoutPlaintextCommand({ KeyId: arn, NumberOfBytes: 16 })
    const generated = await client.send(command)
    expect(generated).not.toHaveProperty('Plaintext')
    const opened = await decrypt(generated.CiphertextBlob, { EncryptionContext: {} })
    expect(opened.Plaintext).toHaveLength(16)
  })

  test('encrypt takes up to 4096 bytes', async () => {
    const encrypt = (length: number) => {
      const Plaintext = Buffer.alloc(length, 7)
      return client.send(new EncryptCommand({ KeyId: arn, Plaintext, EncryptionContext: CONTEXT }))
    }
    const { CiphertextBlob, KeyId } = await encrypt(4096)
    expect(KeyId).toBe(arn)
    const opened = await decrypt(CiphertextBlob)
    expect(Buffer.from(opened.Plaintext!)).toEqual(Buffer.alloc(4096, 7))
    expect(await failed(encrypt(4097))).toEqual(refused('ValidationException'))
  })

  test('re-encrypting moves a data key to another key and context', async () => {
    const other = kms.createKey()
    const { Plaintext, CiphertextBlob } = await generate()
    const moved = await client.send(
      new ReEncryptCommand({
        CiphertextBlob,
        SourceKeyId: arn,
        SourceEncryptionContext: CONTEXT,
        DestinationKeyId: other.keyId,
        DestinationEncryptionContext: { Record: 'User/2' },
      }),
    )
    expect(moved).toMatchObject({ SourceKeyId: arn, KeyId: other.arn })
    expect(moved.SourceKeyMaterialId).not.toBe(moved.DestinationKeyMaterialId)
    expect(kms.calls.at(-1)).toMatchObject({ eventName: 'ReEncrypt', keyId: other.arn, sourceKeyId: arn })
    const to = { KeyId: other.arn, EncryptionContext: { Record: 'User/2' } }
    expect((await decrypt(moved.CiphertextBlob, to)).Plaintext).toEqual(Plaintext)
    expect(await failed(decrypt(moved.CiphertextBlob, { ...to, EncryptionContext: CONTEXT }))).toEqual(
      refused('InvalidCiphertextException'),
    )
  })
})

describe('what a wrapped key is bound to', () => {
  test.each([
    ['another value', { Record: 'User/2', Tenant: 'a' }],
    ['another case', { Record: 'user/1', Tenant: 'a' }],
    ['a pair less', { Record: 'User/1' }],
    ['a pair more', { Record: 'User/1', Tenant: 'a', Extra: '' }],
    ['none', {}],
  ])('another encryption context (%s) does not open it', async (_, EncryptionContext) => {
    const { CiphertextBlob } = await generate(arn, { Record: 'User/1', Tenant: 'a' })
    expect(await failed(decrypt(CiphertextBlob, { EncryptionContext }))).toEqual(refused('InvalidCiphertextException'))
  })

  test('the order of the pairs does not matter', async () => {
    const { CiphertextBlob } = await generate(arn, { a: '1', b: '2' })
    await decrypt(CiphertextBlob, { EncryptionContext: { b: '2', a: '1' } })
  })

  test('no byte of a wrapped key can be changed', async () => {
    const { CiphertextBlob } = await generate()
    const flipped = Array.from({ length: 184 }, (_, at) => {
      const damaged = Buffer.from(CiphertextBlob!)
      damaged.writeUInt8(damaged.readUInt8(at) ^ 1, at)
      return failure(decrypt(damaged))
    })
    const names = new Set((await Promise.all(flipped)).map(({ name }) => name))
    expect([...names]).toEqual(['InvalidCiphertextException'])
  })

  test.each([1, 151, 183])('the first %i bytes of one are refused', async (length) => {
    const { CiphertextBlob } = await generate()
    const cut = CiphertextBlob!.subarray(0, length)
    expect(await failed(decrypt(cut))).toEqual(refused('InvalidCiphertextException'))
  })

  test('a KeyId other than the wrapping key is refused', async () => {
    const { CiphertextBlob } = await generate()
    const other = kms.createKey()
    expect(await failed(decrypt(CiphertextBlob, { KeyId: other.arn }))).toEqual(refused('IncorrectKeyException'))
  })

  test('a wrapped key of another account is refused without saying why', async () => {
    const foreign = await startKms()
    try {
      const { arn: foreignArn } = foreign.createKey()
      const { CiphertextBlob } = await generate(foreignArn, CONTEXT, foreign.client())
      expect(await failed(decrypt(CiphertextBlob))).toEqual(refused('AccessDeniedException'))
      expect(await failed(decrypt(CiphertextBlob, { KeyId: foreignArn }))).toEqual(refused('NotFoundException'))
    } finally {
      await foreign.stop()
    }
  })
})

describe('keys and aliases', () => {
  test.each([
    ['key id', () => arn.slice(-36)],
    ['key ARN', () => arn],
    ['alias', () => 'alias/app'],
    ['alias ARN', () => 'arn:aws:kms:us-east-1:111122223333:alias/app'],
  ])('a key goes by its %s, and the answer always gives the ARN', async (_, reference) => {
    expect((await generate(reference())).KeyId).toBe(arn)
  })

  test('what was wrapped before an alias was re-pointed opens by the stored ARN, not by the alias', async () => {
    const before = await generate('alias/app')
    const next = kms.createKey()
    kms.updateAlias('alias/app', next.keyId)
    expect((await generate('alias/app')).KeyId).toBe(next.arn)
    expect((await decrypt(before.CiphertextBlob, { KeyId: before.KeyId })).Plaintext).toEqual(before.Plaintext)
    expect(await failed(decrypt(before.CiphertextBlob, { KeyId: 'alias/app' }))).toEqual(
      refused('IncorrectKeyException'),
    )
  })

  test('a rotated key still opens what its older material has wrapped', async () => {
    const before = await generate()
    kms.rotateKey(arn)
    const after = await generate()
    expect(after.KeyId).toBe(before.KeyId)
    expect(after.KeyMaterialId).not.toBe(before.KeyMaterialId)
    for (const { CiphertextBlob, Plaintext, KeyMaterialId } of [before, after]) {
      expect(await decrypt(CiphertextBlob)).toMatchObject({ Plaintext, KeyMaterialId })
    }
  })

  test('a disabled key refuses to work until it is enabled', async () => {
    const { CiphertextBlob } = await generate()
    kms.disableKey(arn)
    expect(await failed(generate())).toEqual(refused('DisabledException'))
    expect(await failure(decrypt(CiphertextBlob))).toMatchObject({ message: `${arn} is disabled.` })
    kms.enableKey(arn)
    await decrypt(CiphertextBlob)
  })

  test('a key pending deletion refuses to work, and comes back disabled', async () => {
    const describeKey = async () => (await client.send(new DescribeKeyCommand({ KeyId: 'alias/app' }))).KeyMetadata
    const { CiphertextBlob } = await generate()
    kms.scheduleKeyDeletion('alias/app')
    expect(await failed(decrypt(CiphertextBlob))).toEqual(refused('KMSInvalidStateException'))
    expect(await describeKey()).toMatchObject({ Arn: arn, KeyState: 'PendingDeletion', DeletionDate: expect.any(Date) })
    kms.cancelKeyDeletion(arn)
    expect(await describeKey()).toMatchObject({ KeyState: 'Disabled', Enabled: false, CreationDate: expect.any(Date) })
    kms.enableKey(arn)
    await decrypt(CiphertextBlob)
  })

  test.each([
    ['00000000-0000-4000-8000-000000000000', /^Key 'arn:aws:kms:us-east-1:111122223333:key\/0.*' does not exist$/],
    ['alias/none', 'Alias arn:aws:kms:us-east-1:111122223333:alias/none is not found.'],
    ['no-key', "Invalid keyId 'no-key'"],
    ['arn:aws:kms:eu-west-1:111122223333:alias/app', 'Invalid arn eu-west-1'],
  ])('%s is not found', async (reference, message) => {
    const error = await failure(generate(reference))
    expect(error.name).toBe('NotFoundException')
    expect(error.message).toMatch(message)
  })

  test('a key works in its own region only', async () => {
    const ireland = kms.createKey({ region: 'eu-west-1', alias: 'alias/app' })
    const { CiphertextBlob, KeyId } = await generate('alias/app', CONTEXT, kms.client({ region: 'eu-west-1' }))
    expect(KeyId).toBe(ireland.arn)
    expect(await failed(decrypt(CiphertextBlob, { KeyId }))).toEqual(refused('NotFoundException'))
    expect(await failed(decrypt(CiphertextBlob))).toEqual(refused('AccessDeniedException'))
  })
})

describe('permissions', () => {
  test('a denial by encryption context hits those records only, until it is lifted', async () => {
    const { CiphertextBlob } = await generate()
    const denial = kms.denyWhen({ operation: 'Decrypt', context: { Record: 'User/1' } })
    const error = await failure(decrypt(CiphertextBlob))
    expect(error.name).toBe('AccessDeniedException')
    expect(error.message).toContain(`AKIDEXAMPLE is not authorized to perform: kms:Decrypt on resource: ${arn}`)
    await generate()
    const other = await generate(arn, { Record: 'User/2' })
    await decrypt(other.CiphertextBlob, { EncryptionContext: { Record: 'User/2' } })
    denial.lift()
    await decrypt(CiphertextBlob)
  })

  test('a denial can single out a principal, a key, or whatever a predicate says', async () => {
    const other = kms.createKey()
    kms.denyWhen({ principal: 'AKIDREADER', keyId: other.keyId })
    kms.denyWhen(({ context }) => !('Record' in context))
    const reader = kms.client({ principal: 'AKIDREADER' })
    await generate(arn, CONTEXT, reader)
    await generate(other.arn)
    expect(await failed(generate(other.arn, CONTEXT, reader))).toEqual(refused('AccessDeniedException'))
    expect(await failed(generate(arn, {}))).toEqual(refused('AccessDeniedException'))
  })

  test('re-encrypting takes the permission for either side', async () => {
    const { CiphertextBlob } = await generate()
    const move = () =>
      client.send(
        new ReEncryptCommand({ CiphertextBlob, SourceEncryptionContext: CONTEXT, DestinationKeyId: 'alias/app' }),
      )
    await move()
    const source = kms.denyWhen({ operation: 'ReEncrypt', context: CONTEXT })
    expect((await failure(move())).message).toContain('kms:ReEncryptFrom')
    source.lift()
    kms.denyWhen(({ operation, context }) => operation === 'ReEncrypt' && Object.keys(context).length === 0)
    expect((await failure(move())).message).toContain('kms:ReEncryptTo')
  })
})

describe('request validation', () => {
  test.each([
    ['no length of the data key', {}, 'ValidationException'],
    ['two lengths', { KeySpec: 'AES_256', NumberOfBytes: 32 }, 'ValidationException'],
    ['a key spec KMS has not', { KeySpec: 'AES_512' }, 'ValidationException'],
    ['no bytes', { NumberOfBytes: 0 }, 'ValidationException'],
    ['too many bytes', { NumberOfBytes: 1025 }, 'ValidationException'],
    ['no key', { KeySpec: 'AES_256', KeyId: undefined }, 'ValidationException'],
    ['an empty key', { KeySpec: 'AES_256', KeyId: '' }, 'ValidationException'],
    [
      'a context of over 8 KB',
      { KeySpec: 'AES_256', EncryptionContext: { a: 'x'.repeat(8192) } },
      'ValidationException',
    ],
    [
      'a context that is not flat',
      { KeySpec: 'AES_256', EncryptionContext: { a: { b: 'c' } } },
      'SerializationException',
    ],
    ['a context of numbers', { KeySpec: 'AES_256', EncryptionContext: { a: 1 } }, 'SerializationException'],
    ['what the stand-in lacks', { KeySpec: 'AES_256', DryRun: true }, 'UnsupportedOperationException'],
  ])('a request with %s is refused', async (_, input, name) => {
    // The casts of a caller without types: the point is what the service makes of it.
    const command = new GenerateDataKeyCommand({ KeyId: arn, ...input } as never)
    expect(await failed(client.send(command))).toEqual(refused(name))
  })

  test('a blob is required, and at most 6144 bytes', async () => {
    expect(await failed(decrypt(undefined))).toEqual(refused('ValidationException'))
    expect(await failed(decrypt(new Uint8Array(0)))).toEqual(refused('ValidationException'))
    expect(await failed(decrypt(new Uint8Array(6145)))).toEqual(refused('ValidationException'))
    expect(await failed(decrypt(new Uint8Array(6144)))).toEqual(refused('InvalidCiphertextException'))
  })

  test('an operation that is not there is said to be unknown', async () => {
    expect(await failed(client.send(new ListKeysCommand({})))).toEqual(refused('UnknownOperationException'))
  })

  test.each([
    ['no signature', undefined, 'MissingAuthenticationTokenException'],
    ['another signature', 'Bearer token', 'IncompleteSignatureException'],
  ])('a request with %s is refused and leaves no line in the log', async (_, authorization, type) => {
    const response = await fetch(kms.endpoint, {
      method: 'POST',
      headers: {
        'content-type': 'application/x-amz-json-1.1',
        'x-amz-target': 'TrentService.DescribeKey',
        ...(authorization && { authorization }),
      },
      body: JSON.stringify({ KeyId: arn }),
    })
    expect(response.status).toBe(400)
    expect(response.headers.get('x-amzn-requestid')).toMatch(/^[0-9a-f-]{36}$/)
    expect(await response.json()).toEqual({ __type: type, message: expect.any(String) })
    expect(kms.calls).toEqual([])
  })
})

describe('the log', () => {
  test('shows who called what with which key and context, and never a plaintext', async () => {
    const { Plaintext, CiphertextBlob, $metadata } = await generate('alias/app')
    await decrypt(CiphertextBlob, {}, kms.client({ principal: 'AKIDREADER' }))
    await failure(decrypt(CiphertextBlob, { EncryptionContext: {} }))
    await client.send(new EncryptCommand({ KeyId: arn, Plaintext }))
    expect(kms.calls).toMatchObject([
      {
        eventName: 'GenerateDataKey',
        requestId: $metadata.requestId,
        awsRegion: 'us-east-1',
        principal: 'AKIDEXAMPLE',
        keyId: arn,
        requestParameters: { keyId: 'alias/app', encryptionContext: CONTEXT, keySpec: 'AES_256' },
        attempt: 1,
      },
      { eventName: 'Decrypt', principal: 'AKIDREADER', keyId: arn, requestParameters: { encryptionContext: CONTEXT } },
      { eventName: 'Decrypt', keyId: arn, errorCode: 'InvalidCiphertextException' },
      { eventName: 'Encrypt', requestParameters: { keyId: arn } },
    ])
    expect(kms.calls[0]).not.toHaveProperty('errorCode')
    const secret = Buffer.from(Plaintext!).toString('base64')
    expect(JSON.stringify(kms.calls)).not.toContain(secret)
    kms.clearCalls()
    expect(kms.calls).toEqual([])
  })
})

describe('faults', () => {
  test.each([
    ['ThrottlingException', 400],
    ['KMSInternalException', 500],
    ['KeyUnavailableException', 500],
    ['DependencyTimeoutException', 503],
  ] as const)('the SDK tries three times at %s', async (error, status) => {
    const fault = kms.inject({ operation: 'GenerateDataKey', error })
    expect(await failed(generate())).toEqual({ name: error, status, attempts: 3 })
    expect(fault.hits).toBe(3)
    expect(kms.calls.map(({ attempt, errorCode }) => [attempt, errorCode])).toEqual([
      [1, error],
      [2, error],
      [3, error],
    ])
    fault.remove()
    await generate()
  })

  test.each([
    ['ThrottlingException', true],
    ['KMSInternalException', false],
  ] as const)('after one %s, the second attempt succeeds (without waits: %s)', async (error, fastRetries) => {
    kms.inject({ error, times: 1 })
    const { $metadata } = await generate(arn, CONTEXT, kms.client({ fastRetries }))
    expect($metadata.attempts).toBe(2)
    expect(kms.calls.map(({ attempt }) => attempt)).toEqual([1, 2])
  })

  test('a fault can leave other operations, other records and the first calls alone', async () => {
    kms.inject({ operation: 'Decrypt', context: CONTEXT, after: 1, error: 'KMSInternalException', status: 502 })
    const mine = await generate()
    const others = await generate(arn, { Record: 'User/2' })
    await decrypt(mine.CiphertextBlob)
    await decrypt(others.CiphertextBlob, { EncryptionContext: { Record: 'User/2' } })
    expect(await failed(decrypt(mine.CiphertextBlob))).toMatchObject({ status: 502, attempts: 3 })
  })

  test('a bare status is an answer without a body', async () => {
    kms.inject({ status: 503, times: 1 })
    expect((await generate()).$metadata.attempts).toBe(2)
    expect(kms.calls[0]).toMatchObject({ errorCode: 'HTTP 503' })
  })

  test.each([
    ['before', 'leaves no line in the log', 1],
    ['after', 'was carried out twice', 2],
  ] as const)('a call whose connection breaks %s it is handled is retried, and %s', async (drop, _, lines) => {
    const fault = kms.inject({ drop, times: 1 })
    expect((await generate()).$metadata.attempts).toBe(2)
    expect(fault.hits).toBe(1)
    expect(kms.calls).toHaveLength(lines)
    expect(kms.calls.at(-1)).toMatchObject({ attempt: 2, keyId: arn })
  })

  test('held calls are in the log and in progress, and end well once released', async () => {
    const fault = kms.inject({ operation: 'GenerateDataKey', hold: true })
    const pending = [generate(), generate(), generate()]
    await fault.reached(3)
    expect(kms.calls).toHaveLength(3)
    expect(kms.maxConcurrent).toBe(3)
    expect(kms.calls.every(({ keyId }) => keyId === undefined)).toBe(true)
    fault.release()
    await Promise.all(pending)
    await generate()
    expect(kms.calls.every(({ keyId }) => keyId === arn)).toBe(true)
  })

  test('maxConcurrent counts requests that overlap, not those that follow each other', async () => {
    kms.inject({ latencyMs: 1 })
    await generate()
    await generate()
    expect(kms.maxConcurrent).toBe(1)
    const gate = kms.inject({ hold: true })
    const pending = [generate(), generate()]
    await gate.reached(2)
    gate.remove()
    await Promise.all(pending)
    expect(kms.maxConcurrent).toBe(2)
    kms.resetMaxConcurrent()
    expect(kms.maxConcurrent).toBe(0)
  })

  test('stopping hangs up on calls that are still held', async () => {
    const fault = kms.inject({ hold: true })
    const pending = generate(arn, CONTEXT, kms.client({ maxAttempts: 1 })).then(
      () => 'answered',
      () => 'hung up',
    )
    await fault.reached()
    await kms.stop()
    expect(await pending).toBe('hung up')
    kms = await startKms()
  })
})
