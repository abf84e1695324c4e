import mongoose, { Schema, Types } from 'mongoose'
import {
  at,
  contactSchema,
  expectReads,
  expectSealed,
  named,
  plugin,
  provider,
  secret,
  settles,
  unsent,
  useFaults,
  userModel,
} from './support'

const { connection, raw, plant, open } = useFaults()
const fields = { email: String, address: { city: String } }
const model = (schema: Schema<any>, name = 'User') => connection.model<any>(named(name), schema) as any

describe('fault 7: objects that no schema has cast', () => {
  class Person {
    name = 'Ada'
    constructor(readonly email: string) {}
  }
  const kinds: [string, (email: string) => object][] = [
    ['an instance of a class', (email) => new Person(email)],
    ['an object without a prototype', (email) => Object.assign(Object.create(null), { name: 'Ada', email })],
    ['an object with toBSON', (email) => ({ toBSON: () => ({ name: 'Ada', email }) })],
    ['an object with toObject', (email) => ({ name: 'Ada', email, toObject: () => ({ name: 'Ada', email }) })],
    [
      'an object with a getter',
      (email) => ({
        name: 'Ada',
        get email() {
          return email
        },
      }),
    ],
    ['a String object', (email) => ({ name: 'Ada', email: new String(email) })],
    ['bytes', (email) => ({ name: 'Ada', email: Buffer.from(email) })],
    ['a list', (email) => ({ name: 'Ada', email: [email] })],
    ['an object', (email) => ({ name: 'Ada', email: { text: email } })],
  ]
  const writes: [string, (Model: any, record: object) => Promise<unknown>][] = [
    ['insertMany, lean', (Model, record) => Model.insertMany([record], { lean: true })],
    [
      'bulkWrite insertOne, strict: false',
      (Model, record) => Model.bulkWrite([{ insertOne: { document: record } }], { strict: false }),
    ],
    ['collection.insertOne', (Model, record) => Model.collection.insertOne(record)],
    ['collection.insertMany', (Model, record) => Model.collection.insertMany([record])],
    ['collection.bulkWrite', (Model, record) => Model.collection.bulkWrite([{ insertOne: { document: record } }])],
    [
      'collection.replaceOne',
      (Model, record) => Model.collection.replaceOne({ name: 'Ada' }, record, { upsert: true }),
    ],
  ]

  const combinations = kinds.flatMap(([kind, make]) => writes.map(([write, act]) => [kind, write, make, act] as const))
  // Mongoose itself sees no path in an object that is all toBSON; the earliest supported one throws at an object without a prototype.
  const passedOver = [
    'an object with toBSON',
    ...(mongoose.version === '8.17.0' ? ['an object without a prototype'] : []),
  ]
  const casting = ([kind, write]: readonly unknown[]) =>
    !passedOver.includes(`${kind}`) || !/^bulkWrite/.test(`${write}`)
  test.each(combinations.filter(casting))('are encrypted or refused: %s by %s', async (kind, way, make, write) => {
    const User = userModel(connection, { name: String }, { fields })
    const email = secret('ada@example.org')
    const refusal = way.startsWith('bulkWrite') ? 'ValidationError' : 'WRITE_REFUSED'
    await settles(
      /^(a list|an object)$/.test(kind) ? refusal : undefined,
      () => write(User, make(email)),
      async () => {
        const [stored] = await raw(User)
        expectSealed(stored, 'email')
        expect(String(await (await User.findOne()).email)).toContain(email)
      },
    )
  })

  test.each<[string, (email: string) => object]>([
    ['dotted', (city) => ({ name: 'Ada', 'address.city': city })],
    ['dotted, beside the field', (city) => ({ name: 'Ada', email: secret('ada@example.org'), 'address.city': city })],
    ['below a text', (city) => ({ name: 'Ada', 'email.home': city })],
  ])('with keys that are no paths are encrypted or refused: %s', async (kind, make) => {
    const User = userModel(connection, { name: String }, { fields })
    const city = secret('St James')
    for (const [way, write] of writes) {
      const isCast = way.startsWith('bulkWrite')
      const cast = kind === 'below a text' ? 'ValidationError' : undefined
      await settles(
        isCast ? cast : 'WRITE_REFUSED',
        () => write(User, make(city)),
        async () => expect(await at(await User.findOne({ name: 'Ada' }), 'address.city')).toBe(city),
      )
      await User.deleteMany({})
    }
  })

  test.each<[string, Schema<any>, string | undefined]>([
    ['plain', new Schema<any>({ name: String, email: String, address: { city: String } }), undefined],
    ['strict: false', new Schema<any>({ name: String }, { strict: false }), undefined],
    ['encrypted', new Schema<any>({ name: String }).plugin(plugin, { provider, fields }), 'WRITE_REFUSED'],
  ])('as documents of another model are encrypted or refused by insertMany, lean: %s', async (_name, schema, code) => {
    const User = userModel(connection, { name: String }, { fields })
    const Other = model(schema, 'Other')
    const email = secret('ada@example.org')
    await settles(
      code,
      () => User.insertMany([new Other({ name: 'Ada', email })], { lean: true }),
      () => expectReads(User, { name: 'Ada' }, { email }),
    )
  })
})

