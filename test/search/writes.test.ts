import mongoose, { Schema } from 'mongoose'
import { plugin, provider, refused, secret, useFaults } from '../faults/support'
import { accountModel, bytesAt } from './support'

// Every way of writing keeps index values as they are to be. Records are found by them, and looked at as they are stored.
const { connection, raw, tamper, plant } = useFaults()
const { Binary } = mongoose.mongo

let Account: any
const ada = () => secret('ada@example.org')
const bob = () => secret('bob@example.org')

beforeEach(async () => {
  Account = accountModel(connection)
  await Account.init()
})

/** The names of those that are found by an address; and each record has an index value if and only if it has an envelope. */
async function named(email: unknown): Promise<string[]> {
  for (const record of await raw(Account)) {
    expect(bytesAt(record) === undefined).toBe((record.email ?? null) === null)
    if (bytesAt(record) === undefined) expect(record).not.toHaveProperty('email_bidx')
  }
  return (await Account.find({ email }).sort({ name: 1 })).map(({ name }: any) => name)
}

const existing = async () => (await Account.create({ name: 'Ada', email: ada() }))._id

const changes: [string, (id: unknown) => Promise<unknown>][] = [
  ['save', async (id) => (await Account.findById(id)).set({ email: bob() }).save()],
  ['a save of a locked record', async (id) => Object.assign(await Account.findById(id), { email: bob() }).save()],
  ['updateOne', (id) => Account.updateOne({ _id: id }, { email: bob() })],
  ['updateOne by the address', () => Account.updateOne({ email: ada() }, { $set: { email: bob() } })],
  ['updateMany', () => Account.updateMany({ name: 'Ada' }, { email: bob() })],
  ['findOneAndUpdate', () => Account.findOneAndUpdate({ email: ada() }, { email: bob() }, { new: true })],
  ['findByIdAndUpdate', (id) => Account.findByIdAndUpdate(id, { email: bob() })],
  ['replaceOne', (id) => Account.replaceOne({ _id: id }, { name: 'Ada', email: bob() })],
  ['findOneAndReplace', (id) => Account.findOneAndReplace({ _id: id }, { name: 'Ada', email: bob() })],
  ['bulkWrite', (_id) => Account.bulkWrite([{ updateOne: { filter: { email: ada() }, update: { email: bob() } } }])],
  [
    'bulkWrite of a replacement',
    (id) => Account.bulkWrite([{ replaceOne: { filter: { _id: id }, replacement: { name: 'Ada', email: bob() } } }]),
  ],
  [
    'bulkSave',
    async (id) => {
      const doc = await Account.findById(id)
      doc.email = bob()
      await Account.bulkSave([doc])
    },
  ],
  ['the collection', (id) => Account.collection.updateOne({ _id: id }, { $set: { email: bob() } })],
  ['the collection, replacing', (id) => Account.collection.replaceOne({ _id: id }, { name: 'Ada', email: bob() })],
  [
    'connection.bulkWrite',
    (id) =>
      connection.bulkWrite([
        { model: Account.modelName, name: 'updateOne', filter: { _id: id }, update: { email: bob() } } as never,
      ]),
  ],
]

test.each(changes)('a change by %s', async (_name, change) => {
  const id = await existing()
  await change(id)
  expect(await named(bob())).toEqual(['Ada'])
  expect(await named(ada())).toEqual([])
  expect(await (await Account.findById(id)).email).toBe(bob())
})

const clearings: [string, (id: unknown) => Promise<unknown>][] = [
  ['save of null', async (id) => (await Account.findById(id)).set({ email: null }).save()],
  ['save of undefined', async (id) => (await Account.findById(id)).set({ email: undefined }).save()],
  ['$set of null', (id) => Account.updateOne({ _id: id }, { email: null })],
  ['$unset', (id) => Account.updateOne({ _id: id }, { $unset: { email: 1 } })],
  ['$unset by the address', () => Account.updateMany({ email: ada() }, { $unset: { email: 1 } })],
  ['$unset of a pipeline', (id) => Account.updateOne({ _id: id }, [{ $unset: ['email'] }], { updatePipeline: true })],
  ['a replacement without it', (id) => Account.replaceOne({ _id: id }, { name: 'Ada' })],
  ['bulkWrite', (id) => Account.bulkWrite([{ updateOne: { filter: { _id: id }, update: { $set: { email: null } } } }])],
  ['the collection', (id) => Account.collection.updateOne({ _id: id }, { $set: { email: null } })],
]

