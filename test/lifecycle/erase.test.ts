import { Schema } from 'mongoose'
import { localKms } from '../../lib'
import { misconfigured, named, plugin, provider, refused, secret, useFaults } from '../faults/support'
import { watchedKms } from './support'

// Values that are erased by taking away what opens them: reading says so, whoever reads, and nothing finds them.
const { connection, open, raw, tamper } = useFaults()
const ada = () => ({ name: 'Ada', email: secret('ada@example.org'), note: secret('a quiet note') })
const bob = () => ({ name: 'Bob', email: secret('bob@example.org') })

function userModel(options: object = {}, paths: object = {}): any {
  const schema = new Schema<any>({ name: String, ...paths }, { timestamps: true }).plugin(plugin, {
    provider,
    fields: { email: { type: String, unique: true }, note: String },
    ...options,
  })
  return connection.model<any>(named('User'), schema)
}

let User: any
beforeEach(async () => {
  User = userModel()
  await User.init()
})

test('what opens a record is gone, and a tombstone says since when', async () => {
  const user = await User.create(ada())
  const [before] = await raw(User)
  await user.eraseKmsKey()
  const [after] = await raw(User)
  const { encrypted_kms_key: keys, email_bidx: _index, ...rest } = before
  expect(after).toEqual({ ...rest, encrypted_kms_key: [{ erasedAt: expect.any(Date) }] })
  expect(Date.now() - after.encrypted_kms_key[0].erasedAt).toBeLessThan(60_000)
  expect(keys).toHaveLength(1)
})

test('a document that was opened when it was loaded says so, too, and not that it is locked', async () => {
  const Eager = userModel({ decrypt: 'onLoad' })
  await Eager.create(ada())
  const [found, other] = [await Eager.findOne(), await Eager.findOne()]
  expect([found.email, found.note]).toEqual([ada().email, ada().note])
  await found.eraseKmsKey()
  for (const name of ['email', 'note']) await refused(() => found[name], 'ERASED', /was erased on 20/)
  // What another document has open, it has.
  expect(other.email).toBe(ada().email)
})

test('of a record whose _id is stored as another type than the schema says, it is erased, and not one that has that as its own', async () => {
  const { _id } = await User.create(bob())
  const [stored] = await raw(User)
  const { email_bidx: _index, ...other } = stored
  await User.collection.conn.db.collection(User.collection.name).insertOne({ ...other, _id: String(_id), name: 'Ada' })
  expect(await User.eraseKmsKey({ filter: { name: 'Ada' } })).toMatchObject({ updated: 1, failures: [] })
  const erased = (record: any) => record.encrypted_kms_key[0].erasedAt !== undefined
  expect((await raw(User)).map((record) => [record.name, erased(record)]).sort()).toEqual([
    ['Ada', true],
    ['Bob', false],
  ])
})

test('whoever reads it is told, in every way of reading', async () => {
  const user = await User.create(ada())
  const open = await User.findById(user._id)
  await open.decrypt()
  await open.eraseKmsKey()
  const found = await User.findById(user._id)
  for (const doc of [open, found]) {
    await refused(() => doc.email, 'ERASED', /was erased on 20\d\d-/)
    await refused(() => doc.decrypt(), 'ERASED')
    expect(JSON.stringify(doc)).not.toMatch(/erasedAt|email/)
  }
  await refused(async () => User.decrypt(await User.findById(user._id).lean()), 'ERASED')
  expect(await User.findOne({ email: ada().email })).toBeNull()
  const Eager = connection.model<any>(
    named('Eager'),
    new Schema<any>({}).plugin(plugin, { provider, decrypt: 'onLoad', fields: ['email'] }),
    User.collection.name,
  )
  const eager = await Eager.findById(user._id)
  expect(() => eager.email).toThrow(expect.objectContaining({ code: 'ERASED' }))
})

test('the address can be given to somebody else, and the record new values', async () => {
  const user = await User.create(ada())
  await user.eraseKmsKey()
  await User.create(ada())
  user.email = bob().email
  await user.save()
  const found = await User.findById(user._id)
  expect(await found.email).toBe(bob().email)
  await refused(() => found.note, 'ERASED')
  expect((await raw(User))[0].encrypted_kms_key).toMatchObject([{ erasedAt: expect.any(Date) }, { version: 1 }])
  await User.updateOne({ _id: user._id }, { note: secret('another note') })
  expect(await (await User.findById(user._id)).decrypt()).toEqual({ email: bob().email, note: 'another note' })
})

