import mongoose, { Schema } from 'mongoose'
import { named, plugin, provider, refused, secret, useFaults } from '../faults/support'
import { watchedKms } from '../lifecycle/support'
import { bytesAt } from './support'

// An index over several fields together is kept current by every write, whichever of the fields it brings.
const { connection, raw } = useFaults()
const path = 'name_dob_bidx'
const early = new Date('1815-12-10')
const late = new Date('1852-11-27')

let Person: any
const ada = () => secret('Ada Lovelace')
const bob = () => secret('Bob Babbage')

function personModel(options: object = {}, fields: object = {}): any {
  const schema = new Schema<any>({ town: String }).plugin(plugin, {
    provider,
    fields: { name: String, dob: Date, note: String, ...fields },
    blindIndexes: { name_dob: { fields: ['name', 'dob'], ...options } },
  })
  return connection.model<any>(named('Person'), schema)
}

beforeEach(async () => {
  Person = personModel()
  await Person.init()
})

/** The towns of those that are found; and each record has an index value if and only if it has both fields. */
async function found(name: string, dob: Date, model = Person): Promise<string[]> {
  for (const record of await raw(model)) {
    const isWhole = (record.name ?? null) !== null && (record.dob ?? null) !== null
    expect(bytesAt(record, path) !== undefined).toBe(isWhole)
  }
  return (await model.find({ name, dob }).sort({ town: 1 })).map(({ town }: any) => town)
}

const existing = async () => (await Person.create({ town: 'London', name: ada(), dob: early }))._id

test('is an index of the collection that syncIndexes manages', async () => {
  const indexes = await Person.listIndexes()
  expect(indexes).toContainEqual(expect.objectContaining({ key: { [path]: 1 } }))
  expect(await Person.diffIndexes()).toMatchObject({ toDrop: [], toCreate: [] })
})

const changes: [string, (id: unknown) => Promise<unknown>][] = [
  ['save of one', async (id) => (await Person.findById(id)).set({ name: bob() }).save()],
  [
    'save of one, of an open record',
    async (id) => {
      const doc = await Person.findById(id)
      await doc.decrypt()
      await doc.set({ name: bob() }).save()
    },
  ],
  [
    'save of a record that was loaded in part',
    async (id) => (await Person.findById(id, 'name')).set({ name: bob() }).save(),
  ],
  ['updateOne', (id) => Person.updateOne({ _id: id }, { name: bob() })],
  ['updateOne by what it is', () => Person.updateOne({ name: ada(), dob: early }, { name: bob() })],
  ['updateMany', () => Person.updateMany({ town: 'London' }, { name: bob() })],
  ['findOneAndUpdate', (id) => Person.findOneAndUpdate({ _id: id }, { name: bob() })],
  ['both', (id) => Person.updateOne({ _id: id }, { name: bob(), dob: early })],
  ['an upsert that finds it', (id) => Person.updateOne({ _id: id }, { name: bob() }, { upsert: true })],
  [
    '$setOnInsert beside it',
    (id) => Person.updateOne({ _id: id }, { name: bob(), $setOnInsert: { dob: late } }, { upsert: true }),
  ],
  ['bulkWrite', (id) => Person.bulkWrite([{ updateOne: { filter: { _id: id }, update: { name: bob() } } }])],
  [
    'bulkSave',
    async (id) => {
      const doc = await Person.findById(id)
      doc.name = bob()
      await Person.bulkSave([doc])
    },
  ],
  ['the collection', (id) => Person.collection.updateOne({ _id: id }, { $set: { name: bob() } })],
  ['a replacement', (id) => Person.replaceOne({ _id: id }, { town: 'London', name: bob(), dob: early })],
]

test.each(changes)('a change by %s', async (_name, change) => {
  const id = await existing()
  await change(id)
  expect(await found(bob(), early)).toEqual(['London'])
  expect(await found(ada(), early)).toEqual([])
  expect(await (await Person.findById(id)).decrypt()).toMatchObject({ name: bob(), dob: early })
})

