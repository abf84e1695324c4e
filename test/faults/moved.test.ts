import { Schema, Types } from 'mongoose'
import { at, contactSchema, expectReads, named, refusalIn, secret, settles, useFaults, userModel } from './support'

const { connection, raw } = useFaults()
const model = (definition: object) => connection.model<any>(named('Owner'), new Schema<any>(definition as never)) as any
const Owner = model({
  name: String,
  contacts: [contactSchema()],
  one: contactSchema(),
  two: contactSchema(),
  byPlace: { type: Map, of: contactSchema() },
})
const phone = '+44 111 1111'
const another = '+44 222 2222'
const given = () => ({
  name: 'Ada',
  contacts: [
    { label: 'first', phone: secret(phone) },
    { label: 'second', phone: secret(another) },
  ],
  one: { label: 'one', phone },
  byPlace: { london: { label: 'london', phone } },
})

const states: [string, (doc: any) => Promise<unknown>][] = [
  ['locked', async () => {}],
  [
    'open',
    async (doc) => {
      for (const path of ['contacts.0', 'contacts.1', 'one', 'byPlace.london']) await at(doc, `${path}.phone`)
    },
  ],
]

describe('fault 20: another _id', () => {
  const id = new Types.ObjectId()
  const ways: [string, string, (doc: any) => unknown][] = [
    ['of an element', 'contacts.0', (doc) => Object.assign(doc.contacts[0], { _id: id })],
    ['of an element by set()', 'contacts.0', (doc) => doc.set('contacts.0._id', id)],
    ['of a subdocument', 'one', (doc) => Object.assign(doc.one, { _id: id })],
    ['of a subdocument by set()', 'one', (doc) => doc.set({ 'one._id': id })],
    ['of one in a map', 'byPlace.london', (doc) => Object.assign(doc.byPlace.get('london'), { _id: id })],
  ]
  test.each(states.flatMap(([state, open]) => ways.map(([way, path, act]) => [way, state, path, open, act] as const)))(
    'is refused, or what it holds reads back: %s, %s',
    async (_way, state, path, open, act) => {
      await Owner.create(given())
      const doc = await Owner.findOne()
      await open(doc)
      await settles(
        // What is open is encrypted for its place before anything is sent, and an update of an _id is refused as such.
        state === 'open' ? 'UPDATE_REFUSED' : 'CONTEXT_CHANGED',
        async () => {
          act(doc)
          await doc.save()
        },
        () => expectReads(Owner, {}, { [`${path}.phone`]: phone }),
      )
      await expectReads(Owner, {}, { [`${path}.phone`]: phone, 'contacts.1.phone': another })
    },
  )

  const updates: [string, string, object, object?][] = [
    ['of an element', 'contacts.0', { 'contacts.0._id': id }],
    ['of an element by $', 'contacts.0', { 'contacts.$._id': id }],
    ['of elements by $[]', 'contacts.0', { 'contacts.$[each]._id': id }, { arrayFilters: [{ 'each.label': 'first' }] }],
    ['of a subdocument', 'one', { 'one._id': id }],
    ['of one in a map', 'byPlace.london', { 'byPlace.london._id': id }],
  ]
  test.each(updates)(
    'by an update is refused, or what it holds reads back: %s',
    async (_name, path, $set, options = {}) => {
      await Owner.create(given())
      for (const settings of [options, { ...options, strict: false }]) {
        await settles(
          'UPDATE_REFUSED',
          () => Owner.updateOne({ 'contacts.label': 'first' }, { $set }, settings),
          () => expectReads(Owner, {}, { [`${path}.phone`]: phone }),
        )
        await settles(
          'UPDATE_REFUSED',
          () =>
            Owner.bulkWrite(
              [{ updateOne: { filter: { 'contacts.label': 'first' }, update: { $set }, ...options } }],
              settings,
            ),
          () => expectReads(Owner, {}, { [`${path}.phone`]: phone }),
        )
      }
    },
  )

  test('of a whole record is refused, or its fields read back', async () => {
    const User = userModel(connection)
    await User.create({ name: 'Ada', email: secret('ada@example.org') })
    const doc = await User.findOne()
    await doc.email
    doc._id = id
    doc.name = 'Countess'
    await doc.save().catch((error: any) => expect(refusalIn(error) ?? error.code ?? error.name).toBeTruthy())
    for (const { _id } of await raw(User)) await expectReads(User, { _id }, { email: 'ada@example.org' })
    doc.$isNew = true
    await doc.save().catch((error: unknown) => expect(refusalIn(error)).toBeDefined())
    for (const { _id } of await raw(User)) await expectReads(User, { _id }, { email: 'ada@example.org' })
  })
})

