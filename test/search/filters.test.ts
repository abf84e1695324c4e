import { inspect } from 'node:util'
import mongoose, { Schema } from 'mongoose'
import { localKms } from '../../lib'
import { named, plugin, provider, refused, secret, useFaults } from '../faults/support'
import { accountModel, bytesAt } from './support'

// What can be asked by a blind index, and what is refused with a reason.
const { connection, raw } = useFaults()

let Account: any
let [ada, bob, cid] = ['', '', '']

beforeEach(async () => {
  Account = accountModel(connection)
  ;[ada, bob, cid] = [secret('ada@example.org'), secret('bob@example.org'), secret('cid@example.org')]
  await Account.create([
    { name: 'Ada', email: ada },
    { name: 'Bob', email: bob },
    { name: 'Cid', email: cid },
    { name: 'Dan' },
  ])
})

const asked: [string, () => object, string][] = [
  ['a value', () => ({ email: bob }), 'Bob'],
  ['a value as it is cast', () => ({ email: bob.toUpperCase() }), 'Bob'],
  ['$eq', () => ({ email: { $eq: bob } }), 'Bob'],
  ['$ne', () => ({ email: { $ne: bob } }), 'Ada Cid Dan'],
  ['$in', () => ({ email: { $in: [ada, bob.toUpperCase(), 'x'] } }), 'Ada Bob'],
  ['$in of one', () => ({ email: { $in: [ada] } }), 'Ada'],
  ['$in of none', () => ({ email: { $in: [] } }), ''],
  ['a list', () => ({ email: [ada, cid] }), 'Ada Cid'],
  ['$in with null', () => ({ email: { $in: [ada, null] } }), 'Ada Dan'],
  ['$nin', () => ({ email: { $nin: [ada, bob] } }), 'Cid Dan'],
  ['$nin with null', () => ({ email: { $nin: [ada, null] } }), 'Bob Cid'],
  ['$not', () => ({ email: { $not: { $eq: ada } } }), 'Bob Cid Dan'],
  ['$not of $in', () => ({ email: { $not: { $in: [ada, bob] } } }), 'Cid Dan'],
  ['$not of $ne', () => ({ email: { $not: { $ne: ada } } }), 'Ada'],
  ['$not of several', () => ({ email: { $not: { $ne: ada, $in: [bob, cid] } } }), 'Ada Dan'],
  ['$ne and $nin of one', () => ({ email: { $ne: ada, $nin: [bob] } }), 'Cid Dan'],
  ['$eq and $in of one', () => ({ email: { $eq: ada, $in: [ada] } }), 'Ada'],
  ['several at once', () => ({ email: { $ne: ada, $in: [ada, bob] } }), 'Bob'],
  ['a value and presence', () => ({ email: { $ne: ada, $exists: true } }), 'Bob Cid'],
  ['null', () => ({ email: null }), 'Dan'],
  ['$exists', () => ({ email: { $exists: true } }), 'Ada Bob Cid'],
  ['$ne null', () => ({ email: { $ne: null } }), 'Ada Bob Cid'],
  ['beside another field', () => ({ email: { $in: [ada, bob] }, name: 'Bob' }), 'Bob'],
  ['$and', () => ({ $and: [{ email: { $ne: ada } }, { email: { $ne: bob } }] }), 'Cid Dan'],
  ['$or', () => ({ $or: [{ email: ada }, { name: 'Dan' }] }), 'Ada Dan'],
  ['$nor', () => ({ $nor: [{ email: ada }, { $and: [{ email: bob }, { name: 'Bob' }] }] }), 'Cid Dan'],
  ['beside whether it is indexed', () => ({ email_bidx: { $exists: true }, email: { $ne: ada } }), 'Bob Cid'],
  [
    'beside whether it is indexed, and $and',
    () => ({ email_bidx: { $exists: true }, email: { $ne: ada }, $and: [{ name: { $ne: 'Cid' } }] }),
    'Bob',
  ],
  [
    '$and before',
    () => ({ $and: [{ name: { $ne: 'Cid' } }], email_bidx: { $exists: true }, email: { $ne: ada } }),
    'Bob',
  ],
]

