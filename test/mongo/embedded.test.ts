import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import mongoose from 'mongoose'
import { type EmbeddedServer, startEmbedded } from './embedded'

const { MongoClient, BSON, MongoServerError } = mongoose.mongo

let server: EmbeddedServer
let connection: mongoose.Connection

const thingSchema = new mongoose.Schema({ name: { type: String, unique: true, sparse: true }, n: Number })
const thing = () => connection.model('Thing', thingSchema)
const stored = async () => (await thing().find({}, { _id: 0, __v: 0 }).lean()).map(({ n }) => n)

beforeEach(async () => {
  server = await startEmbedded()
  connection = await mongoose.createConnection(server.uri, { dbName: 'embedded' }).asPromise()
  await thing().init()
  server.clearCommands()
})

afterEach(async () => {
  await connection.close()
  await server.stop()
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

describe('the record of commands', () => {
  it('has what was sent, in order', async () => {
    const doc = await thing().create({ n: 1 })
    await thing().updateOne({ _id: doc._id }, { $inc: { n: 1 } })
    expect(server.commands.map(({ name, database, collection }) => [name, database, collection])).toEqual([
      ['insert', 'embedded', 'things'],
      ['update', 'embedded', 'things'],
    ])
    const [{ q, u }] = server.commands[1]!.command.updates as [{ q: { _id: unknown }; u: unknown }]
    expect(String(q._id)).toBe(doc.id)
    expect(u).toEqual({ $inc: { n: 1 } })
  })

  it('is empty after it was cleared', async () => {
    await thing().create({ n: 1 })
    server.clearCommands()
    expect(server.commands).toEqual([])
  })
})

describe('faults', () => {
  const update = { command: 'update', collection: 'things' }

  it('drop the connection before a write, which the driver then sends again', async () => {
    server.faults.dropBefore({ command: 'insert' })
    await thing().create({ n: 1 })
    expect(await stored()).toEqual([1])
    expect(server.commands.filter(({ name }) => name === 'insert')).toHaveLength(2)
  })

  it('drop the connection after a write: the driver sends it again, and it is applied once', async () => {
    const { _id } = await thing().create({ n: 1 })
    server.faults.dropAfter(update)
    const result = await thing().updateOne({ _id }, { $inc: { n: 1 } })
    expect(result).toMatchObject({ matchedCount: 1, modifiedCount: 1 })
    expect(await stored()).toEqual([2])
    const [first, second] = server.commands.filter(({ name }) => name === 'update')
    expect(second!.command.txnNumber).toEqual(first!.command.txnNumber)
  })

  it('drop the connection after findAndModify: the retry has the first answer', async () => {
    const { _id } = await thing().create({ n: 1 })
    server.faults.dropAfter({ command: 'findAndModify' })
    const before = await thing()
      .findOneAndUpdate({ _id }, { $inc: { n: 1 } })
      .lean()
    expect(before!.n).toBe(1)
    expect(await stored()).toEqual([2])
  })

  it('reach the caller when the driver may not retry', async () => {
    const { _id } = await thing().create({ n: 1 })
    server.faults.dropAfter(update)
    const write = connection.db!.collection('things').updateMany({ _id }, { $inc: { n: 1 } })
    await expect(write).rejects.toThrow(/connection .* closed/)
    expect(await stored()).toEqual([2])
  })

  it('answer with a code and labels instead of applying', async () => {
    server.faults.fail({ command: 'insert' }, { code: 11602, message: 'not now', errorLabels: ['SomeLabel'] })
    const error: unknown = await thing()
      .create({ n: 1 })
      .catch((reason) => reason)
    expect(error).toBeInstanceOf(MongoServerError)
    expect(error).toMatchObject({ code: 11602, message: 'not now', errorLabels: ['SomeLabel'] })
    expect(await stored()).toEqual([])
  })

  it('answer with an error after applying, as a commit of unknown result', async () => {
    server.faults.fail(
      { command: 'commitTransaction' },
      { code: 91, errorLabels: ['UnknownTransactionCommitResult'], applied: true },
    )
    await connection.transaction((session) => thing().create([{ n: 1 }], { session }))
    expect(await stored()).toEqual([1])
    expect(server.commands.filter(({ name }) => name === 'commitTransaction')).toHaveLength(2)
  })

  it('make a transaction run again on a transient error', async () => {
    server.faults.fail({ command: 'insert' }, { code: 112, errorLabels: ['TransientTransactionError'] })
    const run = jest.fn(async (session: mongoose.ClientSession) => {
      await thing().create([{ n: 1 }], { session })
    })
    await connection.transaction(run)
    expect(run).toHaveBeenCalledTimes(2)
    expect(await stored()).toEqual([1])
  })

  it('hit the nth command that matches, and as many times as asked', async () => {
    server.faults.fail(
      { command: 'insert', where: ({ documents }) => (documents as { n: number }[])[0]!.n > 1, nth: 2, times: 2 },
      { code: 2 },
    )
    const outcomes = await Promise.all(
      [1, 2, 3, 4, 5].map(async (n) => {
        return thing()
          .create({ n })
          .then(
            () => 'stored',
            () => 'failed',
          )
      }),
    )
    expect(outcomes.filter((outcome) => outcome === 'failed')).toHaveLength(2)
    expect(outcomes[0]).toBe('stored')
  })

  it('delay a command', async () => {
    server.faults.delay({ command: 'find' }, 50)
    const start = performance.now()
    await stored()
    expect(performance.now() - start).toBeGreaterThanOrEqual(49)
  })

  it('hold a command until it is released: a race step by step', async () => {
    const { _id } = await thing().create({ n: 1 })
    const held = server.faults.hold(update)
    const late = thing().updateOne({ _id, n: 1 }, { $set: { n: 2 } })
    const sent = late.exec()
    await held.reached
    await thing().updateOne({ _id }, { $set: { n: 5 } })
    held.release()
    expect((await sent).matchedCount).toBe(0)
    expect(await stored()).toEqual([5])
  })

  it('retried while the first try is held are still applied once', async () => {
    const held = server.faults.hold({ command: 'insert', where: ({ ordered }) => ordered === true })
    const client = new MongoClient(server.uri)
    const session = client.startSession()
    const command = { insert: 'raw', documents: [{ _id: 1 }], ordered: true, txnNumber: BSON.Long.fromNumber(1) }
    const db = client.db('embedded')
    const first = db.command(command, { session })
    await held.reached
    const second = db.command(command, { session })
    held.release()
    expect(await Promise.all([first, second])).toMatchObject([{ n: 1 }, { n: 1 }])
    await session.endSession()
    await client.close()
  })

  it('are forgotten and released by clear', async () => {
    const held = server.faults.hold({ command: 'insert' })
    server.faults.fail({ command: 'find' }, { code: 2 })
    const created = thing().create({ n: 1 })
    await held.reached
    server.faults.clear()
    await created
    expect(await stored()).toEqual([1])
  })
})

describe('the server', () => {
  it('takes the port it is given', async () => {
    const first = await startEmbedded()
    await first.stop()
    const second = await startEmbedded({ port: first.port })
    expect(second.port).toBe(first.port)
    await second.stop()
  })

  it('stops at once while commands are held and clients are connected', async () => {
    const other = await startEmbedded()
    const client = await new MongoClient(other.uri, { serverSelectionTimeoutMS: 200 }).connect()
    const held = other.faults.hold({ command: 'find' })
    const found = client.db('x').collection('y').findOne({})
    const outcome = expect(found).rejects.toThrow()
    await held.reached
    await other.stop()
    await outcome
    await client.close()
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
