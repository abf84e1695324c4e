import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { inspect, promisify } from 'node:util'
import { Schema } from 'mongoose'
import { twinsOf } from '../twins'
import {
  built,
  contactSchema,
  expectReads,
  expectSealed,
  named,
  plugin,
  provider,
  refused,
  secret,
  useFaults,
  userModel,
} from './support'

const { connection, raw } = useFaults()

describe('fault 32: virtuals of the application on lean objects', () => {
  const twins = () =>
    twinsOf(connection, { name: String }, { email: String, age: Number }, {
      virtuals: {
        upper: {
          get(this: any) {
            return this.name?.toUpperCase()
          },
        },
        type: {
          get(this: any) {
            return typeof this.missing
          },
        },
      },
    } as never)

  test('are applied by Model.applyVirtuals(), as where nothing is encrypted', async () => {
    const { encrypted, plain } = await twins().both(async (Model) => {
      await Model.create({ name: 'Ada', email: 'ada@example.org', age: 36 })
      const lean = await Model.findOne().lean()
      Model.applyVirtuals(lean)
      const some = await Model.findOne().lean()
      Model.applyVirtuals(some, ['upper'])
      const own = Model.applyVirtuals({ name: 'Eve' })
      return [lean.upper, lean.type, some.upper, some.type, own.upper]
    })
    expect(encrypted).toEqual(plain)
  })

  test.each<[string, object | boolean]>([
    ['lean({ virtuals: true })', { virtuals: true }],
    ["lean({ virtuals: ['upper'] })", { virtuals: ['upper'] }],
    ['lean({ getters: true })', { getters: true }],
    ['lean({ defaults: true })', { defaults: true }],
    ['lean({ versionKey: false })', { versionKey: false }],
  ])('do not break a find: %s', async (_name, options) => {
    const { encrypted, plain } = await twins().both(async (Model) => {
      await Model.create({ name: 'Ada', email: 'ada@example.org', age: 36 })
      const found = [...(await Model.find().lean(options)), await Model.findOne().lean(options)]
      return found.map(({ name, upper, __v }) => ({ name, upper, __v }))
    })
    expect(encrypted).toEqual(plain)
  })

  test('leave what is encrypted as it is stored, or take it away, and decrypt() opens it still', async () => {
    const { encrypted: User } = twins()
    await User.create({ name: 'Ada', email: secret('ada@example.org') })
    const lean = await User.findOne().lean()
    User.applyVirtuals(lean)
    expect(await User.decrypt(lean)).toMatchObject({ name: 'Ada', email: 'ada@example.org' })
  })

  test('and getters, applied to a lean object path by path, give the envelope where there is one', async () => {
    const get = (value: unknown) => (value === undefined ? value : `got ${value}`)
    const { encrypted, plain } = twinsOf(
      connection,
      { name: { type: String, get } },
      { email: { type: String, get }, age: { type: Number, get }, tags: [String], address: { city: String } },
    )
    for (const Model of [plain, encrypted]) {
      await Model.create({ name: 'Ada', email: 'ada@example.org', tags: ['a'], address: { city: 'Rome' } })
      const lean = await Model.findOne().lean({ getters: true })
      // As plugins for lean getters do it.
      Model.schema.eachPath((path: string, type: any) => {
        if (lean[path] !== undefined) lean[path] = type.applyGetters(lean[path], lean)
      })
      expect(lean).toMatchObject({ name: 'got Ada' })
      expect(lean).not.toHaveProperty('age')
      if (Model === plain) continue
      for (const path of ['email', 'tags', 'address']) expectSealed(lean, path)
      // A getter of the field sees what is decrypted, and nothing before.
      const opened = await Model.decrypt(lean)
      expect(opened).toMatchObject({ name: 'got Ada', tags: ['a'], address: { city: 'Rome' } })
      expect(opened.email).toMatch(/ada@example\.org$/)
    }
  })
})

