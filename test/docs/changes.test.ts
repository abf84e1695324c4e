import { Schema } from 'mongoose'
import { awsKms, createIndexKey, kmsEncrypted } from '../../lib'
import { type KmsStandIn, startKms } from '../kms'
import { rawCollection, secret, useDatabase } from '../support'

// What the README and docs/migration.md say of schemas and options that change while records are stored.
const { connection, raw } = useDatabase()
let kms: KmsStandIn
let arn: string

beforeAll(async () => {
  kms = await startKms()
  arn = kms.createKey().arn
})
afterAll(() => kms.stop())

/** The model as the next version of the application has it. */
function next(options: object = {}, schema = new Schema<any>(), name = 'User', collection = 'users'): any {
  connection.deleteModel(/.*/)
  const provider = awsKms({ client: kms.client({ fastRetries: true }) })
  schema.plugin(kmsEncrypted, { provider, keyId: arn, fields: { email: String, phone: String }, ...options })
  return connection.model<any>(name, schema, collection)
}

/** Options for fields with blind indexes, with an index key of their own. */
async function indexed(fields: object) {
  const provider = awsKms({ client: kms.client() })
  return { provider, indexKey: await createIndexKey({ provider, keyId: arn }), fields }
}

const stored = async () => (await raw('users'))[0] as any

test('a renamed model finds nothing by a blind index that was made before, until its data keys are rotated', async () => {
  const options = await indexed({ email: { type: String, blindIndex: true } })
  await next(options).create({ email: secret('ada@example.org') })
  const previousVersions = { 1: { context: (customer: any) => ({ Record: `User/${customer._id}` }) } }
  const Customer = next({ ...options, version: 2, previousVersions }, new Schema<any>(), 'Customer')
  expect(await Customer.exists({ email: 'ada@example.org' })).toBeNull()
  expect((await Customer.verifyKms()).failures).toMatchObject([{ code: 'BLIND_INDEX_STALE' }])
  expect(await Customer.backfillBlindIndexes()).toMatchObject({ updated: 0 })
  expect(await Customer.rotateKmsKey()).toMatchObject({ updated: 1 })
  expect(await Customer.exists({ email: 'ada@example.org' })).not.toBeNull()
})

test('the name of the collection is bound to nothing', async () => {
  const { _id } = await next().create({ email: secret('ada@example.org') })
  const record = await stored()
  const Moved = next({}, new Schema<any>(), 'User', 'people')
  await Moved.collection.insertOne(record)
  expect(await (await Moved.findById(_id).orFail()).email).toBe('ada@example.org')
})

test('a process that does not know a version reads nothing of it, and one that knows it ahead does', async () => {
  const context = () => ({ Tenant: 'acme' })
  const before = (customer: any) => ({ Record: `User/${customer._id}` })
  const raised = { version: 2, context, previousVersions: { 1: { context: before } } }
  const { _id } = await next(raised).create({ email: secret('ada@example.org') })
  const Before = next()
  await expect((await Before.findById(_id).orFail()).email).rejects.toMatchObject({ code: 'KEY_VERSION_UNKNOWN' })
  const Knowing = next({ previousVersions: { 2: { context } } })
  expect(await (await Knowing.findById(_id).orFail()).email).toBe('ada@example.org')
  const another = await Knowing.create({ email: secret('eve@example.org') })
  expect(await (await next(raised).findById(another._id).orFail()).email).toBe('eve@example.org')
})

test('what an earlier version does not say is as the options have it now', async () => {
  const { _id } = await next().create({ email: secret('ada@example.org') })
  const User = next({ version: 2, context: () => ({ Tenant: 'acme' }), previousVersions: { 1: {} } })
  await expect((await User.findById(_id).orFail()).email).rejects.toMatchObject({ code: 'KMS_WRONG_CONTEXT' })
})

