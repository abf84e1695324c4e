import { Schema } from 'mongoose'
import { awsKms, KeyProviderError } from '../lib'
import { type KmsStandIn, startKms } from './kms'
import { modelOf, secret, serialised, useDatabase } from './support'

const { connection, raw } = useDatabase()

let kms: KmsStandIn
let arn: string
let User: any

beforeAll(async () => {
  kms = await startKms()
  arn = kms.createKey().arn
  User = modelOf(connection, new Schema({ name: String }), {
    provider: awsKms({ client: kms.client({ fastRetries: true }) }),
    keyId: () => arn,
    fields: { email: String, tags: [String] },
  })
})
beforeEach(() => {
  arn = kms.createKey().arn
})
afterAll(() => kms.stop())

interface Cause {
  readonly code: string
  /** How often the SDK tries. */
  readonly attempts: number
  /** Makes KMS refuse, and gives what ends it. */
  readonly begin: () => () => void
}

const fault = (options: Parameters<KmsStandIn['inject']>[0]) => () => {
  const injected = kms.inject(options)
  return () => injected.remove()
}

const causes: [string, Cause][] = [
  [
    'denied',
    {
      code: 'KMS_ACCESS_DENIED',
      attempts: 1,
      begin: () => {
        const denial = kms.denyWhen({})
        return () => denial.lift()
      },
    },
  ],
  [
    'of a disabled key',
    {
      code: 'KMS_KEY_DISABLED',
      attempts: 1,
      begin: () => {
        kms.disableKey(arn)
        return () => kms.enableKey(arn)
      },
    },
  ],
  [
    'of a key that is to be deleted',
    {
      code: 'KMS_KEY_PENDING_DELETION',
      attempts: 1,
      begin: () => {
        kms.scheduleKeyDeletion(arn)
        return () => {
          kms.cancelKeyDeletion(arn)
          kms.enableKey(arn)
        }
      },
    },
  ],
  [
    'of a key that is not there',
    { code: 'KMS_KEY_NOT_FOUND', attempts: 1, begin: fault({ error: 'NotFoundException' }) },
  ],
  ['throttled', { code: 'KMS_THROTTLED', attempts: 3, begin: fault({ error: 'ThrottlingException' }) }],
  [
    'beyond a limit',
    { code: 'KMS_THROTTLED', attempts: 3, begin: fault({ error: 'LimitExceededException' as never }) },
  ],
  [
    'answered with an internal error',
    { code: 'KMS_UNREACHABLE', attempts: 3, begin: fault({ error: 'KMSInternalException' }) },
  ],
  ['answered by a proxy', { code: 'KMS_UNREACHABLE', attempts: 3, begin: fault({ status: 502 }) }],
  ['cut off', { code: 'KMS_UNREACHABLE', attempts: 3, begin: fault({ drop: 'before' }) }],
  ['not answered', { code: 'KMS_UNREACHABLE', attempts: 3, begin: fault({ drop: 'after' }) }],
]

describe.each(causes)('a call that is %s', (_name, { code, attempts, begin }) => {
  const matches = (error: unknown) => {
    expect(error).toBeInstanceOf(KeyProviderError)
    expect(error).toMatchObject({ code, name: 'KeyProviderError' })
    const { message, cause } = error as Error & { cause: any }
    expect(message).toContain(arn)
    expect(message).toMatch(/\. \w/)
    expect(message).not.toContain('@example.org')
    expect(cause.$metadata?.attempts).toBe(attempts)
  }

  test('leaves a new record as it was, and the same save succeeds later', async () => {
    const user = new User({ name: 'Ada', email: secret('ada@example.org'), tags: ['a'] })
    const before = stateOf(user)
    await during(begin, () => user.save().then(() => expect('saved').toBe('refused'), matches))
    expect(stateOf(user)).toEqual(before)
    expect(await raw(User.collection.name)).toEqual([])
    await user.save()
    expect(await fields(user)).toEqual({ email: 'ada@example.org', tags: ['a'] })
  })

  test('leaves a changed record as it was, locked, and the same save succeeds later', async () => {
    const { _id } = await User.create({ name: 'Ada', email: secret('ada@example.org'), tags: ['a'] })
    const user = await User.findById(_id)
    user.set({ name: 'Bob', email: secret('bob@example.org') })
    const before = stateOf(user)
    const documents = await raw(User.collection.name)
    await during(begin, async () => {
      await user.save().then(() => expect('saved').toBe('refused'), matches)
      await user.tags.then(() => expect('opened').toBe('refused'), matches)
      await user.decrypt().then(() => expect('opened').toBe('refused'), matches)
    })
    expect(stateOf(user)).toEqual(before)
    expect(await raw(User.collection.name)).toEqual(documents)
    await user.save()
    expect(await fields(user)).toEqual({ email: 'bob@example.org', tags: ['a'] })
    expect([...(await user.tags)]).toEqual(['a'])
  })
})

async function during(begin: () => () => void, act: () => Promise<unknown>): Promise<void> {
  const end = begin()
  try {
    await act()
  } finally {
    end()
  }
}

function stateOf(user: any) {
  return {
    email: user.email,
    isNew: user.isNew,
    modified: user.modifiedPaths().sort(),
    stored: serialised(user),
    keys: user.encrypted_kms_key?.toBSON(),
    where: user.$where,
  }
}

async function fields({ _id }: any) {
  return (await User.findById(_id)).decrypt()
}

test('KMS that nobody reaches is told from KMS that refuses', async () => {
  const Nowhere = modelOf(connection, new Schema({}), {
    provider: awsKms({ client: kms.client({ endpoint: 'http://127.0.0.1:1', maxAttempts: 1 }) }),
    keyId: arn,
    fields: ['email'],
  })
  await expect(Nowhere.create({ email: 'ada@example.org' })).rejects.toMatchObject({
    code: 'KMS_UNREACHABLE',
    cause: { message: expect.stringContaining('ECONNREFUSED') },
  })
})

test('credentials that cannot be found are no refusal of KMS', async () => {
  const credentials = async () => {
    throw Object.assign(new Error('no credentials'), { name: 'CredentialsProviderError' })
  }
  const Nobody = modelOf(connection, new Schema({}), {
    provider: awsKms({ client: kms.client({ credentials }) }),
    keyId: arn,
    fields: ['email'],
  })
  await expect(Nobody.create({ email: 'ada@example.org' })).rejects.toMatchObject({
    code: 'KMS_NO_CREDENTIALS',
    cause: { name: 'CredentialsProviderError' },
  })
})

test('a record under another context or another key is told apart', async () => {
  const schema = () => new Schema({ name: String }, { collection: 'contexts' })
  const options = { provider: awsKms({ client: kms.client() }), keyId: arn, fields: ['email'] }
  const One = modelOf(connection, schema(), { ...options, context: () => ({ App: 'one' }) })
  const Two = modelOf(connection, schema(), { ...options, context: () => ({ App: 'two' }) })
  await One.create({ email: secret('ada@example.org') })
  await expect((await Two.findOne()).email).rejects.toMatchObject({ code: 'KMS_WRONG_CONTEXT' })
  expect(await (await One.findOne()).email).toBe('ada@example.org')
})
