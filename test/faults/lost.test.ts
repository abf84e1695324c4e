import mongoose, { Schema } from 'mongoose'
import {
  at,
  contactSchema,
  expectReads,
  named,
  plugin,
  provider,
  refused,
  secret,
  settles,
  useFaults,
  userModel,
} from './support'

const { connection, raw, tamper } = useFaults()

describe('fault 26: doc.$inc() of an encrypted number', () => {
  const User = userModel(connection, { name: String }, { fields: { logins: Number, deep: { count: Number } } })

  test.each<[string, (doc: any) => unknown]>([
    ['locked', async () => {}],
    ['open', (doc) => doc.decrypt()],
  ])('counts, or is refused: %s', async (state, open) => {
    for (const [path, by] of [
      ['logins', undefined],
      ['logins', 5],
      ['deep.count', 2],
    ] as const) {
      await User.deleteMany({})
      await User.create({ name: 'Ada', logins: 40, deep: { count: 40 } })
      const doc = await User.findOne()
      await open(doc)
      await settles(
        state === 'locked' ? 'RECORD_LOCKED' : undefined,
        async () => {
          doc.$inc(path, by)
          await doc.save()
        },
        () => expectReads(User, {}, { [path]: 40 + (by ?? 1) }),
      )
      await (await User.findOne()).set({ name: 'Countess' }).save()
      expect([40, 40 + (by ?? 1)]).toContain(await at(await User.findOne(), path))
    }
  })

  test('counts in a new record', async () => {
    const doc = new User({ name: 'Ada', logins: 1 })
    await settles(
      undefined,
      async () => {
        doc.$inc('logins', 2)
        await doc.save()
      },
      () => expectReads(User, {}, { logins: 3 }),
    )
  })
})

describe('fault 27: an update that finds one record and names another', () => {
  const User = userModel(connection, { _id: Number, name: String })

  test.each<[string, (Model: any) => Promise<unknown>]>([
    ['updateOne $set', (Model) => Model.updateOne({ _id: 7 }, { $set: { _id: 8, email: 'new' } }, { upsert: true })],
    ['updateOne', (Model) => Model.updateOne({ _id: 7 }, { _id: 8, email: 'new' }, { upsert: true })],
    [
      'updateOne $setOnInsert',
      (Model) => Model.updateOne({ _id: 7 }, { $setOnInsert: { _id: 8 }, $set: { email: 'new' } }, { upsert: true }),
    ],
    [
      'findOneAndUpdate',
      (Model) => Model.findOneAndUpdate({ _id: 7 }, { $set: { _id: 8, email: 'new' } }, { upsert: true }),
    ],
    ['replaceOne', (Model) => Model.replaceOne({ _id: 7 }, { _id: 8, email: 'new' }, { upsert: true })],
    [
      'bulkWrite',
      (Model) =>
        Model.bulkWrite([
          { updateOne: { filter: { _id: 7 }, update: { $set: { _id: 8, email: 'new' } }, upsert: true } },
        ]),
    ],
    [
      'without upsert, of a record that is there',
      async (Model) => {
        await Model.create({ _id: 7, name: 'Ada' })
        await Model.updateOne({ _id: 7 }, { $set: { _id: 8, email: 'new' } })
      },
    ],
  ])('does not reach the other: %s', async (_name, update) => {
    await User.create({ _id: 8, name: 'Eve', email: secret('eve@example.org') })
    const [before] = await raw(User)
    await expect(update(User)).rejects.toHaveProperty('code')
    expect((await raw(User)).find(({ _id }) => _id === 8)).toEqual(before)
    expect((await raw(User)).filter((record) => 'email' in record)).toHaveLength(1)
    expect(await (await User.findById(8)).email).toBe('eve@example.org')
  })

  test.each<[string, (Model: any, values: object) => Promise<unknown>]>([
    ['create', (Model, values) => Model.create({ name: 'Ada', ...values })],
    ['insertMany, lean', (Model, values) => Model.insertMany([{ name: 'Ada', ...values }], { lean: true })],
    ['upsert', (Model, values) => Model.updateOne({ name: 'Ada' }, values, { upsert: true })],
    [
      'upsert $setOnInsert',
      (Model, values) => Model.updateOne({ name: 'Ada' }, { $setOnInsert: values }, { upsert: true }),
    ],
    ['findOneAndUpdate', (Model, values) => Model.findOneAndUpdate({ name: 'Ada' }, values, { upsert: true })],
    ['replaceOne', (Model, values) => Model.replaceOne({ name: 'Ada' }, { name: 'Ada', ...values }, { upsert: true })],
    [
      'bulkWrite',
      (Model, values) => Model.bulkWrite([{ updateOne: { filter: { name: 'Ada' }, update: values, upsert: true } }]),
    ],
  ])('with two keys, one value and one null, leaves a record that can be updated: %s', async (_name, write) => {
    const schema = new Schema<any>({ name: String })
      .plugin(plugin, { provider, fields: ['email'] })
      .plugin(plugin, { provider, fields: ['phone'], name: 'b' })
    const Two = connection.model<any>(named('Two'), schema) as any
    await write(Two, { email: secret('ada@example.org'), phone: null })
    expect((await raw(Two))[0].encrypted_kms_key_b ?? 'absent').toEqual(expect.anything())
    expect((await raw(Two))[0]).not.toMatchObject({ encrypted_kms_key_b: null })
    await Two.updateOne({ name: 'Ada' }, { phone: secret('+44 111 1111') })
    const doc = await expectReads(Two, { name: 'Ada' }, { email: 'ada@example.org', phone: '+44 111 1111' })
    expect(doc.encrypted_kms_key_b).toHaveLength(1)
  })

  test('a record of which the keys are null is updated all the same', async () => {
    await User.create({ _id: 1, name: 'Ada' })
    await tamper(User, { _id: 1 }, { $set: { encrypted_kms_key: null } })
    await settles(
      undefined,
      () => User.updateOne({ _id: 1 }, { email: secret('ada@example.org') }),
      () => expectReads(User, { _id: 1 }, { email: 'ada@example.org' }),
    )
  })
})

