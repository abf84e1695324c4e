import mongoose, { Schema } from 'mongoose'
import { countingKms } from './counting'
import { everyShape, valueOfEveryShape } from './everyshape'
import { useProxy } from './proxied'
import { modelOf } from './support'
import { twinsOf } from './twins'

const connection = mongoose.createConnection()
const server = useProxy([connection])
const kms = countingKms()

const User = modelOf(connection, new Schema({ name: String }, { timestamps: true }), {
  provider: kms,
  fields: everyShape,
})
const values = { name: 'Ada', ...valueOfEveryShape() }

beforeAll(() => User.init())

/** A record of these values, loaded anew; the calls up to now are forgotten. */
async function loaded({ open = false } = {}) {
  const { _id } = await User.create(values)
  const user = await User.findById(_id)
  if (open) await user.decrypt()
  kms.clear()
  server.clearCommands()
  return user
}

const stored = (user: any): Promise<any> => User.collection.findOne({ _id: user._id })
const again = async (user: any) => (await User.findById(user._id)).decrypt()
const writes = () => server.commands.filter(({ name }) => ['insert', 'update', 'findAndModify'].includes(name)).length

test('a new record costs one call to the KMS and one insert', async () => {
  kms.clear()
  server.clearCommands()
  await User.create(values)
  expect(kms.calls).toEqual(['generate'])
  expect(server.commands.map(({ name }) => name)).toEqual(['insert'])
})

test.each([false, true])('saving what was not touched asks nobody (open: %s)', async (open) => {
  const user = await loaded({ open })
  const before = await stored(user)
  server.clearCommands()
  await user.save()
  expect(kms.calls).toEqual([])
  expect(writes()).toBe(0)
  expect(await stored(user)).toEqual(before)
})

test('setting the value that an open record has writes nothing', async () => {
  const user = await loaded({ open: true })
  user.set({ email: 'a@b', dob: new Date(values.dob), tags: ['a'] })
  await user.save()
  expect(kms.calls).toEqual([])
  expect(writes()).toBe(0)
})

test('changing a clear field leaves every ciphertext as it was', async () => {
  const user = await loaded()
  const before = await stored(user)
  user.name = 'Bob'
  await user.save()
  expect(kms.calls).toEqual([])
  const { name, updatedAt, ...after } = await stored(user)
  expect(name).toBe('Bob')
  expect(updatedAt.getTime()).toBeGreaterThan(before.updatedAt.getTime())
  expect({ ...before, ...after }).toEqual(before)
})

test('setting one field encrypts that field alone, and a locked record stays locked', async () => {
  const user = await loaded()
  const before = await stored(user)
  server.clearCommands()
  user.email = 'c@d'
  await user.save()
  expect(kms.calls).toEqual(['unwrap'])
  expect(server.commands.map(({ name }) => name)).toEqual(['update'])
  const after = await stored(user)
  const changed = Object.keys(after).filter((path) => !isSame(after[path], before[path]))
  expect(changed.sort()).toEqual(['email', 'updatedAt'])
  expect(await again(user)).toEqual({ ...withoutName(values), email: 'c@d' })
})

test('saving an open record twice costs no call to the KMS', async () => {
  const user = await loaded({ open: true })
  user.email = 'c@d'
  await user.save()
  user.tags.push('b')
  await user.save()
  expect(kms.calls).toEqual([])
  expect(writes()).toBe(2)
  expect(await again(user)).toMatchObject({ email: 'c@d', tags: ['a', 'b'] })
})

test('null and undefined are stored as they are, without the KMS', async () => {
  const user = await loaded()
  user.email = null
  user.dob = undefined
  await user.save()
  expect(kms.calls).toEqual([])
  const after = await stored(user)
  expect(after.email).toBeNull()
  expect(after).not.toHaveProperty('dob')
  expect(await again(user)).toMatchObject({ email: null, dob: undefined })
})

test('a change made while a save is under way is kept for the next save', async () => {
  const user = await loaded({ open: true })
  user.email = 'first@b'
  const hold = server.faults.hold({ command: 'update' })
  const saving = user.save()
  await hold.reached
  user.email = 'second@b'
  user.tags.push('later')
  hold.release()
  await saving
  expect(await again(user)).toMatchObject({ email: 'first@b', tags: ['a'] })
  expect(user.email).toBe('second@b')
  expect(user.modifiedPaths().sort()).toEqual(['email', 'tags'])
  await user.save()
  expect(await again(user)).toMatchObject({ email: 'second@b', tags: ['a', 'later'] })
  expect(user.isModified()).toBe(false)
})

test('a change made while the KMS is asked goes into the save under way', async () => {
  const user = await loaded()
  user.email = 'first@b'
  const saving = user.save()
  user.email = 'second@b'
  await saving
  await user.save()
  expect(await again(user)).toMatchObject({ email: 'second@b' })
})

test('pathsToSave saves the fields named and keeps the others for later', async () => {
  const user = await loaded({ open: true })
  user.set({ name: 'Bob', email: 'c@d', tags: ['z'] })
  await user.save({ pathsToSave: ['email'] })
  expect(user.isModified('tags')).toBe(true)
  expect(user.isModified('email')).toBe(false)
  expect((await stored(user)).name).toBe('Ada')
  expect(await again(user)).toMatchObject({ email: 'c@d', tags: ['a'] })
  // Mongoose 8 forgets what it did not save.
  user.markModified('name')
  await user.save({ pathsToSave: ['name'] })
  expect((await stored(user)).name).toBe('Bob')
  expect(await again(user)).toMatchObject({ email: 'c@d', tags: ['a'] })
  await user.save()
  expect(await again(user)).toMatchObject({ email: 'c@d', tags: ['z'] })
})

test('pathsToSave stores the key with the first field of a record', async () => {
  const { insertedId } = await User.collection.insertOne({ name: 'Ada' })
  const user = await User.findById(insertedId)
  user.set({ email: 'a@b', dob: new Date(0) })
  await user.save({ pathsToSave: ['email'] })
  expect(await again(user)).toEqual({ ...blank, email: 'a@b' })
  await user.save()
  expect(await again(user)).toEqual({ ...blank, email: 'a@b', dob: new Date(0) })
})

test('optimistic concurrency refuses the older of two changes', async () => {
  for (const optimisticConcurrency of [true, ['email']] as const) {
    const twins = twinsOf(connection, { name: String }, { email: String, tags: [String] }, {
      optimisticConcurrency,
    } as never)
    const { plain, encrypted } = await twins.both(async (model) => {
      const { _id } = await model.create({ email: 'a@b' })
      const [one, two] = [await model.findById(_id), await model.findById(_id)]
      one.email = 'one@b'
      await one.save()
      two.email = 'two@b'
      const refused = (await two.save().catch((error: Error) => error)).name
      const found = await model.findById(_id)
      return { refused, version: found.__v, email: await found.email, kept: two.email }
    })
    expect(encrypted).toEqual(plain)
    expect(plain).toMatchObject({ refused: 'VersionError' })
  }
})

const blank = { email: undefined, dob: undefined, tags: [], any: undefined, bytes: undefined, address: {}, history: [] }

function withoutName({ name: _name, ...fields }: typeof values) {
  return fields
}

function isSame(a: unknown, b: unknown): boolean {
  const { BSON } = mongoose.mongo
  return Buffer.compare(BSON.serialize({ a }), BSON.serialize({ a: b })) === 0
}
