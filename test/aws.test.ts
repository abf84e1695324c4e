import { Schema } from 'mongoose'
import { awsKms } from '../lib'
import { type KmsStandIn, startKms } from './kms'
import { modelOf, secret, useDatabase } from './support'

const { connection, raw } = useDatabase()

let kms: KmsStandIn
let arn: string
let User: any

beforeAll(async () => {
  kms = await startKms()
  arn = kms.createKey({ alias: 'alias/users' }).arn
  User = modelOf(connection, new Schema({ name: String }), {
    provider: awsKms({ client: kms.client({ fastRetries: true }) }),
    keyId: 'alias/users',
    fields: { email: String, phone: String },
  })
})
beforeEach(() => kms.clearCalls())
afterAll(() => kms.stop())

const ada = () => ({ name: 'Ada', email: secret('ada@example.org'), phone: secret('+44-1815-1210') })
const stored = async () => (await raw(User.collection.name))[0] as any
const contextOf = (user: any) => ({ Record: `${User.modelName}/${user._id}` })

test('a record is created with one GenerateDataKey, under its encryption context, and one insert', async () => {
  const insert = jest.spyOn(User.collection, 'insertOne')
  const update = jest.spyOn(User.collection, 'updateOne')
  const user = await User.create(ada())
  expect(kms.calls).toEqual([
    expect.objectContaining({
      eventName: 'GenerateDataKey',
      requestParameters: { keyId: 'alias/users', keySpec: 'AES_256', encryptionContext: contextOf(user) },
    }),
  ])
  expect(insert).toHaveBeenCalledTimes(1)
  expect(update).not.toHaveBeenCalled()
  jest.restoreAllMocks()

  const [entry] = (await stored()).encrypted_kms_key
  expect(entry.keyId).toBe(arn)
  expect(entry.wrapped.length()).toBe(184)
})

test('a record is opened with one Decrypt, by the stored key ARN, under its encryption context', async () => {
  await User.create(ada())
  const user = await User.findOne()
  kms.clearCalls()
  expect(await user.email).toBe('ada@example.org')
  expect(await user.phone).toBe('+44-1815-1210')
  expect(kms.calls).toEqual([
    expect.objectContaining({
      eventName: 'Decrypt',
      requestParameters: { keyId: arn, encryptionContext: contextOf(user) },
    }),
  ])
})

test('an alias that points elsewhere is for new records only', async () => {
  const before = await User.create(ada())
  const other = kms.createKey()
  kms.updateAlias('alias/users', other.arn)
  try {
    const after = await User.create({ email: secret('new@example.org') })
    kms.clearCalls()
    expect(await (await User.findById(before._id)).email).toBe('ada@example.org')
    expect(await (await User.findById(after._id)).email).toBe('new@example.org')
    expect(kms.calls.map(({ keyId }) => keyId)).toEqual([arn, other.arn])
  } finally {
    kms.updateAlias('alias/users', arn)
  }
})

test('key material that KMS has rotated still opens what it wrapped', async () => {
  await User.create(ada())
  kms.rotateKey(arn)
  expect(await (await User.findOne()).email).toBe('ada@example.org')
})

test('a rotation of the data key is one Decrypt and one GenerateDataKey', async () => {
  const user = await User.create(ada())
  kms.clearCalls()
  const found = await User.findById(user._id)
  await found.rotateKmsKey()
  // Both are asked for at once.
  expect(kms.calls.map(({ eventName }) => eventName).sort()).toEqual(['Decrypt', 'GenerateDataKey'])
  expect(await (await User.findById(user._id)).email).toBe('ada@example.org')
})

describe('what KMS calls transient is tried again', () => {
  test.each([
    ['throttling', { error: 'ThrottlingException' }],
    ['an error of KMS itself', { error: 'KMSInternalException' }],
    ['a dependency that timed out', { error: 'DependencyTimeoutException' }],
    ['a 503 of a proxy', { status: 503 }],
    ['a connection dropped before the call', { drop: 'before' }],
    ['a connection dropped after the call', { drop: 'after' }],
  ] as const)('%s', async (_name, fault) => {
    const faults = ['GenerateDataKey', 'Decrypt'].map((operation) => kms.inject({ operation, times: 2, ...fault }))
    try {
      await User.create(ada())
      expect(await (await User.findOne()).email).toBe('ada@example.org')
      expect(faults.map(({ hits }) => hits)).toEqual([2, 2])
    } finally {
      for (const each of faults) each.remove()
    }
  })
})

test('concurrent opening keeps to the bound of the provider', async () => {
  const Bounded = modelOf(connection, new Schema({}), {
    provider: awsKms({ client: kms.client(), concurrency: 3 }),
    keyId: arn,
    fields: ['email'],
  })
  await Bounded.insertMany(Array.from({ length: 12 }, (_, index) => ({ email: `${index}@example.org` })))
  const users = await Bounded.find().sort('_id')
  kms.resetMaxConcurrent()
  kms.clearCalls()
  const slow = kms.inject({ operation: 'Decrypt', hold: true })
  const opening = Bounded.decrypt(users)
  await slow.reached(3)
  slow.release()
  expect((await opening).map(({ email }: any) => email)).toEqual(
    users.map((_: unknown, n: number) => `${n}@example.org`),
  )
  slow.remove()
  expect(kms.maxConcurrent).toBe(3)
  expect(kms.calls).toHaveLength(12)
})

test('documents of one record that are opened at once share a call', async () => {
  await User.create(ada())
  const users = await Promise.all([User.findOne(), User.findOne(), User.findOne()])
  kms.clearCalls()
  expect(await Promise.all(users.map((user) => user.email))).toEqual(Array(3).fill('ada@example.org'))
  expect(kms.calls).toHaveLength(1)
})

test('whoever may open only some records is told so by the context', async () => {
  const [one, two] = [await User.create(ada()), await User.create(ada())]
  const denial = kms.denyWhen({ operation: 'Decrypt', context: contextOf(two) })
  try {
    expect(await (await User.findById(one._id)).email).toBe('ada@example.org')
    await expect((await User.findById(two._id)).email).rejects.toMatchObject({ code: 'KMS_ACCESS_DENIED' })
  } finally {
    denial.lift()
  }
})
