import { Schema } from 'mongoose'
import { approximate } from '../../lib'
import { named, plugin, provider, refused, useFaults } from '../faults/support'
import { sealedIn, versions } from './migrating'

// Records that are in the clear still, and those that are encrypted: both are found while they migrate.
const database = useFaults()
const { connection, raw } = database

const fields = {
  email: { type: String, unique: true },
  phone: { type: String, blindIndex: true },
  born: { type: Date, blindIndex: true },
}
const born = new Date('1815-12-10')
const people = [
  { name: 'clear', email: 'clear@example.org', phone: '+44 1', born },
  { name: 'sealed', email: 'sealed@example.org', phone: '+44 1', born },
  { name: 'none' },
  { name: 'null', email: null, phone: null },
]

/** One record in the clear, one that is encrypted, one without values and one with null. */
async function both(of: object = fields, options: object = {}, given: readonly object[] = people) {
  const plain = Object.fromEntries(Object.entries(of).map(([name, { type }]: any) => [name, type]))
  const { Old, New, ...others } = await versions(database, options, of, {}, plain)
  await New.init()
  for (const [index, each] of given.entries()) await (index === 1 ? New : Old).create(each)
  return { Old, New, ...others, names: async (filter: object) => names(New, filter) }
}

async function names(model: any, filter: object): Promise<string[]> {
  return (await model.find(filter).sort({ _id: 1 })).map(({ name }: any) => name)
}

test.each<[object, string[]]>([
  [{ email: 'clear@example.org' }, ['clear']],
  [{ email: 'sealed@example.org' }, ['sealed']],
  [{ phone: '+44 1' }, ['clear', 'sealed']],
  [{ born }, ['clear', 'sealed']],
  [{ phone: { $eq: '+44 1' }, email: 'clear@example.org' }, ['clear']],
  [{ email: { $in: ['clear@example.org', 'sealed@example.org', 'x'] } }, ['clear', 'sealed']],
  [{ email: { $in: [null, 'clear@example.org'] } }, ['clear', 'none', 'null']],
  [{ email: { $nin: ['clear@example.org'] } }, ['sealed', 'none', 'null']],
  [{ email: { $nin: [null, 'clear@example.org'] } }, ['sealed']],
  [{ email: { $ne: 'clear@example.org' } }, ['sealed', 'none', 'null']],
  [{ email: { $ne: 'sealed@example.org' } }, ['clear', 'none', 'null']],
  [{ email: { $ne: null } }, ['clear', 'sealed']],
  [{ email: null }, ['none', 'null']],
  [{ email: { $exists: false } }, ['none']],
  [{ email: { $not: { $eq: 'clear@example.org' } } }, ['sealed', 'none', 'null']],
  [{ email: { $not: { $ne: 'clear@example.org' } } }, ['clear']],
  [{ email: { $not: { $in: ['clear@example.org', 'sealed@example.org'] } } }, ['none', 'null']],
  [{ email: { $exists: true, $ne: 'clear@example.org' } }, ['sealed', 'null']],
  [{ email: { $in: [] } }, []],
  [{ email: { $nin: [] } }, ['clear', 'sealed', 'none', 'null']],
  [{ $or: [{ email: 'clear@example.org' }, { name: 'none' }] }, ['clear', 'none']],
  [{ $nor: [{ email: 'clear@example.org' }, { email: 'sealed@example.org' }] }, ['none', 'null']],
  [{ $and: [{ phone: '+44 1' }, { email: { $ne: 'clear@example.org' } }] }, ['sealed']],
  [{ email: approximate('clear@example.org') }, ['clear']],
])('%j finds %j', async (filter, expected) => {
  expect(await (await both()).names(filter)).toEqual(expected)
})

test('by all ways that a filter goes', async () => {
  const { Old, New } = await both()
  const filter = { email: 'clear@example.org' }
  expect(await New.countDocuments({ phone: '+44 1' })).toBe(2)
  expect(await New.exists(filter)).toBeTruthy()
  expect(await New.distinct('name', filter)).toEqual(['clear'])
  expect((await New.aggregate([{ $match: filter }, { $project: { name: 1 } }])).map(({ name }: any) => name)).toEqual([
    'clear',
  ])
  expect(await New.findOneAndUpdate(filter, { name: 'found' }, { returnDocument: 'after' })).toMatchObject({
    name: 'found',
  })
  expect(await New.updateMany({ phone: '+44 1' }, { phone: '+44 2' })).toMatchObject({ matchedCount: 2 })
  expect((await raw(Old)).map((each) => sealedIn(each).length)).toEqual([1, 3, 0, 0])
  expect(await New.bulkWrite([{ updateOne: { filter, update: { name: 'bulk' } } }])).toMatchObject({ matchedCount: 1 })
  expect(await New.deleteMany({ phone: '+44 2' })).toMatchObject({ deletedCount: 2 })
})