test('a save of an erased record that somebody had open is refused once', async () => {
  const user = await User.create(ada())
  const open = await User.findById(user._id)
  await open.decrypt()
  await user.eraseKmsKey()
  open.note = secret('another note')
  await refused(() => open.save(), 'RECORD_CHANGED')
  await open.save()
  const found = await User.findById(user._id)
  expect(await found.note).toBe('another note')
  await refused(() => found.email, 'ERASED')
})

test('erasing again changes nothing, and a record without values needs none', async () => {
  const user = await User.create(ada())
  const none = await User.create({ name: 'None' })
  await user.eraseKmsKey()
  const before = await raw(User)
  await user.eraseKmsKey()
  await none.eraseKmsKey()
  expect(await raw(User)).toEqual(before)
})

describe('an index over several fields, of which others were erased', () => {
  const pair = { fields: { email: String, note: String }, blindIndexes: { pair: { fields: ['email', 'note'] } } }
  const found = (Paired: any) => Paired.countDocuments({ email: bob().email, note: ada().note })
  const values = { email: bob().email, note: ada().note }

  test.each<[string, (Paired: any, id: unknown, change: object) => unknown]>([
    ['updateOne', (Paired, _id, change) => Paired.updateOne({ _id }, change)],
    ['updateMany', (Paired, _id, change) => Paired.updateMany({ _id }, change)],
    ['bulkWrite', (Paired, _id, update) => Paired.bulkWrite([{ updateOne: { filter: { _id }, update } }])],
    ['save', async (Paired, id, change) => (await Paired.findById(id)).set(change).save()],
    ['bulkSave', async (Paired, id, change) => Paired.bulkSave([(await Paired.findById(id)).set(change)])],
  ])('is no hindrance to %s', async (_name, write) => {
    const Paired = userModel(pair)
    const { _id } = await Paired.create(ada())
    await Paired.eraseKmsKey({ filter: { _id } })
    await write(Paired, _id, { email: secret(bob().email) })
    const [half] = await raw(Paired)
    expect(half).not.toHaveProperty('pair_bidx')
    expect(await (await Paired.findById(_id)).email).toBe(bob().email)
    await refused(async () => (await Paired.findById(_id)).note, 'ERASED')
    expect(await Paired.backfillBlindIndexes()).toMatchObject({ failed: 0 })
    await write(Paired, _id, { note: ada().note })
    expect(await found(Paired)).toBe(1)
  })

  test('is not passed over by a document that does not know of another’s new key', async () => {
    const Paired = userModel(pair)
    const { _id } = await Paired.create(ada())
    await Paired.eraseKmsKey({ filter: { _id } })
    const doc = await Paired.findById(_id)
    await Paired.updateOne({ _id }, { email: values.email })
    doc.note = values.note
    await refused(() => doc.save(), 'RECORD_CHANGED')
    await doc.save()
    expect(await found(Paired)).toBe(1)
  })
})

test('subdocuments under their own keys and under the owner’s, and an index value there', async () => {
  const own = new Schema<any>({}).plugin(plugin, { provider, fields: { phone: { type: String, blindIndex: true } } })
  const owned = new Schema<any>({}).plugin(plugin, {
    dataKey: 'owner',
    fields: { text: { type: String, blindIndex: true } },
  })
  const Owner = userModel({}, { contacts: [own], notes: [owned] })
  const phones = [secret('+44 20 7946 0001'), secret('+44 20 7946 0002')]
  const user = await Owner.create({
    ...ada(),
    contacts: phones.map((phone) => ({ phone })),
    notes: [{ text: secret('Admitted') }],
  })
  await user.contacts[0].eraseKmsKey()
  let found = await Owner.findById(user._id)
  await refused(() => found.contacts[0].phone, 'ERASED')
  expect([await found.contacts[1].phone, await found.email]).toEqual([phones[1], ada().email])
  await refused(() => found.notes[0].eraseKmsKey(), 'WRITE_REFUSED')
  await found.eraseKmsKey()
  found = await Owner.findById(user._id)
  for (const read of [() => found.contacts[1].phone, () => found.notes[0].text, () => found.email])
    await refused(read, 'ERASED')
  expect(JSON.stringify(await raw(Owner))).not.toMatch(/bidx|wrapped|commitment/)
})

