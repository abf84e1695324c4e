import { randomUUID } from 'node:crypto'
import { Schema } from 'mongoose'
import { expectReads, named, plugin, provider, refusalIn, refused, secret, settles, useFaults } from './support'

const { connection, raw } = useFaults()
const email = 'ada@example.org'

function tenantModel(context: (doc: any) => object, paths: object = {}, settings: object = {}): any {
  const definition = { name: String, tenant: String, ...paths }
  const schema = new Schema<any>(definition, settings as never).plugin(plugin, {
    provider,
    fields: { email: String, phone: String },
    context,
  })
  return connection.model<any>(named('User'), schema) as any
}
const text = (doc: any) => ({ Tenant: `tenant/${doc.tenant}` })

describe('fault 19: a context that reads what was not loaded', () => {
  const selections: [string, any][] = [
    ["select('name')", 'name'],
    ["select('-tenant')", '-tenant'],
    ["select('email')", 'email'],
    ["select('phone name')", 'phone name'],
    ['select({ tenant: 0 })', { tenant: 0 }],
    ["select('encrypted_kms_key')", 'encrypted_kms_key'],
    ["select('_id')", '_id'],
  ]
  const contexts: [string, (doc: any) => object][] = [
    ['a template string', text],
    ['a conversion', (doc) => ({ Tenant: String(doc.tenant) })],
    ['get()', (doc) => ({ Tenant: `tenant/${doc.get('tenant')}` })],
    ['a default of its own', (doc) => ({ Tenant: doc.tenant ?? 'none' })],
    ['destructuring', ({ tenant, _id }) => ({ Tenant: `${tenant}/${_id}` })],
    ['a condition', (doc) => (doc.tenant ? { Tenant: doc.tenant } : { Free: 'yes' })],
    ['toObject()', (doc) => ({ Tenant: `tenant/${doc.toObject().tenant}` })],
    ['_doc', (doc) => ({ Tenant: `tenant/${doc._doc?.tenant ?? doc.tenant}` })],
  ]

  /** An encrypted field is loaded with what its context reads, as far as that is known before a record is there. */
  const loads = (selection: any, isKnown: boolean) => isKnown && ['email', 'phone name'].includes(selection)

  describe.each(contexts)('by %s', (context, make) => {
    test.each(selections)(
      'writes what can be read, or throws: %s, of a record without a key',
      async (_name, selection) => {
        const User = tenantModel(make)
        await User.create({ name: 'Ada', tenant: 'acme' })
        const doc = await User.findOne().select(selection)
        await settles(
          loads(selection, context !== 'toObject()') ? undefined : 'CONTEXT_NOT_SELECTED',
          async () => {
            doc.email = secret(email)
            await doc.save()
          },
          () => expectReads(User, { tenant: 'acme' }, { email }),
        )
      },
    )

    test.each(selections)('writes what can be read, or throws: %s, of a record with one', async (_name, selection) => {
      const User = tenantModel(make)
      await User.create({ name: 'Ada', tenant: 'acme', email: secret('first@example.org') })
      const doc = await User.findOne().select(selection)
      await settles(
        loads(selection, true) ? undefined : 'CONTEXT_NOT_SELECTED',
        async () => {
          doc.phone = secret('+44 111 1111')
          await doc.save()
        },
        () => expectReads(User, { tenant: 'acme' }, { phone: '+44 111 1111', email: 'first@example.org' }),
      )
      await expectReads(User, { tenant: 'acme' }, { email: 'first@example.org' })
    })
  })

  test.each<[string, (User: any, _id: any) => Promise<unknown>]>([
    ['updateOne', (User, _id) => User.updateOne({ _id }, { email })],
    ['findOneAndUpdate', (User, _id) => User.findOneAndUpdate({ _id }, { email }).select('name')],
    ['bulkWrite', (User, _id) => User.bulkWrite([{ updateOne: { filter: { _id }, update: { email } } }])],
    ['hydrate', async (User, _id) => User.hydrate({ _id, name: 'Ada' }).set({ email }).save()],
    ['updateMany', (User) => User.updateMany({ name: 'Ada' }, { email })],
    [
      'rotateKmsKey of a part',
      async (User, _id) => {
        await User.updateOne({ _id }, { email })
        await (await User.findOne({ _id }).select('email')).rotateKmsKey()
      },
    ],
    ['a clone', async (User, _id) => (await User.findById(_id).select('name')).$clone().set({ email }).save()],
  ])('writes what can be read, or throws: %s', async (_name, write) => {
    const User = tenantModel(text)
    const { _id } = await User.create({ name: 'Ada', tenant: 'acme' })
    secret(email)
    await write(User, _id).catch((error: unknown) => {
      if (!refusalIn(error)) throw error
    })
    const [stored] = await raw(User)
    if (stored.email) await expectReads(User, { _id }, { email })
  })

  test('is not fooled by a branch that was never taken before', async () => {
    const branches = { a: (doc: any) => ({ Org: `${doc.org}` }), b: (doc: any) => ({ Team: `${doc.team}` }) }
    const User = tenantModel((doc) => branches[(doc.kind as 'a') ?? 'a'](doc), {
      kind: String,
      org: String,
      team: String,
    })
    await User.create({ name: 'Eve', kind: 'a', org: 'acme', email: secret('eve@example.org') })
    await expectReads(User, { name: 'Eve' }, { email: 'eve@example.org' })
    await User.create({ name: 'Ada', kind: 'b', team: 'red' })
    for (const selection of ['name', 'name kind', 'name org', '-team', 'email']) {
      const doc = await User.findOne({ name: 'Ada' }).select(selection)
      await settles(
        selection === 'email' ? undefined : 'CONTEXT_NOT_SELECTED',
        async () => {
          doc.email = secret(`${selection}@example.org`)
          await doc.save()
        },
        () => expectReads(User, { name: 'Ada' }, { email: `${selection}@example.org` }),
      )
    }
    await settles(
      undefined,
      () => User.updateOne({ name: 'Ada' }, { email: secret(email) }),
      () => expectReads(User, { name: 'Ada' }, { email }),
    )
  })
})

