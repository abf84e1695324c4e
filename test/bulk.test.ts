import { runInNewContext } from 'node:vm'
import mongoose, { Schema } from 'mongoose'
import { kmsEncrypted, localKms } from '../lib'
import { modelOf, rawCollection, secret, useDatabase } from './support'

/** Bulk writes do what the operations do one by one: upserts, subdocuments, and operations that change what others were to find. */

const { connection, raw } = useDatabase()
const provider = localKms()
const contact = new Schema({ label: String }).plugin(kmsEncrypted, { provider, fields: { phone: String } })
const definition = { name: { type: String }, tenant: String, count: Number, contacts: [contact], one: contact }
const User = modelOf(connection, new Schema(definition), { fields: { email: String } })
const Tenant = modelOf(connection, new Schema(definition), {
  fields: { email: String },
  context: (doc: any) => ({ Tenant: `${doc.count}` }),
} as never)

const upserts: [string, (Model: any, filter: object, update: object) => Promise<unknown>][] = [
  ['updateOne()', (Model, filter, update) => Model.updateOne(filter, update, { upsert: true })],
  ['bulkWrite()', (Model, filter, update) => Model.bulkWrite([{ updateOne: { filter, update, upsert: true } }])],
  [
    'connection.bulkWrite()',
    (Model, filter, update) =>
      Model.db.bulkWrite([{ model: Model, name: 'updateOne', filter, update, upsert: true }] as never),
  ],
]

describe.each(upserts)('an upsert by %s', (_, upsert) => {
  test('of a subdocument as a whole reads back', async () => {
    await upsert(User, { name: 'Ada' }, { $set: { contacts: [{ phone: secret('020 7946 0958') }] } })
    const user = await User.findOne({ name: 'Ada' })
    expect(await user.contacts[0].phone).toBe('020 7946 0958')
    expect(user._id).not.toEqual(user.contacts[0]._id)
  })

  test('of a field in a subdocument that is not there is refused', async () => {
    const update = { $set: { 'contacts.0.phone': secret('020 7946 0958') } }
    await expect(upsert(User, { name: 'Ada' }, update)).rejects.toMatchObject({ code: 'UPDATE_REFUSED' })
    expect(await User.countDocuments()).toBe(0)
  })

  test('that computes what the context depends on is refused', async () => {
    const update = { $set: { email: secret('ada@example.org') }, $inc: { count: 5 } }
    await expect(upsert(Tenant, { name: 'Ada' }, update)).rejects.toMatchObject({ code: 'UPDATE_REFUSED' })
    expect(await Tenant.countDocuments()).toBe(0)
  })
})