describe('fault 39: what Mongoose offers for paths knows the fields', () => {
  const fields = () => ({
    email: { type: String, required: true, match: /@/ },
    age: { type: Number, min: 18 },
    tags: [String],
    nothing: { type: String, default: null },
    address: { city: String, at: Date },
  })
  const twins = () => twinsOf(connection, { name: String }, fields)
  const good = { name: 'Ada', email: 'ada@example.org', age: 36 }

  test.each<[string, object, any?]>([
    ['what is good', good],
    ['what is missing', { name: 'Ada' }],
    ['what does not match', { ...good, email: 'none' }],
    ['what is too small', { ...good, age: 3 }],
    ['what is no number', { ...good, age: 'old' }],
    ['one path of several', { ...good, email: 'none', age: 3 }, ['age']],
    ['one path by its name', { ...good, email: 'none', age: 3 }, 'email'],
    ['a path that is not there', good, ['email', 'nothing']],
  ])('Model.validate() of %s', async (_name, values, paths = undefined) => {
    const { encrypted, plain } = await twins().both(async (Model) => ({
      ...(await Model.validate({ ...values }, paths)),
    }))
    expect(encrypted).toEqual(plain)
  })

  test.each<[string, object, object?]>([
    ['what needs none', good],
    ['a number in text', { ...good, age: '36', tags: [1], address: { at: '2000-01-01' } }],
    ['what cannot be cast', { ...good, age: 'old' }],
    ['what cannot be cast, ignoring it', { ...good, age: 'old' }, { ignoreCastErrors: true }],
    ['what is not in the schema', { ...good, other: 1 }],
  ])('Model.castObject() of %s', async (_name, values, options = undefined) => {
    const { encrypted, plain } = await twins().both(async (Model) => Model.castObject({ ...values }, options))
    expect(encrypted).toEqual(plain)
  })

  test('Model.applyDefaults(), of a plain object and of a document', async () => {
    const { encrypted, plain } = await twins().both(async (Model) => {
      const object = Model.applyDefaults({ name: 'Ada' })
      const doc = Model.applyDefaults(new Model({ name: 'Ada' }, undefined, { defaults: false }))
      return [object.name, object.nothing, object.tags, await doc.get('nothing'), [...(await doc.get('tags'))]]
    })
    expect(encrypted).toEqual(plain)
  })

  /** Functions of the application, which look at the record that a default is for. */
  const made = {
    email: {
      type: String,
      default(this: any) {
        return `${this.name}@example.org`
      },
    },
    address: {
      city: {
        type: String,
        default(this: any) {
          return `the city of ${this.name}`
        },
      },
      at: { type: Date, default: () => new Date(0) },
    },
    list: { type: [String], default: () => ['one'] },
  }

  test('Model.applyDefaults() calls functions of the application with the record', async () => {
    const twins = twinsOf(connection, { name: String }, () => made)
    const { encrypted, plain } = await twins.both(async (Model) => {
      const outcomes = []
      for (const given of [
        { name: 'Ada' },
        { name: 'Eve', email: 'own', address: { city: 'own', at: 1 }, list: [] },
        { name: 'Zoe', address: { at: 1 } },
        { name: 'Kim', address: {} },
      ]) {
        const object = Model.applyDefaults({ ...given, ...(given.address && { address: { ...given.address } }) })
        const doc = Model.applyDefaults(new Model(given, undefined, { defaults: false }))
        const values = await Promise.all(['email', 'address.city', 'address.at'].map((path) => doc.get(path)))
        outcomes.push([object.email, object.address, object.list, values, [...(await doc.get('list'))]])
      }
      return outcomes
    })
    expect(encrypted).toEqual(plain)
  })

  test('Model.applyDefaults() of a record with subdocuments fills in theirs', async () => {
    const phone = {
      type: String,
      default(this: any) {
        return `+44 ${this.label}`
      },
    }
    const clear = { label: { type: String, default: 'home' } }
    const contact = () => new Schema<any>(clear).plugin(plugin, { provider, fields: { phone } })
    const outcomes = [new Schema<any>({ ...clear, phone }), contact()].map((held) => {
      const Owner = connection.model<any>(named('Owner'), new Schema<any>({ contacts: [held], one: held })) as any
      const given = () => ({ contacts: [{ label: 'work' }, {}, { phone: 'own' }], one: {} })
      const object = Owner.applyDefaults(given())
      const doc = Owner.applyDefaults(new Owner(given(), undefined, { defaults: false }))
      return [object, doc].map(({ contacts, one }) => [...contacts, one].map((each) => [each.label, each.phone]))
    })
    expect(outcomes[1]).toEqual(outcomes[0])
    expect(outcomes[0]![0]).toContainEqual(['work', '+44 work'])
  })

  describe('schema.toJSONSchema()', () => {
    const definition = () => ({
      ...fields(),
      kind: { type: String, enum: ['a', 'b'] },
      any: {},
      byKey: { type: Map, of: Number },
      bytes: Buffer,
      list: [{ label: String, at: Date }],
    })
    const without = ({ encrypted_kms_key: _keys, ...properties }: any) => properties
    const sorted = ({ required = [], ...schema }: any) => ({ ...schema, required: [...required].sort() })

    test('tells of the fields what an application sees of them', () => {
      const { encrypted, plain } = twinsOf(connection, { name: String }, definition)
      const [ours, theirs] = [encrypted, plain].map((Model) => sorted(Model.schema.toJSONSchema()))
      expect({ ...ours, properties: without(ours.properties) }).toEqual(theirs)
    })

    test('tells MongoDB, by its own types, that they are bytes', () => {
      const { encrypted, plain } = twinsOf(connection, { name: String }, definition)
      const [ours, theirs] = [encrypted, plain].map((Model) => sorted(Model.schema.toJSONSchema({ useBsonType: true })))
      const binary = { bsonType: ['binData', 'null'] }
      const expected = Object.fromEntries(Object.keys(definition()).map((name) => [name, binary]))
      expect({ ...ours, properties: without(ours.properties) }).toEqual({
        ...theirs,
        properties: { ...theirs.properties, ...expected },
      })
      expect(ours.properties.encrypted_kms_key.bsonType).toContain('array')
    })

    test.each<[string, object, string]>([
      ['an application', {}, 'type'],
      ['MongoDB', { useBsonType: true }, 'bsonType'],
    ])('tells %s of those in subdocuments', (_name, options, property) => {
      const schema = new Schema<any>({
        list: [contactSchema()],
        one: contactSchema(),
        byKey: { type: Map, of: contactSchema() },
      })
      const { list, one, byKey } = (schema as any).toJSONSchema(options).properties
      for (const { properties } of [list.items, one, byKey.additionalProperties])
        expect(properties.phone).toEqual({ [property]: [property === 'type' ? 'string' : 'binData', 'null'] })
    })
  })

  test('$ignore() of a field that is not valid', async () => {
    const { encrypted, plain } = await twins().both(async (Model) => {
      const doc = new Model({ name: 'Ada', age: 3 })
      doc.$ignore('email')
      doc.$ignore('age')
      await doc.validate()
      await doc.save()
      const [stored] = await Model.collection.find().toArray()
      return { ignored: [stored.email === undefined, stored.name] }
    })
    expect(encrypted).toEqual(plain)
  })

  test('getChanges() names a field that was changed, and shows no value', async () => {
    const { encrypted, plain } = twins()
    const names = []
    for (const Model of [encrypted, plain]) {
      const { _id } = await Model.create({ ...good, tags: ['a'] })
      const doc = await Model.findById(_id)
      doc.set({ name: 'Countess', email: 'changed@example.org', age: undefined })
      const changes = (doc.$getChanges ?? doc.getChanges).call(doc)
      names.push(Object.entries<any>(changes).map(([operator, paths]) => [operator, Object.keys(paths).sort()]))
      if (Model === encrypted) expect(shownSafely(changes)).not.toContain('changed@')
    }
    expect(names[0]).toEqual(names[1])
  })

  function shownSafely(value: unknown): string {
    return JSON.stringify(value) + inspect(value, { depth: 9 })
  }

  test('default: null is null in a new document, and stored as null', async () => {
    const { encrypted, plain } = await twins().both(async (Model) => {
      const doc = new Model(good)
      const before = doc.nothing
      await doc.save()
      const [stored] = await Model.collection.find().toArray()
      return [before, stored.nothing, (await Model.findOne()).nothing, await Model.countDocuments({ nothing: null })]
    })
    expect(encrypted).toEqual(plain)
  })

  test.each<[string, object]>([
    ['localField', { localField: 'email', foreignField: 'name' }],
    ['foreignField', { localField: 'name', foreignField: 'email' }],
    ['localField below a field', { localField: 'address.city', foreignField: 'name' }],
  ])('a populated virtual with an encrypted %s populates, or there is an error that says so', async (_name, paths) => {
    const ref = named('User')
    const User = built(() => {
      const schema = new Schema<any>({ name: String }).plugin(plugin, { provider, fields: fields() })
      schema.virtual('friends', { ref, ...paths } as never)
      return connection.model<any>(ref, schema) as any
    }, /email|address|friends/)
    if (!User) return
    const email = 'in-the-clear-too@example.org'
    await User.create([
      { ...good, name: 'Ada', email, address: { city: email } },
      { ...good, name: email, email, address: { city: email } },
    ])
    await refused(() => User.find().populate('friends'), 'QUERY_REFUSED')
  })
})

