import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { serialize } from 'bson'
import mongoose from 'mongoose'
import { useProxy } from '../proxied'
import { MongoProxy } from './proxy'
import { findServer, uriThrough } from './proxy/uri'

const { MongoClient, BSON, MongoServerError } = mongoose.mongo
const connection = mongoose.createConnection()
const proxy = useProxy([connection])
const address = () => String(connection.getClient().options.hosts[0])
const open = (options = {}) => new MongoClient(uriThrough(process.env.TEST_MONGO_URI!, address()), options)
const Thing = connection.model('Thing', new mongoose.Schema({ n: Number, text: String }))
const stored = async () => (await Thing.find({}, { n: 1 }).sort({ n: 1 }).lean()).map(({ n }) => n)
const received = (name: string) => proxy.commands.filter((command) => command.name === name)
const update = { command: 'update', collection: 'things' }

beforeAll(() => Thing.init())
beforeEach(async () => {
  await connection.collection('things').deleteMany({})
  proxy.clearCommands()
})

async function failureOf(promise: PromiseLike<unknown>): Promise<any> {
  return promise.then(
    () => undefined,
    (reason: unknown) => reason,
  )
}

describe('the record of commands', () => {
  it('has what was sent, in order, with the documents that travel apart', async () => {
    const doc = await Thing.create({ n: 1 })
    await Thing.updateOne({ _id: doc._id }, { $inc: { n: 1 } })
    expect(proxy.commands.map(({ name, database, collection }) => [name, database, collection])).toEqual([
      ['insert', connection.name, 'things'],
      ['update', connection.name, 'things'],
    ])
    expect(proxy.commands[0]!.command).toMatchObject({ documents: [{ n: 1 }], ordered: true })
    expect(proxy.commands[1]!.command).toMatchObject({ updates: [{ u: { $inc: { n: 1 } } }] })
  })

  it('is empty after it was cleared', async () => {
    await Thing.create({ n: 1 })
    proxy.clearCommands()
    expect(proxy.commands).toEqual([])
  })
})