describe('fault 19: a context that reads what a default has just generated', () => {
  const generated: [string, object, (doc: any) => object, object][] = [
    ['a uuid', { tenant: { type: String, default: () => randomUUID() } }, text, {}],
    ['a date', { at: { type: Date, default: () => new Date() } }, (doc) => ({ At: `${doc.at?.getTime?.()}` }), {}],
    ['a timestamp', {}, (doc) => ({ At: `${doc.createdAt?.getTime?.()}` }), { timestamps: true }],
    ['a counter', { count: { type: Number, default: counter() } }, (doc) => ({ Count: `${doc.count}` }), {}],
    [
      'a nested one',
      { at: { by: { type: String, default: () => randomUUID() } } },
      (doc) => ({ By: `${doc.at?.by}` }),
      {},
    ],
    [
      'one that reads the record',
      {
        tenant: {
          type: String,
          default(this: any) {
            return `of ${this?.name}`
          },
        },
      },
      text,
      {},
    ],
  ]
  function counter() {
    let count = 0
    return () => ++count
  }
  const writes: [string, (User: any) => Promise<unknown>][] = [
    ['create', (User) => User.create({ name: 'Ada', email })],
    ['save without validation', (User) => new User({ name: 'Ada', email }).save({ validateBeforeSave: false })],
    ['insertMany', (User) => User.insertMany([{ name: 'Ada', email }])],
    ['insertMany, lean', (User) => User.insertMany([{ name: 'Ada', email }], { lean: true })],
    ['bulkSave', (User) => User.bulkSave([new User({ name: 'Ada', email })])],
    ['bulkWrite insertOne', (User) => User.bulkWrite([{ insertOne: { document: { name: 'Ada', email } } }])],
    [
      'connection.bulkWrite',
      (User) => connection.bulkWrite([{ model: User, name: 'insertOne', document: { name: 'Ada', email } }] as never),
    ],
    ['replaceOne, upsert', (User) => User.replaceOne({ name: 'Ada' }, { name: 'Ada', email }, { upsert: true })],
    [
      'findOneAndReplace, upsert',
      (User) => User.findOneAndReplace({ name: 'Ada' }, { name: 'Ada', email }, { upsert: true }),
    ],
    [
      'bulkWrite replaceOne',
      (User) =>
        User.bulkWrite([
          { replaceOne: { filter: { name: 'Ada' }, replacement: { name: 'Ada', email }, upsert: true } },
        ]),
    ],
    [
      'replaceOne of one that is there',
      async (User) => {
        await User.create({ name: 'Ada' })
        await User.replaceOne({ name: 'Ada' }, { name: 'Ada', email })
      },
    ],
    ['updateOne, upsert', (User) => User.updateOne({ name: 'Ada' }, { email }, { upsert: true })],
    [
      'updateOne, upsert without defaults',
      (User) => User.updateOne({ name: 'Ada' }, { email }, { upsert: true, setDefaultsOnInsert: false }),
    ],
    [
      'updateOne $setOnInsert',
      (User) => User.updateOne({ name: 'Ada' }, { $setOnInsert: { email } }, { upsert: true }),
    ],
    ['findOneAndUpdate, upsert', (User) => User.findOneAndUpdate({ name: 'Ada' }, { email }, { upsert: true })],
    [
      'bulkWrite updateOne, upsert',
      (User) => User.bulkWrite([{ updateOne: { filter: { name: 'Ada' }, update: { email }, upsert: true } }]),
    ],
  ]

  describe.each(generated)('%s', (_kind, paths, context, settings) => {
    test.each(writes)('writes what can be read, or throws: %s', async (_name, write) => {
      secret(email)
      const User = tenantModel(context, paths, settings)
      await write(User).catch((error: unknown) => {
        if (!refusalIn(error)) throw error
      })
      const [stored] = await raw(User)
      if (stored?.email) await expectReads(User, { name: 'Ada' }, { email })
      else expect(stored?.name ?? 'Ada').toBe('Ada')
    })
  })
})

