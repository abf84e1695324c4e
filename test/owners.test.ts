import { Schema } from 'mongoose'
import { kmsEncrypted } from '../lib'
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