const clearings: [string, (id: unknown) => Promise<unknown>][] = [
  ['save', async (id) => (await Person.findById(id)).set({ dob: null }).save()],
  ['save of undefined', async (id) => (await Person.findById(id)).set({ dob: undefined }).save()],
  ['$unset', (id) => Person.updateOne({ _id: id }, { $unset: { dob: 1 } })],
  ['null beside another value', (id) => Person.updateOne({ _id: id }, { name: bob(), dob: null })],
  ['updateMany', () => Person.updateMany({}, { dob: null })],
  ['a replacement', (id) => Person.replaceOne({ _id: id }, { town: 'London', name: ada() })],
]

test.each(clearings)('one of the fields is taken away by %s', async (_name, clear) => {
  const id = await existing()
  await clear(id)
  expect(await found(ada(), early)).toEqual([])
  await Person.updateOne({ _id: id }, { name: bob() })
  expect(await found(bob(), early)).toEqual([])
  await Person.updateOne({ _id: id }, { dob: late })
  expect(await found(bob(), late)).toEqual(['London'])
})

test('what else is in the record is written without it', async () => {
  const id = await existing()
  const before = (await raw(Person))[0]
  await Person.updateOne({ _id: id }, { note: secret('a note') })
  expect((await raw(Person))[0]).toMatchObject({ name: before.name, dob: before.dob, [path]: before[path] })
})

test('a field that is changed between reading and writing is not overlooked', async () => {
  const id = await existing()
  let once = true
  const { native } = require('../../lib/gate/passes').gateOf(Person.collection)
  const read = native.findOne
  native.findOne = async (...args: unknown[]) => {
    const record = await read(...args)
    if (once) {
      once = false
      await Person.updateOne({ _id: id }, { dob: late })
    }
    return record
  }
  await Person.updateOne({ _id: id }, { name: bob() })
  native.findOne = read
  expect(once).toBe(false)
  expect(await found(bob(), late)).toEqual(['London'])
  expect(await found(bob(), early)).toEqual([])
})

test('a save that was overtaken says so, and can be made again', async () => {
  const id = await existing()
  const doc = await Person.findById(id)
  await doc.decrypt()
  doc.name = bob()
  const { native } = require('../../lib/gate/passes').gateOf(Person.collection)
  const read = native.findOne
  native.findOne = async (...args: unknown[]) => {
    native.findOne = read
    const record = await read(...args)
    await Person.updateOne({ _id: id }, { dob: late })
    return record
  }
  await refused(() => doc.save(), 'RECORD_CHANGED')
  await doc.save()
  expect(await found(bob(), late)).toEqual(['London'])
  expect(await doc.dob).toEqual(late)
})

test.each<[string, (upsert: any) => Promise<unknown>]>([
  ['updateOne', (upsert) => Person.updateOne(...upsert)],
  ['findOneAndUpdate', (upsert) => Person.findOneAndUpdate(...upsert)],
])('a record that comes up while %s upserts it is not overlooked', async (_name, write) => {
  for (const update of [{ name: bob() }, { name: bob(), $setOnInsert: { dob: early } }]) {
    await Person.deleteMany({})
    const _id = new mongoose.Types.ObjectId()
    const { native } = require('../../lib/gate/passes').gateOf(Person.collection)
    const read = native.findOne
    native.findOne = async (...args: unknown[]) => {
      native.findOne = read
      const record = await read(...args)
      await Person.create({ _id, town: 'Paris', name: ada(), dob: late })
      return record
    }
    await write([{ _id }, update, { upsert: true }])
    expect(await found(bob(), late)).toEqual(['Paris'])
    expect(await found(bob(), early)).toEqual([])
    expect(await found(ada(), late)).toEqual([])
  }
})

