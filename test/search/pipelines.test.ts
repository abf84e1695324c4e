import { Schema } from 'mongoose'
import { named, plugin, provider, refused, secret, useFaults } from '../faults/support'
import { accountModel } from './support'

// An aggregation may ask for an indexed field as long as the field and its index values are those of one record.
const { connection } = useFaults()

let Account: any
let Other: any
let [ada, bob] = ['', '']

beforeEach(async () => {
  Account = accountModel(connection)
  Other = connection.model<any>(named('Other'), new Schema<any>({ email: String, account: Schema.Types.ObjectId }))
  ;[ada, bob] = [secret('ada@example.org'), secret('bob@example.org')]
  await Account.create([{ name: 'Ada', email: ada }, { name: 'Bob', email: bob }, { name: 'Dan' }])
})

const match = (path = 'email') => ({ $match: { [path]: 'x@example.org' } })
const mixed = (value: object) => ({ $replaceWith: { $mergeObjects: ['$$ROOT', value] } })

/** Each may part a field from its index values. */
const parting: [string, () => object[]][] = [
  ['$mergeObjects of another value', () => [mixed({ email: 'x' })]],
  ['$mergeObjects of another index value', () => [mixed({ email_bidx: 'x' })]],
  ['$mergeObjects of what is not known', () => [mixed({ $arrayToObject: '$pairs' })]],
  [
    '$mergeObjects of another record',
    () => [
      { $lookup: { from: Account.collection.name, localField: 'a', foreignField: 'b', as: 'c' } },
      { $unwind: '$c' },
      { $replaceRoot: { newRoot: { $mergeObjects: ['$$ROOT', '$c'] } } },
    ],
  ],
  ['$mergeObjects of many', () => [{ $group: { _id: 1, all: { $mergeObjects: '$$ROOT' } } }, { $replaceWith: '$all' }]],
  ['$cond', () => [{ $replaceWith: { $cond: ['$x', '$$ROOT', { email: 'x' }] } }]],
  ['$ifNull', () => [{ $replaceWith: { $ifNull: ['$other', '$$ROOT'] } }]],
  ['$unsetField', () => [{ $replaceWith: { $unsetField: { field: 'email_bidx', input: '$$ROOT' } } }]],
  [
    '$setField by a name that is computed',
    () => [
      { $replaceWith: { $setField: { field: { $literal: 'x' }, input: '$$ROOT', value: 1 } } },
      { $replaceWith: { $tomorrow: '$$ROOT' } },
    ],
  ],
  [
    '$arrayToObject of some pairs',
    () => [
      {
        $replaceWith: {
          $arrayToObject: {
            $filter: { input: { $objectToArray: '$$ROOT' }, cond: { $ne: ['$$this.k', 'email_bidx'] } },
          },
        },
      },
    ],
  ],
  ['$function', () => [{ $replaceWith: { $function: { body: 'f', args: ['$$ROOT'], lang: 'js' } } }]],
  [
    '$reduce',
    () => [
      {
        $replaceWith: {
          $reduce: { input: '$list', initialValue: '$$ROOT', in: { $mergeObjects: ['$$value', '$$this'] } },
        },
      },
    ],
  ],
  ['$unset', () => [{ $unset: ['email_bidx', 'name'] }]],
  ['$project without it', () => [{ $project: { email_bidx: 0 } }]],
  ['$project of others', () => [{ $project: { name: 1 } }]],
  ['$project of it alone', () => [{ $project: { email_bidx: 1, name: 1 } }]],
  ['$lookup in its place', () => [{ $lookup: { from: 'x', localField: 'a', foreignField: 'b', as: 'email_bidx' } }]],
  ['$unwind in its place', () => [{ $unwind: { path: '$list', includeArrayIndex: 'email_bidx' } }]],
  ['$unionWith what is in the clear', () => [{ $unionWith: Other.collection.name }]],
  [
    '$unionWith what is changed',
    () => [{ $unionWith: { coll: Account.collection.name, pipeline: [{ $project: { name: 1 } }] } }],
  ],
]

test.each(parting)('refused after %s', async (_name, before) => {
  await refused(() => Account.aggregate([...before(), match()]), 'QUERY_REFUSED', /come before it|stored encrypted/)
  await refused(() => Account.collection.aggregate([...before(), match()]).toArray(), 'QUERY_REFUSED')
})

