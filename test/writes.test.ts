import mongoose, { Schema } from 'mongoose'
import { kmsEncrypted } from '../lib'
import { countingKms } from './counting'
import { modelOf, rawCollection, secret, useDatabase } from './support'
import { envelopeOf } from './tampering'

const { connection, raw } = useDatabase()
const kms = countingKms()

const User = modelOf(connection, new Schema({ name: { type: String, unique: true, required: true }, age: Number }), {
  provider: kms,
  fields: { email: { type: String, lowercase: true, match: /@/ }, tags: [String] },
})

beforeAll(() => User.init())
beforeEach(() => kms.clear())

const ada = () => ({ name: 'Ada', age: 36, email: secret('ada@example.org'), tags: ['mathematician'] })
const bob = () => ({ name: 'Bob', email: secret('bob@example.org') })
const invalid = () => ({ name: 'Eve', email: secret('eve of no address') })

const stored = () => raw(User.collection.name)
const emails = async () => {
  const users = await User.find().sort('name')
  return Promise.all(users.map(async (user: any) => [user.name, await user.email]))
}
const both = [
  ['Ada', 'ada@example.org'],
  ['Bob', 'bob@example.org'],
]

type Way = [string, (docs: object[]) => Promise<unknown>]

const ways: Way[] = [
  ['new and save()', (docs) => Promise.all(docs.map((each) => new User(each).save()))],
  ['create() of an array', (docs) => User.create(docs)],
  ['create() of several', (docs) => User.create(...(docs as [object]))],
  ['create() of an array, in order', (docs) => User.create(docs, { ordered: true })],
  ['insertMany()', (docs) => User.insertMany(docs)],
  ['insertMany() of instances', (docs) => User.insertMany(docs.map((each) => new User(each)))],
  ['insertMany() of one object', (docs) => Promise.all(docs.map((each) => User.insertMany(each)))],
  ['insertMany() of lean objects', (docs) => User.insertMany(docs, { lean: true })],
  [
    'insertMany() of instances, lean',
    (docs) =>
      User.insertMany(
        docs.map((each) => new User(each)),
        { lean: true },
      ),
  ],
  ['insertMany() without order', (docs) => User.insertMany(docs, { ordered: false })],
  ['insertMany() in batches', (docs) => User.insertMany(docs, { limit: 1 })],
  ['insertMany() with the raw result', (docs) => User.insertMany(docs, { rawResult: true })],
  ['bulkSave()', (docs) => User.bulkSave(docs.map((each) => new User(each)))],
  ['bulkWrite()', (docs) => User.bulkWrite(docs.map((document) => ({ insertOne: { document } })))],
  [
    'an upsert',
    (docs) => Promise.all(docs.map((each: any) => User.updateOne({ name: each.name }, { ...each }, { upsert: true }))),
  ],
]

test.each<[string, (docs: object[]) => Promise<any>]>([
  ['insertMany() of lean objects', (docs) => User.insertMany(docs, { lean: true })],
  ['insertMany() of the collection', (docs) => User.collection.insertMany(docs)],
  ['insertOne() of the collection', (docs) => Promise.all(docs.map((each) => User.collection.insertOne(each)))],
  [
    'bulkWrite() of the collection',
    (docs) => User.collection.bulkWrite(docs.map((document) => ({ insertOne: { document } }))),
  ],
])('%s tells what is given the `_id` that is stored', async (_name, write) => {
  const docs: any[] = [ada(), { name: 'Carl', email: null }, bob()]
  await write(docs)
  expect(docs.map(({ name, _id }) => [name, String(_id)]).sort()).toEqual(
    (await stored()).map(({ name, _id }) => [name, String(_id)]).sort(),
  )
})