test('a bulk write tells of a record that comes up while it upserts it', async () => {
  const _id = new mongoose.Types.ObjectId()
  const { native } = require('../../lib/gate/passes').gateOf(Person.collection)
  const read = native.findOne
  native.findOne = async (...args: unknown[]) => {
    native.findOne = read
    const record = await read(...args)
    await Person.create({ _id, town: 'Paris', name: ada(), dob: late })
    return record
  }
  const bulk = () => Person.bulkWrite([{ updateOne: { filter: { _id }, update: { name: bob() }, upsert: true } }])
  await refused(bulk, 'RECORD_CHANGED')
  expect(await found(ada(), late)).toEqual(['Paris'])
  await bulk()
  expect(await found(bob(), late)).toEqual(['Paris'])
})

test('a record that is replaced and deleted during a save is gone', async () => {
  const id = await existing()
  const doc = await Person.findById(id)
  const { native } = require('../../lib/gate/passes').gateOf(Person.collection)
  const read = native.findOne
  native.findOne = async (...args: unknown[]) => {
    native.findOne = read
    await Person.replaceOne({ _id: id }, { name: bob(), dob: late })
    const record = await read(...args)
    await Person.deleteOne({ _id: id })
    return record
  }
  doc.name = bob()
  await expect(doc.save()).rejects.toMatchObject({ name: 'DocumentNotFoundError' })
  expect(await raw(Person)).toEqual([])
})

test('two at once, each of another field, leave what both have written', async () => {
  const id = await existing()
  await Promise.all([Person.updateOne({ _id: id }, { name: bob() }), Person.updateOne({ _id: id }, { dob: late })])
  expect(await found(bob(), late)).toEqual(['London'])
})

describe.each<[string, (operations: any[], options?: object) => Promise<unknown>]>([
  ['Model.bulkWrite()', (operations, options) => Person.bulkWrite(operations, options)],
  [
    'connection.bulkWrite()',
    (operations, options) =>
      connection.bulkWrite(
        operations.map((operation) => {
          const [[name, body]] = Object.entries<any>(operation) as any
          return { model: Person, name, ...body }
        }),
        options,
      ),
  ],
  ['the collection', (operations, options) => Person.collection.bulkWrite(operations, options)],
])('operations of one %s, each of a field of one record', (_way, write) => {
  const update = (filter: object, $set: object, more: object = {}) => ({
    updateOne: { filter, update: { ...(Object.keys($set).length > 0 && { $set }), ...more } },
  })

  test.each([{}, { ordered: false }])('are made one after another: %j', async (options) => {
    const [id, other] = [await existing(), await existing()]
    const operations = [
      update({ _id: id }, { name: secret('Eve Eastman') }),
      update({ _id: other }, { name: secret('Dan Dawson') }),
      update({ _id: id }, { dob: late }),
      update({ _id: id }, { name: bob() }),
    ]
    await write(operations, options)
    expect(await found(bob(), late)).toEqual(['London'])
    expect(await found(secret('Dan Dawson'), early)).toEqual(['London'])
    expect(await Person.countDocuments({ name: secret('Eve Eastman'), dob: late })).toBe(0)
  })

  test('of which one is taken away and given again', async () => {
    const id = await existing()
    await write([update({ _id: id }, {}, { $unset: { dob: 1 } }), update({ _id: id }, { name: bob() })])
    expect(await found(bob(), early)).toEqual([])
    await write([
      update({ _id: id }, { dob: late }),
      update({ town: 'London' }, { name: secret('Eve Eastman') }),
      update({ _id: id }, { dob: early }),
    ])
    expect(await found(secret('Eve Eastman'), early)).toEqual(['London'])
  })

  test('after one that replaces it', async () => {
    const id = await existing()
    const replacement = { town: 'Paris', name: bob(), dob: late }
    await write([{ replaceOne: { filter: { _id: id }, replacement } }, update({ _id: id }, { dob: early })])
    expect(await found(bob(), early)).toEqual(['Paris'])
    expect(await (await Person.findById(id)).decrypt()).toMatchObject({ name: bob(), dob: early })
  })

  test('say so where another process has changed the record between', async () => {
    const id = await existing()
    const { native } = require('../../lib/gate/passes').gateOf(Person.collection)
    const read = native.find
    native.find = (...args: unknown[]) => {
      native.find = read
      const cursor = read(...args)
      return {
        toArray: async () => {
          const records = await cursor.toArray()
          await Person.updateOne({ _id: id }, { dob: early, name: secret('Eve Eastman') })
          return records
        },
      }
    }
    const operations = () => [update({ _id: id }, { name: bob() }), update({ _id: id }, { dob: late })]
    expect(await refused(() => write(operations()), 'RECORD_CHANGED')).toMatchObject({ remedy: 'retry' })
    native.find = read
    expect(await found(secret('Eve Eastman'), early)).toEqual(['London'])
    await write(operations())
    expect(await found(bob(), late)).toEqual(['London'])
  })
})

