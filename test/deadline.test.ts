import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { inspect } from 'node:util'
import { Schema } from 'mongoose'
import { awsKms, type KeyProvider, localKms } from '../lib'
import { type KmsStandIn, startKms } from './kms'
import { modelOf, useDatabase } from './support'

/** Key providers that do not answer, or answer oddly. */

const { connection } = useDatabase()
const local = localKms()

interface Held extends KeyProvider {
  isHeld: boolean
  /** How many calls were begun. */
  calls: number
  readonly signals: AbortSignal[]
  /** Lets those that are held answer. */
  release(): Promise<unknown>
}

/** A provider that keeps its callers waiting for as long as it is told to. */
function held(options: Partial<KeyProvider> = {}): Held {
  const waiting: (() => void)[] = []
  const answers: Promise<unknown>[] = []
  const hold = async <T>(signal: AbortSignal | undefined, answer: () => Promise<T>): Promise<T> => {
    provider.calls++
    provider.signals.push(signal as AbortSignal)
    if (provider.isHeld) await new Promise<void>((resume) => waiting.push(resume))
    const given = answer()
    answers.push(given)
    return given
  }
  const provider: Held = {
    keyId: local.keyId!,
    timeoutMs: 40,
    ...options,
    isHeld: true,
    calls: 0,
    signals: [],
    release: () => {
      for (const resume of waiting.splice(0)) resume()
      return Promise.all(answers)
    },
    generateDataKey: (request) => hold(request.signal, () => local.generateDataKey(request)),
    unwrapDataKey: (request) => hold(request.signal, () => local.unwrapDataKey(request)),
  }
  return provider
}

const modelWith = (provider: KeyProvider) =>
  modelOf(connection, new Schema({ name: String }), { provider, fields: { email: String } })
const unreachable = {
  name: 'KeyProviderError',
  code: 'KMS_UNREACHABLE',
  message: expect.stringMatching(/has not answered within 40 ms \(timeoutMs\)/),
}

describe('a provider that never answers', () => {
  test('is waited for as long as timeoutMs says; its place is free then, and its signal aborted', async () => {
    const provider = held({ concurrency: 1 })
    const User = modelWith(provider)
    const [one, two] = [new User({ email: 'a' }), new User({ email: 'b' })]
    await Promise.all([one, two].map((user) => expect(user.save()).rejects.toMatchObject(unreachable)))
    expect(provider.calls).toBe(2)
    expect(provider.signals.map(({ aborted }) => aborted)).toEqual([true, true])
    provider.isHeld = false
    await one.save()
    expect(await (await User.findById(one._id)).email).toBe('a')
    expect(await User.countDocuments()).toBe(1)
  })

  test.each<[string, (request: any) => any]>([
    ['a copy', (request) => ({ ...request })],
    ['an object that inherits from it', (request) => Object.create(request)],
    ['a Proxy', (request) => new Proxy(request, {})],
  ])('has its signal where it passes on %s of what it was asked', async (_way, passedOn) => {
    const provider = held()
    const { generateDataKey } = provider
    const User = modelWith({ ...provider, generateDataKey: (request) => generateDataKey(passedOn(request)) })
    await expect(new User({ email: 'a' }).save()).rejects.toMatchObject(unreachable)
    expect(provider.signals.map(({ aborted }) => aborted)).toEqual([true])
  })

  test('is not joined by who asks for the same record later', async () => {
    const provider = held()
    provider.isHeld = false
    const User = modelWith(provider)
    const { _id } = await User.create({ email: 'a' })
    provider.isHeld = true
    const [first, second] = [await User.findById(_id), await User.findById(_id)]
    provider.calls = 0
    const joined = [first.decrypt(), second.decrypt()]
    for (const each of joined) await expect(each).rejects.toMatchObject(unreachable)
    expect(provider.calls).toBe(1)
    provider.isHeld = false
    expect(await first.email).toBe('a')
    expect(provider.calls).toBe(2)
  })

  test('does not hold up another, however many wait', async () => {
    const provider = held({ timeoutMs: 60_000 })
    const [Stuck, Free] = [modelWith(provider), modelWith(local)]
    const stuck = Array.from({ length: 100 }, () => Stuck.create({ email: 'a' }))
    const { _id } = await Free.create({ email: 'b' })
    expect(await (await Free.findById(_id)).email).toBe('b')
    provider.isHeld = false
    while (provider.calls < 100) {
      await provider.release()
      await new Promise(setImmediate)
    }
    await Promise.all(stuck)
    expect(await Stuck.countDocuments()).toBe(100)
  })

  test('keeps as many waiting as maxWaiting says, and refuses the next', async () => {
    const provider = held({ concurrency: 2, maxWaiting: 3, timeoutMs: 60_000 })
    const User = modelWith(provider)
    const saves = Array.from({ length: 6 }, (_none, index) => User.create({ email: `${index}` }))
    const outcomes = Promise.allSettled(saves)
    await expect(
      Promise.any(saves.map((save) => save.then(Promise.reject, (error: unknown) => error))),
    ).resolves.toMatchObject({
      code: 'KMS_QUEUE_FULL',
      message: expect.stringContaining('maxWaiting'),
    })
    provider.isHeld = false
    while (provider.calls < 5) {
      await provider.release()
      await new Promise(setImmediate)
    }
    const codes = (await outcomes).map((each) => (each.status === 'rejected' ? each.reason.code : 'made'))
    expect(codes.sort()).toEqual(['KMS_QUEUE_FULL', 'made', 'made', 'made', 'made', 'made'])
  })

  test('is asked for many records by and by, so that one operation does not fill the queue', async () => {
    const provider = { ...local, concurrency: 2, maxWaiting: 3 }
    const User = modelOf(connection, new Schema({}), { provider, fields: ['email'], decrypt: 'onLoad' })
    const emails = Array.from({ length: 50 }, (_none, index) => `${index}@many.example`)
    await User.insertMany(emails.map((email) => ({ email })))
    const users = await User.find().sort('_id')
    expect(users.map(({ email }: any) => email)).toEqual(emails)
    expect((await User.decrypt(await User.find().lean())).length).toBe(50)
  })

  test('leaves no key in memory when it answers too late', async () => {
    const plaintext = Buffer.alloc(32, 7)
    let answer: (key: Uint8Array) => void = () => {}
    const provider: KeyProvider = {
      ...held(),
      generateDataKey: local.generateDataKey,
      unwrapDataKey: () =>
        new Promise((resolve) => {
          answer = resolve
        }),
    }
    const User = modelWith(provider)
    const { _id } = await User.create({ email: 'a' })
    await expect((await User.findById(_id)).email).rejects.toMatchObject(unreachable)
    answer(plaintext)
    await new Promise(setImmediate)
    expect(plaintext).toEqual(Buffer.alloc(32))
  })
})

