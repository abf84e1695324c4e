import { Schema } from 'mongoose'
import { misconfigured, named, plugin, provider, refused, secret, useFaults } from '../faults/support'
import { bytesAt } from '../search/support'
import { beforeAndAfter, commandsOf, watchedKms } from './support'

// Records that were stored before their fields were indexed, as they are stored and as they are found.
const { connection, open, raw, tamper, plant } = useFaults()
const ada = () => secret('ada@example.org')
const bob = () => secret('bob@example.org')
const number = () => secret('+44 20 7946 0000')

async function models(options: object = {}, paths: object = {}) {
  const kms = watchedKms()
  const other = await open()
  const both = beforeAndAfter(connection, other, { provider: kms.provider, ...options }, paths)
  return { ...both, kms, sent: commandsOf(other) }
}

const writes = (sent: { name: string }[]) => sent.filter(({ name }) => name === 'update').length

test('a record from before is found by its fields, and nothing else of it is changed', async () => {
  const { Before, After, kms, sent } = await models()
  await Before.create({ name: 'Ada', email: ada(), phone: number(), note: secret('a quiet note') })
  await Before.create({ name: 'Eve', note: secret('of no address') })
  await Before.create({ name: 'Nil', email: null })
  expect(await After.countDocuments({ email: ada() })).toBe(0)
  const [before, ...others] = await raw(After)
  const result = await After.backfillBlindIndexes()
  expect(result).toEqual({
    ...{ processed: 1, updated: 1, unchanged: 0, failed: 0 },
    ...{ checkpoint: before._id, failures: [], interrupted: false },
  })
  const [after, ...rest] = await raw(After)
  expect(after).toEqual({ ...before, email_bidx: expect.anything(), phone_bidx: expect.anything() })
  expect(Object.keys(after)).toEqual([...Object.keys(before), 'email_bidx', 'phone_bidx'])
  expect(rest).toEqual(others)
  // One call to the KMS, and one update that names what the index values are of, and nothing else.
  expect(kms.opened).toEqual([`${After.modelName}/${before._id}`])
  const [{ q, u }] = sent.flatMap(({ name, command }) => (name === 'update' ? command.updates : []))
  expect(q.$and.flatMap((each: any) => Object.keys(each))).toEqual(['email', '$nor', 'phone', '$nor'])
  expect(u).toEqual({ $set: { email_bidx: after.email_bidx, phone_bidx: after.phone_bidx } })
  expect(writes(sent)).toBe(1)
  for (const filter of [{ email: ada() }, { phone: number() }]) expect((await After.findOne(filter)).name).toBe('Ada')
  // What a save writes, and no other.
  const saved = await After.create({ email: bob(), phone: number() })
  expect(bytesAt((await raw(After)).at(-1), 'phone_bidx')).toBe(bytesAt(after, 'phone_bidx'))
  await After.deleteOne({ _id: saved._id })
})

test('a second run reads, and neither writes nor asks the KMS', async () => {
  const { Before, After, kms, sent } = await models()
  await Before.create([{ email: ada() }, { email: bob() }, { name: 'none' }])
  expect(await After.backfillBlindIndexes()).toMatchObject({ updated: 2 })
  kms.opened.length = sent.length = 0
  expect(await After.backfillBlindIndexes()).toEqual({
    ...{ processed: 0, updated: 0, unchanged: 0, failed: 0 },
    ...{ checkpoint: undefined, failures: [], interrupted: false },
  })
  expect(kms.opened).toEqual([])
  expect(sent.map(({ name }) => name)).toEqual(['find'])
})

test('an index value of nothing, or none of ours, is made anew; one that is there is not', async () => {
  const { After, kms } = await models()
  const records = await After.create([{ email: ada(), phone: number() }, { email: bob() }])
  const [before] = await raw(After)
  await tamper(After, { _id: records[0]._id }, { $set: { email_bidx: null } })
  await tamper(After, { _id: records[1]._id }, { $set: { email_bidx: 'x' } })
  expect(await After.backfillBlindIndexes()).toMatchObject({ processed: 2, updated: 2 })
  expect(bytesAt((await raw(After))[0])).toBe(bytesAt(before))
  expect((await raw(After)).map((each) => bytesAt(each) !== undefined)).toEqual([true, true])
  expect(kms.opened).toHaveLength(2)
})

