import { Schema } from 'mongoose'
import { kmsEncrypted, localKms } from '../lib'
import { modelOf, secret, useDatabase } from './support'

const { connection, raw } = useDatabase()
const provider = localKms()

/** An owner without the plugin, whose subdocuments are encrypted only where they are of a discriminator. */
function ownerModel() {
  const item = new Schema({ label: String }, { discriminatorKey: 'kind' })
  const owner = new Schema({ name: String, items: [item], single: item.clone() })
  const phone = () => new Schema({}).plugin(kmsEncrypted, { provider, fields: { phone: String } })
  ;(owner.path('items') as any).discriminator('Phone', phone())
  ;(owner.path('single') as any).discriminator('SinglePhone', phone())
  return connection.model<any>('Owner', owner as never) as any
}
const Owner = ownerModel()

const given = () => ({
  name: 'Ada',
  items: [{ kind: 'Phone', label: 'home', phone: secret('+44 111 1111') }],
  single: { kind: 'SinglePhone', phone: secret('+44 222 2222') },
})

test.each([
  ['create', () => Owner.create(given())],
  ['insertMany', () => Owner.insertMany([given()])],
  ['insertMany, lean', () => Owner.insertMany([given()], { lean: true })],
  ['bulkSave', () => Owner.bulkSave([new Owner(given())])],
])('%s encrypts the discriminators of subdocuments', async (_name, write) => {
  await write()
  const [stored] = await raw('owners')
  expect(stored!.items[0].encrypted_kms_key).toHaveLength(1)
  expect(stored!.single.encrypted_kms_key).toHaveLength(1)
  const owner = await Owner.findOne()
  expect(await owner.items[0].phone).toBe('+44 111 1111')
  expect(await owner.single.phone).toBe('+44 222 2222')
})

test('an update of a whole element is encrypted', async () => {
  await Owner.create(given())
  const element = { kind: 'Phone', phone: secret('plaintext of a phone') }
  for (const strict of [true, false]) {
    expect(await Owner.updateOne({}, { $push: { items: element } }, { strict })).toMatchObject({ modifiedCount: 1 })
    expect(await (await Owner.findOne()).items.at(-1).phone).toBe('plaintext of a phone')
  }
  await Owner.updateOne({}, { single: { kind: 'SinglePhone', phone: 'plaintext of a phone' } })
  expect(await (await Owner.findOne()).single.phone).toBe('plaintext of a phone')
})

test.each([
  ['a path of an element', { $set: { 'items.0.phone': 'plaintext of a phone' } }],
  ['a path of a subdocument', { $set: { 'single.phone': 'plaintext of a phone' } }],
  ['a positional path', { $set: { 'items.$[].phone': 'plaintext of a phone' } }],
  ['a pipeline', [{ $set: { 'single.phone': 'plaintext of a phone' } }]],
])('an update of %s is refused', async (_name, update) => {
  secret('plaintext of a phone')
  await Owner.create(given())
  const before = await raw('owners')
  await expect(Owner.updateOne({}, update, { strict: false, updatePipeline: true })).rejects.toMatchObject({
    code: 'UPDATE_REFUSED',
  })
  expect(await raw('owners')).toEqual(before)
})

test('filters that reach into them are refused', async () => {
  await Owner.create(given())
  for (const operation of ['find', 'deleteMany', 'countDocuments']) {
    await expect(Owner[operation]({ 'items.phone': 'x' }).exec()).rejects.toMatchObject({ code: 'QUERY_REFUSED' })
  }
  await expect(Owner.find().sort('items.phone').exec()).rejects.toMatchObject({ code: 'QUERY_REFUSED' })
})

test('set() of the owner reaches into a discriminator that came after its first call', async () => {
  const entry = new Schema({ label: String }, { discriminatorKey: 'kind' })
  const Book = modelOf(connection, new Schema({ entries: [entry] }), { fields: { title: String } })
  const book = new Book({ title: secret('diary of Ada'), entries: [{ label: 'home' }] })
  book.set('entries.0.label', 'work')
  const place = new Schema({}).plugin(kmsEncrypted, { provider, fields: { address: { city: String, street: String } } })
  Book.schema.path('entries').discriminator('Place', place)
  book.entries.push({ kind: 'Place', address: { city: secret('London'), street: secret('Main Street') } })
  book.set('entries.1.address.city', secret('Berlin'))
  await book.save()
  const loaded = await Book.findOne()
  expect(loaded.entries[0].label).toBe('work')
  expect(await loaded.entries[1].decrypt()).toMatchObject({ address: { city: 'Berlin', street: 'Main Street' } })
})

