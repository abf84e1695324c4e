import { Schema, Types } from 'mongoose'
import { kmsEncrypted, localKms } from '../lib'
import { modelOf, rawCollection, secret, useDatabase } from './support'

/** Subdocuments under the key of the record that holds them, beside other writes and other shapes than theirs. */

const { connection, raw } = useDatabase()
const note = new Schema({ at: Number }).plugin(kmsEncrypted, { dataKey: 'owner', fields: { text: String } })
const Ward = modelOf(connection, new Schema({ notes: [note], one: note, byKey: { type: Map, of: note } }), {
  fields: { allergies: [String] },
})

async function allOpen(id: unknown) {
  const ward = await Ward.findById(id)
  const parts = [...ward.notes, ward.one, ...(ward.byKey?.values() ?? [])].filter(Boolean)
  return Promise.all(parts.map((part: any) => part.decrypt().then(({ text }: { text: string }) => text)))
}

test.each([['entry'], ['7']])('a rotation beside saves that add subdocuments loses none (map key %s)', async (key) => {
  for (let round = 0; round < 5; round++) {
    const { _id } = await Ward.create({ allergies: ['x'], notes: [{ text: 'a' }], byKey: { [key]: { text: 'd' } } })
    const [first, second, third] = await Promise.all([1, 2, 3].map(() => Ward.findById(_id)))
    second.notes.push({ text: 'b' })
    third.one = { text: 'c' }
    await Promise.all([first.rotateKmsKey(), saveAgain(second), saveAgain(third)])
    await Ward.updateOne({ _id }, { $push: { notes: { text: 'e' } } })
    expect((await allOpen(_id)).sort()).toEqual(['a', 'b', 'c', 'd', 'e'])
  }
})

async function saveAgain(doc: any) {
  await doc.save().catch((error: any) => {
    expect(error.code).toBe('RECORD_CHANGED')
    return doc.save()
  })
}

test('a rotation drops the key before, unless a map has keys that may be positions', async () => {
  const plain = await Ward.create({ notes: [{ text: 'a' }], byKey: { entry: { text: 'd' } } })
  await plain.rotateKmsKey()
  const position = await Ward.create({ notes: [{ text: 'a' }], byKey: { 7: { text: 'd' } } })
  await position.rotateKmsKey()
  const stored = await raw(Ward.collection.name)
  const keysOf = (id: unknown) => stored.find((each) => String(each._id) === String(id))!.encrypted_kms_key
  expect(keysOf(plain._id)).toHaveLength(1)
  expect(keysOf(position._id)).toHaveLength(2)
  expect(await allOpen(position._id)).toEqual(['a', 'd'])
})

test('a rotation of a subdocument with a key of its own leaves alone what is under the key of its owner', async () => {
  const both = new Schema<any>({})
  both.plugin(kmsEncrypted, { dataKey: 'owner', fields: { text: String } })
  both.plugin(kmsEncrypted, { provider: localKms(), name: 'own', fields: { phone: String } })
  const Holder = modelOf(connection, new Schema({ contacts: [both] }), { fields: { email: String } })
  const given = {
    email: secret('ada@example.org'),
    contacts: [1, 2].map((n) => ({ text: `text ${n}`, phone: `${n}` })),
  }
  const holder = await Holder.create(given)
  const [before] = (await raw(Holder.collection.name)) as any[]
  await holder.contacts[0].rotateKmsKey()
  const [after] = (await raw(Holder.collection.name)) as any[]
  expect(after.encrypted_kms_key).toEqual(before.encrypted_kms_key)
  expect(after.contacts[0]).toEqual({
    ...before.contacts[0],
    phone: expect.not.objectContaining({ buffer: before.contacts[0].phone.buffer }),
    encrypted_kms_key_own: expect.not.arrayContaining(before.contacts[0].encrypted_kms_key_own),
  })
  const found = await Holder.findById(holder._id)
  expect(await found.email).toBe(given.email)
  expect(await Promise.all(found.contacts.map((each: any) => each.decrypt()))).toEqual(given.contacts)
})