/** Each is of the index values themselves. */
const reading: [string, () => object][] = [
  ['$sort', () => ({ $sort: { email_bidx: 1 } })],
  ['$sortByCount', () => ({ $sortByCount: '$email_bidx' })],
  ['$group', () => ({ $group: { _id: '$email_bidx' } })],
  ['an accumulator', () => ({ $group: { _id: 1, all: { $addToSet: '$email_bidx' } } })],
  ['$project', () => ({ $project: { other: '$email_bidx' } })],
  ['$expr', () => ({ $match: { $expr: { $eq: ['$email_bidx', '$other'] } } })],
  ['$getField', () => ({ $project: { other: { $getField: 'email_bidx' } } })],
  ['$let', () => ({ $project: { other: { $let: { vars: { r: '$$ROOT' }, in: '$$r.email_bidx' } } } })],
  ['$set', () => ({ $set: { email_bidx: 'x' } })],
  ['$set of a part', () => ({ $set: { 'email_bidx.x': 1 } })],
  ['$project of an expression', () => ({ $project: { email_bidx: { $literal: 'x' } } })],
  ['$setField', () => ({ $replaceWith: { $setField: { field: 'email_bidx', input: '$$ROOT', value: 'x' } } })],
  ['$bucket', () => ({ $bucketAuto: { groupBy: '$email_bidx', buckets: 2 } })],
  ['$lookup by it', () => ({ $lookup: { from: 'x', localField: 'email_bidx', foreignField: 'a', as: 'b' } })],
  [
    '$lookup of it',
    () => ({ $lookup: { from: Account.collection.name, localField: 'a', foreignField: 'email_bidx', as: 'b' } }),
  ],
  [
    '$graphLookup',
    () => ({
      $graphLookup: {
        from: Account.collection.name,
        startWith: '$name',
        connectFromField: 'name',
        connectToField: 'email_bidx',
        as: 'b',
      },
    }),
  ],
  [
    '$graphLookup of depth',
    () => ({
      $graphLookup: {
        from: Account.collection.name,
        startWith: '$name',
        connectFromField: 'name',
        connectToField: 'name',
        as: 'b',
        depthField: 'email_bidx',
      },
    }),
  ],
  ['$setWindowFields', () => ({ $setWindowFields: { sortBy: { email_bidx: 1 }, output: {} } })],
  ['$densify', () => ({ $densify: { field: 'email_bidx', range: { step: 1, bounds: 'full' } } })],
  ['$where', () => ({ $match: { $where: 'this.email_bidx == 1' } })],
  ['$jsonSchema', () => ({ $match: { $jsonSchema: { properties: { email_bidx: { bsonType: 'binData' } } } } })],
]

test.each(reading)('refused of index values: %s', async (_name, stage) => {
  await refused(() => Account.aggregate([stage()]), 'QUERY_REFUSED', /email_bidx\S* holds wrapped keys or index values/)
})

test('refused of index values outside an aggregation', async () => {
  const message = /email_bidx holds wrapped keys or index values/
  await refused(() => Account.find().sort('email_bidx'), 'QUERY_REFUSED', message)
  await refused(
    () => Account.findOneAndUpdate({}, { name: 'x' }, { sort: { email_bidx: 1 } }),
    'QUERY_REFUSED',
    message,
  )
  await refused(() => Account.distinct('email_bidx'), 'QUERY_REFUSED', message)
  await refused(() => Account.find({ $expr: { $gt: ['$email_bidx', 'x'] } }), 'QUERY_REFUSED', message)
  await refused(() => Account.find({}, { other: '$email_bidx' }), 'QUERY_REFUSED', message)
  await refused(() => Account.find({ $where: 'this.email_bidx' }), 'QUERY_REFUSED', message)
  expect(await Account.countDocuments({ email_bidx: { $exists: true } })).toBe(2)
})

/** Each leaves records whole, so that those of Bob are found. */
const whole: [string, () => object[]][] = [
  ['$addFields', () => [{ $addFields: { other: '$name', 'a.b': 1 } }, { $unset: 'other' }]],
  ['$project without another', () => [{ $project: { note_bidx: 0, other: 0 } }]],
  ['$replaceRoot by the record', () => [{ $addFields: { copy: '$$ROOT' } }, { $replaceRoot: { newRoot: '$copy' } }]],
  [
    '$first of each group',
    () => [{ $group: { _id: '$name', one: { $first: '$$ROOT' } } }, { $replaceRoot: { newRoot: '$one' } }],
  ],
  [
    'all of each group',
    () => [
      { $group: { _id: 1, all: { $push: '$$ROOT' } } },
      { $unwind: '$all' },
      { $replaceRoot: { newRoot: '$all' } },
    ],
  ],
  [
    '$facet',
    () => [
      { $facet: { a: [{ $match: { name: { $ne: 'x' } } }] } },
      { $unwind: '$a' },
      { $replaceRoot: { newRoot: '$a' } },
    ],
  ],
]