describe('fault 28: a positional operator beside an encrypted field', () => {
  const items = [
    { label: 'first', qty: 1 },
    { label: 'second', qty: 2 },
    { label: 'third', qty: 3 },
  ]
  const email = 'new@example.org'
  const User = userModel(connection, { name: String, items: [new Schema({ label: String, qty: Number })] })
  const Owner = userModel(connection, { name: String, contacts: [contactSchema()] })
  const writes: [string, (Model: any, filter: object, update: object) => Promise<unknown>][] = [
    ['updateOne', (Model, filter, update) => Model.updateOne(filter, update)],
    ['findOneAndUpdate', (Model, filter, update) => Model.findOneAndUpdate(filter, update)],
    ['updateMany', (Model, filter, update) => Model.updateMany(filter, update)],
    ['bulkWrite', (Model, filter, update) => Model.bulkWrite([{ updateOne: { filter, update } }])],
    [
      'connection.bulkWrite',
      (Model, filter, update) =>
        connection.bulkWrite([{ model: Model, name: 'updateOne', filter, update: { $set: update } }] as never),
    ],
  ]

  test.each(writes.flatMap(([name, write]) => items.map(({ label }) => [name, label, write] as const)))(
    'changes the element that the filter names: %s, %s',
    async (_name, label, write) => {
      await User.create([
        { name: 'Ada', items },
        { name: 'Eve', items, email: secret('eve@example.org') },
      ])
      secret(email)
      for (const name of ['Ada', 'Eve', 'Ada']) {
        for (const filter of [
          { name, 'items.label': label },
          { name, items: { $elemMatch: { label } } },
        ]) {
          const before = (await raw(User)).find((record) => record.name === name)
          await settles(
            undefined,
            () => write(User, filter, { 'items.$.qty': 99, email }),
            async () => {
              const after = await expectReads(User, { name }, { email })
              const expected = before.items.map((item: any) => (item.label === label ? { ...item, qty: 99 } : item))
              expect(after.items).toEqual(expected)
            },
          )
        }
      }
    },
  )

  test.each(writes.flatMap(([name, write]) => [0, 1, 2].map((i) => [name, i, write] as const)))(
    'changes the encrypted element that the filter names, or is refused: %s, element %i',
    async (_name, i, write) => {
      const phones = ['+44 100 0000', '+44 101 0000', '+44 102 0000'].map(secret)
      const contacts = phones.map((phone, n) => ({ label: `label ${n}`, qty: n, phone }))
      await Owner.create({ name: 'Ada', email: secret('ada@example.org'), contacts })
      secret(email)
      const others = [0, 1, 2].filter((n) => n !== i)
      for (const [update, expected] of [
        [{ 'contacts.$.qty': 99, email }, { email }],
        [{ 'contacts.$.phone': secret('+44 998 9998') }, { [`contacts.${i}.phone`]: '+44 998 9998' }],
        [
          { 'contacts.$.qty': 98, 'contacts.$.phone': secret('+44 999 9999'), email },
          { email, [`contacts.${i}.phone`]: '+44 999 9999' },
        ],
      ] as [Record<string, unknown>, Record<string, unknown>][]) {
        const before = (await raw(Owner))[0].contacts
        await settles(
          'contacts.$.phone' in update ? 'UPDATE_REFUSED' : undefined,
          () => write(Owner, { 'contacts.label': `label ${i}` }, update),
          async () => {
            const after = (await expectReads(Owner, {}, expected)).contacts
            expect(others.map((n) => after[n])).toEqual(others.map((n) => before[n]))
            expect(after[i].qty).toBe(update['contacts.$.qty'] ?? before[i].qty)
          },
        )
      }
      const loaded = await Owner.findOne()
      for (const n of others) expect(await loaded.contacts[n].phone).toBe(phones[n])
    },
  )
})