test('a value that an older version has put in the place of an encrypted one is what is found, and not the one before', async () => {
  const { Old, New, names: found } = await both()
  await Old.updateOne({ name: 'sealed' }, { email: 'newer@example.org' })
  expect((await raw(Old))[1]).toHaveProperty('email_bidx')
  expect(await found({ email: 'sealed@example.org' })).toEqual([])
  expect(await found({ email: 'newer@example.org' })).toEqual(['sealed'])
  expect(await found({ email: { $ne: 'sealed@example.org' } })).toHaveLength(4)
  await (await New.findOne({ name: 'sealed' })).set('name', 'again').save()
  expect(await found({ email: 'newer@example.org' })).toEqual(['again'])
  expect(sealedIn((await raw(Old))[1])).toContain('email')
})

describe('an upsert', () => {
  test('updates a record in the clear, and inserts none beside it', async () => {
    const { Old, New } = await both()
    for (const email of ['clear@example.org', 'sealed@example.org']) {
      expect(await New.updateOne({ email }, { $set: { name: 'found' } }, { upsert: true })).toMatchObject({
        upsertedCount: 0,
      })
      await New.findOneAndUpdate({ email }, { $set: { name: 'twice' } }, { upsert: true })
      await New.updateMany({ email }, { $set: { phone: '+44 3' } }, { upsert: true })
    }
    expect((await raw(Old)).map(({ name }) => name)).toEqual(['twice', 'twice', 'none', 'null'])
  })

  test('of what is not there stores what was asked for, encrypted, and once', async () => {
    const { Old, New, names: found } = await both()
    for (const name of ['one', 'two'])
      await New.updateOne({ email: 'new@example.org' }, { $set: { name } }, { upsert: true })
    await New.bulkWrite([
      { updateOne: { filter: { email: 'new@example.org' }, update: { $set: { name: 'three' } }, upsert: true } },
    ])
    expect(await found({ email: 'new@example.org' })).toEqual(['three'])
    const stored = (await raw(Old)).at(-1)
    expect(sealedIn(stored)).toContain('email')
    expect(await raw(Old)).toHaveLength(5)
    expect(await (await New.findOne({ name: 'three' })).email).toBe('new@example.org')
  })

  test('that does not say what to store is refused', async () => {
    const { New } = await both()
    for (const email of [{ $in: ['a', 'b'] }, { $in: [null, 'a'] }])
      await refused(() => New.updateOne({ email }, { name: 'x' }, { upsert: true }), 'UPDATE_REFUSED')
  })
})

test('several fields together are found where all are encrypted, or none', async () => {
  const of = { email: { type: String }, born: { type: Date } }
  const blindIndexes = { email_born: { fields: ['email', 'born'] } }
  const { Old, New, names: found } = await both(of, { blindIndexes })
  expect(await found({ email: 'clear@example.org', born })).toEqual(['clear'])
  expect(await found({ email: 'sealed@example.org', born })).toEqual(['sealed'])
  await New.updateOne({ name: 'clear' }, { $set: { email: 'half@example.org' } })
  const [half] = await raw(Old)
  expect(sealedIn(half)).toEqual(['email'])
  expect(half).not.toHaveProperty('email_born_bidx')
  expect(await found({ email: 'half@example.org', born })).toEqual([])
  await (await New.findOne({ name: 'clear' })).set('name', 'whole').save()
  expect(await found({ email: 'half@example.org', born })).toEqual(['whole'])
})

test('a shortened index finds what is in the clear exactly, and opens the others', async () => {
  const of = { email: { type: String, blindIndex: { bits: 1 } } }
  const { New, names: found } = await both(of)
  await New.create([1, 2, 3, 4].map((n) => ({ name: `other ${n}`, email: `${n}@example.org` })))
  expect(await found({ email: 'clear@example.org' })).toEqual(['clear'])
  expect(await found({ email: 'sealed@example.org' })).toEqual(['sealed'])
  expect(await found({ email: { $nin: ['clear@example.org', 'sealed@example.org'] } })).toHaveLength(6)
})

