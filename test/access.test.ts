import { inspect } from 'node:util'
import { Schema } from 'mongoose'
import { countingKms } from './counting'
import { modelOf, rawCollection, secret, useDatabase } from './support'

const { connection, raw } = useDatabase()
const kms = countingKms()

const User = modelOf(connection, new Schema({ name: String }), {
  provider: kms,
  fields: { email: String, dob: Date, tags: [String], address: { city: String } },
})

const email = 'ada@example.org'
const plain = { email, dob: new Date('1815-12-10'), tags: ['mathematician'], address: { city: 'London-W1' } }

beforeEach(async () => {
  for (const text of [email, 'mathematician', 'London-W1']) secret(text)
  await User.create({ name: 'Ada', ...plain })
  kms.clear()
})

const locked = () => User.findOne({ name: 'Ada' }).orFail()

test('touching a locked field asks nobody and rejects nowhere', async () => {
  const user = await locked()
  kms.failWith(new Error('must not be asked'))
  try {
    void user.email
    inspect(user.email, { depth: 9, showHidden: true })
    JSON.stringify({ value: user.email })
    expect(user.email === email).toBe(false)
    expect(user.email).not.toEqual(email)
    expect({ ...user.email }).toEqual({})
    expect(Object.keys(user.email)).toEqual([])
    for (const use of [(value: any) => String(value), (value: any) => `${value}`, (value: any) => value + 1]) {
      expect(() => use(user.email)).toThrow(expect.objectContaining({ code: 'VALUE_NOT_AWAITED' }))
    }
    structuredCloneOrThrow(user.email)
    Promise.resolve([user.email])
    // Were anything under way, it would have failed by then.
    await new Promise((resume) => setImmediate(resume))
    await new Promise((resume) => setImmediate(resume))
    expect(kms.calls).toEqual([])
  } finally {
    kms.failWith(undefined)
  }
})

test('a promise of a field works like any other', async () => {
  const { email: promise } = await locked()
  const done = jest.fn()
  expect(await Promise.all([promise, promise.then((value: string) => value.length), promise.finally(done)])).toEqual([
    email,
    email.length,
    email,
  ])
  expect(done).toHaveBeenCalledTimes(1)
  const failing = await locked()
  kms.failWith(new Error('refused'))
  expect(await failing.email.catch(({ code, cause }: any) => [code, cause.message])).toEqual(['KMS_FAILED', 'refused'])
  await expect(failing.email).rejects.toThrow('refused')
  kms.failWith(undefined)
  expect(await failing.email).toBe(email)
})

test('fifty accesses at once open the record once', async () => {
  const user = await locked()
  const all = await Promise.all(Array.from({ length: 50 }, (_, index) => (index % 2 ? user.email : user.dob)))
  expect(all[1]).toBe(email)
  expect(all[0]).toEqual(plain.dob)
  expect(kms.calls).toEqual(['unwrap'])
})

test('three fields cost one call, and are plain values from then on', async () => {
  const user = await locked()
  expect(await user.email).toBe(email)
  expect(user.dob).toEqual(plain.dob)
  expect([...user.tags]).toEqual(plain.tags)
  expect(user.address.city).toBe('London-W1')
  expect(user.get('address.city')).toBe('London-W1')
  expect(kms.calls).toEqual(['unwrap'])
})

test('one record opened does not open another, nor another instance of it', async () => {
  const user = await locked()
  await user.decrypt()
  const other = await locked()
  expect(other.email).not.toBe(email)
  expect(await other.email).toBe(email)
  expect(kms.calls).toEqual(['unwrap', 'unwrap'])
})

test('a field that was set reads back at once, and the others stay locked', async () => {
  const user = await locked()
  user.email = 'new@example.org'
  expect(user.email).toBe('new@example.org')
  expect(typeof user.dob.then).toBe('function')
  expect(kms.calls).toEqual([])
})

test('a new record is open', async () => {
  const user = new User({ name: 'Eve', ...plain })
  expect(user.email).toBe(email)
  expect(await user.decrypt()).toEqual(plain)
  await user.save()
  expect(user.email).toBe(email)
  expect(kms.calls).toEqual(['generate'])
})