describe.each([
  ['where nothing was encrypted before', false],
  ['where something was', true],
])('a discriminator that came after the last operation, %s', (name, hasFields) => {
  const phone = '+44 333 3333'
  const item = () => ({ kind: 'Phone', label: 'work', phone: secret(phone) })
  let Late: any
  let made = 0

  beforeEach(async () => {
    const entry = new Schema({ label: String }, { discriminatorKey: 'kind' })
    const schema = new Schema<any>({ name: String, items: [entry] })
    if (hasFields) schema.plugin(kmsEncrypted as any, { provider, fields: { title: String } })
    Late = connection.model<any>(`Late ${name} ${++made}`, schema, `late${made}${hasFields}`)
    await Late.create([{ name: 'Ada' }, { name: 'Eve' }])
    await Late.findOne({ name: 'Ada' })
    const own = new Schema({}).plugin(kmsEncrypted, { provider, fields: { phone: String } })
    Late.schema.path('items').discriminator('Phone', own)
  })

  test.each<[string, () => Promise<unknown>]>([
    ['create', () => Late.create({ name: 'Bob', items: [item()] })],
    ['insertOne of the collection', () => Late.collection.insertOne({ name: 'Bob', items: [item()] })],
    ['insertMany', () => Late.insertMany([{ name: 'Bob', items: [item()] }])],
    ['insertMany of the collection', () => Late.collection.insertMany([{ name: 'Bob', items: [item()] }])],
    ['bulkSave', () => Late.bulkSave([new Late({ name: 'Bob', items: [item()] })])],
    ['bulkWrite', () => Late.bulkWrite([{ insertOne: { document: { name: 'Bob', items: [item()] } } }])],
    [
      'bulkWrite of the connection',
      () =>
        connection.bulkWrite([
          { model: Late, name: 'insertOne', document: { name: 'Bob', items: [item()] } },
        ] as never) as Promise<unknown>,
    ],
    [
      'bulkWrite of the client',
      () =>
        (connection.getClient() as any).bulkWrite([
          {
            namespace: `${connection.name}.${Late.collection.name}`,
            name: 'insertOne',
            document: { name: 'Bob', items: [item()] },
          },
        ]),
    ],
    [
      'bulkWrite of the collection',
      () =>
        Late.collection.bulkWrite([{ updateOne: { filter: { name: 'Ada' }, update: { $push: { items: item() } } } }]),
    ],
    ['updateOne', () => Late.updateOne({ name: 'Ada' }, { $push: { items: item() } })],
    ['updateOne of the collection', () => Late.collection.updateOne({ name: 'Ada' }, { $set: { items: [item()] } })],
    ['updateMany', () => Late.updateMany({ name: 'Ada' }, { $push: { items: item() } })],
    ['updateMany of the collection', () => Late.collection.updateMany({ name: 'Ada' }, { $set: { items: [item()] } })],
    ['replaceOne', () => Late.replaceOne({ name: 'Ada' }, { name: 'Ada', items: [item()] })],
    ['findOneAndUpdate', () => Late.findOneAndUpdate({ name: 'Ada' }, { $push: { items: item() } })],
    ['findOneAndReplace', () => Late.findOneAndReplace({ name: 'Ada' }, { name: 'Ada', items: [item()] })],
  ])('is encrypted by %s', async (_name, write) => {
    await write()
    const stored = (await raw(Late.collection.name)).flatMap(({ items }) => items ?? [])
    expect(stored).toHaveLength(1)
    expect(stored[0].encrypted_kms_key).toHaveLength(1)
    const loaded = await Late.findOne({ 'items.0': { $exists: true } })
    expect(await loaded.items[0].phone).toBe(phone)
  })

  const update = { filter: { name: 'Ada' }, update: { $set: { 'items.0.phone': phone } } }
  test.each<[string, () => Promise<unknown>]>([
    ['updateOne', () => Late.updateOne(update.filter, update.update)],
    ['bulkWrite', () => Late.bulkWrite([{ updateOne: update }])],
    [
      'bulkWrite of the connection',
      () => connection.bulkWrite([{ model: Late, name: 'updateOne', ...update }] as never) as Promise<unknown>,
    ],
  ])('is not left out of an update by %s', async (_name, write) => {
    secret(phone)
    await expect((async () => await write())()).rejects.toMatchObject({ code: 'UPDATE_REFUSED' })
  })

  const filter = { 'items.phone': phone }
  test.each<[string, () => Promise<unknown>]>([
    ['find', () => Late.find(filter)],
    ['find of the collection', () => Late.collection.find(filter).toArray()],
    ['findOne', () => Late.findOne(filter)],
    ['countDocuments', () => Late.countDocuments(filter)],
    ['distinct', () => Late.distinct('items.phone')],
    ['aggregate', () => Late.aggregate([{ $match: filter }])],
    [
      'an aggregate of another model',
      () =>
        Owner.aggregate([
          { $lookup: { from: Late.collection.name, localField: 'name', foreignField: 'items.phone', as: 'late' } },
        ]),
    ],
    ['deleteOne', () => Late.deleteOne(filter)],
    ['deleteMany', () => Late.deleteMany(filter)],
    ['findOneAndDelete', () => Late.findOneAndDelete(filter)],
    ['updateOne', () => Late.updateOne(filter, { name: 'x' })],
    ['bulkWrite', () => Late.bulkWrite([{ deleteOne: { filter } }])],
    ['bulkWrite of the collection', () => Late.collection.bulkWrite([{ deleteOne: { filter } }])],
    [
      'bulkWrite of the connection',
      () => connection.bulkWrite([{ model: Late, name: 'deleteOne', filter }] as never) as Promise<unknown>,
    ],
  ])('is not compared by %s', async (_name, ask) => {
    secret(phone)
    await expect((async () => await ask())()).rejects.toMatchObject({ code: 'QUERY_REFUSED' })
    expect(await raw(Late.collection.name)).toHaveLength(2)
  })
})