const namesOf = (records: any[]) =>
  records
    .map(({ name }) => name)
    .sort()
    .join(' ')

describe.each(asked)('%s', (_name, filterOf, expected) => {
  test('finds', async () => {
    const filter = filterOf()
    const before = JSON.stringify(filter)
    expect(namesOf(await Account.find(filter))).toBe(expected)
    expect(JSON.stringify(filter)).toBe(before)
    expect(await Account.countDocuments(filter)).toBe(expected.split(' ').filter(Boolean).length)
  })

  test('finds by the collection, whose filter stays as it is', async () => {
    const filter: any = filterOf()
    if (Array.isArray(filter.email)) return
    const frozen = deepFreeze(filter)
    expect(namesOf(await Account.collection.find(frozen).toArray())).toBe(expected)
  })

  test('finds in an aggregation', async () => {
    const filter: any = filterOf()
    if (Array.isArray(filter.email)) return
    const pipeline = deepFreeze([{ $match: filter }, { $sort: { name: 1 } }, { $project: { name: 1 } }])
    expect(namesOf(await Account.aggregate(pipeline))).toBe(expected)
  })
})

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) Object.values(value).forEach(deepFreeze)
  return Object.freeze(value)
}

const ways: [string, () => Promise<unknown>][] = [
  ['findOne', async () => (await Account.findOne({ email: bob })).name],
  ['where', async () => (await Account.findOne().where('email').equals(bob)).name],
  ['where in', async () => (await Account.findOne().where('email').in([bob])).name],
  ['a lean find', async () => (await Account.findOne({ email: bob }).lean()).name],
  ['distinct', async () => (await Account.distinct('name', { email: bob }))[0]],
  ['findOneAndDelete', async () => (await Account.findOneAndDelete({ email: bob })).name],
  ['deleteOne', async () => (await Account.deleteOne({ email: bob })).deletedCount && 'Bob'],
  ['deleteMany', async () => (await Account.deleteMany({ email: { $in: [bob] } })).deletedCount && 'Bob'],
  ['exists', async () => (await Account.exists({ email: bob })) && 'Bob'],
  [
    'bulkWrite',
    async () => (await Account.bulkWrite([{ deleteOne: { filter: { email: bob } } }])).deletedCount && 'Bob',
  ],
  ['a cursor', async () => (await Account.find({ email: bob }).cursor().next()).name],
  [
    'for await',
    async () => {
      for await (const { name } of Account.find({ email: bob })) return name
    },
  ],
  ['next of the driver', async () => (await Account.collection.find({ email: bob }).next()).name],
  ['hasNext of the driver', async () => (await Account.collection.find({ email: bob }).hasNext()) && 'Bob'],
  [
    'forEach of the driver',
    async () => {
      const names: string[] = []
      await Account.collection.find({ email: bob }).forEach(({ name }: any) => void names.push(name))
      return names.join()
    },
  ],
  [
    'for await of the driver',
    async () => {
      const names: string[] = []
      for await (const { name } of Account.collection.find({ email: bob }).sort({ name: 1 })) names.push(name)
      return names.join()
    },
  ],
  [
    'a stream',
    async () => {
      const names: string[] = []
      for await (const { name } of Account.collection.find({ email: bob }).stream()) names.push(name)
      return names.join()
    },
  ],
  [
    'a cursor of an aggregation',
    async () => {
      for await (const { name } of Account.aggregate([{ $match: { email: bob } }]).cursor()) return name
    },
  ],
  [
    'a later $match',
    async () => (await Account.aggregate([{ $sort: { name: 1 } }, { $limit: 9 }, { $match: { email: bob } }]))[0].name,
  ],
  [
    'a facet',
    async () => (await Account.aggregate([{ $facet: { a: [{ $match: { email: bob } }], b: [] } }]))[0].a[0].name,
  ],
  [
    'populate with match',
    async () => {
      const Post = connection.model<any>(
        named('Post'),
        new Schema({ by: { type: Schema.Types.ObjectId, ref: Account.modelName } }),
      )
      for (const { _id } of await Account.find()) await Post.create({ by: _id })
      const posts = await Post.find().populate({ path: 'by', match: { email: bob } })
      return posts.map(({ by }: any) => by?.name ?? '').join('')
    },
  ],
]

