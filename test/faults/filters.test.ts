import { once } from 'node:events'
import mongoose, { Schema } from 'mongoose'
import { contactSchema, named, plugin, provider, refused, secret, useFaults } from './support'

const { connection, raw } = useFaults()
const value = 'ada@example.org'

const schema = new Schema<any>({
  name: String,
  contacts: { type: [contactSchema()], alias: 'people' },
  one: { type: contactSchema(), alias: 'only' },
  byPlace: { type: Map, of: [contactSchema()] },
  nested: { deep: { down: contactSchema() } },
  friend: Schema.Types.ObjectId,
}).plugin(plugin, { provider, fields: { email: String, tags: [String], address: { city: String } } })
const User = connection.model<any>(named('User'), schema) as any

class Filter {
  constructor(values: object) {
    Object.assign(this, values)
  }
}
const bare = (values: object) => Object.assign(Object.create(null), values)

const filters: [string, object][] = [
  ['equality', { email: value }],
  ['an instance of a class', new Filter({ email: value })],
  ['an instance within $or', { $or: [new Filter({ email: value })] }],
  ['an instance within $nor', { $nor: [new Filter({ email: value }), { name: 'Eve' }] }],
  ['an instance within $and', { $and: [{ name: 'Ada' }, new Filter({ email: value })] }],
  ['an instance within $or within $and', { $and: [{ $or: [new Filter({ $and: [new Filter({ email: value })] })] }] }],
  ['an instance of conditions', { email: new Filter({ $in: [value] }) }],
  ['an instance within $elemMatch', { contacts: { $elemMatch: new Filter({ phone: value }) } }],
  ['no prototype', { $or: [bare({ email: value })] }],
  ['a String object', { email: new String(value) }],
  ['a list that is compared', { tags: [value] }],
  ['$in', { email: { $in: ['x', value] } }],
  ['$not', { email: { $not: { $eq: value } } }],
  ['a regular expression', { email: new RegExp(value) }],
  ['$expr', { $expr: { $eq: ['$email', value] } }],
  ['$expr by $$ROOT', { $expr: { $eq: ['$$ROOT.email', value] } }],
  ['$expr by $getField', { $expr: { $eq: [{ $getField: 'email' }, value] } }],
  ['a dotted path of a field', { 'address.city': value }],
  ['a whole nested field', { address: { city: value } }],
  ['a path of a subdocument', { 'one.phone': value }],
  ['a whole subdocument', { one: { label: 'home', phone: value } }],
  ['an instance for a subdocument', { one: new Filter({ phone: value }) }],
  ['a whole nested object', { nested: { deep: { down: { phone: value } } } }],
  ['a part of a nested object', { 'nested.deep': { down: { phone: value } } }],
  ['an instance for a nested object', { nested: new Filter({ deep: new Filter({ down: { phone: value } }) }) }],
  ['a list of subdocuments', { contacts: [{ label: 'home', phone: value }] }],
  ['one of a list', { contacts: { label: 'home', phone: value } }],
  ['one of a list by $in', { contacts: { $in: [{ phone: value }] } }],
  ['$all with $elemMatch', { contacts: { $all: [{ $elemMatch: { phone: value } }] } }],
  ['a map of lists, by its path', { 'byPlace.london.phone': value }],
  ['a map of lists, by an element', { 'byPlace.london.0.phone': value }],
  ['a map of lists, whole', { byPlace: { london: [{ phone: value }] } }],
  ['a Map', { byPlace: new Map([['london', [{ phone: value }]]]) }],
  ['a list within a map', { 'byPlace.london': [{ phone: value }] }],
  ['an envelope’s neighbour', { email: { $gt: value } }],
]

const operations: [string, (filter: object) => Promise<unknown>][] = [
  ['find', (filter) => User.find(filter)],
  ['find, strictQuery: false', (filter) => User.find(filter).setOptions({ strictQuery: false })],
  ['deleteMany', (filter) => User.deleteMany(filter)],
  ['deleteMany, strictQuery: true', (filter) => User.deleteMany(filter, { strictQuery: true })],
  ['updateMany', (filter) => User.updateMany(filter, { name: 'Eve' })],
  ['bulkWrite deleteMany', (filter) => User.bulkWrite([{ deleteMany: { filter } }])],
  ['aggregate $match', (filter) => User.aggregate([{ $match: filter }])],
  ['collection.find', (filter) => User.collection.find(filter).toArray()],
  ['collection.deleteMany', (filter) => User.collection.deleteMany(filter)],
]

test.each(filters)(
  'fault 12: a condition on an encrypted value is refused and never sent: %s',
  async (_name, filter) => {
    await User.create({ name: 'Ada', email: secret(value), tags: [value], one: { label: 'home', phone: value } })
    const before = await raw(User)
    for (const [name, run] of operations) {
      await refused(() => run(filter), 'QUERY_REFUSED').catch((error) => {
        // Mongoose itself cannot cast it, and says so.
        if (error.cause?.name === 'CastError') return
        throw new Error(`${name}: ${error.message}`)
      })
    }
    expect(await raw(User)).toEqual(before)
  },
)

