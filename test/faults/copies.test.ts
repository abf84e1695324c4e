import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buildSync } from 'esbuild'
import mongoose, { Schema } from 'mongoose'
import * as library from '../../lib'
import { mongooseName } from '../mongooseName'
import { built, eight, expectReads, misconfigured, named, provider, secret, settles, useFaults } from './support'

const { connection, open } = useFaults()
const path = require.resolve('../../lib')
const email = 'ada@example.org'

/** The library, evaluated once more beside the first, on the same Mongoose: as after a reload, or installed twice. */
function secondCopy(): typeof library {
  let copy: typeof library | undefined
  jest.isolateModules(() => {
    jest.doMock('mongoose', () => mongoose)
    copy = require(path)
  })
  jest.dontMock('mongoose')
  if (!copy || copy.kmsEncrypted === library.kmsEncrypted) throw new Error('The library was not evaluated once more.')
  return copy
}

const fields = { email: { type: String, required: true, lowercase: true }, phone: String }

/** Everything of a model that a user does daily. Any `ConfigurationError` names the two copies. */
async function expectWorks(Model: any): Promise<void> {
  const name = named('Ada')
  await Model.create({ name, email: secret(email) })
  await expectReads(Model, { name }, { email })
  const doc = await Model.findOne({ name })
  doc.email = secret('changed@example.org')
  await doc.save()
  await expectReads(Model, { name }, { email: 'changed@example.org' })
  await Model.updateOne({ name }, { email: secret('updated@example.org') })
  await expectReads(Model, { name }, { email: 'updated@example.org' })
  await Model.replaceOne({ name }, { name, email: secret('replaced@example.org') })
  await expectReads(Model, { name }, { email: 'replaced@example.org' })
  // A lean insert does not even tell the children of a family apart.
  const kind = Model.baseModelName ? { __t: Model.modelName } : {}
  await Model.insertMany([{ ...kind, name: `${name} lean`, email }], { lean: true })
  await Model.bulkWrite([
    { updateOne: { filter: { name: `${name} lean` }, update: { phone: secret('+44 111 1111') } } },
  ])
  await expectReads(Model, { name: `${name} lean` }, { email, phone: '+44 111 1111' })
  await (await Model.findOne({ name })).rotateKmsKey()
  await expectReads(Model, { name }, { email: 'replaced@example.org' })
  expect(JSON.stringify(await Model.find())).not.toMatch(/@example|encrypted_kms_key/)
  await expect(Model.create({ name })).rejects.toMatchObject({ errors: { email: { kind: 'required' } } })
  await expect(Model.find({ email }).exec()).rejects.toMatchObject({ code: 'QUERY_REFUSED' })
}

