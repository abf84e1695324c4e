import v8 from 'node:v8'
import vm from 'node:vm'
import { Schema } from 'mongoose'
import { type KeyProvider, kmsEncrypted, localKms } from '../lib'
import { encodeContext } from '../lib/format/context'
import { KeyManager } from '../lib/kms/manager'
import { type CountingKms, countingKms } from './counting'
import { modelOf, rawCollection, secret, useDatabase } from './support'

/** `Model.decrypt()` of many records, and of cursors. */

const { connection } = useDatabase()
const concurrency = 8
const fields = { email: String, phone: String }

let kms: CountingKms & { /** Addresses of records whose data key the KMS refuses. */ readonly refused: Set<string> }
let User: any

beforeEach(() => {
  const refused = new Set<string>()
  const counting = countingKms({ concurrency })
  const unwrapDataKey: KeyProvider['unwrapDataKey'] = async (request) => {
    const key = await counting.unwrapDataKey(request)
    if (refused.has(String(request.context.Record).split('/')[1] as string)) throw new Error('not for you')
    return key
  }
  kms = Object.create(counting, { unwrapDataKey: { value: unwrapDataKey }, refused: { value: refused } })
  User = modelOf(connection, new Schema({ count: Number }), { provider: kms, fields })
})

const addressOf = (count: number) => `number${count}@many.example`

async function create(size: number): Promise<any[]> {
  const counts = Array.from({ length: size }, (_, count) => count)
  await User.insertMany(counts.map((count) => ({ count, email: secret(addressOf(count)) })))
  const records = await User.find().sort({ count: 1 }).lean()
  kms.clear()
  return records
}

const refuse = (record: any) => kms.refused.add(String(record._id))
const refusal = expect.objectContaining({ name: 'KeyProviderError', code: 'KMS_FAILED' })

describe('many records', () => {
  test('no more are asked for once one fails', async () => {
    const records = await create(200)
    refuse(records[3])
    await expect(User.decrypt(records)).rejects.toEqual(refusal)
    expect(kms.calls.length).toBeLessThanOrEqual(2 * concurrency)
  })

  test('the error is that of the first that failed, after all that was under way', async () => {
    const records = await create(20)
    refuse(records[2])
    refuse(records[1])
    const error = await User.decrypt(records).catch((failure: Error) => failure)
    expect(error.message).toContain(String(records[1]._id))
    const { length } = kms.calls
    await new Promise((resume) => setImmediate(resume))
    expect(kms.calls).toHaveLength(length)
  })

  test('settled: each gives its values or its error', async () => {
    const records = await create(50)
    refuse(records[7])
    refuse(records[49])
    const outcomes = await User.decrypt(records, { settled: true })
    expect(outcomes).toHaveLength(50)
    for (const [count, outcome] of outcomes.entries()) {
      if (count === 7 || count === 49) expect(outcome).toEqual({ status: 'rejected', reason: refusal })
      else expect(outcome).toMatchObject({ status: 'fulfilled', value: { count, email: addressOf(count) } })
    }
    expect(kms.calls).toHaveLength(50)
    expect(kms.most).toBe(concurrency)
  })

  test('settled: what is no record has an error of its own', async () => {
    const [record] = await create(1)
    const { _id, ...nameless } = record
    const outcomes = await User.decrypt([record, nameless, null, 'x'], { settled: true })
    expect(outcomes).toMatchObject([
      { status: 'fulfilled' },
      { status: 'rejected', reason: { code: 'ID_NOT_SELECTED' } },
      { status: 'fulfilled', value: null },
      { status: 'rejected', reason: expect.any(TypeError) },
    ])
  })

  test('settled: documents too, each with the fields that it has', async () => {
    await create(3)
    const documents = await User.find().sort({ count: 1 })
    refuse(documents[0])
    expect(await User.decrypt(documents, { settled: true })).toEqual([
      { status: 'rejected', reason: refusal },
      { status: 'fulfilled', value: { email: addressOf(1), phone: undefined } },
      { status: 'fulfilled', value: { email: addressOf(2), phone: undefined } },
    ])
  })

  test('a lean object of another model, or of a discriminator that was not selected, is no success', async () => {
    const Other = modelOf(connection, new Schema({}), { provider: kms, fields: { phone: String, note: String } })
    await Other.create({ note: secret('of another model') })
    const Child = User.discriminator(
      `${User.modelName}Child`,
      new Schema({}).plugin(kmsEncrypted as any, { provider: kms, name: 'child', fields: ['hobby'] }),
    )
    await Child.create({ count: 1, hobby: secret('of a child') })
    const foreign = { code: 'RECORD_FOREIGN' }
    await expect(User.decrypt(await Other.findOne().lean())).rejects.toMatchObject(foreign)
    await expect(User.decrypt(await User.findOne().select('-__t').lean())).rejects.toMatchObject(foreign)
    expect(await User.decrypt([await Other.findOne().lean()], { settled: true })).toMatchObject([
      { status: 'rejected', reason: foreign },
    ])
    expect(await User.decrypt(await User.findOne().lean())).toMatchObject({ hobby: 'of a child' })
  })

  test('lean subdocuments under the key of their owner say that it was not selected', async () => {
    const note = new Schema({}).plugin(kmsEncrypted as any, { dataKey: 'owner', fields: ['text'] })
    const Owner = modelOf(connection, new Schema({ notes: [note] }), { provider: kms, fields: ['email'] })
    await Owner.create({ notes: [{ text: secret('a note') }] })
    await expect(Owner.decrypt(await Owner.findOne().select('notes').lean())).resolves.toBeDefined()
    const { notes, _id } = await Owner.findOne().lean()
    await expect(Owner.decrypt({ notes, _id })).rejects.toMatchObject({ code: 'KEY_NOT_SELECTED' })
  })

  test('a query that gives one record is not taken for a cursor', () => {
    expect(() => User.decrypt(User.findOne().lean())).toThrow(/findOne\(\) gives no cursor\. Await it first/)
    expect(() => User.decrypt(User.findOneAndUpdate({}, { count: 2 }))).toThrow(/Await it first/)
  })

  test.each([
    ['an unknown option', { settle: true }],
    ['no boolean', { settled: 'yes' }],
    ['no object', true],
  ])('%s is refused', async (_name, options) => {
    const records = await create(1)
    const refusal = expect.objectContaining({ code: 'OPTION_INVALID' })
    for (const each of [records, records[0]]) await expect(User.decrypt(each, options)).rejects.toEqual(refusal)
    expect(() => User.decrypt(User.find().lean().cursor(), options)).toThrow(refusal)
  })

  test('settled is for many', async () => {
    const [record] = await create(1)
    await expect(User.decrypt(record, { settled: true })).rejects.toThrow(/expected an array or a cursor/)
  })
})

