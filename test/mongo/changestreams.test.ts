import { once } from 'node:events'
import mongoose from 'mongoose'
import { databaseName } from './run'

type Thing = { _id: number; a?: number; b?: { c: number; d?: number }; list?: number[] }
type Stream = mongoose.mongo.ChangeStream

const { MongoClient, Timestamp } = mongoose.mongo
const client = new MongoClient(process.env.TEST_MONGO_URI!)
const db = client.db(databaseName('changestreams'))
const things = db.collection<Thing>('things')
const streams: Stream[] = []

/** A stream that shows what happens from now on: the server knows it. */
async function watch(
  options: mongoose.mongo.ChangeStreamOptions = {},
  pipeline: mongoose.mongo.Document[] = [],
): Promise<Stream> {
  const stream = things.watch(pipeline, { maxAwaitTimeMS: 10, ...options }) as unknown as Stream
  streams.push(stream)
  expect(await stream.tryNext()).toBeNull()
  return stream
}

async function take(stream: Stream, count: number): Promise<any[]> {
  const events = []
  while (events.length < count) events.push(await stream.next())
  return events
}

async function failureOf(options: mongoose.mongo.ChangeStreamOptions, pipeline?: mongoose.mongo.Document[]) {
  const stream = things.watch(pipeline, options)
  const error = await stream.next().catch((reason) => reason)
  await stream.close()
  return error
}

const ns = { db: db.databaseName, coll: 'things' }

beforeEach(async () => {
  await things.drop()
  await db.createCollection('things')
})

afterEach(async () => {
  await Promise.all(streams.splice(0).map((stream) => stream.close()))
})

afterAll(async () => {
  await db.dropDatabase()
  await client.close()
})

describe('a change stream shows', () => {
  test('an insert, an update, a replacement and a deletion', async () => {
    const stream = await watch()
    await things.insertOne({ _id: 1, a: 1, list: [1] })
    await things.updateOne({ _id: 1 }, { $set: { a: 2 }, $unset: { list: '' } })
    await things.replaceOne({ _id: 1 }, { a: 3 })
    await things.deleteOne({ _id: 1 })
    const events = await take(stream, 4)
    const documentKey = { _id: 1 }
    const updateDescription = { updatedFields: { a: 2 }, removedFields: ['list'], truncatedArrays: [] }
    expect(events).toMatchObject([
      { operationType: 'insert', ns, documentKey, fullDocument: { _id: 1, a: 1, list: [1] } },
      { operationType: 'update', ns, documentKey, updateDescription },
      { operationType: 'replace', ns, documentKey, fullDocument: { _id: 1, a: 3 } },
      { operationType: 'delete', ns, documentKey },
    ])
    expect(events.map((event) => 'fullDocument' in event)).toEqual([true, false, true, false])
    for (const event of events) {
      expect(event._id).toEqual({ _data: expect.stringMatching(/^[0-9a-fA-F]+$/) })
      expect(event.clusterTime).toBeInstanceOf(Timestamp)
      expect(event.wallTime).toBeInstanceOf(Date)
    }
  })

  test('the upsert and the findAndModify, and no update that changed nothing', async () => {
    const stream = await watch()
    await things.updateOne({ _id: 1 }, { $set: { a: 1 } }, { upsert: true })
    await things.updateOne({ _id: 1 }, { $set: { a: 1 } })
    await things.updateOne({ _id: 9 }, { $set: { a: 1 } })
    await things.findOneAndUpdate({ _id: 1 }, { $inc: { a: 1 } })
    await things.findOneAndDelete({ _id: 1 })
    expect(await take(stream, 3)).toMatchObject([
      { operationType: 'insert', fullDocument: { _id: 1, a: 1 } },
      { operationType: 'update', updateDescription: { updatedFields: { a: 2 } } },
      { operationType: 'delete', documentKey: { _id: 1 } },
    ])
  })

  test('the paths an update changed', async () => {
    await things.insertOne({ _id: 1, a: 1, list: [1, 2] })
    const stream = await watch()
    await things.updateOne({ _id: 1 }, { $set: { 'b.c': 1, 'b.d': 2, a: 1 } })
    await things.updateOne({ _id: 1 }, { $set: { 'b.c': 5 }, $unset: { 'b.d': '' }, $push: { list: 3 } })
    await things.updateOne(
      { _id: 1 },
      { $set: { b: { c: 5, d: 1 }, 'list.$[item]': 7 } },
      {
        arrayFilters: [{ item: 2 }],
      },
    )
    await things.updateOne({ _id: 1 }, { $rename: { a: 'z' } })
    expect((await take(stream, 4)).map(({ updateDescription }) => updateDescription)).toEqual([
      { updatedFields: { b: { c: 1, d: 2 } }, removedFields: [], truncatedArrays: [] },
      { updatedFields: { 'b.c': 5, 'list.2': 3 }, removedFields: ['b.d'], truncatedArrays: [] },
      { updatedFields: { b: { c: 5, d: 1 }, 'list.1': 7 }, removedFields: [], truncatedArrays: [] },
      { updatedFields: { z: 1 }, removedFields: ['a'], truncatedArrays: [] },
    ])
  })

  test('the document as it is when looked up, if there still is one', async () => {
    await things.insertMany([{ _id: 1 }, { _id: 2 }])
    const stream = await watch({ fullDocument: 'updateLookup' })
    await client.withSession((session) =>
      session.withTransaction(async () => {
        await things.updateOne({ _id: 1 }, { $set: { a: 1 } }, { session })
        await things.updateOne({ _id: 1 }, { $set: { a: 2 } }, { session })
        await things.updateOne({ _id: 2 }, { $set: { a: 1 } }, { session })
        await things.deleteOne({ _id: 2 }, { session })
      }),
    )
    expect(await take(stream, 4)).toMatchObject([
      { operationType: 'update', updateDescription: { updatedFields: { a: 1 } }, fullDocument: { _id: 1, a: 2 } },
      { operationType: 'update', updateDescription: { updatedFields: { a: 2 } }, fullDocument: { _id: 1, a: 2 } },
      { operationType: 'update', fullDocument: null },
      { operationType: 'delete' },
    ])
  })

  test('a transaction when it commits, and nothing of one that aborts', async () => {
    const stream = await watch()
    await client.withSession(async (session) => {
      session.startTransaction()
      await things.insertOne({ _id: 1 }, { session })
      await session.abortTransaction()
      session.startTransaction()
      await things.insertOne({ _id: 2 }, { session })
      await things.updateOne({ _id: 2 }, { $set: { a: 1 } }, { session })
      await things.insertOne({ _id: 3 })
      expect((await take(stream, 1))[0]).toMatchObject({ operationType: 'insert', documentKey: { _id: 3 } })
      expect(await stream.tryNext()).toBeNull()
      await session.commitTransaction()
      const events = await take(stream, 2)
      expect(events).toMatchObject([
        { operationType: 'insert', fullDocument: { _id: 2 } },
        { operationType: 'update', updateDescription: { updatedFields: { a: 1 } } },
      ])
      expect(events[0].fullDocument).toEqual({ _id: 2 })
      for (const { lsid } of events) expect(lsid.id).toEqual(session.id!.id)
      expect(Number(events[0].txnNumber)).toBeGreaterThan(0)
      expect(events[0].txnNumber).toEqual(events[1].txnNumber)
      expect(events[0].clusterTime).toEqual(events[1].clusterTime)
    })
  })

  test('only its own collection', async () => {
    const stream = await watch()
    await db.collection<Thing>('others').insertOne({ _id: 1 })
    await things.insertOne({ _id: 2 })
    expect((await take(stream, 1))[0]).toMatchObject({ ns, documentKey: { _id: 2 } })
  })

  test('that its collection was dropped, and ends', async () => {
    const stream = await watch()
    await things.drop()
    const [drop, invalidate] = await take(stream, 2)
    expect(drop).toMatchObject({ operationType: 'drop', ns })
    expect(invalidate).toMatchObject({ operationType: 'invalidate' })
    expect(await failureOf({ resumeAfter: invalidate._id })).toMatchObject({ code: 260 })
    await things.insertOne({ _id: 1 })
    const after = things.watch([], { startAfter: invalidate._id })
    streams.push(after as unknown as Stream)
    expect(await after.next()).toMatchObject({ operationType: 'insert' })
  })
})