describe('a record that fails is told of, and the others are done:', () => {
  test('one that is damaged, whose other fields are done as well', async () => {
    const { Before, After } = await models()
    const given = [{ email: ada(), phone: number() }, { email: bob() }]
    const [damaged] = await Before.create(given)
    const stranger = (await raw(After))[1].email
    await tamper(After, { _id: damaged._id }, { $set: { email: stranger } })
    const result = await After.backfillBlindIndexes()
    expect(result).toMatchObject({ processed: 2, updated: 1, failed: 1 })
    expect(result.failures).toEqual([{ id: damaged._id, error: expect.objectContaining({ code: 'DATA_KEY_MISSING' }) }])
    const [one, two] = await raw(After)
    expect([one, two].map((each) => bytesAt(each) !== undefined)).toEqual([false, true])
    expect(bytesAt(one, 'phone_bidx')).toBeDefined()
  })

  test('one that holds plaintext, which is not sent again', async () => {
    const { Before, After } = await models()
    const [odd] = await Before.create([{ name: 'odd' }, { email: bob() }])
    await tamper(After, { _id: odd._id }, { $set: { email: 'in the clear' } })
    const { failures, updated } = await After.backfillBlindIndexes()
    expect([updated, failures.map(({ error }: any) => error.code)]).toEqual([1, ['PLAINTEXT_FOUND']])
    expect(failures[0].error.message).not.toContain('in the clear')
    expect((await raw(After))[0]).not.toHaveProperty('email_bidx')
  })

  test('one that has the value of another, by the name of the field alone; its other fields are done', async () => {
    const { Before, After } = await models()
    await After.init()
    const [first, second] = await Before.create([{ email: ada() }, { email: ada(), phone: number() }])
    const { failures, ...counts } = await After.backfillBlindIndexes({ concurrency: 1 })
    expect(counts).toMatchObject({ processed: 2, updated: 1, failed: 1, checkpoint: second._id })
    expect(failures).toEqual([
      { id: second._id, error: expect.objectContaining({ code: 11000, keyPattern: { email: 1 } }) },
    ])
    const said = JSON.stringify([failures[0].error.message, failures[0].error.stack, failures[0].error])
    expect(said).not.toMatch(/bidx/)
    const [one, two] = await raw(After)
    for (const text of [ada(), bytesAt(one) as string]) expect(said).not.toContain(text)
    expect(said).not.toContain(Buffer.from(bytesAt(one) as string, 'hex').toString('base64'))
    expect(two).not.toHaveProperty('email_bidx')
    expect(await After.findOne({ phone: number() })).toMatchObject({ _id: second._id })
    expect(await After.findOne({ email: ada() })).toMatchObject({ _id: first._id })
  })

  test('of many, all are counted and the first hundred are kept', async () => {
    const { Before, After, kms } = await models({}, { _id: Number })
    kms.whileOpening((record) => {
      if (record !== `${After.modelName}/150`) throw new Error('denied')
    })
    const ids = Array.from({ length: 150 }, (_, index) => index + 1)
    await Before.insertMany(ids.map((_id) => ({ _id, email: secret(`person ${_id} at home`) })))
    const result = await After.backfillBlindIndexes()
    expect(result).toMatchObject({ processed: 150, updated: 1, failed: 149, checkpoint: 150 })
    expect(result.failures.map(({ id }: any) => id)).toEqual(ids.slice(0, 100))
  })
})

