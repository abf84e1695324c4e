import { Schema } from 'mongoose'
import { modelOf, secret, useDatabase } from './support'

const { connection, raw } = useDatabase()
const User = modelOf(connection, new Schema({ name: String, age: Number }, { timestamps: true }), {
  fields: { email: { type: String, lowercase: true }, tags: [String], address: { city: String } },
})

test('an update is encrypted under the key that the record has', async () => {
  const ada = await User.create({ name: 'Ada', email: 'first@example.org' })
  const [before] = await raw(User.collection.name)
  const result = await User.updateOne({ name: 'Ada' }, { email: secret('Second@Example.org'), age: 3 })
  expect(result.modifiedCount).toBe(1)
  const [after] = await raw(User.collection.name)
  expect(after!.encrypted_kms_key).toEqual(before!.encrypted_kms_key)
  expect(after!.age).toBe(3)
  expect(await (await User.findById(ada._id)).email).toBe('second@example.org')
})

test('a record without a key is given one by an update', async () => {
  const ada = await User.collection.insertOne({ name: 'Ada' })
  const updated = await User.findOneAndUpdate(
    { name: 'Ada' },
    { $set: { email: 'a@b.c', tags: ['x'] } },
    { returnDocument: 'after' },
  )
  expect(await updated.email).toBe('a@b.c')
  expect(
    (
      await User.findById(ada.insertedId)
        .orFail()
        .then((u: any) => u.decrypt())
    ).tags,
  ).toEqual(['x'])
})

test('an upsert inserts a record with a key of its own', async () => {
  const result = await User.updateOne(
    { name: 'Eve' },
    { $set: { email: 'eve@example.org' }, $setOnInsert: { age: 4 } },
    { upsert: true },
  )
  expect(result.upsertedCount).toBe(1)
  const eve = await User.findOne({ name: 'Eve' })
  expect(eve._id).toEqual(result.upsertedId)
  expect(await eve.decrypt()).toMatchObject({ email: 'eve@example.org' })
  const again = await User.findOneAndUpdate({ name: 'Zoe' }, { email: 'zoe@example.org' }, { upsert: true, new: true })
  expect(await again.email).toBe('zoe@example.org')
})

test('null and $unset need no key', async () => {
  await User.create({ name: 'Ada', email: 'first@example.org', tags: ['q'] })
  await User.updateOne({ name: 'Ada' }, { email: null, $unset: { tags: 1 } })
  const [stored] = await raw(User.collection.name)
  expect(stored!.email).toBeNull()
  expect('tags' in stored!).toBe(false)
})

test('a replacement brings a key of its own', async () => {
  await User.create({ name: 'Ada', email: 'first@example.org' })
  const [before] = await raw(User.collection.name)
  await User.replaceOne({ name: 'Ada' }, { name: 'Bob', email: 'bob@example.org' })
  const [after] = await raw(User.collection.name)
  expect(after!.encrypted_kms_key[0].commitment).not.toEqual(before!.encrypted_kms_key[0].commitment)
  expect(await (await User.findOne({ name: 'Bob' })).email).toBe('bob@example.org')
  await User.findOneAndReplace({ name: 'Bob' }, { name: 'Eve', email: null })
  expect((await raw(User.collection.name))[0]!.email).toBeNull()
})

test.each([
  ['$inc', { $inc: { email: 1 } }],
  ['$push', { $push: { tags: 'a' } }],
  ['a pipeline', [{ $set: { email: 'x' } }]],
  ['$rename', { $rename: { name: 'email' } }],
  ['a dotted path', { 'address.city': 'x' }],
])('%s on an encrypted field is refused', async (_name, update) => {
  await User.create({ name: 'Ada', email: 'first@example.org' })
  const before = await raw(User.collection.name)
  await expect(User.updateOne({ name: 'Ada' }, update, { updatePipeline: true })).rejects.toMatchObject({
    code: 'UPDATE_REFUSED',
  })
  expect(await raw(User.collection.name)).toEqual(before)
})

test.each([
  ['an equality', { email: 'x' }],
  ['$in', { email: { $in: ['x'] } }],
  ['$or', { $or: [{ name: 'x' }, { $and: [{ email: 'x' }] }] }],
  ['$expr', { $expr: { $eq: ['$email', 'x'] } }],
  ['$let', { $expr: { $let: { vars: { r: '$$ROOT' }, in: { $eq: ['$$r.email', 'x'] } } } }],
])('%s on an encrypted field is refused', async (_name, filter) => {
  for (const operation of [
    'find',
    'findOne',
    'countDocuments',
    'deleteMany',
    'deleteOne',
    'exists',
    'findOneAndDelete',
  ]) {
    await expect(User[operation](filter).exec()).rejects.toMatchObject({ code: 'QUERY_REFUSED' })
  }
  await expect(User.updateOne(filter, { name: 'y' })).rejects.toMatchObject({ code: 'QUERY_REFUSED' })
  await expect(User.aggregate([{ $match: filter }])).rejects.toMatchObject({ code: 'QUERY_REFUSED' })
})

test('whether a field is there can be asked', async () => {
  await User.create([{ name: 'Ada', email: 'first@example.org' }, { name: 'Bob', email: null }, { name: 'Eve' }])
  const names = async (filter: object) => (await User.find(filter).sort('name')).map((user: any) => user.name)
  expect(await names({ email: null })).toEqual(['Bob', 'Eve'])
  expect(await names({ email: { $exists: true } })).toEqual(['Ada', 'Bob'])
  expect(await names({ email: { $ne: null } })).toEqual(['Ada'])
})

test('a projection of a field loads it with its key, and nothing more', async () => {
  await User.create({ name: 'Ada', email: 'first@example.org', tags: ['x'] })
  const some = await User.findOne().select('email').lean()
  expect(Object.keys(some).sort()).toEqual(['_id', 'email', 'encrypted_kms_key'])
  expect(await (await User.findOne({}, 'email')).email).toBe('first@example.org')
  const without = await User.findOne().select('-email')
  expect(without.email).toBeUndefined()
  expect(await without.tags).toEqual(['x'])
})