test('keys that another write brings meanwhile are erased, too', async () => {
  const user = await User.create({ name: 'Ada' })
  const { native } = require('../../lib/gate/passes').gateOf(User.collection)
  const other = await User.create(ada())
  const update = native.updateOne
  native.updateOne = async (...args: unknown[]) => {
    native.updateOne = update
    const result = await update(...args)
    await User.updateOne({ _id: other._id }, { email: bob().email })
    return result
  }
  await other.eraseKmsKey()
  expect((await raw(User))[1]).toEqual(expect.not.objectContaining({ email_bidx: expect.anything() }))
  expect((await raw(User))[1].encrypted_kms_key).toEqual([{ erasedAt: expect.any(Date) }])
  expect(user.name).toBe('Ada')
})

describe('many', () => {
  const place = (options: object = {}) => new Schema<any>({}).plugin(plugin, { provider, fields: ['text'], ...options })
  const map = (of: any) => ({ type: Map, of })
  test.each<[string, () => object, object]>([
    ['a map', () => ({ held: map(place()) }), { held: { a: { text: 'a quiet note' } } }],
    ['a map of arrays', () => ({ held: map([place()]) }), { held: { a: [{ text: 'a quiet note' }] } }],
    ['an array of arrays', () => ({ held: [[place()]] }), { held: [[], [{ text: 'a quiet note' }]] }],
    [
      'maps in an array',
      () => ({ held: [new Schema({ in: map(place()) })] }),
      { held: [{ in: { a: { text: 'a quiet note' } } }] },
    ],
    ['nested paths', () => ({ held: { in: { one: place() } } }), { held: { in: { one: { text: 'a quiet note' } } } }],
    ['another key path', () => ({ held: [place({ keyPath: 'keys' })] }), { held: [{ text: 'a quiet note' }] }],
  ])('are erased where the only keys are those in %s', async (_where, paths, held) => {
    secret('a quiet note')
    const Holder = userModel({}, paths())
    await Holder.create([{ name: 'Ada', ...held }, { name: 'Bob', ...held }, { name: 'None' }])
    expect(await Holder.eraseKmsKey({ filter: { name: { $in: ['Ada', 'None'] } } })).toMatchObject({
      updated: 1,
      failed: 0,
    })
    const [ada, bob] = await Holder.find().sort({ name: 1 }).lean()
    await refused(() => Holder.decrypt(ada), 'ERASED')
    expect(JSON.stringify(await Holder.decrypt(bob))).toContain('a quiet note')
    expect(await Holder.eraseKmsKey({ filter: { name: 'Ada' } })).toMatchObject({ updated: 0, failed: 0 })
  })

  test('are erased by a filter, also one by a blind index, and no other', async () => {
    await User.create([ada(), bob(), { name: 'None' }])
    expect(await User.eraseKmsKey({ filter: { email: ada().email } })).toMatchObject({ processed: 1, updated: 1 })
    expect(await User.eraseKmsKey({ filter: { name: 'Ada' } })).toMatchObject({ processed: 0 })
    const [first, second, third] = await raw(User)
    expect(first.encrypted_kms_key).toEqual([{ erasedAt: expect.any(Date) }])
    expect(second.encrypted_kms_key).toMatchObject([{ version: 1 }])
    expect(third).not.toHaveProperty('encrypted_kms_key')
    expect(await (await User.findOne({ email: bob().email })).email).toBe(bob().email)
  })

  test.each([
    ['no filter', () => User.eraseKmsKey()],
    ['one that says nothing', () => User.eraseKmsKey({ filter: {} })],
    ['a comment', () => User.eraseKmsKey({ filter: { $comment: 'all' } })],
    ['a choice of nothing', () => User.eraseKmsKey({ filter: { $or: [{ name: 'Ada' }, {}] } })],
    ['a list of nothing', () => User.eraseKmsKey({ filter: { $and: [{}, {}] } })],
  ])('%s is refused', async (_name, act) => {
    await User.create(ada())
    await misconfigured(act, /filter: expected conditions/)
    expect((await raw(User))[0].encrypted_kms_key).toMatchObject([{ version: 1 }])
  })

  test.each([
    ['at the top', { nmae: 'Bob', name: 'Bob' }, /nmae would be left out/],
    ['in $and', { $and: [{ name: 'Bob' }, { nmae: 'Bob' }] }, /\$and\.1/],
    ['in $or', { $or: [{ nmae: 'Bob' }, { name: 'Bob' }] }, /\$or\.0\.nmae/],
  ])('a filter of which Mongoose would take away a part is refused, %s', async (_where, filter, message) => {
    const Strict: any = connection.model<any>(
      named('Strict'),
      new Schema<any>({ name: String }, { strictQuery: true }).plugin(plugin, {
        provider,
        fields: ['email'],
      }),
    )
    await Strict.create(bob())
    await misconfigured(() => Strict.eraseKmsKey({ filter }), message)
    expect((await raw(Strict))[0].encrypted_kms_key).toMatchObject([{ version: 1 }])
    expect(await Strict.eraseKmsKey({ filter: { name: ['Bob', 'Eve'] } })).toMatchObject({ updated: 1 })
  })

  test.each([{ _id: undefined }, { name: 'Bob', email: { $in: [undefined] } }, { $or: [{ name: undefined }] }])(
    'a filter of which the driver would take away a part is refused: %p',
    async (filter) => {
      const other = await open({ ignoreUndefined: true })
      const Lax: any = other.model<any>(
        named('Lax'),
        new Schema<any>({ name: String }).plugin(plugin, { provider, fields: ['email'] }),
      )
      await Lax.create(bob())
      await refused(() => Lax.eraseKmsKey({ filter }), /OPTION_INVALID|QUERY_REFUSED/)
      expect((await raw(Lax))[0].encrypted_kms_key).toMatchObject([{ version: 1 }])
    },
  )

  test('neither timestamps nor hooks notice', async () => {
    await User.create(ada())
    const [before] = await raw(User)
    await User.eraseKmsKey({ filter: { name: 'Ada' } })
    expect((await raw(User))[0]).toMatchObject({ updatedAt: before.updatedAt, __v: before.__v })
  })
})

