import mongoose, { Schema, Types } from 'mongoose'
import type { JobOptions, JobProgress, JobResult } from '../../lib'
import { named, plugin, provider, refused, secret, useFaults } from '../faults/support'
import { bytesAt } from '../search/support'
import { beforeAndAfter, commandsOf, watchedKms } from './support'

// How a job goes over many records: in which order, how many at once, until when, and where it goes on.
const { connection, open, raw, plant } = useFaults()
const { Decimal128, Long, UUID, Binary, Timestamp } = mongoose.mongo.BSON

async function models(options: object = {}, paths: object = {}) {
  const kms = watchedKms()
  const other = await open()
  return {
    ...beforeAndAfter(connection, other, { provider: kms.provider, ...options }, paths),
    kms,
    sent: commandsOf(other),
  }
}

/** Records of so many people, each with an address of its own. */
async function people(model: any, count: number, from = 0): Promise<void> {
  const numbers = Array.from({ length: count }, (_, index) => from + index)
  await model.insertMany(numbers.map((index) => ({ name: `n${index}`, email: secret(`person ${index} at home`) })))
}

const current = async (model: any) => (await raw(model)).filter((record) => bytesAt(record) !== undefined).length

test('is aborted again and again, and goes on until all are done, each opened once', async () => {
  const { Before, After, kms } = await models()
  await people(Before, 300)
  let resume: unknown
  let runs = 0
  let total = 0
  for (let ended = false; !ended; runs++) {
    const controller = new AbortController()
    const stopAt = 1 + Math.floor(Math.random() * 90)
    let count = 0
    kms.whileOpening(() => {
      if (++count === stopAt) controller.abort()
    })
    const result: JobResult = await After.backfillBlindIndexes({ signal: controller.signal, resume, batchSize: 20 })
    const ids = (await raw(After)).map(({ _id }) => _id)
    total += result.processed
    // All up to the checkpoint are done, and none behind it is.
    expect(result).toMatchObject({ failed: 0, unchanged: 0, updated: result.processed })
    expect([await current(After), kms.opened.length]).toEqual([total, total])
    if (result.processed > 0) expect(ids[total - 1]).toEqual(result.checkpoint)
    ended = !result.interrupted
    resume = result.checkpoint
  }
  expect(runs).toBeGreaterThan(3)
  expect([total, await current(After)]).toEqual([300, 300])
  expect(new Set(kms.opened).size).toBe(300)
  expect((await After.findOne({ email: 'person 299 at home' })).name).toBe('n299')
})

test('one that was killed goes on after the last checkpoint that it told of', async () => {
  const { Before, After } = await models()
  await people(Before, 50)
  const told: JobProgress[] = []
  const killed = new Error('killed')
  const onProgress = (progress: JobProgress) => {
    told.push(progress)
    if (told.length === 2) throw killed
  }
  await expect(After.backfillBlindIndexes({ onProgress, batchSize: 10, concurrency: 3 })).rejects.toBe(killed)
  const ids = (await raw(After)).map(({ _id }) => _id)
  expect(told).toEqual([10, 20].map((n) => ({ ...counts(n), checkpoint: ids[n - 1] })))
  await people(Before, 5, 50)
  // What was done meanwhile behind the checkpoint is not done again.
  const done = await current(After)
  expect(done).toBeGreaterThanOrEqual(20)
  const { processed } = await After.backfillBlindIndexes({ resume: told[1]?.checkpoint })
  expect([processed, await current(After)]).toEqual([55 - done, 55])
})

const counts = (processed: number) => ({ processed, updated: processed, unchanged: 0, failed: 0 })

test('progress is told of after each batch and at the end, and waited for', async () => {
  const { Before, After } = await models()
  await people(Before, 25)
  const told: number[] = []
  let telling = 0
  const onProgress = async ({ processed }: JobProgress) => {
    expect(telling++).toBe(0)
    told.push(processed)
    await new Promise((resume) => setImmediate(resume))
    telling--
  }
  await After.backfillBlindIndexes({ onProgress, batchSize: 10 })
  expect(told).toEqual([10, 20, 25])
  await After.backfillBlindIndexes({ onProgress })
  expect(told).toHaveLength(3)
})

test('a signal that was aborted before has nothing done', async () => {
  const { Before, After, kms } = await models()
  await people(Before, 3)
  const result = await After.backfillBlindIndexes({ signal: AbortSignal.abort() })
  expect(result).toEqual({ ...counts(0), checkpoint: undefined, failures: [], interrupted: true })
  expect([kms.opened, await current(After)]).toEqual([[], 0])
})

