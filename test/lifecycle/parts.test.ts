import mongoose, { Schema } from 'mongoose'
import type { JobOptions, JobResult } from '../../lib'
import { named, plugin, refused, secret, useFaults } from '../faults/support'
import { commandsOf, watchedKms } from './support'

// Jobs that several workers share, each with a part, and what is kept of them in the database.
const { open, raw, plant, tamper } = useFaults()
const { Decimal128, Binary } = mongoose.mongo.BSON

/** A model as several workers have it, each with a connection and a provider of its own. */
async function workers<N extends number>(howMany: N, paths: object = {}) {
  const name = named('Person')
  const make = async () => {
    const kms = watchedKms()
    const on = await open()
    const schema = new Schema<any>({ name: String, ...paths }).plugin(plugin, {
      provider: kms.provider,
      fields: ['email'],
    })
    return { Person: on.model<any>(name, schema) as any, kms, sent: commandsOf(on) }
  }
  return Promise.all(Array.from({ length: howMany }, make))
}

const people = (model: any, count: number, from = 0) =>
  model.insertMany(
    Array.from({ length: count }, (_, index) => ({
      name: `n${from + index}`,
      email: secret(`person ${from + index} at home`),
    })),
  )

const jobs = { collection: { name: 'kms_jobs' } }
/** What is kept of the run, and of its parts. */
const kept = async () => {
  const all = await raw(jobs)
  const isRun = ({ _id }: any) => / \/\d+$/.test(_id)
  return { run: all.find(isRun), parts: all.filter((each) => !isRun(each)) }
}
const keysOf = async (model: any) =>
  (await raw(model)).map(({ encrypted_kms_key }) => encrypted_kms_key[0].createdAt.getTime())

test('parts are ranges of about equal counts, each done by one worker, and all of them together are all', async () => {
  const team = await workers(4)
  const [{ Person }] = team as any
  await people(Person, 42)
  const ids = (await raw(Person)).map(({ _id }) => String(_id))
  const of = team.length
  const results: JobResult[] = await Promise.all(
    team.map(({ Person: each }, index) => each.rotateKmsKey({ partition: { index, of }, batchSize: 4 })),
  )
  expect(results.map(({ processed, updated }) => [processed, updated])).toEqual([10, 11, 10, 11].map((n) => [n, n]))
  const done = team.map(({ kms }) => kms.opened.map((record) => record.split('/')[1]))
  expect(done.map((each) => [...each].sort())).toEqual([
    ids.slice(0, 10),
    ids.slice(10, 21),
    ids.slice(21, 31),
    ids.slice(31),
  ])
  const { run } = await kept()
  expect([run.bounds.map(String), [...run.ended].sort()]).toEqual([
    [ids[9], ids[20], ids[30]],
    [0, 1, 2, 3],
  ])
  expect(await Person.verifyKms()).toMatchObject({ unchanged: 42 })
})

test('a run lasts until all parts have ended: what came since is in the last one, what has ended is not done again, and then another begins', async () => {
  const [{ Person, kms }] = (await workers(1)) as any
  await people(Person, 6)
  const part = (index: number): Promise<JobResult> => Person.verifyKms({ partition: { index, of: 3 } })
  expect(await part(1)).toMatchObject({ processed: 2, checkpoint: (await raw(Person))[3]._id })
  await people(Person, 5, 6)
  kms.opened.length = 0
  expect(await part(1)).toEqual({
    ...{ processed: 0, updated: 0, unchanged: 0, failed: 0 },
    ...{ checkpoint: undefined, failures: [], interrupted: false },
  })
  expect(await part(2)).toMatchObject({ processed: 7 })
  expect(await part(0)).toMatchObject({ processed: 2 })
  expect(kms.opened).toHaveLength(9)
  const before = await kept()
  for (const index of [2, 1, 0]) expect((await part(index)).processed).toBe(index === 0 ? 3 : 4)
  expect((await kept()).run.startedAt.getTime()).toBeGreaterThan(before.run.startedAt.getTime())
})