test('a cached data key is let go of', async () => {
  const kms = localKms()
  const Cached = userModel({ provider: kms, cache: { maxAgeMs: 60_000, maxEntries: 10 } })
  const user = await Cached.create(ada())
  const lean = (await raw(Cached))[0]
  await (await Cached.findById(user._id)).decrypt()
  const found = await Cached.findById(user._id)
  await found.decrypt()
  await found.eraseKmsKey()
  await refused(() => found.email, 'ERASED')
  expect(lean.encrypted_kms_key).toHaveLength(1)
})

test('a backup of an erased record can be put back, and is erased still', async () => {
  const user = await User.create(ada())
  await user.eraseKmsKey()
  const [stored] = await raw(User)
  await User.deleteMany({})
  const { email: _email, ...rest } = stored
  await User.collection.insertOne(rest)
  await refused(async () => (await User.findById(user._id)).note, 'ERASED')
})

test('what was erased is no failure of a backfill', async () => {
  await User.create([ada(), bob()])
  await User.eraseKmsKey({ filter: { name: 'Ada' } })
  await tamper(User, { name: 'Bob' }, { $unset: { email_bidx: 1 } })
  expect(await User.backfillBlindIndexes()).toMatchObject({ processed: 2, updated: 1, unchanged: 1, failures: [] })
})

test('a damaged key is still damaged', async () => {
  const user = await User.create(ada())
  await tamper(User, { _id: user._id }, { $unset: { encrypted_kms_key: 1 } })
  await refused(async () => (await User.findById(user._id)).email, 'DATA_KEY_MISSING')
})

test('a subdocument with a key of its own beside fields under the owner’s leaves those and the owner alone', async () => {
  const both = new Schema<any>({})
    .plugin(plugin, { provider, name: 'own', fields: { phone: { type: String, blindIndex: true } } })
    .plugin(plugin, { dataKey: 'owner', fields: { text: { type: String, blindIndex: true } } })
  const Owner = userModel({}, { contacts: [both] })
  const contact = { phone: secret('+44 20 7946 0001'), text: secret('Admitted') }
  const user = await Owner.create({ ...ada(), contacts: [contact] })
  await user.contacts[0].eraseKmsKey()
  const found = await Owner.findById(user._id)
  expect(await found.email).toBe(ada().email)
  expect(await found.contacts[0].text).toBe(contact.text)
  expect(await Owner.countDocuments({ 'contacts.text': contact.text })).toBe(1)
  await refused(() => found.contacts[0].phone, 'ERASED')
})