test.each(ways)('%s: one data key and one ciphertext for each record', async (_name, write) => {
  const docs = [ada(), bob()]
  const given = structuredClone(docs)
  await write(docs)
  // The driver gives lean objects their `_id`, as for any model.
  expect(docs.map(({ _id, ...values }: any) => values)).toEqual(given)
  expect(await emails()).toEqual(both)
  const documents = await stored()
  expect(documents).toHaveLength(2)
  for (const document of documents) {
    expect(document.email.sub_type).toBe(0x80)
    if (document.name === 'Ada') expect(document.tags.sub_type).toBe(0x80)
    expect(document.encrypted_kms_key).toHaveLength(1)
    expect(Object.keys(document.encrypted_kms_key[0]).sort()).toEqual(
      ['version', 'keyId', 'wrapped', 'commitment', 'createdAt', 'crc32'].sort(),
    )
  }
  expect(kms.calls.filter((call) => call === 'generate')).toHaveLength(2)
})

test('what is inserted is open, and saves again', async () => {
  for (const users of [await User.insertMany([ada(), bob()]), await User.create([{ ...ada(), name: 'C' }])]) {
    for (const user of users) {
      expect(user.isNew).toBe(false)
      expect(user.isModified()).toBe(false)
      expect(typeof user.email).toBe('string')
      user.email = 'NEW@example.org'
      await user.save()
    }
  }
  expect((await emails()).map(([, email]) => email)).toEqual(Array(3).fill('new@example.org'))
})

test('a lean insert casts and does not validate, as for any path', async () => {
  await User.insertMany([{ name: 'Ada', email: 'NO ADDRESS', tags: 'x' }], { lean: true })
  expect(await (await User.findOne()).decrypt()).toEqual({ email: 'no address', tags: ['x'] })
  await expect(User.insertMany([{ name: 'Bob', tags: [{}] }], { lean: true })).rejects.toMatchObject({
    code: 'WRITE_REFUSED',
    message: expect.stringMatching(/tags .* cannot be cast/),
  })
})

describe('insertMany() of many, some of which fail', () => {
  test('in order, nothing is inserted when one is not valid, and the KMS is not asked', async () => {
    await expect(User.insertMany([ada(), invalid(), bob()])).rejects.toThrow(/email/)
    expect(await stored()).toEqual([])
  })

  test('without order, the valid ones are inserted', async () => {
    const inserted = await User.insertMany([ada(), invalid(), bob()], { ordered: false })
    expect(inserted).toHaveLength(2)
    expect(kms.calls).toEqual(['generate', 'generate'])
    expect(await emails()).toEqual(both)
  })

  test('the raw result tells which were not valid', async () => {
    const result = await User.insertMany([ada(), invalid()], { ordered: false, rawResult: true })
    expect(result.insertedCount).toBe(1)
    expect(Object.keys(result.mongoose.validationErrors[0].errors)).toEqual(['email'])
    expect(await emails()).toEqual([both[0]])
  })

  test('a duplicate key leaves the others, and the document that failed can be mended and saved', async () => {
    await User.create(ada())
    const users = [new User(ada()), new User(bob())]
    await expect(User.insertMany(users, { ordered: false })).rejects.toMatchObject({ code: 11000 })
    expect(await emails()).toEqual(both)
    expect(users[0].isNew).toBe(true)
    expect(users[0].email).toBe('ada@example.org')
    users[0].name = 'Another Ada'
    await users[0].save()
    expect(await emails()).toEqual([both[0], ['Another Ada', 'ada@example.org'], both[1]])
  })
})