describe('a bulk write', () => {
  test('of records that are asked for by their _ids writes to each what is its own, also to one twice', async () => {
    const [ada, bob] = await User.create([
      { name: 'Ada', contacts: [{ phone: 'a' }] },
      { name: 'Bob', contacts: [{ phone: 'b' }], email: 'bob@example.org' },
    ])
    const update = (_id: unknown, $set: object) => ({ updateOne: { filter: { _id }, update: { $set } } })
    await User.bulkWrite([
      update(ada._id, { email: secret('ada@example.org') }),
      update(ada._id, { 'contacts.0.phone': secret('020 7946 0958') }),
      update(bob._id, { 'contacts.0.phone': secret('020 7946 0959') }),
      update(bob._id, { name: 'Robert' }),
    ])
    const users = await User.find().sort({ name: 1 })
    expect(users.map(({ name }: any) => name)).toEqual(['Ada', 'Robert'])
    expect([await users[0].email, await users[1].email]).toEqual(['ada@example.org', 'bob@example.org'])
    expect(await users[0].contacts[0].phone).toBe('020 7946 0958')
    expect(await users[1].contacts[0].phone).toBe('020 7946 0959')
  })

  test('of a field in a subdocument beside an operation in the clear is made once and resolves', async () => {
    const { _id } = await User.create({ name: 'Ada', contacts: [{ phone: 'a' }], one: { phone: 'b' } })
    const bulk = () =>
      User.bulkWrite([
        { updateOne: { filter: { _id }, update: { $inc: { count: 1 } } } },
        { updateOne: { filter: { _id }, update: { $set: { 'contacts.0.phone': secret('first phone') } } } },
        { updateOne: { filter: { _id }, update: { $set: { 'one.phone': secret('second phone') } } } },
      ])
    expect(await bulk()).toMatchObject({ matchedCount: 3 })
    const user = await User.findById(_id)
    expect([user.count, await user.contacts[0].phone, await user.one.phone]).toEqual([1, 'first phone', 'second phone'])
  })

  test.each([
    ['with', 'a'],
    ['without', undefined],
  ])('says what it could not write, beside a key that is %s', async (_, phone) => {
    const { _id } = await User.create({ name: 'Ada', contacts: [{ phone }, { phone }] })
    const bulk = User.bulkWrite([
      { updateOne: { filter: { _id }, update: { $pop: { contacts: -1 } } } },
      { updateOne: { filter: { _id }, update: { $set: { 'contacts.0.phone': secret('lost phone') } } } },
    ])
    await expect(bulk).rejects.toMatchObject({ code: 'RECORD_CHANGED' })
    const user = await User.findById(_id)
    expect(await Promise.all(user.contacts.map((each: any) => each.phone))).toEqual([phone])
  })

  test('takes what a later operation of it writes over for written', async () => {
    const { _id } = await User.create({ name: 'Ada' })
    await User.bulkWrite([
      { updateOne: { filter: { _id }, update: { email: secret('first email') } } },
      { updateOne: { filter: { _id }, update: { email: secret('second email') } } },
      { updateOne: { filter: { name: 'Eve' }, update: { name: 'Eve' } } },
    ])
    expect(await (await User.findById(_id)).email).toBe('second email')
  })

  test('says that an operation reached no record, where another one matches by now', async () => {
    await User.create([{ name: 'Ada' }, { name: 'Eve' }])
    const bulk = User.bulkWrite([
      { updateOne: { filter: { name: 'Ada' }, update: { name: 'Countess' } } },
      { updateOne: { filter: { name: { $in: ['Ada', 'Eve'] } }, update: { email: secret('email of Eve') } } },
    ])
    await expect(bulk).rejects.toMatchObject({ code: 'RECORD_CHANGED' })
  })

  test.each([
    ['by an upsert', true, { tenant: 'x' }],
    ['in the place of a record', false, { tenant: 'x', name: 'Countess' }],
  ])('does not pass over an update of what a replacement stores %s', async (_case, upsert, replacement) => {
    const { _id } = upsert ? new User() : await User.create({ name: 'Ada' })
    const asked = upsert ? { _id } : { _id, name: 'Countess' }
    const bulk = User.bulkWrite([
      { replaceOne: { filter: { _id }, replacement, upsert } },
      { updateOne: { filter: asked, update: { email: secret('email of Countess') } } },
    ])
    await expect(bulk).rejects.toMatchObject({ code: 'UPDATE_REFUSED' })
  })

  test('says that an upsert reached no record, where a later replacement finds none', async () => {
    await User.create({ name: 'Ada' })
    const bulk = User.bulkWrite([
      { replaceOne: { filter: { name: 'Ada' }, replacement: { tenant: 'x' } } },
      { replaceOne: { filter: { name: 'Ada' }, replacement: { email: secret('lost email') }, upsert: true } },
      { replaceOne: { filter: { name: 'Eve' }, replacement: { email: secret('email of Eve') } } },
    ])
    await expect(bulk).rejects.toMatchObject({ code: 'RECORD_CHANGED' })
  })

  test.each<[string, object[]]>([
    ['is refused where its record is no longer what it asks for', []],
    ['counts as made where it changes what it asks for itself', [{ $set: { name: 'Countess' } }]],
  ])('of an upsert with values for a new record alone %s', async (_case, [own]) => {
    const { _id } = await User.create({ name: 'Ada', count: 0 })
    const update = { $set: { count: 1 }, $setOnInsert: { email: secret('lost email') }, ...own }
    const bulk = User.bulkWrite([
      ...(own ? [] : [{ updateOne: { filter: { _id }, update: { name: 'Eve' } } }]),
      { updateOne: { filter: { name: 'Ada' }, update, upsert: true } },
      { updateOne: { filter: { name: 'Nobody' }, update: { tenant: 'x' } } },
    ])
    if (own) await expect(bulk).resolves.toMatchObject({ matchedCount: 1 })
    else {
      await expect(bulk).rejects.toMatchObject({
        code: 'RECORD_CHANGED',
        message: expect.stringMatching(/operations 1 were not made\. /),
      })
    }
  })

  test('does not take a pattern for what is to be stored', async () => {
    await User.create({ name: 'Ada' })
    const bulk = User.bulkWrite([
      { updateOne: { filter: { name: 'Ada' }, update: { name: 'Countess' } } },
      { updateOne: { filter: { name: /^Count/ }, update: { email: secret('email of Countess') } } },
    ])
    await expect(bulk).rejects.toMatchObject({ code: 'UPDATE_REFUSED' })
  })
})

describe('a document past the casts', () => {
  test('that is a Map of another realm is encrypted', async () => {
    const given = runInNewContext('new Map(entries)', { entries: [['email', secret('of another realm')]] })
    await User.collection.insertOne(given)
    expect(await (await User.findOne()).email).toBe('of another realm')
  })

  test('that is a reference with fields of its own is encrypted', async () => {
    const fields = { phone: secret('in a reference') }
    const one = new mongoose.mongo.DBRef('users', new mongoose.Types.ObjectId(), undefined, fields)
    await User.collection.insertOne({ one })
    const [stored] = await raw(User.collection.name)
    expect(stored!.one.phone?.sub_type ?? stored!.one.fields.phone.sub_type).toBe(0x80)
    await rawCollection(User).deleteMany({})
  })
})

