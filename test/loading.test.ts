import { Schema } from 'mongoose'
import { countingKms } from './counting'
import { modelOf, rawCollection, secret, useDatabase } from './support'

const { connection, raw } = useDatabase()
const kms = countingKms()
const fields = { email: String, dob: Date, tags: [String], address: { city: String } }

const User = modelOf(connection, new Schema({ name: String }), { provider: kms, fields })
const Post = postOf(User)

const email = 'ada@example.org'
const plain = { email, dob: new Date('1815-12-10'), tags: ['mathematician'], address: { city: 'London-W1' } }

beforeEach(() => {
  for (const text of [email, 'mathematician', 'London-W1']) secret(text)
})

function postOf(User: any): any {
  return connection.model<any>(
    `PostOf${User.modelName}`,
    new Schema({ author: { type: 'ObjectId', ref: User.modelName } }),
  )
}

async function createAda(model: any) {
  await model.create({ name: 'Ada', ...plain })
  kms.clear()
}

/** The ways to load a record, from a collection that holds it alone. */
const ways: [string, (User: any, Post: any) => Promise<any>][] = [
  ['find', async (User) => (await User.find({ name: 'Ada' }))[0]],
  ['findOne', (User) => User.findOne({ name: 'Ada' })],
  ['findById', async (User) => User.findById((await User.exists({}))._id)],
  ['findOneAndUpdate', (User) => User.findOneAndUpdate({ name: 'Ada' }, { name: 'Eve' }, { returnDocument: 'after' })],
  ['findOneAndReplace', (User) => User.findOneAndReplace({ name: 'Ada' }, { name: 'Eve', tags: null })],
  ['findOneAndDelete', (User) => User.findOneAndDelete({ name: 'Ada' })],
  [
    'raw metadata',
    async (User) => (await User.findOneAndUpdate({}, { name: 'Eve' }, { includeResultMetadata: true })).value,
  ],
  ['a cursor', (User) => User.find().cursor().next()],
  ['a cursor of batches', (User) => first(User.find().cursor({ batchSize: 2 }))],
  ['for await', (User) => first(User.find())],
  ['eachAsync', (User) => new Promise((resolve) => void User.find().cursor().eachAsync(resolve))],
  [
    'populate',
    async (User, Post) => {
      const { _id } = await Post.create({ author: (await User.exists({}))._id })
      return (await Post.findById(_id).populate('author')).author
    },
  ],
]

async function first(records: AsyncIterable<any>) {
  for await (const record of records) return record
}

test.each(ways)('%s gives a locked record that opens', async (_name, load) => {
  await createAda(User)
  const user = await load(User, Post)
  expect(kms.calls).toEqual([])
  expect(await user.email).toBe(email)
  expect(await user.decrypt()).toEqual(plain)
  expect(kms.calls).toEqual(['unwrap'])
})

test('hydrate gives a locked record that opens', async () => {
  await createAda(User)
  for (const object of [(await raw(User.collection.name))[0], await User.findOne().lean()]) {
    kms.clear()
    const user = User.hydrate(object)
    expect(await user.decrypt()).toEqual(plain)
    expect(kms.calls).toEqual(['unwrap'])
  }
})

describe('Model.decrypt', () => {
  beforeEach(() => createAda(User))
  const locked = () => User.findOne({ name: 'Ada' }).orFail()

  test('gives the fields of documents, and a copy of lean objects with them', async () => {
    const user = await locked()
    const lean = await User.findOne().lean()
    const copy = structuredClone(Object.keys(lean))
    expect(await User.decrypt(user)).toEqual(plain)
    expect(await User.decrypt(lean)).toEqual({ _id: user._id, __v: 0, name: 'Ada', ...plain })
    expect(Object.keys(lean)).toEqual(copy)
    expect(await User.decrypt([user, lean, null])).toEqual([plain, expect.objectContaining(plain), null])
    expect(await User.decrypt(null)).toBeNull()
    expect(await User.decrypt(undefined)).toBeUndefined()
    expect(await User.decrypt([])).toEqual([])
    await expect(User.decrypt('x')).rejects.toThrow(TypeError)
  })

  test('makes up no value for what was not selected, or is not stored', async () => {
    const Member = modelOf(connection, new Schema({ name: String }), {
      provider: kms,
      fields: { hidden: { type: String, default: 'guest', select: false }, email: String },
    })
    await Member.create({ name: 'Ada', hidden: 'admin', email: plain.email })
    const opened = await Member.decrypt(await Member.findOne().lean())
    expect(opened).toMatchObject({ name: 'Ada', email: plain.email })
    expect(opened).not.toHaveProperty('hidden')
    const { _id } = await Member.findOne()
    expect(await Member.decrypt(await Member.findOne().select('name').lean())).toEqual({ _id, name: 'Ada' })
    expect(await Member.decrypt(await Member.findOne().select('+hidden').lean())).toMatchObject({ hidden: 'admin' })
  })

  test('gives what is plain and the caller may change', async () => {
    const user = await locked()
    const fields = await user.decrypt()
    fields.tags.push('x')
    fields.dob.setTime(0)
    fields.address.city = 'x'
    expect(await user.decrypt()).toEqual(plain)
    expect(Array.isArray(fields.tags) && Object.getPrototypeOf(fields.tags) === Array.prototype).toBe(true)
    expect(user.isModified()).toBe(false)
  })

  test('opens many records with bounded concurrency', async () => {
    await User.insertMany(Array.from({ length: 99 }, (_, index) => ({ name: `User ${index}`, email: `${index}@b` })))
    const users = await User.find().lean()
    kms.clear()
    const opened = await User.decrypt(users)
    expect(opened.map((user: any) => user.email)).toEqual(expect.arrayContaining([email, '0@b', '98@b']))
    expect(kms.calls).toEqual(Array(100).fill('unwrap'))
    expect(kms.most).toBe(32)
  })
})

