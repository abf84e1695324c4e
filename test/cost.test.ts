import mongoose, { Schema } from 'mongoose'
import { channels, KeyProviderError, withAudit } from '../lib'
import { type CountingKms, countingKms } from './counting'
import { useProxy } from './proxied'
import { modelOf, secret, sweep } from './support'

const connection = mongoose.createConnection()
const server = useProxy([connection])
const bound = 4
let kms: CountingKms
let User: any

beforeEach(() => {
  // Stands in every value of these tests.
  secret('@cost.example')
  kms = countingKms({ concurrency: bound })
  User = modelOf(connection, new Schema({ name: String, count: Number }), {
    provider: kms,
    fields: { email: String, phone: String, note: String },
  })
})
afterEach(async () => {
  await sweep(connection)
  await User.collection.deleteMany({})
})

/** What an operation sends to the database and to the KMS, as names in their order. */
async function costOf(
  operation: () => PromiseLike<unknown>,
): Promise<{ commands: string[]; calls: readonly string[] }> {
  await User.init()
  server.clearCommands()
  kms.clear()
  await operation()
  return { commands: server.commands.map(({ name }) => name), calls: [...kms.calls] }
}

const stored = () => User.create({ name: 'Ada', email: 'ada@cost.example', note: 'note@cost.example' })

async function withoutKey() {
  return (await User.collection.insertOne({ name: 'Ada' })).insertedId
}

describe('one field of one record', () => {
  const updates: readonly (readonly [string, string, (id: unknown) => PromiseLike<unknown>])[] = [
    ['updateOne()', 'update', (_id) => User.updateOne({ _id }, { email: 'new@cost.example' })],
    ['updateOne() by another path', 'update', () => User.updateOne({ name: 'Ada' }, { email: 'new@cost.example' })],
    ['findOneAndUpdate()', 'findAndModify', (_id) => User.findOneAndUpdate({ _id }, { email: 'new@cost.example' })],
    [
      'findByIdAndUpdate() with upsert',
      'findAndModify',
      (_id) => User.findByIdAndUpdate(_id, { email: 'new@cost.example' }, { upsert: true }),
    ],
    ['replaceOne()', 'update', (_id) => User.replaceOne({ _id }, { email: 'new@cost.example' })],
    [
      'bulkWrite()',
      'update',
      (_id) => User.bulkWrite([{ updateOne: { filter: { _id }, update: { email: 'new@cost.example' } } }]),
    ],
  ]

  test.each(updates)('%s is one read and one call to the KMS more', async (name, command, update) => {
    const { _id } = await stored()
    const call = name === 'replaceOne()' ? 'generate' : 'unwrap'
    expect(await costOf(() => update(_id))).toEqual({ commands: ['find', command], calls: [call] })
  })

  test.each(updates)('%s of a record without a key is the same', async (_name, command, update) => {
    const _id = await withoutKey()
    expect(await costOf(() => update(_id))).toEqual({ commands: ['find', command], calls: ['generate'] })
  })

  test('an upsert that inserts is the same', async () => {
    const upsert = () => User.updateOne({ name: 'Eve' }, { email: 'eve@cost.example' }, { upsert: true })
    expect(await costOf(upsert)).toEqual({ commands: ['find', 'update'], calls: ['generate'] })
  })

  test('a save is no read and one call, and no call where the record is open', async () => {
    const record = await User.findById((await stored())._id)
    record.phone = '1@cost.example'
    expect(await costOf(() => record.save())).toEqual({ commands: ['update'], calls: ['unwrap'] })
    record.phone = '2@cost.example'
    expect(await costOf(() => record.save())).toEqual({ commands: ['update'], calls: [] })
  })

  test('null, $unset and clear paths are no read and no call', async () => {
    const { _id } = await stored()
    for (const update of [{ email: null }, { $unset: { note: 1 } }, { name: 'Eve' }])
      expect(await costOf(() => User.updateOne({ _id }, update))).toEqual({ commands: ['update'], calls: [] })
  })

  test('an update that finds nothing is no call', async () => {
    expect(await costOf(() => User.updateOne({ name: 'nobody' }, { email: 'new@cost.example' }))).toEqual({
      commands: ['find', 'update'],
      calls: [],
    })
  })
})

test('a record is created with one insert and one call', async () => {
  expect(await costOf(stored)).toEqual({ commands: ['insert'], calls: ['generate'] })
})