describe('whoever writes between reading and writing loses nothing, and no index value is of what was before:', () => {
  const changes: [string, (model: any, id: unknown) => Promise<unknown>, string | undefined][] = [
    ['a new value', (model, id) => model.updateOne({ _id: id }, { email: bob() }), 'bob@example.org'],
    ['the same value', (model, id) => model.updateOne({ _id: id }, { email: ada() }), 'ada@example.org'],
    ['nothing', (model, id) => model.updateOne({ _id: id }, { email: null }), undefined],
    ['another backfill', (model) => model.backfillBlindIndexes(), 'ada@example.org'],
    ['its end', (model, id) => model.deleteOne({ _id: id }), undefined],
    ['a rotation', async (model, id) => (await model.findById(id)).rotateKmsKey(), 'ada@example.org'],
    [
      'a save under a key that was rotated',
      async (model, id) => {
        const record = await model.findById(id)
        await record.rotateKmsKey()
        await Object.assign(record, { email: bob() }).save()
      },
      'bob@example.org',
    ],
  ]

  test.each(changes)('%s', async (name, change, expected) => {
    const { Before, After, kms } = await models()
    const Writer = await theirs(After)
    const [{ _id }] = await Before.create([{ name: 'Ada', email: ada(), phone: number() }, { name: 'other' }])
    let count = 0
    kms.whileOpening(async () => {
      if (count++ === 0) await change(Writer, _id)
    })
    const result = await After.backfillBlindIndexes()
    expect(count).toBeGreaterThan(0)
    const isDone = /^(another backfill|its end|a rotation|a save under)/.test(name)
    expect(result).toMatchObject({ processed: 1, failed: 0, ...(isDone ? { unchanged: 1 } : { updated: 1 }) })
    const [record] = await raw(After)
    const found = expected === undefined ? null : await Writer.findOne({ email: expected })
    expect(found?.name).toBe(expected === undefined ? undefined : 'Ada')
    for (const text of [ada(), bob()])
      expect(await Writer.countDocuments({ email: text })).toBe(text === expected ? 1 : 0)
    if (expected === undefined) expect(record).not.toHaveProperty('email_bidx')
    else expect(await found.email).toBe(expected)
    if (record.name === 'Ada') expect(await Writer.countDocuments({ phone: number() })).toBe(1)
  })

  /** The model as a third process has it, whose provider nobody holds up. */
  async function theirs(After: any) {
    const schema = new Schema<any>({ name: String }, { timestamps: true }).plugin(plugin, {
      provider,
      fields: { email: { type: String, unique: true }, phone: { type: String, blindIndex: true }, note: String },
    })
    return (await open()).model<any>(After.modelName, schema) as any
  }

  test('one who never stops is told of', async () => {
    const { Before, After, kms } = await models()
    const { _id } = await Before.create({ email: ada() })
    // By a process that knows of no index.
    kms.whileOpening(async () => (await Before.findById(_id)).rotateKmsKey())
    const { failed, failures } = await After.backfillBlindIndexes()
    expect([failed, failures[0].error.code]).toEqual([1, 'RECORD_CHANGED'])
    expect(kms.opened).toHaveLength(5)
    expect((await raw(After))[0]).not.toHaveProperty('email_bidx')
  })
})