test.each(ways)('found by %s', async (_name, find) => {
  expect(await find()).toBe('Bob')
})

describe('populate with a function as match', () => {
  let Post: any
  beforeEach(async () => {
    Post = connection.model<any>(
      named('Post'),
      new Schema({ by: { type: Schema.Types.ObjectId, ref: Account.modelName }, of: String }),
    )
    for (const { _id, name } of await Account.find()) await Post.create({ by: _id, of: name })
  })
  const populated = (match: object) =>
    Post.find()
      .sort('of')
      .populate({ path: 'by', match: () => match })

  test('is compared in memory, where the field cannot be: refused, where Mongoose tells of it', async () => {
    for (const match of [{ email: bob }, { $or: [{ name: 'Ada' }, { email: { $in: [bob] } }] }]) {
      // Mongoose 8 does not tell.
      if (mongoose.version.startsWith('8.')) expect((await populated(match))[1].by?.name).toBeUndefined()
      else await refused(() => populated(match), 'QUERY_REFUSED', /populate\(\) is a function.*Give an object as match/)
    }
  })

  test('populates by what is in the clear', async () => {
    const posts = await populated({ name: { $in: ['Ada', 'Bob'] } })
    expect(posts.map(({ by }: any) => by?.name)).toEqual(['Ada', 'Bob', undefined, undefined])
  })
})

test.each([
  ['$lookup', (from: string, pipeline: object[]) => ({ $lookup: { from, pipeline, as: 'by' } })],
  ['$unionWith', (coll: string, pipeline: object[]) => ({ $unionWith: { coll, pipeline } })],
])('%s by a pipeline asks for the index value', async (name, stageOf) => {
  const Post = connection.model<any>(named('Post'), new Schema<any>({ text: String }))
  const sent: any[] = []
  const listen = ({ commandName, command }: any) => void (commandName === 'aggregate' && sent.push(command))
  connection.getClient().on('commandStarted', listen)
  // The server that is embedded in the tests knows neither.
  await Post.aggregate([stageOf(Account.collection.name, [{ $match: { email: bob } }])] as never).catch((error) =>
    expect(error.message).toMatch(/does not implement/),
  )
  connection.getClient().off('commandStarted', listen)
  const bobs = (await raw(Account)).find((each) => each.name === 'Bob')
  const [{ $match: asked }] = sent[0].pipeline[0][name].pipeline
  expect(Object.keys(asked)).toEqual(['email_bidx'])
  expect(bytesAt({ email_bidx: asked.email_bidx.toBSON() })).toBe(bytesAt(bobs))
})

test('the index is what a lookup is planned by', async () => {
  await Account.init()
  const planOf = async (filter: object) => {
    const { queryPlanner } = await Account.find(filter).explain()
    return JSON.stringify(queryPlanner.winningPlan)
  }
  const byIndex = /IXSCAN.*"indexName":"email_bidx_1"/
  for (const filter of [{ email: bob }, { email: { $in: [ada, bob] } }, { name: 'Bob', $and: [{ email: bob }] }])
    expect(await planOf(filter)).toMatch(byIndex)
  expect(await planOf({ email: null })).not.toMatch(byIndex)
  expect(await planOf({ name: 'Bob' })).not.toMatch(byIndex)
})