describe('fault 8: plaintext in a document that was made into a new one', () => {
  const record = () => ({ _id: new Types.ObjectId(), name: 'Ada', email: secret('ada@example.org') })
  const ways: [string, (User: any) => any][] = [
    ['hydrate()', (User) => User.hydrate(record())],
    ['init()', (User) => new User().init(record())],
    [
      '_doc',
      (User) => {
        const doc = new User({ name: 'Ada' })
        doc._doc.email = record().email
        return doc
      },
    ],
    [
      '_doc, marked',
      (User) => {
        const doc = new User({ name: 'Ada' })
        doc._doc.email = record().email
        doc.markModified('email')
        return doc
      },
    ],
  ]
  const saves: [string, (User: any, doc: any) => Promise<unknown>][] = [
    ['save()', (_User, doc) => doc.save()],
    ['save({ validateBeforeSave: false })', (_User, doc) => doc.save({ validateBeforeSave: false })],
    ['bulkSave()', (User, doc) => User.bulkSave([doc])],
    ['insertMany()', (User, doc) => User.insertMany([doc])],
    ['insertMany(), lean', (User, doc) => User.insertMany([doc], { lean: true })],
  ]

  test.each(ways.flatMap(([way, make]) => saves.map(([how, save]) => [way, how, make, save] as const)))(
    'is encrypted or refused: %s, %s',
    async (way, _how, make, save) => {
      const User = userModel(connection)
      const doc = make(User)
      doc.$isNew = true
      await settles(
        way.startsWith('_doc') ? undefined : 'PLAINTEXT_FOUND',
        () => save(User, doc),
        () => expectReads(User, { name: 'Ada' }, { email: 'ada@example.org' }),
      )
    },
  )

  test('is encrypted or refused in a subdocument', async () => {
    const Owner = model(new Schema<any>({ contacts: [contactSchema()], one: contactSchema() }), 'Owner')
    const contact = () => ({ _id: new Types.ObjectId(), label: 'home', phone: secret('+44 111 1111') })
    const doc = Owner.hydrate({ _id: new Types.ObjectId(), contacts: [contact()], one: contact() })
    doc.$isNew = true
    await settles(
      'PLAINTEXT_FOUND',
      () => doc.save(),
      () => expectReads(Owner, {}, { 'contacts.0.phone': '+44 111 1111', 'one.phone': '+44 111 1111' }),
    )
  })
})