test.each(clearings)('it is cleared by %s', async (_name, clear) => {
  await clear(await existing())
  expect(await named(ada())).toEqual([])
  expect(await named(null)).toEqual(['Ada'])
  await Account.create({ name: 'Another', email: ada() })
  expect(await named(ada())).toEqual(['Another'])
})

const creations: [string, () => Promise<unknown>][] = [
  ['create', () => Account.create({ name: 'Ada', email: ada() })],
  [
    'insertMany',
    () =>
      Account.insertMany([
        { name: 'Ada', email: ada() },
        { name: 'Bob', email: bob() },
      ]),
  ],
  ['a lean insertMany', () => Account.insertMany([{ name: 'Ada', email: ada() }], { lean: true })],
  ['insertOne', () => Account.insertOne({ name: 'Ada', email: ada() })],
  ['the collection', () => Account.collection.insertOne({ name: 'Ada', email: ada() })],
  ['bulkWrite', () => Account.bulkWrite([{ insertOne: { document: { name: 'Ada', email: ada() } } }])],
  ['bulkSave', () => Account.bulkSave([new Account({ name: 'Ada', email: ada() })])],
  ['an upsert', () => Account.updateOne({ name: 'Ada' }, { email: ada() }, { upsert: true })],
  ['an upsert by the address', () => Account.updateOne({ email: ada() }, { name: 'Ada' }, { upsert: true })],
  [
    'an upsert by one of one address',
    () => Account.updateOne({ email: { $in: [ada()] } }, { name: 'Ada' }, { upsert: true }),
  ],
  [
    'an upsert by $and',
    () =>
      Account.updateMany({ $and: [{ email: { $eq: ada() } }] }, { $setOnInsert: { name: 'Ada' } }, { upsert: true }),
  ],
  [
    'an upsert that finds by one and sets another',
    () => Account.findOneAndUpdate({ email: bob() }, { name: 'Ada', email: ada() }, { upsert: true }),
  ],
  [
    'an upsert by a replacement',
    () => Account.replaceOne({ email: bob() }, { name: 'Ada', email: ada() }, { upsert: true }),
  ],
  [
    'an upsert in bulk',
    () =>
      Account.bulkWrite([{ updateOne: { filter: { email: ada() }, update: { $set: { name: 'Ada' } }, upsert: true } }]),
  ],
]

test.each(creations)('a record by %s', async (_name, create) => {
  await create()
  expect(await named(ada())).toEqual(['Ada'])
  expect(await (await Account.findOne({ email: ada() })).email).toBe(ada())
})

test('an upsert by the address changes who has it', async () => {
  await existing()
  await Account.updateOne({ email: ada() }, { name: 'Countess' }, { upsert: true })
  expect(await named(ada())).toEqual(['Countess'])
  expect(await raw(Account)).toHaveLength(1)
})

test('upserts by one address at once make one record', async () => {
  await Promise.all(
    Array.from({ length: 6 }, () => Account.updateOne({ email: ada() }, { name: 'Ada' }, { upsert: true })),
  )
  expect(await named(ada())).toEqual(['Ada'])
})

