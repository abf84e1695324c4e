import mongoose, { Schema } from 'mongoose'
import { type KeyProvider, kmsEncrypted, localKms } from '../lib'
import { modelOf, rawCollection, secret, useDatabase } from './support'
import { people, type Raw, readTampered, replace, store, values } from './tampering'

const { ObjectId } = mongoose.mongo
const { connection, raw } = useDatabase()

describe('a ciphertext that is moved does not decrypt', () => {
  /** A KMS that does not look at the context: what then keeps ciphertexts in their place is their own AAD. */
  const local = localKms()
  const context = { App: 'people', Record: 'shared' }
  const careless: KeyProvider = {
    keyId: local.keyId,
    generateDataKey: (request) => local.generateDataKey({ ...request, context }),
    unwrapDataKey: (request) => local.unwrapDataKey({ ...request, context }),
  }
  const rejected = 'ENVELOPE_REJECTED'

  test('to another field', async () => {
    const User = modelOf(connection, new Schema({}), { fields: ['email', 'phone'] })
    await User.create({ email: secret(values.email), phone: secret(values.phone) })
    const [stored] = (await raw(User.collection.name)) as [Raw]
    const { email: phone, phone: email } = stored
    await replace(User, { ...stored, email, phone })
    const user = await User.findOne()
    await expect(user.email).rejects.toMatchObject({ name: 'DecryptionError', code: rejected })
    await expect(user.phone).rejects.toMatchObject({ name: 'DecryptionError', code: rejected })
  })

  test('to another record', async () => {
    const Person = people(connection)
    const [stored, other] = (await store(Person)) as [Raw, Raw]
    const read = await readTampered(Person, { ...stored, email: other.email })
    expect(read).toEqual({ ...values, email: 'DATA_KEY_MISSING' })
  })

  test('to another record together with its key, which the KMS refuses under the context of that record', async () => {
    const Person = people(connection)
    const [stored, { email, encrypted_kms_key }] = (await store(Person)) as [Raw, Raw]
    await replace(Person, { ...stored, email, encrypted_kms_key })
    const record = await Person.findById(stored._id)
    await expect(record.email).rejects.toMatchObject({ name: 'KeyProviderError', code: 'KMS_WRONG_CONTEXT' })
    expect(await record.phone).toBe(values.phone)
  })

  test.each([
    ['under a context that all records share', { context: () => context }],
    ['under a KMS that does not look at the context', { provider: careless }],
  ])('to another record together with its key, %s', async (_name, options) => {
    const Person = people(connection, options)
    const [stored, { email, encrypted_kms_key }] = (await store(Person)) as [Raw, Raw]
    const keys = [...stored.encrypted_kms_key, ...encrypted_kms_key]
    const read = await readTampered(Person, { ...stored, email, encrypted_kms_key: keys })
    expect(read).toEqual({ ...values, email: rejected })
  })

  test.each([
    ['by the KMS', localKms(), 'KMS_WRONG_CONTEXT'],
    ['by its AAD, where the KMS does not look at the context', careless, rejected],
  ])('to another model, under the same _id: refused %s', async (_name, provider, code) => {
    const [User, Admin] = [0, 1].map(() => modelOf(connection, new Schema({}), { provider, fields: ['email'] }))
    await User.create({ email: secret(values.email) })
    const [stored] = (await raw(User.collection.name)) as [Raw]
    await rawCollection(Admin).insertOne(stored)
    await expect((await Admin.findById(stored._id)).email).rejects.toMatchObject({ code })
    expect(await (await User.findById(stored._id)).email).toBe(values.email)
  })

  test.each([
    ['by the KMS', localKms(), 'KMS_WRONG_CONTEXT'],
    ['by its AAD, where the KMS does not look at the context', careless, rejected],
  ])('to another context: refused %s', async (_name, provider, code) => {
    const options = { provider, context: ({ tenant }: Raw) => ({ Tenant: String(tenant) }), fields: ['email'] as const }
    const User = modelOf(connection, new Schema({ tenant: String }), options as never)
    const { _id } = await User.create({ tenant: 'a', email: secret(values.email) })
    await rawCollection(User).updateOne({ _id }, { $set: { tenant: 'b' } })
    await expect((await User.findById(_id)).email).rejects.toMatchObject({ code })
    await rawCollection(User).updateOne({ _id }, { $set: { tenant: 'a' } })
    expect(await (await User.findById(_id)).email).toBe(values.email)
  })

  test.each<[string, unknown, unknown]>([
    ['an ObjectId to its text', new ObjectId('65f0c0ffee65f0c0ffee65f0'), '65f0c0ffee65f0c0ffee65f0'],
    ['a text to its ObjectId', '65f0c0ffee65f0c0ffee65f0', new ObjectId('65f0c0ffee65f0c0ffee65f0')],
    ['a number to its text', 7, '7'],
    ['an object to one with its keys in another order', { a: 1, b: 2 }, { b: 2, a: 1 }],
  ])('from %s as the _id, under the same context', async (_name, from, to) => {
    const schema = new Schema({ _id: Schema.Types.Mixed })
    const User = modelOf(connection, schema, { fields: ['email'], context: () => context })
    await User.create({ _id: from, email: secret(values.email) })
    const [stored] = (await raw(User.collection.name)) as [Raw]
    await rawCollection(User).insertOne({ ...stored, _id: to })
    const [original, moved] = await Promise.all([from, to].map((_id) => User.findOne({ _id })))
    expect(await original.email).toBe(values.email)
    await expect(moved.email).rejects.toMatchObject({ name: 'DecryptionError', code: rejected })
  })

  describe('in subdocuments', () => {
    const texts = { first: 'text of the first', second: 'text of the second', single: 'text of the single one' }
    const kinds = [
      ['keys of their own', { provider: careless }],
      ['keys of their own, by a context that all share', { provider: careless, context: () => context }],
      ['the key of their owner', { dataKey: 'owner' }],
    ] as const
    const ways: readonly (readonly [string, (stored: Raw) => Raw, string])[] = [
      ['to a sibling', (stored) => ({ notes: exchanged(stored.notes[0], stored.notes[1]) }), 'notes.0.text'],
      ['to a sibling of a map', ({ byKey: { a, b } }) => ({ byKey: entries(...exchanged(a, b)) }), 'byKey.a.text'],
      ['to a sibling, _id and all', ({ notes }) => ({ byKey: entries(notes[0], notes[1]) }), 'byKey.a.text'],
      ['to another key of a map', ({ byKey: { a, b } }) => ({ byKey: entries(b, a) }), 'byKey.a.text'],
      ['to another path, _id and all', (stored) => ({ others: stored.notes }), 'others.0.text'],
      ['from an array to a path', (stored) => ({ one: stored.notes[0] }), 'one.text'],
      [
        'to another path within a subdocument',
        (stored) => ({ 'notes.0.deeper': [stored.notes[1]] }),
        'notes.0.deeper.0.text',
      ],
    ]
    const entries = (a: Raw, b: Raw) => ({ a, b })

    /** Each with what is encrypted of the other, wrapped keys included. */
    function exchanged(one: Raw, other: Raw): [Raw, Raw] {
      const sealed = ({ text, encrypted_kms_key: key }: Raw) => ({ text, ...(key ? { encrypted_kms_key: key } : {}) })
      return [
        { ...one, ...sealed(other) },
        { ...other, ...sealed(one) },
      ]
    }

    function owner(options: object) {
      const encrypted = (definition: object) =>
        new Schema<any>(definition as never).plugin(kmsEncrypted, { ...options, fields: { text: String } } as never)
      const note = encrypted({ at: Number, deeper: [encrypted({ at: Number })] })
      const schema = new Schema({ notes: [note], others: [note], one: note, byKey: { type: Map, of: note } })
      return modelOf(connection, schema, { provider: careless, fields: ['email'] })
    }

    async function stored(Owner: any): Promise<Raw> {
      const notes = [{ text: secret(texts.first) }, { text: secret(texts.second) }]
      const [a, b] = notes
      const { _id } = await Owner.create({
        email: secret(values.email),
        notes,
        byKey: { a, b },
        one: { text: secret(texts.single) },
      })
      return rawCollection(Owner).findOne({ _id })
    }

    test.each(
      kinds.flatMap(([kind, options]) => ways.map(([way, move, path]) => [way, kind, move, path, options] as const)),
    )('%s, under %s', async (_way, _kind, move, path, options) => {
      const Owner = owner(options)
      const record = await stored(Owner)
      await rawCollection(Owner).updateOne({ _id: record._id }, { $set: move(record) })
      const loaded = await Owner.findById(record._id)
      // Awaited here, for `get()` of a path in an array gives what is there.
      await expect((async () => loaded.get(path))()).rejects.toMatchObject({ name: 'DecryptionError', code: rejected })
      expect(await loaded.email).toBe(values.email)
    })

    test.each(kinds)('to another record together with the keys, under %s', async (_kind, options) => {
      const Owner = owner(options)
      const [from, to] = [await stored(Owner), await stored(Owner)]
      const keys = [...to.encrypted_kms_key, ...from.encrypted_kms_key]
      await rawCollection(Owner).updateOne({ _id: to._id }, { $set: { notes: from.notes, encrypted_kms_key: keys } })
      const loaded = await Owner.findById(to._id)
      await expect((async () => loaded.notes[0].text)()).rejects.toMatchObject({
        name: 'DecryptionError',
        code: rejected,
      })
      expect([await loaded.email, await loaded.one.text]).toEqual([values.email, texts.single])
    })
  })
})
