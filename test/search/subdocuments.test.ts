import { Schema } from 'mongoose'
import { named, plugin, provider, refused, secret, useFaults } from '../faults/support'
import { bytesAt } from './support'

// Fields of subdocuments have index values beside them there, under keys of their own and under that of the record.
const { connection, raw } = useFaults()
const one = () => secret('+44 20 7946 0001')
const two = () => secret('+44 20 7946 0002')
const three = () => secret('+44 20 7946 0003')

function userModel(dataKey: object, phone: object = { blindIndex: true }): any {
  const contact = new Schema<any>({ kind: String }).plugin(plugin, {
    ...dataKey,
    fields: { phone: { type: String, ...phone }, note: String },
  })
  const schema = new Schema<any>({ name: String, contacts: [contact], main: contact }).plugin(plugin, {
    provider,
    fields: { email: { type: String, blindIndex: true } },
  })
  return connection.model<any>(named('User'), schema)
}

describe.each([
  ['with keys of their own', { provider }],
  ["under the owner's key", { dataKey: 'owner' }],
])('%s', (_name, dataKey) => {
  let User: any
  beforeEach(async () => {
    User = userModel(dataKey)
    await User.init()
  })

  const existing = () =>
    User.create({
      name: 'Ada',
      email: secret('ada@example.org'),
      contacts: [
        { kind: 'home', phone: one() },
        { kind: 'work', phone: two() },
      ],
      main: { kind: 'home', phone: one() },
    })

  /** The names of those that have a number; and wherever there is an envelope there is an index value. */
  async function found(phone: string, filter: object = { 'contacts.phone': phone }): Promise<string[]> {
    for (const record of await raw(User))
      for (const contact of [...(record.contacts ?? []), record.main ?? {}])
        expect([contact.kind, bytesAt(contact, 'phone_bidx') !== undefined]).toEqual([
          contact.kind,
          (contact.phone ?? null) !== null,
        ])
    return (await User.find(filter).sort({ name: 1 })).map(({ name }: any) => name)
  }

  test('are found, each where it stands', async () => {
    await existing()
    expect(await found(one())).toEqual(['Ada'])
    expect(await found(two())).toEqual(['Ada'])
    expect(await found(three())).toEqual([])
    expect(await User.countDocuments({ 'main.phone': one() })).toBe(1)
    expect(await User.countDocuments({ 'main.phone': two() })).toBe(0)
    const [{ contacts, main, email_bidx }] = await raw(User)
    const values = [bytesAt(contacts[0], 'phone_bidx'), bytesAt(main, 'phone_bidx'), bytesAt({ email_bidx })]
    expect(new Set(values).size).toBe(3)
  })

  const filters: [string, () => object, number][] = [
    ['$eq', () => ({ 'contacts.phone': { $eq: one() } }), 1],
    ['$ne', () => ({ 'contacts.phone': { $ne: one() } }), 0],
    ['$in', () => ({ 'contacts.phone': { $in: [three(), two()] } }), 1],
    ['$nin', () => ({ 'contacts.phone': { $nin: [three()] } }), 1],
    ['at a position', () => ({ 'contacts.1.phone': two() }), 1],
    ['at another position', () => ({ 'contacts.0.phone': two() }), 0],
    ['$elemMatch', () => ({ contacts: { $elemMatch: { kind: 'work', phone: two() } } }), 1],
    ['$elemMatch of none', () => ({ contacts: { $elemMatch: { kind: 'home', phone: two() } } }), 0],
    ['$elemMatch with $or', () => ({ contacts: { $elemMatch: { $or: [{ phone: three() }, { phone: two() }] } } }), 1],
    ['$not of $elemMatch', () => ({ contacts: { $not: { $elemMatch: { phone: three() } } } }), 1],
    [
      '$all of $elemMatch',
      () => ({ contacts: { $all: [{ $elemMatch: { phone: one() } }, { $elemMatch: { phone: two() } }] } }),
      1,
    ],
    ['whether it is there', () => ({ 'contacts.phone': { $exists: true } }), 1],
    ['both', () => ({ 'contacts.phone': one(), email: secret('ada@example.org') }), 1],
  ]

  test.each(filters)('asked by %s', async (_case, filter, count) => {
    await existing()
    expect(await User.countDocuments(filter())).toBe(count)
    expect(await User.find(filter())).toHaveLength(count)
    expect(await User.aggregate([{ $match: filter() }])).toHaveLength(count)
  })

  test.each([
    ['a range', () => ({ 'contacts.phone': { $gt: 'x' } })],
    ['a range within $elemMatch', () => ({ contacts: { $elemMatch: { phone: { $gt: 'x' } } } })],
    ['a field without an index', () => ({ contacts: { $elemMatch: { phone: one(), note: 'x' } } })],
    ['the object', () => ({ main: { kind: 'home', phone: one() } })],
    ['its own path', () => ({ 'contacts.phone_bidx': 'x' })],
    ['below it', () => ({ 'contacts.phone.x': 'x' })],
  ])('%s is refused', async (_case, filter) => {
    await refused(() => User.find(filter()), 'QUERY_REFUSED')
    await refused(() => User.collection.countDocuments(filter()), 'QUERY_REFUSED')
  })

  const changes: [string, (user: any) => Promise<unknown>][] = [
    [
      'save',
      async ({ _id }) => {
        const user = await User.findById(_id)
        user.contacts[0].phone = three()
        await user.save()
      },
    ],
    [
      'the same record',
      async (user) => {
        user.contacts[0].set({ phone: three() })
        await user.save()
      },
    ],
    ['updateOne at a position', ({ _id }) => User.updateOne({ _id }, { 'contacts.0.phone': three() })],
    ['updateMany', () => User.updateMany({ name: 'Ada' }, { 'contacts.0.phone': three() })],
    [
      'bulkWrite',
      ({ _id }) => User.bulkWrite([{ updateOne: { filter: { _id }, update: { 'contacts.0.phone': three() } } }]),
    ],
    ['a whole element', ({ _id }) => User.updateOne({ _id }, { 'contacts.0': { kind: 'home', phone: three() } })],
    [
      'the whole array',
      ({ _id }) =>
        User.updateOne(
          { _id },
          {
            contacts: [
              { kind: 'home', phone: three() },
              { kind: 'work', phone: two() },
            ],
          },
        ),
    ],
    [
      'an element that comes in its place',
      async ({ _id }) => {
        const user = await User.findById(_id)
        user.contacts.pull(user.contacts[0]._id)
        user.contacts.push({ kind: 'home', phone: three() })
        await user.save()
      },
    ],
  ]

  test.each(changes)('changed by %s', async (_case, change) => {
    await change(await existing())
    expect(await found(three())).toEqual(['Ada'])
    expect(await found(two())).toEqual(['Ada'])
    expect(await found(one())).toEqual([])
    expect(await User.countDocuments({ 'main.phone': one() })).toBe(1)
  })

  const additions: [string, (user: any) => Promise<unknown>][] = [
    ['$push', ({ _id }) => User.updateOne({ _id }, { $push: { contacts: { kind: 'new', phone: three() } } })],
    [
      '$push of several',
      ({ _id }) => User.updateOne({ _id }, { $push: { contacts: { $each: [{ phone: three() }, { kind: 'x' }] } } }),
    ],
    [
      'push and save',
      async (user) => {
        user.contacts.push({ kind: 'new', phone: three() })
        await user.save()
      },
    ],
  ]

  test.each(additions)('added by %s', async (_case, add) => {
    await add(await existing())
    expect(await found(three())).toEqual(['Ada'])
    expect(await found(one())).toEqual(['Ada'])
  })

  const clearings: [string, (user: any) => Promise<unknown>][] = [
    ['$unset', ({ _id }) => User.updateOne({ _id }, { $unset: { 'contacts.0.phone': 1 } })],
    ['null', ({ _id }) => User.updateOne({ _id }, { 'contacts.0.phone': null })],
    [
      'save',
      async (user) => {
        user.contacts[0].set({ phone: undefined })
        await user.save()
      },
    ],
    [
      'pull',
      async (user) => {
        user.contacts.pull(user.contacts[0]._id)
        await user.save()
      },
    ],
  ]

  test.each(clearings)('taken away by %s', async (_case, clear) => {
    await clear(await existing())
    expect(await found(one())).toEqual([])
    expect(await found(two())).toEqual(['Ada'])
  })

  test('an upsert that would have to make the subdocument is refused', async () => {
    const upsert = () => User.updateOne({ 'contacts.phone': one() }, { name: 'Ada' }, { upsert: true })
    await refused(upsert, 'UPDATE_REFUSED')
    await User.updateOne({ contacts: { $elemMatch: { phone: one() } } }, { name: 'Ada' }, { upsert: true })
    expect(await raw(User)).toMatchObject([{ name: 'Ada' }])
  })

  test('are unique among records, and the error names the field', async () => {
    const Unique = userModel(dataKey, { unique: true })
    await Unique.init()
    await Unique.create({ name: 'Ada', contacts: [{ phone: one() }] })
    const error: any = await Unique.create({ name: 'Bob', contacts: [{ phone: one() }] }).catch(
      (thrown: unknown) => thrown,
    )
    expect(error).toMatchObject({ code: 11000, keyPattern: { 'contacts.phone': 1 } })
    expect(error.message).not.toMatch(/bidx|7946/)
    await Unique.create({ name: 'Cid', contacts: [{ phone: two() }], main: { phone: one() } })
    expect(await raw(Unique)).toHaveLength(2)
  })

  test('are not taken for the same where there are none', async () => {
    const Unique = userModel(dataKey, { unique: true })
    await Unique.init()
    await Unique.create({ name: 'Ada', contacts: [{ phone: one() }, { kind: 'home' }] })
    await Unique.create({ name: 'Bob', contacts: [{ phone: two() }, { kind: 'home', phone: null }] })
    await Unique.create([{ contacts: [{ kind: 'home' }] }, { contacts: [{}] }, { contacts: [] }, {}])
    expect(await raw(Unique)).toHaveLength(6)
  })
})