test('an open record is changed without a call to the KMS', async () => {
  const kms = watchedKms()
  const Counted = connection.model<any>(
    named('Counted'),
    new Schema<any>({ town: String }).plugin(plugin, {
      provider: kms.provider,
      fields: { name: String, dob: Date },
      blindIndexes: { name_dob: { fields: ['name', 'dob'] } },
    }),
  )
  const doc = await Counted.create({ town: 'Paris', name: ada(), dob: early })
  doc.name = bob()
  await doc.save()
  expect(kms.opened).toEqual([])
  expect(await Counted.findOne({ name: bob(), dob: early })).toMatchObject({ town: 'Paris' })
})

describe('what can be asked', () => {
  beforeEach(async () => {
    await Person.create([
      { town: 'London', name: ada(), dob: early },
      { town: 'Paris', name: ada(), dob: late },
      { town: 'Turin', name: bob(), dob: early },
      { town: 'Bern', name: ada() },
    ])
  })

  const filters: [string, () => object, string][] = [
    ['values', () => ({ name: ada(), dob: early }), 'London'],
    ['values in another order', () => ({ dob: late, name: ada() }), 'Paris'],
    ['values as they are cast', () => ({ name: ada(), dob: early.toISOString() }), 'London'],
    ['$eq', () => ({ name: { $eq: ada() }, dob: { $eq: early } }), 'London'],
    ['$or', () => ({ $or: [{ name: ada(), dob: early }, { town: 'Turin' }] }), 'London Turin'],
    ['$nor', () => ({ $nor: [{ name: ada(), dob: early }] }), 'Bern Paris Turin'],
    ['beside another field', () => ({ name: ada(), dob: early, town: 'Paris' }), ''],
    ['whether they are there', () => ({ name: { $exists: true }, dob: null }), 'Bern'],
  ]

  test.each(filters)('%s', async (_name, filter, expected) => {
    const towns = (await Person.find(filter()).sort({ town: 1 })).map(({ town }: any) => town).join(' ')
    expect(towns).toBe(expected)
    expect(await Person.countDocuments(filter())).toBe(expected.split(' ').filter(Boolean).length)
  })

  test.each([
    ['one alone', () => ({ name: ada() })],
    ['one, and whether the other is there', () => ({ name: ada(), dob: { $exists: true } })],
    ['one, and none of the other', () => ({ name: ada(), dob: null })],
    ['$ne', () => ({ name: { $ne: ada() }, dob: early })],
    ['$in', () => ({ name: { $in: [ada(), bob()] }, dob: early })],
    ['each apart', () => ({ $and: [{ name: ada() }, { dob: early }] })],
    ['a range', () => ({ name: ada(), dob: { $lt: late } })],
  ])('%s is refused', async (_name, filter) => {
    await refused(() => Person.find(filter()), 'QUERY_REFUSED', /name, dob together|stored encrypted/)
    await refused(() => Person.collection.deleteMany(filter()), 'QUERY_REFUSED')
  })
})

