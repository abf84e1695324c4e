import { Schema, type SchemaOptions } from 'mongoose'
import {
  contactSchema,
  expectReads,
  expectSealed,
  misconfigured,
  named,
  plugin,
  provider,
  refused,
  secret,
  settles,
  useFaults,
  userModel,
} from './support'

const { connection, raw } = useFaults()

const fields = { email: String, address: { city: String }, tags: [String] }
const encrypted = (definition: object = { name: String }) =>
  new Schema<any>(definition as never).plugin(plugin, { provider, fields })
const model = (schema: Schema<any>, name = 'User') => connection.model<any>(named(name), schema) as any

describe('an _id that has no text to name the record by', () => {
  test.each<[string, () => unknown]>([
    ['a subdocument', () => new Schema({ a: Number }, { _id: false })],
    ['a map', () => ({ type: Map, of: Number })],
    ['a map that is required', () => ({ type: Map, of: String, required: true })],
  ])('is refused when the model is made: %s', async (_name, id) => {
    await misconfigured(() => model(encrypted({ _id: id(), name: String })), /there is no text to name the record by/)
    const part = encrypted({ _id: id() })
    await misconfigured(() => connection.model<any>(named('Owner'), new Schema({ parts: [part] })), /no text/)
  })
})

describe('fault 1: a field that is declared again in the clear', () => {
  test.each<[string, (schema: Schema<any>) => unknown]>([
    ['schema.add({ email: String })', (schema) => schema.add({ email: String })],
    ['schema.add() with options', (schema) => schema.add({ email: { type: String, lowercase: true } })],
    ['schema.add() of another type', (schema) => schema.add({ email: Schema.Types.Mixed })],
    ['schema.add(anotherSchema)', (schema) => schema.add(new Schema({ email: String }))],
    ['schema.path(name, type)', (schema) => schema.path('email', String)],
    ['schema.path(name, { type })', (schema) => schema.path('email', { type: String })],
    ['a later plugin', (schema) => schema.plugin((later: Schema) => void later.add({ email: String }))],
    ['a later plugin by path()', (schema) => schema.plugin((later: Schema) => void later.path('email', String))],
    ['an array', (schema) => schema.add({ tags: [String] })],
    ['one after schema.remove()', (schema) => schema.remove('email').add({ email: String })],
  ])('is refused when the model is made: %s', async (_name, declare) => {
    const schema = encrypted()
    await misconfigured(() => {
      declare(schema)
      model(schema)
    }, /email|tags/)
  })

  test.each<[string, (schema: Schema<any>) => unknown]>([
    ['a nested path by schema.add()', (schema) => schema.add({ address: { city: String } })],
    ['a dotted path by schema.add()', (schema) => schema.add({ 'address.city': String })],
    ['a dotted path by schema.path()', (schema) => schema.path('address.city', String)],
    ['a path below a field', (schema) => schema.add({ 'email.home': String })],
    ['a nested object in place of a text', (schema) => schema.add({ email: { home: String } })],
  ])('changes nothing below a field: %s', async (_name, declare) => {
    const schema = encrypted()
    declare(schema)
    const User = model(schema)
    const values = { email: secret('ada@example.org'), address: { city: secret('St James') } }
    const expected = { email: 'ada@example.org', 'address.city': 'St James' }
    await User.create({ name: 'Ada', ...values })
    await expectReads(User, { name: 'Ada' }, expected)
    const update = { 'address.city': secret('Ockham'), 'email.home': secret('nowhere') }
    await settles(
      'UPDATE_REFUSED',
      () => User.updateOne({ name: 'Ada' }, update),
      () => {},
    )
    await User.insertMany([{ name: 'Eve', ...values }], { lean: true })
    await expectReads(User, { name: 'Eve' }, expected)
  })

  test.each<[string, (schema: Schema<any>) => unknown]>([
    ['schema.add()', (schema) => schema.add({ encrypted_kms_key: [Object] })],
    ['schema.path()', (schema) => schema.path('encrypted_kms_key', Schema.Types.Mixed)],
  ])('is refused where the wrapped keys are: %s', async (_name, declare) => {
    const schema = encrypted()
    await misconfigured(() => {
      declare(schema)
      model(schema)
    }, /encrypted_kms_key/)
  })

  test.each<[string, (contact: Schema<any>) => object]>([
    ['an array', (contact) => ({ contacts: [contact] })],
    ['a path', (contact) => ({ one: contact })],
    ['a map', (contact) => ({ byPlace: { type: Map, of: contact } })],
    ['a nested path', (contact) => ({ deep: { down: contact } })],
  ])('is refused in the schema of a subdocument, when the model of its owner is made: %s', async (_name, place) => {
    const contact = contactSchema()
    contact.add({ phone: String })
    await misconfigured(() => model(new Schema<any>(place(contact) as never)), /phone/)
  })

  test.each<[string, object, (schema: Schema<any>) => Schema<any>]>([
    ['before any other', { a: String, b: String, c: String, d: String, name: String }, (schema) => schema],
    [
      'and a path is added',
      { a: String, b: String, c: String, d: String, e: String },
      (schema) => schema.add({ name: String }),
    ],
  ])('is none where as many paths are removed as the plugin has added: %s', async (_name, definition, add) => {
    const User = model(add(encrypted(definition).remove(['a', 'b', 'c', 'd', 'e'])).set('versionKey', false as never))
    const email = secret('ada@example.org')
    await User.create({ name: 'Ada', email })
    await expectReads(User, { name: 'Ada' }, { email })
    await User.updateOne({ name: 'Ada' }, { email: secret('new@example.org') })
    await expectReads(User, { name: 'Ada' }, { email: 'new@example.org' })
    const doc = await User.findOne()
    expect(await doc.decrypt()).toMatchObject({ email: 'new@example.org' })
    await doc.rotateKmsKey()
    await expectReads(User, { name: 'Ada' }, { email: 'new@example.org' })
    await refused(() => User.findOne({ email }), 'QUERY_REFUSED')
  })

  test.each<[string, (schema: Schema<any>) => Schema<any>, RegExp]>([
    ['pick()', (schema) => schema.pick(['name', 'email']), /has address no more/],
    ['pick() of fields alone', (schema) => schema.pick(['email', 'address', 'tags']), /has encrypted_kms_key no more/],
    ['omit()', (schema) => schema.omit(['email']), /has email no more/],
    ['remove()', (schema) => schema.remove('email'), /has email no more/],
    ['remove() of the keys', (schema) => schema.remove('encrypted_kms_key'), /has encrypted_kms_key no more/],
  ])('is not what a message tells of one that is taken away: by %s', async (_name, take, message) => {
    const warn = jest.spyOn(process, 'emitWarning').mockImplementation()
    await misconfigured(() => model(take(encrypted())), message)
    warn.mockRestore()
  })

  test('is refused in a copy of the schema', async () => {
    const copy = encrypted().clone()
    copy.add({ email: String })
    await misconfigured(() => model(copy), /email/)
  })

  test('is refused where a schema is built on another: new Schema(definition).add(encrypted).add(again)', async () => {
    const schema = new Schema<any>({ name: String })
    schema.add(encrypted())
    schema.add({ email: String })
    // Mongoose takes over methods without the option that they may have the names that they have, and warns.
    const warn = jest.spyOn(process, 'emitWarning').mockImplementation()
    await misconfigured(() => model(schema), /email/)
    warn.mockRestore()
  })
})