test.each<[string, object]>([
  ['a list', { 'people.phone': value }],
  ['a whole list', { people: [{ phone: value }] }],
  ['a subdocument', { 'only.phone': value }],
  ['a whole subdocument', { only: { phone: value } }],
  ['within $or', { $or: [{ 'people.phone': value }, { name: 'Eve' }] }],
])('fault 12: a condition by an alias is refused and never sent: %s', async (_name, filter) => {
  secret(value)
  for (const strictQuery of [true, false]) {
    const settings = { translateAliases: true, strictQuery }
    await refused(() => User.find(filter).setOptions(settings), 'QUERY_REFUSED')
    await refused(() => User.deleteMany(filter).setOptions(settings), 'QUERY_REFUSED')
  }
})

const own = User.collection.name
const pipelines: [string, object[]][] = [
  ['an instance in $match', [{ $match: new Filter({ email: value }) }]],
  ['an instance within $or in $match', [{ $match: { $or: [new Filter({ email: value })] } }]],
  [
    '$match after $lookup of the same collection',
    [
      { $lookup: { from: own, localField: 'friend', foreignField: '_id', as: 'friends' } },
      { $match: { 'friends.email': value } },
    ],
  ],
  ['$match within $lookup', [{ $lookup: { from: own, pipeline: [{ $match: { email: value } }], as: 'friends' } }]],
  [
    '$match after $lookup and $unwind',
    [
      { $lookup: { from: own, localField: 'friend', foreignField: '_id', as: 'friend' } },
      { $unwind: '$friend' },
      { $match: { 'friend.email': value } },
    ],
  ],
  ['$match within $unionWith', [{ $unionWith: { coll: own, pipeline: [{ $match: { email: value } }] } }]],
  ['$match within $facet', [{ $facet: { a: [{ $match: new Filter({ email: value }) }] } }]],
  ['$replaceRoot by itself', [{ $replaceRoot: { newRoot: '$$ROOT' } }, { $match: { email: value } }]],
  [
    '$replaceRoot by a new name',
    [{ $replaceRoot: { newRoot: { user: '$$ROOT' } } }, { $match: { 'user.email': value } }],
  ],
  ['$replaceWith by a new name', [{ $replaceWith: { user: '$$CURRENT' } }, { $match: { 'user.email': value } }]],
  ['$project by a new name', [{ $project: { user: '$$ROOT' } }, { $match: { 'user.email': value } }]],
  ['$project of a part', [{ $project: { mail: '$email' } }, { $match: { mail: value } }]],
  ['$addFields by a new name', [{ $addFields: { copy: '$$ROOT' } }, { $match: { 'copy.email': value } }]],
  ['$addFields of a subdocument', [{ $addFields: { copy: '$one' } }, { $match: { 'copy.phone': value } }]],
  ['$set by a new name', [{ $set: { copy: ['$$ROOT'] } }, { $match: { 'copy.email': value } }]],
  ['$group by a new name', [{ $group: { _id: null, all: { $push: '$$ROOT' } } }, { $match: { 'all.email': value } }]],
  ['$unwind of subdocuments', [{ $unwind: '$contacts' }, { $match: { 'contacts.phone': value } }]],
  [
    '$replaceRoot by a subdocument',
    [{ $unwind: '$contacts' }, { $replaceRoot: { newRoot: '$contacts' } }, { $match: { phone: value } }],
  ],
  ['$redact', [{ $redact: { $cond: [{ $eq: ['$email', value] }, '$$KEEP', '$$PRUNE'] } }]],
]

test.each(pipelines)(
  'fault 12: an aggregation that compares an encrypted value is refused and never sent: %s',
  async (_name, pipeline) => {
    await User.create({ name: 'Ada', email: secret(value), contacts: [{ label: 'home', phone: value }] })
    await refused(() => User.aggregate(pipeline), 'QUERY_REFUSED')
  },
)

// A cursor that never answers fails here soon.
describe.each(pipelines.filter((_, i) => i % 6 === 0))(
  'fault 37: the cursor of an aggregation: %s',
  (_name, pipeline) => {
    test.each<[string, () => Promise<unknown>]>([
      ['next()', () => User.aggregate(pipeline).cursor().next()],
      [
        'for await',
        async () => {
          for await (const found of User.aggregate(pipeline).cursor({ batchSize: 1 })) expect(found).toBeUndefined()
        },
      ],
      [
        'eachAsync()',
        () =>
          User.aggregate(pipeline)
            .cursor()
            .eachAsync(() => {}),
      ],
    ])(
      'gives the refusal: %s',
      async (_how, run) => {
        await User.create({ name: 'Ada', email: secret(value), contacts: [{ label: 'home', phone: value }] })
        await refused(run, 'QUERY_REFUSED')
      },
      5_000,
    )
  },
)

