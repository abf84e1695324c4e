import mongoose, { Schema } from 'mongoose'
import { expectReads, misconfigured, named, plugin, provider, secret, settles, useFaults } from './support'

const { connection } = useFaults()
const options = { provider, fields: { email: String } }
const model = (schema: Schema<any>) => connection.model<any>(named('User'), schema) as any

const orders = ['before', 'after'] as const

/** A schema where the application adds something of its own before the plugin or after it. */
function schemaWith(order: (typeof orders)[number], add: (schema: Schema<any>) => void, settings: object = {}) {
  const schema = new Schema<any>({ name: String, passwordHash: String }, settings)
  if (order === 'before') add(schema)
  schema.plugin(plugin, options)
  if (order === 'after') add(schema)
  return schema
}

describe('fault 3: a method of the application called decrypt or rotateKmsKey', () => {
  const mine = () => 'mine'
  class Statics {
    name!: string
    static decrypt() {
      return 'mine'
    }
  }
  class Methods {
    decrypt() {
      return 'mine'
    }
    rotateKmsKey() {
      return 'mine'
    }
  }
  const kinds: [string, (schema: Schema<any>) => void, (Model: any) => unknown][] = [
    [
      'schema.statics.decrypt',
      (schema) => void Object.assign(schema.statics, { decrypt: mine }),
      (Model) => Model.decrypt(),
    ],
    ['schema.static(name, fn)', (schema) => void schema.static('decrypt', mine), (Model) => Model.decrypt()],
    [
      'schema.methods.decrypt',
      (schema) => void Object.assign(schema.methods, { decrypt: mine }),
      (Model) => new Model().decrypt(),
    ],
    ['schema.method(name, fn)', (schema) => void schema.method('decrypt', mine), (Model) => new Model().decrypt()],
    [
      'schema.methods.rotateKmsKey',
      (schema) => void Object.assign(schema.methods, { rotateKmsKey: mine }),
      (Model) => new Model().rotateKmsKey(),
    ],
    ['loadClass with a static', (schema) => void schema.loadClass(Statics), (Model) => Model.decrypt()],
    ['loadClass with methods', (schema) => void schema.loadClass(Methods), (Model) => new Model().decrypt()],
  ]

  test.each(kinds.flatMap((kind) => orders.map((order) => [kind[0], order, kind[1], kind[2]] as const)))(
    'is refused by its name, and everything is encrypted where it is kept: %s %s the plugin',
    async (_name, order, add, call) => {
      await misconfigured(() => model(schemaWith(order, add)), /(decrypt|rotateKmsKey).*methods: \{/)
      // The plugin under other names: its methods are not in the way, nor is anything taken for them.
      const schema = new Schema<any>({ name: String, passwordHash: String })
      const use = { ...options, methods: { decrypt: 'open', rotateKmsKey: 'renew' } }
      if (order === 'after') schema.plugin(plugin, use)
      add(schema)
      if (order === 'before') schema.plugin(plugin, use)
      const Model = model(schema)
      expect(call(Model)).toBe('mine')
      const email = secret('ada@example.org')
      await Model.insertMany([{ name: 'lean', email }], { lean: true })
      await Model.insertMany([{ name: 'many', email }])
      await Model.create({ name: 'one', email })
      await Model.bulkWrite([{ insertOne: { document: { name: 'bulk', email } } }])
      await Model.updateOne({ name: 'upsert' }, { email }, { upsert: true, strict: false })
      for (const name of ['lean', 'many', 'one', 'bulk', 'upsert']) await expectReads(Model, { name }, { email })
      expect(JSON.stringify(new Model({ email }).toJSON({ virtuals: true, getters: true }))).not.toContain(email)
    },
  )

  test('is refused by its name as an option of the schema', async () => {
    for (const settings of [{ methods: { decrypt: mine } }, { statics: { decrypt: mine } }])
      await misconfigured(() => schemaWith('after', () => {}, settings), /decrypt.*methods: \{/)
  })

  test.each(['methods', 'statics'] as const)(
    'is refused where it stands in the %s of a discriminator',
    async (where) => {
      const Base = model(schemaWith('after', () => {}))
      const child = new Schema<any>({ grade: Number })
      child[where].decrypt = mine
      await misconfigured(() => Base.discriminator(named('Child'), child), /decrypt.*methods: \{/)
    },
  )
})

describe('fault 3: the option methods', () => {
  const mine = () => 'mine'
  const methods = { decrypt: 'open', rotateKmsKey: 'renew' }
  const schemaOf = (add: (schema: Schema<any>) => void, names: object = methods) => {
    const schema = new Schema<any>({ name: String })
    add(schema)
    return schema.plugin(plugin, { ...options, methods: names })
  }

  test.each<[string, string, (schema: Schema<any>) => void]>([
    ['a method', 'decrypt', (schema) => void schema.method('decrypt', mine)],
    ['a static', 'decrypt', (schema) => void schema.static('decrypt', mine)],
    ['a method', 'rotateKmsKey', (schema) => void schema.method('rotateKmsKey', mine)],
  ])('is what the error advises where the application has %s %s', async (kind, name, add) => {
    const offer = new RegExp(`${kind.slice(2)} ${name} .*methods: \\{ ${name}: '`)
    await misconfigured(() => schemaWith('before', add), offer)
    await misconfigured(() => model(schemaWith('after', add)), offer)
    // What it advises is right.
    const error = await misconfigured(() => schemaWith('before', add), offer)
    const [, advised] = /methods: \{ \w+: '(\w+)' \}/.exec(error.message)!
    const Model = model(schemaOf(add, { [name]: advised }))
    const doc = await Model.create({ name: 'Ada', email: secret('ada@example.org') })
    expect(typeof doc[advised!]).toBe('function')
    expect(kind === 'a static' ? Model[name]() : doc[name]()).toBe('mine')
  })

  test('gives the methods other names, under which they do what they do, and leaves those of the application', async () => {
    const Model = model(
      schemaOf((schema) => {
        schema.method({ decrypt: mine, rotateKmsKey: mine })
        schema.static('decrypt', mine)
      }),
    )
    await Model.create({ name: 'Ada', email: secret('ada@example.org') })
    const doc = await Model.findOne()
    expect([doc.decrypt(), doc.rotateKmsKey(), Model.decrypt()]).toEqual(['mine', 'mine', 'mine'])
    expect(await doc.open()).toEqual({ email: 'ada@example.org' })
    expect(await Model.open(await Model.findOne().lean())).toMatchObject({ name: 'Ada', email: 'ada@example.org' })
    expect(await Model.open(await Model.find())).toEqual([{ email: 'ada@example.org' }])
    const before = await expectReads(Model, {}, { email: 'ada@example.org' })
    await doc.renew()
    const after = await expectReads(Model, {}, { email: 'ada@example.org' })
    expect(after.encrypted_kms_key[0].commitment).not.toEqual(before.encrypted_kms_key[0].commitment)
    expect(after.email).not.toEqual(before.email)
    doc.email = secret('changed@example.org')
    await doc.save()
    await expectReads(Model, {}, { email: 'changed@example.org' })
  })

  test('names those of a subdocument, and leaves the ones that are not named', async () => {
    const contact = schemaOf((schema) => void schema.method('decrypt', mine), { decrypt: 'open' })
    const Owner = connection.model<any>(named('Owner'), new Schema<any>({ contacts: [contact] })) as any
    await Owner.create({ contacts: [{ email: secret('ada@example.org') }] })
    const { contacts } = await Owner.findOne()
    expect(contacts[0].decrypt()).toBe('mine')
    expect(await contacts[0].open()).toEqual({ email: 'ada@example.org' })
    await contacts[0].rotateKmsKey()
    await expectReads(Owner, {}, { 'contacts.0.email': 'ada@example.org' })
  })

  test.each([['open'], ['renew']])('is refused where the application has %s as well', async (name) => {
    const add = (schema: Schema<any>) => void schema.method(name as never, mine as never)
    await misconfigured(() => schemaOf(add), new RegExp(`method ${name} `))
  })
})

describe('fault 4: a static of the application in the name of one of Mongoose', () => {
  const native = mongoose.Model as any
  const email = 'ada@example.org'
  /** The name of the static, and how it is called to store `{ name: 'Ada', email }`. */
  const calls: [string, string, (Model: any) => Promise<unknown>][] = [
    ['insertMany', 'insertMany', (Model) => Model.insertMany([{ name: 'Ada', email }])],
    ['insertMany', 'insertMany, lean', (Model) => Model.insertMany([{ name: 'Ada', email }], { lean: true })],
    ['insertMany', 'insertMany of one', (Model) => Model.insertMany({ name: 'Ada', email })],
    ['bulkWrite', 'bulkWrite', (Model) => Model.bulkWrite([{ insertOne: { document: { name: 'Ada', email } } }])],
    [
      'bulkWrite',
      'bulkWrite, strict: false',
      (Model) =>
        Model.bulkWrite([{ updateOne: { filter: { name: 'Ada' }, update: { email }, upsert: true } }], {
          strict: false,
        }),
    ],
    ['bulkSave', 'bulkSave', (Model) => Model.bulkSave([new Model({ name: 'Ada', email })])],
    ['create', 'create', (Model) => Model.create({ name: 'Ada', email })],
    ['insertOne', 'insertOne', (Model) => Model.insertOne({ name: 'Ada', email })],
    ['updateOne', 'updateOne', (Model) => Model.updateOne({ name: 'Ada' }, { email }, { upsert: true })],
    [
      'replaceOne',
      'replaceOne',
      (Model) => Model.replaceOne({ name: 'Ada' }, { name: 'Ada', email }, { upsert: true }),
    ],
    [
      'findOneAndUpdate',
      'findOneAndUpdate',
      (Model) => Model.findOneAndUpdate({ name: 'Ada' }, { email }, { upsert: true }),
    ],
  ]

  describe.each(orders)('declared %s the plugin', (order) => {
    test.each(calls)('runs, and what %s stores is encrypted: %s', async (name, _call, call) => {
      secret(email)
      let ran = 0
      const Model = model(
        schemaWith(order, (schema) => {
          schema.static(
            name as 'create',
            function own(this: any, ...args: unknown[]) {
              ran++
              return native[name].call(this, ...args)
            } as never,
          )
        }),
      )
      await call(Model)
      expect(ran).toBe(1)
      await expectReads(Model, { name: 'Ada' }, { email })
    })

    test('runs, and what it stores is encrypted, loaded from a class', async () => {
      let ran = 0
      class Repository {
        name!: string
        static insertMany(docs: object[], settings: object) {
          ran++
          // biome-ignore lint/complexity/noThisInStatic: it is the model, not the class
          return native.insertMany.call(this, docs, settings)
        }
      }
      const Model = model(schemaWith(order, (schema) => void schema.loadClass(Repository)))
      await Model.insertMany([{ name: 'Ada', email: secret(email) }], { lean: true })
      expect(ran).toBe(1)
      await expectReads(Model, { name: 'Ada' }, { email })
    })

    test('that writes by the collection itself is encrypted', async () => {
      secret(email)
      const Model = model(
        schemaWith(order, (schema) => {
          schema.static('insertMany', function own(this: any, docs: object[]) {
            return this.collection.insertMany(docs)
          } as never)
        }),
      )
      await settles(
        undefined,
        () => Model.insertMany([{ name: 'Ada', email }]),
        () => expectReads(Model, { name: 'Ada' }, { email }),
      )
    })
  })

  test('that is put on the model later on is encrypted', async () => {
    const Model = model(schemaWith('after', () => {}))
    Model.insertMany = function own(...args: unknown[]) {
      return native.insertMany.call(this, ...args)
    }
    await Model.insertMany([{ name: 'Ada', email: secret(email) }], { lean: true })
    await expectReads(Model, { name: 'Ada' }, { email })
  })
})

describe('fault 15: a toJSON of the application', () => {
  function withoutHash(this: any) {
    const { passwordHash, ...rest } = this.toObject({ virtuals: true, getters: true })
    return { ...rest, by: 'the application' }
  }
  class Serialised {
    toJSON(this: any) {
      return withoutHash.call(this)
    }
  }
  const kinds: [string, (schema: Schema<any>) => void][] = [
    ['schema.methods.toJSON', (schema) => void Object.assign(schema.methods, { toJSON: withoutHash })],
    ['schema.method(name, fn)', (schema) => void schema.method('toJSON', withoutHash as never)],
    ['loadClass', (schema) => void schema.loadClass(Serialised)],
  ]

  test.each(kinds.flatMap((kind) => orders.map((order) => [kind[0], order, kind[1]] as const)))(
    'hides what it hid, and shows no encrypted value: %s %s the plugin',
    async (_name, order, add) => {
      const Model = model(schemaWith(order, add))
      const email = secret('ada@example.org')
      const created = await Model.create({ name: 'Ada', passwordHash: '$2b$10$abc', email })
      const loaded = await Model.findOne()
      const opened = await Model.findOne()
      await opened.email
      for (const doc of [created, loaded, opened, new Model({ name: 'Ada', passwordHash: '$2b$10$abc', email })]) {
        const text = JSON.stringify([doc])
        expect(JSON.parse(text)).toMatchObject([{ name: 'Ada', by: 'the application' }])
        expect(text).not.toMatch(/passwordHash|\$2b|ada@|encrypted_kms_key|"email"/)
      }
    },
  )

  test.each(orders)('in the name of toObject runs as well, declared %s the plugin', async (order) => {
    const Model = model(
      schemaWith(order, (schema) => {
        function own(this: any, settings: object) {
          const object = (mongoose.Document.prototype as any).toObject.call(this, settings)
          delete object.passwordHash
          return object
        }
        schema.method('toObject', own as never, { suppressWarning: true })
      }),
    )
    const doc = new Model({ name: 'Ada', passwordHash: '$2b$10$abc', email: secret('ada@example.org') })
    expect(Object.keys(doc.toObject({ virtuals: true })).sort()).toEqual(['_id', 'id', 'name'])
    await doc.save()
    await expectReads(Model, { name: 'Ada' }, { email: 'ada@example.org' })
  })

  test('that hides something of an owner, with encrypted subdocuments, hides it', async () => {
    const contact = new Schema<any>({ label: String }).plugin(plugin, { provider, fields: ['phone'] })
    const owner = new Schema<any>({ passwordHash: String, contacts: [contact] })
    owner.methods.toJSON = withoutHash as never
    const Owner = connection.model<any>(named('Owner'), owner) as any
    await Owner.create({ passwordHash: '$2b$10$abc', contacts: [{ label: 'home', phone: secret('+44 111 1111') }] })
    const doc = await Owner.findOne()
    await doc.contacts[0].phone
    const text = JSON.stringify(doc)
    expect(JSON.parse(text)).toMatchObject({ by: 'the application', contacts: [{ label: 'home' }] })
    expect(text).not.toMatch(/passwordHash|\+44|encrypted_kms_key|"phone"/)
  })
})