describe('an operation that finds what one before it in the bulk changes is refused, or does what it would in the clear', () => {
  const shape = { name: String, n: Number, tags: [String], place: { city: String } }
  const Clear = connection.model('InTheClear', new Schema({ ...shape, note: String }))
  const Encrypted = modelOf(connection, new Schema(shape), { fields: { note: String } })
  const before = { name: 'Ada', n: 1, tags: ['b'], place: { city: 'Rome' } }
  const first = (update: object, upsert = false) => ({ updateOne: { filter: { name: 'Ada' }, update, upsert } })
  const then = (filter: object, upsert = false) => ({
    updateOne: { filter, update: { $set: { note: secret('changed') } }, upsert },
  })

  /** What came of it: the number of records and their notes. */
  async function outcome(Model: any, operations: object[]): Promise<unknown> {
    await Model.deleteMany({})
    await Model.create(before)
    const { matchedCount, upsertedCount } = await Model.bulkWrite(structuredClone(operations))
    const notes = await Promise.all((await Model.find()).map(({ note }: any) => note))
    return [matchedCount, upsertedCount, ...notes.sort()]
  }

  const isRefused: [string, object[]][] = [
    ['a range', [first({ $set: { n: 10 } }), then({ name: 'Ada', n: { $gt: 5 } })]],
    ['$ne', [first({ $set: { n: 10 } }), then({ name: 'Ada', n: { $ne: 1 } })]],
    ['$or', [first({ $set: { n: 7 } }), then({ $or: [{ n: 7 }, { n: 8 }], name: 'Ada' })]],
    ['$expr', [first({ $set: { n: 7 } }), then({ name: 'Ada', $expr: { $gt: ['$n', 5] } })]],
    ['$inc', [first({ $inc: { n: 1 } }), then({ n: 2 })]],
    ['$push', [first({ $push: { tags: 'a' } }), then({ tags: 'a' })]],
    ['an array', [first({ $set: { tags: ['a', 'c'] } }), then({ tags: 'a' })]],
    ['$unset', [first({ $unset: { n: 1 } }), then({ name: 'Ada', n: null })]],
    ['$exists', [first({ $unset: { n: 1 } }), then({ n: { $exists: false } })]],
    ['$rename', [first({ $rename: { n: 'm' } }), then({ n: null })]],
    ['a part', [first({ $set: { 'place.city': 'Bari' } }), then({ 'place.city': 'Bari' })]],
    ['a whole', [first({ $set: { place: { city: 'Bari' } } }), then({ 'place.city': 'Bari' })]],
    ['a pipeline', [first([{ $set: { n: 7 } }]), then({ n: 7 })]],
    ['a replacement', [{ replaceOne: { filter: { name: 'Ada' }, replacement: { n: 7 } } }, then({ n: 7 })]],
    [
      'a replacement without',
      [{ replaceOne: { filter: { name: 'Ada' }, replacement: { n: 7 } } }, then({ name: null })],
    ],
    ['an insertion', [{ insertOne: { document: { name: 'Eve', n: 9 } } }, then({ n: { $gt: 5 } })]],
    ['an insertion without', [{ insertOne: { document: { n: 9 } } }, then({ name: null })]],
    [
      'an upsert',
      [
        { updateOne: { filter: { name: 'Eve' }, update: { $inc: { n: 9 } }, upsert: true } },
        then({ name: 'Eve', n: 9 }),
      ],
    ],
  ]

  test.each(isRefused)('refused: %s', async (_name, operations) => {
    // The second one finds something.
    expect(await outcome(Clear, operations)).toContain('changed')
    await expect(outcome(Encrypted, operations)).rejects.toMatchObject({ code: 'UPDATE_REFUSED' })
    expect(await Encrypted.find({ note: { $ne: null } })).toEqual([])
  })

  // No collation is given here: it may be that of the collection.
  test.each(['Eve', 'ÈVE'])('refused: a text that a collation may take for the same: %s', async (name) => {
    const operations = [{ insertOne: { document: { name } } }, then({ name: 'eve' })]
    await expect(Encrypted.bulkWrite(operations as any)).rejects.toMatchObject({ code: 'UPDATE_REFUSED' })
  })

  test.each<[string, object[]]>([
    ['another path', [first({ $set: { n: 10 } }), then({ name: 'Eve' })]],
    ['another path in a range', [first({ $set: { tags: [] } }), then({ n: { $gt: 5 } })]],
    ['another value', [first({ $set: { n: 10 } }), then({ n: 11 }, true)]],
    ['other upserts', ['Eve', 'Bob', 'Dan'].map((name) => then({ name }, true))],
    ['another record', [{ insertOne: { document: { name: 'Eve', n: 9 } } }, then({ name: 'Bob' }, true)]],
    ['a record without', [{ insertOne: { document: { n: 9 } } }, then({ name: 'Bob' }, true)]],
  ])('made: %s', async (_name, operations) => {
    expect(await outcome(Encrypted, operations)).toEqual(await outcome(Clear, operations))
  })
})