describe('fault 31: two copies of the library on one Mongoose', () => {
  const use = (copy: typeof library, schema: Schema<any>, options: object = {}) =>
    schema.plugin(copy.kmsEncrypted as any, { provider, fields, ...options })
  const schema = () => new Schema<any>({ name: String })
  const again = /twice|two|copies|second|once|installed|versions/i

  test('each with models of its own work', async () => {
    const copy = secondCopy()
    for (const each of [library, copy, library])
      await expectWorks(connection.model<any>(named('User'), use(each, schema())) as any)
  })

  test('after a reload, the same model is made anew on the same collection, and works', async () => {
    const name = named('User')
    const first = connection.model<any>(name, use(library, schema())) as any
    await expectWorks(first)
    const copy = secondCopy()
    connection.deleteModel(name)
    const second = connection.model<any>(name, use(copy, schema())) as any
    await expectWorks(second)
    // Documents that the first has given out may be saved still.
    const doc = await first.findOne({ email: { $exists: true } })
    doc.email = secret('late@example.org')
    await doc.save()
    await expectReads(second, { _id: doc._id }, { email: 'late@example.org' })
  })

  test.each<[string, (copy: typeof library) => any]>([
    [
      'a child of the other',
      (copy) => {
        const Base = connection.model<any>(named('Base'), use(library, schema(), { fields: ['phone'] })) as any
        return Base.discriminator(
          named('Child'),
          use(copy, new Schema<any>({}), { fields: { email: fields.email }, name: 'child' }),
        )
      },
    ],
    [
      'a child of a base',
      (copy) => {
        const Base = connection.model<any>(named('Base'), schema().add({})) as any
        return Base.discriminator(named('Child'), use(copy, new Schema<any>({})))
      },
    ],
    [
      'one schema by two names',
      (copy) => {
        const both = use(copy, use(library, schema(), { fields: { email: fields.email } }), {
          fields: ['phone'],
          name: 'phone',
        })
        return connection.model<any>(named('User'), both)
      },
    ],
    [
      'a schema that was cloned',
      (copy) => {
        void copy
        return connection.model<any>(named('User'), use(library, schema()).clone())
      },
    ],
  ])('on %s work, or there is one clear error', async (_name, make) => {
    const copy = secondCopy()
    const Model = built(() => make(copy), again)
    if (Model) await expectWorks(Model)
  })

  test('an owner by one and its subdocuments by the other work', async () => {
    const copy = secondCopy()
    const contact = use(copy, new Schema<any>({ label: String }), { fields: ['phone'] })
    const Owner = connection.model<any>(
      named('Owner'),
      use(library, schema().add({ contacts: [contact], one: contact })),
    ) as any
    const phone = secret('+44 222 2222')
    await Owner.create({ name: 'Ada', email: secret(email), contacts: [{ phone }], one: { phone } })
    await expectReads(Owner, { name: 'Ada' }, { email, 'contacts.0.phone': phone, 'one.phone': phone })
    const doc = await Owner.findOne()
    doc.contacts[0].phone = secret('+44 333 3333')
    doc.email = secret('changed@example.org')
    await doc.save()
    await expectReads(
      Owner,
      {},
      { email: 'changed@example.org', 'contacts.0.phone': '+44 333 3333', 'one.phone': phone },
    )
    await expectWorks(connection.model<any>(named('User'), use(library, schema())))
  })

  test('a value of one that is given to a model of the other is refused', async () => {
    const copy = secondCopy()
    const [From, To] = [library, copy].map((each) => connection.model<any>(named('User'), use(each, schema())) as any)
    await From.create({ name: 'Ada', email: secret(email) })
    const from = await From.findOne()
    const ways: [string, () => Promise<unknown>][] = [
      ['VALUE_NOT_AWAITED', () => To.create({ name: 'Eve', email: from.email })],
      ['WRITE_REFUSED', () => To.insertMany([from], { lean: true })],
      ['ValidationError', () => To.create({ name: 'Eve', email: from._doc.email })],
      ['WRITE_REFUSED', () => To.collection.insertOne({ name: 'Eve', email: from._doc.email })],
    ]
    for (const [code, give] of ways) await settles(code, give, () => {})
  })
})