test('loading a document anew drops its values and keys', async () => {
  const user = await locked()
  await user.decrypt()
  const other = await locked()
  other.email = 'new@example.org'
  await other.save()
  kms.clear()
  const stored = await rawCollection(User).findOne({ _id: user._id })
  user.init(stored)
  expect(user.isModified()).toBe(false)
  expect(await user.email).toBe('new@example.org')
  expect(kms.calls).toEqual(['unwrap'])
})

test('a field that was not selected is undefined, and stays what it is', async () => {
  const user = await User.findOne({ name: 'Ada' }).select('name')
  expect(user.email).toBeUndefined()
  expect(await user.decrypt()).toEqual({ email: undefined, dob: undefined, tags: undefined, address: undefined })
  user.name = 'Ada Lovelace'
  await user.save()
  expect(kms.calls).toEqual([])
  expect(await (await User.findById(user._id)).decrypt()).toEqual(plain)
})

test('a value that was not awaited is not assigned', async () => {
  const user = await locked()
  expect(() => {
    user.email = locked().then((other: any) => other.email)
  }).toThrow(expect.objectContaining({ code: 'VALUE_NOT_AWAITED' }))
  expect(() => user.set('address.city', 'x')).toThrow(expect.objectContaining({ code: 'RECORD_LOCKED' }))
  expect(() => {
    user.address.city = 'x'
  }).toThrow(TypeError)
})

describe.each([
  ['locked', async () => locked()],
  ['open', async () => open(await locked())],
  ['changed', async () => Object.assign(await locked(), { email })],
  ['new', async () => new User({ name: 'Ada', ...plain })],
  ['created', async () => User.create({ name: 'Ada', ...plain })],
])('a record that is %s', (_state, make) => {
  test('shows nothing', async () => {
    const user = await make()
    const documents = await raw(User.collection.name)
    kms.clear()
    const shown = [
      inspect(user, { depth: 20, showHidden: false }),
      String(user),
      JSON.stringify(user),
      JSON.stringify(user.toObject({ virtuals: true, getters: true, flattenMaps: false })),
      inspect(user.toObject(), { depth: 20 }),
      inspect(user.toObject({ virtuals: true, getters: true }), { depth: 20 }),
      inspect(user.toJSON({ virtuals: true }), { depth: 20 }),
      inspect({ ...user }, { depth: 6 }),
      inspect({ ...user.toObject({ virtuals: true }) }, { depth: 20 }),
      inspect(user._doc, { depth: 20 }),
      inspect(user.$clone(), { depth: 20 }),
      inspect(user.modifiedPaths()),
      inspect(user._doc.email, { depth: 20, showHidden: true }),
      JSON.stringify([user._doc.email, user._doc.tags, user._doc.address]),
      inspect({ ...user._doc.email, ...user._doc.tags }, { depth: 20, showHidden: true }),
      inspect(user.encrypted_kms_key, { depth: 20, showHidden: true }),
      inspect(user.get('encrypted_kms_key'), { depth: 20 }),
    ].join('\n')
    expect(shown).toContain('Ada')
    for (const needle of [email, 'mathematician', 'London-W1', ...documents.flatMap(bytesOf)]) {
      expect(shown).not.toContain(needle)
    }
    expect(kms.calls).toEqual([])
  })
})

async function open(user: any) {
  await user.decrypt()
  return user
}

/** What would give away the bytes of a stored document, in the forms in which bytes are printed. */
function bytesOf(value: any): string[] {
  if (value?._bsontype === 'Binary') {
    const bytes = Buffer.from(value.buffer)
    return [
      bytes.toString('hex'),
      bytes.toString('base64'),
      [...bytes.subarray(0, 8)].join(', '),
      inspect(bytes).slice(8, 30),
    ]
  }
  return value !== null && typeof value === 'object' ? Object.values(value).flatMap(bytesOf) : []
}

function structuredCloneOrThrow(value: unknown): void {
  try {
    structuredClone(value)
  } catch {
    // Promises cannot be cloned, and that is all that was to be tried.
  }
}
