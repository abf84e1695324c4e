import { Schema } from 'mongoose'
import { approximate } from '../../lib'
import { named, plugin, provider, refused, secret, useFaults } from '../faults/support'
import { watchedKms } from '../lifecycle/support'

// An index of few bits finds other values, too: what it finds is looked at before anything is answered or done.
const { connection, raw, tamper } = useFaults()
const numbers = Array.from({ length: 24 }, (_none, index) => `078-05-${1100 + index}`)
const number = (index: number) => secret(numbers[index]!)
const wanted = () => number(7)

const kms = watchedKms()

function citizenModel(ssn: object = { blindIndex: { bits: 2 } }, options: object = {}): any {
  const schema = new Schema<any>({ name: String }).plugin(plugin, {
    provider: kms.provider,
    fields: { ssn: { type: String, ...ssn }, note: String },
    ...options,
  })
  return connection.model<any>(named('Citizen'), schema)
}

let Citizen: any
beforeEach(async () => {
  Citizen = citizenModel()
  await Citizen.insertMany(numbers.map((ssn, index) => ({ name: `n${index}`, ssn: secret(ssn) })))
  await Citizen.create({ name: 'none' })
  kms.opened.length = 0
})

/** How many records have the index value of a number. */
const bucket = (ssn: string) => Citizen.countDocuments({ ssn: approximate(ssn) })

test('what is stored is as short as the bits say', async () => {
  const bytes = (await raw(Citizen)).flatMap(({ ssn_bidx: value }: any) => (value ? [Buffer.from(value.buffer)] : []))
  for (const each of bytes) {
    expect(each).toHaveLength(1)
    expect(each[0]! & 0b0011_1111).toBe(0)
  }
  expect(new Set(bytes.map(String)).size).toBeGreaterThan(1)
})

test.each([
  [1, 1],
  [8, 1],
  [9, 2],
  [12, 2],
  [255, 32],
  [256, 32],
])('%d bits have %d bytes', async (bits, length) => {
  const Other = citizenModel({ blindIndex: { bits } })
  await Other.create({ ssn: wanted() })
  const [{ ssn_bidx: value }] = await raw(Other)
  expect(value.buffer).toHaveLength(length)
  expect(await Other.countDocuments({ ssn: wanted() })).toBe(1)
  expect(await Other.countDocuments({ ssn: number(8) })).toBe(0)
})

test('there are others of the same index value, and they are not found', async () => {
  const size = await bucket(wanted())
  expect(size).toBeGreaterThan(1)
  expect(size).toBeLessThan(numbers.length)
  expect(kms.opened).toEqual([])
  expect((await Citizen.find({ ssn: wanted() })).map(({ name }: any) => name)).toEqual(['n7'])
  expect(kms.opened).toHaveLength(size)
})

const without = (...gone: number[]) =>
  [...numbers.keys(), 'none'].map((n) => (n === 'none' ? n : `n${n}`)).filter((n) => !gone.some((g) => n === `n${g}`))
const asked: [string, () => object, string[]][] = [
  ['$eq', () => ({ ssn: { $eq: wanted() } }), ['n7']],
  ['$in', () => ({ ssn: { $in: [wanted(), number(3), 'x'] } }), ['n3', 'n7']],
  ['$in with null', () => ({ ssn: { $in: [wanted(), null] } }), ['n7', 'none']],
  ['$in of none', () => ({ ssn: { $in: [] } }), []],
  ['$ne', () => ({ ssn: { $ne: wanted() } }), without(7)],
  ['$nin', () => ({ ssn: { $nin: [wanted(), number(3)] } }), without(3, 7)],
  ['$nin with null', () => ({ ssn: { $nin: [wanted(), null] } }), without(7).filter((name) => name !== 'none')],
  ['$not', () => ({ ssn: { $not: { $in: [wanted()] } } }), without(7)],
  ['$not of $ne', () => ({ ssn: { $not: { $ne: wanted() } } }), ['n7']],
  ['several at once', () => ({ ssn: { $in: [wanted(), number(3)], $ne: number(3) } }), ['n7']],
  ['presence, too', () => ({ ssn: { $ne: wanted(), $exists: true } }), without(7).filter((name) => name !== 'none')],
  ['null', () => ({ ssn: null }), ['none']],
  ['$or', () => ({ $or: [{ ssn: wanted() }, { name: 'n1' }] }), ['n1', 'n7']],
  ['$nor', () => ({ $nor: [{ ssn: wanted() }, { name: 'n1' }] }), without(1, 7)],
  ['$and', () => ({ $and: [{ ssn: wanted() }, { name: 'n7' }] }), ['n7']],
  ['$and of two', () => ({ $and: [{ ssn: wanted() }, { ssn: number(3) }] }), []],
]