describe('fault 9: doc.overwrite(body) with what nobody but the library may assign', () => {
  const Owner = model(new Schema<any>({ name: String, contacts: [contactSchema()], one: contactSchema() }), 'Owner')
  const User = userModel(connection, { name: String }, { fields })

  async function two(Model: any, values: object) {
    await Model.create({ name: 'Ada', ...values })
    await Model.create({ name: 'Eve', ...values })
    const [ada, eve] = await raw(Model)
    return { ada, eve, doc: await Model.findOne({ name: 'Ada' }) }
  }

  test('encrypts the values of a body, of the record and its subdocuments', async () => {
    const { doc } = await two(Owner, { contacts: [{ label: 'home', phone: secret('+44 111 1111') }] })
    const phone = secret('+44 222 2222')
    await settles(
      undefined,
      () => doc.overwrite({ name: 'Ada', contacts: [{ label: 'new', phone }], one: { phone } }).save(),
      () => expectReads(Owner, { name: 'Ada' }, { 'contacts.0.phone': phone, 'one.phone': phone }),
    )
  })

  test.each<[string, (eve: any) => object, string | undefined]>([
    ['the keys of another', (eve) => ({ encrypted_kms_key: eve.encrypted_kms_key }), undefined],
    [
      'keys and envelope of another',
      (eve) => ({ encrypted_kms_key: eve.encrypted_kms_key, email: eve.email }),
      'STORED_PATH_ASSIGNED',
    ],
    ['keys as text', () => ({ encrypted_kms_key: [{ wrapped: 'x', keyId: 'y', version: 1 }] }), undefined],
    ['no keys', () => ({ encrypted_kms_key: [], email: secret('new@example.org') }), undefined],
    ['null for the keys', () => ({ encrypted_kms_key: null, email: secret('new@example.org') }), undefined],
  ])('stores no planted key: %s', async (_name, body, code) => {
    const { ada, eve, doc } = await two(User, { email: secret('ada@example.org') })
    await settles(
      code,
      async () => doc.overwrite({ name: 'Ada', ...body(eve) }).save(),
      async () => {
        const [stored] = await raw(User)
        const keys = stored.encrypted_kms_key ?? []
        expect(keys.map((key: any) => key.wrapped)).not.toContainEqual(eve.encrypted_kms_key[0].wrapped)
        if (stored.email != null) expect(keys).toEqual(ada.encrypted_kms_key)
        await (await User.findOne({ name: 'Ada' })).decrypt()
      },
    )
  })

  test('stores no planted key in a subdocument', async () => {
    const { eve, doc } = await two(Owner, { one: { label: 'home', phone: secret('+44 111 1111') } })
    const { phone, encrypted_kms_key } = eve.one
    await settles(
      'STORED_PATH_ASSIGNED',
      async () =>
        doc.overwrite({ name: 'Ada', one: { ...eve.one, _id: doc.one._id, phone, encrypted_kms_key } }).save(),
      () => {},
    )
  })
})

