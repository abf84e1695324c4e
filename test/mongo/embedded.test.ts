import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import mongoose from 'mongoose'
import { type EmbeddedServer, startEmbedded } from './embedded'
import type { Doc } from './embedded/errors'
import { IdOrder } from './embedded/order'

const { MongoClient, BSON } = mongoose.mongo

let server: EmbeddedServer
let connection: mongoose.Connection

const thingSchema = new mongoose.Schema({ name: { type: String, unique: true, sparse: true }, n: Number })
const thing = () => connection.model('Thing', thingSchema)
const stored = async () => (await thing().find({}, { _id: 0, __v: 0 }).lean()).map(({ n }) => n)

beforeEach(async () => {
  server = await startEmbedded()
  connection = await mongoose.createConnection(server.uri, { dbName: 'embedded' }).asPromise()
  await thing().init()
})

afterEach(async () => {
  await connection.close()
  await server.stop()
})

describe('sizes', () => {
  const largest = 16 * 1024 * 1024
  const documentOf = (_id: number, bytes: number) => ({
    _id,
    text: 'x'.repeat(bytes - BSON.calculateObjectSize({ _id, text: '' })),
  })

  it('stores documents of 16 MB, and none beyond', async () => {
    const raw = connection.db!.collection<{ _id: number }>('large')
    await raw.insertOne(documentOf(1, largest))
    await expect(raw.insertOne(documentOf(2, largest + 1))).rejects.toThrow()
    await expect(raw.updateOne({ _id: 1 }, { $set: { n: 1 } })).rejects.toMatchObject({ code: 10334 })
    expect(await raw.distinct('_id')).toEqual([1])
  })

  it('gives batches of 16 MB', async () => {
    const raw = connection.db!.collection<{ _id: number }>('large')
    for (const _id of [1, 2, 3]) await raw.insertOne(documentOf(_id, 7_000_000))
    const { cursor } = await connection.db!.command({ find: 'large' })
    expect(cursor.firstBatch.map(({ _id }: { _id: number }) => _id)).toEqual([1, 2])
    expect(
      await raw
        .find()
        .map(({ _id }) => _id)
        .toArray(),
    ).toEqual([1, 2, 3])
  })
})

describe('the driver', () => {
  it('sees a replica set with one member that writes', async () => {
    const hello = await connection.db!.admin().command({ hello: 1 })
    expect(hello).toMatchObject({ setName: 'rs0', isWritablePrimary: true, hosts: [`127.0.0.1:${server.port}`] })
  })

  it('keeps the exact types of what it stores', async () => {
    const { Long, Double, Int32, Decimal128, Binary, Timestamp, MinKey, BSONRegExp, UUID } = BSON
    const document = {
      _id: 1,
      long: Long.fromNumber(1),
      double: new Double(1),
      int: new Int32(1),
      decimal: Decimal128.fromString('1.50'),
      binary: new Binary(Buffer.from([1, 2]), 5),
      uuid: new UUID('11111111-2222-4333-8444-555555555555').toBinary(),
      timestamp: new Timestamp({ t: 5, i: 6 }),
      min: new MinKey(),
      regex: new BSONRegExp('^a', 'i'),
      date: new Date(5),
      nested: [{ empty: {}, null: null, flag: false }],
    }
    const raw = connection.db!.collection<{ _id: number }>('exact')
    await raw.insertOne(document)
    const read = await raw.findOne({ _id: 1 }, { promoteValues: false, bsonRegExp: true })
    expect(BSON.EJSON.stringify(read, { relaxed: false })).toBe(BSON.EJSON.stringify(document, { relaxed: false }))
  })

  it('is told of what this server does not do', async () => {
    const raw = connection.db!.collection('things')
    const refused = [
      connection.db!.command({ find: 'things', someOption: 1 }),
      connection.db!.command({ mapReduce: 'things', out: 'x' }),
      raw.find({ $where: 'true' }).toArray(),
      raw.find({}, { collation: { locale: 'de' } }).toArray(),
      raw.find({}, { hint: 'name_1' }).toArray(),
      raw.aggregate([{ $out: 'other' }]).toArray(),
      raw.updateOne({}, { $bit: { n: { and: 1 } } }),
      raw.createIndex({ text: 'text' }),
      raw.watch([], { fullDocument: 'required' }).next(),
      raw.watch([{ $addFields: { a: 1 } }]).next(),
      connection.db!.watch().next(),
    ]
    const codes = (await Promise.allSettled(refused)).map(
      (result) => result.status === 'rejected' && result.reason.code,
    )
    expect(codes).toEqual([238, 59, 238, 238, 238, 238, 238, 238, 238, 238, 238])
  })

  it('refuses to guess what an update looks like in a change stream', async () => {
    const raw = connection.collection('things')
    await raw.insertOne({ n: 1, list: [1, 2] })
    for (const update of [
      [{ $set: { n: 2 } }],
      { $pull: { list: 1 } },
      { $push: { list: { $each: [3], $position: 0 } } },
      { $set: { 'list.9': 1 } },
    ] as object[]) {
      const stream = raw.watch([], { maxAwaitTimeMS: 10 })
      expect(await stream.tryNext()).toBeNull()
      await raw.updateOne({}, update)
      await expect(stream.next()).rejects.toMatchObject({ code: 238 })
    }
  })

  it('remembers so many changes for change streams, and says when one is forgotten', async () => {
    const raw = connection.collection('things')
    const stream = raw.watch([], { maxAwaitTimeMS: 10 })
    expect(await stream.tryNext()).toBeNull()
    await raw.insertOne({})
    const { _id } = await stream.next()
    await stream.close()
    await raw.insertMany(Array.from({ length: 10_001 }, () => ({})))
    await expect(raw.watch([], { resumeAfter: _id }).next()).rejects.toMatchObject({ code: 286 })
    await expect(
      raw.watch([], { resumeAfter: { _data: 'f'.repeat(12).padStart(16, '0') } }).next(),
    ).rejects.toMatchObject({ code: 286 })
  })

  it('stops while a change stream waits', async () => {
    const other = await startEmbedded()
    const client = await new MongoClient(other.uri).connect()
    const stream = client.db('test').collection('things').watch([], { maxAwaitTimeMS: 60_000 })
    const opened = once(stream, 'resumeTokenChanged')
    const next = stream.next().catch((error) => error)
    await opened
    await other.stop()
    await client.close()
    expect(await next).toBeInstanceOf(Error)
  })

  it('works in transactions of Mongoose', async () => {
    await connection.transaction(async (session) => {
      const doc = await new (thing())({ n: 1 }).save({ session })
      doc.n = 2
      await doc.save()
    })
    expect(await stored()).toEqual([2])
    const failed = connection.transaction(async (session) => {
      await thing().create([{ n: 3 }], { session })
      throw new Error('no')
    })
    await expect(failed).rejects.toThrow('no')
    expect(await stored()).toEqual([2])
  })
})