test('fewer records than parts, and none', async () => {
  const [{ Person }] = (await workers(1)) as any
  const processed = async () => {
    const counts: number[] = []
    for (const index of [3, 0, 1, 2]) counts.push((await Person.verifyKms({ partition: { index, of: 4 } })).processed)
    return counts
  }
  expect(await processed()).toEqual([0, 0, 0, 0])
  await people(Person, 2)
  expect(await processed()).toEqual([0, 1, 1, 0])
})

test('records with an _id of any type are in one part each', async () => {
  const [{ Person }] = (await workers(1, { _id: Schema.Types.Mixed })) as any
  const ids = [
    Number.NaN,
    -1,
    1.5,
    Decimal128.fromString('2'),
    'a',
    'b',
    { n: 1 },
    new Binary(Buffer.of(1), 0x80),
    false,
    true,
    new Date(0),
  ]
  await plant(Person, ...ids.map((_id) => ({ _id, email: 'in the clear' })))
  for (let of = 1; of <= ids.length + 1; of++) {
    const found: unknown[] = []
    for (let index = 0; index < of; index++)
      found.push(...(await Person.verifyKms({ partition: { index, of } })).failures.map(({ id }: any) => id))
    expect(found).toEqual((await raw(Person)).map(({ _id }) => _id))
  }
})

test('the same part is refused to a second worker while the first has it, and given when that has ended', async () => {
  const [one, two] = (await workers(2)) as any
  await people(one.Person, 4)
  const options: JobOptions = { partition: { index: 0, of: 2 }, concurrency: 1, batchSize: 1 }
  let refusals = 0
  one.kms.whileOpening(async () => {
    await refused(
      () => two.Person.rotateKmsKey(options),
      'JOB_RUNNING',
      /rotateKmsKey\(\): part 0 of 2: another worker/,
    )
    refusals++
  })
  expect(await one.Person.rotateKmsKey(options)).toMatchObject({ updated: 2 })
  expect([refusals, two.kms.opened]).toEqual([2, []])
  expect(await two.Person.rotateKmsKey(options)).toMatchObject({ processed: 0 })
  expect(await two.Person.rotateKmsKey({ partition: { index: 1, of: 2 } })).toMatchObject({ updated: 2 })
  // Another job is another thing.
  expect(await two.Person.verifyKms({ resume: true })).toMatchObject({ processed: 4 })
})

test('a worker whose lease has ended stops before the next record, and what it did stays', async () => {
  const [one, two] = (await workers(2)) as any
  await people(one.Person, 6)
  const before = await keysOf(one.Person)
  let taken: Promise<JobResult> | undefined
  one.kms.whileOpening(async () => {
    if (taken) return
    await tamper(jobs, { holder: { $exists: true } }, { $set: { leaseUntil: new Date(0) } })
    taken = two.Person.rotateKmsKey({ resume: true, batchSize: 2 })
    expect(await taken).toMatchObject({ processed: 6, updated: 6 })
  })
  const failed = one.Person.rotateKmsKey({ resume: true, batchSize: 2, concurrency: 1, leaseMs: 50_000 })
  await refused(() => failed, 'LEASE_LOST', /the lease of 50000 ms ended/)
  expect((await keysOf(one.Person)).filter((key, index) => key <= (before[index] as number))).toEqual([])
  expect(two.kms.opened.length + one.kms.opened.length).toBeLessThanOrEqual(6 + 3)
  expect(await one.Person.verifyKms()).toMatchObject({ unchanged: 6 })
})

test('a lease is renewed while a record takes longer than it', async () => {
  const [{ Person, kms }] = (await workers(1)) as any
  await people(Person, 1)
  kms.whileOpening(async () => {
    const until = async () => (await kept()).parts[0].leaseUntil.getTime()
    const first = await until()
    while ((await until()) <= first + 600) await new Promise(setImmediate)
  })
  expect(await Person.rotateKmsKey({ resume: true, leaseMs: 600 })).toMatchObject({ updated: 1 })
})