const refusals: [string, () => object, RegExp][] = [
  ['$gt', () => ({ email: { $gt: 'a' } }), /knows equal values alone/],
  ['a pattern', () => ({ email: /ada/ }), /knows equal values alone/],
  ['a pattern in a list', () => ({ email: { $in: [/ada/] } }), /knows equal values alone/],
  ['$regex', () => ({ email: { $regex: 'ada' } }), /knows equal values alone/],
  ['$not of a pattern', () => ({ email: { $not: /ada/ } }), /knows equal values alone/],
  ['$not of a range', () => ({ email: { $not: { $gt: 'a' } } }), /knows equal values alone/],
  ['$not of both', () => ({ email: { $not: { $eq: ada, $exists: true } } }), /knows equal values alone/],
  ['$type', () => ({ email: { $type: 'string' } }), /knows equal values alone/],
  ['$elemMatch', () => ({ email: { $elemMatch: { $eq: ada } } }), /knows equal values alone/],
  ['$all', () => ({ email: { $all: [ada] } }), /knows equal values alone/],
  ['nested', () => ({ $or: [{ name: 'x' }, { $and: [{ email: { $lt: 'x' } }] }] }), /knows equal values alone/],
  ['undefined', () => ({ email: undefined }), /email is asked for undefined/],
  ['undefined in a list', () => ({ email: { $in: [undefined] } }), /email is asked for undefined/],
  ['an expression', () => ({ $expr: { $eq: ['$email', ada] } }), /stored encrypted/],
  ['a path below', () => ({ 'email.x': ada }), /stored encrypted/],
  ['a field without an index', () => ({ note: 'x' }), /stored encrypted/],
  ['its own path', () => ({ email_bidx: Buffer.alloc(32) }), /email_bidx holds wrapped keys or index values/],
]

test.each(refusals)('refused: %s', async (_name, filterOf, message) => {
  for (const act of [
    () => Account.find(filterOf()),
    () => Account.collection.find(filterOf()).toArray(),
    () => Account.deleteMany(filterOf()),
    () => Account.updateOne(filterOf(), { name: 'x' }),
    () => Account.bulkWrite([{ deleteMany: { filter: filterOf() } }]),
  ])
    await refused(act, 'QUERY_REFUSED', message)
  expect(await raw(Account)).toHaveLength(4)
})

const pipelines: [string, object[]][] = [
  ['after what leaves it out', [{ $project: { email: 1 } }, { $match: { email: 'x' } }]],
  ['after what takes it away', [{ $unset: 'email_bidx' }, { $match: { email: 'x' } }]],
  ['after what sets it', [{ $set: { email_bidx: 'x' } }, { $match: { email: 'x' } }]],
  ['after what renames it', [{ $project: { email: '$email_bidx' } }]],
  ['sorted after a group', [{ $group: { _id: '$name', all: { $push: '$$ROOT' } } }, { $sort: { 'all.email': 1 } }]],
  ['after a union with what has none', [{ $unionWith: 'others' }, { $match: { email: { $gt: 'x' } } }]],
]

test.each(pipelines)('refused in a pipeline: %s', async (_name, pipeline) => {
  await refused(() => Account.aggregate(pipeline), 'QUERY_REFUSED')
})

test.each([
  ['a group', { $group: { _id: '$name', all: { $push: '$$ROOT' } } }, 1],
  ['a facet', { $facet: { all: [] } }, 1],
])('records are found within the results of %s', async (_name, stage, count) => {
  const matching = (email: string) => Account.aggregate([stage, { $match: { 'all.email': email } }])
  expect(await matching(ada)).toHaveLength(count)
  expect(await matching(secret('nobody@example.org'))).toHaveLength(0)
})

test('one index is not taken for another in a pipeline', async () => {
  const fields = { email: { type: String, blindIndex: true }, phone: { type: String, blindIndex: true } }
  const Two = connection.model<any>(named('Two'), new Schema<any>({}).plugin(plugin, { provider, fields }))
  await Two.create({ email: ada, phone: secret('+49 30 123456') })
  const [found] = await Two.aggregate([{ $unset: 'email_bidx' }, { $match: { phone: '+49 30 123456' } }])
  expect(found).toBeDefined()
  await refused(() => Two.aggregate([{ $unset: 'email_bidx' }, { $match: { email: ada } }]), 'QUERY_REFUSED')
})