describe('what was erased is left as it is, and the rest', () => {
  const contact = () =>
    new Schema<any>({ label: String }).plugin(plugin, {
      provider,
      fields: { phone: { type: String, blindIndex: true } },
    })
  const phone = () => secret('+44 20 7946 0000')
  const commitments = (record: any) =>
    [record, ...record.contacts].flatMap(({ encrypted_kms_key: keys = [] }) =>
      keys.map((key: any) => key.commitment?.toString('hex')),
    )

  /** Of the record the email was erased, of the first contact all, and since then the record has a note. */
  async function halfErased(options: object = {}) {
    const Holder = userModel(options, { contacts: [contact()] })
    const doc = await Holder.create({ email: ada().email, contacts: [{ label: 'a', phone: phone() }] })
    await Holder.eraseKmsKey({ filter: { _id: doc._id } })
    await Holder.updateOne({ _id: doc._id }, { note: ada().note, $push: { contacts: { label: 'b', phone: phone() } } })
    return { Holder, _id: doc._id }
  }

  async function expectHalf(Holder: any, _id: unknown, labels = ['a', 'b']) {
    const found = await Holder.findById(_id)
    expect(await found.note).toBe(ada().note)
    expect(found.contacts.map(({ label }: any) => label)).toEqual(labels)
    for (const each of found.contacts) {
      if (each.label === 'b') expect(await each.phone).toBe(phone())
      else await refused(() => each.phone, 'ERASED')
    }
    await refused(() => found.email, 'ERASED')
    expect(await Holder.verifyKms()).toMatchObject({ failures: [] })
  }

  test.each<[string, (Holder: any, _id: unknown) => Promise<unknown>]>([
    ['by the job', async (Holder) => expect(await Holder.rotateKmsKey()).toMatchObject({ updated: 1, failures: [] })],
    ['of a document', async (Holder, _id) => (await Holder.findById(_id)).rotateKmsKey()],
  ])('is rotated %s', async (_name, rotate) => {
    const { Holder, _id } = await halfErased()
    const [before] = await raw(Holder)
    await rotate(Holder, _id)
    const [after] = await raw(Holder)
    const old = commitments(before)
    expect(commitments(after).map((each) => each !== undefined && old.includes(each))).toEqual([
      ...[false, false, false, false],
    ])
    expect(commitments(after).filter((each) => each === undefined)).toHaveLength(2)
    expect([after.email, after.contacts[0].phone]).toEqual([before.email, before.contacts[0].phone])
    await expectHalf(Holder, _id)
  })

  test('is not rotated from under a value that takes the place of what was erased meanwhile', async () => {
    const kms = watchedKms()
    const { Holder, _id } = await halfErased({ provider: kms.provider })
    const doc = await Holder.findById(_id)
    const other = await Holder.findById(_id)
    await other.note
    let saved: Promise<unknown> | undefined
    kms.whileOpening(async () => {
      saved ??= other.set({ email: bob().email }).save()
      await saved
    })
    await doc.rotateKmsKey()
    expect(saved).toBeDefined()
    expect(await (await Holder.findById(_id)).email).toBe(bob().email)
  })

  test.each<[string, (doc: any) => unknown]>([
    ['marked', (doc) => doc.markModified('contacts')],
    ['sorted', (doc) => doc.contacts.sort((one: any, other: any) => (one.label < other.label ? 1 : -1))],
  ])('is %s', async (name, change) => {
    const { Holder, _id } = await halfErased()
    const doc = await Holder.findById(_id)
    change(doc)
    await doc.save()
    await expectHalf(Holder, _id, name === 'marked' ? ['a', 'b'] : ['b', 'a'])
  })
})