describe('fault 11: a schema that was compiled before', () => {
  test('does not take the plugin, and the model stays as it was', async () => {
    const schema = new Schema<any>({ name: String }, { strict: 'throw' })
    const Model = model(schema, 'Late')
    await misconfigured(() => schema.plugin(plugin, { provider, fields: ['email'] }), /compiled|model/i)
    Model.recompileSchema()
    await Model.create({ name: 'Ada' })
    expect(await raw(Model)).toEqual([{ _id: expect.anything(), name: 'Ada', __v: 0 }])
    for (const write of [
      () => Model.create({ name: 'Eve', email: secret('eve@example.org') }),
      () => Model.updateOne({ name: 'Ada' }, { email: secret('ada@example.org') }),
    ])
      await settles('StrictModeError', write, () => {})
  })

  test('of a subdocument takes the plugin so that the owner encrypts', async () => {
    const contact = new Schema<any>({ label: String })
    const Owner = model(new Schema<any>({ name: String, contacts: [contact], one: contact }), 'Owner')
    contact.plugin(plugin, { provider, fields: ['phone'] })
    const phone = secret('+44 111 1111')
    /** By get(), for Mongoose gives documents that were compiled before no property for a new path. */
    const expectStored = async (name: string) => {
      const stored = (await raw(Owner)).find((record) => record.name === name)
      const { one, contacts } = await Owner.findOne({ name })
      for (const each of [stored.one, ...(stored.contacts ?? [])]) expectSealed(each, 'phone')
      for (const each of [one, ...contacts]) expect(await each.get('phone')).toBe(phone)
    }
    await settles(
      undefined,
      () => Owner.create({ name: 'Ada', contacts: [{ phone }], one: { phone } }),
      () => expectStored('Ada'),
    )
    await settles(
      undefined,
      () => Owner.updateOne({ name: 'Eve' }, { one: { phone } }, { upsert: true, strict: false }),
      () => expectStored('Eve'),
    )
  })

  test('with the plugin from the beginning is compiled anew without a loss', async () => {
    const User = userModel(connection)
    User.schema.add({ nickname: String })
    User.recompileSchema()
    const email = secret('ada@example.org')
    await User.create({ name: 'Ada', nickname: 'Countess', email })
    await User.updateOne({ name: 'Ada' }, { email: secret('countess@example.org') })
    await expectReads(User, { nickname: 'Countess' }, { email: 'countess@example.org' })
  })
})