test.each(whole)('found after %s', async (_name, before) => {
  const found = await Account.aggregate([...before(), { $match: { email: bob.toUpperCase() } }])
  expect(found.map(({ name }: any) => name)).toEqual(['Bob'])
})

test('a record that is joined is found', async () => {
  const { _id } = await Account.findOne({ email: bob })
  await Other.create({ account: _id })
  const join = { $lookup: { from: Account.collection.name, localField: 'account', foreignField: '_id', as: 'by' } }
  const pipeline = [join, { $unwind: '$by' }, { $replaceRoot: { newRoot: '$by' } }, { $match: { email: bob } }]
  expect(await Other.aggregate(pipeline)).toMatchObject([{ name: 'Bob' }])
  const within = [join, { $unwind: '$by' }, { $match: { 'by.email': bob } }]
  expect(await Other.aggregate(within)).toMatchObject([{ by: { name: 'Bob' } }])
  const parted = [join, { $unwind: '$by' }, { $unset: 'by.email_bidx' }, match('by.email')]
  await refused(() => Other.aggregate(parted), 'QUERY_REFUSED', /come before it/)
})

test('a union of one collection with itself is asked by the index', async () => {
  const pipeline = [{ $unionWith: Account.collection.name }, { $match: { email: bob } }]
  const { sent } = await sentBy(() => Account.aggregate(pipeline))
  expect(Object.keys(sent.at(-1).$match)).toEqual(['email_bidx'])
})

/** The pipeline that an aggregation sends, also where the server that is embedded in the tests does not know a stage of it. */
async function sentBy(run: () => Promise<unknown>): Promise<{ sent: any[]; found: unknown }> {
  const sent: any[][] = []
  const listen = ({ commandName, command }: any) => void (commandName === 'aggregate' && sent.push(command.pipeline))
  connection.getClient().on('commandStarted', listen)
  const found = await run().catch((error) => expect(error.message).toMatch(/does not implement/))
  connection.getClient().off('commandStarted', listen)
  return { sent: sent.at(-1) ?? [], found }
}

test('a field of a model without an index is refused all the same', async () => {
  const schema = new Schema<any>({}).plugin(plugin, { provider, fields: { email: String } })
  const Plain = connection.model<any>(named('Plain'), schema)
  await refused(() => Plain.aggregate([mixed({ email: 'x' }), match()]), 'QUERY_REFUSED', /stored encrypted/)
})

describe('$lookup by an indexed field', () => {
  const join = (from: any, localField: string, foreignField = localField, more: object = {}) => ({
    $lookup: { from: from.collection.name, localField, foreignField, as: 'same', ...more },
  })

  test('joins a collection with itself by the index values', async () => {
    const People = accountModel(connection, {}, { type: String, blindIndex: true })
    const Child = People.discriminator(named('Child'), new Schema<any>({ of: String }))
    await People.create([
      { name: 'Ada', email: ada },
      { name: 'Bob', email: bob },
    ])
    await Child.create({ name: 'Byron', email: ada })
    const pipeline = [{ $match: { name: 'Ada' } }, join(People, 'email')]
    const before = JSON.stringify(pipeline)
    const names = async (model: any, stages: object[]) =>
      (await model.aggregate(stages))[0].same.map(({ name }: any) => name).sort()
    expect(await names(People, pipeline)).toEqual(['Ada', 'Byron'])
    expect(JSON.stringify(pipeline)).toBe(before)
    expect(await names(Child, [join(People, 'email')])).toEqual(['Ada', 'Byron'])
    const twice = [...pipeline, { $unwind: '$same' }, { $match: { 'same.name': 'Byron' } }]
    expect(await names(People, [...twice, { $addFields: { by: '$same' } }, join(People, 'by.email', 'email')])).toEqual(
      ['Ada', 'Byron'],
    )
    const { sent } = await sentBy(() => People.aggregate(pipeline))
    expect(sent.at(-1).$lookup).toMatchObject({ localField: 'email_bidx', foreignField: 'email_bidx', as: 'same' })
  })

  test('is refused with whatever has other index values', async () => {
    const Another = accountModel(connection)
    // One schema, and thus one field, of two models.
    const Twin = connection.model<any>(named('Twin'), Account.schema)
    const message = /can be compared only with those of the same field of the same model\. Join by a path in the clear/
    for (const act of [
      () => Account.aggregate([join(Another, 'email')]),
      () => Account.aggregate([join(Twin, 'email')]),
      () => Account.aggregate([join(Account, 'name', 'email')]),
      () => Account.aggregate([join(Account, 'email', 'name')]),
      () => Account.aggregate([join(Other, 'email')]),
      () => Other.aggregate([join(Account, 'email')]),
      () => Account.aggregate([join(Account, 'email', 'note')]),
    ])
      await refused(act, 'QUERY_REFUSED', message)
    await refused(() => Account.aggregate([{ $unset: 'email_bidx' }, join(Account, 'email')]), 'QUERY_REFUSED')
    await refused(() => Account.aggregate([join(Account, 'note')]), 'QUERY_REFUSED', /stored encrypted/)
    const graph = { from: Account.collection.name, connectFromField: 'email', connectToField: 'email', as: 'same' }
    await refused(() => Account.aggregate([{ $graphLookup: { ...graph, startWith: '$name' } }]), 'QUERY_REFUSED')
    await refused(() => Account.aggregate([{ $graphLookup: { ...graph, startWith: '$email' } }]), 'QUERY_REFUSED')
  })

  test('asks for a value within its pipeline', async () => {
    const pipeline = [join(Account, 'account', '_id', { pipeline: [{ $match: { email: bob } }] })]
    const { sent } = await sentBy(() => Other.aggregate(pipeline))
    expect(Object.keys(sent[0].$lookup.pipeline[0].$match)).toEqual(['email_bidx'])
    const bound = { from: Account.collection.name, let: { e: '$email' }, as: 'same' }
    const byVariable = [{ $match: { $expr: { $eq: ['$email', '$$e'] } } }]
    await refused(() => Other.aggregate([{ $lookup: { ...bound, pipeline: byVariable } }]), 'QUERY_REFUSED')
    const filtered = [{ $lookup: { ...bound, pipeline: [{ $match: { email: { $gt: 'x' } } }] } }]
    await refused(() => Other.aggregate(filtered), 'QUERY_REFUSED', /equal values alone/)
  })
})