describe('a cursor', () => {
  /** Whatever documents can be read from, one after another. */
  const sources: [string, () => any][] = [
    ['of a lean query', () => User.find().sort({ count: 1 }).lean().cursor({ batchSize: 7 })],
    ['of documents', () => User.find().sort({ count: 1 }).cursor()],
    ['that fetches in batches of its own', () => User.find().sort({ count: 1 }).lean().cursor({ batchSize: 5 })],
    ['of an aggregation', () => User.aggregate([{ $sort: { count: 1 } }]).cursor()],
    ['of the driver', () => rawCollection(User).find({}).sort({ count: 1 })],
    ['that is a query itself', () => User.find().sort({ count: 1 }).lean()],
    ['that is an aggregation itself', () => User.aggregate([{ $sort: { count: 1 } }])],
    [
      'that is any async iterable',
      () =>
        (async function* () {
          yield* await User.find().sort({ count: 1 }).lean()
        })(),
    ],
  ]

  test.each(sources)('%s gives the records in their order', async (_name, source) => {
    await create(60)
    const addresses: string[] = []
    for await (const { email } of User.decrypt(source())) addresses.push(email)
    expect(addresses).toEqual(Array.from({ length: 60 }, (_, count) => addressOf(count)))
    expect(kms.calls).toHaveLength(60)
    expect(kms.most).toBeLessThanOrEqual(concurrency)
  })

  test('what is there is given while the source makes others wait', async () => {
    const [record] = await create(1)
    let release!: () => void
    const slow = (async function* () {
      yield record
      await new Promise<void>((resume) => {
        release = resume
      })
      yield record
    })()
    const opened = User.decrypt(slow)[Symbol.asyncIterator]()
    expect(await opened.next()).toMatchObject({ value: { count: 0 } })
    release()
    expect(await opened.next()).toMatchObject({ value: { count: 0 } })
    expect(await opened.next()).toMatchObject({ done: true })
  })

  test('keeps as many calls under way as run at once', async () => {
    const records = await create(60)
    const iterable = (async function* () {
      yield* records
    })()
    for await (const _ of User.decrypt(iterable));
    expect(kms.most).toBe(concurrency)
  })

  test('an empty one ends at once', async () => {
    for (const [, source] of sources) for await (const record of User.decrypt(source())) expect(record).toBeUndefined()
  })

  test('asks ahead in bounds, and for nothing before it is read', async () => {
    await create(100)
    let given = 0
    const opened = User.decrypt(
      (async function* () {
        for await (const record of User.find().sort({ count: 1 }).lean()) {
          given++
          yield record
        }
      })(),
    )
    await new Promise((resume) => setImmediate(resume))
    expect([given, kms.calls.length]).toEqual([0, 0])
    let taken = 0
    for await (const _ of opened) {
      taken++
      expect(given - taken).toBeLessThanOrEqual(2 * concurrency)
    }
    expect(taken).toBe(100)
  })

  test('holds no record that was read, however many there are', async () => {
    v8.setFlagsFromString('--expose-gc')
    const collect = vm.runInNewContext('gc') as () => void
    const [record] = await create(1)
    const given: WeakRef<object>[] = []
    const source = async function* () {
      for (let count = 0; count < 1000; count++) {
        const copy = { ...record }
        given.push(new WeakRef(copy))
        yield copy
      }
    }
    let read = 0
    for await (const _ of User.decrypt(source())) {
      if (++read !== 900) continue
      await new Promise((resume) => setImmediate(resume))
      collect()
      expect(given.filter((each) => each.deref()).length).toBeLessThan(8 * concurrency)
    }
    expect(read).toBe(1000)
  })

  test('is closed when the reader stops, and nothing is asked for any more', async () => {
    await create(100)
    for (const make of [() => User.find().lean().cursor({ batchSize: 3 }), () => rawCollection(User).find({})]) {
      kms.clear()
      const cursor = make()
      const close = jest.spyOn(cursor, 'close')
      for await (const _ of User.decrypt(cursor)) break
      expect(close).toHaveBeenCalledTimes(1)
      const { length } = kms.calls
      expect(length).toBeLessThanOrEqual(3 * concurrency)
      await new Promise((resume) => setImmediate(resume))
      expect(kms.calls).toHaveLength(length)
    }
  })

  test('a reader that stops, or a record that fails, does not wait for a source that gives nothing more', async () => {
    const [record] = await create(1)
    const quiet = async function* (...given: unknown[]) {
      yield* given
      await new Promise(() => {})
    }
    for await (const _ of User.decrypt(quiet(record))) break
    const failing = async () => {
      for await (const _ of User.decrypt(quiet(record, { email: record.email })));
    }
    await expect(failing()).rejects.toMatchObject({ code: 'ID_NOT_SELECTED' })
    const opened = User.decrypt(quiet(record))[Symbol.asyncIterator]()
    await opened.next()
    expect(await opened.return()).toEqual({ done: true, value: undefined })
  })

  test('a record that fails ends it, after those before, and closes it', async () => {
    const records = await create(100)
    refuse(records[5])
    const cursor = User.find().sort({ count: 1 }).lean().cursor()
    const close = jest.spyOn(cursor, 'close')
    const counts: number[] = []
    const reading = async () => {
      for await (const { count } of User.decrypt(cursor)) counts.push(count)
    }
    await expect(reading()).rejects.toEqual(refusal)
    expect(counts).toEqual([0, 1, 2, 3, 4])
    expect(close).toHaveBeenCalledTimes(1)
    expect(kms.calls.length).toBeLessThan(100)
  })

  test('settled: it goes on', async () => {
    const records = await create(30)
    refuse(records[5])
    const outcomes: any[] = []
    for await (const outcome of User.decrypt(User.find().sort({ count: 1 }).lean().cursor(), { settled: true }))
      outcomes.push(outcome)
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(29)
    expect(outcomes[5]).toEqual({ status: 'rejected', reason: refusal })
  })

  test('whose source fails says so, after what was read before', async () => {
    const records = await create(3)
    const counts: number[] = []
    const reading = async () => {
      const broken = (async function* () {
        yield* records
        throw new Error('the cursor was killed')
      })()
      for await (const { count } of User.decrypt(broken)) counts.push(count)
    }
    await expect(reading()).rejects.toThrow('the cursor was killed')
    expect(counts).toEqual([0, 1, 2])
  })
})

test('what has expired in the cache is freed, though nobody asks for it again', async () => {
  v8.setFlagsFromString('--expose-gc')
  const collect = vm.runInNewContext('gc') as () => void
  const provider = localKms()
  const manager = new KeyManager(provider, { maxAgeMs: 20, maxEntries: 10 })
  const requester = { model: 'User', id: 1, fields: [], read: [] }
  const context = { Record: 'User/1' }
  const { key, ...entry } = await manager.generate({ keyId: provider.keyId, context }, requester)
  const request = { ...entry, context, encoded: encodeContext(context), commitment: key.commitment }
  const open = () => manager.unwrap(request, requester, 'User/1')
  const opened = await open().then((first) => new WeakRef(first))
  // The cache frees it in its time, and the garbage collector when it is asked to.
  for (let tries = 0; opened.deref() && tries < 500; tries++) {
    await new Promise((resume) => setTimeout(resume, 5))
    collect()
  }
  expect(opened.deref()).toBeUndefined()
})