test('a version of before is needed until data keys are rotated, also where kmsStatus() counts none under it', async () => {
  await next().create({ email: secret('ada@example.org') })
  const context = () => ({ Tenant: 'acme' })
  const before = (user: any) => ({ Record: `User/${user._id}` })
  const Both = next({ version: 2, context, previousVersions: { 1: { context: before } } })
  await Both.rewrapKmsKey()
  expect((await Both.kmsStatus()).keys).toMatchObject([{ versions: [{ version: 2, records: 1 }] }])
  const read = async () => (await next({ version: 2, context }).findOne().orFail()).email
  await expect(read()).rejects.toMatchObject({ code: 'KEY_VERSION_UNKNOWN' })
  await next({ version: 2, context, previousVersions: { 1: { context: before } } }).rotateKmsKey()
  expect(await read()).toBe('ada@example.org')
})

test('a field that was in the clear is encrypted under the data key that the record has', async () => {
  const Before = next({ fields: { email: String } }, new Schema<any>({ phone: String }))
  await Before.create({ email: secret('ada@example.org'), phone: '+44 20 7946 0000' })
  const User = next({ migrating: true })
  expect(await User.migrateToKms()).toMatchObject({ updated: 1 })
  const user = await next().findOne().orFail()
  expect(await user.decrypt()).toEqual({ email: 'ada@example.org', phone: '+44 20 7946 0000' })
  expect((await stored()).encrypted_kms_key).toHaveLength(1)
})

test('a field that is taken away leaves ciphertext and its data key, also after a rotation', async () => {
  await next().create({ email: secret('ada@example.org'), phone: secret('+44 20 7946 0000') })
  const User = next({ fields: { email: String } })
  expect(await User.rotateKmsKey()).toMatchObject({ updated: 1, failed: 0 })
  await expect(User.decrypt(await User.findOne().lean())).rejects.toMatchObject({ code: 'RECORD_FOREIGN' })
  const Again = next()
  expect(await (await Again.findOne().orFail()).phone).toBe('+44 20 7946 0000')
  await Again.updateMany({}, { $unset: { phone: 1 } })
  expect(await stored()).not.toHaveProperty('phone')
})

test('a field gets another name by being copied, not by $rename', async () => {
  await next({ fields: { email: String } }).create({ email: secret('ada@example.org') })
  const Both = next({ fields: { email: String, mail: String } })
  await rawCollection(Both).updateOne({}, { $rename: { email: 'mail' } })
  await expect((await Both.findOne().orFail()).mail).rejects.toMatchObject({ code: 'ENVELOPE_REJECTED' })
  await rawCollection(Both).updateOne({}, { $rename: { mail: 'email' } })
  for await (const user of Both.find({ email: { $ne: null } }).cursor()) {
    user.mail = await user.email
    user.email = undefined
    await user.save()
  }
  const After = next({ fields: { mail: String } })
  expect(await (await After.findOne().orFail()).mail).toBe('ada@example.org')
  expect(await stored()).not.toHaveProperty('email')
})

test('a value is cast to another type when it is opened, and found after a rotation', async () => {
  const options = await indexed({ email: String, phone: { type: String, blindIndex: true } })
  await next(options).create({ email: secret('ada@example.org'), phone: '42' })
  const User = next({ ...options, fields: { email: Number, phone: { type: Number, blindIndex: true } } })
  const user = await User.findOne().orFail()
  expect(await user.phone).toBe(42)
  await expect(user.email).rejects.toMatchObject({ name: 'CastError' })
  expect(await User.exists({ phone: 42 })).toBeNull()
  await User.rotateKmsKey()
  expect(await User.exists({ phone: 42 })).not.toBeNull()
})