describe('what names the fields of subdocuments from within', () => {
  const contact = new Schema({ label: String }).plugin(kmsEncrypted, { provider, fields: { phone: String } })
  const Person = connection.model<any>('Contactable', new Schema({ name: String, contacts: [contact] }) as never) as any
  const elements = { contacts: { $all: [{ $elemMatch: { phone: 'x' } }] } }

  test.each([
    ['$all of $elemMatch', () => Person.find(elements).exec()],
    ['a projection by $elemMatch', () => Person.find({}, { contacts: { $elemMatch: { phone: 'x' } } }).exec()],
    ...[{ 'e.phone': null }, { $or: [{ 'e.phone': 'x' }] }].map((filter): [string, () => Promise<unknown>] => [
      `the array filter ${JSON.stringify(filter)}`,
      () => Person.updateOne({}, { $set: { 'contacts.$[e].label': 'changed' } }, { arrayFilters: [filter] }),
    ]),
    [
      'an array filter of a bulk write',
      () =>
        Person.bulkWrite([
          {
            updateOne: {
              filter: {},
              update: { $set: { 'contacts.$[e].label': 'changed' } },
              arrayFilters: [{ 'e.phone': null }],
            },
          },
        ]),
    ],
  ] as [string, () => Promise<unknown>][])('%s is refused', async (_name, run) => {
    await Person.create({ name: 'Ada', contacts: [{ label: 'home', phone: secret('+44 111 1111') }] })
    const before = await raw('contactables')
    await expect(run()).rejects.toMatchObject({ code: 'QUERY_REFUSED' })
    expect(await raw('contactables')).toEqual(before)
  })

  test('an array filter by a path in the clear works as usual', async () => {
    await Person.create({ name: 'Ada', contacts: [{ label: 'home', phone: secret('+44 111 1111') }] })
    await Person.updateOne(
      {},
      { $set: { 'contacts.$[e].label': 'changed' } },
      { arrayFilters: [{ 'e.label': 'home' }] },
    )
    expect((await raw('contactables'))[0]!.contacts[0].label).toBe('changed')
  })
})

describe('updates that empty a field', () => {
  const User = modelOf(connection, new Schema({ name: String }), {
    fields: { email: { type: String, required: true }, born: { type: String, immutable: true } },
  })

  test.each([
    ['null', { email: null }],
    ['$unset', { $unset: { email: 1 } }],
    ['$unset among others', { $set: { name: 'x', born: 'y' }, $unset: { email: 1 } }],
  ])('%s is validated where validators run', async (_name, update) => {
    await User.create({ name: 'Ada', email: secret('ada@example.org') })
    const before = await raw(User.collection.name)
    await expect(User.updateOne({}, update, { runValidators: true })).rejects.toMatchObject({
      name: 'ValidationError',
      errors: { email: { kind: 'required' } },
    })
    expect(await raw(User.collection.name)).toEqual(before)
  })

  test.each([
    ['null', { name: 'x', born: null }],
    ['$unset', { name: 'x', $unset: { born: 1 } }],
  ])('%s leaves what is immutable', async (_name, update) => {
    await User.create({ name: 'Ada', email: secret('ada@example.org'), born: secret('long ago') })
    await User.updateOne({}, update)
    expect(await (await User.findOne({ name: 'x' })).born).toBe('long ago')
  })
})