test('an upsert stores what it asks for', async () => {
  await Person.updateOne({ name: ada(), dob: early }, { town: 'London' }, { upsert: true })
  expect(await found(ada(), early)).toEqual(['London'])
  await Person.updateOne({ name: ada(), dob: early }, { town: 'Paris' }, { upsert: true })
  expect(await found(ada(), early)).toEqual(['Paris'])
  await Person.findOneAndUpdate({ name: ada(), dob: late }, { dob: early, town: 'Rome' }, { upsert: true })
  expect(await found(ada(), early)).toEqual(['Paris', 'Rome'])
})

test('none of two inserts of the same values, and the error names no value', async () => {
  const Unique = personModel({ unique: true })
  await Unique.init()
  await Unique.create({ name: ada(), dob: early })
  await Unique.create({ name: ada(), dob: late })
  await Unique.create([{ name: ada() }, { name: ada() }])
  const error: any = await Unique.create({ name: ada(), dob: early }).catch((thrown: unknown) => thrown)
  expect(error).toMatchObject({ code: 11000, keyPattern: { name_dob: 1 } })
  expect(`${error.message} ${JSON.stringify(error)}`).not.toMatch(/bidx|Lovelace/)
  expect(await found(ada(), early, Unique)).toHaveLength(1)
})

test('in any case', async () => {
  const Any = personModel({ caseInsensitive: true })
  await Any.create({ town: 'London', name: ada(), dob: early })
  expect(await found(ada().toUpperCase(), early, Any)).toEqual(['London'])
  expect(await found(ada(), late, Any)).toEqual([])
})

test('beside an index of one of them', async () => {
  const Both = personModel({}, { name: { type: String, blindIndex: true } })
  await Both.create([
    { town: 'London', name: ada(), dob: early },
    { town: 'Paris', name: ada(), dob: late },
  ])
  expect(await found(ada(), early, Both)).toEqual(['London'])
  expect(await Both.countDocuments({ name: ada() })).toBe(2)
  expect(await Both.countDocuments({ name: ada(), dob: { $exists: true } })).toBe(2)
})

test('the same values apart have nothing in common with those together', async () => {
  const Pair = personModel({}, { dob: String, name: { type: String, blindIndex: true } })
  await Pair.create([
    { name: 'ab', dob: 'c' },
    { name: 'a', dob: 'bc' },
    { name: 'c', dob: 'ab' },
  ])
  const values = (await raw(Pair)).flatMap((record: any) => [bytesAt(record, path), bytesAt(record, 'name_bidx')])
  expect(new Set(values).size).toBe(6)
})

test('a backup is put back with its index value, and not without it', async () => {
  await existing()
  const [stored] = await raw(Person)
  await Person.deleteMany({})
  const { [path]: index, ...without } = stored
  await refused(() => Person.collection.insertOne(without), 'WRITE_REFUSED', /name_dob_bidx/)
  await Person.collection.insertOne(stored)
  expect(index).toBeDefined()
  expect(await found(ada(), early)).toEqual(['London'])
})

test('in two subdocuments of one schema, each by its own values', async () => {
  const person = new Schema<any>({}, { _id: false }).plugin(plugin, {
    dataKey: 'owner',
    fields: { name: String, dob: Date },
    blindIndexes: { name_dob: { fields: ['name', 'dob'] } },
  })
  const owner = new Schema<any>({ first: person, second: person }).plugin(plugin, {
    provider,
    fields: { note: String },
  })
  const Couple = connection.model<any>(named('Couple'), owner)
  await Couple.create({ first: { name: ada(), dob: early }, second: { name: bob(), dob: late } })
  const both = (name: string, dob: Date) => ({
    'first.name': ada(),
    'first.dob': early,
    'second.name': name,
    'second.dob': dob,
  })
  expect(await Couple.countDocuments(both(bob(), late))).toBe(1)
  expect(await Couple.countDocuments(both(bob(), early))).toBe(0)
})