describe('fault 36: minified, with Mongoose and without', () => {
  const folder = mkdtempSync(join(tmpdir(), 'minified-'))
  afterAll(() => rmSync(folder, { recursive: true }))

  /** The library as a bundler leaves it: no function and class has the name that it had. */
  function minified(external: string[]): { library: typeof library; mongoose: typeof mongoose } {
    const outfile = join(folder, `bundle${external.length}.cjs`)
    buildSync({
      stdin: {
        contents: `export * as library from ${JSON.stringify(path)}; import mongoose from 'mongoose'; export { mongoose }`,
        resolveDir: __dirname,
        loader: 'ts',
      },
      ...(external.length === 0 && mongooseName !== 'mongoose' ? { alias: { mongoose: mongooseName } } : {}),
      bundle: true,
      minify: true,
      keepNames: false,
      platform: 'node',
      format: 'cjs',
      logLevel: 'error',
      external,
      outfile,
    })
    return require(outfile)
  }

  const strict = {
    ...fields,
    code: { type: String, immutable: true, lowercase: true, trim: true, uppercase: false },
    shout: { type: String, uppercase: true, trim: true },
    role: { type: String, enum: ['a', 'b'] },
    tags: [{ type: String, lowercase: true }],
    born: Date,
    home: { city: { type: String, trim: true } },
    scores: { type: Map, of: Number },
  }

  test.each([
    ['Mongoose left out of the bundle', ['mongoose']],
    ['Mongoose within the bundle', []],
  ])('everything works as it does otherwise: %s', async (_name, external) => {
    const bundle = minified(external)
    const { kmsEncrypted, localKms } = bundle.library
    const host = external.length > 0 ? mongoose : bundle.mongoose
    const watched = await open({}, host)
    const define = () =>
      (new host.Schema<any>({ name: String }) as any).plugin(kmsEncrypted, { provider: localKms(), fields: strict })
    const Model = watched.model<any>(named('User'), define()) as any
    await expectWorks(Model)

    await Model.create({
      name: 'Ada',
      email: ' Ada@Example.ORG',
      code: ' MiXeD cOdE ',
      shout: ' loud and clear ',
      tags: ['TAG'],
      born: '2000-01-01',
      home: { city: ' Rome ' },
      scores: { a: '1' },
    })
    secret('mixed code')
    const { email: _, ...expected } = await (await Model.findOne({ name: 'Ada' })).decrypt()
    expect(expected).toMatchObject({
      code: 'mixed code',
      shout: 'LOUD AND CLEAR',
      tags: ['tag'],
      born: new Date('2000-01-01'),
      home: { city: 'Rome' },
    })
    await Model.updateOne({ name: 'Eve' }, { email: 'EVE@X', code: ' UPSERTED Code ', shout: ' up ' }, { upsert: true })
    expect(await (await Model.findOne({ name: 'Eve' })).decrypt()).toMatchObject({ code: 'upserted code', shout: 'UP' })
    const doc = await Model.findOne({ name: 'Ada' })
    doc.code = 'another'
    await doc.save()
    expect(await (await Model.findOne({ name: 'Ada' })).code).toBe('mixed code')
    await expect(new Model({ email: 'a@b', role: 'c' }).save()).rejects.toMatchObject({
      errors: { role: { kind: 'enum' } },
    })
  })

  test('errors have their names', async () => {
    const { library: small } = minified(['mongoose'])
    const names = async (act: () => unknown) => {
      try {
        await act()
      } catch (error: any) {
        return [error.name, error.code, String(error).split(':')[0], error.stack.split(':')[0]]
      }
      return []
    }
    const Model = connection.model<any>(
      named('User'),
      new Schema<any>({ name: String }).plugin(small.kmsEncrypted as any, {
        provider: small.localKms(),
        fields: ['email'],
      }),
    ) as any
    await Model.create({ name: 'Ada', email: secret(email) })
    const same = (name: string, code: string) => [name, code, name, name]
    expect(await names(() => new Schema({}).plugin(small.kmsEncrypted as any, { fields: [] }))).toEqual(
      same('ConfigurationError', 'FIELD_INVALID'),
    )
    expect(await names(() => Model.find({ email }))).toEqual(same('OperationError', 'QUERY_REFUSED'))
    expect(await names(async () => `${(await Model.findOne()).email}`)).toEqual(
      same('RecordError', 'VALUE_NOT_AWAITED'),
    )
    const kms = { ...small.localKms(), unwrapDataKey: small.localKms().unwrapDataKey }
    const Other = connection.model<any>(
      named('User'),
      new Schema<any>({ name: String }).plugin(small.kmsEncrypted as any, { provider: kms, fields: ['email'] }),
      Model.collection.name,
    ) as any
    const [name] = await names(async () => (await Other.findOne()).email)
    expect(['KeyProviderError', 'DecryptionError', 'ConfigurationError']).toContain(name)
  })
})