test('a copy of a record that holds subdocuments in a map has one key for all of it', async () => {
  const first = await Ward.create({
    allergies: ['x'],
    notes: [{ text: 'a' }],
    one: { text: 'c' },
    byKey: { entry: { text: 'd' } },
  })
  const _id = new Types.ObjectId()
  await Ward.insertMany([{ ...first._doc, _id }])
  expect(await allOpen(_id)).toEqual(['a', 'c', 'd'])
  expect(await (await Ward.findById(_id)).allergies).toEqual(['x'])
})

const text = secret('in no shape')
const updates: [string, object][] = [
  ['$max', { $max: { one: { text } } }],
  ['$min', { $min: { notes: [{ text }] } }],
  ['$pullAll', { $pullAll: { notes: [{ text }] } }],
  ['$set of an object for an array', { $set: { notes: { 0: { text } } } }],
  ['$set of an array for a map', { $set: { byKey: [{ text }] } }],
  ['$push by the order of ciphertexts', { $push: { notes: { $each: [{ at: 1 }], $sort: { text: 1 } } } }],
]

test.each(updates)('the collection refuses %s', async (_, update) => {
  const { _id } = await Ward.create({ notes: [{ text: 'a' }] })
  await expect(Ward.collection.updateOne({ _id }, update)).rejects.toMatchObject({
    code: expect.stringMatching(/^(UPDATE|WRITE|QUERY)_REFUSED$/),
  })
  expect(await allOpen(_id)).toEqual(['a'])
})

test.each([{ notes: { 0: { text } } }, { byKey: [{ text }] }])('an insert past the casts refuses %j', async (given) => {
  await expect(Ward.insertMany([given], { lean: true })).rejects.toMatchObject({ code: 'WRITE_REFUSED' })
  await expect(rawCollection(Ward).countDocuments({ 'notes.0.text': text })).resolves.toBe(0)
})

test('a nested path that is given an array is not stored as an object with positions for its keys', async () => {
  const Boxed = modelOf(connection, new Schema({ name: String, box: { inner: [note] } }, { strict: false }), {
    fields: { allergies: [String] },
  })
  const box = [{ inner: [{ text: secret('in a list of none') }] }]
  await expect(Boxed.create({ name: 'Ada', box })).rejects.toMatchObject({
    code: 'WRITE_REFUSED',
    message: expect.stringContaining('box'),
  })
  await expect(Boxed.insertMany([{ box: { 0: box[0] } }], { lean: true })).rejects.toMatchObject({
    code: 'WRITE_REFUSED',
  })
  await expect(Boxed.collection.updateOne({}, { $set: { 'box.0': box[0] } }, { upsert: true })).rejects.toMatchObject({
    code: 'WRITE_REFUSED',
  })
  expect(await rawCollection(Boxed).countDocuments()).toBe(0)
  // What nobody can take for a position is the application's own.
  await Boxed.create({ name: 'Ada', box: { inner: [], other: { inner: 1 } } })
})