describe('fault 19: what a context reads is changed', () => {
  const changes: [string, (User: any) => Promise<unknown>][] = [
    ['save() of a locked record', async (User) => (await User.findOne()).set({ tenant: 'other' }).save()],
    [
      'save() of an open record',
      async (User) => {
        const doc = await User.findOne()
        await doc.decrypt()
        await doc.set({ tenant: 'other' }).save()
      },
    ],
    [
      'save() of a record that was just made',
      async (User) => {
        await User.deleteMany({})
        const doc = await User.create({ name: 'Ada', tenant: 'acme', email })
        await doc.set({ tenant: 'other' }).save()
      },
    ],
    ['bulkSave()', async (User) => User.bulkSave([(await User.findOne()).set({ tenant: 'other' })])],
    ['updateOne', (User) => User.updateOne({}, { tenant: 'other' })],
    ['updateOne $set', (User) => User.updateOne({}, { $set: { tenant: 'other' } })],
    ['updateOne $unset', (User) => User.updateOne({}, { $unset: { tenant: 1 } })],
    ['updateOne $rename', (User) => User.updateOne({}, { $rename: { name: 'tenant' } })],
    [
      'updateOne by a pipeline',
      (User) => User.updateOne({}, [{ $set: { tenant: 'other' } }], { updatePipeline: true }),
    ],
    ['updateMany', (User) => User.updateMany({}, { tenant: 'other' })],
    ['findOneAndUpdate', (User) => User.findOneAndUpdate({}, { tenant: 'other' })],
    ['bulkWrite updateOne', (User) => User.bulkWrite([{ updateOne: { filter: {}, update: { tenant: 'other' } } }])],
    ['bulkWrite updateMany', (User) => User.bulkWrite([{ updateMany: { filter: {}, update: { tenant: 'other' } } }])],
    [
      'connection.bulkWrite',
      (User) =>
        connection.bulkWrite([
          { model: User, name: 'updateOne', filter: {}, update: { $set: { tenant: 'other' } } },
        ] as never),
    ],
    ['collection.updateOne', (User) => User.collection.updateOne({}, { $set: { tenant: 'other' } })],
    ['strict: false', (User) => User.updateOne({}, { $set: { tenant: 'other' } }, { strict: false })],
  ]

  test.each(changes)('re-encrypts what is open, and is refused where it cannot: %s', async (name, change) => {
    const User = tenantModel(text)
    await User.create({ name: 'Ada', tenant: 'acme', email: secret(email) })
    await settles(
      /open record|just made/.test(name) ? undefined : 'CONTEXT_CHANGED',
      () => change(User),
      () => expectReads(User, {}, { email }),
    )
    await expectReads(User, {}, { email })
  })

  test.each(changes)('of a record without a value is left alone: %s', async (_name, change) => {
    const User = tenantModel(text)
    await User.create({ name: 'Ada', tenant: 'acme' })
    secret(email)
    await settles(
      undefined,
      () => change(User),
      async () => expect((await raw(User))[0].tenant).not.toBe('acme'),
    )
  })
})