describe('a provider that answers oddly is a KeyProviderError', () => {
  const good = () => local.generateDataKey({ keyId: local.keyId!, context: {} })
  test.each<[string, Partial<Record<'generateDataKey' | 'unwrapDataKey', () => unknown>>]>([
    ['nothing', { generateDataKey: async () => undefined }],
    ['null', { generateDataKey: async () => null }],
    ['no promise', { generateDataKey: () => undefined }],
    [
      'a throw',
      {
        generateDataKey: () => {
          throw new Error('no promise')
        },
      },
    ],
    [
      'a throw of a string',
      {
        generateDataKey: () => {
          throw 'no error'
        },
      },
    ],
    ['a rejection without a reason', { generateDataKey: () => Promise.reject() }],
    ['a key as text', { generateDataKey: async () => ({ ...(await good()), plaintext: 'k'.repeat(32) }) }],
    ['a key as an array', { generateDataKey: async () => ({ ...(await good()), plaintext: Array(32).fill(1) }) }],
    ['a short key', { generateDataKey: async () => ({ ...(await good()), plaintext: Buffer.alloc(16) }) }],
    ['no wrapped key', { generateDataKey: async () => ({ ...(await good()), wrapped: undefined }) }],
    ['a wrapped key as text', { generateDataKey: async () => ({ ...(await good()), wrapped: 'wrapped' }) }],
    ['an empty wrapped key', { generateDataKey: async () => ({ ...(await good()), wrapped: Buffer.alloc(0) }) }],
    ['a long wrapped key', { generateDataKey: async () => ({ ...(await good()), wrapped: Buffer.alloc(6145) }) }],
    ['no key id', { generateDataKey: async () => ({ ...(await good()), keyId: undefined }) }],
    ['a number for a key id', { generateDataKey: async () => ({ ...(await good()), keyId: 7 }) }],
    ['nothing when it opens', { unwrapDataKey: async () => undefined }],
    ['text when it opens', { unwrapDataKey: async () => 'k'.repeat(32) }],
    [
      'a throw when it opens',
      {
        unwrapDataKey: () => {
          throw new TypeError('no promise')
        },
      },
    ],
  ])('%s', async (_name, odd) => {
    const User = modelWith({ ...local, ...odd } as KeyProvider)
    const error = await User.create({ email: 'a' })
      .then(async ({ _id }: any) => (await User.findById(_id)).email)
      .catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ name: 'KeyProviderError', code: 'KMS_FAILED' })
    expect(error.message).not.toMatch(/kkk/)
  })
})