describe('fault 29: an index on an encrypted field', () => {
  const indexes: [string, (schema: Schema<any>) => unknown][] = [
    ['unique', (schema) => schema.index({ email: 1 }, { unique: true })],
    ['plain', (schema) => schema.index({ email: 1 })],
    ['descending', (schema) => schema.index({ email: -1 })],
    ['of several paths', (schema) => schema.index({ name: 1, email: 1 }, { unique: true })],
    ['for text', (schema) => schema.index({ email: 'text' })],
    ['hashed', (schema) => schema.index({ email: 'hashed' })],
    ['below a field', (schema) => schema.index({ 'address.city': 1 })],
    ['of a list', (schema) => schema.index({ tags: 1 })],
  ]

  test.each(indexes)(
    'that is declared after the plugin is refused when the model is made: %s',
    async (_name, declare) => {
      const schema = encrypted()
      await misconfigured(() => {
        declare(schema)
        model(schema)
      }, /email|address|tags/)
    },
  )

  test.each(indexes)('that is declared before the plugin is refused: %s', async (_name, declare) => {
    const schema = new Schema<any>({ name: String })
    declare(schema)
    await misconfigured(() => {
      schema.plugin(plugin, { provider, fields })
      model(schema)
    }, /email|address|tags/)
  })

  test.each<[string, (contact: Schema<any>) => Schema<any>]>([
    ['the subdocument', (contact) => new Schema<any>({ contacts: [contact.index({ phone: 1 }, { unique: true })] })],
    ['its owner', (contact) => new Schema<any>({ contacts: [contact] }).index({ 'contacts.phone': 1 })],
    ['the owner of a map', (contact) => new Schema<any>({ m: { type: Map, of: contact } }).index({ 'm.a.phone': 1 })],
  ])('on a subdocument is refused, declared by %s', async (_name, declare) => {
    await misconfigured(() => model(declare(contactSchema())), /phone/)
  })

  test('that a discriminator declares on a field of its base is refused', async () => {
    const Base = model(encrypted(), 'Base')
    const child = new Schema<any>({ grade: Number }).index({ email: 1 }, { unique: true })
    await misconfigured(() => Base.discriminator(named('Child'), child), /email/)
  })

  test.each<[string, SchemaOptions]>([
    ['shardKey', { shardKey: { name: 1, email: 1 } }],
    ['timeseries', { timeseries: { timeField: 'at', metaField: 'email' } }],
    ['timeseries', { timeseries: { timeField: 'email' } }],
  ])('that the option %s of the schema stands for is refused', async (option, settings) => {
    const schema = new Schema<any>({ name: String, at: Date }, { ...settings, autoCreate: false } as never)
    await misconfigured(() => model(schema.plugin(plugin, { provider, fields })), new RegExp(`${option} names email`))
  })

  test('on paths in the clear, beside a condition on whether a field is there, is left alone', async () => {
    const schema = encrypted().index(
      { name: 1 },
      { unique: true, partialFilterExpression: { name: { $exists: true } } },
    )
    const User = model(schema)
    await User.init()
    await User.create({ name: 'Ada', email: secret('ada@example.org') })
    await expect(User.create({ name: 'Ada', email: secret('eve@example.org') })).rejects.toMatchObject({ code: 11000 })
    expect(await raw(User)).toHaveLength(1)
  })
})

