import { Schema } from 'mongoose'
import { named, plugin, provider, refused, secret, useFaults } from '../faults/support'
import { accountModel, bytesAt } from './support'

// What was found by looking from outside.
const { connection, raw } = useFaults()

describe('a condition that Mongoose would strip, so that everything matched', () => {
  const index = { provider, fields: { email: { type: String, blindIndex: true } } }

  function family(options: object) {
    const Base = connection.model<any>(named('Base'), new Schema<any>({ name: String }, options)) as any
    const Child = Base.discriminator(named('Child'), new Schema<any>({}).plugin(plugin, index)) as any
    const Sibling = Base.discriminator(named('Sibling'), new Schema<any>({ age: Number })) as any
    const Plain = connection.model<any>(
      named('Plain'),
      new Schema<any>({ name: String }, { ...options, collection: Base.collection.name }),
    ) as any
    return { Base, Child, others: [Base, Sibling, Plain] }
  }

  const asks: [string, (model: any, filter: object) => unknown][] = [
    ['deleteMany()', (model, filter) => model.deleteMany(filter)],
    ['deleteOne()', (model, filter) => model.deleteOne(filter)],
    ['findOneAndDelete()', (model, filter) => model.findOneAndDelete(filter)],
    ['find() by $or', (model, filter) => model.find({ $or: [filter] })],
    ['exists()', (model, filter) => model.exists(filter)],
    ['countDocuments()', (model, filter) => model.countDocuments(filter)],
    ['updateMany()', (model, filter) => model.updateMany(filter, { name: 'changed' })],
    ['bulkWrite()', (model, filter) => model.bulkWrite([{ deleteMany: { filter } }])],
    ['connection.bulkWrite()', (model, filter) => model.db.bulkWrite([{ model, name: 'deleteMany', filter }])],
  ]

  test.each(asks)('is refused by %s of a model without the field', async (_name, ask) => {
    const value = secret('ada@example.org')
    for (const options of [{ strictQuery: true }, { strictQuery: 'throw' }, {}]) {
      const { Base, Child, others } = family(options)
      await Base.create({ name: 'base' })
      await Child.create([{ name: 'one', email: value }, { name: 'two' }])
      for (const model of others) await refused(() => ask(model, { email: value }), 'QUERY_REFUSED', /email/)
      expect(await Base.countDocuments({ name: { $ne: 'changed' } })).toBe(3)
      await ask(Child, { email: value })
    }
  })
})

test('setters run once on the filter of a bulk write', async () => {
  const Marked = accountModel(connection, {}, { type: String, set: (value: string) => `${value}!`, blindIndex: true })
  await Marked.create({ name: 'Ada', email: secret('ada-lovelace') })
  const update = { $set: { name: 'found' } }
  const { matchedCount } = await Marked.bulkWrite([{ updateOne: { filter: { email: 'ada-lovelace' }, update } }])
  expect(matchedCount).toBe(1)
  const filter = { email: 'ada-lovelace' }
  await Marked.db.bulkWrite([{ model: Marked, name: 'updateOne', filter, update: { note: secret('by the client') } }])
  await Marked.bulkWrite([{ updateOne: { filter: { email: 'eve-lovelace' }, update, upsert: true } }])
  const records = await Marked.find().sort({ _id: 1 })
  expect(await Promise.all(records.map(async (each: any) => [each.name, await each.email, await each.note]))).toEqual([
    ['found', 'ada-lovelace!', 'by the client'],
    ['found', 'eve-lovelace!', undefined],
  ])
  const [one, two] = await raw(Marked)
  expect(bytesAt(one)).not.toBe(bytesAt(two))
})

test.each<[string, unknown]>([
  ['number', Number],
  ['date', Date],
])('an empty text, of which Mongoose makes no %s, is null and has no index value', async (_name, type) => {
  const Account = accountModel(connection, {}, { type, blindIndex: true })
  await Account.create({ name: 'created', email: '' })
  await Account.create({ name: 'saved', email: 0 })
  const saved = await Account.findOne({ name: 'saved' })
  saved.email = ''
  await saved.save()
  await Account.create({ name: 'updated', email: 0 })
  await Account.updateOne({ name: 'updated' }, { email: '' })
  await Account.insertMany([{ name: 'inserted', email: '' }])
  expect((await raw(Account)).map(({ email, email_bidx }) => [email ?? null, email_bidx ?? null])).toEqual(
    Array(4).fill([null, null]),
  )
  expect(await Account.countDocuments({ email: '' })).toBe(4)
})

test.each<[string, object]>([
  ['null', { email_bidx: null }],
  ['$eq', { email_bidx: { $eq: null } }],
  ['$in', { email_bidx: { $in: [null] } }],
  ['$and', { $and: [{ email_bidx: null }] }],
])('an upsert stores no null as an index value: %s', async (_name, filter) => {
  const Account = accountModel(connection)
  await refused(
    () => Account.updateOne({ name: 'z', ...filter }, { note: secret('a quiet note') }, { upsert: true }),
    'UPDATE_REFUSED',
  )
  expect(await Account.countDocuments()).toBe(0)
  await Account.updateOne({ name: 'z', email: null }, { note: secret('a quiet note') }, { upsert: true })
  expect((await raw(Account))[0]).not.toHaveProperty('email_bidx')
})

test('a record from before is found once its field is marked and saved', async () => {
  const Before = connection.model<any>(
    named('Before'),
    new Schema<any>({ name: String }).plugin(plugin, { provider, fields: { email: String } }),
  ) as any
  await Before.create({ name: 'Ada', email: secret('ada@example.org') })
  const context = (doc: any) => ({ Record: `${Before.modelName}/${doc._id}` })
  const schema = new Schema<any>({ name: String }, { collection: Before.collection.name })
  const fields = { email: { type: String, blindIndex: true } }
  const Account = connection
    .useDb(connection.name, { useCache: false })
    .model<any>(named('Account'), schema.plugin(plugin, { provider, fields, context })) as any
  expect(await Account.countDocuments({ email: 'ada@example.org' })).toBe(0)
  const record = await Account.findOne()
  await record.decrypt()
  record.markModified('email')
  await record.save()
  expect(await Account.countDocuments({ email: 'ada@example.org' })).toBe(1)
})

test('a key __proto__ of a filter is a condition like any other', async () => {
  const Account = accountModel(connection)
  await Account.create({ name: 'Ada', email: secret('ada@example.org') })
  const filter = JSON.parse('{ "email": "ada@example.org", "__proto__": { "x": 1 } }')
  expect((await Account.collection.deleteMany(filter)).deletedCount).toBe(0)
  expect(await Account.countDocuments({ email: 'ada@example.org' })).toBe(1)
})