describe('fault 10: strict: false, by ways that know of no encryption', () => {
  let values = 0
  /** Another value each time, so that one cannot be taken for another. */
  const next = () => secret(`value ${++values}@example.org`)

  test.each<[string, () => Promise<any>, boolean]>([
    ['another connection', () => open(), false],
    ['the same connection for another database', async () => connection.useDb(connection.name), true],
  ])('bulkWrite() of %s encrypts for a model of this one, or is refused', async (_name, connect, isSameClient) => {
    const other = await connect()
    const User = userModel(connection, { name: String }, {}, { strict: false })
    await plant(User, { name: 'Ada' })
    for (const operation of [
      (email: string) => ({ name: 'updateOne', filter: { name: 'Ada' }, update: { $set: { email } } }),
      (email: string) => ({ name: 'updateMany', filter: { name: 'Ada' }, update: { email } }),
      (email: string) => ({ name: 'replaceOne', filter: { name: 'Ada' }, replacement: { name: 'Ada', email } }),
      (email: string) => ({ name: 'insertOne', document: { name: 'Bob', email } }),
    ]) {
      const email = next()
      const write = operation(email)
      const code = write.name === 'updateMany' ? 'UPDATE_REFUSED' : undefined
      await settles(
        isSameClient ? code : 'WRITE_REFUSED',
        () => other.bulkWrite([{ model: User, ...write }] as never, { strict: false } as never),
        () => expectReads(User, { name: write.name === 'insertOne' ? 'Bob' : 'Ada' }, { email }),
      )
    }
  })

  test('a sibling that overwrites the discriminator key encrypts, or is refused', async () => {
    const Base = model(new Schema<any>({ name: String }, { discriminatorKey: 'kind' }), 'Base')
    const encrypting = new Schema<any>({}).plugin(plugin, { provider, fields: ['email'] })
    const Child = Base.discriminator(named('Child'), encrypting)
    const Sibling = Base.discriminator(named('Sibling'), new Schema<any>({ grade: Number }))
    for (const settings of [{ overwriteDiscriminatorKey: true }, { overwriteDiscriminatorKey: true, strict: false }]) {
      for (const write of ['updateOne', 'findOneAndUpdate', 'updateMany']) {
        for (const By of [Sibling, Base]) {
          await Base.deleteMany({})
          await Sibling.create({ name: 'Ada', grade: 1 })
          const email = next()
          await settles(
            undefined,
            () => By[write]({ name: 'Ada' }, { kind: Child.modelName, email }, settings),
            async () => {
              const [stored] = await raw(Base)
              if (stored.kind === Child.modelName) await expectReads(Child, { name: 'Ada' }, { email })
            },
          )
        }
      }
    }
  })

  test('an update by the base of a discriminator with encrypted subdocuments only encrypts, or is refused', async () => {
    const Base = model(new Schema<any>({ name: String }, { discriminatorKey: 'kind' }), 'Base')
    const Child = Base.discriminator(
      named('Child'),
      new Schema<any>({ one: contactSchema(), contacts: [contactSchema()] }),
    )
    await Child.create({ name: 'Ada', one: { label: 'home' }, contacts: [{ label: 'home' }] })
    for (const [path, updating] of [
      ['one.phone', (phone: string) => ({ one: { label: 'new', phone } })],
      ['one.phone', (phone: string) => ({ 'one.phone': phone })],
      ['contacts.1.phone', (phone: string) => ({ $push: { contacts: { label: 'new', phone } } })],
      ['contacts.0.phone', (phone: string) => ({ 'contacts.0.phone': phone })],
      ['contacts.0.phone', (phone: string) => ({ contacts: [{ label: 'new', phone }] })],
    ] as const) {
      const phone = next()
      await settles(
        undefined,
        () => Base.updateOne({ name: 'Ada' }, updating(phone), { strict: false }),
        () => expectReads(Child, { name: 'Ada' }, { [path]: phone }),
      )
    }
  })

  test.each(['an array', 'a path'])(
    'an embedded discriminator of %s that was added after compiling encrypts, or is refused',
    async (where) => {
      const phone = secret('+44 111 1111')
      const item = new Schema<any>({ label: String }, { discriminatorKey: 'kind', strict: false })
      const schema = new Schema<any>({ name: String, items: where === 'an array' ? [item] : item })
      const Owner = model(schema, 'Owner')
      await Owner.init()
      const path = where === 'an array' ? 'items.0' : 'items'
      const encrypting = new Schema<any>({}).plugin(plugin, { provider, fields: ['phone'] })
      ;(Owner.schema.path('items') as any).discriminator('Phone', encrypting)
      const value = { kind: 'Phone', label: 'home', phone }
      const items = where === 'an array' ? [value] : value
      for (const write of [
        () => Owner.create({ name: 'Ada', items }),
        () => Owner.insertMany([{ name: 'Ada', items }], { lean: true }),
        () => Owner.updateOne({ name: 'Ada' }, { items }, { upsert: true, strict: false }),
        () => Owner.replaceOne({ name: 'Ada' }, { name: 'Ada', items }, { upsert: true }),
      ]) {
        await settles(undefined, write, () => expectReads(Owner, { name: 'Ada' }, { [`${path}.phone`]: phone }))
        await Owner.deleteMany({})
      }
    },
  )

  test('a value that stands in the clear already is not sent again', async () => {
    const User = userModel(connection, { name: String }, {}, { strict: false })
    await plant(User, { name: 'Ada', email: unsent('plain@example.org') })
    const doc = await User.findOne({ name: 'Ada' })
    doc.set({ other: 1 })
    await settles(
      undefined,
      () => doc.save(),
      async () => expect(await raw(User)).toMatchObject([{ name: 'Ada', other: 1 }]),
    )
  })
})