test('in a normal form, what is in the clear is found as it was stored', async () => {
  const { names: found } = await both({ email: { type: String, blindIndex: { caseInsensitive: true } } })
  expect(await found({ email: 'SEALED@example.org' })).toEqual(['sealed'])
  expect(await found({ email: 'CLEAR@example.org' })).toEqual([])
  expect(await found({ email: 'clear@example.org' })).toEqual(['clear'])
})

test('without a blind index, or with another condition than equality, it is refused as ever', async () => {
  const { New } = await both({ ...fields, note: { type: String } })
  for (const filter of [{ note: 'x' }, { email: /clear/ }, { email: { $gt: 'a' } }])
    await refused(() => New.find(filter), 'QUERY_REFUSED')
})

test('without the option, no value is sent', async () => {
  const sent: any[] = []
  const { again } = await both()
  const Later = await again({ migrating: false })
  Later.db.getClient().on('commandStarted', ({ command }: any) => sent.push(JSON.stringify(command)))
  expect(await names(Later, { email: 'clear@example.org' })).toEqual([])
  expect(sent.join()).not.toContain('clear@')
})

test('subdocuments in arrays are found, each by itself', async () => {
  const contact = new Schema<any>({ label: String })
  contact.plugin(plugin, { provider, fields: { phone: { type: String, blindIndex: true } }, migrating: true })
  const name = named('Holder')
  const before = new Schema<any>({ name: String, contacts: [new Schema<any>({ label: String, phone: String })] })
  const after = new Schema<any>({ name: String, contacts: [contact] }).plugin(plugin, {
    provider,
    fields: ['note'],
    migrating: true,
  })
  const Old = (await database.open()).model<any>(name, before) as any
  const New = connection.model<any>(name, after) as any
  await Old.create({ name: 'clear', contacts: [{ phone: '+44 1' }, { phone: '+44 2' }] })
  await New.create({ name: 'sealed', contacts: [{ phone: '+44 1' }, { phone: '+44 3' }] })
  await Old.create({ name: 'none', contacts: [] })
  const cases: [object, string[]][] = [
    [{ 'contacts.phone': '+44 1' }, ['clear', 'sealed']],
    [{ 'contacts.phone': '+44 2' }, ['clear']],
    [{ 'contacts.1.phone': '+44 3' }, ['sealed']],
    [{ 'contacts.0.phone': '+44 3' }, []],
    [{ 'contacts.phone': { $ne: '+44 2' } }, ['sealed', 'none']],
    [{ contacts: { $elemMatch: { phone: '+44 3', label: null } } }, ['sealed']],
    [{ contacts: { $elemMatch: { phone: { $nin: ['+44 1', '+44 2'] } } } }, ['sealed']],
    [{ contacts: { $not: { $elemMatch: { phone: '+44 2' } } } }, ['sealed', 'none']],
  ]
  for (const [filter, expected] of cases) expect([filter, await names(New, filter)]).toEqual([filter, expected])
  // An index value that has stayed beside a value in the clear, in a record with another that is encrypted.
  await Old.updateOne({ name: 'sealed' }, { $set: { 'contacts.0.phone': '+44 9' } })
  expect(await names(New, { 'contacts.phone': '+44 1' })).toEqual(['clear'])
  expect(await names(New, { 'contacts.phone': '+44 9' })).toEqual(['sealed'])
  await refused(() => New.updateOne({ 'contacts.phone': '+44 7' }, { name: 'x' }, { upsert: true }), 'UPDATE_REFUSED')
})

test('they are populated, and joined by no aggregation, which would miss what is in the clear', async () => {
  const { New } = await both()
  const schema = new Schema<any>({ address: String })
  schema.virtual('person', { ref: New.modelName, localField: 'address', foreignField: 'email', justOne: true })
  const Letter = connection.model<any>(named('Letter'), schema) as any
  await Letter.create([{ address: 'clear@example.org' }, { address: 'sealed@example.org' }])
  for (const found of [await Letter.find().populate('person'), await Letter.find().populate('person').lean()])
    expect(found.map(({ person }: any) => person?.name)).toEqual(['clear', 'sealed'])
  const joined = { from: New.collection.name, localField: 'address', foreignField: 'email', as: 'people' }
  await refused(() => Letter.aggregate([{ $lookup: joined }]), 'QUERY_REFUSED')
  await refused(() => New.aggregate([{ $lookup: { ...joined, localField: 'email' } }]), 'QUERY_REFUSED')
})