describe('a use of the plugin on the owner', () => {
  const named = (name: string) =>
    new Schema({}).plugin(kmsEncrypted, { name, dataKey: 'owner', fields: { text: String } })

  test.each<[string, () => unknown]>([
    ['none', () => connection.model('WithoutUse', new Schema({ notes: [note] }))],
    ['none, deeper', () => connection.model('DeepWithoutUse', new Schema({ a: { b: [new Schema({ one: note })] } }))],
    [
      'none of that name',
      () => modelOf(connection, new Schema({ notes: [named('b')] }), { name: 'a', fields: { al: String } }),
    ],
    ['itself', () => connection.model('NoteAlone', note)],
    [
      'none in the base of a discriminator',
      () => connection.model('PlainBase', new Schema({})).discriminator('WithNotes', new Schema({ notes: [note] })),
    ],
    [
      'another in each of two discriminators with the same subdocuments',
      () => {
        const Base = connection.model('BaseOfTwo', new Schema({}))
        for (const name of ['First', 'Second'])
          Base.discriminator(
            `${name}OfTwo`,
            new Schema<any>({ notes: [note] }).plugin(kmsEncrypted, {
              provider: localKms(),
              fields: { al: String },
            } as never) as any,
          )
      },
    ],
  ])('is asked for when the model is made: %s', (_name, make) => {
    expect(make).toThrow(
      expect.objectContaining({
        code: 'OPTION_INVALID',
        message: expect.stringMatching(/dataKey: 'owner'.*use of the plugin/),
      }),
    )
  })

  test('may be that of a discriminator', async () => {
    const Base = connection.model<any>('BaseOfNotes', new Schema({ name: String }))
    const child = new Schema<any>({ notes: [note] }).plugin(kmsEncrypted, {
      provider: localKms(),
      fields: { al: String },
    } as never)
    const Child = Base.discriminator<any>('ChildWithNotes', child) as any
    for (const write of [
      () => Child.create({ notes: [{ text: secret('by a document') }] }),
      () => Child.insertMany([{ __t: 'ChildWithNotes', notes: [{ text: secret('by a document') }] }], { lean: true }),
      () => Child.collection.insertOne({ __t: 'ChildWithNotes', notes: [{ text: secret('by a document') }] }),
      () => Child.updateOne({ name: 'Eve' }, { notes: [{ text: secret('by a document') }] }, { upsert: true }),
    ]) {
      await write()
      const doc = await Base.findOne()
      expect(await doc.notes[0].text).toBe('by a document')
      expect((await raw('baseofnotes'))[0]!.encrypted_kms_key).toHaveLength(1)
      await Child.updateOne({}, { $push: { notes: { text: secret('by an update') } } })
      expect(await (await Base.findOne()).notes[1].text).toBe('by an update')
      await Base.deleteMany({})
    }
  })
})

test('of two data keys on the owner, the one that the name says is used', async () => {
  const schema = new Schema<any>({
    notes: [new Schema().plugin(kmsEncrypted, { dataKey: 'owner', name: 'b', fields: { text: String } })],
    others: [new Schema().plugin(kmsEncrypted, { dataKey: 'owner', fields: { text: String } })],
  })
  schema.plugin(kmsEncrypted, { provider: localKms(), name: 'b', fields: { phone: String } })
  const Owner = modelOf(connection, schema, { fields: { email: String } })
  const referenceOf = (bytes: any, from = 0) => Buffer.from(bytes.buffer).toString('hex', from, from + 4)
  const expectKeys = async () => {
    const [stored] = await raw(Owner.collection.name)
    const { encrypted_kms_key: own, encrypted_kms_key_b: named, notes, others } = stored as any
    expect([own.length, named.length]).toEqual([1, 1])
    expect(referenceOf(notes[0].text, 1)).toBe(referenceOf(named[0].commitment))
    expect(referenceOf(others[0].text, 1)).toBe(referenceOf(own[0].commitment))
    const loaded = await Owner.findOne()
    expect([await loaded.notes[0].text, await loaded.others[0].text]).toEqual(['by name', 'without a name'])
    return [own[0].commitment, named[0].commitment].map((commitment) => referenceOf(commitment))
  }
  const { _id } = await Owner.create({
    notes: [{ text: secret('by name') }],
    others: [{ text: secret('without a name') }],
  })
  const before = await expectKeys()
  await (await Owner.findById(_id)).rotateKmsKey()
  const after = await expectKeys()
  expect(new Set([...before, ...after]).size).toBe(4)
})

test.each<[string, object]>([
  ['a position where no array is', { one: { 0: { text } } }],
  ['the same by $eq', { one: { $eq: { 0: { text } } } }],
  ['a path through such a position', { 'one.0': { text } }],
  ['a path below it', { 'one.0.text': text }],
  ['a list where a map is', { byKey: [{ text }] }],
  ['such a list by $in', { byKey: { $in: [[{ text }]] } }],
])('a filter, from which an upsert takes values, is refused: %s', async (_, filter) => {
  const refused = { code: 'QUERY_REFUSED' }
  const { collection } = Ward
  await expect(collection.updateOne(filter, { $set: { at: 1 } }, { upsert: true })).rejects.toMatchObject(refused)
  await expect(collection.findOne(filter)).rejects.toMatchObject(refused)
  const upsert = { updateOne: { filter, update: { $set: { at: 1 } }, upsert: true } }
  await expect(collection.bulkWrite([upsert] as never)).rejects.toMatchObject(refused)
  expect(await rawCollection(Ward).countDocuments()).toBe(0)
})