describe('fault 41: what a post save hook sees', () => {
  test.each(['before', 'after'])(
    'is a saved document, as where nothing is encrypted: declared %s the plugin',
    async (order) => {
      const see = (seen: unknown[]) =>
        function hook(this: any) {
          const paths = ['email', 'tags', 'name']
          seen.push(
            this.isModified(),
            this.isNew,
            paths.map((path) => this.isModified(path)),
            this.modifiedPaths(),
          )
        }
      const run = async (encrypted: boolean) => {
        const seen: unknown[] = []
        const own = { email: String, tags: [String] }
        const schema = new Schema<any>({ name: String, ...(encrypted ? {} : own) })
        if (order === 'before') schema.post('save', see(seen))
        if (encrypted) schema.plugin(plugin, { provider, fields: own })
        if (order === 'after') schema.post('save', see(seen))
        const Model = connection.model<any>(named('User'), schema) as any
        const doc = await Model.create({ name: 'Ada', email: 'ada@example.org', tags: ['a'] })
        doc.email = 'changed@example.org'
        await doc.save()
        const loaded = await Model.findOne()
        loaded.set({ name: 'Countess', tags: ['b', 'c'] })
        await loaded.save()
        await Model.bulkSave([loaded.set({ email: 'bulk@example.org' })])
        return seen
      }
      expect(await run(true)).toEqual(await run(false))
    },
  )
})