describe('the server', () => {
  it('gives documents in the order of _id, whatever came and went since it was asked last', async () => {
    const raw = connection.db!.collection<{ _id: number }>('ordered')
    const ids = async (above: number) =>
      (
        await raw
          .find({ _id: { $gt: above } })
          .sort({ _id: 1 })
          .limit(3)
          .toArray()
      ).map(({ _id }) => _id)
    await raw.insertMany([{ _id: 4 }, { _id: 2 }])
    expect(await ids(0)).toEqual([2, 4])
    await raw.insertOne({ _id: 6 })
    expect(await ids(2)).toEqual([4, 6])
    await raw.insertOne({ _id: 3 })
    expect(await ids(2)).toEqual([3, 4, 6])
    await raw.deleteOne({ _id: 4 })
    expect(await ids(2)).toEqual([3, 6])
    await raw.insertOne({ _id: 4 })
    expect(await ids(0)).toEqual([2, 3, 4])
  })

  it('does not look through what comes before all that a filter by types and values of _id can match', () => {
    const ids = [1, 'a', 'b', 'c'].map((_id) => [String(_id), { _id }] as [string, Doc])
    const later = { _id: { $type: [5, 7, 'date', 13, 15, 127] } }
    const from = (above: string) => [
      ...new IdOrder(ids).from({ $and: [{}, { $or: [{ _id: { $gt: above } }, later] }] }),
    ]
    expect(from('b')).toEqual(['b', 'c'])
    expect(from('d')).toEqual([])
  })

  it('takes the port it is given', async () => {
    const first = await startEmbedded()
    await first.stop()
    const second = await startEmbedded({ port: first.port })
    expect(second.port).toBe(first.port)
    await second.stop()
  })

  it('survives bytes that are no message', async () => {
    const socket = connect(server.port, '127.0.0.1')
    socket.on('error', () => {})
    const message = Buffer.alloc(20)
    message.writeInt32LE(20, 0)
    message.writeInt32LE(1, 12)
    socket.write(message)
    await once(socket, 'close')
    expect(await stored()).toEqual([])
  })

  it('runs as a process of its own', async () => {
    const child: ChildProcess = spawn(process.execPath, ['--import', 'tsx', join(__dirname, 'embedded/main.ts')], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const exited = once(child, 'exit')
    const [uri] = (await once(createInterface({ input: child.stdout! }), 'line')) as [string]
    const client = await new MongoClient(uri).connect()
    await client.db('x').collection<{ _id: number }>('y').insertOne({ _id: 1 })
    expect(await client.db('x').collection('y').countDocuments()).toBe(1)
    await client.close()
    child.kill('SIGTERM')
    expect(await exited).toEqual([0, null])
  })
})