test('an index over two fields of a subdocument', async () => {
  const contact = new Schema<any>({ kind: String }).plugin(plugin, {
    provider,
    fields: ['area', 'number'],
    blindIndexes: { phone: { fields: ['area', 'number'] } },
  })
  const User = connection.model<any>(named('User'), new Schema<any>({ contacts: [contact] }))
  const [area, number, other] = [secret('area 020'), secret('number 1'), secret('number 2')]
  const user = await User.create({
    contacts: [
      { area, number },
      { area, number: other },
    ],
  })
  const count = (filter: object) => User.countDocuments(filter)
  expect(await count({ contacts: { $elemMatch: { area, number } } })).toBe(1)
  await User.updateOne({ _id: user._id }, { 'contacts.0.number': secret('number 3') })
  expect(await count({ contacts: { $elemMatch: { area, number } } })).toBe(0)
  expect(await count({ 'contacts.0.area': area, 'contacts.0.number': secret('number 3') })).toBe(1)
  const loaded: any = await User.findById(user._id)
  loaded.contacts[1].area = secret('area 030')
  await loaded.save()
  expect(await count({ contacts: { $elemMatch: { area: secret('area 030'), number: other } } })).toBe(1)
  expect(await count({ contacts: { $elemMatch: { area, number: other } } })).toBe(0)
  await refused(() => count({ 'contacts.area': area }), 'QUERY_REFUSED', /area, number together/)
  // To MongoDB, area and number need not be of one element then.
  await refused(
    () => count({ 'contacts.area': area, 'contacts.number': secret('number 3') }),
    'QUERY_REFUSED',
    /\$elemMatch/,
  )
})