test.each(asked)('%s', async (_name, filter, expected) => {
  const names = (await Citizen.find(filter())).map(({ name }: any) => name)
  expect(names.sort()).toEqual([...expected].sort())
  expect(await Citizen.countDocuments(filter())).toBe(expected.length)
  expect((await Citizen.distinct('name', filter())).sort()).toEqual([...expected].sort())
  expect(await Citizen.collection.countDocuments(filter())).toBe(expected.length)
  expect(await Citizen.find(filter()).sort({ name: 1 }).limit(1).lean()).toMatchObject(
    [...expected]
      .sort()
      .slice(0, 1)
      .map((name) => ({ name })),
  )
})

test('one is found, and whether there is one', async () => {
  expect(await Citizen.findOne({ ssn: wanted() })).toMatchObject({ name: 'n7' })
  expect(await Citizen.exists({ ssn: wanted() })).not.toBeNull()
  expect(await Citizen.exists({ ssn: secret('078-05-9999') })).toBeNull()
  const names: string[] = []
  for await (const { name } of Citizen.find({ ssn: wanted() }).cursor()) names.push(name)
  expect(names).toEqual(['n7'])
})

const others = async () => (await Citizen.find({ note: { $exists: true } })).map(({ name }: any) => name)

test.each([
  ['updateOne', () => Citizen.updateOne({ ssn: wanted() }, { note: secret('a note') })],
  ['updateMany', () => Citizen.updateMany({ ssn: wanted() }, { note: secret('a note') })],
  ['findOneAndUpdate', () => Citizen.findOneAndUpdate({ ssn: wanted() }, { note: secret('a note') })],
  [
    'bulkWrite',
    () => Citizen.bulkWrite([{ updateOne: { filter: { ssn: wanted() }, update: { note: secret('a note') } } }]),
  ],
])('%s changes no other record', async (_name, update) => {
  await update()
  expect(await others()).toEqual(['n7'])
})

test.each([
  ['deleteMany', () => Citizen.deleteMany({ ssn: wanted() })],
  ['deleteOne', () => Citizen.deleteOne({ ssn: wanted() })],
  ['findOneAndDelete', () => Citizen.findOneAndDelete({ ssn: wanted() })],
  ['bulkWrite', () => Citizen.bulkWrite([{ deleteMany: { filter: { ssn: wanted() } } }])],
])('%s deletes no other record', async (_name, remove) => {
  await remove()
  expect((await raw(Citizen)).map(({ name }: any) => name)).toEqual(without(7))
})

test('an upsert finds the record, and stores what it asks for where there is none', async () => {
  await Citizen.updateOne({ ssn: wanted() }, { name: 'Seven' }, { upsert: true })
  const fresh = secret('078-05-2000')
  await Citizen.updateOne({ ssn: fresh }, { name: 'Fresh' }, { upsert: true })
  expect(await Citizen.countDocuments()).toBe(numbers.length + 2)
  expect(await Citizen.findOne({ ssn: fresh })).toMatchObject({ name: 'Fresh' })
  expect(await Citizen.findOne({ ssn: wanted() })).toMatchObject({ name: 'Seven' })
})

test('an upsert that finds the value alone, and not what else it asks for, makes a record of its own', async () => {
  await Citizen.updateOne({ ssn: wanted(), name: 'Other' }, { note: secret('a quiet note') }, { upsert: true })
  await Citizen.findOneAndUpdate({ ssn: number(8), name: 'Another' }, {}, { upsert: true })
  await Citizen.bulkWrite([{ updateOne: { filter: { ssn: number(9), name: 'Third' }, update: {}, upsert: true } }])
  const found = await Citizen.find({ ssn: { $in: [wanted(), number(8), number(9)] } })
  expect(found.map(({ name }: any) => name).sort()).toEqual(['Another', 'Other', 'Third', 'n7', 'n8', 'n9'])
})

