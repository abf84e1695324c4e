import { Schema } from 'mongoose'
import { kmsEncrypted, localKms } from '../lib'
import { modelOf, rawCollection, secret, useDatabase } from './support'

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
  const again = await User.findOneAndUpdate(
    { name: 'Zoe' },
    { email: 'zoe@example.org' },
    { upsert: true, returnDocument: 'after' },
  )
  expect(await again.email).toBe('zoe@example.org')
})

describe('updateMany()', () => {
  const names = ['Ada', 'Bob', 'Eve']
  const emails = async () => Promise.all((await User.find().sort('name')).map((user: any) => user.email))
  beforeEach(async () => {
    await User.create([
      { name: 'Ada', email: secret('ada@example.org') },
      { name: 'Bob', age: 3 },
    ])
    await User.collection.insertOne({ name: 'Eve' })
  })

  test('encrypts for every record under its own key, with the counts of any updateMany()', async () => {
    const [before] = await raw(User.collection.name)
    const result = await User.updateMany({}, { email: secret('All@Example.org'), $inc: { age: 1 } })
    expect(result).toMatchObject({ acknowledged: true, matchedCount: 3, modifiedCount: 3, upsertedCount: 0 })
    expect(await emails()).toEqual(Array(3).fill('all@example.org'))
    const stored = await raw(User.collection.name)
    expect(stored.map(({ age }) => age).sort()).toEqual([1, 1, 4])
    expect(new Set(stored.map(({ email }) => email.toString('hex'))).size).toBe(3)
    const ada = stored.find(({ name }) => name === 'Ada')
    expect(ada!.encrypted_kms_key).toEqual(before!.encrypted_kms_key)
    for (const { encrypted_kms_key } of stored) expect(encrypted_kms_key).toHaveLength(1)
  })

  test('reaches what its filter matches, and no other', async () => {
    expect(await User.updateMany({ age: 3 }, { email: secret('bob@example.org') })).toMatchObject({ matchedCount: 1 })
    expect(await emails()).toEqual(['ada@example.org', 'bob@example.org', undefined])
    expect(await User.updateMany({ age: 9 }, { email: 'x' })).toMatchObject({ matchedCount: 0, modifiedCount: 0 })
  })

  test('says how far it came when one record cannot be encrypted for, and goes on with all others if asked', async () => {
    const planted = { $set: { 'encrypted_kms_key.0.wrapped': Buffer.alloc(40) } }
    await rawCollection(User).updateOne({ name: 'Ada' }, planted)
    const [ada] = await raw(User.collection.name)
    for (const [ordered, count] of [
      [false, 2],
      [true, 0],
    ] as const) {
      const value = secret(`everybody, ${ordered}`)
      const error = await User.updateMany({}, { email: value }, { ordered }).catch((thrown: unknown) => thrown)
      if (count > 0) {
        expect(error).toMatchObject({ name: 'OperationError', code: 'UPDATE_INCOMPLETE', matchedCount: 2 })
        expect(error.failures).toEqual([{ _id: ada!._id, error: error.cause }])
        expect(error.cause).toMatchObject({ code: 'WRAPPED_KEY_DAMAGED' })
        expect(error.message).not.toContain(value)
      } else expect(error).toMatchObject({ code: 'WRAPPED_KEY_DAMAGED' })
      const [first, ...others] = await raw(User.collection.name)
      expect(first).toEqual(ada)
      expect(others.map(({ name }) => name)).toEqual(names.slice(1))
      if (ordered) continue
      for (const name of names.slice(1)) expect(await (await User.findOne({ name })).email).toBe(value)
    }
  })

  describe('where the server refuses some', () => {
    const Numbered = modelOf(connection, new Schema({ n: { type: Number, unique: true }, name: String }), {
      fields: { email: String },
    })
    const email = (step: string) => secret(`all of them, ${step}`)
    const stored = async () => (await raw(Numbered.collection.name)).map(({ n, name }) => [n, name])
    const reads = async () => Promise.all((await Numbered.find().sort('_id')).map((each: any) => each.email))
    beforeEach(async () => {
      await Numbered.init()
      await Numbered.create([{ n: 0 }, { n: 1 }, { n: 2 }, { n: 3 }])
    })

    test('lists each of them, as the error that an ordinary update gives, and goes on with the others if asked', async () => {
      const ids = (await raw(Numbered.collection.name)).map(({ _id }) => _id)
      const error = await Numbered.updateMany(
        { n: { $gt: 0 } },
        { n: 9, email: email('unordered') },
        { ordered: false },
      ).catch((thrown: unknown) => thrown)
      expect(error).toMatchObject({ code: 'UPDATE_INCOMPLETE', matchedCount: 1, modifiedCount: 1 })
      expect(error.message).toMatch(/1 records were updated, and then 2 could not be/)
      expect(error.failures.map(({ _id }: any) => _id)).toEqual(ids.slice(2))
      for (const failure of error.failures) {
        expect(failure.error).toMatchObject({ name: 'MongoServerError', code: 11000 })
        expect(failure.error.message).toMatch(/E11000/)
      }
      expect(error.cause).toBe(error.failures[0].error)
      expect(await stored()).toEqual([[0], [9], [2], [3]].map(([n]) => [n, undefined]))
      expect(await reads()).toEqual([undefined, email('unordered'), undefined, undefined])
    })

    test('writes none after the first that fails, unless asked', async () => {
      // The first becomes a duplicate; the second would be none.
      await Numbered.deleteOne({ n: 2 })
      const update = { $inc: { n: -1 }, $set: { email: email('ordered'), name: 'written' } }
      const error = await Numbered.updateMany({ n: { $in: [1, 3] } }, update).catch((thrown: unknown) => thrown)
      expect(error).toMatchObject({ name: 'MongoServerError', code: 11000 })
      expect(await stored()).toEqual([0, 1, 3].map((n) => [n, undefined]))
      expect(
        await Numbered.updateMany({ n: { $in: [1, 3] } }, update, { ordered: false }).catch(
          (thrown: any) => thrown.code,
        ),
      ).toBe('UPDATE_INCOMPLETE')
      expect(await reads()).toEqual([undefined, undefined, email('ordered')])
    })

    test('says how far it came in a transaction, of which nothing stays', async () => {
      const session = await connection.startSession()
      try {
        await session.withTransaction(async () => {
          const error = await Numbered.updateMany(
            { n: { $gt: 0 } },
            { n: 9, email: email('within') },
            { session, ordered: false },
          ).catch((thrown: unknown) => thrown)
          expect(error).toMatchObject({
            code: 'UPDATE_INCOMPLETE',
            matchedCount: 1,
            failures: [{ error: { code: 11000 } }],
          })
          await session.abortTransaction()
        })
      } finally {
        await session.endSession()
      }
      expect(await stored()).toEqual([0, 1, 2, 3].map((n) => [n, undefined]))
      expect(await reads()).toEqual([undefined, undefined, undefined, undefined])
    })
  })
})

test('a query that is made again writes whole subdocuments again', async () => {
  const note = new Schema({ label: String }).plugin(kmsEncrypted, { provider: localKms(), fields: { text: String } })
  const Patient = connection.model<any>('PatientOfNotes', new Schema<any>({ one: note, notes: [note] }))
  const { _id } = await Patient.create({})
  const query = Patient.updateOne(
    { _id },
    { one: { text: secret('single note') }, notes: [{ text: secret('first note') }] },
  )
  await query
  await query.clone()
  const { one, notes } = await Patient.findById(_id)
  expect([await one.text, await notes[0].text]).toEqual(['single note', 'first note'])
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