describe.each([
  ['keys of their own', { provider }],
  ["the owner's key", { dataKey: 'owner' }],
])('an array of subdocuments under %s, some of which were erased', (_, options) => {
  /** Of the first element the phone was erased, which since then has a fax. */
  async function holder() {
    const contact = new Schema<any>({ label: String }).plugin(plugin, { ...options, fields: ['phone', 'fax'] })
    const Holder = userModel({}, { contacts: [contact] })
    const given = ['a', 'b', 'c'].map((label) => ({ label, phone: secret(`phone of ${label}`) }))
    const doc = await Holder.create({ note: ada().note, contacts: [given[0]] })
    await Holder.eraseKmsKey({ filter: { _id: doc._id } })
    const found = await Holder.findById(doc._id)
    found.contacts[0].fax = secret('since then')
    found.contacts.push(given[1], given[2])
    await found.save()
    return { Holder, loaded: await Holder.findById(doc._id) }
  }

  test.each<[string, (doc: any) => unknown, string]>([
    ['turned round', (doc) => doc.set({ contacts: [...doc.contacts].reverse() }), 'cba'],
    ['set in another order', (doc) => doc.set({ contacts: [1, 0, 2].map((index) => doc.contacts[index]) }), 'bac'],
    ['sorted', (doc) => doc.contacts.sort((one: any, other: any) => (one.label < other.label ? 1 : -1)), 'cba'],
    [
      'replaced by others before the erased one',
      (doc) => doc.set({ contacts: [{ label: 'n', phone: 'phone of n' }, doc.contacts[0]] }),
      'na',
    ],
  ])('can be %s', async (_name, change, labels) => {
    const { Holder, loaded } = await holder()
    const [before] = await raw(Holder)
    await change(loaded)
    await loaded.save()
    const [after] = await raw(Holder)
    const erased = after.contacts.find(({ label }: any) => label === 'a')
    expect(erased.phone).toEqual(before.contacts[0].phone)
    const found = await Holder.findById(loaded._id)
    expect(found.contacts.map(({ label }: any) => label).join('')).toBe(labels)
    for (const each of found.contacts) {
      if (each.label !== 'a') expect(await each.phone).toBe(`phone of ${each.label}`)
      else await refused(() => each.phone, 'ERASED')
    }
    expect(await found.contacts.find(({ label }: any) => label === 'a').fax).toBe('since then')
    expect(await Holder.verifyKms()).toMatchObject({ failed: 0 })
  })

  test('gives none of them to another record', async () => {
    const { Holder, loaded } = await holder()
    const before = await raw(Holder)
    await refused(() => new Holder({ contacts: [loaded.contacts[0]] }).save(), 'ERASED')
    expect(await raw(Holder)).toEqual(before)
  })
})

test.each(['eraseKmsKey', 'rotateKmsKey'])(
  'a bulk save that is about to write under a data key is refused when %s() takes that away',
  async (job) => {
    let meanwhile = async () => {}
    const slow = watchedKms({
      generateDataKey: async (request) => {
        await meanwhile()
        return provider.generateDataKey(request)
      },
    })
    const schema = new Schema<any>({ name: String })
      .plugin(plugin, { provider, fields: ['note'] })
      .plugin(plugin, { provider: slow.provider, name: 'other', fields: ['phone'] })
    const User = connection.model<any>(named('Both'), schema)
    const doc = await User.create({ note: secret('before all') })
    // Of a record that has a tombstone, no key that is missing may be taken for one that was erased.
    await doc.eraseKmsKey()
    doc.note = secret('before the job')
    await doc.save()
    doc.set({ note: secret('with the bulk'), phone: secret('0123456789') })
    meanwhile = () => doc[job]()
    await refused(() => User.bulkSave([doc]), 'RECORD_CHANGED')
    meanwhile = async () => {}
    await User.bulkSave([doc])
    expect(await (await User.findById(doc._id)).decrypt()).toEqual({ note: 'with the bulk', phone: '0123456789' })
  },
)

test('a record whose index value another has by now is rotated, and told of', async () => {
  const name = named('Twice')
  const make = (on: any, unique: boolean) =>
    on.model(
      name,
      new Schema<any>({}).plugin(plugin, { provider, fields: { email: { type: String, unique }, note: String } }),
    )
  const Before = make(connection, false) as any
  const After = make(await open(), true) as any
  await After.init()
  await Before.create([{ email: ada().email }, { email: ada().email }])
  const before = await raw(After)
  const { failures, updated } = await After.rotateKmsKey({ concurrency: 1 })
  expect([updated, failures]).toEqual([
    1,
    [{ id: before[1]._id, error: expect.objectContaining({ code: 11000, keyPattern: { email: 1 } }) }],
  ])
  const doc = await After.findById(before[1]._id)
  await expect(doc.rotateKmsKey()).rejects.toMatchObject({ code: 11000, keyPattern: { email: 1 } })
  expect(await doc.email).toBe(ada().email)
  const after = await raw(After)
  for (const [index, { encrypted_kms_key: keys }] of after.entries()) {
    expect(keys).toHaveLength(1)
    expect(keys).not.toEqual(before[index].encrypted_kms_key)
  }
})
