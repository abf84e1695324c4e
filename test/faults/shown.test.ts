import { inspect } from 'node:util'
import { Schema } from 'mongoose'
import { contactSchema, named, plugin, provider, secret, useFaults } from './support'

const { connection, raw } = useFaults()
const model = (schema: Schema<any>) => connection.model<any>(named('User'), schema) as any
const email = 'ada@example.org'
const phone = '+44 111 1111'
const city = 'St James 12'

const fields = { email: String, address: { city: String }, tags: [String], any: Schema.Types.Mixed }
const values = () => ({
  name: 'Ada',
  email: secret(email),
  address: { city: secret(city) },
  tags: [email],
  any: { deep: [email] },
  contacts: [{ label: 'home', phone: secret(phone) }],
  one: { label: 'one', phone },
})

function userModel(settings: object = {}, options: object = {}, contact: object = {}): any {
  const definition = { name: String, contacts: [contactSchema({}, contact)], one: contactSchema({}, contact) }
  return model(new Schema<any>(definition, settings as never).plugin(plugin, { provider, fields, ...options }))
}

/** Documents in each state in which one can be. */
async function inEachState(Model: any): Promise<[string, any][]> {
  const created = await Model.create(values())
  const open = await Model.findById(created._id)
  await open.decrypt?.()
  await open.email
  await open.contacts[0].phone
  const changed = await Model.findById(created._id)
  changed.set({ email, 'contacts.0.phone': phone })
  return [
    ['new', new Model(values())],
    ['created', created],
    ['locked', await Model.findById(created._id)],
    ['open', open],
    ['changed', changed],
    ['hydrated', Model.hydrate((await raw(Model))[0])],
  ]
}

/** Fails where text shows a value, an envelope or a key. */
async function expectHidden(state: string, text: string, Model: any, paths = true): Promise<void> {
  const [stored] = await raw(Model)
  const bytes = [stored.email, stored.encrypted_kms_key[0].wrapped, stored.contacts[0].phone].map((binary) =>
    Buffer.from(binary.buffer),
  )
  for (const needle of [
    email,
    phone,
    city,
    ...bytes.flatMap((each) => [each.toString('base64'), each.toString('hex')]),
  ])
    expect({ state, found: text.includes(needle) ? needle : undefined }).toEqual({ state, found: undefined })
  if (paths) expect({ state, text }).not.toEqual({ state, text: expect.stringContaining('encrypted_kms_key') })
}

const seen: unknown[] = []
const noting = (change: (ret: any) => unknown) => (_doc: unknown, ret: unknown) => {
  seen.push(inspect(ret, { depth: 9 }))
  return change(ret)
}

const renaming: [string, object][] = [
  ['wrapping', { virtuals: true, transform: noting((ret) => ({ data: ret })) }],
  ['renaming keys', { virtuals: true, transform: noting((ret) => rename(ret)) }],
  ['renaming keys, with getters', { getters: true, transform: noting((ret) => rename(ret)) }],
  ['as text', { virtuals: true, getters: true, transform: noting((ret) => ({ text: inspect(ret, { depth: 9 }) })) }],
  ['of entries', { virtuals: true, transform: noting((ret) => ({ list: Object.entries(ret) })) }],
  ['that changes what it gets', { transform: noting((ret) => void Object.assign(ret, { copy: { ...ret } })) }],
  ['without minimizing', { minimize: false, virtuals: true, depopulate: true, transform: noting((ret) => [ret]) }],
  ['with maps flattened', { flattenMaps: true, flattenObjectIds: true, transform: noting((ret) => ({ data: ret })) }],
]
function rename(ret: any): unknown {
  if (ret === null || typeof ret !== 'object' || Object.getPrototypeOf(ret) !== Object.prototype) return ret
  return Object.fromEntries(Object.entries(ret).map(([key, value]) => [`my_${key}`, rename(value)]))
}

