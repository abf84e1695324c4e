import mongoose, { Schema } from 'mongoose'
import { gateOf } from '../../lib/gate/passes'
import { named, plugin, provider, refused, secret, useFaults, userModel } from '../faults/support'

// What a cursor or collection of the driver is asked beside a find() or aggregate() passes the gate too.
const { connection, raw } = useFaults()

let User: any
let Account: any
let [ada, bob] = ['', '']

beforeEach(async () => {
  ;[ada, bob] = [secret('ada@example.org'), secret('bob@example.org')]
  User = userModel(connection, { name: String })
  const schema = new Schema<any>({ name: String })
  schema.plugin(plugin, { provider, fields: { email: { type: String, blindIndex: true }, note: String } })
  Account = connection.model<any>(named('Account'), schema)
  for (const model of [User, Account]) {
    await model.create([
      { name: 'Ada', email: ada },
      { name: 'Bob', email: bob },
    ])
  }
})

const finds: [string, (cursor: any) => any][] = [
  ['filter', (cursor) => cursor.filter({ email: { $gt: 'x' } })],
  ['filter within', (cursor) => cursor.filter({ $or: [{ name: 'x' }, { $expr: { $eq: ['$email', 'x'] } }] })],
  ['sort', (cursor) => cursor.sort({ email: 1 })],
  ['sort by a name', (cursor) => cursor.sort('email', -1)],
  ['sort by a Map', (cursor) => cursor.sort(new Map([['email', 1]]))],
  ['project', (cursor) => cursor.project({ other: '$email' })],
  ['min', (cursor) => cursor.hint({ email: 1 }).min({ email: 'x' })],
  ['max', (cursor) => cursor.hint({ email: 1 }).max({ email: 'x' })],
  ['$query', (cursor) => cursor.addQueryModifier('$query', { email: { $gt: 'x' } })],
  ['$orderby', (cursor) => cursor.addQueryModifier('$orderby', { email: 1 })],
  ['$min', (cursor) => cursor.addQueryModifier('$min', { email: 'x' })],
  ['$max', (cursor) => cursor.addQueryModifier('$max', { email: 'x' })],
  ['a copy', (cursor) => cursor.clone().clone().filter({ email: /x/ })],
  [
    'after others',
    (cursor) =>
      cursor
        .limit(1)
        .filter({ name: 'x' })
        .filter({ email: { $lt: 'x' } }),
  ],
]

test.each(finds)('refused of the cursor of find(): %s', async (_name, build) => {
  for (const model of [User, Account]) {
    await refused(() => build(model.collection.find()).toArray(), 'QUERY_REFUSED', /email/)
  }
})

const aggregations: [string, (cursor: any) => any][] = [
  ['match', (cursor) => cursor.match({ email: { $gt: 'x' } })],
  ['group', (cursor) => cursor.group({ _id: '$email' })],
  ['project', (cursor) => cursor.project({ other: '$email' })],
  ['sort', (cursor) => cursor.sort({ email: 1 })],
  ['lookup', (cursor) => cursor.lookup({ from: 'x', localField: 'email', foreignField: 'y', as: 'z' })],
  ['redact', (cursor) => cursor.redact({ $cond: [{ $eq: ['$email', 1] }, '$$PRUNE', '$$KEEP'] })],
  ['unwind', (cursor) => cursor.unwind('$email')],
  ['addStage', (cursor) => cursor.addStage({ $match: { email: /x/ } })],
  ['a copy', (cursor) => cursor.clone().match({ email: /x/ })],
  ['what others lead to', (cursor) => cursor.group({ _id: '$$ROOT' }).match({ '_id.email': { $gt: 'x' } })],
]

test.each(aggregations)('refused of the cursor of aggregate(): %s', async (_name, build) => {
  for (const model of [User, Account])
    await refused(() => build(model.collection.aggregate([])).toArray(), 'QUERY_REFUSED', /email/)
})

test('refused of the cursor of aggregate(): out', async () => {
  await refused(() => User.collection.aggregate([]).out(Account.collection.name).toArray(), 'WRITE_REFUSED')
  const clear = connection.model<any>(named('Clear'), new Schema<any>({ name: String })) as any
  await refused(() => clear.collection.aggregate([]).out(Account.collection.name).toArray(), 'WRITE_REFUSED')
  expect(await raw(Account)).toHaveLength(2)
})

const founds: [string, () => any][] = [
  ['filter', () => Account.collection.find().filter({ email: bob })],
  ['$query', () => Account.collection.find().addQueryModifier('$query', { email: bob })],
  ['another filter', () => Account.collection.find({ email: ada }).filter({ email: bob })],
  ['a copy', () => Account.collection.find({ email: bob }).clone()],
  ['a copy of another filter', () => Account.collection.find({ email: ada }).filter({ email: bob }).clone()],
  [
    'all that has no filter',
    () => Account.collection.find({ email: bob }).sort({ name: 1 }).project({ name: 1 }).limit(2).batchSize(1),
  ],
  ['match', () => Account.collection.aggregate([]).match({ email: bob })],
  [
    'match of another',
    () =>
      Account.collection
        .aggregate([{ $match: { email: bob } }])
        .limit(2)
        .match({ email: { $ne: ada } }),
  ],
  ['a copy of match', () => Account.collection.aggregate([]).match({ email: bob }).clone()],
  ['match of a copy', () => Account.collection.aggregate([]).clone().match({ email: bob })],
]

test.each(founds)('found by the cursor: %s', async (_name, make) => {
  expect(await make().toArray()).toMatchObject([{ name: 'Bob' }])
  expect((await make().next()).name).toBe('Bob')
  for await (const { name } of make()) expect(name).toBe('Bob')
  for await (const { name } of make().stream()) expect(name).toBe('Bob')
})