describe('a change of the context under which subdocuments are encrypted, too', () => {
  const words = (n: number) => secret(`a quiet note ${n}`)
  let Patient: any
  beforeEach(async () => {
    const note = () => new Schema<any>({}).plugin(plugin, { dataKey: 'owner', fields: { text: String } })
    const paths = { notes: [note()], places: { type: Map, of: note() } }
    Patient = tenantModel(text, paths)
    await Patient.create({
      tenant: 'three',
      email: secret('ada@example.org'),
      notes: [{ text: words(1) }, { text: words(2) }],
      places: { here: { text: words(3) } },
    })
  })
  const partsOf = (doc: any) => [doc, ...(doc.notes ?? []), ...(doc.places?.values() ?? [])]
  const expectAll = (expected: object) =>
    expectReads(
      Patient,
      {},
      {
        email: 'ada@example.org',
        'notes.0.text': words(1),
        'notes.1.text': words(2),
        'places.here.text': words(3),
        ...expected,
      },
    )

  test.each([{}, { email: 'countess@example.org' }])(
    'encrypts all anew where all is open, also with %j',
    async (change) => {
      const doc = await Patient.findOne()
      await Promise.all(partsOf(doc).map((part) => part.decrypt()))
      await doc.set({ tenant: 'four', ...change }).save()
      await expectAll(change)
    },
  )

  test.each<[string, (query: any) => any, number]>([
    ['a subdocument is locked', (query) => query, 3],
    ['subdocuments were not loaded', (query) => query.select('-notes'), 2],
    ['a map of them was not loaded', (query) => query.select('-places'), 3],
  ])('is refused where %s', async (_case, load, opened) => {
    const doc = await load(Patient.findOne())
    await Promise.all(
      partsOf(doc)
        .slice(0, opened)
        .map((part) => part.decrypt()),
    )
    doc.set({ tenant: 'four', email: secret('countess@example.org') })
    await refused(() => doc.save(), 'CONTEXT_CHANGED')
    await expectAll({})
    doc.tenant = 'three'
    await doc.save()
    await expectAll({ email: 'countess@example.org' })
  })
})

describe('a subdocument that is added to a record has the context that its record says', () => {
  const tenantOf = (doc: any) => ({ Tenant: `tenant/${doc.ownerDocument?.().tenant ?? doc.tenant}` })

  function models(isOwned: boolean) {
    const own = isOwned ? { dataKey: 'owner' } : { provider, context: tenantOf }
    const note = new Schema<any>({ label: String }).plugin(plugin, { fields: { text: String }, ...own })
    const schema = new Schema<any>({ tenant: String, notes: [note] })
    schema.plugin(plugin, { provider, fields: { email: String }, context: tenantOf })
    return connection.model<any>(named('Holder'), schema) as any
  }

  const note = () => ({ label: 'new', text: secret('a note of hers') })
  const ways: [string, (Holder: any, _id: unknown) => Promise<unknown>][] = [
    ['updateOne', async (Holder, _id) => Holder.updateOne({ _id }, { $push: { notes: note() } })],
    [
      'findOneAndUpdate',
      async (Holder, _id) => Holder.findOneAndUpdate({ _id }, { $push: { notes: { $each: [note()], $slice: -4 } } }),
    ],
    [
      'bulkWrite',
      (Holder, _id) => Holder.bulkWrite([{ updateOne: { filter: { _id }, update: { $push: { notes: note() } } } }]),
    ],
    ['save', async (Holder, _id) => Object.assign(await Holder.findById(_id), { notes: [note()] }).save()],
  ]

  test.each(ways.flatMap(([name, way]) => [[name, 'of its own', way] as const, [name, 'of its owner', way] as const]))(
    'by %s, under a key %s',
    async (_name, key, way) => {
      const Holder = models(key === 'of its owner')
      const { _id } = await Holder.create({ tenant: 'blue', email: secret(email) })
      await way(Holder, _id)
      const found = await Holder.findById(_id)
      expect(await found.notes[0].text).toBe('a note of hers')
      // Nothing is there to add to.
      await Holder.deleteOne({ _id })
      await expect(Holder.updateOne({ _id }, { $push: { notes: note() } })).resolves.toMatchObject({ matchedCount: 0 })
    },
  )
})
