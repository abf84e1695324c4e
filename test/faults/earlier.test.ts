import { inspect } from 'node:util'
import mongoose, { Schema, Types } from 'mongoose'
import {
  at,
  contactSchema,
  expectReads,
  expectSealed,
  named,
  plugin,
  provider,
  refused,
  secret,
  unsent,
  useFaults,
  userModel,
} from './support'

const { connection, raw, plant } = useFaults()
const { EJSON } = mongoose.mongo.BSON
const email = 'from-before@example.org'

const required = () =>
  userModel(connection, { name: String }, { fields: { email: { type: String, required: true }, phone: String } })

/** Plaintext of every type, as it stands in records from before the field was encrypted. */
const kinds: [string, any, unknown][] = [
  ['String', String, email],
  ['an empty String', String, ''],
  ['Number', Number, 36],
  ['zero', Number, 0],
  ['Boolean', Boolean, false],
  ['Date', Date, new Date(0)],
  ['ObjectId', Schema.Types.ObjectId, new Types.ObjectId()],
  ['Buffer', Buffer, Buffer.from(email)],
  ['a Buffer as long as an envelope', Buffer, Buffer.alloc(80, 1)],
  ['a list', [String], [email]],
  ['an empty list', [String], []],
  ['a nested object', { city: String }, { city: email }],
  ['Map', { type: Map, of: String }, { a: email }],
  ['Mixed', Schema.Types.Mixed, { a: [email] }],
  ['Mixed, a text', Schema.Types.Mixed, email],
  ['subdocuments', [new Schema({ a: String })], [{ a: email }]],
  ['another type than now', Number, email],
]