describe('fault 42: an update', () => {
  const updates: [string, (Model: any) => Promise<unknown>][] = [
    ['updateOne', (Model) => Model.updateOne({ name: 'Ada' }, { email: 'new@example.org' })],
    ['updateOne $set', (Model) => Model.updateOne({ name: 'Ada' }, { $set: { email: 'new@example.org' } })],
    ['updateMany', (Model) => Model.updateMany({ name: 'Ada' }, { email: 'new@example.org' })],
    ['findOneAndUpdate, lean', (Model) => Model.findOneAndUpdate({ name: 'Ada' }, { email: 'new@example.org' }).lean()],
    ['findOneAndUpdate', (Model) => Model.findOneAndUpdate({ name: 'Ada' }, { email: 'new@example.org' })],
    ['replaceOne', (Model) => Model.replaceOne({ name: 'Ada' }, { name: 'Ada', email: 'new@example.org' })],
    ['upsert', (Model) => Model.updateOne({ name: 'Eve' }, { email: 'new@example.org' }, { upsert: true })],
    [
      'bulkWrite',
      (Model) => Model.bulkWrite([{ updateOne: { filter: { name: 'Ada' }, update: { email: 'new@example.org' } } }]),
    ],
    ['insertMany, lean', (Model) => Model.insertMany([{ name: 'Eve', email: 'new@example.org' }], { lean: true })],
    ['$unset', (Model) => Model.updateOne({ name: 'Ada' }, { $unset: { email: 1 } })],
  ]
  const contexts: [string, object][] = [
    ['the context of every record', {}],
    ['a context that reads the record', { context: (doc: any) => ({ Tenant: `tenant ${doc.tenant}` }) }],
  ]

  test.each(
    updates.flatMap(([name, act]) => contexts.map(([context, options]) => [name, context, act, options] as const)),
  )(
    'runs defaults and hooks of the application no more often than where nothing is encrypted: %s, with %s',
    async (name, _context, act, options) => {
      const run = async (encrypted: boolean) => {
        const ran: Record<string, number> = { init: 0, counter: 0, code: 0, find: 0, findOne: 0, save: 0, validate: 0 }
        const own = { email: String, code: { type: String, default: () => `code ${ran.code!++}` } }
        const schema = new Schema<any>({
          name: String,
          tenant: String,
          counter: { type: Number, default: () => ran.counter!++ },
          ...(encrypted ? {} : own),
        })
        schema.post('init', () => void ran.init!++)
        for (const hook of ['find', 'findOne', 'save', 'validate'] as const)
          schema.pre(hook as 'find', () => void ran[hook]!++)
        if (encrypted) schema.plugin(plugin, { provider, fields: own, ...options })
        const Model = connection.model<any>(named('User'), schema) as any
        await Model.create({ name: 'Ada', tenant: 'acme', email: 'ada@example.org' })
        for (const key of Object.keys(ran)) ran[key] = 0
        await act(Model)
        return ran
      }
      const [plain, encrypted] = [await run(false), await run(true)]
      // A context must see a record that is about to be made as it will be loaded: with its defaults, once.
      const isMade = 'context' in options && /replaceOne|upsert|lean$/.test(name) && !name.startsWith('find')
      for (const [key, count] of Object.entries(encrypted)) {
        const allowed = plain[key]! + (isMade && (key === 'code' || key === 'counter') ? 1 : 0)
        expect({ [key]: Math.min(count, allowed) }).toEqual({ [key]: count })
      }
    },
  )
})

