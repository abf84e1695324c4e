import { Schema } from 'mongoose'
import { type KeyStatus, type KmsStatus, localKms } from '../../lib'
import { contactSchema, misconfigured, named, plugin, provider, refused, secret, useFaults } from '../faults/support'
import { rawCollection } from '../support'
import { commandsOf, watchedKms } from './support'

// What is stored of wrapped keys is counted, and nothing of it is opened.
const { connection, open, tamper } = useFaults()
const ada = () => secret('ada@example.org')
const dayMs = 24 * 60 * 60 * 1000

const none = { withKeys: 0, keyIds: [], versions: [], olderThanDays: { 30: 0, 90: 0, 365: 0 } }
const at = ({ keys }: KmsStatus, path: string): KeyStatus | undefined => keys.find((each) => each.path === path)

test('records are counted by key id, version and age of their data keys, and those without', async () => {
  const name = named('Person')
  const make = (on: any, options: object) =>
    on.model(
      name,
      new Schema<any>({ name: String, contacts: [contactSchema()], at: { type: Map, of: contactSchema() } }).plugin(
        plugin,
        {
          provider,
          fields: ['email', 'note'],
          indexKeys: true,
          ...options,
        },
      ),
    )
  const One = make(connection, {})
  const Two = make(await open(), { version: 2, previousVersions: { 1: {} } })
  const phone = secret('+44 20 7946 0000')
  const [first, second] = await One.create([
    { email: ada(), contacts: [{ phone }, { phone }] },
    { email: ada() },
    { email: ada() },
  ])
  await Two.create([{ email: ada(), at: { home: { phone } } }, { name: 'none' }])
  await Two.updateOne({ _id: first._id }, { note: secret('under a key of version two') })
  await tamper(
    One,
    { _id: second._id },
    { $set: { 'encrypted_kms_key.0.createdAt': new Date(Date.now() - 100 * dayMs) } },
  )
  const status = await Two.kmsStatus()
  expect(status).toEqual({
    records: 5,
    keys: [
      {
        ...{ path: 'contacts.encrypted_kms_key', withKeys: 1, withoutKeys: 4 },
        keyIds: [{ keyId: localKms().keyId, records: 1 }],
        versions: [{ version: 1, records: 1 }],
        olderThanDays: { 30: 0, 90: 0, 365: 0 },
      },
      {
        ...{ path: 'encrypted_kms_key', withKeys: 4, withoutKeys: 1 },
        keyIds: [{ keyId: localKms().keyId, records: 4 }],
        versions: [
          { version: 1, records: 3 },
          { version: 2, records: 2 },
        ],
        olderThanDays: { 30: 1, 90: 1, 365: 0 },
      },
    ],
  })
  // Its date is not what it was made with.
  await One.deleteOne({ _id: second._id })
  await Two.rotateKmsKey()
  expect(at(await Two.kmsStatus(), 'encrypted_kms_key')).toMatchObject({
    versions: [{ version: 2, records: 3 }],
    olderThanDays: { 30: 0, 90: 0, 365: 0 },
  })
  expect(at(await Two.kmsStatus({ filter: { name: 'none' } }), 'encrypted_kms_key')).toMatchObject({
    ...none,
    withoutKeys: 1,
  })
})

test('every count is one that an index answers alone, and a rotation finds by it what is to be done', async () => {
  const on = await open()
  const schema = new Schema<any>({ name: String }).plugin(plugin, { provider, fields: ['email'], indexKeys: true })
  const Person = on.model<any>(named('Person'), schema) as any
  await Person.init()
  const parts = ['keyId', 'version', 'createdAt'].map((part) => `encrypted_kms_key.${part}`)
  expect((await Person.listIndexes()).flatMap(({ key }: any) => Object.keys(key))).toEqual(['_id', ...parts])
  await Person.create([{ email: ada() }, { name: 'none' }])
  const sent = commandsOf(on)
  await Person.kmsStatus()
  const [first, ...asked] = sent.map(({ name, command }) => [name, command.query ?? command.pipeline?.[0].$match])
  expect(first?.[0]).toBe('count')
  expect(asked.flatMap(([, condition]) => Object.keys(condition))).toEqual([
    ...[parts[2], parts[2], parts[2], parts[2]],
    ...[parts[0], parts[0], parts[1], parts[1]],
  ])
  const plan = await rawCollection(Person)
    .find({ [parts[2] as string]: { $lte: new Date() } })
    .explain()
  expect(JSON.stringify(plan.queryPlanner.winningPlan)).toContain('IXSCAN')
})