describe('populate() with a match on an indexed field', () => {
  let Post: any
  let Blog: any
  beforeEach(async () => {
    const ref = { type: Schema.Types.ObjectId, ref: Account.modelName }
    Post = connection.model<any>(named('Post'), new Schema<any>({ title: String, by: ref, all: [ref] }))
    const post = { type: Schema.Types.ObjectId, ref: Post.modelName }
    Blog = connection.model<any>(named('Blog'), new Schema<any>({ posts: [post] }))
    const accounts = await Account.find().sort({ name: 1 })
    const posts = await Post.create(accounts.map(({ _id, name }: any) => ({ title: name, by: _id, all: accounts })))
    await Blog.create({ posts })
  })

  test.each<[string, () => object, string]>([
    ['a value', () => ({ email: bob }), 'Bob'],
    ['$eq', () => ({ email: { $eq: bob.toUpperCase() } }), 'Bob'],
    ['$in', () => ({ email: { $in: [ada, bob] } }), 'Ada Bob'],
    ['$ne', () => ({ email: { $ne: bob } }), 'Ada Dan'],
    ['$nin', () => ({ email: { $nin: [bob, null] } }), 'Ada'],
    ['null', () => ({ email: null }), 'Dan'],
    ['$or', () => ({ $or: [{ email: bob }, { name: 'Dan' }] }), 'Bob Dan'],
  ])('%s', async (_name, match, expected) => {
    const names = (found: any[]) => found.flatMap((each) => each?.name ?? []).join(' ')
    const one = await Post.find().sort({ title: 1 }).populate({ path: 'by', match: match() })
    expect(names(one.map(({ by }: any) => by))).toBe(expected)
    const many = await Post.findOne()
      .populate({ path: 'all', match: match(), options: { sort: { name: 1 } } })
      .lean()
    expect(names(many.all)).toBe(expected)
    const deep = await Blog.findOne().populate({
      path: 'posts',
      options: { sort: { title: 1 } },
      populate: { path: 'by', match: match() },
    })
    expect(names(deep.posts.map(({ by }: any) => by))).toBe(expected)
    const late = await (await Post.findOne({ title: 'Bob' })).populate({ path: 'all', match: match() })
    expect(names(late.all)).toBe(expected)
    for await (const post of Post.find({ title: 'Bob' }).populate({ path: 'all', match: match() }).cursor())
      expect(names(post.all)).toBe(expected)
  })

  test('ranges are refused', async () => {
    for (const match of [{ email: { $gt: 'x' } }, { email: /x/ }, { $or: [{ email: { $lt: 'x' } }] }]) {
      for (const act of [
        () => Post.find().populate({ path: 'by', match }),
        () => Post.find().populate({ path: 'all', match }).lean(),
        () => Blog.find().populate({ path: 'posts', populate: { path: 'by', match } }),
        async () => (await Post.findOne()).populate({ path: 'all', match }),
      ])
        await refused(act, 'QUERY_REFUSED', /equal values alone/)
    }
  })
})