test.each([{ name: 'personal' }, { keyPath: 'keys' }])(
  'under %j nothing is opened; by way of the clear it is stored so',
  async (option) => {
    await next().create({ email: secret('ada@example.org') })
    await expect((await next(option).findOne().orFail()).email).rejects.toMatchObject({ code: 'DATA_KEY_MISSING' })
    await rawCollection(connection.model('User')).deleteMany({})
    await next({ migrating: true }).create({ email: 'ada in the clear' })
    await (connection.model('User') as any).migrateFromKms()
    await next({ ...option, migrating: true }).migrateToKms()
    expect(await (await next(option).findOne().orFail()).email).toBe('ada in the clear')
    expect(await stored()).not.toHaveProperty('encrypted_kms_key')
  },
)

test('what a process writes that does not know of a blind index is found by the value of before, until a rotation', async () => {
  const options = await indexed({ email: { type: String, blindIndex: true } })
  await next(options).create({ email: secret('ada@example.org') })
  await next({ fields: { email: String } }).updateOne({}, { email: secret('countess@example.org') })
  const User = next(options)
  expect(await User.exists({ email: 'ada@example.org' })).not.toBeNull()
  expect(await User.backfillBlindIndexes()).toMatchObject({ updated: 0 })
  expect((await User.verifyKms()).failures).toMatchObject([{ code: 'BLIND_INDEX_STALE' }])
  await User.rotateKmsKey()
  expect(await User.exists({ email: 'countess@example.org' })).not.toBeNull()
  expect(await User.exists({ email: 'ada@example.org' })).toBeNull()
})

test('an index key that is lost is replaced under the next version', async () => {
  await next(await indexed({ email: { type: String, blindIndex: true } })).create({
    email: secret('ada@example.org'),
  })
  const User = next(await indexed({ email: { type: String, blindIndex: { version: 2 } } }))
  expect(await User.exists({ email: 'ada@example.org' })).toBeNull()
  expect(await User.backfillBlindIndexes()).toMatchObject({ updated: 1 })
  expect(await User.exists({ email: 'ada@example.org' })).not.toBeNull()
})

test('a record that is copied under another _id is not opened', async () => {
  await next().create({ email: secret('ada@example.org') })
  const { _id, ...rest } = await stored()
  const User = next()
  await User.collection.insertOne({ ...rest, _id: 'another' })
  await rawCollection(User).deleteOne({ _id })
  const Another = next({}, new Schema<any>({ _id: String }))
  await expect((await Another.findById('another').orFail()).email).rejects.toMatchObject({ code: 'KMS_WRONG_CONTEXT' })
})

describe('subdocuments', () => {
  const under = (path: string, dataKey?: 'owner', migrating = false): any => {
    const note = new Schema<any>({})
    const own = dataKey ? { dataKey } : { provider: awsKms({ client: kms.client() }), keyId: arn }
    note.plugin(kmsEncrypted, { ...own, fields: ['text'], migrating })
    return next({ migrating }, new Schema<any>({ [path]: [note] }))
  }

  test.each([
    [undefined, 'KMS_WRONG_CONTEXT'],
    ['owner', 'ENVELOPE_REJECTED'],
  ] as const)('with dataKey: %p their values are bound to their path', async (dataKey, code) => {
    await under('notes', dataKey).create({ notes: [{ text: secret('Admitted.') }] })
    const Moved = under('memos', dataKey)
    await rawCollection(Moved).updateOne({}, { $rename: { notes: 'memos' } })
    const { memos } = await Moved.findOne().orFail()
    await expect(memos[0].text).rejects.toMatchObject({ code })
  })

  test.each([
    [undefined, 'owner'],
    ['owner', undefined],
  ] as const)('from dataKey: %p to %p they come by way of the clear', async (before, after) => {
    await under('notes', before).create({ notes: [{ text: 'admitted' }] })
    const { notes } = await under('notes', after).findOne().orFail()
    await expect(notes[0].text).rejects.toMatchObject({ code: 'DATA_KEY_MISSING' })
    await under('notes', before, true).migrateFromKms()
    await under('notes', after, true).migrateToKms()
    const user = await under('notes', after).findOne().orFail()
    expect(await user.notes[0].text).toBe('admitted')
  })
})