test('a value that cannot be cast, or was not awaited', async () => {
  await refused(
    () => Account.collection.find({ email: { a: 1 } }).toArray(),
    'QUERY_REFUSED',
    /cannot be cast to String/,
  )
  await refused(() => Account.find({ email: { a: 1 } }), 'QUERY_REFUSED', /cannot be cast to String/)
  const other = await Account.findOne({ name: 'Ada' })
  await refused(() => Account.find({ email: other.email }), 'VALUE_NOT_AWAITED')
  await refused(() => Account.collection.find({ email: { $in: [other.email] } }).toArray(), 'VALUE_NOT_AWAITED')
})

test('sorting and distinct values', async () => {
  await refused(() => Account.find({ email: ada }).sort('email'), 'QUERY_REFUSED')
  await refused(() => Account.distinct('email', { email: ada }), 'QUERY_REFUSED')
})

test('a cursor that nobody waited for sends nothing', async () => {
  // A process that has not opened the index key yet.
  const Fresh = accountModel(connection, { provider: localKms() })
  const cursor = Fresh.collection.find({ email: ada })
  const { next } = Object.getPrototypeOf(cursor)
  await refused(() => next.call(cursor), 'QUERY_REFUSED', /before the index value/)
})

test('all types that can be asked for', async () => {
  const { ObjectId, Decimal128 } = mongoose.Types
  const values: Record<string, [unknown, unknown, unknown]> = {
    string: [String, 'x', 'X'],
    number: [Number, 4.5, 4],
    zero: [Number, -0, 1],
    truth: [Boolean, false, true],
    date: [Date, new Date(5), new Date(6)],
    bytes: [Buffer, Buffer.from([1]), Buffer.from([2])],
    key: [ObjectId, new ObjectId(), new ObjectId()],
    decimal: [Schema.Types.Decimal128, Decimal128.fromString('1.50'), Decimal128.fromString('1.51')],
    big: [BigInt, 2n ** 60n, 2n],
    uuid: [Schema.Types.UUID, '01234567-89ab-4def-8123-456789abcdef', '11234567-89ab-4def-8123-456789abcdef'],
  }
  const fields = Object.fromEntries(Object.entries(values).map(([name, [type]]) => [name, { type, blindIndex: true }]))
  const All = connection.model<any>(named('All'), new Schema<any>({}).plugin(plugin, { provider, fields }))
  await All.create(Object.fromEntries(Object.entries(values).map(([name, [, value]]) => [name, value])))
  for (const [name, [, value, other]] of Object.entries(values)) {
    expect([name, await All.countDocuments({ [name]: value })]).toEqual([name, 1])
    expect([name, await All.countDocuments({ [name]: { $in: [value, other] } })]).toEqual([name, 1])
    expect([name, await All.countDocuments({ [name]: other })]).toEqual([name, 0])
    expect([name, await All.collection.countDocuments({ [name]: value })]).toEqual([name, 1])
    const [record] = await All.find({ [name]: value })
    await record.decrypt()
    expect([name, await All.countDocuments({ [name]: record[name] })]).toEqual([name, 1])
  }
})

test('normal forms', async () => {
  const Loose = accountModel(
    connection,
    {},
    {
      type: String,
      blindIndex: { caseInsensitive: true, normalize: (email: string) => email.replace(/\+.*@/, '@') },
    },
  )
  const email = secret('Ada+Shop@Straße.example')
  await Loose.create({ name: 'Ada', email })
  for (const form of ['ada@STRASSE.example', 'ADA+other@straße.example'])
    expect(await (await Loose.findOne({ email: form }).orFail()).email).toBe(email)
  expect(await Loose.countDocuments({ email: 'bob@straße.example' })).toBe(0)
  const Odd = accountModel(connection, {}, { type: String, blindIndex: { normalize: () => undefined } })
  await refused(() => Odd.create({ email: secret('eve@example.org') }), 'WRITE_REFUSED', /its normalize gave undefined/)
})