describe('a change stream', () => {
  test('answers a waiting reader as soon as there is an event', async () => {
    const stream = things.watch([], { maxAwaitTimeMS: 60_000 })
    streams.push(stream as unknown as Stream)
    const opened = once(stream, 'resumeTokenChanged')
    const next = stream.next()
    await opened
    await things.insertOne({ _id: 1 })
    expect(await next).toMatchObject({ operationType: 'insert' })
  })

  test('can be closed while a reader waits', async () => {
    const stream = things.watch([], { maxAwaitTimeMS: 60_000 })
    const opened = once(stream, 'resumeTokenChanged')
    const next = stream.next().catch((reason) => reason)
    await opened
    await stream.close()
    expect(await next).toBeInstanceOf(mongoose.mongo.MongoError)
  })

  test('tells its events to listeners', async () => {
    const stream = things.watch([], { maxAwaitTimeMS: 60_000 })
    streams.push(stream as unknown as Stream)
    const change = once(stream, 'change')
    await once(stream, 'resumeTokenChanged')
    await things.insertOne({ _id: 1 })
    expect(await change).toMatchObject([{ operationType: 'insert' }])
  })

  test('goes on after any of its tokens', async () => {
    const stream = await watch()
    const start = stream.resumeToken
    await things.insertMany([{ _id: 1 }, { _id: 2 }, { _id: 3 }])
    const [first] = await take(stream, 3)
    for (const [options, ids] of [
      [{ resumeAfter: start }, [1, 2, 3]],
      [{ resumeAfter: first._id }, [2, 3]],
      [{ startAfter: first._id, batchSize: 1 }, [2, 3]],
    ] as const) {
      const again = things.watch([], options)
      streams.push(again as unknown as Stream)
      const events = await take(again as unknown as Stream, ids.length)
      expect(events.map(({ documentKey }) => documentKey._id)).toEqual(ids)
    }
  })

  test('is filtered and projected by its pipeline', async () => {
    const stream = await watch({}, [{ $match: { 'fullDocument.a': 2 } }, { $project: { fullDocument: 1 } }])
    await things.insertMany([
      { _id: 1, a: 1 },
      { _id: 2, a: 2 },
    ])
    const [event] = await take(stream, 1)
    expect(event).toEqual({ _id: event._id, fullDocument: { _id: 2, a: 2 } })
  })

  test('fails when its pipeline takes the token away', async () => {
    const stream = await watch({}, [{ $project: { _id: 0 } }])
    await things.insertOne({ _id: 1 })
    await expect(stream.next()).rejects.toMatchObject({ code: 280 })
  })

  test('is refused after a token that is none, and in a transaction', async () => {
    const codes = [
      await failureOf({ resumeAfter: { _data: 'no token' } }),
      await failureOf({ resumeAfter: { other: 1 } }),
    ].map(({ name }) => name)
    expect(codes).toEqual(['MongoServerError', 'MongoServerError'])
    await client.withSession(async (session) => {
      session.startTransaction()
      expect(await failureOf({ session })).toMatchObject({ code: 263 })
      await session.abortTransaction()
    })
  })
})
