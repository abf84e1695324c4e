import mongoose from 'mongoose'
import { databaseName } from './run'

const { MongoClient, MongoServerError } = mongoose.mongo
const client = new MongoClient(process.env.TEST_MONGO_URI!)
const db = client.db(databaseName('sessions'))
const things = db.collection<{ _id: number; a?: number; name?: string }>('things')

async function all(session?: mongoose.mongo.ClientSession) {
  return things.find({}, { session, sort: { _id: 1 } }).toArray()
}

async function failure(promise: Promise<unknown>): Promise<mongoose.mongo.MongoServerError> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason) => reason,
  )
  expect(error).toBeInstanceOf(MongoServerError)
  return error as mongoose.mongo.MongoServerError
}

beforeEach(async () => {
  await things.drop()
  await things.createIndex({ name: 1 }, { unique: true, sparse: true })
  await things.insertMany([
    { _id: 1, a: 1 },
    { _id: 2, a: 2 },
  ])
})

afterAll(async () => {
  await db.dropDatabase()
  await client.close()
})

describe('a transaction', () => {
  it('sees its own writes, and others see them when it commits', async () => {
    await client.withSession(async (session) => {
      session.startTransaction()
      await things.insertOne({ _id: 3 }, { session })
      await things.updateOne({ _id: 1 }, { $set: { a: 9 } }, { session })
      await things.deleteOne({ _id: 2 }, { session })
      expect(await all(session)).toEqual([{ _id: 1, a: 9 }, { _id: 3 }])
      expect(await all()).toEqual([
        { _id: 1, a: 1 },
        { _id: 2, a: 2 },
      ])
      await session.commitTransaction()
      expect(await all()).toEqual([{ _id: 1, a: 9 }, { _id: 3 }])
    })
  })

  it('leaves no trace when it aborts', async () => {
    await client.withSession(async (session) => {
      session.startTransaction()
      await things.insertOne({ _id: 3, name: 'x' }, { session })
      await things.updateMany({}, { $inc: { a: 1 } }, { session })
      await session.abortTransaction()
    })
    expect(await all()).toEqual([
      { _id: 1, a: 1 },
      { _id: 2, a: 2 },
    ])
    await things.insertOne({ _id: 4, name: 'x' })
  })

  it('reads from a snapshot taken at its first read', async () => {
    await client.withSession(async (session) => {
      session.startTransaction({ readConcern: { level: 'snapshot' } })
      expect(await things.findOne({ _id: 1 }, { session })).toEqual({ _id: 1, a: 1 })
      await things.updateOne({ _id: 1 }, { $set: { a: 5 } })
      await things.deleteOne({ _id: 2 })
      await things.insertOne({ _id: 3 })
      expect(await all(session)).toEqual([
        { _id: 1, a: 1 },
        { _id: 2, a: 2 },
      ])
      await session.commitTransaction()
    })
    expect(await all()).toEqual([{ _id: 1, a: 5 }, { _id: 3 }])
  })

  it('conflicts with a later write to what it read before', async () => {
    await client.withSession(async (session) => {
      session.startTransaction()
      await things.findOne({ _id: 1 }, { session })
      await things.updateOne({ _id: 1 }, { $set: { a: 5 } })
      const error = await failure(things.updateOne({ _id: 1 }, { $set: { a: 6 } }, { session }))
      expect(error.code).toBe(112)
      expect(error.hasErrorLabel('TransientTransactionError')).toBe(true)
      await session.abortTransaction()
    })
    expect(await things.findOne({ _id: 1 })).toEqual({ _id: 1, a: 5 })
  })

  it('conflicts with another that wrote the same document first', async () => {
    const [first, second] = [client.startSession(), client.startSession()]
    first.startTransaction()
    second.startTransaction()
    await things.updateOne({ _id: 1 }, { $set: { a: 5 } }, { session: first })
    const error = await failure(things.updateOne({ _id: 1 }, { $set: { a: 6 } }, { session: second }))
    expect(error.code).toBe(112)
    expect(error.hasErrorLabel('TransientTransactionError')).toBe(true)
    await second.abortTransaction()
    await first.commitTransaction()
    await Promise.all([first.endSession(), second.endSession()])
    expect(await things.findOne({ _id: 1 })).toEqual({ _id: 1, a: 5 })
  })

  it('makes a plain write to the same document wait for its end', async () => {
    await client.withSession(async (session) => {
      session.startTransaction()
      await things.updateOne({ _id: 1 }, { $inc: { a: 10 } }, { session })
      const plain = things.updateOne({ _id: 1 }, { $inc: { a: 100 } })
      await session.commitTransaction()
      expect((await plain).modifiedCount).toBe(1)
    })
    expect(await things.findOne({ _id: 1 })).toEqual({ _id: 1, a: 111 })
  })

  it('is aborted by a duplicate key', async () => {
    await things.insertOne({ _id: 5, name: 'x' })
    await client.withSession(async (session) => {
      session.startTransaction()
      await things.insertOne({ _id: 6 }, { session })
      const duplicate = await failure(things.insertOne({ _id: 7, name: 'x' }, { session }))
      expect(duplicate).toMatchObject({ code: 11000, keyPattern: { name: 1 }, keyValue: { name: 'x' } })
      const next = await failure(things.insertOne({ _id: 8 }, { session }))
      expect(next.code).toBe(251)
      expect(next.hasErrorLabel('TransientTransactionError')).toBe(true)
      await session.abortTransaction()
    })
    expect((await all()).map(({ _id }) => _id)).toEqual([1, 2, 5])
  })

  it('may give up a unique value and take it again', async () => {
    await things.insertOne({ _id: 5, name: 'x' })
    await client.withSession(async (session) => {
      session.startTransaction()
      await things.updateOne({ _id: 5 }, { $set: { name: 'y' } }, { session })
      await things.insertOne({ _id: 6, name: 'x' }, { session })
      await session.commitTransaction()
    })
    expect(await things.findOne({ name: 'x' })).toEqual({ _id: 6, name: 'x' })
    expect(await things.findOne({ name: 'y' })).toEqual({ _id: 5, name: 'y' })
  })

  it('can be committed twice', async () => {
    await client.withSession(async (session) => {
      session.startTransaction()
      await things.insertOne({ _id: 3 }, { session })
      await session.commitTransaction()
      await session.commitTransaction()
    })
    expect(await things.countDocuments({ _id: 3 })).toBe(1)
  })
})

