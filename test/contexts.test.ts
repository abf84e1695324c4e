import { KMSClient } from '@aws-sdk/client-kms'
import { Schema } from 'mongoose'
import { awsKms, ConfigurationError, localKms } from '../lib'
import { build, refusal } from './refusals'
import { modelOf, secret, useDatabase } from './support'

const { connection, raw, commands } = useDatabase()

/** No message may hold this: contexts and key ids can name persons and tenants. */
const hidden = 'tenant-of-ada-lovelace'

describe('a context', () => {
  test.each([{ Record: 'x' }, 'Record', null, 5])('that is %j and no function is refused at once', (context) => {
    for (const options of [{ context }, { version: 2, previousVersions: { 1: { context } } }]) {
      if (context === null && options.previousVersions) continue
      const error = refusal(() => build(options))
      expect(error.code).toBe('CONTEXT_INVALID')
      expect(error.message).toContain('context must be a function of the record, such as (doc) => ({ Record: ')
    }
  })

  const wrong: [name: string, context: unknown, got: string][] = [
    ['null', null, 'got null'],
    ['undefined', undefined, 'got undefined'],
    ['text', hidden, 'got string'],
    ['an array', [hidden], 'got an array'],
    ['an empty object', {}, 'got an empty object'],
    ['a Map', new Map([['Tenant', hidden]]), 'got an empty object'],
    ['a promise', Promise.resolve({ Tenant: hidden }), 'got a promise; the function must be synchronous'],
    ['a map with a number', { Tenant: hidden, Shard: 5 }, 'got number for the key "Shard"; convert it to a string'],
    ['a map with null', { Tenant: null }, 'got null for the key "Tenant"'],
    ['a map with undefined', { Tenant: undefined }, 'got undefined for the key "Tenant"'],
    ['a map with a map', { Tenant: { Name: hidden } }, 'got object for the key "Tenant"'],
    ['a map with an empty string', { Record: hidden, Tenant: '' }, 'got an empty string for the key "Tenant"'],
    ['a map with an empty key', { '': hidden }, 'got an empty key'],
    ['a map of 8,193 bytes', { Tenant: `${'é'.repeat(4093)}a` }, 'got 8193 bytes, KMS accepts at most 8192'],
  ]
  test.each(wrong)('that is %s is refused when it is first used, and nothing is sent', async (_name, context, got) => {
    const User = modelOf(connection, new Schema({}), { fields: ['email'], context: (() => context) as never })
    const user = new User({ email: secret('ada@example.org') })
    await User.init()
    commands.length = 0
    const error = await user.save().catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(ConfigurationError)
    expect(error.code).toBe('CONTEXT_INVALID')
    expect(error.message).toContain(`${User.modelName}: context: expected a flat map of non-empty strings such as {`)
    expect(error.message).toContain(got)
    expect(error.message).not.toMatch(/ada|éé/)
    expect(commands).toEqual([])
    expect(user.email).toBe('ada@example.org')
  })

  test('of 8,192 bytes is as long as KMS accepts, and is used', async () => {
    const context = () => ({ Record: 'é'.repeat(4093) })
    const User = modelOf(connection, new Schema({}), { fields: ['email'], context })
    const { _id } = await User.create({ email: secret('ada@example.org') })
    expect(await (await User.findById(_id)).email).toBe('ada@example.org')
  })

  test('of as many bytes beside the record is too long', async () => {
    const context = () => ({ Tenant: 'é'.repeat(4093) })
    const User = modelOf(connection, new Schema({}), { fields: ['email'], context })
    await expect(User.create({ email: secret('ada@example.org') })).rejects.toMatchObject({
      code: 'CONTEXT_INVALID',
      message: expect.stringMatching(/got 82\d\d bytes, KMS accepts at most 8192/),
    })
  })

  test('names the record, whatever the function adds, unless it names it itself', async () => {
    const provider = localKms()
    const asked: unknown[] = []
    const noting = {
      ...provider,
      generateDataKey: (request: any) => {
        asked.push(request.context)
        return provider.generateDataKey(request)
      },
    }
    for (const pairs of [{ Tenant: 'acme' }, { Tenant: 'acme', Record: 'ada' }] as Record<string, string>[]) {
      const User = modelOf(connection, new Schema({}), { provider: noting, fields: ['email'], context: () => pairs })
      const { _id } = await User.create({ email: secret('ada@example.org') })
      expect(asked.at(-1)).toEqual({ Record: `${User.modelName}/${_id}`, ...pairs })
      expect(await (await User.findById(_id)).email).toBe('ada@example.org')
    }
  })

  test('that cannot be had for a stored record breaks neither the find nor what is not encrypted', async () => {
    let context: unknown = { Tenant: hidden }
    const User = modelOf(connection, new Schema({ name: String }), {
      fields: ['email'],
      context: (() => context) as never,
    })
    const { _id } = await User.create({ name: 'Ada', email: secret('ada@example.org') })
    context = [hidden]
    const user = await User.findById(_id)
    expect(user.name).toBe('Ada')
    await expect(user.email).rejects.toMatchObject({ name: 'ConfigurationError', code: 'CONTEXT_INVALID' })
    context = { Tenant: hidden }
    expect(await (await User.findById(_id)).email).toBe('ada@example.org')
  })
})

