import { inspect } from 'node:util'
import mongoose, { Schema } from 'mongoose'
import { named, plugin, provider, refused, secret, useFaults } from '../faults/support'
import { accountModel } from './support'

// Virtuals that are populated by an indexed field: each record gets what has its value, and nothing is decrypted for that.
const { connection, raw } = useFaults()

let Order: any
let User: any
let [ada, bob, eve] = ['', '', '']

/** A model of users whose orders are those with the same address, by a clear field or an encrypted one. */
function userModel(email: unknown, virtual: object = {}, options: object = {}): any {
  const schema = new Schema<any>({ name: String, clear: String, all: [String] }, { toJSON: { virtuals: true } })
  if (email) schema.plugin(plugin, { provider, fields: { email }, ...options })
  const more = { ref: Order.modelName, foreignField: 'email', ...virtual }
  schema.virtual('orders', { localField: 'clear', ...more } as never)
  schema.virtual('order', { localField: 'clear', ...more, justOne: true } as never)
  schema.virtual('many', { localField: 'all', ...more } as never)
  schema.virtual('count', { localField: 'clear', ...more, count: true } as never)
  schema.virtual('own', { localField: 'email', ...more } as never)
  return connection.model<any>(named('User'), schema)
}

beforeEach(async () => {
  Order = accountModel(connection, {}, { type: String, blindIndex: true }, named('Order'))
  ;[ada, bob, eve] = [secret('ada@example.org'), secret('bob@example.org'), secret('eve@example.org')]
  await Order.create(
    [
      { name: 'one', email: ada, note: secret('first note') },
      { name: 'two', email: bob },
      { name: 'three', email: ada },
      { name: 'none' },
    ],
    { ordered: true },
  )
})

const names = (orders: any) =>
  [orders]
    .flat(9)
    .map((each: any) => each?.name)
    .sort()
    .join(' ')

describe('by a clear field', () => {
  let docs: any[]
  beforeEach(async () => {
    User = userModel(undefined)
    docs = [
      new User({ name: 'Ada', clear: ada, all: [bob, ada] }),
      new User({ name: 'Bob', clear: bob, all: [] }),
      new User({ name: 'Eve', clear: eve, all: [eve, bob] }),
      new User({ name: 'Nobody' }),
    ]
  })

  test('each gets its own', async () => {
    await User.populate(docs, ['orders', 'order', 'many', 'count'])
    expect(docs.map(({ orders }) => names(orders))).toEqual(['one three', 'two', '', ''])
    expect(docs.map(({ order }) => order?.name)).toEqual(['one', 'two', undefined, undefined])
    expect(docs.map(({ many }) => names(many))).toEqual(['one three two', '', 'two', ''])
    expect(docs.map(({ count }) => count)).toEqual([2, 1, 0, 0])
    expect(docs[0].order.email.constructor.name).toBe('LockedValue')
    expect(await docs[0].order.email).toBe(ada)
    expect(await docs[0].orders.find(({ name }: any) => name === 'one').note).toBe('first note')
  })

  test('nothing is shown or changed of what was found', async () => {
    const before = await raw(Order)
    await User.populate(docs, 'order')
    const { order } = docs[0]
    expect(order.email_bidx).toBeUndefined()
    expect(`${JSON.stringify(order)} ${inspect(order, { depth: 9, showHidden: true })}`).not.toContain(ada)
    expect(order.isModified()).toBe(false)
    order.name = 'changed'
    await order.save()
    const [after] = await raw(Order)
    expect(after).toEqual({ ...before[0], name: 'changed' })
    await order.decrypt()
    order.email = bob
    await order.save()
    expect(await Order.countDocuments({ email: bob })).toBe(2)
  })

  test.each<[string, object, string[]]>([
    ['lean', { options: { lean: true } }, ['one three', 'two', '', '']],
    ['selected', { select: 'name' }, ['one three', 'two', '', '']],
    ['selected with the field', { select: 'name email' }, ['one three', 'two', '', '']],
    ['without another', { select: '-note' }, ['one three', 'two', '', '']],
    ['without the _id', { select: 'name -_id' }, ['one three', 'two', '', '']],
    ['by an object', { select: { note: 0 } }, ['one three', 'two', '', '']],
    ['lean and selected', { select: 'name', options: { lean: true } }, ['one three', 'two', '', '']],
    ['matching', { match: { name: { $ne: 'one' } } }, ['three', 'two', '', '']],
    ['in an order', { options: { sort: { name: -1 } } }, ['one three', 'two', '', '']],
    ['with a limit for each', { perDocumentLimit: 1, options: { sort: { name: 1 } } }, ['one', 'two', '', '']],
    ['transformed', { transform: (order: any) => order && { name: order.name } }, ['one three', 'two', '', '']],
  ])('%s', async (_name, options, expected) => {
    await User.populate(docs, { path: 'orders', ...options })
    expect(docs.map(({ orders }) => names(orders ?? []))).toEqual(expected)
    for (const { orders } of docs) for (const order of orders) expect(order.email_bidx).toBeUndefined()
  })

  test('by a query, a document, a lean record, a cursor, and within another', async () => {
    await connection.collection(User.collection.name).insertOne({ name: 'Kept', clear: 'kept@example.org' })
    await Order.create({ name: 'kept', email: 'kept@example.org' })
    expect(names((await User.findOne().populate('orders')).orders)).toBe('kept')
    expect(names((await (await User.findOne()).populate('order')).order)).toBe('kept')
    expect(names((await User.findOne().lean().populate('orders')).orders)).toBe('kept')
    for await (const { orders } of User.find().populate('orders').cursor()) expect(names(orders)).toBe('kept')
    const Post = connection.model<any>(
      named('Post'),
      new Schema<any>({ by: { type: Schema.Types.ObjectId, ref: User.modelName } }),
    )
    await Post.create({ by: await User.findOne() })
    const post = await Post.findOne().populate({ path: 'by', populate: 'orders' })
    expect(names(post.by.orders)).toBe('kept')
  })
})