describe('fault 20: $rename', () => {
  test.each<[string, object, string]>([
    ['of a subdocument', { one: 'two' }, 'two'],
    ['of a subdocument away', { one: 'somewhere' }, 'somewhere'],
    ['of its path', { 'one.phone': 'two.phone' }, 'two'],
    ['of its clear path onto it', { 'one.label': 'one.phone' }, 'one'],
    ['of its keys', { 'one.encrypted_kms_key': 'two.encrypted_kms_key' }, 'two'],
    ['of a list', { contacts: 'others' }, 'others.0'],
    ['of a map', { byPlace: 'byTown' }, 'byTown.london'],
    ['of one in a map', { 'byPlace.london': 'byPlace.paris' }, 'byPlace.paris'],
  ])('is refused, or what was renamed reads back: %s', async (name, $rename, path) => {
    await Owner.create(given())
    for (const [settings, write] of [
      [{}, 'updateOne'],
      [{ strict: false }, 'updateOne'],
      [{ strict: false }, 'findOneAndUpdate'],
      [{ strict: false }, 'updateMany'],
    ] as const) {
      await settles(
        name === 'of its keys' ? 'STORED_PATH_ASSIGNED' : 'UPDATE_REFUSED',
        () => Owner[write]({ name: 'Ada' }, { $rename }, settings),
        async () => {
          const [stored] = await raw(Owner)
          // Under `strict` Mongoose may have taken the operator away.
          if (stored.one?.phone && stored.contacts && stored.byPlace?.london?.phone)
            await expectReads(Owner, {}, { 'one.phone': phone, 'byPlace.london.phone': phone })
          else await expectReads(Owner, {}, { [`${path}.phone`]: phone })
        },
      )
    }
  })
})

describe('fault 20: a subdocument that is given to another record', () => {
  const ways: [string, string, (from: any, to: any) => unknown][] = [
    ['push of an element', 'contacts.0', (from, to) => to.contacts.push(from.contacts[0])],
    ['push of a subdocument', 'contacts.0', (from, to) => to.contacts.push(from.one)],
    ['assigning the list', 'contacts.0', (from, to) => Object.assign(to, { contacts: from.contacts })],
    ['assigning a copy of the list', 'contacts.0', (from, to) => Object.assign(to, { contacts: [...from.contacts] })],
    ['assigning a subdocument', 'one', (from, to) => Object.assign(to, { one: from.one })],
    ['assigning an element', 'one', (from, to) => Object.assign(to, { one: from.contacts[0] })],
    ['set()', 'one', (from, to) => to.set({ one: from.one })],
    ['map.set()', 'byPlace.paris', (from, to) => to.set('byPlace.paris', from.byPlace.get('london'))],
    ['a new record of it', 'one', (from, to) => to.set({ one: new Owner({ one: from.one }).one })],
    ['its _doc', 'one', (from, to) => Object.assign(to, { one: { ...from.one._doc } })],
    ['its envelope', 'one', (from, to) => Object.assign(to, { one: { label: 'x', phone: from.one._doc.phone } })],
  ]

  const run = async (
    act: (typeof ways)[number][2],
    path: string,
    open: (doc: any) => Promise<unknown>,
    end: boolean,
    to: any,
    code: string | undefined,
  ) => {
    await Owner.create(given())
    const from = await Owner.findOne({ name: 'Ada' })
    await open(from)
    await settles(
      code,
      async () => {
        act(from, to)
        await to.save()
      },
      async () => {
        if (end) await Owner.deleteOne({ name: 'Ada' })
        await expectReads(Owner, { name: 'Eve' }, { [`${path}.phone`]: phone })
      },
    )
    if (!end) await expectReads(Owner, { name: 'Ada' }, { 'contacts.0.phone': phone, 'one.phone': phone })
  }

  test.each(states.flatMap(([state, open]) => ways.map(([way, path, act]) => [way, state, path, open, act] as const)))(
    'reads back there, also when the first is gone, or is refused: %s, %s',
    async (way, state, path, open, act) => {
      // Mongoose takes an element of a list as it is into another, still a part of the record that it is from.
      const refusal = state === 'open' ? undefined : 'RECORD_LOCKED'
      const code = way === 'push of an element' ? refusal : undefined
      await Owner.create({ name: 'Eve' })
      await run(act, path, open, true, await Owner.findOne({ name: 'Eve' }), code)
      await Owner.deleteMany({})
      await run(act, path, open, false, new Owner({ name: 'Eve' }), code)
    },
  )

  test.each(states)('reads back in another place of its own record: %s', async (_state, open) => {
    await Owner.create(given())
    const doc = await Owner.findOne()
    await open(doc)
    await settles(
      undefined,
      async () => {
        doc.two = doc.one
        doc.one = undefined
        doc.byPlace.set('paris', doc.contacts[1])
        await doc.save()
      },
      () => expectReads(Owner, {}, { 'two.phone': phone, 'byPlace.paris.phone': another, 'contacts.1.phone': another }),
    )
  })
})