test('a discriminator counts its own, and a model without indexes all the same', async () => {
  const Base = connection.model<any>(named('Base'), new Schema<any>({})) as any
  const User = Base.discriminator(named('User'), new Schema<any>({}).plugin(plugin, { provider, fields: ['email'] }))
  expect(await User.kmsStatus()).toEqual({ records: 0, keys: [{ path: 'encrypted_kms_key', ...none, withoutKeys: 0 }] })
  await User.create([{ email: ada() }, {}])
  await Base.create({})
  expect(await User.kmsStatus()).toMatchObject({ records: 2, keys: [{ withKeys: 1, withoutKeys: 1 }] })
  expect(await Base.kmsStatus()).toMatchObject({ records: 3, keys: [{ withKeys: 1, withoutKeys: 2 }] })
})

test('options that cannot be used are refused', async () => {
  const schema = new Schema<any>({}).plugin(plugin, { provider, fields: ['email'] })
  const Person = connection.model<any>(named('Person'), schema) as any
  await refused(() => Person.kmsStatus({ filters: {} }), 'OPTION_INVALID', /kmsStatus\(\): there is no option filters/)
  await refused(() => Person.kmsStatus({ filter: 5 }), 'OPTION_INVALID', /filter: expected an object/)
  await refused(() => Person.kmsStatus({ filter: { email: 'x' } }), 'QUERY_REFUSED')
  const options = { fields: ['email'], provider }
  await misconfigured(
    () => new Schema<any>({}).plugin(plugin, { ...options, indexKeys: 'keyId' }),
    /indexKeys: Expected true/,
  )
  await misconfigured(
    () => new Schema<any>({}).plugin(plugin, { fields: ['email'], dataKey: 'owner', indexKeys: true }),
    /indexKeys: With dataKey: 'owner'/,
  )
})

describe('of one record', () => {
  const phone = secret('+44 20 7946 0000')

  async function person() {
    const name = named('Person')
    const make = (on: any, options: object) =>
      on.model(
        name,
        new Schema<any>({ contacts: [contactSchema(options)] }).plugin(plugin, {
          provider,
          fields: ['email'],
          ...options,
        }),
      )
    const Before = make(connection, {})
    const After = make(await open(), { version: 2, previousVersions: { 1: {} } })
    const { _id } = await Before.create({ email: ada(), contacts: [{ phone }] })
    return { Before, After, _id, key: (await rawCollection(Before).findOne({ _id }))!.encrypted_kms_key[0] }
  }

  test('each wrapped key is told of, and whether it is what a new one would be', async () => {
    const { Before, After, _id, key } = await person()
    const own = { path: 'encrypted_kms_key', version: 1, keyId: localKms().keyId, createdAt: key.createdAt }
    const contact = { ...own, path: 'contacts.0.encrypted_kms_key', createdAt: expect.any(Date) }
    const before = await Before.findById(_id)
    expect(await before.kmsStatus()).toEqual([
      { ...own, isCurrent: true },
      { ...contact, isCurrent: true },
    ])
    const after = await After.findById(_id).select('_id contacts')
    expect(await after.kmsStatus()).toEqual([
      { ...own, isCurrent: false },
      { ...contact, isCurrent: false },
    ])
    expect(await after.contacts[0].kmsStatus()).toEqual([{ ...contact, isCurrent: false }])
    await after.contacts[0].rewrapKmsKey()
    expect(await after.kmsStatus()).toEqual([
      { ...own, isCurrent: false },
      { ...contact, version: 2, isCurrent: true },
    ])
    await tamper(Before, { _id }, { $set: { 'encrypted_kms_key.0.keyId': 'another' } })
    await refused(() => before.kmsStatus(), 'WRAPPED_KEY_DAMAGED')
  })

  test('what was erased says when, and a record without keys or that is gone is told from it', async () => {
    const { Before, _id } = await person()
    const doc = await Before.findById(_id)
    const erased = await Before.findById(_id)
    await erased.eraseKmsKey()
    const stored = await rawCollection(Before).findOne({ _id })
    expect(await doc.kmsStatus()).toEqual([
      { path: 'encrypted_kms_key', erasedAt: stored!.encrypted_kms_key[0].erasedAt },
      { path: 'contacts.0.encrypted_kms_key', erasedAt: stored!.contacts[0].encrypted_kms_key[0].erasedAt },
    ])
    expect(await (await Before.create({})).kmsStatus()).toEqual([])
    await Before.deleteOne({ _id })
    await expect(doc.kmsStatus()).rejects.toMatchObject({ name: 'DocumentNotFoundError' })
  })

  test('it asks the KMS nothing, and writes nothing', async () => {
    const { Before, _id } = await person()
    const kms = watchedKms()
    const on = await open()
    const sent = commandsOf(on)
    const schema = new Schema<any>({}).plugin(plugin, { provider: kms.provider, fields: ['email'] })
    const Watched = on.model<any>(Before.modelName, schema)
    await Watched.init()
    const doc = await Watched.findById(_id)
    sent.length = 0
    await doc.kmsStatus()
    expect([kms.opened, sent.map(({ name }) => name)]).toEqual([[], ['find']])
  })
})
