import { Schema } from 'mongoose'
import { KeyProviderError } from '../../lib'
import { wait } from '../../lib/lifecycle/waiting'
import { named, plugin, secret, useFaults } from '../faults/support'
import { watchedKms } from './support'

// A KMS that throttles is asked for less, and no record fails for it.
jest.mock('../../lib/lifecycle/waiting', () => ({ wait: jest.fn() }))
const { open } = useFaults()
const waited = jest.mocked(wait)
const delays = () => waited.mock.calls.map(([ms]) => ms)

beforeEach(() => {
  waited.mockReset()
  waited.mockImplementation(async () => {})
})

async function people(count: number) {
  const kms = watchedKms()
  const on = await open()
  const schema = new Schema<any>({ name: String }).plugin(plugin, { provider: kms.provider, fields: ['email', 'note'] })
  const Person = on.model<any>(named('Person'), schema) as any
  await Person.insertMany(Array.from({ length: count }, (_, index) => ({ email: secret(`person ${index} at home`) })))
  return { Person, kms }
}

const throttled = () => new KeyProviderError('KMS_THROTTLED', 'too much')

test('what is throttled is tried again after a while that grows, and the record is done', async () => {
  const { Person, kms } = await people(3)
  kms.whileOpening(() => {
    if (kms.opened.length <= 8) throw throttled()
  })
  expect(await Person.rotateKmsKey({ concurrency: 1 })).toMatchObject({ processed: 3, updated: 3, failed: 0 })
  expect(delays()).toEqual([500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000])
  expect(kms.opened).toHaveLength(8 + 3)
  expect(new Set(kms.opened).size).toBe(3)
  waited.mockClear()
  kms.opened.length = 0
  kms.whileOpening(() => {
    if (kms.opened.length % 2 === 1) throw throttled()
  })
  // Whatever was well meanwhile has it begin anew.
  expect(await Person.verifyKms({ concurrency: 1 })).toMatchObject({ unchanged: 3, failed: 0 })
  expect(delays()).toEqual([500, 500, 500])
})

test('those that are throttled at once wait once, half as many go on, and more again as it is well', async () => {
  const { Person, kms } = await people(60)
  let running = 0
  let isThrottling = true
  const most: number[] = []
  kms.whileOpening(async () => {
    running++
    most.push(running)
    await new Promise(setImmediate)
    running--
    if (isThrottling) throw throttled()
  })
  waited.mockImplementation(async () => {
    // Nothing is begun while it waits.
    for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate)
    expect(running).toBe(0)
    most.push(0)
    isThrottling = waited.mock.calls.length < 3
  })
  expect(await Person.verifyKms({ concurrency: 16 })).toMatchObject({ unchanged: 60 })
  const rounds = most
    .join(' ')
    .split(' 0 ')
    .map((round) => Math.max(...round.split(' ').map(Number)))
  expect(rounds.slice(0, 3)).toEqual([16, 8, 4])
  expect(rounds[3]).toBeGreaterThan(4)
  expect(rounds[3]).toBeLessThan(16)
  expect(delays()).toEqual([500, 1000, 2000])
})

test('what takes a call before the first record waits as well', async () => {
  const kms = watchedKms()
  const on = await open()
  let calls = 0
  const deriveIndexKey = async (request: any) => {
    if (++calls === 1) throw throttled()
    return kms.provider.deriveIndexKey!(request)
  }
  const name = named('Person')
  const make = (email: object) =>
    new Schema<any>({}).plugin(plugin, { provider: { ...kms.provider, deriveIndexKey }, fields: { email } })
  await on.model<any>(name, make({ type: String })).create({ email: secret('ada@example.org') })
  const After = (await open()).model<any>(name, make({ type: String, blindIndex: true })) as any
  expect(await After.backfillBlindIndexes()).toMatchObject({ updated: 1 })
  expect([calls, delays()]).toEqual([2, [500]])
})

test('a signal ends the waiting: the record is none that failed, and whoever goes on begins with it', async () => {
  const { Person, kms } = await people(3)
  const controller = new AbortController()
  kms.whileOpening(() => {
    if (kms.opened.length >= 2) throw throttled()
  })
  waited.mockImplementation(async (_ms, signal) => {
    expect(signal).toBe(controller.signal)
    controller.abort()
  })
  const result = await Person.verifyKms({ concurrency: 1, signal: controller.signal })
  expect(result).toMatchObject({ processed: 1, unchanged: 1, failed: 0, failures: [], interrupted: true })
  kms.whileOpening(() => {})
  expect(await Person.verifyKms({ resume: result.checkpoint })).toMatchObject({ processed: 2, unchanged: 2 })
})
