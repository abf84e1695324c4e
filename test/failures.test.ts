import mongoose, { Schema } from 'mongoose'
import { countingKms } from './counting'
import { useProxy } from './proxied'
import { modelOf, serialised } from './support'

const connection = mongoose.createConnection()
// Without the driver's own second attempt, a connection that is dropped is an error to the application.
const server = useProxy([connection], { retryWrites: false })
const kms = countingKms()
const User = modelOf(connection, new Schema({ name: { type: String, unique: true } }), {
  provider: kms,
  fields: { email: String, tags: [String], dob: Date },
})

beforeAll(() => User.init())
afterEach(async () => {
  await User.collection.deleteMany({})
  kms.clear()
})

const command = ['insert', 'update']
const failures: [string, () => void, string | RegExp][] = [
  ['a dropped connection', () => server.faults.dropBefore({ command }), /connection .*closed|socket/i],
  ['no permission', () => server.faults.fail({ command }, { code: 13, message: 'not authorized' }), 'not authorized'],
  [
    'a primary that steps down',
    () => server.faults.fail({ command }, { code: 189, message: 'stepped down' }),
    'stepped',
  ],
]

function stateOf(user: any) {
  return {
    values: [user.email, [...user.tags], user.dob],
    isNew: user.isNew,
    // Of a new record, Mongoose forgets what was modified: all of it is written anyway.
    modified: user.isNew ? 'all' : user.modifiedPaths().sort(),
    stored: serialised(user),
    keys: user.encrypted_kms_key?.toBSON(),
    where: user.$where,
  }
}

const read = async ({ _id }: any) => (await User.findById(_id)).decrypt()
const values = { email: 'ada@example.org', tags: ['a'], dob: new Date(0) }

describe.each(failures)('%s', (_name, fail, message) => {
  test('leaves a new record as it was, and the same save succeeds with the same data key', async () => {
    const user = new User({ name: 'Ada', ...values })
    const before = stateOf(user)
    fail()
    await expect(user.save()).rejects.toThrow(message)
    expect(stateOf(user)).toEqual(before)
    await user.save()
    expect(user.isModified()).toBe(false)
    expect(await read(user)).toEqual(values)
    expect(kms.calls).toEqual(['generate', 'unwrap'])
  })

  test('leaves a changed record as it was, and the same save succeeds', async () => {
    const { _id } = await User.create({ name: 'Ada', ...values })
    const user = await User.findById(_id)
    await user.decrypt()
    user.email = 'new@example.org'
    user.tags.push('b')
    user.dob.setTime(5)
    user.markModified('dob')
    const before = stateOf(user)
    fail()
    await expect(user.save()).rejects.toThrow(message)
    expect(stateOf(user)).toEqual(before)
    await user.save()
    expect(await read(user)).toEqual({ email: 'new@example.org', tags: ['a', 'b'], dob: new Date(5) })
    expect(user.isModified()).toBe(false)
  })

  test('leaves a first value as it was, and the same save succeeds', async () => {
    const { insertedId } = await User.collection.insertOne({ name: 'Ada' })
    const user = await User.findById(insertedId)
    user.email = 'ada@example.org'
    const before = stateOf(user)
    fail()
    await expect(user.save()).rejects.toThrow(message)
    expect(stateOf(user)).toEqual(before)
    await user.save()
    expect(await user.email).toBe('ada@example.org')
    expect((await read(user)).email).toBe('ada@example.org')
    expect(kms.calls.filter((call) => call === 'generate')).toHaveLength(1)
  })
})

test('a duplicate key leaves both records as they were, and the save succeeds under another name', async () => {
  await User.create({ name: 'Ada', ...values })
  const created = new User({ name: 'Ada', email: 'other@example.org' })
  await expect(created.save()).rejects.toMatchObject({ code: 11000 })
  expect([created.isNew, created.email]).toEqual([true, 'other@example.org'])
  created.name = 'Eve'
  await created.save()
  expect((await read(created)).email).toBe('other@example.org')

  const user = await User.findOne({ name: 'Ada' })
  user.set({ name: 'Eve', email: 'changed@example.org' })
  await expect(user.save()).rejects.toMatchObject({ code: 11000 })
  expect(user.modifiedPaths().sort()).toEqual(['email', 'name'])
  user.name = 'Ada Lovelace'
  await user.save()
  expect(await read(user)).toEqual({ ...values, email: 'changed@example.org' })
})

test('a value that is set while a save fails is the one that is saved next', async () => {
  const user = await User.create({ name: 'Ada', ...values })
  user.email = 'first@example.org'
  const hold = server.faults.hold({ command: 'update' })
  server.faults.fail({ command: 'update' }, { code: 13, message: 'not authorized' })
  const saving = user.save()
  await hold.reached
  user.email = 'second@example.org'
  user.tags.push('later')
  hold.release()
  await expect(saving).rejects.toThrow('not authorized')
  // Mongoose takes back the marks with the failed save; what was set under way is noticed by the next.
  await user.save()
  expect(await read(user)).toEqual({ ...values, email: 'second@example.org', tags: ['a', 'later'] })
})

test('a record that is gone is an error, and nothing comes back of it', async () => {
  const user = await User.create({ name: 'Ada', ...values })
  await User.deleteOne({ _id: user._id })
  user.email = 'new@example.org'
  await expect(user.save()).rejects.toMatchObject({ name: 'DocumentNotFoundError' })
  expect(user.email).toBe('new@example.org')
  expect(user.isModified('email')).toBe(true)
  expect(await User.countDocuments()).toBe(0)
})

test("the user's own hook after a save that fails does not undo what was written", async () => {
  const schema = new Schema<any>({ name: String })
  let broken = true
  schema.post('save', async () => {
    if (broken) throw new Error('after the save')
  })
  const Hooked = modelOf(connection, schema, { fields: ['email'], provider: kms })
  const doc = new Hooked({ email: 'ada@example.org' })
  await expect(doc.save()).rejects.toThrow('after the save')
  expect(doc.email).toBe('ada@example.org')
  expect(await (await Hooked.findById(doc._id)).email).toBe('ada@example.org')
  broken = false
  doc.email = 'new@example.org'
  await doc.save()
  expect(await (await Hooked.findById(doc._id)).email).toBe('new@example.org')
})

test('a read that fails is tried again by awaiting the field again', async () => {
  await User.create({ name: 'Ada', ...values })
  const user = await User.findOne()
  kms.failWith(new Error('refused'))
  await expect(user.email).rejects.toThrow('refused')
  kms.failWith(undefined)
  expect(await user.email).toBe('ada@example.org')
})