test('a bulk write updates and inserts by addresses of which each is another', async () => {
  await Account.create({ name: 'Ada', email: ada() })
  const other = (local: string) => secret(`${local}@example.org`)
  const upsert = (email: string, name: string) => ({
    updateOne: { filter: { email }, update: { $set: { name } }, upsert: true },
  })
  const gone = {
    updateOne: { filter: { email: other('nobody') }, update: { $set: { email: other('somebody') } } },
  }
  const { matchedCount, upsertedCount } = await Account.bulkWrite([
    upsert(ada(), 'Countess'),
    upsert(other('eve'), 'Eve'),
    upsert(other('bob'), 'Bob'),
    gone,
  ])
  expect([matchedCount, upsertedCount]).toEqual([1, 2])
  expect(await named(ada())).toEqual(['Countess'])
  expect(await named(other('eve'))).toEqual(['Eve'])
  expect(await named(other('bob'))).toEqual(['Bob'])
  await refused(
    () => Account.bulkWrite([upsert(other('dan'), 'Dan'), upsert(other('dan'), 'Daniel')]),
    'UPDATE_REFUSED',
  )
})

test('an upsert by an address that an operation before it in the bulk may store is refused', async () => {
  const act = () =>
    Account.bulkWrite([
      { insertOne: { document: { name: 'Ada', email: ada() } } },
      { updateOne: { filter: { email: ada() }, update: { $set: { name: 'Countess' } }, upsert: true } },
    ])
  await refused(act, 'UPDATE_REFUSED', /an operation before it may make one/)
  expect(await raw(Account)).toEqual([])
})

test.each([
  ['a pipeline', [{ $set: { name: 'Ada' } }]],
  ['an update that sets it to nothing', { $set: { name: 'Ada' }, $setOnInsert: { email: null } }],
])('an upsert by the address is refused with %s', async (_name, update) => {
  await refused(
    () => Account.collection.updateOne({ email: ada() }, update, { upsert: true }),
    'UPDATE_REFUSED',
    /not plain which email/,
  )
  expect(await raw(Account)).toEqual([])
})

test.each([
  ['one of several', () => ({ $in: [ada(), bob()] })],
  ['another than one', () => ({ $ne: ada() })],
  ['not another than one', () => ({ $not: { $ne: ada() } })],
])('an upsert by %s is refused unless it says what to store', async (_name, conditionOf) => {
  const email = conditionOf()
  for (const filter of [{ email }, { $nor: [{ $nor: [{ email }] }] }])
    await refused(
      () => Account.updateOne(filter, { name: 'Ada' }, { upsert: true }),
      'UPDATE_REFUSED',
      /not plain which/,
    )
  expect(await raw(Account)).toEqual([])
  await Account.updateOne({ email, name: 'x' }, { name: 'Ada', email: secret('cid@example.org') }, { upsert: true })
  expect(await named('cid@example.org')).toEqual(['Ada'])
})

test('$setOnInsert of nothing leaves what is stored', async () => {
  await existing()
  await Account.collection.updateOne({ name: 'Ada' }, { $setOnInsert: { email: null } }, { upsert: true })
  expect(await named(ada())).toEqual(['Ada'])
})

test('undefined is refused where only the driver knows whether it is stored', async () => {
  const id = await existing()
  await refused(() => Account.collection.updateOne({ _id: id }, { $set: { email: undefined } }), 'UPDATE_REFUSED')
  await Account.updateOne({ _id: id }, { $set: { email: undefined, name: 'Countess' } })
  expect(await named(ada())).toEqual(['Countess'])
})

test('a change of another field sends neither, and needs no key', async () => {
  const id = await existing()
  const [before] = await raw(Account)
  const doc = await Account.findById(id)
  doc.name = 'Countess'
  await doc.save()
  const [after] = await raw(Account)
  expect([after.name, after.email, after.email_bidx]).toEqual(['Countess', before.email, before.email_bidx])
})

test('a rotation leaves it', async () => {
  const id = await existing()
  await (await Account.findById(id)).rotateKmsKey()
  expect(await named(ada())).toEqual(['Ada'])
})