test('what is begun when it is aborted ends', async () => {
  const { Before, After, kms } = await models()
  await people(Before, 10)
  const controller = new AbortController()
  let release!: () => void
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  kms.whileOpening(() => {
    if (kms.opened.length === 3) {
      controller.abort()
      setImmediate(release)
    }
    return held
  })
  const result = await After.backfillBlindIndexes({ signal: controller.signal, concurrency: 3 })
  expect(result).toMatchObject({ ...counts(3), interrupted: true })
  expect([kms.opened.length, await current(After)]).toEqual([3, 3])
})

describe('at once', () => {
  async function most(settings: object, options: JobOptions): Promise<number> {
    const kms = watchedKms(settings)
    const { Before, After } = await models({ provider: kms.provider })
    await people(Before, 40)
    let running = 0
    let highest = 0
    kms.whileOpening(async () => {
      highest = Math.max(highest, ++running)
      for (let turn = 0; turn < 20; turn++) await new Promise((resume) => setImmediate(resume))
      running--
    })
    await After.backfillBlindIndexes(options)
    expect(await current(After)).toBe(40)
    return highest
  }

  test('are as many as the provider takes', async () => expect(await most({ concurrency: 7 }, {})).toBe(7))

  test('or as many as are asked for', async () => {
    expect(await most({}, { concurrency: 1 })).toBe(1)
    expect(await most({}, { concurrency: 4, batchSize: 3 })).toBe(4)
  })

  test('and not more than the provider takes', async () => {
    expect(await most({ concurrency: 2 }, { concurrency: 10 })).toBe(2)
  })
})

test('reads no more at once than a batch, and asks for each batch anew', async () => {
  const { Before, After, sent } = await models()
  await people(Before, 25)
  await After.backfillBlindIndexes({ batchSize: 10 })
  const finds = sent.filter(({ name }) => name === 'find').map(({ command }) => command)
  expect(finds.map(({ limit }) => limit)).toEqual([10, 10, 10])
  expect(sent.filter(({ name }) => name === 'getMore')).toEqual([])
})

test('_ids of all types are gone over in the order of MongoDB, wherever it goes on', async () => {
  const { Before, After, kms } = await models({}, { _id: Schema.Types.Mixed })
  /** Does one record and no more. */
  const first = (resume: unknown): Promise<JobResult> => {
    const controller = new AbortController()
    kms.whileOpening(() => controller.abort())
    return After.backfillBlindIndexes({ resume, concurrency: 1, signal: controller.signal })
  }
  const ids: unknown[] = [
    -5,
    Decimal128.fromString('7'),
    Long.fromString('9007199254740995'),
    Number.POSITIVE_INFINITY,
    '',
    'a text',
    { tenant: 1 },
    { tenant: 2 },
    new UUID('65f0c0ff-ee65-40c0-8fee-65f0c0ffee65'),
    new Types.ObjectId('65f0c0ffee65f0c0ffee65f0'),
    new Types.ObjectId('65f0c0ffee65f0c0ffee65f1'),
    false,
    true,
    new Date(0),
    new Date(1),
  ]
  for (const _id of [...ids].reverse()) await Before.create({ _id, phone: secret('+44 20 7946 0000') })
  const stored = (await raw(Before)).map(({ _id }) => _id)
  expect(stored).toHaveLength(ids.length)
  const seen: unknown[] = []
  let resume: unknown
  for (const id of stored) {
    const { checkpoint, processed } = await first(resume)
    expect(processed).toBe(1)
    // As `resume`, true means something else, so that the one before is to go on after.
    seen.push(id === true ? true : checkpoint)
    resume = checkpoint
  }
  expect(seen).toEqual(stored)
  expect(await first(resume)).toMatchObject({ processed: 0, checkpoint: resume, interrupted: false })
  // In batches of one, for each of which the record before is the one to go on after.
  await connection.collection(After.collection.name).updateMany({}, { $unset: { phone_bidx: 1 } })
  expect(await After.backfillBlindIndexes({ batchSize: 1 })).toMatchObject(counts(ids.length))
})

test('behind numbers that are none, and types that only others store', async () => {
  const { After } = await models({}, { _id: Schema.Types.Mixed })
  const ids = [null, Number.NaN, -1, 1, new Binary(Buffer.of(1), 0x80), new Timestamp({ t: 1, i: 1 })]
  await plant(After, ...ids.map((_id) => ({ _id, email: 'in the clear' })))
  const { failed, failures } = await After.backfillBlindIndexes({ batchSize: 1 })
  expect(failed).toBe(ids.length)
  expect(failures.map(({ id }: any) => id)).toEqual((await raw(After)).map(({ _id }) => _id))
})