describe('awsKms', () => {
  let kms: KmsStandIn
  const given = { ...process.env }
  beforeAll(async () => {
    kms = await startKms()
  })
  afterAll(() => kms.stop())
  afterEach(() => {
    process.env = { ...given }
  })

  test('ends a call that KMS never answers', async () => {
    const { arn } = kms.createKey()
    const User = modelOf(connection, new Schema({}), {
      // Long enough for the call that is answered, also where the machine has much to do.
      provider: awsKms({ client: kms.client(), timeoutMs: 2000 }),
      keyId: arn,
      fields: { email: String },
    })
    const fault = kms.inject({ operation: 'GenerateDataKey', hold: true })
    try {
      await expect(User.create({ email: 'a' })).rejects.toMatchObject({ code: 'KMS_UNREACHABLE' })
    } finally {
      fault.remove()
    }
    await User.create({ email: 'a' })
  })

  test('makes a client that gives up a try in time for another one', async () => {
    const { arn } = kms.createKey()
    Object.assign(process.env, {
      AWS_ENDPOINT_URL_KMS: kms.endpoint,
      AWS_REGION: 'us-east-1',
      AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE',
      AWS_SECRET_ACCESS_KEY: 'no-secret-at-all',
    })
    const User = modelOf(connection, new Schema({}), {
      provider: awsKms({ timeoutMs: 4000 }),
      keyId: arn,
      fields: { email: String },
    })
    const fault = kms.inject({ operation: 'GenerateDataKey', hold: true, times: 1 })
    try {
      await User.create({ email: 'a' })
      expect(fault.hits).toBe(1)
    } finally {
      fault.remove()
    }
    expect(await (await User.findOne()).email).toBe('a')
  })

  test('ends the request of a call that is given up, by the client that it makes', async () => {
    const ended: Promise<unknown>[] = []
    const controller = new AbortController()
    const server = createServer((_request, response) => {
      ended.push(once(response, 'close'))
      controller.abort()
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    Object.assign(process.env, {
      AWS_ENDPOINT_URL_KMS: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      AWS_REGION: 'us-east-1',
      AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE',
      AWS_SECRET_ACCESS_KEY: 'no-secret-at-all',
    })
    const provider = awsKms({ timeoutMs: 1_000_000 })
    const request = { keyId: 'alias/users', context: { Record: 'User/1' }, signal: controller.signal }
    try {
      await expect(provider.generateDataKey(request)).rejects.toMatchObject({ code: 'KMS_UNREACHABLE' })
      await Promise.all(ended)
      expect(ended).toHaveLength(1)
    } finally {
      server.close()
    }
  })

  test.each<[string, Record<string, string | undefined>, string, RegExp]>([
    ['no region', { AWS_REGION: undefined }, 'KMS_NO_REGION', /AWS_REGION.*Region is missing/],
    [
      'no credentials',
      { AWS_ACCESS_KEY_ID: undefined, AWS_SECRET_ACCESS_KEY: undefined },
      'KMS_NO_CREDENTIALS',
      /AWS_PROFILE.*CredentialsProviderError/,
    ],
    [
      'a name that is not found',
      { AWS_ENDPOINT_URL_KMS: 'http://kms.invalid' },
      'KMS_UNREACHABLE',
      /ENOTFOUND|EAI_AGAIN/,
    ],
    ['a port without a KMS', { AWS_ENDPOINT_URL_KMS: 'http://127.0.0.1:1' }, 'KMS_UNREACHABLE', /ECONNREFUSED/],
  ])('says what to do on the first day: %s', async (_name, environment, code, message) => {
    const found = {
      AWS_ENDPOINT_URL_KMS: kms.endpoint,
      AWS_REGION: 'us-east-1',
      AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE',
      AWS_SECRET_ACCESS_KEY: 'no-secret-at-all',
      AWS_EC2_METADATA_DISABLED: 'true',
      AWS_CONFIG_FILE: '/none',
      AWS_SHARED_CREDENTIALS_FILE: '/none',
    }
    for (const [name, value] of Object.entries<string | undefined>({ ...found, ...environment })) {
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
    }
    const call = awsKms().generateDataKey({ keyId: 'alias/users', context: {} })
    await expect(call).rejects.toMatchObject({
      name: 'KeyProviderError',
      code,
      message: expect.stringMatching(message),
    })
  })

  test('shows nothing of a key where the answer of KMS is garbled', async () => {
    const key = Buffer.alloc(32, 'quoted').toString('base64')
    const server = createServer((_request, response) => {
      response.setHeader('content-type', 'application/x-amz-json-1.1')
      response.end(`{"CiphertextBlob":"AAAA","KeyId":"arn","Plaintext":${key}}`)
    })
    await new Promise<void>((resume) => server.listen(0, '127.0.0.1', resume))
    try {
      const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
      const provider = awsKms({ client: kms.client({ endpoint }) })
      const error: any = await provider
        .generateDataKey({ keyId: 'alias/users', context: {} })
        .catch((reason: unknown) => reason)
      expect(error).toMatchObject({ name: 'KeyProviderError', code: 'KMS_FAILED' })
      expect(inspect(error, { depth: 9, showHidden: true })).not.toContain(key.slice(0, 6))
    } finally {
      server.closeAllConnections()
      server.close()
    }
  })
})
