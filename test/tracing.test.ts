import { inspect } from 'node:util'
import { Schema } from 'mongoose'
import { channels, type KeyProvider, KeyProviderError, localKms } from '../lib'
import { modelOf, secret, useDatabase } from './support'

const { connection } = useDatabase()

type Seen = { phase: string; event: any }

/** Collects what is published on the channels of the key operations while something runs. */
async function eventsOf(run: () => Promise<unknown>): Promise<Seen[]> {
  const seen: Seen[] = []
  const listeners = Object.fromEntries(
    ['start', 'end', 'asyncStart', 'asyncEnd', 'error'].map((phase) => [
      phase,
      (event: any) => seen.push({ phase, event: { ...event } }),
    ]),
  )
  for (const channel of Object.values(channels)) channel.subscribe(listeners as never)
  try {
    await run()
  } finally {
    for (const channel of Object.values(channels)) channel.unsubscribe(listeners as never)
  }
  return seen
}

/** A provider whose data keys are known to the test, and which can be made to fail. */
function recordingProvider() {
  const inner = localKms()
  const dataKeys: Buffer[] = []
  const state = { fails: false, dataKeys }
  const provider: KeyProvider = {
    keyId: inner.keyId,
    async generateDataKey(request) {
      const generated = await inner.generateDataKey(request)
      dataKeys.push(Buffer.from(generated.plaintext))
      return generated
    },
    async unwrapDataKey(request) {
      if (state.fails) throw new KeyProviderError('KMS_THROTTLED', 'later')
      return inner.unwrapDataKey(request)
    },
  }
  return { provider, state }
}

const { provider, state } = recordingProvider()
const User = modelOf(connection, new Schema({ name: String }), { provider, fields: { email: String, dob: Date } })

afterEach(() => {
  state.fails = false
  state.dataKeys.length = 0
})

test('generating and unwrapping a data key publish model, record, fields, key, context and duration', async () => {
  let user: any
  const generated = await eventsOf(async () => {
    user = await User.create({ name: 'Ada', email: secret('ada@example.org') })
  })
  expect(generated.map(({ phase }) => phase)).toEqual(['start', 'end', 'asyncStart', 'asyncEnd'])
  const expected = {
    model: User.modelName,
    id: user._id,
    fields: ['email', 'dob'],
    keyId: provider.keyId,
    context: { Record: `${User.modelName}/${user._id}` },
    records: 1,
  }
  expect(generated[0]!.event).toMatchObject({ operation: 'generate', ...expected })
  expect(generated[0]!.event.durationMs).toBeUndefined()
  expect(generated.at(-1)!.event.durationMs).toBeGreaterThan(0)

  const unwrapped = await eventsOf(async () => (await User.findOne()).email)
  expect(unwrapped.at(-1)!.event).toMatchObject({ operation: 'unwrap', ...expected })
})

test('a failure publishes its error, and its duration', async () => {
  await User.create({ name: 'Ada', email: secret('ada@example.org') })
  state.fails = true
  const user = await User.findOne()
  const events = await eventsOf(() => expect(user.email).rejects.toMatchObject({ code: 'KMS_THROTTLED' }))
  expect(events.map(({ phase }) => phase)).toContain('error')
  expect(events.at(-1)!.event).toMatchObject({ operation: 'unwrap', error: { code: 'KMS_THROTTLED' } })
  expect(events.at(-1)!.event.durationMs).toBeGreaterThan(0)
})

test('no event holds plaintext, a data key or a wrapped key', async () => {
  const events = await eventsOf(async () => {
    await User.create({ name: 'Ada', email: secret('ada@example.org') })
    await (await User.findOne()).email
  })
  const [stored] = await connection.collection(User.collection.name).find().toArray()
  const forbidden = [state.dataKeys[0]!, Buffer.from(stored!.encrypted_kms_key[0].wrapped.buffer)]
  const text = inspect(events, { depth: Infinity, showHidden: true, maxArrayLength: Infinity })
  expect(text).not.toContain('ada@example.org')
  for (const bytes of forbidden) {
    for (const encoding of ['hex', 'base64', 'latin1'] as const) expect(text).not.toContain(bytes.toString(encoding))
    expect(text).not.toContain(inspect(bytes).slice('<Buffer '.length, 40))
  }
  for (const { event } of events) expect(event.result).toBeUndefined()
})

test('records that share a call under way are counted in its event', async () => {
  await User.create({ name: 'Ada', email: secret('ada@example.org') })
  const [one, two] = [await User.findOne(), await User.findOne()]
  const events = await eventsOf(() => Promise.all([one.email, two.email]))
  expect(events.filter(({ phase }) => phase === 'asyncEnd').map(({ event }) => event.records)).toEqual([2])
})

describe('the cache of open keys', () => {
  const unwraps = async (run: () => Promise<unknown>) =>
    (await eventsOf(run)).filter(({ phase, event }) => phase === 'start' && event.operation === 'unwrap').length

  test('is off by default: every load of a record is one line in the audit log', async () => {
    await User.create({ name: 'Ada', email: secret('ada@example.org') })
    const read = async () => (await User.findOne()).email
    expect(await unwraps(async () => [await read(), await read()])).toBe(2)
  })

  test('serves a second instance within maxAgeMs, and not after', async () => {
    const Cached = modelOf(connection, new Schema({ name: String }), {
      provider,
      fields: { email: String },
      cache: { maxAgeMs: 60_000, maxEntries: 10 },
    })
    await Cached.create({ name: 'Ada', email: secret('ada@example.org') })
    const read = async () => (await Cached.findOne()).email
    expect(await unwraps(async () => [await read(), await read()])).toBe(1)
    // The cache reads its clock from `performance`.
    const now = jest.spyOn(performance, 'now').mockReturnValue(performance.now() + 61_000)
    expect(await unwraps(read)).toBe(1)
    now.mockRestore()
  })

  test('holds no more than maxEntries', async () => {
    const Small = modelOf(connection, new Schema({ name: String }), {
      provider,
      fields: { email: String },
      cache: { maxAgeMs: 60_000, maxEntries: 1 },
    })
    await Small.create([
      { name: 'Ada', email: secret('ada@example.org') },
      { name: 'Bob', email: secret('bob@example.org') },
    ])
    const read = async (name: string) => (await Small.findOne({ name })).email
    expect(await unwraps(async () => [await read('Ada'), await read('Bob'), await read('Ada')])).toBe(3)
  })
})
