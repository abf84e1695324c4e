import { Schema } from 'mongoose'
import { countingKms } from '../counting'
import {
  at,
  contactSchema,
  expectReads,
  expectSealed,
  named,
  plugin,
  secret,
  settles,
  useFaults,
  userModel,
} from './support'

const { connection, raw } = useFaults()
const referenceOf = (envelope: any) => Buffer.from(envelope.buffer).subarray(1, 5).toString('hex')
const referencesOf = (keys: any[]) => keys.map(({ commitment }) => Buffer.from(commitment.buffer).toString('hex', 0, 4))

/** Expects that each envelope of a raw record is under a key that the record has. */
function expectKeys(record: any, ...fields: string[]): void {
  for (const field of fields) {
    expectSealed(record, field)
    expect(referencesOf(record.encrypted_kms_key)).toContain(referenceOf(record[field]))
  }
}

describe('fault 16: a body that names a place within the wrapped keys', () => {
  const bodies: [string, object][] = [
    ['encrypted_kms_key.0', { 'encrypted_kms_key.0': 'x' }],
    ['encrypted_kms_key.0, an object', { 'encrypted_kms_key.0': { wrapped: 'x', keyId: 'y' } }],
    ['encrypted_kms_key.0.wrapped', { 'encrypted_kms_key.0.wrapped': 'x' }],
    ['encrypted_kms_key.0.keyId', { 'encrypted_kms_key.0.keyId': 'another key' }],
    ['encrypted_kms_key.1', { 'encrypted_kms_key.1': { wrapped: 'x' } }],
    ['encrypted_kms_key', { encrypted_kms_key: ['x'] }],
    ['encrypted_kms_key, an object', { encrypted_kms_key: { 0: 'x' } }],
    ['encrypted_kms_key, null', { encrypted_kms_key: null }],
    ['encrypted_kms_key, undefined', { encrypted_kms_key: undefined }],
    ['encrypted_kms_key, []', { encrypted_kms_key: [] }],
    ['email.0', { 'email.0': 'x' }],
    ['email.buffer', { 'email.buffer': 'x' }],
  ]
  const ways: [string, (doc: any, Model: any, body: object) => Promise<unknown>][] = [
    ['set(body), save()', async (doc, _Model, body) => doc.set(body).save()],
    [
      'set(path, value), save()',
      async (doc, _Model, body) => doc.set(...(Object.entries(body)[0] as [string, any])).save(),
    ],
    ['assign(body), save()', async (doc, _Model, body) => Object.assign(doc, body).save()],
    ['updateOne(body)', (doc, _Model, body) => doc.updateOne(body)],
    ['Model.updateOne(body)', (_doc, Model, body) => Model.updateOne({ name: 'Ada' }, body)],
    ['Model.findOneAndUpdate(body)', (_doc, Model, body) => Model.findOneAndUpdate({ name: 'Ada' }, { $set: body })],
    [
      'Model.updateOne(body), strict: false',
      (_doc, Model, body) => Model.updateOne({ name: 'Ada' }, body, { strict: false }),
    ],
    [
      'Model.bulkWrite',
      (_doc, Model, body) => Model.bulkWrite([{ updateOne: { filter: { name: 'Ada' }, update: body } }]),
    ],
  ]

  /** A body that is assigned is one of a user's, and stored paths are no fields of his; whoever writes an update means what it says. */
  function outcomeOf(body: string, way: string, open: boolean): string | undefined {
    const isUpdate = /update|bulkWrite/i.test(way)
    if (body.startsWith('email')) {
      if (isUpdate) return 'UPDATE_REFUSED'
      if (way.startsWith('assign')) return undefined
      return open ? 'ValidationError' : 'RECORD_LOCKED'
    }
    if (!isUpdate) return undefined
    if (!body.endsWith('undefined')) return 'STORED_PATH_ASSIGNED'
    // Nothing is left of an update to undefined, and the driver refuses that.
    return way === 'Model.bulkWrite' ? 'MongoInvalidArgumentError' : undefined
  }

  test.each(bodies.flatMap(([body, value]) => ways.map(([way, act]) => [body, way, value, act] as const)))(
    'destroys no key, the first, second and third time: %s by %s',
    async (body, way, value, act) => {
      const User = userModel(connection)
      const email = secret('ada@example.org')
      await User.create({ name: 'Ada', email })
      const [before] = await raw(User)
      for (const round of [1, 2, 3]) {
        const doc = await User.findOne({ name: 'Ada' })
        if (round === 3) await doc.email
        await settles(
          outcomeOf(body, way, round === 3),
          () => act(doc, User, value),
          () => {},
        )
        const [after] = await raw(User)
        expect(after.encrypted_kms_key).toEqual(before.encrypted_kms_key)
        expect(after.email).toEqual(before.email)
        await expectReads(User, { name: 'Ada' }, { email })
      }
    },
  )

  test.each<[string, object, string | undefined]>([
    ['a list', { 'contacts.0.encrypted_kms_key.0': 'x' }, 'STORED_PATH_ASSIGNED'],
    ['a list, whole', { 'contacts.0.encrypted_kms_key': [] }, 'STORED_PATH_ASSIGNED'],
    ['a path', { 'one.encrypted_kms_key.0': 'x' }, 'STORED_PATH_ASSIGNED'],
    ['a path, in an object', { one: { encrypted_kms_key: ['x'], label: 'home' } }, undefined],
    ['a path, an envelope', { 'one.phone.0': 'x' }, 'UPDATE_REFUSED'],
    ['a map', { 'byPlace.london.encrypted_kms_key.0': 'x' }, 'STORED_PATH_ASSIGNED'],
  ])('destroys no key of a subdocument: %s', async (name, body, updating) => {
    const Owner = connection.model<any>(
      named('Owner'),
      new Schema<any>({
        name: String,
        contacts: [contactSchema()],
        one: contactSchema(),
        byPlace: { type: Map, of: contactSchema() },
      }),
    ) as any
    const phone = secret('+44 111 1111')
    const contact = { label: 'home', phone }
    await Owner.create({ name: 'Ada', contacts: [contact], one: contact, byPlace: { london: contact } })
    for (const round of [1, 2, 3]) {
      const doc = await Owner.findOne()
      if (round === 3) await doc.one?.phone
      const ofEnvelope = round === 3 ? 'ValidationError' : 'RECORD_LOCKED'
      const ways: [string | undefined, () => Promise<unknown>][] = [
        [name.endsWith('an envelope') ? ofEnvelope : undefined, async () => doc.set(body).save()],
        [updating, () => Owner.updateOne({ name: 'Ada' }, body)],
        [updating, () => Owner.updateOne({ name: 'Ada' }, body, { strict: false })],
      ]
      for (const [code, act] of ways) {
        await settles(code, act, () => {})
        const loaded = await Owner.findOne()
        for (const path of ['contacts.0.phone', 'byPlace.london.phone']) expect(await at(loaded, path)).toBe(phone)
        // A whole new subdocument may have taken the place of this one.
        expect([phone, undefined]).toContain(await at(loaded, 'one.phone'))
      }
    }
  })
})