describe('no error holds the value', () => {
  const fields = {
    age: { type: Number, blindIndex: true },
    at: { type: Date, blindIndex: true },
    note: {
      type: String,
      blindIndex: {
        normalize: (value: string) => {
          throw new Error(`this is no note: ${value}`)
        },
      },
    },
  }
  let Strict: any
  let value = ''
  beforeEach(() => {
    value = secret('what nobody may read')
    Strict = connection.model<any>(named('Strict'), new Schema<any>({}).plugin(plugin, { provider, fields }))
  })

  /** All that an error says, in whatever way it is looked at. */
  const said = (error: any) =>
    `${inspect(error, { depth: 9 })} ${JSON.stringify(error)} ${error.message} ${error.stack}`

  test.each<[string, () => Promise<unknown>]>([
    ['find', () => Strict.find({ age: value })],
    ['a date', () => Strict.find({ at: value })],
    ['a list', () => Strict.find({ age: [1, value] })],
    ['$in', () => Strict.find({ age: { $in: [value] } })],
    ['$not', () => Strict.find({ age: { $not: { $eq: value } } })],
    ['$or', () => Strict.find({ $or: [{ age: value }] })],
    ['where', () => Strict.findOne().where('age').equals(value)],
    ['update', () => Strict.updateOne({ age: value }, { at: new Date() })],
    ['delete', () => Strict.deleteMany({ age: value })],
    ['bulkWrite', () => Strict.bulkWrite([{ deleteOne: { filter: { age: value } } }])],
    ['aggregate', () => Strict.aggregate([{ $match: { age: value } }])],
    ['the collection', () => Strict.collection.findOne({ age: value })],
    ['sanitizeFilter', () => Strict.find({ age: value }).setOptions({ sanitizeFilter: true })],
  ])('of a value that cannot be cast: %s', async (_name, act) => {
    const error = await refused(act, 'QUERY_REFUSED', /the value for (age|at) cannot be cast to (Number|Date)/)
    expect(said(error)).not.toContain(value)
  })

  test.each<[string, () => Promise<unknown>]>([
    ['find', () => Strict.find({ note: value })],
    ['create', () => Strict.create({ note: value })],
    ['update', () => Strict.updateOne({}, { note: value }, { upsert: true })],
    ['aggregate', () => Strict.aggregate([{ $match: { note: value } }])],
  ])('of a normalize that throws: %s', async (_name, act) => {
    const error = await refused(act, 'WRITE_REFUSED', /its normalize threw an error/)
    expect(said(error)).not.toContain(value)
    expect(await raw(Strict)).toEqual([])
  })
})

describe('sanitizeFilter', () => {
  beforeEach(() => void mongoose.set('sanitizeFilter', true))
  afterEach(() => void mongoose.set('sanitizeFilter', false))

  test('a value is found, and an operator that came from outside is refused', async () => {
    expect(await Account.findOne({ email: bob })).toMatchObject({ name: 'Bob' })
    expect(await Account.findOne({ $and: [{ email: bob }] })).toMatchObject({ name: 'Bob' })
    for (const condition of [{ $ne: 'x' }, { $in: [ada, bob] }, { $gt: '' }])
      await refused(() => Account.find({ email: condition }), 'QUERY_REFUSED')
    expect(await Account.find({ email: mongoose.trusted({ $in: [bob] }) })).toMatchObject([{ name: 'Bob' }])
  })

  test('records are populated', async () => {
    const schema = new Schema<any>({ by: { type: Schema.Types.ObjectId, ref: Account.modelName } })
    const Post = connection.model<any>(named('Post'), schema)
    for (const { _id } of await Account.find()) await Post.create({ by: _id })
    const found = await Post.find().populate({ path: 'by', match: { email: bob } })
    expect(found.map(({ by }: any) => by?.name ?? '').join('')).toBe('Bob')
    await refused(() => Post.find().populate({ path: 'by', match: { email: { $gt: 'x' } } }), 'QUERY_REFUSED')
  })
})
