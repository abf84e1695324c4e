import { Schema } from 'mongoose'
import { awsKms, channels, createIndexKey, type KeyEvent, kmsEncrypted, withAudit } from '../../lib'
import { type Access, type KmsStandIn, startKms } from '../kms'
import { rawCollection, secret, useDatabase } from '../support'
import { blocksOf, readPage, sectionOf } from './page'

// What the README says about behaviour, where no example shows it.
const readme = readPage('README.md')
const { connection, raw, commands } = useDatabase()
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
    Condition: { [operator in 'StringLike' | 'StringEquals']?: Record<string, string> }
  }
  const policies = blocksOf(sectionOf(readme, '## IAM')).filter(({ language }) => language === 'json')
  const [{ Statement }, ofIndexKey] = policies.map(({ text }) => JSON.parse(text)) as [
    { Statement: Statement[] },
    Statement,
  ]

  /** Evaluates the policy as IAM does: what no statement allows is denied. */
  function isAllowed({ operation, context }: Access, actions?: string[], statements = Statement): boolean {
    return statements.some(
      ({ Effect, Action, Condition: { StringLike, StringEquals } }) =>
        Effect === 'Allow' &&
        (actions ?? Action).includes(`kms:${operation}`) &&
        Object.entries({ ...StringLike, ...StringEquals }).every(([key, pattern]) => {
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

  test('a blind index takes the statement for the index key', async () => {
    const provider = awsKms({ client: kms.client() })
    const indexKey = await createIndexKey({ provider, keyId: arn })
    const User = userModel({ provider, indexKey, fields: { email: { type: String, blindIndex: true } } })
    const without = kms.denyWhen((access) => !isAllowed(access))
    await expect(User.exists({ email: secret('ada@example.org') })).rejects.toMatchObject({ code: 'KMS_ACCESS_DENIED' })
    without.lift()
    const statements = [...Statement, ofIndexKey]
    const denial = kms.denyWhen((access) => !isAllowed(access, undefined, statements))
    try {
      await User.create({ email: secret('ada@example.org') })
      expect(await User.exists({ email: 'ada@example.org' })).not.toBeNull()
    } finally {
      denial.lift()
    }
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

  test('an index value that is moved has a record found by the value of another', async () => {
    const provider = awsKms({ client: kms.client() })
    const indexKey = await createIndexKey({ provider, keyId: arn })
    const User = userModel({ provider, indexKey, fields: { email: { type: String, blindIndex: true } } })
    await User.create({ name: 'Ada', email: secret('ada@example.org') })
    await User.create({ name: 'Eve', email: secret('eve@example.org') })
    const [{ email_bidx }] = (await raw('users')) as any
    await rawCollection(User).updateOne({ name: 'Eve' }, { $set: { email_bidx } })
    await rawCollection(User).updateOne({ name: 'Ada' }, { $unset: { email_bidx: 1 } })
    const found = await User.findOne({ email: 'ada@example.org' }).orFail()
    expect([found.name, await found.email]).toEqual(['Eve', 'eve@example.org'])
    expect((await User.verifyKms()).failures).toMatchObject([
      { code: 'BLIND_INDEX_STALE' },
      { code: 'BLIND_INDEX_STALE' },
    ])
  })

  test("Mongoose's debug output is what is sent", async () => {
    const User = userModel()
    const shown: string[] = []
    connection.base.set('debug', (...args: unknown[]) => void shown.push(JSON.stringify(args)))
    try {
      await User.create({ email: secret('ada@example.org') })
      await User.updateOne({}, { email: secret('eve@example.org') })
      await User.updateMany({}, { email: secret('info@example.org') })
    } finally {
      connection.base.set('debug', false)
    }
    expect(shown.length).toBeGreaterThan(3)
    expect(shown.join()).not.toMatch(/@example/)
  })

  test('a data key from before a rotation opens an older value where both are put back', async () => {
    const User = userModel()
    const user = await User.create({ email: secret('old@example.org') })
    const [{ email, encrypted_kms_key }] = (await raw('users')) as any
    await user.rotateKmsKey()
    await rawCollection(User).updateOne({}, { $set: { email } })
    await expect((await User.findOne().orFail()).email).rejects.toMatchObject({ code: 'DATA_KEY_MISSING' })
    await rawCollection(User).updateOne({}, { $push: { encrypted_kms_key: encrypted_kms_key[0] } } as never)
    expect(await (await User.findOne().orFail()).email).toBe('old@example.org')
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

test('allowKeyIds is none by default where keyId is a function', async () => {
  const { arn: planted } = kms.createKey()
  const { _id } = await userModel({ keyId: planted }).create({ email: secret('ada@example.org') })
  connection.deleteModel('User')
  const User = userModel({ keyId: () => arn })
  expect(await (await User.findById(_id).orFail()).email).toBe('ada@example.org')
  connection.deleteModel('User')
  const Strict = userModel({ keyId: () => arn, allowKeyIds: [arn] })
  await expect((await Strict.findById(_id).orFail()).email).rejects.toMatchObject({ code: 'KMS_KEY_NOT_ALLOWED' })
})

describe('in a transaction', () => {
  /** Does it in a transaction that MongoDB has tried three times. */
  async function thrice(operation: (session: any) => Promise<unknown>): Promise<void> {
    const { MongoServerError } = connection.base.mongo
    let tries = 0
    await connection.transaction(async (session) => {
      await operation(session)
      if (++tries === 3) return
      const error = new MongoServerError({ message: 'a transient one' })
      error.addErrorLabel('TransientTransactionError')
      throw error
    })
  }

  test('a save that is tried again asks KMS once, an update each time', async () => {
    const User = userModel()
    await User.createCollection()
    const user = new User({ email: secret('ada@example.org') })
    await thrice((session) => user.save({ session }))
    expect(operations()).toEqual(['GenerateDataKey'])
    kms.clearCalls()
    await thrice((session) => User.updateOne({}, { email: secret('eve@example.org') }, { session }))
    expect(operations()).toEqual(['Decrypt', 'Decrypt', 'Decrypt'])
    expect(await (await User.findOne().orFail()).email).toBe('eve@example.org')
  })
})

test('a new keyId needs no version, and the full ARN of one that the one before is allowed', async () => {
  const { arn: before } = kms.createKey()
  const { arn: after } = kms.createKey()
  const { _id } = await userModel({ keyId: before }).create({ email: secret('ada@example.org') })
  connection.deleteModel('User')
  const Strict = userModel({ keyId: after })
  await expect((await Strict.findById(_id).orFail()).email).rejects.toMatchObject({ code: 'KMS_KEY_NOT_ALLOWED' })
  connection.deleteModel('User')
  const User = userModel({ keyId: after, allowKeyIds: [before, after] })
  expect(await (await User.findById(_id).orFail()).email).toBe('ada@example.org')
  connection.deleteModel('User')
  kms.createKey({ alias: 'alias/new' })
  const ByAlias = userModel({ keyId: 'alias/new' })
  expect(await (await ByAlias.findById(_id).orFail()).email).toBe('ada@example.org')
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

test('onLoad: a field that cannot be opened throws when it is read; lean objects stay as they are stored', async () => {
  const User = userModel({ decrypt: 'onLoad' })
  await User.create({ name: 'Ada', email: secret('ada@example.org'), phone: secret('+44 20 7946 0000') })
  await rawCollection(User).updateOne({}, [{ $set: { email: '$phone' } }])
  const [user] = await User.find()
  expect(() => user.email).toThrow(expect.objectContaining({ code: 'ENVELOPE_REJECTED' }))
  expect(user.phone).toBe('+44 20 7946 0000')
  kms.clearCalls()
  expect((await User.findOne().lean()).phone).toMatchObject({ sub_type: 0x80 })
  expect((await User.aggregate([{ $match: { name: 'Ada' } }]))[0].phone).toMatchObject({ sub_type: 0x80 })
  expect(operations()).toEqual([])
})

describe('queries and updates', () => {
  const damage = (User: any, filter: object) =>
    rawCollection(User).updateOne(filter, { $set: { 'encrypted_kms_key.0.crc32': 1 } })

  test('updateMany costs a call for each record, and gives the counts of an ordinary one', async () => {
    const User = userModel()
    await User.insertMany([
      { name: 'Ada', email: 'old@example.org' },
      { name: 'Eve', email: 'old@example.org' },
    ])
    kms.clearCalls()
    const result = await User.updateMany({}, { email: secret('info@example.org'), name: 'same' })
    expect(result).toMatchObject({ acknowledged: true, matchedCount: 2, modifiedCount: 2, upsertedCount: 0 })
    expect(operations()).toEqual(['Decrypt', 'Decrypt'])
    for (const user of await User.find()) expect(await user.email).toBe('info@example.org')
  })

  test('updateMany stops at the first that fails, and with { ordered: false } tries all others', async () => {
    const User = userModel()
    await User.insertMany(Array.from({ length: 120 }, (_none, name) => ({ name, email: 'old@example.org' })))
    const ids = (await raw('users')).map(({ _id }) => _id)
    await damage(User, { _id: ids[110] })
    const update = () => User.updateMany({}, { email: secret('info@example.org') })
    await expect(update().exec()).rejects.toMatchObject({
      code: 'UPDATE_INCOMPLETE',
      message: expect.stringMatching(/: 100 records were updated, and then 1 could not be\. .*\{ ordered: false \}/),
      matchedCount: 100,
      modifiedCount: 100,
      cause: expect.objectContaining({ code: 'WRAPPED_KEY_DAMAGED' }),
    })
    await expect(update().setOptions({ ordered: false }).exec()).rejects.toMatchObject({
      code: 'UPDATE_INCOMPLETE',
      matchedCount: 119,
      failures: [{ _id: ids[110], error: expect.objectContaining({ code: 'WRAPPED_KEY_DAMAGED' }) }],
    })
    await damage(User, { _id: ids[0] })
    await expect(update().exec()).rejects.toMatchObject({ code: 'WRAPPED_KEY_DAMAGED' })
  })

  test('updateMany has no more than a hundred records at a time, however many there are', async () => {
    const User = userModel()
    await User.insertMany(Array.from({ length: 110 }, (_none, name) => ({ name, email: 'old@example.org' })))
    commands.length = 0
    const result = await User.updateMany({}, { email: secret('info@example.org') })
    expect(result).toMatchObject({ matchedCount: 110, modifiedCount: 110 })
    // Each batch is written before the next is asked for.
    expect(commands).toEqual(['find', 'update', 'getMore', 'update'])
  })

  test('a save that is overtaken is refused once, an update is made again', async () => {
    const User = userModel()
    const { _id } = await User.create({ name: 'Ada', email: secret('old@example.org') })
    const user = await User.findById(_id).orFail()
    user.email = secret('new@example.org')
    await (await User.findById(_id).orFail()).rotateKmsKey()
    await expect(user.save()).rejects.toMatchObject({ code: 'RECORD_CHANGED', remedy: 'retry' })
    await user.save()
    expect(await (await User.findById(_id).orFail()).email).toBe('new@example.org')

    const other = await User.findById(_id).orFail()
    const native = Object.getPrototypeOf(rawCollection(User))
    const { findOne } = native
    let rotated = 0
    const overtaking = jest.spyOn(native, 'findOne').mockImplementation(async function (this: any, ...args: any[]) {
      const found = await findOne.apply(this, args)
      if (rotated++ === 0) await other.rotateKmsKey()
      return found
    })
    await User.updateOne({ name: 'Ada' }, { email: secret('third@example.org') })
    overtaking.mockRestore()
    expect(rotated).toBeGreaterThan(2)
    expect(await (await User.findById(_id).orFail()).email).toBe('third@example.org')
  })

  test('of two who change an array the later is refused; what is assigned takes the place of whatever is stored', async () => {
    const User = userModel({ fields: { tags: [String] } })
    const { _id } = await User.create({ tags: ['one'] })
    const load = () => User.findById(_id).orFail()
    const [first, second, third] = [await load(), await load(), await load()]
    ;(await first.tags).push('by the first')
    ;(await second.tags).push('by the second')
    third.tags = ['of the third']
    await first.save()
    await expect(second.save()).rejects.toMatchObject({
      code: 'RECORD_CHANGED',
      remedy: 'reload',
      message: expect.stringContaining('load the record anew'),
    })
    expect(await (await load()).tags).toEqual(['one', 'by the first'])
    await third.save()
    expect(await (await load()).tags).toEqual(['of the third'])
  })

  test('a document that an update gives back is locked', async () => {
    const User = userModel()
    await User.create({ email: secret('ada@example.org') })
    kms.clearCalls()
    const update = { email: secret('countess@example.org') }
    const user = await User.findOneAndUpdate({}, update, { returnDocument: 'after' }).orFail()
    expect(operations()).toEqual(['Decrypt'])
    expect(await user.email).toBe('countess@example.org')
    expect(operations()).toEqual(['Decrypt', 'Decrypt'])
  })

  test('Model.collection is gated, connection.db is not', async () => {
    const User = userModel()
    await User.collection.insertOne({ name: 'Ada', email: secret('ada@example.org') })
    expect(await (await User.findOne().orFail()).email).toBe('ada@example.org')
    await expect(User.collection.findOne({ email: 'ada@example.org' })).rejects.toMatchObject({ code: 'QUERY_REFUSED' })
    expect((await User.collection.findOne({ name: 'Ada' })).email).toHaveProperty('sub_type', 0x80)
    expect((await User.findOne().lean()).email).toHaveProperty('sub_type', 0x80)
    // Such bulks are made step by step and sent as they are.
    for (const name of ['initializeOrderedBulkOp', 'initializeUnorderedBulkOp'])
      expect(() => User.collection[name]()).toThrow(expect.objectContaining({ code: 'WRITE_REFUSED' }))

    await connection.db!.collection('users').updateOne({}, { $set: { email: 'in the clear' } })
    const user = await User.findOne().orFail()
    user.name = 'Countess'
    await user.save()
    await expect(user.email.then()).rejects.toMatchObject({ code: 'PLAINTEXT_FOUND' })
    expect(await raw('users')).toMatchObject([{ name: 'Countess', email: 'in the clear' }])
    user.email = secret('ada@example.org')
    await user.save()
    expect(await (await User.findOne().orFail()).email).toBe('ada@example.org')
  })

  test('change streams show what is stored', async () => {
    const User = userModel()
    await User.createCollection()
    const stream = User.collection.watch([], { fullDocument: 'updateLookup', maxAwaitTimeMS: 10 })
    // It begins when it is first asked.
    expect(await stream.tryNext()).toBeNull()
    await User.create({ name: 'Ada', email: secret('ada@example.org') })
    await User.updateOne({ name: 'Ada' }, { email: secret('new@example.org') })
    const [inserted, updated] = [await stream.next(), await stream.next()]
    await stream.close()
    expect(inserted.fullDocument.email).toHaveProperty('sub_type', 0x80)
    expect(updated.updateDescription.updatedFields.email).toHaveProperty('sub_type', 0x80)
    expect(await User.decrypt(updated.fullDocument)).toMatchObject({ name: 'Ada', email: 'new@example.org' })
  })

  test('what context and keyId read is loaded, or the operation is an error', async () => {
    const schema = new Schema<any>({ name: String, tenant: String })
    const User = userModel({ context: ({ tenant }: any) => ({ Tenant: tenant }) }, 'User', schema)
    const { _id } = await User.create({ tenant: 'acme', email: secret('ada@example.org') })
    expect(kms.calls[0]?.requestParameters.encryptionContext).toEqual({ Record: `User/${_id}`, Tenant: 'acme' })
    expect(await (await User.findOne().select('email').orFail()).email).toBe('ada@example.org')
    const without = await User.findOne().select('-tenant').orFail()
    await expect(without.email.then()).rejects.toMatchObject({ code: 'CONTEXT_NOT_SELECTED' })
    const user = await User.findOne().orFail()
    user.tenant = 'globex'
    await expect(user.save()).rejects.toMatchObject({ code: 'CONTEXT_CHANGED' })
    user.tenant = 'acme'
    await user.decrypt()
    user.tenant = 'globex'
    await user.save()
    expect(await (await User.findOne().orFail()).email).toBe('ada@example.org')
  })
})

describe('subdocuments', () => {
  const encrypted = (fields: string[], options: object, paths: object = {}) =>
    new Schema<any>(paths).plugin(kmsEncrypted as any, { ...options, fields })
  const byKms = () => ({ provider: awsKms({ client: kms.client({ fastRetries: true }) }), keyId: arn })
  const contexts = () => kms.calls.map(({ requestParameters }) => requestParameters.encryptionContext)

  test('each has a data key of its own, and rotateKmsKey() of the record takes them along', async () => {
    const contacts = [encrypted(['phone'], byKms())]
    const Patient = connection.model<any>('Patient', encrypted(['email'], byKms(), { contacts }), 'users')
    const patient = await Patient.create({
      email: secret('ada@example.org'),
      contacts: [{ phone: '1' }, { phone: '2' }],
    })
    const Record = (index: number) => `Patient/${patient._id}/contacts/${patient.contacts[index]._id}`
    expect(contexts()).toEqual(
      expect.arrayContaining([{ Record: `Patient/${patient._id}` }, { Record: Record(0) }, { Record: Record(1) }]),
    )
    const keysOf = ({ encrypted_kms_key, contacts }: any) =>
      [encrypted_kms_key, ...contacts.map((contact: any) => contact.encrypted_kms_key)].map(([key]) => key.commitment)
    const before = keysOf((await raw('users'))[0])
    await patient.rotateKmsKey()
    for (const [index, commitment] of keysOf((await raw('users'))[0]).entries())
      expect(commitment).not.toEqual(before[index])
    expect(await (await Patient.findOne().orFail()).contacts[1].phone).toBe('2')
    await expect(
      Patient.updateOne({ 'contacts._id': patient.contacts[0]._id }, { 'contacts.$.phone': '3' }),
    ).rejects.toMatchObject({ code: 'UPDATE_REFUSED' })
    await expect(Patient.updateOne({}, { 'contacts.$[].phone': '3' })).rejects.toMatchObject({ code: 'UPDATE_REFUSED' })
    await Patient.updateOne({}, { 'contacts.0.phone': '3' })
    expect(await (await Patient.findOne().orFail()).contacts[0].phone).toBe('3')
  })

  test("with dataKey: 'owner' one call opens all, also of those that updates add", async () => {
    const notes = [encrypted(['text'], { dataKey: 'owner' }, { at: Number })]
    const Patient = connection.model<any>('Patient', encrypted(['email'], byKms(), { ward: Number, notes }), 'users')
    const { _id } = await Patient.create({ ward: 3, notes: [{ text: 'one' }, { text: 'two' }] })
    await Patient.updateOne({ ward: 3 }, { $push: { notes: { text: 'three' } } })
    await Patient.updateOne({ _id }, { $push: { notes: { text: 'four' } } })
    await Patient.updateOne({ ward: 3 }, { 'notes.0.text': 'first' })
    kms.clearCalls()
    const patient = await Patient.findOne().orFail()
    const texts: unknown[] = []
    for (const note of patient.notes) texts.push(await note.text)
    expect(texts).toEqual(['first', 'two', 'three', 'four'])
    expect(contexts()).toEqual([{ Record: `Patient/${patient._id}` }])
    const [note] = patient.notes
    const other = await Patient.create({ ward: 4, notes: [{ at: note.at, ...(await note.decrypt()) }] })
    expect(await (await Patient.findById(other._id).orFail()).notes[0].text).toBe('first')
    patient.notes = patient.notes.filter((each: any) => each !== note)
    await patient.save()
    expect(await (await Patient.findById(patient._id).orFail()).notes[1].text).toBe('three')
  })

  test('those in an array need an _id, unless the array itself is an encrypted field', async () => {
    const contact = encrypted(['phone'], byKms()).set('_id' as never, false as never)
    const shapes: [string, object][] = [
      contact,
      encrypted(['phone'], { dataKey: 'owner' }).set('_id' as never, false as never),
    ].flatMap((held): [string, object][] => [
      ['contacts', { contacts: [held] }],
      ['nested.contacts', { nested: { contacts: [held] } }],
      ['grid', { grid: [[held]] }],
      ['lists', { lists: { type: Map, of: [held] } }],
      ['inner', { outer: [new Schema<any>({ inner: [held] })] }],
      ['inner', { one: new Schema<any>({ inner: [held] }) }],
    ])
    for (const [path, definition] of shapes) {
      expect(() => connection.model('Patient', encrypted(['email'], byKms(), definition))).toThrow(
        expect.objectContaining({
          code: 'FIELD_INVALID',
          message: expect.stringMatching(
            new RegExp(`${path} .* Give them an _id, or make the array itself an encrypted field`),
          ),
        }),
      )
    }
    const contacts = [{ _id: false, phone: String }]
    const schema = new Schema<any>().plugin(kmsEncrypted as any, { ...byKms(), fields: { contacts } }) as Schema<any>
    const Whole = connection.model<any>('Whole', schema, 'users')
    await Whole.create({ contacts: [{ phone: secret('+44 20 7946 0000') }] })
    expect(await (await Whole.findOne().orFail()).contacts).toMatchObject([{ phone: '+44 20 7946 0000' }])
  })

  test('null and $exists work in filters for them', async () => {
    const Patient = connection.model<any>('Patient', new Schema({ one: encrypted(['phone'], byKms()) }), 'users')
    await Patient.create([{ one: { phone: '1' } }, { one: {} }])
    expect(await Patient.countDocuments({ 'one.phone': null })).toBe(1)
    expect(await Patient.countDocuments({ 'one.phone': { $exists: true } })).toBe(1)
    await expect(Patient.countDocuments({ 'one.phone': '1' })).rejects.toMatchObject({ code: 'QUERY_REFUSED' })
  })
})

test('a promise that is used as text or number throws', async () => {
  const User = userModel()
  await User.create({ email: secret('ada@example.org') })
  const user = await User.findOne().orFail()
  expect(() => `${user.email}.`).toThrow(expect.objectContaining({ code: 'VALUE_NOT_AWAITED' }))
  expect(() => user.email > 'a').toThrow(expect.objectContaining({ code: 'VALUE_NOT_AWAITED' }))
})

test('a promise in a condition, or whose property is read, is nothing that could throw', async () => {
  const User = userModel({ fields: { vip: Boolean, email: String, address: { city: String } } })
  await User.create({ vip: false, email: secret('ada@example.org'), address: { city: secret('London, W1') } })
  const user = await User.findOne().orFail()
  expect([Boolean(user.vip), user.email === 'ada@example.org', user.address.city]).toEqual([true, false, undefined])
  expect(JSON.stringify({ email: user.email })).toBe('{}')
  expect([await user.vip, await user.email, (await user.address).city]).toEqual([
    false,
    'ada@example.org',
    'London, W1',
  ])
})

test('a copy that is made of toObject() lacks the encrypted fields', async () => {
  const User = userModel()
  await User.create({ name: 'Ada', email: secret('ada@example.org') })
  const user = await User.findOne().orFail()
  expect(new User(user.toObject()).email).toBeUndefined()
  expect(new User({ ...user.toObject(), ...(await user.decrypt()) }).email).toBe('ada@example.org')
})

test('what is changed within a field after it was awaited is saved', async () => {
  const User = userModel({ fields: { tags: [String] } })
  await User.create({ tags: [secret('first tag')] })
  const user = await User.findOne().orFail()
  const tags = await user.tags
  tags.push(secret('second tag'))
  await user.save()
  ;(await user.decrypt()).tags.push('third tag')
  expect(user.isModified('tags')).toBe(false)
  expect(await (await User.findOne().orFail()).tags).toEqual(['first tag', 'second tag'])
})

test("Mongoose's own errors hold no value of an encrypted field, and that of any other", async () => {
  const schema = new Schema<any>({ count: Number })
  const User = userModel({ fields: { age: Number, role: { type: String, enum: ['guest'] } } }, 'User', schema)
  const values = { age: 'thirty-six', role: 'queen', count: 'many' }
  const error = await new User(values).validate().catch((reason: unknown) => reason)
  expect(Object.keys(error.errors).sort()).toEqual(['age', 'count', 'role'])
  expect([error.errors.role, error.errors.age].map(({ value }) => String(value))).toEqual([
    '<encrypted>',
    '<encrypted>',
  ])
  expect(error.message).toContain('many')
  expect(error.message).toContain('<encrypted>')
  expect(error.message).not.toMatch(/thirty-six|queen/)
})

test('a field that is in an index, or declared again, is an error when the model is made', () => {
  const options = { provider: awsKms({ client: kms.client() }), keyId: arn, fields: ['email'] }
  const schema = () => new Schema<any>().plugin(kmsEncrypted as any, options) as Schema<any>
  const invalid = expect.objectContaining({ code: 'FIELD_INVALID' })
  expect(() => connection.model('A', schema().index({ email: 1 }))).toThrow(invalid)
  expect(() => connection.model('B', schema().add({ email: String }))).toThrow(invalid)
  const late = new Schema<any>()
  connection.model('C', late)
  expect(() => late.plugin(kmsEncrypted as any, options)).toThrow(expect.objectContaining({ code: 'OPTION_INVALID' }))
})

describe('limits', () => {
  test('documents that differ in encrypted values alone are equal, and so are two promises', async () => {
    const User = userModel()
    const users = await User.create([{ email: secret('ada@example.org') }, { email: secret('eve@example.org') }])
    const [ada, eve] = await User.find().sort({ _id: 1 })
    expect(ada.email).toEqual(eve.email)
    const { _id } = users[0]
    const same = [new User({ _id, email: 'ada@example.org' }), new User({ _id, email: 'eve@example.org' })] as const
    expect(same[0]).toEqual(same[1])
    expect(await ada.decrypt()).not.toEqual(await eve.decrypt())
  })

  test('another model of the collection neither reads nor writes the field in the clear', async () => {
    const User = userModel()
    await User.create({ name: 'Ada', email: secret('ada@example.org') })
    const Plain = connection.model<any>('Plain', new Schema({ name: String, email: String }), 'users')
    expect((await Plain.findOne().orFail()).email).not.toContain('ada@')
    await Plain.create({ name: 'Eve', email: secret('eve@example.org') })
    expect(await (await User.findOne({ name: 'Eve' }).orFail()).email).toBe('eve@example.org')
  })

  test('a default that a stored record lacks is written by its next save', async () => {
    const User = userModel({ fields: { email: String, role: { type: String, default: 'guest' } } })
    await User.create({ name: 'Ada', email: secret('ada@example.org') })
    await rawCollection(User).updateOne({}, { $unset: { role: 1 } })
    kms.clearCalls()
    await (await User.findOne().orFail()).save()
    expect(operations()).toEqual(['Decrypt'])
    expect((await raw('users'))[0]).toHaveProperty('role')
  })
})

test('requireActor asks for an actor of jobs, too, and neither to create nor to find nor to erase', async () => {
  const provider = awsKms({ client: kms.client() })
  const indexKey = await createIndexKey({ provider, keyId: arn })
  const fields = { email: { type: String, blindIndex: true } }
  const User = userModel({ provider, indexKey, fields, requireActor: true })
  await User.create({ email: secret('ada@example.org') })
  expect(await User.exists({ email: 'ada@example.org' })).not.toBeNull()
  const refused = [{ error: expect.objectContaining({ code: 'ACTOR_REQUIRED' }) }]
  expect(await User.rotateKmsKey()).toMatchObject({ failures: refused })
  expect(await User.verifyKms()).toMatchObject({
    failures: expect.arrayContaining([expect.objectContaining(refused[0])]),
  })
  await expect(User.updateOne({}, { email: 'eve@example.org' })).rejects.toMatchObject({ code: 'ACTOR_REQUIRED' })
  expect(await withAudit({ actor: 'cron' }, () => User.rotateKmsKey())).toMatchObject({ updated: 1 })
  expect(await User.eraseKmsKey({ filter: { email: 'ada@example.org' } })).toMatchObject({ updated: 1 })
})

test('a record that was erased fails the list that it is in, until its fields are unset', async () => {
  const User = userModel()
  const { _id } = await User.create({ email: secret('ada@example.org') })
  await User.create({ email: secret('eve@example.org') })
  await User.eraseKmsKey({ filter: { _id } })
  await expect(User.decrypt(await User.find())).rejects.toMatchObject({ code: 'ERASED' })
  const outcomes = await User.decrypt(await User.find(), { settled: true })
  expect(outcomes.map(({ status }: PromiseSettledResult<unknown>) => status)).toEqual(['rejected', 'fulfilled'])
  expect(await User.countDocuments({ email: { $exists: true } })).toBe(2)
  expect(await User.verifyKms()).toMatchObject({ processed: 2, failed: 0 })
  expect(await User.rotateKmsKey()).toMatchObject({ updated: 1, failed: 0 })
  await User.updateOne({ _id }, { $unset: { email: 1 } })
  expect(await User.decrypt(await User.find())).toMatchObject([{ email: undefined }, { email: 'eve@example.org' }])
})
