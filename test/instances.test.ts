import mongoose, { Schema } from 'mongoose'
import { countingKms } from './counting'
import { everyShape, valueOfEveryShape } from './everyshape'
import { modelOf, useDatabase } from './support'

const { connection } = useDatabase()
const kms = countingKms()

const User = modelOf(connection, new Schema({ name: String }, { timestamps: true }), {
  provider: kms,
  fields: everyShape,
})

const plain = valueOfEveryShape()

/** A record of these values, loaded anew; the calls up to now are forgotten. */
async function loaded({ open = false } = {}) {
  const { _id } = await User.create({ name: 'Ada', ...plain })
  const user = await User.findById(_id)
  if (open) await user.decrypt()
  kms.clear()
  return user
}

const stored = (user: any): Promise<any> => User.collection.findOne({ _id: user._id })
const again = async (user: any) => (await User.findById(user._id)).decrypt()

const inPlace: [string, (user: any) => void, object][] = [
  ['a date', (user) => user.dob.setFullYear(1999), { dob: new Date('1999-03-01T00:00:00Z') }],
  [
    'a date in a nested object',
    (user) => user.address.since.setTime(5),
    { address: { city: 'Rome', since: new Date(5) } },
  ],
  [
    'a date in a subdocument',
    (user) => user.history[0].at.setTime(7),
    { history: [{ at: new Date(7), note: { text: 'x' } }] },
  ],
  ['what is in a Mixed', (user) => user.any.a.push(2), { any: { a: [{ b: 1 }, 2] } }],
  [
    'a Mixed in a subdocument',
    (user) => Object.assign(user.history[0].note, { text: 'y' }),
    { history: [{ at: new Date(0), note: { text: 'y' } }] },
  ],
  ['bytes', (user) => user.bytes.fill(0), { bytes: Buffer.alloc(3) }],
]

test.each(inPlace)('%s that was changed in place is saved', async (_name, change, expected) => {
  const user = await loaded({ open: true })
  const before = await stored(user)
  change(user)
  await user.save()
  expect(kms.calls).toEqual([])
  expect((await stored(user)).updatedAt.getTime()).toBeGreaterThan(before.updatedAt.getTime())
  expect(await again(user)).toEqual({ ...plain, ...expected })
  change(user)
  await User.bulkSave([user])
  expect(user.isModified()).toBe(false)
})

test('a change made in place by a save hook is saved', async () => {
  const schema = new Schema({ name: String })
  schema.pre('save', async function () {
    if (!this.isNew) (this as any).dob.setTime(9)
  })
  const Hooked = modelOf(connection, schema, { fields: { dob: Date } })
  const doc = await Hooked.create({ dob: new Date(0) })
  await doc.save()
  expect(await (await Hooked.findById(doc._id)).dob).toEqual(new Date(9))
})

test('a copy of an open record is saved under a key of its own', async () => {
  const user = await loaded({ open: true })
  const copy = new User({ ...(await user.decrypt()), name: 'Eve' })
  await copy.save()
  const [one, two] = [await stored(user), await stored(copy)]
  expect(one.encrypted_kms_key[0].commitment).not.toEqual(two.encrypted_kms_key[0].commitment)
  expect(await again(copy)).toEqual(plain)
})

test('a record made new is encrypted anew, and a locked one is refused', async () => {
  const user = await loaded({ open: true })
  user._id = new mongoose.Types.ObjectId()
  user.isNew = true
  await user.save()
  expect(kms.calls).toEqual(['generate'])
  expect(await again(user)).toEqual(plain)

  const locked = await loaded()
  locked._id = new mongoose.Types.ObjectId()
  locked.isNew = true
  await expect(locked.save()).rejects.toMatchObject({ code: 'RECORD_LOCKED' })
  expect(await User.countDocuments()).toBe(3)
})

test('$clone gives a document of its own', async () => {
  for (const open of [false, true]) {
    const user = await loaded({ open })
    user.email = 'changed@b'
    const clone = user.$clone()
    expect(await clone.email).toBe('changed@b')
    expect(clone.isModified('email')).toBe(true)
    clone.email = 'clone@b'
    expect(user.email).toBe('changed@b')
    await clone.save()
    expect(await again(user)).toEqual({ ...plain, email: 'clone@b' })
  }
})

test('overwrite() replaces all fields', async () => {
  const user = await loaded()
  user.overwrite({ name: 'Bob', email: 'c@d' })
  await user.save()
  expect(await again(user)).toMatchObject({ email: 'c@d', dob: undefined, tags: [], any: undefined })
  expect((await stored(user)).name).toBe('Bob')
})
