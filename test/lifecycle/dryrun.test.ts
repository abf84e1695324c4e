import mongoose, { Schema } from 'mongoose'
import type { JobFailure, JobStart } from '../../lib'
import { countingKms } from '../counting'
import { contactSchema, named, plugin, refused, useFaults } from '../faults/support'
import { commandsOf } from './support'

// What there is to do, told before it is done: nothing is written and no KMS is asked for that.
const { connection, open, raw, plant, tamper } = useFaults()
const fields = ['email', 'note']
const ada = (index: number) => ({
  name: `n${index}`,
  email: `${index}@example.org`,
  note: `note ${index}`,
})

/** One collection as three versions of an application have it: in the clear, migrating, and with a second generation of keys. */
async function versions() {
  const name = named('Person')
  const kms = countingKms()
  const on = await open()
  const make = (where: any, options: object) => {
    const schema = new Schema<any>({ name: String, contacts: [contactSchema({ provider: kms, migrating: true })] })
    return where.model(name, schema.plugin(plugin, { provider: kms, fields, migrating: true, ...options })) as any
  }
  const second = { version: 2, previousVersions: { 1: {} } }
  return {
    kms,
    Person: make(connection, {}),
    Later: make(on, second),
    sent: commandsOf(on),
  }
}

const reading = ['find', 'count', 'aggregate', 'getMore', 'listIndexes', 'hello', 'endSessions']

test.each([
  ['verifyKms', 6],
  ['rotateKmsKey', 12],
  ['rewrapKmsKey', 3],
  ['migrateFromKms', 6],
  ['migrateToKms', 3],
  ['eraseKmsKey', 0],
])('%s asks the KMS as often as it has told, and tells without asking', async (job, expected) => {
  const { kms, Person, Later, sent } = await versions()
  const phone = '+44 20 7946 0000'
  await Person.create([
    { ...ada(0), contacts: [{ phone }, { phone }] },
    ada(1),
    { ...ada(2), contacts: [{ phone }] },
    { name: 'none' },
  ])
  if (job === 'migrateToKms') {
    await plant(
      Person,
      { email: 'clear@example.org' },
      {
        note: 'in the clear',
        contacts: [{ _id: new mongoose.Types.ObjectId(), phone: '+1 555 0100' }],
      },
    )
  }
  const before = await raw(Person)
  kms.clear()
  sent.length = 0
  const options = job === 'eraseKmsKey' ? { filter: { _id: { $exists: true } } } : {}
  for (const more of [{}, { resume: true }]) {
    const told = await Later[job]({ ...options, ...more, dryRun: true })
    expect(told).toMatchObject({ kmsCalls: expected, updated: 0, failed: 0, interrupted: false })
    expect([kms.calls, sent.map(({ name }) => name).filter((name) => !reading.includes(name))]).toEqual([[], []])
    expect([await raw(Person), await raw({ collection: { name: 'kms_jobs' } })]).toEqual([before, []])
  }
  const told = await Later[job]({ ...options, dryRun: true })
  const done = await Later[job](options)
  expect([done.processed, done.failed, kms.calls.length]).toEqual([told.processed, 0, expected])
  const { kmsCalls } = await Later[job]({ ...options, dryRun: true })
  expect([job, kmsCalls]).toEqual([job, job === 'verifyKms' ? expected : job === 'rotateKmsKey' ? 12 : 0])
})

test('of a part it tells what is left of it', async () => {
  const { kms, Person } = await versions()
  await Person.insertMany(Array.from({ length: 10 }, (_, index) => ada(index)))
  const part = { partition: { index: 1, of: 2 }, batchSize: 2, concurrency: 1 }
  expect(await Person.rotateKmsKey({ ...part, dryRun: true })).toMatchObject({ processed: 5, kmsCalls: 10 })
  const stopping = new AbortController()
  const starts: JobStart[] = []
  const onBegin = (start: JobStart) => void starts.push(start)
  const { signal } = stopping
  const stopped = await Person.rotateKmsKey({ ...part, onBegin, onProgress: () => stopping.abort(), signal })
  const processed = 5 - stopped.processed
  expect([stopped.interrupted, processed]).toEqual([true, expect.any(Number)])
  kms.clear()
  expect(await Person.rotateKmsKey({ ...part, dryRun: true })).toMatchObject({ processed, kmsCalls: 2 * processed })
  expect(kms.calls).toEqual([])
  expect(await Person.rotateKmsKey({ ...part, onBegin })).toMatchObject({ processed })
  const reached = (await raw(Person))[4 + stopped.processed]
  expect(starts).toEqual([
    { total: 5, checkpoint: undefined },
    { total: processed, checkpoint: { startedAt: expect.any(Date), id: reached._id } },
  ])
  expect(await Person.rotateKmsKey({ ...part, dryRun: true })).toMatchObject({ processed: 0, kmsCalls: 0 })
})

test('each failure is told of, those as well that the result has no room for, and one that throws ends the job', async () => {
  const { Person } = await versions()
  await Person.insertMany(Array.from({ length: 104 }, (_, index) => ada(index)))
  await tamper(Person, {}, { $set: { email: 'in the clear' } })
  const told: JobFailure[] = []
  const result = await Person.verifyKms({ onFailure: (failure: JobFailure) => void told.push(failure) })
  expect([result.failed, result.failures.length, told.length]).toEqual([104, 100, 104])
  expect(told[103]).toMatchObject({ id: (await raw(Person))[103]._id, path: 'email', code: 'PLAINTEXT_FOUND' })
  const thrown = new Error('enough')
  const onFailure = () => {
    throw thrown
  }
  await expect(Person.verifyKms({ onFailure })).rejects.toBe(thrown)
})

test('a run of another filter, or another age, goes on after no checkpoint of this one', async () => {
  const { Person } = await versions()
  await Person.insertMany(Array.from({ length: 6 }, (_, index) => ada(index)))
  const stopped = async (options: object) => {
    const stopping = new AbortController()
    const settings = { resume: true, batchSize: 2, concurrency: 1, signal: stopping.signal }
    return Person.rotateKmsKey({ ...settings, ...options, onProgress: () => stopping.abort() })
  }
  expect(await stopped({ filter: { name: /^n/ } })).toMatchObject({ interrupted: true })
  expect(await stopped({ filter: { name: 'n0' } })).toMatchObject({ processed: 1, interrupted: false })
  expect(await stopped({ olderThan: new Date() })).toMatchObject({ interrupted: true })
  expect(await Person.rotateKmsKey({ resume: true })).toMatchObject({ processed: 6 })
  expect(await Person.rotateKmsKey({ resume: true, filter: { name: /^n/ } })).toMatchObject({ processed: 0 })
  const ids: string[] = (await raw({ collection: { name: 'kms_jobs' } })).map(({ _id }) => _id)
  for (const id of ids) expect(id).toMatch(/^\w+ \w+\.rotateKmsKey\(\)( [0-9a-f]{8})? (0\/1|\/1)$/)
  expect(new Set(ids).size).toBe(8)
})

test('options that cannot be used are refused', async () => {
  const { Person } = await versions()
  await refused(() => Person.verifyKms({ dryRun: 'yes' }), 'OPTION_INVALID', /dryRun: expected true or false/)
  for (const option of ['onBegin', 'onFailure'])
    await refused(
      () => Person.verifyKms({ [option]: 5 }),
      'OPTION_INVALID',
      new RegExp(`${option}: expected a function`),
    )
})