describe("decrypt: 'onLoad'", () => {
  const bounded = countingKms({ concurrency: 10 })
  const Eager = modelOf(connection, new Schema({ name: String }), { provider: bounded, fields, decrypt: 'onLoad' })
  const EagerPost = postOf(Eager)
  const createEager = async () => {
    await Eager.create({ name: 'Ada', ...plain })
    bounded.clear()
  }

  test.each(ways)('%s gives plain values', async (_name, load) => {
    await createEager()
    const user = await load(Eager, EagerPost)
    expect(bounded.calls).toEqual(['unwrap'])
    expect(user.email).toBe(email)
    expect(user.dob).toEqual(plain.dob)
    expect([...user.tags]).toEqual(plain.tags)
    expect(user.address.city).toBe('London-W1')
    expect(bounded.calls).toEqual(['unwrap'])
  })

  test('a lean object, no record and another result stay as they are', async () => {
    await createEager()
    expect(await Eager.findOne({ name: 'nobody' })).toBeNull()
    expect(await Eager.find({ name: 'nobody' })).toEqual([])
    expect(Object.keys(await Eager.findOne().lean())).toContain('email')
    expect(await Eager.countDocuments()).toBe(1)
    expect(await Eager.findOne().select('name')).toMatchObject({ name: 'Ada', email: undefined })
    expect(bounded.calls).toEqual([])
  })

  test('a record that was hydrated must be opened', async () => {
    await createEager()
    const user = Eager.hydrate((await raw(Eager.collection.name))[0])
    expect(() => user.email).toThrow(expect.objectContaining({ code: 'RECORD_LOCKED' }))
    expect(JSON.stringify(user.toObject({ virtuals: true }))).toContain('Ada')
    await user.decrypt()
    expect(user.email).toBe(email)
  })

  test('a thousand records of three fields cost a thousand calls, never more than the bound at once', async () => {
    await Eager.insertMany(
      Array.from({ length: 1000 }, (_, n) => ({ name: 'x', email: `${n}@b`, dob: new Date(n), tags: [`${n}`] })),
    )
    bounded.clear()
    const users = await Eager.find().sort('_id')
    expect(bounded.calls).toEqual(Array(1000).fill('unwrap'))
    expect(bounded.most).toBe(10)
    expect(users.map((user: any) => user.email)).toEqual(Array.from({ length: 1000 }, (_, n) => `${n}@b`))
    expect(users[999].dob).toEqual(new Date(999))
    expect(bounded.calls).toHaveLength(1000)
  })

  test('one damaged record breaks neither the find, nor the other records, nor its other fields', async () => {
    const users = await Eager.create(
      ['one', 'two', 'three'].map((name) => ({ name, email: `${name}@b`, tags: [name] })),
    )
    const { email: one } = (await raw(Eager.collection.name))[0]!
    one.buffer[20] ^= 1
    await rawCollection(Eager).updateOne({ _id: users[1]._id }, { $set: { email: one } })
    const found = await Eager.find().sort('_id')
    expect(found[0].email).toBe('one@b')
    expect(found[2].email).toBe('three@b')
    expect(() => found[1].email).toThrow(expect.objectContaining({ name: 'DecryptionError' }))
    expect([...found[1].tags]).toEqual(['two'])
    await expect(found[1].decrypt()).rejects.toMatchObject({ name: 'DecryptionError' })
    found[1].email = 'mended@b'
    await found[1].save()
    expect((await Eager.findById(users[1]._id)).email).toBe('mended@b')
  })

  test('a KMS that refuses does not break the find', async () => {
    await createEager()
    bounded.failWith(new Error('refused'))
    const user = await Eager.findOne()
    bounded.failWith(undefined)
    expect(() => user.email).toThrow('refused')
    expect(JSON.stringify(user.toJSON({ virtuals: true }))).toContain('Ada')
    await user.decrypt()
    expect(user.email).toBe(email)
  })
})

test('a find that skips the hooks of the application opens fields that are opened on load', async () => {
  const Open = modelOf(connection, new Schema({ name: String }), { provider: kms, fields, decrypt: 'onLoad' })
  await createAda(Open)
  const user = await Open.findOne().setOptions({ middleware: false })
  expect(user.email).toBe(email)
})