describe('fault 17: rotateKmsKey() beside other work on the same document', () => {
  const turns = async (count: number) => {
    for (let i = 0; i < count; i++) await new Promise((resume) => setImmediate(resume))
  }
  const beside: [string, (doc: any, User: any) => Promise<unknown>][] = [
    ['save()', (doc) => doc.save()],
    ['save() without validation', (doc) => doc.save({ validateBeforeSave: false })],
    ['bulkSave()', (doc, User) => User.bulkSave([doc])],
    ['updateOne()', (doc) => doc.updateOne({ email: secret('changed@example.org') })],
    ['another rotateKmsKey()', (doc) => doc.rotateKmsKey()],
    ['decrypt()', (doc) => doc.decrypt()],
    ['loading anew', loadAnew],
  ]
  async function loadAnew(doc: any, User: any): Promise<void> {
    doc.init(await User.collection.findOne({ _id: doc._id }))
  }

  describe.each(['the rotation first', 'the rotation second'])('%s', (order) => {
    test.each(beside.flatMap(([name, act]) => [0, 1, 3, 8].map((count) => [name, count, act] as const)))(
      'loses neither key nor value: %s, with a later hook that takes %i turns',
      async (name, count, act) => {
        const schema = new Schema<any>({ name: String }).plugin(plugin, {
          provider: countingKms(),
          fields: { email: String, phone: String },
        })
        schema.plugin((each: Schema) => void each.pre('save', () => turns(count)))
        const User = connection.model<any>(named('User'), schema) as any
        await User.create({ name: 'Ada', email: secret('ada@example.org'), phone: secret('+44 111 1111') })
        const doc = await User.findOne()
        const writes = !['decrypt()', 'another rotateKmsKey()', 'loading anew'].includes(name)
        if (writes) doc.email = secret('changed@example.org')
        const acts = [() => doc.rotateKmsKey(), () => turns(count % 3).then(() => act(doc, User))]
        if (order === 'the rotation second') acts.reverse()
        const outcomes = await Promise.allSettled(acts.map((each) => each()))
        const [other] = order === 'the rotation second' ? outcomes : outcomes.slice(1)
        for (const outcome of outcomes) if (outcome.status === 'rejected') expect(outcome.reason).toHaveProperty('code')

        const [stored] = await raw(User)
        expectKeys(stored, 'email', 'phone')
        const loaded = await User.findOne()
        expect(await loaded.phone).toBe('+44 111 1111')
        const stays = !writes || other!.status === 'rejected'
        expect(['changed@example.org', ...(stays ? ['ada@example.org'] : [])]).toContain(await loaded.email)

        // The document itself goes on: once more at most, where it was refused.
        doc.phone = secret('+44 222 2222')
        await doc.save().catch(() => doc.save())
        expectKeys((await raw(User))[0], 'email', 'phone')
        expect(await (await User.findOne()).phone).toBe('+44 222 2222')
      },
    )
  })

  test.each([0, 1, 3, 8].flatMap((count) => ['first', 'second'].map((order) => [order, count] as const)))(
    'or a save, and the document is loaded anew meanwhile: the save is %s, with a later hook that takes %i turns',
    async (order, count) => {
      const User = userModel(connection, { name: String }, { fields: { email: String, phone: String } })
      User.schema.pre('save', () => turns(count))
      await User.create({ name: 'Ada', email: secret('ada@example.org'), phone: secret('+44 111 1111') })
      const doc = await User.findOne()
      doc.email = secret('changed@example.org')
      const acts = [() => doc.save(), () => turns(count % 3).then(() => loadAnew(doc, User))]
      if (order === 'second') acts.reverse()
      const outcomes = await Promise.allSettled(acts.map((act) => act()))
      for (const outcome of outcomes) if (outcome.status === 'rejected') expect(outcome.reason).toHaveProperty('code')

      expectKeys((await raw(User))[0], 'email', 'phone')
      const values = ['ada@example.org', 'changed@example.org']
      const loaded = await User.findOne()
      expect([values.includes(await loaded.email), await loaded.phone]).toEqual([true, '+44 111 1111'])
      expect([values.includes(await doc.email), await doc.phone]).toEqual([true, '+44 111 1111'])
      doc.set({ email: secret('later@example.org'), phone: secret('+44 222 2222') })
      await doc.save().catch(() => doc.save())
      expectKeys(
        await expectReads(User, { name: 'Ada' }, { email: 'later@example.org', phone: '+44 222 2222' }),
        'email',
        'phone',
      )
    },
  )

  test.each(['first', 'second'])('of a subdocument’s owner loses nothing, the rotation %s', async (order) => {
    const Owner = userModel(connection, { name: String, contacts: [contactSchema()] })
    await Owner.create({ name: 'Ada', email: secret('ada@example.org'), contacts: [{ phone: secret('+44 111 1111') }] })
    const doc = await Owner.findOne()
    doc.contacts[0].phone = secret('+44 222 2222')
    const acts = [() => doc.rotateKmsKey(), () => doc.save()]
    if (order === 'second') acts.reverse()
    const outcomes = await Promise.allSettled(acts.map((act) => act()))
    const saved = outcomes[order === 'second' ? 0 : 1]!.status === 'fulfilled'
    const loaded = await Owner.findOne()
    expect(await loaded.email).toBe('ada@example.org')
    expect(await loaded.contacts[0].phone).toBe(saved ? '+44 222 2222' : '+44 111 1111')
    expectKeys((await raw(Owner))[0].contacts[0], 'phone')
  })
})