describe('fault 13: a transform of the application', () => {
  beforeEach(() => {
    seen.length = 0
  })

  test.each(renaming)('gets and gives no value of a document in any state: toJSON %s', async (_name, toJSON) => {
    const Model = userModel({ toJSON, toObject: toJSON }, {}, { toJSON, toObject: toJSON })
    for (const [state, doc] of await inEachState(Model)) {
      await expectHidden(state, JSON.stringify([doc, { doc }]), Model)
      await expectHidden(state, inspect(doc.toJSON(), { depth: 9 }), Model)
      await expectHidden(state, inspect(doc.toObject(), { depth: 9 }), Model)
      await expectHidden(state, inspect(doc, { depth: 9, showHidden: true }), Model)
      await expectHidden(state, String(doc), Model)
    }
    expect(seen.length).toBeGreaterThan(0)
    await expectHidden('transform', seen.join('\n'), Model)
  })

  test.each(renaming)('gets and gives no value, given with the call: %s', async (_name, options) => {
    const Model = userModel()
    for (const [state, doc] of await inEachState(Model)) {
      for (const part of [doc, doc.contacts, doc.contacts[0], doc.one]) {
        await expectHidden(state, inspect(part.toObject(options), { depth: 9 }), Model)
        if (part.toJSON) await expectHidden(state, inspect(part.toJSON(options), { depth: 9 }), Model)
      }
    }
    await expectHidden('transform', seen.join('\n'), Model)
  })

  test('gets and gives no value of records that are opened on load', async () => {
    const toJSON = { virtuals: true, getters: true, transform: noting((ret) => ({ data: ret })) }
    const Model = userModel({ toJSON }, { decrypt: 'onLoad' })
    await Model.create(values())
    const doc = await Model.findOne()
    expect(doc.email).toBe(email)
    await expectHidden('on load', JSON.stringify(doc), Model)
    await expectHidden('transform', seen.join('\n'), Model)
  })

  test('shows no value of a populated record', async () => {
    const Model = userModel({ toJSON: { virtuals: true, transform: noting((ret) => ({ data: ret })) } })
    const Post = model(
      new Schema<any>(
        { author: { type: Schema.Types.ObjectId, ref: Model.modelName } },
        {
          toJSON: { transform: noting((ret) => ({ post: ret })) },
        },
      ),
    )
    const { _id } = await Model.create(values())
    await Post.create({ author: _id })
    const post = await Post.findOne().populate('author')
    await post.author.email
    await expectHidden('populated', JSON.stringify(post), Model)
    await expectHidden('transform', seen.join('\n'), Model)
  })

  test('a document that is spread, cloned or listed shows no value', async () => {
    // Mongoose's own notes of a document name all paths.
    const Model = userModel()
    for (const [state, doc] of await inEachState(Model)) {
      await expectHidden(state, inspect({ ...doc }, { depth: 12, showHidden: true }), Model, false)
      await expectHidden(state, JSON.stringify({ ...doc }), Model, false)
      await expectHidden(state, inspect(Object.entries(doc), { depth: 12 }), Model, false)
      await expectHidden(state, inspect(doc._doc, { depth: 12, showHidden: true }), Model, false)
      await expectHidden(state, inspect(doc.$clone?.() ?? doc, { depth: 12 }), Model, false)
    }
  })
})

describe('fault 44: options of toObject that look like those of Mongoose itself', () => {
  const flags = [
    'transform',
    'virtuals',
    'getters',
    'depopulate',
    'flattenDecimals',
    'flattenMaps',
    'minimize',
    'versionKey',
  ]
  // Not among them: the exact options with which Mongoose itself copies a document to cast it again. They must keep the boxes.
  const combinations: object[] = [
    { transform: false, virtuals: false, getters: false },
    { transform: false, virtuals: false, getters: false, depopulate: true },
    { transform: false, virtuals: false, getters: false, depopulate: true, flattenDecimals: false, flattenMaps: false },
    { transform: false, virtuals: false, getters: false, depopulate: true, versionKey: false, minimize: false },
    Object.fromEntries(flags.map((flag) => [flag, false])),
    Object.fromEntries(flags.map((flag) => [flag, true])),
    { useProjection: true, virtuals: true },
    { useProjection: false, transform: false, virtuals: false, getters: false, flattenDecimals: false },
    { schemaFieldsOnly: true },
  ]

  test.each(combinations)('leave encrypted fields out: %j', async (options) => {
    const given = Object.fromEntries(
      Object.entries(options).map(([k, v]) => [k, k === 'transform' && v ? undefined : v]),
    )
    const Model = userModel()
    for (const [state, doc] of await inEachState(Model)) {
      for (const object of [doc.toObject(given), doc.toJSON(given)]) {
        expect(Object.keys(object)).not.toEqual(expect.arrayContaining(['email']))
        expect(object).toMatchObject({ name: 'Ada', contacts: [{ label: 'home' }], one: { label: 'one' } })
        await expectHidden(state, inspect(object, { depth: 9 }), Model)
      }
    }
  })
})

describe('fault 14: an error of validation', () => {
  const Model = model(
    new Schema<any>({ name: String }).plugin(plugin, {
      provider,
      fields: {
        email: { type: String, match: /^[^@]+@[^@]+$/ },
        role: { type: String, enum: ['a', 'b'] },
        age: Number,
        born: Date,
        short: { type: String, maxlength: 3 },
      },
    }),
  )

  test.each([
    ['match', { email: 'no address at all' }],
    ['enum', { role: 'no such role' }],
    ['maxlength', { short: 'much too long' }],
    ['a cast to a number', { age: 'nineteen or so' }],
    ['a cast to a date', { born: 'long long ago' }],
  ])('hides the value: %s', async (_name, wrong) => {
    const [value] = Object.values(wrong)
    const error = await new Model(wrong).save().catch((thrown: Error) => thrown)
    expect(error.name).toBe('ValidationError')
    expect(error.message).toContain(Object.keys(wrong)[0])
    const shown = [error.message, JSON.stringify(error), inspect(error, { depth: 5 })].join('\n')
    expect(shown).not.toContain(value!)
  })
})
