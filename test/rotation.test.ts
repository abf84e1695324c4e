import { Schema } from 'mongoose'
import { kmsEncrypted, localKms } from '../lib'
import { modelOf, rawCollection, secret, useDatabase } from './support'

const { connection, raw } = useDatabase()
const provider = localKms()
const User = modelOf(connection, new Schema({ name: String }), { fields: { email: String, dob: Date, note: String } })

test('rotation replaces the data key and every ciphertext in one write', async () => {
  const user = await User.create({ name: 'Ada', email: secret('ada@example.org'), dob: new Date(0), note: null })
  const [before] = await raw(User.collection.name)
  await user.rotateKmsKey()
  const [after] = await raw(User.collection.name)
  expect(after!.encrypted_kms_key).toHaveLength(1)
  expect(after!.encrypted_kms_key[0].commitment).not.toEqual(before!.encrypted_kms_key[0].commitment)
  expect(after!.email).not.toEqual(before!.email)
  expect(after!.note).toBeNull()
  expect(await (await User.findById(user._id)).decrypt()).toEqual({
    email: 'ada@example.org',
    dob: new Date(0),
    note: null,
  })
  user.email = 'new@example.org'
  await user.save()
  expect(await (await User.findById(user._id)).decrypt()).toMatchObject({ email: 'new@example.org', dob: new Date(0) })
})

test('of a record without a value, the data key goes: the next value brings a new one', async () => {
  const user = await User.create({ name: 'Ada', email: secret('ada@example.org') })
  const [{ encrypted_kms_key: before }] = (await raw(User.collection.name)) as any
  user.email = null
  await user.save()
  await user.rotateKmsKey()
  expect((await raw(User.collection.name))[0]).not.toHaveProperty('encrypted_kms_key')
  for (const doc of [user, await User.findById(user._id)]) {
    doc.email = secret('again@example.org')
    await doc.save()
    expect(await (await User.findById(user._id)).email).toBe('again@example.org')
    await User.updateOne({ _id: user._id }, { email: null })
    await (await User.findById(user._id)).rotateKmsKey()
  }
  await User.updateOne({ _id: user._id }, { note: secret('by an update') })
  const [{ encrypted_kms_key: after }] = (await raw(User.collection.name)) as any
  expect(after).toHaveLength(1)
  expect(after[0].commitment).not.toEqual(before[0].commitment)
  expect(await (await User.findById(user._id)).note).toBe('by an update')
})

test('of two data keys, the one without a value goes as well', async () => {
  const schema = new Schema({ name: String }).plugin(kmsEncrypted as any, { provider, name: 'two', fields: ['phone'] })
  const Twofold = modelOf(connection, schema, { provider, fields: { email: String } })
  const user = await Twofold.create({ email: secret('ada@example.org'), phone: secret('+44 20 7946 0958') })
  await Twofold.updateOne({ _id: user._id }, { phone: null })
  await (await Twofold.findById(user._id)).rotateKmsKey()
  const stored = await rawCollection(Twofold).findOne({ _id: user._id })
  expect(stored).not.toHaveProperty('encrypted_kms_key_two')
  expect(stored!.encrypted_kms_key).toHaveLength(1)
  const found = await Twofold.findById(user._id)
  found.phone = secret('+44 20 7946 0959')
  await found.save()
  expect(await (await Twofold.findById(user._id)).decrypt()).toEqual({
    email: 'ada@example.org',
    phone: '+44 20 7946 0959',
  })
})

test('a record that was loaded before a rotation is refused once and then saved', async () => {
  const user = await User.create({ name: 'Ada', email: 'ada@example.org', note: 'kept' })
  const stale = await User.findById(user._id)
  await user.rotateKmsKey()
  stale.email = 'stale@example.org'
  await expect(stale.save()).rejects.toMatchObject({ code: 'RECORD_CHANGED' })
  expect(stale.email).toBe('stale@example.org')
  await stale.save()
  expect(await (await User.findById(user._id)).decrypt()).toMatchObject({ email: 'stale@example.org', note: 'kept' })
})

test('two first writers do not lose each other', async () => {
  await rawCollection(User).insertOne({ name: 'Ada' })
  const [one, two] = [await User.findOne(), await User.findOne()]
  one.email = 'one@example.org'
  two.note = 'two'
  await one.save()
  await two.save()
  expect((await raw(User.collection.name))[0]!.encrypted_kms_key).toHaveLength(2)
  expect(await (await User.findOne()).decrypt()).toMatchObject({ email: 'one@example.org', note: 'two' })
})

test('bulkWrite encrypts each operation for its record', async () => {
  const ada = await User.create({ name: 'Ada', email: 'ada@example.org' })
  const operations = [
    { insertOne: { document: { name: 'Bob', email: secret('bob@example.org') } } },
    { updateOne: { filter: { name: 'Ada' }, update: { $set: { email: secret('ada2@example.org') } } } },
    { replaceOne: { filter: { _id: ada._id }, replacement: { name: 'Ada3', email: 'ada3@example.org' } } },
    { deleteOne: { filter: { name: 'nobody' } } },
  ]
  const result = await User.bulkWrite(operations)
  expect(result).toMatchObject({ insertedCount: 1, matchedCount: 2 })
  expect(await (await User.findOne({ name: 'Bob' })).email).toBe('bob@example.org')
  expect(await (await User.findOne({ name: 'Ada3' })).email).toBe('ada3@example.org')
  // Mongoose casts operations in place, and so they can be sent again.
  await User.updateOne({ name: 'Ada3' }, { name: 'Ada' })
  await User.bulkWrite(operations.slice(1, 2))
  expect(await (await User.findOne({ name: 'Ada' })).email).toBe('ada2@example.org')
  await User.bulkWrite(operations.slice(2, 3))
  expect(await (await User.findOne({ name: 'Ada3' })).email).toBe('ada3@example.org')
  await expect(User.bulkWrite([{ deleteMany: { filter: { email: 'x' } } }])).rejects.toMatchObject({
    code: 'QUERY_REFUSED',
  })
})

test('bulkSave writes new and changed documents, encrypted once', async () => {
  const ada = await User.create({ name: 'Ada', email: 'ada@example.org' })
  ada.email = secret('changed@example.org')
  const bob = new User({ name: 'Bob', email: secret('bob@example.org') })
  await User.bulkSave([ada, bob])
  expect(ada.isModified()).toBe(false)
  expect(await (await User.findOne({ name: 'Ada' })).email).toBe('changed@example.org')
  expect(await (await User.findOne({ name: 'Bob' })).email).toBe('bob@example.org')
})

test('connection.bulkWrite encrypts too', async () => {
  await connection.bulkWrite([
    { model: User, name: 'insertOne', document: { name: 'Ada', email: secret('ada@example.org') } },
  ] as never)
  await connection.bulkWrite([
    { model: User, name: 'updateOne', filter: { name: 'Ada' }, update: { note: secret('confidential') } },
  ] as never)
  expect(await (await User.findOne()).decrypt()).toMatchObject({ email: 'ada@example.org', note: 'confidential' })
})