describe('fault 20: an update of what the context of a subdocument reads', () => {
  const context = (doc: any) => ({ Label: `label ${doc.label}` })
  const Labelled = model({
    name: String,
    contacts: [contactSchema({ context })],
    one: contactSchema({ context }),
    byPlace: { type: Map, of: contactSchema({ context }) },
  })
  const updates: [string, any, object?][] = [
    ['an element', { 'contacts.0.label': 'x' }],
    ['an element by $', { 'contacts.$.label': 'x' }],
    ['all elements by $[]', { 'contacts.$[].label': 'x' }],
    ['an element by arrayFilters', { 'contacts.$[each].label': 'x' }, { arrayFilters: [{ 'each.label': 'first' }] }],
    ['a subdocument', { 'one.label': 'x' }],
    ['one in a map', { 'byPlace.london.label': 'x' }],
    ['$unset', { $unset: { 'one.label': 1 } }],
    ['$rename', { $rename: { name: 'one.label' } }],
    ['a pipeline', [{ $set: { 'one.label': 'x' } }], { updatePipeline: true }],
  ]
  const writes: [string, (update: any, options: object) => Promise<unknown>][] = [
    ['updateOne', (update, options) => Labelled.updateOne({ 'contacts.label': 'first' }, update, options)],
    ['updateMany', (update, options) => Labelled.updateMany({ 'contacts.label': 'first' }, update, options)],
    [
      'findOneAndUpdate',
      (update, options) => Labelled.findOneAndUpdate({ 'contacts.label': 'first' }, update, options),
    ],
    [
      'bulkWrite',
      (update, options) =>
        Labelled.bulkWrite([{ updateOne: { filter: { 'contacts.label': 'first' }, update, ...options } }], options),
    ],
    [
      'strict: false',
      (update, options) => Labelled.updateOne({ 'contacts.label': 'first' }, update, { ...options, strict: false }),
    ],
  ]

  test.each(updates)('is refused, or what it holds reads back: %s', async (_name, update, options = {}) => {
    for (const [, write] of writes) {
      await Labelled.deleteMany({})
      await Labelled.create(given())
      const expected = {
        'contacts.0.phone': phone,
        'contacts.1.phone': another,
        'one.phone': phone,
        'byPlace.london.phone': phone,
      }
      await settles(
        'CONTEXT_CHANGED',
        () => write(update, options),
        () => expectReads(Labelled, {}, expected),
      )
      await expectReads(Labelled, {}, expected)
    }
  })

  test.each(states)('by a save re-encrypts what is open, or is refused: %s', async (state, open) => {
    await Labelled.create(given())
    const doc = await Labelled.findOne()
    await open(doc)
    doc.contacts[0].label = 'x'
    doc.one.label = 'y'
    const expected = { 'contacts.0.phone': phone, 'contacts.1.phone': another, 'one.phone': phone }
    await settles(
      state === 'open' ? undefined : 'CONTEXT_CHANGED',
      () => doc.save(),
      () => expectReads(Labelled, {}, expected),
    )
    await expectReads(Labelled, {}, expected)
  })
})