describe('fault 46: an old Mongoose, or a second one', () => {
  const second = require(eight ? 'mongoose-8.17' : 'mongoose-8') as typeof mongoose

  test.each([
    ['7.8.0', '8.17.0'],
    ['8.0.0', '8.17.0'],
    ['8.16.5', '8.17.0'],
    ['9.0.0', '9.4.0'],
    ['9.3.4', '9.4.0'],
    ['6.13.0', '8.17.0'],
    [undefined, '8.17.0'],
  ])('Mongoose %s is told which version is needed', async (version, needed) => {
    const old = new mongoose.Mongoose()
    Object.defineProperty(old, 'version', { value: version })
    const error = await misconfigured(
      () => (new old.Schema({ name: String }) as any).plugin(library.kmsEncrypted, { provider, fields: ['email'] }),
      /needs Mongoose/,
    )
    expect(error.message).toContain(`needs Mongoose ${needed} or later, got ${version}. `)
    expect(error.message).not.toMatch(/is not a function/)
  })

  test.each<[string, (old: typeof mongoose) => unknown]>([
    [
      'a schema',
      (old) => (new old.Schema({ name: String }) as any).plugin(library.kmsEncrypted, { provider, fields: ['email'] }),
    ],
    [
      'every schema of it',
      (old) => {
        const own = new old.Mongoose()
        own.plugin(library.kmsEncrypted as any, { provider, fields: ['email'] })
        own.model('User', new own.Schema({ name: String }))
      },
    ],
    [
      'a subdocument that the first is to hold',
      (old) => {
        const contact = new old.Schema({ label: String }) as any
        const contacts = [contact.plugin(library.kmsEncrypted, { provider, fields: ['phone'] })]
        connection.model<any>(named('Owner'), new Schema<any>({ contacts }))
      },
    ],
  ])(
    'a Mongoose of years ago, installed beside this one, is told which version is needed: %s',
    async (_name, encrypt) => {
      const old = require('mongoose-7') as typeof mongoose
      const error = await misconfigured(() => encrypt(old), /needs Mongoose 8\.17\.0 or later, got 7\.8\.8\. /)
      expect(error.code).toBe('OPTION_INVALID')
      expect(error.message).toMatch(/Update Mongoose, and look for a second copy of it\.$/)
    },
  )

  test('a Mongoose of which the version cannot be told is told so, or works', async () => {
    const odd = { instanceOfSchema: true, paths: {}, options: {}, plugin: () => {} }
    const act = () => (library.kmsEncrypted as any)(odd, { provider, fields: ['email'] })
    const error = (await Promise.resolve()
      .then(act)
      .then(
        () => undefined,
        (thrown: unknown) => thrown,
      )) as Error
    expect(error).toBeInstanceOf(library.ConfigurationError)
    expect(error.message).toMatch(/Mongoose|Schema/)
  })

  test('a second Mongoose works beside the first, or there is one clear error', async () => {
    const make = () =>
      (new second.Schema<any>({ name: String }) as any).plugin(library.kmsEncrypted, { provider, fields })
    const schema = built(make, /needs Mongoose/)
    if (!schema) return expect(second.version).toMatch(/^8\.(9|1[01]|12\.[01])/)
    const watched = await open({}, second)
    await expectWorks(watched.model<any>(named('User'), schema))
    await expectWorks(
      connection.model<any>(
        named('User'),
        new Schema<any>({ name: String }).plugin(library.kmsEncrypted as any, { provider, fields }),
      ),
    )
  })

  test.each<[string, () => any]>([
    [
      'a model of one from a schema of the other',
      () =>
        connection.model<any>(
          named('User'),
          (new second.Schema<any>({ name: String }) as any).plugin(library.kmsEncrypted, { provider, fields }),
        ),
    ],
    [
      'an encrypted subdocument of the other',
      () =>
        connection.model<any>(
          named('User'),
          new Schema<any>({
            name: String,
            contacts: [
              (new second.Schema<any>({ label: String }) as any).plugin(library.kmsEncrypted, {
                provider,
                fields: ['phone'],
              }),
            ],
          } as never).plugin(library.kmsEncrypted as any, { provider, fields }),
        ),
    ],
  ])('%s works, or there is one clear error', async (_name, make) => {
    let Model: any
    try {
      Model = make()
    } catch (error: any) {
      // Mongoose has an error of its own, of the name TypeError.
      expect(error.message).toMatch(/different copy of the Mongoose module|mongoose|schema/i)
      expect(error.message).not.toMatch(/is not a function|undefined/)
      return
    }
    await expectWorks(Model)
  })
})

describe('fault 35: connections that read bytes and numbers in another way', () => {
  test.each<[string, object]>([
    ['promoteBuffers', { promoteBuffers: true }],
    ['useBigInt64', { useBigInt64: true }],
    ['promoteLongs: false', { promoteLongs: false }],
    ['ignoreUndefined', { ignoreUndefined: true }],
    ['bsonRegExp', { bsonRegExp: true }],
    ['promoteBuffers, useBigInt64', { promoteBuffers: true, useBigInt64: true }],
  ])('read, rotate and write as any other: %s', async (_name, options) => {
    const watched = await open(options)
    const schema = new Schema<any>({ name: String }).plugin(library.kmsEncrypted as any, {
      provider,
      fields: { ...fields, bytes: Buffer, age: Number },
    })
    const Model = watched.model<any>(named('User'), schema) as any
    await expectWorks(Model)
    await Model.create({ name: 'Bob', email, bytes: Buffer.from('abc'), age: 36 })
    const doc = await Model.findOne({ name: 'Bob' })
    await doc.rotateKmsKey()
    const loaded = await Model.findOne({ name: 'Bob' })
    expect(Buffer.from(await loaded.bytes)).toEqual(Buffer.from('abc'))
    expect(await loaded.age).toBe(36)
    expect(await Model.decrypt(await Model.findOne({ name: 'Bob' }).lean())).toMatchObject({ email, age: 36 })
    const contact = new Schema<any>({ label: String }).plugin(library.kmsEncrypted as any, {
      provider,
      fields: ['phone'],
    })
    const Owner = watched.model<any>(named('Owner'), new Schema<any>({ contacts: [contact] })) as any
    await Owner.create({ contacts: [{ label: 'home', phone: secret('+44 111 1111') }] })
    const owner = await Owner.findOne()
    owner.contacts[0].phone = secret('+44 222 2222')
    await owner.save()
    await expectReads(Owner, {}, { 'contacts.0.phone': '+44 222 2222' })
  })
})