describe('fault 43: an update that is run once more', () => {
  const updates: [string, (User: any, email: string) => any][] = [
    ['updateOne', (User, email) => User.updateOne({ name: 'Ada' }, { email })],
    ['updateOne $set', (User, email) => User.updateOne({ name: 'Ada' }, { $set: { email } })],
    ['findOneAndUpdate', (User, email) => User.findOneAndUpdate({ name: 'Ada' }, { email })],
    ['updateMany', (User, email) => User.updateMany({ name: 'Ada' }, { email })],
    ['replaceOne', (User, email) => User.replaceOne({ name: 'Ada' }, { name: 'Ada', email })],
    ['upsert', (User, email) => User.updateOne({ name: 'Ada' }, { email }, { upsert: true })],
  ]
  const betweens: [string, (User: any) => Promise<unknown>][] = [
    ['nothing', async () => {}],
    ['a rotation', async (User) => (await User.findOne()).rotateKmsKey()],
    ['another value', (User) => User.updateOne({}, { email: secret('other@example.org') })],
    [
      'a new record in its place',
      async (User) => {
        await User.deleteMany({})
        await User.create({ name: 'Ada', email: secret('other@example.org') })
      },
    ],
    [
      'a record without a key in its place',
      async (User) => {
        await User.deleteMany({})
        await User.create({ name: 'Ada' })
      },
    ],
  ]

  test.each(updates.flatMap(([name, make]) => betweens.map(([between, act]) => [name, between, make, act] as const)))(
    'encrypts anew for the record as it is: %s, after %s',
    async (_name, _between, make, act) => {
      const User = userModel(connection)
      await User.create({ name: 'Ada', email: secret('ada@example.org') })
      const query = make(User, secret('updated@example.org'))
      await query
      await act(User)
      await settles(
        undefined,
        () => query.clone(),
        async () => expectKeys(await expectReads(User, { name: 'Ada' }, { email: 'updated@example.org' }), 'email'),
      )
    },
  )

  test('encrypts for another record where its filter was changed', async () => {
    const User = userModel(connection)
    await User.create([{ name: 'Ada', email: secret('ada@example.org') }, { name: 'Eve' }])
    const query = User.updateOne({ name: 'Ada' }, { email: secret('updated@example.org') })
    await query
    const again = query.clone()
    again.setQuery({ name: 'Eve' })
    await again
    for (const name of ['Ada', 'Eve']) await expectReads(User, { name }, { email: 'updated@example.org' })
    const envelopes = (await raw(User)).map(({ email }) => referenceOf(email))
    expect(new Set(envelopes).size).toBe(2)
  })
})