describe('fault 48: a record that holds plaintext from before', () => {
  test.each(kinds)('is found, and says so on access to that field alone: %s', async (_name, type, value) => {
    const User = userModel(connection, { name: String }, { fields: { field: type, phone: String } })
    unsent(email)
    await plant(User, { name: 'Ada', field: value })
    await User.updateOne({ name: 'Ada' }, { phone: secret('+44 111 1111') })
    for (const load of [
      () => User.findOne(),
      async () => (await User.find())[0],
      async () => User.find().cursor().next(),
      async () => User.hydrate((await raw(User))[0]),
    ]) {
      const doc = await load()
      const error = await refused(() => doc.field, 'PLAINTEXT_FOUND', /field/)
      expect(error.name).toBe('DecryptionError')
      expect(error.message).not.toContain(email)
      await refused(() => doc.get('field'), 'PLAINTEXT_FOUND')
      await refused(() => doc.decrypt(), 'PLAINTEXT_FOUND')
      expect(await doc.phone).toBe('+44 111 1111')
      expect(doc.name).toBe('Ada')
      expect(inspect(doc, { depth: 9 }) + JSON.stringify(doc)).not.toContain(email)
    }
  })

  test.each(kinds)(
    'is saved with another change, and its plaintext is not sent again: %s',
    async (_name, type, value) => {
      const User = userModel(
        connection,
        { name: String },
        { fields: { field: type.type ? { ...type, required: true } : { type, required: true }, phone: String } },
      )
      unsent(email)
      await plant(User, { name: 'Ada', field: value })
      const [before] = await raw(User)
      const doc = await User.findOne()
      doc.name = 'Countess'
      doc.phone = secret('+44 111 1111')
      await doc.save()
      await refused(async () => (await User.findOne()).field, 'PLAINTEXT_FOUND')
      await expectReads(User, { name: 'Countess' }, { phone: '+44 111 1111' })
      expect(EJSON.stringify((await raw(User))[0].field)).toBe(EJSON.stringify(before.field))
    },
  )

  test.each<[string, (User: any) => Promise<unknown>]>([
    ['save', async (User) => (await User.findOne()).set({ email: secret('new@example.org') }).save()],
    ['updateOne', (User) => User.updateOne({}, { email: secret('new@example.org') })],
    ['updateMany', (User) => User.updateMany({}, { email: secret('new@example.org') })],
    ['findOneAndUpdate', (User) => User.findOneAndUpdate({}, { email: secret('new@example.org') })],
    ['replaceOne', (User) => User.replaceOne({}, { name: 'Ada', email: secret('new@example.org') })],
    [
      'bulkWrite',
      (User) => User.bulkWrite([{ updateOne: { filter: {}, update: { email: secret('new@example.org') } } }]),
    ],
    ['bulkSave', async (User) => User.bulkSave([(await User.findOne()).set({ email: secret('new@example.org') })])],
  ])('is encrypted by a new value, and its plaintext is gone: %s', async (_name, write) => {
    const User = required()
    await plant(User, { name: 'Ada', email: unsent(email) })
    await write(User)
    const stored = await expectReads(User, { name: 'Ada' }, { email: 'new@example.org' })
    expect(inspect(stored, { depth: 9 })).not.toContain(email)
  })

  test.each<[string, (User: any) => Promise<unknown>]>([
    ['$unset', (User) => User.updateOne({}, { $unset: { email: 1 } })],
    ['updateMany $unset', (User) => User.updateMany({}, { $unset: { email: 1 } })],
    ['bulkWrite $unset', (User) => User.bulkWrite([{ updateOne: { filter: {}, update: { $unset: { email: 1 } } } }])],
    ['null', (User) => User.updateOne({}, { email: null })],
    [
      'save of undefined',
      async (User) => (await User.findOne()).set({ email: undefined }).save({ validateBeforeSave: false }),
    ],
    ['save of null', async (User) => (await User.findOne()).set({ email: null }).save({ validateBeforeSave: false })],
    ['a replacement without it', (User) => User.replaceOne({}, { name: 'Ada' })],
    ['deleteOne', (User) => User.deleteOne({})],
  ])('loses its plaintext where the field is removed: %s', async (_name, remove) => {
    const User = required()
    await plant(User, { name: 'Ada', email: unsent(email) })
    await remove(User)
    const [stored] = await raw(User)
    expect(stored?.email ?? null).toBeNull()
  })

  test('fails no find that opens records on load, and no other record', async () => {
    const User = userModel(
      connection,
      { name: String },
      { decrypt: 'onLoad', fields: { email: String, phone: String } },
    )
    await plant(User, { name: 'Ada', email: unsent(email) })
    await User.create({ name: 'Eve', email: secret('eve@example.org') })
    await User.updateOne({ name: 'Ada' }, { phone: secret('+44 111 1111') })
    const [ada, eve] = await User.find().sort({ name: 1 })
    expect([ada.name, ada.phone, eve.email]).toEqual(['Ada', '+44 111 1111', 'eve@example.org'])
    await refused(() => ada.email, 'PLAINTEXT_FOUND')
  })

  test('is told of by Model.decrypt() of lean objects', async () => {
    const User = required()
    await plant(User, { name: 'Ada', email: unsent(email) })
    await refused(async () => User.decrypt(await User.findOne().lean()), 'PLAINTEXT_FOUND', /email/)
  })

  test('is not written back by anything that copies it', async () => {
    const User = required()
    await plant(User, { name: 'Ada', email: unsent(email) })
    const doc = await User.findOne()
    for (const copy of [
      () => new User({ ...doc._doc, _id: new Types.ObjectId() }).save(),
      () => User.create(doc.toObject()),
      () => User.insertMany([{ ...doc._doc, _id: new Types.ObjectId() }], { lean: true }),
      async () => User.insertMany([{ ...(await User.findOne().lean()), _id: new Types.ObjectId() }], { lean: true }),
      () => doc.rotateKmsKey(),
    ]) {
      await copy().catch((error: any) => expect(error.name).toMatch(/Error$/))
    }
    for (const record of await raw(User))
      if (record.name !== 'Ada' || record.email !== email) expectSealed(record, 'email')
  })

  test('in a subdocument says so, is saved with another change, and is encrypted by a new value', async () => {
    const Owner = connection.model<any>(
      named('Owner'),
      new Schema<any>({ name: String, contacts: [contactSchema()], one: contactSchema() }),
    ) as any
    const contact = () => ({ _id: new Types.ObjectId(), label: 'home', phone: unsent(email) })
    await plant(Owner, { name: 'Ada', contacts: [contact(), contact()], one: contact() })
    const doc = await Owner.findOne()
    for (const path of ['contacts.0.phone', 'contacts.1.phone', 'one.phone']) {
      await refused(() => at(doc, path), 'PLAINTEXT_FOUND', /phone/)
    }
    doc.name = 'Countess'
    doc.contacts[0].label = 'work'
    doc.contacts[1].phone = secret('+44 222 2222')
    await doc.save()
    expect((await raw(Owner))[0].contacts[0]).toMatchObject({ label: 'work', phone: email })
    await expectReads(Owner, { name: 'Countess' }, { 'contacts.1.phone': '+44 222 2222' })
    await refused(async () => at(await Owner.findOne(), 'one.phone'), 'PLAINTEXT_FOUND')
  })
})

test('fault 48: a field that was never there, and one that is null, are not plaintext', async () => {
  const schema = new Schema<any>({ name: String }).plugin(plugin, {
    provider,
    fields: { email: String, phone: String },
  })
  const User = connection.model<any>(named('User'), schema) as any
  await plant(User, { name: 'Ada', email: null })
  const doc = await User.findOne()
  expect([await doc.email, await doc.phone]).toEqual([null, undefined])
})