test('by a field of the same address in another case', async () => {
  const email = { type: String, blindIndex: { caseInsensitive: true } }
  Order = accountModel(connection, {}, email, named('Order'))
  User = userModel(undefined)
  await Order.create({ name: 'one', email: ada })
  const one = await new User({ clear: ada.toUpperCase() }).populate('orders')
  expect(names(one.orders)).toBe('one')
  const both = [new User({ clear: ada }), new User({ clear: ada.toUpperCase() })]
  await refused(() => User.populate(both, 'orders'), 'QUERY_REFUSED', /differ as text and are found as one/)
})

describe('by an encrypted field', () => {
  beforeEach(async () => {
    User = userModel(String)
    await User.create([
      { name: 'Ada', email: ada },
      { name: 'Also', email: ada },
      { name: 'Bob', email: bob },
      { name: 'Nobody' },
    ])
  })

  test('that is open', async () => {
    const docs = await User.find().sort({ name: 1 })
    await Promise.all(docs.map((doc: any) => doc.decrypt()))
    await User.populate(docs, 'own')
    expect(docs.map(({ own }: any) => names(own))).toEqual(['one three', 'one three', 'two', ''])
    expect(inspect(docs, { depth: 9, showHidden: true })).not.toContain(ada)
    expect(docs[0].isModified()).toBe(false)
    expect(docs[0].email).toBe(ada)
    docs[0].email = bob
    expect(names((await docs[0].populate('own')).own)).toBe('two')
    const made = await new User({ email: bob }).populate('own')
    expect(names(made.own)).toBe('two')
  })

  test('that is locked, or lean', async () => {
    const message = /by a field that is locked\. Have the records decrypted first/
    await refused(() => User.find().populate('own'), 'QUERY_REFUSED', message)
    await refused(() => User.find().lean().populate('own'), 'QUERY_REFUSED', message)
    await refused(async () => (await User.findOne({ name: 'Ada' })).populate('own'), 'QUERY_REFUSED', message)
  })

  test('that is opened on load', async () => {
    const Loaded = userModel(String, {}, { decrypt: 'onLoad' })
    await Loaded.create([
      { name: 'Ada', email: ada },
      { name: 'Bob', email: bob },
    ])
    const docs = await Loaded.find().sort({ name: 1 })
    await Loaded.populate(docs, 'own')
    expect(docs.map(({ own }: any) => names(own))).toEqual(['one three', 'two'])
    const found = await Loaded.find().sort({ name: 1 }).populate('own')
    expect(found.map(({ own }: any) => names(own))).toEqual(['one three', 'two'])
  })
})

test('by a number and a date', async () => {
  const fields = { born: { type: Date, blindIndex: true }, age: { type: Number, blindIndex: true } }
  const Person = connection.model<any>(
    named('Person'),
    new Schema<any>({ name: String }).plugin(plugin, { provider, fields }),
  )
  const schema = new Schema<any>({ day: Date, years: Number })
  schema.virtual('born', { ref: Person.modelName, localField: 'day', foreignField: 'born' })
  schema.virtual('aged', { ref: Person.modelName, localField: 'years', foreignField: 'age', justOne: true })
  const Day = connection.model<any>(named('Day'), schema)
  await Person.create([
    { name: 'a', born: new Date(5000), age: 7 },
    { name: 'b', born: new Date(6000), age: 8 },
  ])
  const days = [new Day({ day: new Date(6000), years: 7 }), new Day({ day: new Date(5000), years: 9 })]
  await Day.populate(days, [{ path: 'born' }, { path: 'aged' }])
  expect(days.map(({ born }) => names(born))).toEqual(['b', 'a'])
  expect(days.map(({ aged }) => aged?.name)).toEqual(['a', undefined])
  // As text, by which Mongoose tells them apart, these are one.
  const alike = [new Day({ day: new Date(5001) }), new Day({ day: new Date(5002) })]
  await refused(() => Day.populate(alike, { path: 'born' }), 'QUERY_REFUSED', /or the other way round/)
})

test('a field without an index is refused', async () => {
  const schema = new Schema<any>({ of: String })
  schema.virtual('order', { ref: Order.modelName, localField: 'of', foreignField: 'note' })
  const Letter = connection.model<any>(named('Letter'), schema)
  await refused(() => new Letter({ of: 'x' }).populate('order'), 'QUERY_REFUSED', /stored encrypted/)
})

test('a condition that is trusted by the application is asked as any other', async () => {
  const trusted = { email: mongoose.trusted({ $in: [ada] }) }
  expect(names(await Order.find(trusted))).toBe('one three')
  expect(names(await Order.find(trusted).select('-email'))).toBe('one three')
  expect(names(await Order.find({ email: mongoose.trusted({ $ne: ada }) }))).toBe('none two')
})

test('while two versions of the index are live, and of values that are shortened', async () => {
  const two = { type: String, blindIndex: { version: 2, previousVersions: { 1: { caseInsensitive: true } } } }
  const short = { type: String, blindIndex: { bits: 16 } }
  for (const email of [two, short]) {
    Order = accountModel(connection, {}, email, named('Order'))
    User = userModel(undefined)
    await Order.create([
      { name: 'one', email: ada },
      { name: 'two', email: bob },
    ])
    const docs = [new User({ clear: bob }), new User({ clear: ada })]
    await User.populate(docs, 'orders')
    expect(docs.map(({ orders }) => names(orders))).toEqual(['two', 'one'])
  }
})