describe('bulkSave()', () => {
  test('writes new and changed records, each encrypted once', async () => {
    const user = await User.create(ada())
    const [before] = await stored()
    kms.clear()
    user.email = secret('changed@example.org')
    await User.bulkSave([user, new User(bob())])
    expect(kms.calls).toEqual(['generate'])
    expect(await emails()).toEqual([['Ada', 'changed@example.org'], both[1]])
    const [after] = await stored()
    expect(after!.encrypted_kms_key).toEqual(before!.encrypted_kms_key)
    expect(after!.tags).toEqual(before!.tags)
  })

  test('a record that was not changed is not written, and asks nobody', async () => {
    await User.create(ada())
    const user = await User.findOne()
    kms.clear()
    await User.bulkSave([user])
    expect(kms.calls).toEqual([])
  })

  test('nothing is written when one record is not valid', async () => {
    await expect(User.bulkSave([new User(ada()), new User(invalid())])).rejects.toThrow(/email/)
    expect(await stored()).toEqual([])
  })

  test('nothing is written when the KMS refuses, and the same call succeeds later', async () => {
    const users = [new User(ada()), new User(bob())]
    kms.failWith(new Error('refused'))
    await expect(User.bulkSave(users)).rejects.toThrow('refused')
    kms.failWith(undefined)
    expect(await stored()).toEqual([])
    expect(users.map(({ isNew, email }: any) => [isNew, email])).toEqual(both.map(([, email]) => [true, email]))
    await User.bulkSave(users)
    expect(await emails()).toEqual(both)
  })

  test('a duplicate key leaves the document that failed as it was', async () => {
    const user = await User.create(ada())
    user.email = 'changed@example.org'
    const users = [user, new User(bob()), new User(ada())]
    await expect(User.bulkSave(users)).rejects.toMatchObject({ code: 11000 })
    expect(users[2].isNew).toBe(true)
    expect(users[2].email).toBe('ada@example.org')
    users[2].name = 'Another Ada'
    await users[2].save()
    expect(await emails()).toEqual([['Ada', 'changed@example.org'], ['Another Ada', 'ada@example.org'], both[1]])
  })
})

test('create() of many, one of which is not valid', async () => {
  await expect(User.create([ada(), invalid()])).rejects.toThrow(/email/)
  const settled = await User.create([bob(), invalid()], { aggregateErrors: true })
  expect(settled[0].email).toBe('bob@example.org')
  expect(settled[1]).toBeInstanceOf(mongoose.Error.ValidationError)
})

describe('two data keys on one schema', () => {
  const second = countingKms()
  const schema = new Schema<any>({ name: String })
  schema.plugin(kmsEncrypted as any, { fields: ['email'], provider: kms })
  const Two = modelOf(connection, schema, { fields: ['phone'], provider: second, name: 'phone' })
  const values = () => ({ name: 'Ada', email: secret('ada@example.org'), phone: secret('+44-1815-1210') })

  test('are one insert', async () => {
    const { _id } = await Two.create(values())
    await Two.insertMany([values()])
    await Two.insertMany([values()], { lean: true })
    await Two.bulkSave([new Two(values())])
    expect([kms.calls, second.calls]).toEqual([Array(4).fill('generate'), Array(4).fill('generate')])
    for (const document of await raw(Two.collection.name)) {
      expect(document.encrypted_kms_key).toHaveLength(1)
      expect(document.encrypted_kms_key_phone).toHaveLength(1)
    }
    expect(await (await Two.findById(_id)).decrypt()).toEqual({ email: 'ada@example.org', phone: '+44-1815-1210' })
  })

  test('where one cannot be had, nothing of the other stays on the document', async () => {
    const user = new Two(values())
    second.failWith(new Error('refused'))
    await expect(user.save()).rejects.toThrow('refused')
    second.failWith(undefined)
    expect(user.modifiedPaths().sort()).toEqual(['email', 'name', 'phone'])
    expect([user.email, user.encrypted_kms_key]).toEqual(['ada@example.org', undefined])
    expect(() => mongoose.mongo.BSON.serialize(user.toBSON())).toThrow(/email/)
    expect(await raw(Two.collection.name)).toEqual([])
    await user.save()
    expect(await (await Two.findById(user._id)).decrypt()).toEqual({ email: 'ada@example.org', phone: '+44-1815-1210' })
  })
})