test('a record is opened with one call for all its fields, and a new document of it with another', async () => {
  const { _id } = await stored()
  const record = await User.findById(_id)
  expect((await costOf(() => Promise.all([record.email, record.note, record.decrypt()]))).calls).toEqual(['unwrap'])
  expect((await costOf(() => record.decrypt())).calls).toEqual([])
})

test('a record that is loaded and saved untouched sends nothing but the look that Mongoose takes', async () => {
  const { _id } = await stored()
  const record = await User.findById(_id)
  const plain = connection.model(`Plain${User.modelName}`, new Schema({ name: String }), User.collection.name)
  const other = (await plain.findById(_id))!
  const own = await costOf(() => other.save())
  expect(await costOf(() => record.save())).toEqual(own)
  expect(own).toEqual({ commands: ['find'], calls: [] })
  await record.email
  expect(await costOf(() => record.save())).toEqual(own)
  expect(await costOf(() => User.bulkSave([record]))).toEqual({ commands: [], calls: [] })
})

test('a rotation is one read, one call for each key and one for the new key', async () => {
  const record = await User.findById((await stored())._id)
  expect(await costOf(() => record.rotateKmsKey())).toEqual({
    commands: ['find', 'update'],
    calls: ['unwrap', 'generate'],
  })
})

describe('many records at once', () => {
  const emails = (count: number) => Array.from({ length: count }, (_, index) => `number${index}@cost.example`)
  const insert = (count: number) =>
    User.insertMany(emails(count).map((email, count) => ({ name: 'many', count, email })))

  test('insertMany() of 500 keeps to the bound of the provider', async () => {
    const { commands, calls } = await costOf(() => insert(500))
    expect(commands).toEqual(['insert'])
    expect(calls).toHaveLength(500)
    expect(kms.most).toBe(bound)
  })

  test('bulkSave() of 500 new documents keeps to it', async () => {
    const docs = emails(500).map((email) => new User({ email }))
    const { commands, calls } = await costOf(() => User.bulkSave(docs))
    expect(commands).toEqual(['insert'])
    expect(calls).toHaveLength(500)
    expect(kms.most).toBe(bound)
  })

  test('bulkSave() of 500 locked documents keeps to it, without a read', async () => {
    await insert(500)
    const docs = await User.find()
    for (const doc of docs) doc.phone = `${doc.count}@cost.example`
    const { commands, calls } = await costOf(() => User.bulkSave(docs))
    expect(commands).toEqual(['update'])
    expect(calls).toHaveLength(500)
    expect(kms.most).toBe(bound)
  })

  test('updateMany() by a list of _ids sends the list once', async () => {
    await insert(50)
    const ids = await User.find().distinct('_id')
    await User.init()
    server.clearCommands()
    await User.updateMany({ _id: { $in: ids }, name: 'many' }, { phone: 'all@cost.example' })
    const sent = server.commands.flatMap(({ name, command }) =>
      name === 'update' ? (command.updates as unknown[]) : [],
    )
    expect(sent).toHaveLength(50)
    for (const update of sent) expect(JSON.stringify(update)).not.toContain('$in')
  })

  test('bulkWrite() of 250 records by their _ids keeps to it, with one read for a hundred', async () => {
    await insert(250)
    const ids = await User.find().distinct('_id')
    const operations = ids.map((_id: unknown, index: number) => ({
      updateOne: { filter: { _id }, update: { $set: { phone: `${index}@cost.example` } } },
    }))
    const { commands, calls } = await costOf(() => User.bulkWrite(operations))
    expect(commands).toEqual(['find', 'find', 'find', 'update'])
    expect(calls).toHaveLength(250)
    expect(kms.most).toBeLessThanOrEqual(bound)
    for (const [index, _id] of ids.entries())
      expect(await (await User.findById(_id)).phone).toBe(`${index}@cost.example`)
  })

  test('bulkWrite() of 200 by anything else keeps to it, with one read for each operation', async () => {
    await insert(200)
    const operations = Array.from({ length: 200 }, (_, count) => ({
      updateOne: { filter: { count }, update: { $set: { phone: `${count}@cost.example` } } },
    }))
    const { commands, calls } = await costOf(() => User.bulkWrite(operations))
    expect(commands.filter((name) => name === 'find')).toHaveLength(200)
    expect(commands.filter((name) => name !== 'find')).toEqual(['update'])
    expect(calls).toHaveLength(200)
    expect(kms.most).toBeLessThanOrEqual(bound)
  })

  describe('under onLoad', () => {
    beforeEach(async () => {
      User = modelOf(connection, new Schema({ name: String }), {
        provider: kms,
        fields: { email: String },
        decrypt: 'onLoad',
      })
      await User.insertMany(emails(100).map((email) => ({ email })))
    })

    test.each<[string, () => AsyncIterable<any>]>([
      ['a cursor', () => User.find().sort('_id').cursor()],
      ['a cursor with small batches', () => User.find().sort('_id').cursor({ batchSize: 7 })],
      ['a query that is iterated over', () => User.find().sort('_id')],
    ])('%s opens ahead of its reader and keeps to it', async (_way, read) => {
      const seen: string[] = []
      const { calls } = await costOf(async () => {
        for await (const record of read()) seen.push(record.email)
      })
      expect(seen).toEqual(emails(100))
      expect(calls).toHaveLength(100)
      expect(kms.most).toBe(bound)
    })

    test('find() keeps to it', async () => {
      const { calls } = await costOf(async () => {
        for (const record of await User.find()) expect(record.email).toMatch(/^number/)
      })
      expect(calls).toHaveLength(100)
      expect(kms.most).toBe(bound)
    })

    test('find() of lean objects opens nothing', async () => {
      expect((await costOf(() => User.find().batchSize(20).lean())).calls).toEqual([])
    })

    test('a cursor that gives lean objects opens nothing, and one that is left early no more than it reads ahead', async () => {
      const lean = await costOf(async () => {
        for await (const record of User.find().lean().cursor()) expect(typeof record.email).toBe('object')
      })
      expect(lean.calls).toEqual([])
      const { calls } = await costOf(async () => {
        for await (const record of User.find().cursor()) {
          expect(record.email).toMatch(/^number/)
          break
        }
      })
      expect(calls.length).toBeGreaterThan(1)
      expect(calls.length).toBeLessThanOrEqual(2 * bound)
    })

    test('a cursor that is rewound gives all from the first on', async () => {
      const cursor = User.find().sort('_id').cursor()
      for (const email of emails(3)) expect((await cursor.next()).email).toBe(email)
      cursor.rewind()
      const seen: string[] = []
      for await (const record of cursor) seen.push(record.email)
      expect(seen).toEqual(emails(100))
    })

    test('whoever acts when a record is read is told to have opened it, also where it was begun with ahead', async () => {
      const told = new Map<unknown, unknown[]>()
      const tell = ({ id, audit }: any) => told.set(String(id), [...(told.get(String(id)) ?? []), audit.actor])
      channels.unwrap.start.subscribe(tell)
      const cursor: any = withAudit({ actor: 'ada' }, () => User.find().sort('_id').cursor())
      const read = (actor: string): any => withAudit({ actor }, () => cursor.next())
      const first = [await read('ada'), await read('ada')]
      const others = [await read('bob'), await read('bob')]
      channels.unwrap.start.unsubscribe(tell)
      for (const { id, email } of first) expect([email, told.get(id)]).toEqual([expect.any(String), ['ada']])
      for (const { id, email } of others) expect([email, told.get(id)?.at(-1)]).toEqual([expect.any(String), 'bob'])
    })

    test('what the KMS refuses ahead is told by the record that it is of, and asked for again by no one', async () => {
      kms.failWith(new KeyProviderError('KMS_ACCESS_DENIED', 'no'))
      const { calls } = await costOf(async () => {
        for await (const record of User.find().cursor())
          expect(() => record.email).toThrow(expect.objectContaining({ code: 'KMS_ACCESS_DENIED' }))
      })
      kms.failWith(undefined)
      expect(calls).toHaveLength(100)
    })
  })

  test('whoever waits for the KMS has it asked before what it answered to others is worked on', async () => {
    await insert(2 * bound)
    const seen: string[] = []
    const { unwrapDataKey } = kms
    kms.unwrapDataKey = (request) => {
      seen.push('asked')
      return unwrapDataKey.call(kms, request)
    }
    const read = async (record: any) => {
      await record.email
      seen.push('opened')
    }
    await Promise.all((await User.find()).map(read))
    expect(seen).toEqual([...Array(2 * bound).fill('asked'), ...Array(2 * bound).fill('opened')])
  })

  test('Model.decrypt() of 500 keeps to it', async () => {
    await insert(500)
    const records = await User.find()
    expect((await costOf(() => User.decrypt(records))).calls).toHaveLength(500)
    expect(kms.most).toBe(bound)
  })
})