describe('cursors', () => {
  it('give the rest in further batches', async () => {
    await things.insertMany(Array.from({ length: 250 }, (_, i) => ({ _id: 10 + i })))
    expect(await things.find({}).toArray()).toHaveLength(252)
    expect(await things.find({}, { batchSize: 7 }).toArray()).toHaveLength(252)
    expect(await things.aggregate([{ $match: {} }], { batchSize: 7 }).toArray()).toHaveLength(252)
  })

  it('can be left before their end', async () => {
    const cursor = things.find({}, { batchSize: 1 })
    expect(await cursor.next()).toEqual({ _id: 1, a: 1 })
    await cursor.close()
  })
})

describe('bulk writes', () => {
  it('of one collection count what they did', async () => {
    const result = await things.bulkWrite([
      { insertOne: { document: { _id: 3 } } },
      { updateOne: { filter: { _id: 1 }, update: { $inc: { a: 1 } } } },
      { updateMany: { filter: {}, update: { $set: { a: 2 } } } },
      { replaceOne: { filter: { _id: 9 }, replacement: { a: 9 }, upsert: true } },
      { deleteOne: { filter: { _id: 2 } } },
    ])
    expect(result).toMatchObject({ insertedCount: 1, matchedCount: 4, upsertedCount: 1, deletedCount: 1 })
    expect(await all()).toEqual([
      { _id: 1, a: 2 },
      { _id: 3, a: 2 },
      { _id: 9, a: 9 },
    ])
  })

  it('of several collections answer for each operation', async () => {
    const result = await client.bulkWrite(
      [
        { name: 'insertOne', namespace: `${db.databaseName}.others`, document: { _id: 1 } as never },
        {
          name: 'updateOne',
          namespace: things.namespace,
          filter: { _id: 1 } as never,
          update: { $inc: { a: 1 } },
        },
        {
          name: 'updateOne',
          namespace: things.namespace,
          filter: { _id: 9 } as never,
          update: { $inc: { a: 1 } },
          upsert: true,
        },
        { name: 'deleteMany', namespace: things.namespace, filter: { a: 2 } },
      ],
      { verboseResults: true },
    )
    expect(result).toMatchObject({
      insertedCount: 1,
      matchedCount: 1,
      modifiedCount: 1,
      upsertedCount: 1,
      deletedCount: 2,
    })
    expect(result.updateResults?.get(2)).toMatchObject({ upsertedId: 9 })
    expect(await all()).toEqual([{ _id: 9, a: 1 }])
  })

  it('of several collections report their errors', async () => {
    const error: unknown = await client
      .bulkWrite([
        { name: 'insertOne', namespace: things.namespace, document: { _id: 3 } as never },
        { name: 'insertOne', namespace: things.namespace, document: { _id: 1 } as never },
        { name: 'insertOne', namespace: things.namespace, document: { _id: 4 } as never },
      ])
      .catch((reason) => reason)
    expect(error).toBeInstanceOf(mongoose.mongo.MongoClientBulkWriteError)
    expect((error as mongoose.mongo.MongoClientBulkWriteError).writeErrors.get(1)).toMatchObject({ code: 11000 })
    expect((await all()).map(({ _id }) => _id)).toEqual([1, 2, 3])
  })
})