test('killed at a random moment and gone on with ten times from the database, every record is current, and done once', async () => {
  const team = (await workers(11)) as any[]
  const [{ Person }] = team
  const count = 120
  await people(Person, count)
  const before = await keysOf(Person)
  const starts = new Set<number>()
  for (const { Person: each, kms } of team.slice(0, 10)) {
    const killed = new Error('killed')
    let left = 1 + Math.floor(Math.random() * 14)
    // It ends in the middle of a batch, and its lease is left behind.
    const controller = new AbortController()
    kms.whileOpening(() => {
      if (--left === 0) controller.abort()
    })
    const onProgress = () => {
      if (left <= 0) throw killed
    }
    const result = await each
      .rotateKmsKey({ resume: true, batchSize: 5, concurrency: 3, onProgress, signal: controller.signal })
      .catch((error: unknown) => expect(error).toBe(killed))
    if (result) expect(result.failed).toBe(0)
    const { run, parts } = await kept()
    starts.add(run.startedAt.getTime())
    await tamper(jobs, { _id: parts[0]._id }, { $set: { holder: 'somebody who died', leaseUntil: new Date(0) } })
  }
  const last: JobResult = await team[10].Person.rotateKmsKey({ resume: true })
  expect(last).toMatchObject({ failed: 0, interrupted: false })
  expect(starts.size).toBe(1)
  expect(team.flatMap(({ kms }) => kms.opened)).toHaveLength(count)
  expect(new Set(team.flatMap(({ kms }) => kms.opened)).size).toBe(count)
  const after = await keysOf(Person)
  expect(after.filter((key, index) => key <= (before[index] as number))).toEqual([])
  expect(await Person.verifyKms()).toMatchObject({ unchanged: count })
})

test('a job that is killed with a batch under way goes on after its checkpoint, and opens no more than that batch again', async () => {
  const [one, two] = (await workers(2)) as any
  await people(one.Person, 40)
  const killed = new Error('killed')
  let told = 0
  const onProgress = () => {
    if (++told === 3) throw killed
  }
  await expect(one.Person.verifyKms({ resume: true, batchSize: 5, concurrency: 2, onProgress })).rejects.toBe(killed)
  const ids = (await raw(one.Person)).map(({ _id }) => _id)
  expect((await kept()).parts[0]).toMatchObject({ checkpoint: ids[14] })
  expect(await two.Person.verifyKms({ resume: true, batchSize: 5 })).toMatchObject({
    processed: 25,
    checkpoint: ids[39],
  })
  expect(one.kms.opened.length + two.kms.opened.length).toBeLessThanOrEqual(40 + 5)
})

test('without resume: true or a partition, nothing is kept', async () => {
  const [{ Person, sent }] = (await workers(1)) as any
  await people(Person, 3)
  sent.length = 0
  await Person.verifyKms()
  expect(sent.map(({ name }: any) => name)).toEqual(['find'])
  expect(await raw(jobs)).toEqual([])
})

test.each<[string, object, RegExp]>([
  ['a part that is none', { partition: { index: 2, of: 2 } }, /partition: expected \{ index, of \}/],
  ['a part before the first', { partition: { index: -1, of: 2 } }, /partition: expected/],
  ['a part of nothing', { partition: { index: 0 } }, /partition: expected/],
  ['a part with more', { partition: { index: 0, of: 1, name: 'x' } }, /partition: expected/],
  ['half a part', { partition: { index: 0.5, of: 2 } }, /partition: expected/],
  [
    'two checkpoints',
    { partition: { index: 0, of: 2 }, resume: 5 },
    /resume: a part goes on after the checkpoint that is in the database/,
  ],
  ['a lease of no time', { partition: { index: 0, of: 2 }, leaseMs: 0 }, /leaseMs: expected a positive integer/],
])('%s is refused before anything is read', async (_name, options, message) => {
  const [{ Person, sent }] = (await workers(1)) as any
  await Person.init()
  sent.length = 0
  await refused(() => Person.verifyKms(options), 'OPTION_INVALID', message)
  expect(sent).toEqual([])
})

test('an error in what is asked for leaves no lease behind', async () => {
  const [{ Person }] = (await workers(1)) as any
  const partition = { index: 0, of: 2 }
  await refused(() => Person.verifyKms({ partition, filter: { email: 'x' } }), 'QUERY_REFUSED')
  expect(await Person.verifyKms({ partition })).toMatchObject({ processed: 0 })
})