describe('fault 34: what the library refuses is a rejection, and ends no process', () => {
  const User = userModel(connection, { name: String }, { fields: { email: String, address: { city: String } } })
  const bad = () => ({ name: 'Ada', 'address.city': secret('St James') })
  const calls: [string, () => Promise<unknown>][] = [
    ['insertOne', () => User.collection.insertOne(bad())],
    ['insertMany', () => User.collection.insertMany([{ name: 'Eve' }, bad()])],
    ['replaceOne', () => User.collection.replaceOne({}, bad())],
    ['updateOne', () => User.collection.updateOne({}, { $push: { email: secret('x@example.org') } })],
    ['updateMany', () => User.collection.updateMany({}, { $push: { email: secret('x@example.org') } })],
    ['findOneAndUpdate', () => User.collection.findOneAndUpdate({}, { $push: { email: secret('x@example.org') } })],
    ['findOneAndReplace', () => User.collection.findOneAndReplace({}, bad())],
    ['bulkWrite', () => User.collection.bulkWrite([{ insertOne: { document: bad() } }])],
    ['deleteMany', () => User.collection.deleteMany({ email: secret('x@example.org') })],
    ['countDocuments', () => User.collection.countDocuments({ email: secret('x@example.org') })],
    ['findOne', () => User.collection.findOne({ email: secret('x@example.org') })],
    ['Model.insertMany, lean', () => User.insertMany([{ name: 'Eve' }, bad()], { lean: true })],
    [
      'Model.insertMany, lean, unordered',
      () => User.insertMany([{ name: 'Eve' }, bad()], { lean: true, ordered: false }),
    ],
  ]

  test.each(calls)('%s', async (_name, call) => {
    let given: unknown
    expect(() => {
      given = call()
    }).not.toThrow()
    expect(given).toBeInstanceOf(Promise)
    await refused(() => given, /^(WRITE|UPDATE|QUERY)_REFUSED$/)
    expect((await raw(User)).filter((record) => record.name !== 'Eve')).toEqual([])
  })

  test('in a process of its own, which goes on to its end', async () => {
    const program = ['--import', 'tsx', join(__dirname, 'ending.ts'), connection.name]
    const env = { ...process.env, TSX_TSCONFIG_PATH: join(__dirname, '../tsconfig.json') }
    const { stdout } = await promisify(execFile)(process.execPath, program, { cwd: join(__dirname, '../..'), env })
    const [lean, unordered, ...asked] = JSON.parse(stdout.trim().split('\n').at(-1)!)
    expect([lean, unordered]).toEqual(['WRITE_REFUSED', 'WRITE_REFUSED'])
    expect(asked).toEqual(['QUERY_REFUSED', 'QUERY_REFUSED', 'QUERY_REFUSED', 'UPDATE_REFUSED'])
  }, 60_000)

  test('a record beside it is inserted all the same afterwards', async () => {
    await User.insertMany([bad()], { lean: true }).catch(() => {})
    await User.insertMany([{ name: 'Eve', email: secret('eve@example.org') }], { lean: true })
    await expectReads(User, { name: 'Eve' }, { email: 'eve@example.org' })
  })
})