describe('what is stored is put back', () => {
  test('as it was', async () => {
    await existing()
    const [record] = await raw(Account)
    await Account.collection.deleteOne({ _id: record._id })
    await Account.collection.insertOne(record)
    expect(await named(ada())).toEqual(['Ada'])
    const { email, email_bidx } = record
    await Account.collection.updateOne({ _id: record._id }, { $set: { email, email_bidx } })
    expect(await named(ada())).toEqual(['Ada'])
  })

  test.each(['insertOne', 'updateOne', 'replaceOne', 'bulkWrite'])('without its index value, by %s', async (method) => {
    await existing()
    const [{ email_bidx, ...record }] = await raw(Account)
    const filter = { _id: record._id }
    const args: Record<string, unknown[]> = {
      insertOne: [{ ...record, _id: new mongoose.Types.ObjectId() }],
      updateOne: [filter, { $set: { email: record.email } }],
      replaceOne: [filter, record],
      bulkWrite: [[{ updateOne: { filter, update: { $set: { email: record.email } } } }]],
    }
    await refused(() => Account.collection[method](...args[method]!), 'WRITE_REFUSED', /without email_bidx/)
    expect(await named(ada())).toEqual(['Ada'])
  })

  test.each([
    ['alone', { email_bidx: new Binary(Buffer.alloc(32)) }],
    ['beside nothing', { email: null, email_bidx: new Binary(Buffer.alloc(32)) }],
  ])('an index value %s', async (_name, values) => {
    const id = await existing()
    const refusedBy = (act: () => unknown) => refused(act, 'STORED_PATH_ASSIGNED', /email_bidx/)
    await refusedBy(() => Account.collection.updateOne({ _id: id }, { $set: values }))
    await refusedBy(() => Account.updateOne({ _id: id }, { $set: values }))
    await refusedBy(() => Account.collection.insertOne({ ...values }))
    await refusedBy(() => Account.collection.replaceOne({ _id: id }, { ...values }))
    expect(await named(ada())).toEqual(['Ada'])
  })

  test.each([
    ['$unset', { $unset: { email_bidx: 1 } }],
    ['$rename', { $rename: { email_bidx: 'other' } }],
    ['$rename to it', { $rename: { name: 'email_bidx' } }],
    ['a pipeline', [{ $set: { email_bidx: 1 } }]],
    ['$unset of a pipeline', [{ $unset: 'email_bidx' }]],
    ['$inc', { $inc: { email_bidx: 1 } }],
  ])('an index value is not changed by %s', async (_name, update) => {
    await existing()
    await refused(() => Account.collection.updateOne({}, update), 'STORED_PATH_ASSIGNED', /email_bidx/)
    expect(await named(ada())).toEqual(['Ada'])
  })

  test('a document is not given another one', async () => {
    const id = await existing()
    const doc = await Account.findById(id).select('+email_bidx')
    doc.email_bidx = new Binary(Buffer.alloc(32))
    doc.set('email_bidx', Buffer.alloc(32))
    doc.set({ email_bidx: Buffer.alloc(32), name: 'Countess' })
    await doc.save()
    expect(await named(ada())).toEqual(['Countess'])
    const made = await Account.create({ name: 'Bob', email_bidx: Buffer.alloc(32) })
    expect((await raw(Account)).find((each) => each._id.equals(made._id))).not.toHaveProperty('email_bidx')
  })
})

test('a record is shown without it', async () => {
  const id = await existing()
  const doc = await Account.findById(id)
  expect(doc.email_bidx).toBeUndefined()
  const loaded = await Account.findById(id).select('+email_bidx')
  for (const shown of [doc, loaded]) {
    expect(Object.keys(shown.toObject())).not.toContain('email_bidx')
    expect(JSON.stringify(shown)).not.toContain('bidx')
  }
  expect(await Account.findById(id).lean()).not.toHaveProperty('email_bidx')
  const lean = await Account.findById(id).select('+email_bidx').lean()
  expect(await Account.decrypt(lean)).not.toHaveProperty('email_bidx')
})

test('a document that was loaded with it is copied and replaced', async () => {
  const id = await existing()
  const doc = await Account.findById(id).select('+email_bidx')
  doc.name = 'Countess'
  await Account.replaceOne({ _id: id }, doc)
  expect(await named(ada())).toEqual(['Countess'])
})