describe('a fault', () => {
  it('drops the connection before a write, which the driver then sends again', async () => {
    proxy.faults.dropBefore({ command: 'insert' })
    await Thing.create({ n: 1 })
    expect(await stored()).toEqual([1])
    expect(received('insert')).toHaveLength(2)
  })

  it('drops the connection instead of a write that the driver may not send again', async () => {
    proxy.faults.dropBefore(update)
    await Thing.create({ n: 1 })
    expect((await failureOf(Thing.updateMany({}, { $inc: { n: 1 } }))).message).toMatch(/connection .* closed/)
    expect(await stored()).toEqual([1])
  })

  it('drops the connection after a write: the driver sends it again, and it is applied once', async () => {
    const { _id } = await Thing.create({ n: 1 })
    proxy.faults.dropAfter(update)
    const result = await Thing.updateOne({ _id }, { $inc: { n: 1 } })
    expect(result).toMatchObject({ matchedCount: 1, modifiedCount: 1 })
    expect(await stored()).toEqual([2])
    const [first, second] = received('update')
    expect(second!.command.txnNumber).toEqual(first!.command.txnNumber)
  })

  it('drops the connection after findAndModify: the retry has the first answer', async () => {
    const { _id } = await Thing.create({ n: 1 })
    proxy.faults.dropAfter({ command: 'findAndModify' })
    const before = await Thing.findOneAndUpdate({ _id }, { $inc: { n: 1 } }).lean()
    expect(before!.n).toBe(1)
    expect(await stored()).toEqual([2])
  })

  it('drops the connection after a write that the driver may not send again', async () => {
    await Thing.create({ n: 1 })
    proxy.faults.dropAfter(update)
    expect((await failureOf(Thing.updateMany({}, { $inc: { n: 1 } }))).message).toMatch(/connection .* closed/)
    expect(await stored()).toEqual([2])
  })

  it('drops the connection after a write that nobody awaits an answer of', async () => {
    proxy.faults.dropAfter({ command: 'insert' })
    const closed = once(connection.getClient(), 'connectionClosed')
    await connection.collection('things').insertOne({ n: 1 }, { writeConcern: { w: 0 } })
    await closed
    await connection.collection('things').insertOne({ n: 2 })
    expect(await stored()).toContain(2)
    expect(received('insert')).toHaveLength(2)
  })

  it('answers with a code and labels instead of applying', async () => {
    proxy.faults.fail({ command: 'insert' }, { code: 11602, message: 'not now', errorLabels: ['SomeLabel'] })
    const error = await failureOf(Thing.create({ n: 1 }))
    expect(error).toBeInstanceOf(MongoServerError)
    expect(error).toMatchObject({ code: 11602, message: 'not now', errorLabels: ['SomeLabel'] })
    expect(await stored()).toEqual([])
  })

  it('answers with an error after applying', async () => {
    await Thing.create({ n: 1 })
    proxy.faults.fail(update, { code: 2, applied: true })
    expect(await failureOf(Thing.updateMany({}, { $inc: { n: 1 } }))).toMatchObject({ code: 2 })
    expect(await stored()).toEqual([2])
  })

  it('answers with an error after a commit, whose result is then unknown', async () => {
    proxy.faults.fail(
      { command: 'commitTransaction' },
      { code: 91, errorLabels: ['UnknownTransactionCommitResult'], applied: true },
    )
    await connection.transaction((session) => Thing.create([{ n: 1 }], { session }))
    expect(await stored()).toEqual([1])
    expect(received('commitTransaction')).toHaveLength(2)
  })

  it('makes a transaction run again on a transient error', async () => {
    proxy.faults.fail({ command: 'insert' }, { code: 112, errorLabels: ['TransientTransactionError'] })
    const run = jest.fn(async (session: mongoose.ClientSession) => {
      await Thing.create([{ n: 1 }], { session })
    })
    await connection.transaction(run)
    expect(run).toHaveBeenCalledTimes(2)
    expect(await stored()).toEqual([1])
  })

  it('hits the nth command that matches, and as many as asked', async () => {
    proxy.faults.fail(
      { command: 'insert', where: ({ documents }) => (documents as { n: number }[])[0]!.n > 1, nth: 2, times: 2 },
      { code: 2 },
    )
    for (const n of [1, 2, 3, 4, 5]) await failureOf(Thing.create({ n }))
    expect(await stored()).toEqual([1, 2, 5])
  })

  it('delays a command', async () => {
    proxy.faults.delay({ command: 'find' }, 50)
    const start = performance.now()
    await stored()
    expect(performance.now() - start).toBeGreaterThanOrEqual(49)
  })

  it('holds a command until it is released, while other connections go on: a race step by step', async () => {
    const { _id } = await Thing.create({ n: 1 })
    const held = proxy.faults.hold(update)
    const sent = Thing.updateOne({ _id, n: 1 }, { $set: { n: 2 } }).exec()
    await held.reached
    await Thing.updateOne({ _id }, { $set: { n: 5 } })
    held.release()
    expect((await sent).matchedCount).toBe(0)
    expect(await stored()).toEqual([5])
  })

  it('holds a first try that comes after the second, and both have one effect', async () => {
    const held = proxy.faults.hold({ command: 'insert' })
    const client = open()
    await client.withSession(async (session) => {
      const command = { insert: 'things', documents: [{ n: 1 }], txnNumber: BSON.Long.fromNumber(1) }
      const first = client.db(connection.name).command(command, { session })
      await held.reached
      expect(await client.db(connection.name).command(command, { session })).toMatchObject({ n: 1 })
      held.release()
      expect(await first).toMatchObject({ n: 1 })
    })
    await client.close()
    expect(await stored()).toEqual([1])
  })

  it('is forgotten and released by clear', async () => {
    const held = proxy.faults.hold({ command: 'insert' })
    proxy.faults.fail({ command: 'find' }, { code: 2 })
    const created = Thing.create({ n: 1 })
    await held.reached
    proxy.faults.clear()
    await created
    expect(await stored()).toEqual([1])
  })
})

