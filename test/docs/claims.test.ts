import { Schema } from 'mongoose'
import { awsKms, channels, type KeyEvent, kmsEncrypted } from '../../lib'
import { type Access, type KmsStandIn, startKms } from '../kms'
import { rawCollection, secret, useDatabase } from '../support'
import { blocksOf, readPage, sectionOf } from './page'

// What the README says about behaviour, where no example shows it.
const readme = readPage('README.md')
const { connection, raw } = useDatabase()
let kms: KmsStandIn
let arn: string

beforeAll(async () => {
  kms = await startKms()
  arn = kms.createKey().arn
})
afterEach(() => {
  kms.clearCalls()
  connection.deleteModel(/.*/)
})
afterAll(() => kms.stop())

const operations = () => kms.calls.map(({ eventName }) => eventName)

function userModel(options: object = {}, name = 'User', schema = new Schema<any>({ name: String })) {
  const provider = awsKms({ client: kms.client({ fastRetries: true }) })
  schema.plugin(kmsEncrypted, { provider, keyId: arn, fields: { email: String, phone: String }, ...options })
  return connection.model<any>(name, schema, 'users') as any
}

describe('IAM', () => {
  interface Statement {
    Effect: string
    Action: string[]
    Resource: string
    Condition: { StringLike: Record<string, string> }
  }
  const { Statement } = JSON.parse(
    blocksOf(sectionOf(readme, '## IAM')).find(({ language }) => language === 'json')?.text ?? '',
  ) as { Statement: Statement[] }

  /** Evaluates the policy as IAM does: what no statement allows is denied. */
  function isAllowed({ operation, context }: Access, actions?: string[]): boolean {
    return Statement.some(
      ({ Effect, Action, Condition }) =>
        Effect === 'Allow' &&
        (actions ?? Action).includes(`kms:${operation}`) &&
        Object.entries(Condition.StringLike).every(([key, pattern]) => {
          const name = /^kms:EncryptionContext:(.+)$/.exec(key)?.[1] as string
          return new RegExp(`^${pattern.replaceAll('*', '.*')}$`).test(context[name] ?? '')
        }),
    )
  }

  test('the policy allows what the model does, and the same of no other model', async () => {
    const denial = kms.denyWhen((access) => !isAllowed(access))
    try {
      const User = userModel()
      await User.create({ name: 'Ada', email: secret('ada@example.org') })
      expect(await (await User.findOne().orFail()).email).toBe('ada@example.org')
      expect(operations()).toEqual(['GenerateDataKey', 'Decrypt'])
      const Order = userModel({}, 'Order')
      await expect(Order.create({ email: 'x' })).rejects.toMatchObject({ code: 'KMS_ACCESS_DENIED' })
    } finally {
      denial.lift()
    }
    expect(Statement.map(({ Resource }) => Resource)).toEqual([
      expect.stringMatching(/^arn:aws:kms:[\w-]+:\d{12}:key\//),
    ])
  })

  test('creating takes no kms:Decrypt, reading no kms:GenerateDataKey', async () => {
    const User = userModel()
    const writing = kms.denyWhen((access) => !isAllowed(access, ['kms:GenerateDataKey']))
    const user = await User.create({ email: secret('ada@example.org') })
    user.email = secret('countess@example.org')
    await user.save()
    await expect((await User.findOne().orFail()).decrypt()).rejects.toMatchObject({ code: 'KMS_ACCESS_DENIED' })
    writing.lift()
    const reading = kms.denyWhen((access) => !isAllowed(access, ['kms:Decrypt']))
    expect(await (await User.findOne().orFail()).email).toBe('countess@example.org')
    reading.lift()
  })

  test('a wrapped key cannot be opened under the name of another record', async () => {
    const User = userModel()
    const ada = await User.create({ email: secret('ada@example.org') })
    const eve = await User.create({ email: secret('eve@example.org') })
    const { email, encrypted_kms_key } = (await raw('users'))[0] as any
    await rawCollection(User).updateOne({ _id: eve._id }, { $set: { email, encrypted_kms_key } })
    const user = await User.findById(eve._id).orFail()
    await expect(user.decrypt()).rejects.toMatchObject({ code: 'KMS_WRONG_CONTEXT' })
    expect(await (await User.findById(ada._id).orFail()).email).toBe('ada@example.org')
  })
})

describe('the order of events', () => {
  test('in a save', async () => {
    const events: string[] = []
    const schema = new Schema<any>({ name: { type: String, validate: () => events.push('validate name') > 0 } })
    schema.pre('save', async function (this: any) {
      events.push('pre save')
      this.phone = '+44 20 7946 0000'
    })
    schema.post('save', function (this: any) {
      events.push(`post save: ${this.email} ${this.phone}`)
    })
    const onEnd = (message: unknown) => events.push((message as KeyEvent).operation)
    channels.generate.asyncEnd.subscribe(onEnd)
    channels.unwrap.asyncEnd.subscribe(onEnd)
    const fields = { email: { type: String, validate: () => events.push('validate email') > 0 }, phone: String }
    const User = userModel({ fields }, 'User', schema)
    const insertOne = User.collection.insertOne.bind(User.collection)
    User.collection.insertOne = (async (...args: Parameters<typeof insertOne>) => {
      events.push('insert')
      return insertOne(...args)
    }) as never

    await User.create({ name: 'Ada', email: secret('ada@example.org') })
    expect(events).toEqual([
      'validate name',
      'validate email',
      'pre save',
      'generate',
      'insert',
      'post save: ada@example.org +44 20 7946 0000',
    ])
    channels.generate.asyncEnd.unsubscribe(onEnd)
    channels.unwrap.asyncEnd.unsubscribe(onEnd)
  })

  test('in an access', async () => {
    const User = userModel()
    await User.create({ email: secret('ada@example.org'), phone: secret('+44 20 7946 0000') })
    kms.clearCalls()
    const user = await User.findOne().orFail()
    const email = user.email
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(operations()).toEqual([])
    expect(await Promise.all([email, user.phone, user.email])).toHaveLength(3)
    expect(operations()).toEqual(['Decrypt'])
    expect(user.phone).toBe('+44 20 7946 0000')
    await (await User.findOne().orFail()).save()
    expect(operations()).toEqual(['Decrypt'])
  })
})

describe('what is protected, and what is not', () => {
  test('an older value of the same field can be put back', async () => {
    const User = userModel()
    const user = await User.create({ email: secret('old@example.org') })
    const [{ email }] = (await raw('users')) as any
    user.email = secret('new@example.org')
    await user.save()
    await rawCollection(User).updateOne({ _id: user._id }, { $set: { email } })
    expect(await (await User.findById(user._id).orFail()).email).toBe('old@example.org')
  })

  test('a value that is moved from another field, or altered, is refused', async () => {
    const User = userModel()
    await User.create({ email: secret('ada@example.org'), phone: secret('+44 20 7946 0000') })
    const [{ phone }] = (await raw('users')) as any
    await rawCollection(User).updateOne({}, { $set: { email: phone } })
    const user = await User.findOne().orFail()
    await expect(user.email.then()).rejects.toMatchObject({ code: 'ENVELOPE_REJECTED' })
    expect(await user.phone).toBe('+44 20 7946 0000')
  })

  test('lengths show, and which fields are set', async () => {
    const User = userModel()
    await User.create({ email: null })
    await User.create({ email: '' })
    await User.create({ email: secret('ada@example.org') })
    const [first, second, third] = await raw('users')
    expect(first).toMatchObject({ email: null })
    expect(first).not.toHaveProperty('phone')
    expect(first).not.toHaveProperty('encrypted_kms_key')
    expect(third!.email.length() - second!.email.length()).toBe('ada@example.org'.length)
  })
})

test('sizes: 33 bytes for each field, about 410 for each record', async () => {
  const { BSON } = connection.base.mongo
  const User = userModel()
  await User.create({ email: secret('ada@example.org') })
  const [{ email, encrypted_kms_key }] = (await raw('users')) as any
  expect(email.length()).toBe(BSON.calculateObjectSize({ v: 'ada@example.org' }) + 33)
  const size = BSON.calculateObjectSize({ encrypted_kms_key }) - BSON.calculateObjectSize({})
  expect(Math.abs(size - 410)).toBeLessThan(10)
  expect(readme).toContain('33 bytes for each field, and about 410 bytes for each record')
})

test('at most 32 calls to KMS are under way at a time', async () => {
  const User = userModel()
  await User.insertMany(Array.from({ length: 80 }, () => ({ email: 'ada@example.org' })))
  const slow = kms.inject({ operation: 'Decrypt', latencyMs: 20 } as never)
  kms.resetMaxConcurrent()
  await User.decrypt(await User.find())
  expect(kms.maxConcurrent).toBe(32)
  slow.remove()
})

test('a renamed model reads its records by previousVersions', async () => {
  const { _id } = await userModel().create({ email: secret('ada@example.org') })
  const renamed = userModel({}, 'Customer')
  await expect((await renamed.findById(_id).orFail()).decrypt()).rejects.toMatchObject({ code: 'KMS_WRONG_CONTEXT' })
  connection.deleteModel('Customer')
  const previousVersions = { 1: { context: (customer: any) => ({ Record: `User/${customer._id}` }) } }
  const Customer = userModel({ version: 2, previousVersions }, 'Customer')
  const customer = await Customer.findById(_id).orFail()
  expect(await customer.email).toBe('ada@example.org')
})

test('a new keyId needs no version', async () => {
  const { _id } = await userModel().create({ email: secret('ada@example.org') })
  connection.deleteModel('User')
  const User = userModel({ keyId: kms.createKey().arn })
  const user = await User.findById(_id).orFail()
  expect(await user.email).toBe('ada@example.org')
})

test('onLoad: what is not selected costs nothing', async () => {
  await userModel().create({ name: 'Ada', email: secret('ada@example.org') })
  connection.deleteModel('User')
  const User = userModel({ decrypt: 'onLoad' })
  kms.clearCalls()
  expect((await User.findOne().select('name').orFail()).name).toBe('Ada')
  expect(operations()).toEqual([])
  expect((await User.findOne().orFail()).email).toBe('ada@example.org')
  expect(operations()).toEqual(['Decrypt'])
})