describe('discriminators', () => {
  const shape = (fields: object) => new Schema<any>({}).plugin(plugin, { provider, fields })

  async function family() {
    const names = { Base: named('Base'), User: named('User'), Admin: named('Admin') }
    const make = (on: any, isIndexed: boolean) => {
      const field = isIndexed ? { type: String, blindIndex: true } : String
      const Base = on.model(names.Base, new Schema<any>({ name: String }))
      const User = Base.discriminator(names.User, shape({ email: field }))
      // Under the same name, one that is not found by it, and one in the clear.
      const Admin = Base.discriminator(names.Admin, shape({ email: String, login: field }))
      const Guest = Base.discriminator(`${names.Base}Guest`, new Schema<any>({ email: String }))
      return { Base, User, Admin, Guest }
    }
    const before = make(connection, false)
    await before.User.create({ name: 'user', email: ada() })
    await before.Admin.create({ name: 'admin', email: bob(), login: secret('the admin') })
    await plant(before.Base, { __t: before.Guest.modelName, name: 'guest', email: 'clear' })
    return make(await open(), true)
  }

  test('are all done by the base, each with what it has', async () => {
    const { Base, Admin } = await family()
    expect(await Base.backfillBlindIndexes()).toMatchObject({ updated: 2, failed: 0 })
    expect((await raw(Base)).map(({ email_bidx, login_bidx }) => [!!email_bidx, !!login_bidx])).toEqual([
      [true, false],
      [false, true],
      [false, false],
    ])
    expect((await Admin.findOne({ login: 'the admin' })).name).toBe('admin')
    expect(await Base.backfillBlindIndexes()).toMatchObject({ updated: 0, failed: 0 })
  })

  test('do their own alone', async () => {
    const { Base, User, Admin } = await family()
    expect(await User.backfillBlindIndexes()).toMatchObject({ processed: 1, updated: 1 })
    expect((await raw(Base)).map(({ email_bidx, login_bidx }) => [!!email_bidx, !!login_bidx])).toEqual([
      [true, false],
      [false, false],
      [false, false],
    ])
    expect(await User.backfillBlindIndexes({ filter: { __t: Admin.modelName } })).toMatchObject({ processed: 0 })
  })

  test('have the fields of their base', async () => {
    const { Before, After } = await models()
    const kind = named('Kind')
    const Old = Before.discriminator(kind, new Schema<any>({ level: Number }))
    const New = After.discriminator(kind, new Schema<any>({ level: Number }))
    await Old.create({ email: ada() })
    await Before.create({ email: bob() })
    expect(await New.backfillBlindIndexes()).toMatchObject({ updated: 1 })
    expect(await After.backfillBlindIndexes()).toMatchObject({ updated: 1 })
    expect(await After.countDocuments({ email: ada() })).toBe(1)
    expect(await After.countDocuments({ email: bob() })).toBe(1)
  })
})

test('several uses on one schema, and records of an earlier version, whose context reads the record', async () => {
  const name = named('Account')
  const context = ({ tenant }: any) => ({ Tenant: tenant })
  const make = (on: any, phone: unknown, options: object) =>
    on.model(
      name,
      new Schema<any>({ tenant: String })
        .plugin(plugin, { provider, fields: { email: phone }, ...options })
        .plugin(plugin, { provider, name: 'phone', fields: { phone } }),
    )
  const Before = make(connection, String, { context })
  const blind = { type: String, blindIndex: true }
  const After = make(await open(), blind, { version: 2, previousVersions: { 1: { context } } })
  await Before.create({ tenant: 'acme', email: ada(), phone: number() })
  const before = await raw(After)
  expect(await After.backfillBlindIndexes()).toMatchObject({ updated: 1, failed: 0 })
  expect(await After.countDocuments({ email: ada(), phone: number() })).toBe(1)
  expect((await raw(After)).map(({ email_bidx, phone_bidx, ...rest }) => rest)).toEqual(before)
})

test('the value is hashed as a write hashes it', async () => {
  const lower = { type: String, blindIndex: { caseInsensitive: true, normalize: (text: string) => text.trim() } }
  const { Before, After } = await models({ fields: { email: lower, phone: String, note: String } })
  await Before.create({ email: secret('  Ada@Example.org ') })
  expect(await After.backfillBlindIndexes()).toMatchObject({ updated: 1 })
  expect(await After.countDocuments({ email: 'ada@example.ORG' })).toBe(1)
})

test('a record is reached by its _id as it is stored, whatever the schema makes of that', async () => {
  const { Before, After } = await models({}, { _id: String })
  await Before.create({ _id: '7', email: ada() })
  const [record] = await raw(Before)
  await Before.deleteOne({ _id: '7' })
  await plant(Before, { ...record, _id: 7 })
  expect(await After.backfillBlindIndexes()).toMatchObject({ updated: 1, checkpoint: 7 })
  expect(await After.countDocuments({ email: ada() })).toBe(1)
})