test('within a transaction, what it has written is looked at', async () => {
  const fresh = secret('078-05-2000')
  await connection.transaction(async (session) => {
    await Citizen.create([{ name: 'Fresh', ssn: fresh }], { session })
    expect(await Citizen.findOne({ ssn: fresh }, null, { session })).toMatchObject({ name: 'Fresh' })
    await Citizen.deleteMany({ ssn: fresh }, { session })
  })
  expect(await Citizen.findOne({ ssn: fresh })).toBeNull()
})

test('a record that cannot be decrypted has no value to compare', async () => {
  await tamper(Citizen, { name: 'n7' }, { $unset: { encrypted_kms_key: 1 } })
  expect(await Citizen.find({ ssn: wanted() })).toEqual([])
  expect(await Citizen.countDocuments({ ssn: approximate(wanted()) })).toBeGreaterThan(0)
})

test('a KMS that refuses is an error of the query', async () => {
  kms.whileOpening(() => Promise.reject(new Error('no')))
  try {
    await refused(() => Citizen.find({ ssn: wanted() }), 'KMS_FAILED')
    await refused(() => Citizen.deleteMany({ ssn: wanted() }), 'KMS_FAILED')
  } finally {
    kms.whileOpening(() => {})
  }
  expect(await raw(Citizen)).toHaveLength(numbers.length + 1)
})

test('an aggregation must say that it may give more', async () => {
  await refused(() => Citizen.aggregate([{ $match: { ssn: wanted() } }]), 'QUERY_REFUSED', /approximate\(value\)/)
  const found = await Citizen.aggregate([{ $match: { ssn: approximate(wanted()) } }])
  expect(found).toHaveLength(await bucket(wanted()))
})

test('approximate() says the same of any comparison, and nothing of a whole index', async () => {
  const size = await bucket(wanted())
  expect(await Citizen.find({ ssn: { $in: [approximate(wanted())] } })).toHaveLength(size)
  expect(await Citizen.find({ ssn: { $ne: approximate(wanted()) } })).toHaveLength(numbers.length + 1 - size)
  const Whole = citizenModel({ blindIndex: true })
  await Whole.create({ ssn: wanted() }, { ssn: number(8) })
  expect(await Whole.countDocuments({ ssn: approximate(wanted()) })).toBe(1)
  expect(kms.opened).toEqual([])
  await refused(() => Whole.find({ note: approximate('x') }), 'QUERY_REFUSED')
  await refused(() => Whole.updateOne({}, { ssn: approximate('x') }), 'WRITE_REFUSED')
  expect(`${JSON.stringify({ a: approximate('x') })}`).toBe('{}')
})

test('a shortened index over several fields is looked at, too', async () => {
  const Pair = citizenModel({}, { blindIndexes: { both: { fields: ['ssn', 'note'], bits: 1 } } })
  const notes = ['a', 'b', 'c', 'd'].map((letter) => secret(`note ${letter}`))
  await Pair.create(notes.map((note, index) => ({ name: `n${index}`, ssn: wanted(), note })))
  for (const [index, note] of notes.entries())
    expect(await Pair.find({ ssn: wanted(), note })).toMatchObject([{ name: `n${index}` }])
  await Pair.deleteMany({ ssn: wanted(), note: notes[0] })
  expect(await raw(Pair)).toHaveLength(3)
})

test('in a subdocument it must be said that more may be found', async () => {
  const contact = new Schema<any>({}).plugin(plugin, {
    provider,
    fields: { phone: { type: String, blindIndex: { bits: 1 } } },
  })
  const User = connection.model<any>(named('User'), new Schema<any>({ contacts: [contact] }))
  await User.create({ contacts: [{ phone: wanted() }] })
  await refused(() => User.find({ 'contacts.phone': wanted() }), 'QUERY_REFUSED', /approximate/)
  await refused(() => User.find({ contacts: { $elemMatch: { phone: wanted() } } }), 'QUERY_REFUSED', /approximate/)
  expect(await User.countDocuments({ 'contacts.phone': approximate(wanted()) })).toBe(1)
})

test('bits are another matter from version to version', async () => {
  const versions = { blindIndex: { version: 2, bits: 1, previousVersions: { 1: { bits: 256 } } } }
  const Both = citizenModel(versions)
  await Both.insertMany(numbers.slice(0, 5).map((ssn, index) => ({ name: `n${index}`, ssn: secret(ssn) })))
  for (const index of [0, 1, 2, 3, 4])
    expect(await Both.find({ ssn: number(index) })).toMatchObject([{ name: `n${index}` }])
})