test('the filter is cast, asks for index values, and is refused as that of a find', async () => {
  const { Before, After } = await models({}, { of: Schema.Types.ObjectId, age: Number })
  const of = new Types.ObjectId()
  await Before.create([
    { of, age: 1, email: secret('one@example.org') },
    { of, age: 2, email: secret('two@example.org') },
    { age: 3, email: secret('six@example.org'), phone: secret('+44 20 7946 0000') },
  ])
  expect(await After.backfillBlindIndexes({ filter: { of: String(of), age: { $gte: '2' } } })).toMatchObject(counts(1))
  expect((await raw(After)).map((each) => bytesAt(each) !== undefined)).toEqual([false, true, false])
  await After.updateOne({ age: 3 }, { email: 'six@example.org' })
  expect(await After.backfillBlindIndexes({ filter: { email: 'six@example.org' } })).toMatchObject(counts(1))
  expect(bytesAt((await raw(After))[2], 'phone_bidx')).toBeDefined()
  await refused(() => After.backfillBlindIndexes({ filter: { note: 'x' } }), 'QUERY_REFUSED', /note/)
  await expect(After.backfillBlindIndexes({ filter: { age: 'old' } })).rejects.toMatchObject({ name: 'CastError' })
  expect(await After.backfillBlindIndexes()).toMatchObject(counts(1))
})

test('an error of the database ends it', async () => {
  const { Before, After } = await models()
  await people(Before, 3)
  await expect(After.backfillBlindIndexes({ filter: { $nope: 1 } })).rejects.toThrow(/\$nope/)
  expect(await current(After)).toBe(0)
})

test.each<[string, unknown, RegExp]>([
  ['options', 5, /expected an object of options/],
  ['null', null, /expected an object of options/],
  ['an unknown option', { batchsize: 5 }, /no option batchsize/],
  ['a filter', { filter: 'all' }, /filter: expected an object/],
  ['an empty filter', { filter: null }, /filter: expected an object/],
  ['a concurrency', { concurrency: 0 }, /concurrency: expected a positive integer/],
  ['a batch size', { batchSize: 1.5 }, /batchSize: expected a positive integer/],
  ['a batch size as text', { batchSize: '5' }, /batchSize: expected a positive integer/],
  ['a signal', { signal: new AbortController() }, /signal: expected an AbortSignal/],
  ['no signal', { signal: null }, /signal: expected an AbortSignal/],
  ['a progress', { onProgress: 'log' }, /onProgress: expected a function/],
])('%s that cannot be used is refused before anything is read', async (_name, options, message) => {
  const { After, sent } = await models()
  await After.init()
  sent.length = 0
  const { message: said } = await refused(() => After.backfillBlindIndexes(options), 'OPTION_INVALID', message)
  expect(said).toMatch(/^Account_\d+\.backfillBlindIndexes\(\): /)
  expect(sent).toEqual([])
})

test.each([
  ['rotateKmsKey', { nmae: 'Bob' }],
  ['migrateFromKms', { nmae: 'Bob' }],
  ['migrateFromKms', { name: undefined }],
  ['verifyKms', { $or: [{ nmae: 'Bob' }, { name: 'Bob' }] }],
])('%s() for more records than are asked for is refused: %p', async (job, filter) => {
  const schema = new Schema<any>({ name: String }, { strictQuery: true })
  const Strict: any = connection.model<any>(
    named('Strict'),
    schema.plugin(plugin, { provider, migrating: true, fields: ['email'] }),
  )
  await Strict.create({ name: 'Ada', email: secret('ada@example.org') })
  const before = await raw(Strict)
  await refused(() => Strict[job]({ filter }), 'OPTION_INVALID', /n(ame|mae) would be left out/)
  expect(await raw(Strict)).toEqual(before)
})

test('a model of what holds encrypted records is told that there is nothing to do', async () => {
  const contact = new Schema<any>({}).plugin(plugin, { provider, fields: { phone: String } })
  const Holder = connection.model<any>(named('Holder'), new Schema<any>({ contacts: [contact] })) as any
  await refused(() => Holder.backfillBlindIndexes(), 'OPTION_INVALID', /no field of this model has a blind index/)
})