test('no hook of the application is called', async () => {
  const called: string[] = []
  const { Before } = await models()
  const schema = new Schema<any>({ name: String }, { timestamps: true }).plugin(plugin, {
    provider,
    fields: { email: { type: String, blindIndex: true } },
  })
  const hooks = ['find', 'findOne', 'updateOne', 'save', 'validate', 'init'] as const
  for (const hook of hooks) schema.pre(hook as never, (() => void called.push(hook)) as never)
  for (const hook of hooks) schema.post(hook as never, (() => void called.push(`post ${hook}`)) as never)
  schema.static('find', () => {
    throw new Error('a find of their own')
  })
  const After = (await open()).model<any>(Before.modelName, schema) as any
  await Before.create({ email: ada() })
  expect(await After.backfillBlindIndexes()).toMatchObject({ updated: 1 })
  expect(called).toEqual([])
})

test('an index key that cannot be opened ends it before any record is opened', async () => {
  const { provider: denied, opened } = watchedKms({ deriveIndexKey: () => Promise.reject(new Error('denied')) })
  const { Before, After } = await models({ provider: denied })
  await Before.create([{ email: ada() }, { email: bob() }])
  await refused(() => After.backfillBlindIndexes(), /^KMS_/)
  expect(opened).toEqual([])
})

test('a model with nothing to index is told so, and a static of the application is not replaced', async () => {
  const { Before } = await models()
  await misconfigured(
    () => Before.backfillBlindIndexes(),
    /Account_\d+\.backfillBlindIndexes\(\): no field .* blind index/,
  )
  const schema = new Schema<any>({}).static('backfillBlindIndexes', () => 'ours')
  await misconfigured(
    () => schema.plugin(plugin, { provider, fields: { email: String } }),
    /a static backfillBlindIndexes of its own\. Give it another name/,
  )
})

describe('of one record', () => {
  test('its index values are made, with those of its subdocuments, and unsaved changes stay as they are', async () => {
    const contact = (indexed: object) =>
      new Schema<any>({}).plugin(plugin, { provider, fields: { phone: { type: String, ...indexed } } })
    const name = named('Holder')
    const make = (on: any, indexed: object) =>
      on.model(
        name,
        new Schema<any>({ name: String, contacts: [contact(indexed)] }).plugin(plugin, {
          ...{ provider, fields: { email: { type: String, ...indexed }, note: String } },
        }),
      )
    const Before = make(connection, {})
    const After = make(await open(), { blindIndex: true })
    const { _id } = await Before.create({ email: ada(), contacts: [{ phone: number() }, { phone: secret('another') }] })
    const [before] = await raw(Before)
    const doc = await After.findById(_id)
    doc.note = secret('unsaved')
    await doc.contacts[1].backfillBlindIndexes()
    const [one] = await raw(After)
    expect(one).toEqual({
      ...before,
      contacts: [before.contacts[0], { ...before.contacts[1], phone_bidx: expect.anything() }],
    })
    await doc.backfillBlindIndexes()
    const [all] = await raw(After)
    expect(all).toEqual({
      ...before,
      email_bidx: expect.anything(),
      contacts: [{ ...before.contacts[0], phone_bidx: expect.anything() }, one.contacts[1]],
    })
    expect(await After.countDocuments({ email: ada(), 'contacts.phone': number() })).toBe(1)
    // Once more there is nothing to do.
    await doc.backfillBlindIndexes()
    expect(await raw(After)).toEqual([all])
    await doc.save()
    expect(await (await After.findById(_id)).note).toBe('unsaved')
  })

  test('in a transaction that is aborted nothing is written', async () => {
    const { Before, After } = await models()
    const { _id } = await Before.create({ email: ada() })
    const [before] = await raw(Before)
    const doc = await After.findById(_id)
    const session = await After.db.startSession()
    session.startTransaction()
    doc.$session(session)
    await doc.backfillBlindIndexes()
    await session.abortTransaction()
    await session.endSession()
    expect(await raw(After)).toEqual([before])
  })

  test('one without a blind index, or that is gone, is refused', async () => {
    const { Before, After } = await models()
    const { _id } = await Before.create({ email: ada() })
    await misconfigured(
      async () => (await Before.findById(_id)).backfillBlindIndexes(),
      /no field of this model has a blind index/,
    )
    const doc = await After.findById(_id)
    await After.deleteOne({ _id })
    await expect(doc.backfillBlindIndexes()).rejects.toMatchObject({ name: 'DocumentNotFoundError' })
  })
})