describe('what this library stores cannot be planted', () => {
  type Assignment = [string, (values: object) => unknown]
  /** A document refuses what is no value of the field, and keeps the wrapped keys that it has. */
  const byDocument: Assignment[] = [
    ['new', (values) => new User({ ...ada(), ...values }).save()],
    ['create()', (values) => User.create({ ...ada(), ...values })],
    ['set()', async (values) => (await User.create(ada())).set(values).save()],
    ['assignment', async (values) => Object.assign(await User.create(ada()), values).save()],
    ['insertMany()', (values) => User.insertMany([{ ...ada(), ...values }])],
    ['overwrite()', async (values) => (await User.create(ada())).overwrite({ ...ada(), ...values }).save()],
    ['bulkWrite()', (values) => User.bulkWrite([{ insertOne: { document: { ...ada(), ...values } } }])],
    ['replaceOne()', async (values) => [await User.create(ada()), await User.replaceOne({}, { ...ada(), ...values })]],
  ]
  /** What no document is made of comes to the gate as it is. */
  const byGate: Assignment[] = [
    ['insertMany() of lean objects', (values) => User.insertMany([{ name: 'Ada', ...values }], { lean: true })],
    [
      'insertMany() of lean objects with the field',
      (values) => User.insertMany([{ ...ada(), ...values }], { lean: true }),
    ],
    ['updateOne()', async (values) => [await User.create(ada()), await User.updateOne({}, { $set: values })]],
    ['collection.insertOne()', (values) => User.collection.insertOne({ name: 'Ada', ...values })],
    [
      'collection.updateOne()',
      async (values) => [await User.create(ada()), await User.collection.updateOne({}, { $set: values })],
    ],
  ]
  const planted = async () => {
    await User.create({ ...bob(), tags: ['x'] })
    const [stored] = await rawCollection(User).find().toArray()
    await rawCollection(User).deleteMany({})
    return { email: envelopeOf(stored) }
  }
  /** Of an error, its code, or that of what a setter threw: Mongoose takes that for a validation error. */
  const codeOf = async (act: () => unknown) => {
    const error: any = await (async () => act())().then(
      () => undefined,
      (reason) => reason,
    )
    const own = error?.errors ? Object.values<any>(error.errors)[0] : error
    return own?.reason?.code ?? own?.code
  }

  test.each(byDocument)('a ciphertext by %s', async (_name, assign) => {
    const values = await planted()
    expect(await codeOf(() => assign(values))).toBe('STORED_PATH_ASSIGNED')
    const [document] = await stored()
    if (document) expect(await emails()).toEqual([both[0]])
  })

  test.each(byGate)(
    'a ciphertext by %s is what a backup is put back by, and not read where it does not belong',
    async (_name, assign) => {
      const values = await planted()
      await assign(values)
      await expect(emails()).rejects.toMatchObject({ code: 'DATA_KEY_MISSING' })
    },
  )

  const keys: [string, object][] = [
    ['a wrapped key', { encrypted_kms_key: [{ version: 1 }] }],
    ['no wrapped key', { encrypted_kms_key: null }],
    ['an empty list of wrapped keys', { encrypted_kms_key: [] }],
    ['a part of a wrapped key', { 'encrypted_kms_key.0': { version: 1 } }],
  ]
  for (const [what, values] of keys) {
    test.each(byDocument)(`${what} by %s changes nothing`, async (_name, assign) => {
      expect(await codeOf(() => assign(values))).toBeUndefined()
      expect(await emails()).toEqual([both[0]])
    })

    test.each(byGate)(`${what} by %s`, async (name, assign) => {
      expect(await codeOf(() => assign(values))).toBe('STORED_PATH_ASSIGNED')
      if (name.includes('updateOne')) expect(await emails()).toEqual([both[0]])
      else expect(await stored()).toEqual([])
    })
  }

  test('$unset of the wrapped keys', async () => {
    await User.create(ada())
    const update = { $unset: { encrypted_kms_key: 1 } }
    for (const Model of [User, User.collection])
      expect(await codeOf(() => Model.updateOne({}, update))).toBe('STORED_PATH_ASSIGNED')
    expect(await emails()).toEqual([both[0]])
  })
})