test('a document that was loaded with it is replaced without a value', async () => {
  const id = await existing()
  const doc = await Account.findById(id).select('+email_bidx')
  doc.email = null
  await Account.replaceOne({ _id: id }, doc)
  expect(await named(ada())).toEqual([])
})

test('a record that was deleted is put back as it was loaded, locked', async () => {
  const id = await existing()
  const doc = await Account.findById(id)
  await Account.deleteOne({ email: ada() })
  await Account.collection.insertOne(doc)
  expect(await named(ada())).toEqual(['Ada'])
  expect(await (await Account.findById(id)).email).toBe(ada())
})

test('an updateMany that gives several one value ends at the second', async () => {
  await Account.create([{ name: 'Ada' }, { name: 'Ada' }])
  const error = await Account.updateMany({ name: 'Ada' }, { email: ada() }).catch((thrown: unknown) => thrown)
  expect(`${error.message} ${error.stack} ${error.cause} ${error.failures?.[0].error}`).not.toMatch(/bidx/)
  expect(error.cause).toMatchObject({ code: 11000 })
  expect(await named(ada())).toEqual(['Ada'])
})

const duplicates: [string, () => Promise<unknown>][] = [
  ['insertMany', () => Account.insertMany([{ email: ada() }])],
  ['an unordered insertMany', () => Account.insertMany([{ email: ada() }], { ordered: false })],
  ['updateOne', () => Account.updateOne({ name: 'Bob' }, { email: ada() })],
  ['findOneAndUpdate', () => Account.findOneAndUpdate({ name: 'Bob' }, { email: ada() })],
  ['replaceOne', () => Account.replaceOne({ name: 'Bob' }, { email: ada() })],
  ['bulkWrite', () => Account.bulkWrite([{ updateOne: { filter: { name: 'Bob' }, update: { email: ada() } } }])],
  ['bulkSave', async () => Account.bulkSave([(await Account.findOne({ name: 'Bob' })).set({ email: ada() })])],
  [
    'connection.bulkWrite',
    () =>
      connection.bulkWrite([
        { model: Account.modelName, name: 'updateOne', filter: { name: 'Bob' }, update: { email: ada() } } as never,
      ]),
  ],
]

test.each(duplicates)('a duplicate by %s names the field', async (_name, act) => {
  await existing()
  await Account.create({ name: 'Bob' })
  const index = bytesAt((await raw(Account))[0])
  const error: any = await act().catch((thrown: unknown) => thrown)
  const said = [
    error.message,
    error.stack,
    error.errorResponse,
    error.writeErrors,
    error.cause,
    [...(error.writeErrors?.values?.() ?? [])],
  ]
  const text = said.map((each) => `${each} ${JSON.stringify(each)}`).join('\n')
  expect(text).toMatch(/dup key: \{ email: <encrypted> \}/)
  expect(text).not.toMatch(/bidx|BinData/i)
  expect(text.toLowerCase()).not.toContain(index)
  expect(await named(ada())).toEqual(['Ada'])
})

test('a duplicate is told of the field whose name ends as that of another', async () => {
  const fields = { email: { type: String, unique: true }, work_email: { type: String, unique: true } }
  const schema = new Schema<any>({}).plugin(plugin, { provider, fields }).index({ _id: 1, work_email_bidx: 1 })
  const Both = connection.model<any>('Both', schema)
  await Both.init()
  await Both.create({ email: ada(), work_email: bob() })
  const error: any = await Both.create({ work_email: bob() }).catch((thrown: unknown) => thrown)
  expect(error.message).toMatch(/index: work_email_1 dup key: \{ work_email: <encrypted> \}$/)
  expect(error.keyPattern).toEqual({ work_email: 1 })
})

test('a record whose envelope is damaged is found all the same', async () => {
  await existing()
  await tamper(Account, {}, { $set: { email: new Binary(Buffer.alloc(40), 0x80) } })
  expect(await named(ada())).toEqual(['Ada'])
  await plant(Account, { name: 'Plain', email: 'x' })
  expect((await Account.find({ email: bob() })).length).toBe(0)
})