test('a cursor without a filter on a field is as it was', async () => {
  expect(await Account.collection.find({ email: ada }).filter({}).sort({ name: -1 }).toArray()).toMatchObject([
    { name: 'Bob' },
    { name: 'Ada' },
  ])
  expect(await Account.collection.find({ email: bob }).count()).toBe(1)
})

test('the cursor of a connection that is not open yet', async () => {
  const late = mongoose.createConnection()
  const schema = new Schema<any>({ name: String }).plugin(plugin, { provider, fields: { email: String } })
  const Late = late.model<any>(Account.modelName, schema, Account.collection.name)
  const cursor = (Late as any).collection.find({})
  await late.openUri(process.env.TEST_MONGO_URI!, { dbName: connection.name })
  await refused(async () => (await cursor).filter({ email: { $gt: 'x' } }).toArray(), 'QUERY_REFUSED')
  await late.close()
})

test.each([
  ['count', () => User.collection.count({ email: 'x' })],
  ['min of find()', () => User.collection.find({}, { min: { email: 'x' } }).toArray()],
  ['max of find()', () => User.find({}, undefined, { max: { email: 'x' } })],
  ['max of findOne()', () => User.collection.findOne({}, { max: { email: 'x' } })],
  ['createIndex', () => User.collection.createIndex({ name: 1 }, { partialFilterExpression: { email: { $gt: 'x' } } })],
  [
    'createIndexes',
    () =>
      User.collection.createIndexes([{ key: { a: 1 } }, { key: { b: 1 }, partialFilterExpression: { email: 'x' } }]),
  ],
  [
    'an index of the schema',
    async () => {
      const schema = new Schema<any>({ name: String }).plugin(plugin, { provider, fields: { email: String } })
      schema.index({ name: 1 }, { partialFilterExpression: { email: 'x' } })
      await connection.model<any>(named('Partial'), schema).createIndexes()
    },
  ],
])('refused of a collection: %s', async (_name, act) => {
  await refused(act, 'QUERY_REFUSED', /email/)
})

test('asked of a collection', async () => {
  expect(await Account.collection.count({ email: bob })).toBe(1)
  await Account.collection.createIndex({ name: 1 }, { partialFilterExpression: { email: { $exists: true } } })
  await Account.collection.createIndexes([{ key: { note: 1 }, name: 'other', partialFilterExpression: { name: 'x' } }])
  expect(Object.keys(await Account.collection.indexInformation())).toEqual(expect.arrayContaining(['name_1', 'other']))
})

/** Methods that bring nothing that could name a field, or are the driver's own. */
const harmless = {
  find: 'count explain hint returnKey showRecordId comment maxAwaitTimeMS maxTimeMS allowDiskUse collation limit skip map _initialize getMore',
  aggregate: 'explain map _initialize group limit match out project lookup redact skip sort unwind geoNear',
  cursor:
    'asyncDispose trackCursor readBufferedDocuments stream hasNext next tryNext forEach close toArray addCursorFlag map withReadPreference ' +
    'withReadConcern maxTimeMS batchSize rewind getMore bufferedCount cursorInit fetchBatch cleanup emitClose transformDocument ' +
    'throwIfInitialized resolveExplainTimeoutOptions',
  collection:
    'rename drop options isCapped dropIndex dropIndexes listIndexes indexExists indexInformation estimatedDocumentCount indexes ' +
    'listSearchIndexes createSearchIndex createSearchIndexes dropSearchIndex updateSearchIndex',
}

/** The methods of a class of the driver, and of those it comes from. */
function methodsOf(holder: any, until: any): string[] {
  const names: string[] = []
  for (let at = holder; at !== until; at = Object.getPrototypeOf(at)) {
    for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(at)))
      if (typeof value === 'function' && name !== 'constructor') names.push(name)
  }
  return names
}

test('all methods of the driver are known', () => {
  const { AbstractCursor, Collection } = mongoose.mongo
  const end = Object.getPrototypeOf(AbstractCursor.prototype)
  for (const [method, kind] of [
    ['find', harmless.find],
    ['aggregate', harmless.aggregate],
  ] as const) {
    const cursor = method === 'find' ? Account.collection.find() : Account.collection.aggregate([])
    const known = new Set([...kind.split(' '), ...harmless.cursor.split(' '), ...Object.keys(cursor)])
    expect(methodsOf(Object.getPrototypeOf(cursor), end).filter((name) => !known.has(name))).toEqual([])
  }
  const passing = new Set([...harmless.collection.split(' '), ...Object.keys(Account.collection)])
  expect(methodsOf(Collection.prototype, Object.prototype).filter((name) => !passing.has(name))).toEqual([])
  expect(gateOf(Account.collection).native).toHaveProperty('count')
})

test('what is asked before the connection is open', async () => {
  const late = mongoose.createConnection()
  const Late = late.model<any>(Account.modelName, Account.schema.clone(), Account.collection.name) as any
  const asked = [
    () => Late.findOne({ email: bob }),
    async () => (await Late.find({ email: bob }))[0],
    async () => (await Late.aggregate([{ $match: { email: bob } }]))[0],
    async () => (await (await Late.collection.find({ email: bob })).toArray())[0],
    () => Late.collection.findOne({ email: bob }),
    () => Late.findOneAndUpdate({ email: bob }, { note: secret('a note') }),
  ].map((ask) => ask())
  await late.openUri(process.env.TEST_MONGO_URI!, { dbName: connection.name })
  for (const found of await Promise.all(asked)) expect(found).toMatchObject({ name: 'Bob' })
  await late.close()
})