describe('fault 47: the plugin twice on one schema', () => {
  const again = /twice|already|second time|more than once|again/i

  test('is refused with a message that says so', async () => {
    const schema = encrypted()
    const error = await misconfigured(() => {
      schema.plugin(plugin, { provider, fields })
      model(schema)
    }, again)
    expect(error.message).toMatch(/kmsEncrypted|plugin/)
  })

  test('is refused with a message that says so, by a factory that runs once for each module', async () => {
    const schema = new Schema<any>({ name: String })
    const withEncryption = (each: Schema<any>) => each.plugin(plugin, { provider: provider, fields: { email: String } })
    withEncryption(schema)
    await misconfigured(() => {
      withEncryption(schema)
      model(schema)
    }, again)
  })

  test('is refused for other fields under the same key, and the message tells of name', async () => {
    const schema = encrypted()
    await misconfigured(() => {
      schema.plugin(plugin, { provider, fields: ['phone'] })
      model(schema)
    }, /name/)
  })

  test('works under another name', async () => {
    const User = model(encrypted().plugin(plugin, { provider, fields: ['phone'], name: 'phone' }))
    await User.create({ name: 'Ada', email: secret('ada@example.org'), phone: secret('+44 111 1111') })
    await expectReads(User, { name: 'Ada' }, { email: 'ada@example.org', phone: '+44 111 1111' })
  })
})

test('subdocuments in arrays of arrays of arrays', async () => {
  const held = new Schema<any>({}).plugin(plugin, { provider, fields: ['secret'] })
  const owner = (path: object) => () => connection.model(named('Deep'), new Schema<any>({ path }))
  await misconfigured(owner([[[held]]]), /path have encrypted fields and are in arrays of arrays of arrays/)
  expect(owner([[held]])).not.toThrow()
  expect(owner([[[new Schema({ clear: String })]]])).not.toThrow()
})

describe('a schema that holds itself, where fields would stand at paths without end', () => {
  const endless = () => {
    const schema = contactSchema()
    return schema.add({ contacts: [schema] })
  }
  test.each<[string, () => Schema<any>]>([
    ['of a record', endless],
    ['of a subdocument', () => new Schema<any>({ contacts: [endless()] } as never)],
    [
      'by way of another',
      () => {
        const schema = contactSchema()
        return schema.add({ deep: { one: new Schema<any>({ byPlace: { type: Map, of: schema } } as never) } })
      },
    ],
    [
      'around one with fields',
      () => {
        const schema = new Schema<any>({ contacts: [contactSchema()] } as never)
        return schema.add({ others: [schema] })
      },
    ],
    [
      'as a discriminator',
      () => {
        const schema = contactSchema()
        schema.add({ any: [new Schema({ name: String })] })
        ;(schema.path('any') as any).discriminator('Self', new Schema<any>({ contacts: [schema] } as never))
        return schema
      },
    ],
  ])('is refused when the model is made: %s', async (_name, schema) => {
    await misconfigured(() => model(schema()), /of a schema that holds itself/)
  })

  test('is refused where it comes to the model later, and nothing is sent', async () => {
    const events = new Schema<any>({ events: [new Schema({ name: String })] } as never)
    const User = model(events)
    ;(User.schema.path('events') as any).discriminator('Self', endless())
    const write = { events: [{ __t: 'Self', contacts: [{ phone: secret('555-0100') }] }] }
    await refused(() => User.insertMany([write], { lean: true }), 'FIELD_INVALID')
    expect(await raw(User)).toEqual([])
  })

  test('is left alone where it has none, beside fields', async () => {
    const tree = new Schema<any>({ name: String })
    tree.add({ branches: [tree] })
    const User = model(encrypted({ name: String, tree }))
    await User.create({
      name: 'Ada',
      email: secret('ada@example.org'),
      tree: { branches: [{ branches: [{ name: 'x' }] }] },
    })
    await expectReads(User, { name: 'Ada' }, { email: 'ada@example.org' })
  })

  test('can be the type of a field', async () => {
    const tree = new Schema<any>({ label: String })
    tree.add({ branches: [tree] })
    const User = model(new Schema<any>({}).plugin(plugin, { provider, fields: { tree } }))
    const { _id } = await User.create({ tree: { branches: [{ branches: [{ label: secret('a leaf') }] }] } })
    const found = await User.findById(_id)
    expect((await found.tree).branches[0].branches[0].label).toBe('a leaf')
  })
})