describe('an _id: Mixed, which the driver gives as something else than was given', () => {
  const { Double, Int32, Long, Binary } = mongoose.mongo
  const ids: [string, unknown][] = [
    ['a double', new Double(5)],
    ['a double with a fraction', new Double(5.5)],
    ['an int32', new Int32(5)],
    ['an int64', Long.fromNumber(5)],
    ['a big integer', 5n],
    ['a big integer beyond 2 ** 53', 2n ** 60n],
    ['bytes', Buffer.from('0102', 'hex')],
    ['a date', new Date(0)],
    ['an ObjectId', new mongoose.Types.ObjectId()],
    ['text', 'five'],
    ['an object of numbers', { a: new Double(5), b: Long.fromNumber(5) }],
    ['an object of bytes', { a: Buffer.from('0102', 'hex') }],
    ['an object with a big integer', { a: 5n }],
    ['an object with a UUID', { a: new Binary(Buffer.alloc(16, 1), 4) }],
  ]

  test.each(ids)('%s', async (_name, id) => {
    const part = new Schema({ _id: Schema.Types.Mixed }).plugin(plugin, { provider, fields: ['phone'] })
    const definition = { _id: Schema.Types.Mixed, name: String, contacts: [part] }
    const User = userModel(connection, definition, { fields: { email: String } })
    const phone = secret('+44 20 7946 0958')
    await User.create({ _id: id, email: secret('ada@ids.example'), contacts: [{ _id: id, phone }] })
    const expected = { email: 'ada@ids.example' }
    const found = await User.findOne()
    expect(await found.decrypt()).toEqual(expected)
    expect(await found.contacts[0].decrypt()).toEqual({ phone })
    await User.updateOne({ _id: found._id }, { email: secret('eve@ids.example') })
    expect(await (await User.findOne()).email).toBe('eve@ids.example')
    found.contacts[0].phone = secret('+44 20 7946 0959')
    await found.save()
    await (await User.findOne()).rotateKmsKey()
    const again = await User.decrypt(await User.findOne().lean())
    expect(again).toMatchObject({ email: 'eve@ids.example', contacts: [{ phone: '+44 20 7946 0959' }] })
  })
})

describe('a part of an object is set, of which the document knows nothing', () => {
  const fields = { address: { city: String, zip: String } }
  const holder = new Schema<any>({ name: String, contacts: [contactSchema({ fields })] })
  const User = connection.model<any>(named('User'), holder.plugin(plugin, { provider, fields })) as any
  const address = () => ({ city: secret('London town'), zip: secret('EC1A 1BB') })
  const ways: [string, (doc: any) => Promise<unknown>][] = [
    ['save', (doc) => doc.save()],
    ['bulkSave', (doc) => User.bulkSave([doc])],
  ]
  const places: [string, (doc: any) => any][] = [
    ['of a record', (doc) => doc],
    ['of a subdocument', (doc) => doc.contacts[0]],
  ]
  const cases = ways.flatMap(([by, save]) => places.map(([of, part]) => [of, by, part, save] as const))

  test.each(cases)('%s: by %s it does not take the place of what another has stored', async (_of, _by, part, save) => {
    const { _id } = await User.create({ contacts: [{ label: 'home' }] })
    const doc = await User.findById(_id)
    await Object.assign(part(await User.findById(_id)), { address: address() })
      .ownerDocument()
      .save()
    part(doc).address.city = secret('Paris town')
    await refused(() => save(doc), 'RECORD_CHANGED')
    const found = part(await User.findById(_id))
    expect(await found.address).toMatchObject({ zip: address().zip })
    // All of it may.
    part(doc).address = { city: 'Paris town' }
    await save(doc)
    part(doc).address.zip = secret('75001 Paris')
    await save(doc)
    expect((await part(await User.findById(_id)).decrypt()).address).toEqual({ city: 'Paris town', zip: '75001 Paris' })
  })

  test.each(cases)('%s: by %s it may be set in steps', async (_of, _by, part, save) => {
    const doc = await User.create({ contacts: [{ label: 'home' }] })
    part(doc).address.city = secret('Paris town')
    await save(doc)
    part(doc).set('address.zip', secret('75001 Paris'))
    await save(doc)
    expect((await part(await User.findById(doc._id)).decrypt()).address).toEqual({
      city: 'Paris town',
      zip: '75001 Paris',
    })
  })

  test('nor of what was left out of what it was hydrated with', async () => {
    const { _id } = await User.create({ name: 'Ada', address: address() })
    const doc = User.hydrate({ _id, name: 'Ada' })
    doc.address.city = secret('Paris town')
    await refused(() => doc.save(), 'RECORD_CHANGED')
    expect((await (await User.findById(_id)).decrypt()).address).toEqual(address())
  })
})