test('fault 12: what is asked of other paths by the same means still works', async () => {
  await User.create({ name: 'Ada', email: secret(value), contacts: [{ label: 'home', phone: secret('+44 111 1111') }] })
  for (const filter of [
    new Filter({ name: 'Ada' }),
    { $or: [new Filter({ name: 'Ada' })] },
    { email: { $ne: null } },
    { $and: [new Filter({ email: { $exists: true } })] },
    { 'contacts.label': 'home' },
    { contacts: { $elemMatch: new Filter({ label: 'home' }) } },
  ]) {
    expect(await User.countDocuments(filter)).toBe(1)
    expect(await User.find(filter)).toHaveLength(1)
  }
  expect(await User.aggregate([{ $match: new Filter({ name: 'Ada' }) }, { $group: { _id: '$name' } }])).toEqual([
    { _id: 'Ada' },
  ])
  expect(await User.find({ 'people.label': 'home' }).setOptions({ translateAliases: true })).toHaveLength(1)
})

test('what is asked before the connection is open is refused as well', async () => {
  await User.create({ name: 'Ada', email: secret(value) })
  const asks: ((Model: any) => Promise<unknown>)[] = [
    (Model) => Model.aggregate([{ $match: { email: value } }]).exec(),
    (Model) => Model.find({ email: value }).exec(),
    (Model) => Model.countDocuments({ email: value }).exec(),
    (Model) => Model.distinct('email').exec(),
  ]
  for (const ask of asks) {
    const opening = mongoose.createConnection(process.env.TEST_MONGO_URI!, { dbName: connection.name })
    const Model = opening.model<any>(User.modelName, schema.clone())
    await refused(() => ask(Model), 'QUERY_REFUSED')
    await opening.asPromise()
    await opening.close()
  }
})

describe('connection.aggregate()', () => {
  const pipeline = (stage: object) => [{ $documents: [{ _id: 1, email: value }] }, stage]

  test.each<[string, (into: string) => object]>([
    ['$merge', (into) => ({ $merge: into })],
    ['$merge with a database', (coll) => ({ $merge: { into: { db: connection.name, coll } } })],
    ['$out', (into) => ({ $out: into })],
  ])('does not write to where records are, by %s', async (_name, stage) => {
    const stages = pipeline(stage(User.collection.name))
    await refused(() => connection.aggregate(stages as never), 'WRITE_REFUSED')
    await refused(() => connection.aggregate(stages as never).exec(), 'WRITE_REFUSED')
    await refused(
      () =>
        connection
          .aggregate(stages as never)
          .cursor()
          .next(),
      'WRITE_REFUSED',
    )
    await refused(async () => {
      for await (const _ of connection.aggregate([]).append(...(stages as never[])));
    }, 'WRITE_REFUSED')
  })

  test('works where it does not', async () => {
    // The embedded server has no stage of the database: its own refusal shows that it was asked.
    const asked = await connection.aggregate([{ $documents: [{ _id: 1 }] }] as never).then(
      (found) => found,
      (error: unknown) => error,
    )
    expect(asked).not.toMatchObject({ name: 'OperationError' })
  })
})

describe('a change stream', () => {
  const streams: [string, object[]][] = [
    ['what was inserted', [{ $match: { 'fullDocument.email': value } }]],
    ['what was there before', [{ $match: { 'fullDocumentBeforeChange.email': { $ne: value } } }]],
    ['what was updated', [{ $match: { 'updateDescription.updatedFields.email': value } }]],
    ['a whole document', [{ $match: { fullDocument: { email: value } } }]],
    ['within $or', [{ $match: { $or: [{ operationType: 'delete' }, { 'fullDocument.one.phone': value }] } }]],
    ['by $expr', [{ $match: { $expr: { $eq: ['$fullDocument.email', value] } } }]],
    ['under another name', [{ $addFields: { now: '$fullDocument' } }, { $match: { 'now.email': value } }]],
  ]

  test.each(streams)('that compares %s is refused, and nothing is sent', async (_name, pipeline) => {
    await refused(() => User.watch(pipeline), 'QUERY_REFUSED', /email|phone/)
    await refused(() => User.collection.watch(pipeline), 'QUERY_REFUSED', /email|phone/)
  })

  test('that asks for what is in the clear, or whether a field is there, shows what it is for', async () => {
    const stream = User.watch([
      { $match: { operationType: 'insert', 'fullDocument.name': 'Ada', 'fullDocument.email': { $ne: null } } },
    ])
    const change = once(stream, 'change')
    await once(stream, 'resumeTokenChanged')
    await User.create([{ name: 'Eve', email: secret('eve@example.org') }, { name: 'Ada' }])
    await User.create({ name: 'Ada', email: secret(value) })
    const [{ fullDocument }] = await change
    expect(await User.decrypt(fullDocument)).toMatchObject({ name: 'Ada', email: value })
    await stream.close()
  })
})