describe('what goes through', () => {
  it('is a replica set to the driver: transactions commit all or nothing', async () => {
    await connection.transaction(async (session) => {
      await Thing.create([{ n: 1 }], { session })
      await Thing.updateOne({}, { n: 2 }, { session })
    })
    const failed = connection.transaction(async (session) => {
      await Thing.create([{ n: 3 }], { session })
      throw new Error('no')
    })
    await expect(failed).rejects.toThrow('no')
    expect(await stored()).toEqual([2])
    expect(received('abortTransaction')).toHaveLength(1)
  })

  it('is of any size', async () => {
    const text = 'x'.repeat(5_000_000)
    await Thing.insertMany([1, 2, 3, 4].map((n) => ({ n, text: `${text}${n}` })))
    const found = await Thing.find().sort({ n: 1 }).lean()
    expect(found.map((thing) => thing.text === `${text}${thing.n}`)).toEqual([true, true, true, true])
  })

  it('is every answer to a monitor that streams', async () => {
    const client = open({ heartbeatFrequencyMS: 500, serverMonitoringMode: 'stream' })
    let awaited = 0
    const streamed = new Promise<void>((resolve) => {
      client.on('serverHeartbeatSucceeded', (event) => {
        // The first is one answer to one request.
        if (event.awaited && ++awaited === 3) resolve()
      })
    })
    await client.connect()
    await streamed
    await client.close()
  })

  it('comes in any pieces, and several in one, and keeps its order while the first is held', async () => {
    const held = proxy.faults.hold({ command: 'ping' })
    const socket = connect(Number(address().split(':')[1]), '127.0.0.1')
    const messages = Buffer.concat([ping(1), ping(2), ping(3)])
    const cuts = [0, 2, 17, ping(1).length + 3, messages.length]
    for (const [index, end] of cuts.slice(1).entries()) {
      socket.write(messages.subarray(cuts[index], end))
      await turn()
    }
    await held.reached
    held.release()
    expect(await answeredRequests(socket, 3)).toEqual([1, 2, 3])
    socket.destroy()
  })
})

/** A `ping` as OP_MSG. */
function ping(requestId: number): Buffer {
  const body = serialize({ ping: 1, $db: 'admin' })
  const head = Buffer.alloc(21)
  for (const [index, value] of [21 + body.length, requestId, 0, 2013].entries()) head.writeInt32LE(value, index * 4)
  return Buffer.concat([head, body])
}

async function answeredRequests(socket: Socket, count: number): Promise<number[]> {
  const answered: number[] = []
  let bytes = Buffer.alloc(0)
  while (answered.length < count) {
    const [chunk] = (await once(socket, 'data')) as [Buffer]
    bytes = Buffer.concat([bytes, chunk])
    while (bytes.length >= 4 && bytes.length >= bytes.readInt32LE(0)) {
      answered.push(bytes.readInt32LE(8))
      bytes = bytes.subarray(bytes.readInt32LE(0))
    }
  }
  return answered
}

describe('the way to the server', () => {
  it('keeps of the URI all but where the server is, and does not compress', () => {
    expect(uriThrough('mongodb://me:p%40ss@a:1,b:2/admin?replicaSet=rs0&Compressors=zstd', '127.0.0.1:3')).toBe(
      'mongodb://me:p%40ss@127.0.0.1:3/admin?replicaSet=rs0&directConnection=true',
    )
    expect(uriThrough('mongodb://a', '127.0.0.1:3')).toBe('mongodb://127.0.0.1:3/?directConnection=true')
  })

  it('leads to the server that a direct connection names, whatever it calls itself', async () => {
    expect(await findServer('mongodb://[::1]:5/?directConnection=true')).toEqual({ host: '::1', port: 5 })
    expect(await findServer('mongodb://db.test/?directConnection=true')).toEqual({ host: 'db.test', port: 27017 })
  })

  it('is refused over TLS', async () => {
    const other = new MongoProxy()
    await expect(other.start('mongodb://a/?tls=true')).rejects.toThrow('speaks no TLS')
    await expect(other.start('mongodb+srv://a.b.test/')).rejects.toThrow('speaks no TLS')
    await other.stop()
  })

  it('ends at once while commands are held and clients are connected', async () => {
    const other = new MongoProxy()
    const client = new MongoClient(await other.start(), { serverSelectionTimeoutMS: 200 })
    const held = other.faults.hold({ command: 'find' })
    const outcome = failureOf(client.db(connection.name).collection('things').findOne({}))
    await held.reached
    await other.stop()
    expect(await outcome).toBeInstanceOf(Error)
    await client.close()
  })
})