describe('a key id', () => {
  const provider = { ...localKms(), keyId: undefined }

  test('that is missing is refused at once, and the message speaks of the environment', () => {
    for (const options of [{}, { keyId: undefined }, { keyId: process.env.NO_SUCH_VARIABLE }]) {
      for (const each of [provider, undefined]) {
        const error = refusal(() => build({ provider: each, ...options }))
        expect(error.code).toBe('KEY_ID_INVALID')
        expect(error.message).toMatch(/keyId is missing.*if it comes from the environment, the variable is not set/)
      }
    }
  })

  test.each([
    ['an empty string', ''],
    ['number', 5],
    ['object', {}],
    ['object', null],
    ['boolean', true],
  ])('that is %s is refused at once', (got, keyId) => {
    const error = refusal(() => build({ keyId }))
    expect(error.code).toBe('KEY_ID_INVALID')
    expect(error.message).toBe(`kmsEncrypted: keyId: expected a KMS key id, ARN or alias, got ${got}`)
    const previous = keyId ?? ''
    const inVersion = refusal(() => build({ version: 2, previousVersions: { 1: { keyId: previous } } }))
    expect(inVersion.code).toBe('KEY_ID_INVALID')
    expect(inVersion.message).toContain('previousVersions.1.keyId: expected a KMS key id')
  })

  test.each([
    ['an empty string', ''],
    ['undefined', undefined],
    ['object', null],
    ['object', Promise.resolve(hidden)],
    ['object', { hidden }],
  ])('that a function gives as %s is refused when it is first used', async (got, keyId) => {
    const User = modelOf(connection, new Schema({}), { fields: ['email'], keyId: (() => keyId) as never })
    const error = await User.create({ email: secret('ada@example.org') }).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(ConfigurationError)
    expect(error.code).toBe('KEY_ID_INVALID')
    expect(error.message).toBe(`${User.modelName}: keyId: expected a KMS key id, ARN or alias, got ${got}`)
    expect(await raw(User.collection.name)).toEqual([])
  })
})

describe('localKms', () => {
  const text = 'a passphrase that nobody may see.'
  test.each([
    ['31 bytes', Buffer.alloc(31, 0x61), 'got 31'],
    ['33 bytes', new Uint8Array(33), 'got 33'],
    ['no bytes', '', 'got 0'],
    ['62 hexadecimal digits', 'ab'.repeat(31), 'got 46'],
    ['base64 of 16 bytes', Buffer.alloc(16, text).toString('base64'), 'got 16'],
    ['a passphrase', text, 'got something else'],
    ['a number', 123456789, 'got something else'],
    ['null', null, 'got something else'],
  ])('refuses a secret that is %s', (_name, value, got) => {
    const error = refusal(() => localKms({ secret: value as never }))
    expect(error.code).toBe('OPTION_INVALID')
    expect(error.message).toContain('localKms: secret must be 32 bytes (a Uint8Array, 64 hexadecimal digits or base64)')
    expect(error.message).toContain(got)
    if (value) expect(error.message).not.toContain(String(value))
  })

  test('takes one secret in every form that it names', () => {
    const bytes = Buffer.from(`${'ff'.repeat(31)}3e`, 'hex')
    const forms = [
      bytes,
      new Uint8Array(bytes),
      ...(['hex', 'base64', 'base64url'] as const).map((form) => bytes.toString(form)),
    ]
    expect(new Set(forms.map((form) => localKms({ secret: form }).keyId)).size).toBe(1)
    expect(localKms({ secret: bytes.toString('hex').toUpperCase() }).keyId).toBe(localKms({ secret: bytes }).keyId)
  })
})

describe('awsKms', () => {
  test.each([
    [{ client: {} }, 'awsKms: client must be a KMSClient of @aws-sdk/client-kms'],
    [{ client: KMSClient }, 'awsKms: client must be a KMSClient of @aws-sdk/client-kms'],
    [{ client: null }, 'awsKms: client must be a KMSClient of @aws-sdk/client-kms'],
    [{ concurrency: 0 }, 'awsKms: concurrency must be a positive integer, at most 2147483647, got 0'],
    [{ concurrency: 1.5 }, 'awsKms: concurrency must be a positive integer, at most 2147483647, got 1.5'],
    [{ concurrency: Infinity }, 'awsKms: concurrency must be a positive integer, at most 2147483647, got Infinity'],
    [{ concurrency: '8' }, 'awsKms: concurrency must be a positive integer, at most 2147483647, got 8'],
    [{ region: 'eu-central-1' }, 'awsKms: there is no option region. Give a client that has its own: awsKms({ client'],
    [new KMSClient({ region: 'eu-central-1' }), 'Give a client that has its own: awsKms({ client: new KMSClient('],
  ])('refuses what it cannot use (case %#)', (options, message) => {
    const error = refusal(() => awsKms(options as never))
    expect(error.code).toBe('OPTION_INVALID')
    expect(error.message).toContain(message)
  })
})
