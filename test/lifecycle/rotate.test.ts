import { Schema } from 'mongoose'
import type { JobProgress, JobResult } from '../../lib'
import {
  contactSchema,
  misconfigured,
  named,
  plugin,
  provider,
  refused,
  secret,
  unsent,
  useFaults,
} from '../faults/support'
import { bytesAt } from '../search/support'
import { beforeAndAfter, commandsOf, watchedKms } from './support'

// All records get new data keys, as they are stored and as they are read.
const { connection, open, raw, tamper } = useFaults()
const ada = () => secret('ada@example.org')
const bob = () => secret('bob@example.org')
const address = (index: number) => secret(`person ${index} at home`)

const counts = (processed: number) => ({ processed, updated: processed, unchanged: 0, failed: 0 })
const keysOf = (record: any): string[] =>
  record.encrypted_kms_key.map(({ commitment }: any) => Buffer.from(commitment.buffer).toString('hex'))

async function models(options: object = {}, paths: object = {}) {
  const kms = watchedKms()
  const on = await open()
  const schema = new Schema<any>(
    { name: String, contacts: [contactSchema({ provider: kms.provider })], ...paths },
    { timestamps: true },
  )
  schema.plugin(plugin, {
    provider: kms.provider,
    fields: { email: { type: String, blindIndex: true }, note: String },
    ...options,
  })
  return { Person: on.model<any>(named('Person'), schema) as any, kms, sent: commandsOf(on) }
}

test('every record gets new data keys and ciphertexts, its subdocuments too, and nothing else of it is changed', async () => {
  const { Person, kms, sent } = await models()
  const phone = secret('+44 20 7946 0000')
  await Person.create([{ name: 'Ada', email: ada(), contacts: [{ label: 'home', phone }] }, { name: 'none' }])
  const before = await raw(Person)
  sent.length = 0
  expect(await Person.rotateKmsKey()).toEqual({
    ...counts(1),
    checkpoint: { startedAt: expect.any(Date), id: before[0]._id },
    ...{ failures: [], interrupted: false },
  })
  expect([sent.map(({ name }) => name), kms.opened.length]).toEqual([['find', 'update'], 2])
  const [after, none] = await raw(Person)
  expect(none).toEqual(before[1])
  const key = [expect.anything()]
  expect(after).toEqual({
    ...before[0],
    email: expect.anything(),
    encrypted_kms_key: key,
    contacts: [{ ...before[0].contacts[0], phone: expect.anything(), encrypted_kms_key: key }],
  })
  expect(keysOf(after)).not.toEqual(keysOf(before[0]))
  expect(keysOf(after.contacts[0])).not.toEqual(keysOf(before[0].contacts[0]))
  expect(after.email).not.toEqual(before[0].email)
  const found = await Person.findOne({ email: ada() })
  expect([await found.email, await found.contacts[0].phone]).toEqual([ada(), phone])
})

test('killed at a random moment and gone on with ten times, every record is current, and done once', async () => {
  const { Person, kms } = await models()
  const count = 150
  await Person.insertMany(Array.from({ length: count }, (_, index) => ({ email: address(index) })))
  const before = (await raw(Person)).map(keysOf)
  const batchSize = 5
  const concurrency = 4
  let checkpoint: unknown
  let startedAt: unknown
  kms.opened.length = 0
  for (let run = 1; run <= 10; run++) {
    const killed = new Error('killed')
    const controller = new AbortController()
    let left = Math.floor(Math.random() * 3)
    let ofKms = 1 + Math.floor(Math.random() * 15)
    if (run % 2 === 0) kms.whileOpening(() => (--ofKms === 0 ? controller.abort() : undefined))
    const onProgress = (progress: JobProgress) => {
      checkpoint = progress.checkpoint
      if (run % 2 === 1 && left-- === 0) throw killed
    }
    const result = await Person.rotateKmsKey({
      ...{ batchSize, concurrency, onProgress, resume: checkpoint },
      signal: controller.signal,
    }).catch((error: unknown) => expect(error).toBe(killed))
    if (result) expect(result.failed).toBe(0)
    startedAt ??= (checkpoint as any)?.startedAt
    if (checkpoint) expect(checkpoint).toMatchObject({ startedAt })
  }
  expect(await Person.rotateKmsKey({ resume: checkpoint })).toMatchObject({ failed: 0, interrupted: false })
  const after = (await raw(Person)).map(keysOf)
  expect(after.flat()).toHaveLength(count)
  expect(after.flat().filter((key) => before.flat().includes(key))).toEqual([])
  // What was under way when it was killed has ended, and its date keeps it from being done again.
  expect(kms.opened).toHaveLength(count)
  expect(await Person.verifyKms()).toMatchObject({ processed: count, unchanged: count })
})

test('what has been rotated since, or came to be, is left alone; and the next run does it', async () => {
  const { Person, kms } = await models()
  const [, second] = await Person.create([{ email: ada() }, { email: bob() }])
  let once = true
  kms.whileOpening(async () => {
    if (!once) return
    once = false
    await (await Person.findById(second._id)).rotateKmsKey()
    await Person.create({ email: secret('later@example.org') })
  })
  // The second was read before it was rotated.
  const { checkpoint, ...result } = await Person.rotateKmsKey({ concurrency: 1, batchSize: 2 })
  expect(result).toMatchObject({ processed: 2, updated: 1, unchanged: 1, failed: 0 })
  expect(await Person.rotateKmsKey({ olderThan: new Date(checkpoint.startedAt - 1000) })).toMatchObject(counts(0))
  expect(await Person.rotateKmsKey({ filter: { email: ada() } })).toMatchObject(counts(1))
  expect(await Person.rotateKmsKey()).toMatchObject(counts(3))
})

test('live writers beside it lose nothing', async () => {
  const { Person, kms } = await models()
  const other = await open()
  const schema = new Schema<any>({ name: String }).plugin(plugin, {
    provider,
    fields: { email: { type: String, blindIndex: true }, note: String },
  })
  const Writer = other.model<any>(Person.modelName, schema) as any
  const records = await Writer.insertMany(Array.from({ length: 12 }, (_, index) => ({ email: address(index) })))
  let turn = 0
  kms.whileOpening(async (record) => {
    const _id = record.split('/')[1]
    const by = turn++ % 4
    if (by === 0) await Writer.updateOne({ _id }, { note: secret(`a note of ${_id}`) })
    if (by === 1) await Object.assign(await Writer.findById(_id), { email: secret(`new ${_id}`) }).save()
    if (by === 2) await Writer.updateOne({ _id }, { email: null })
    if (by === 3) await Writer.deleteOne({ _id })
  })
  const result: JobResult = await Person.rotateKmsKey({ concurrency: 1 })
  expect(result).toMatchObject({ processed: 12, failed: 0 })
  kms.whileOpening(() => {})
  expect(await Person.verifyKms()).toMatchObject({ failed: 0 })
  for (const { _id } of records) {
    const values = await (await Writer.findById(_id))?.decrypt()
    if (values?.note) expect(values.note).toBe(`a note of ${_id}`)
    if (values?.email) expect(await Writer.countDocuments({ email: values.email })).toBe(1)
  }
  expect(await Writer.countDocuments({})).toBeLessThan(12)
})

test('a field of a subdocument that is set meanwhile is not left under a key that is dropped', async () => {
  const { Person, kms } = await models({}, { phones: [contactSchema({ fields: { phone: String, fax: String } })] })
  const [phone, fax] = [secret('+44 20 7946 0000'), secret('+44 20 7946 0001')]
  const { _id } = await Person.create({ email: ada(), phones: [{ phone }] })
  const doc = await Person.findById(_id)
  await doc.phones[0].decrypt()
  doc.phones[0].fax = fax
  let saved: Promise<unknown> | undefined
  kms.whileOpening(async () => {
    saved ??= doc.save()
    await saved
  })
  expect(await Person.rotateKmsKey()).toMatchObject({ ...counts(1), failures: [] })
  expect(await (await Person.findById(_id)).phones[0].decrypt()).toEqual({ phone, fax })
})

test('a damaged record is told of and stays as it is, and the rest is done', async () => {
  const { Person } = await models()
  const [one, two, three] = await Person.create([
    { email: ada(), note: secret('a quiet note') },
    { email: bob() },
    { email: ada() },
  ])
  const [, , { email }] = await raw(Person)
  await tamper(Person, { _id: one._id }, { $set: { email } })
  await tamper(Person, { _id: two._id }, { $set: { note: unsent('in the clear') } })
  const before = await raw(Person)
  const { failures, ...result } = await Person.rotateKmsKey()
  expect(result).toMatchObject({ processed: 3, updated: 1, failed: 2 })
  expect(failures.map(({ id, error }: any) => [id, error.code])).toEqual([
    [one._id, 'DATA_KEY_MISSING'],
    [two._id, 'PLAINTEXT_FOUND'],
  ])
  expect((await raw(Person)).slice(0, 2)).toEqual(before.slice(0, 2))
  expect(keysOf((await raw(Person))[2])).not.toEqual(keysOf(before[2]))
  expect(await (await Person.findById(three._id)).email).toBe(ada())
})

describe('index values are made current:', () => {
  test('those that were never made, or are of another value or of none', async () => {
    const { Before, After } = beforeAndAfter(connection, await open())
    const phone = secret('+44 20 7946 0000')
    const [one, two] = await Before.create([{ email: ada(), phone }, { email: bob() }])
    expect(await After.rotateKmsKey()).toMatchObject(counts(2))
    const [first] = await raw(After)
    expect(await After.findOne({ email: ada(), phone })).toMatchObject({ _id: one._id })
    await tamper(After, { _id: one._id }, { $unset: { email: 1 } })
    await tamper(After, { _id: two._id }, { $set: { phone_bidx: first.phone_bidx } })
    expect(await After.rotateKmsKey()).toMatchObject(counts(2))
    const [left, right] = await raw(After)
    expect([left.email_bidx, right.phone_bidx]).toEqual([undefined, undefined])
    expect(bytesAt(left, 'phone_bidx')).toBe(bytesAt(first, 'phone_bidx'))
    expect(await After.verifyKms()).toMatchObject({ failed: 0 })
  })

  test('by a rotation of one record, of its subdocuments too', async () => {
    const contact = (blindIndex: boolean) => contactSchema({ fields: { phone: { type: String, blindIndex } } })
    const name = named('Person')
    const make = (on: any, isIndexed: boolean) =>
      on.model(
        name,
        new Schema<any>({ contacts: [contact(isIndexed)] }).plugin(plugin, {
          provider,
          fields: { email: { type: String, blindIndex: isIndexed } },
        }),
      )
    const Before = make(connection, false)
    const After = make(await open(), true)
    const phone = secret('+44 20 7946 0000')
    await Before.create({ email: ada(), contacts: [{ phone }] })
    const record = await After.findOne()
    await record.contacts[0].rotateKmsKey()
    const [{ email_bidx, contacts }] = await raw(After)
    expect([email_bidx, bytesAt(contacts[0], 'phone_bidx')]).toEqual([undefined, expect.any(String)])
    await record.rotateKmsKey()
    expect(await After.countDocuments({ email: ada(), 'contacts.phone': phone })).toBe(1)
    expect(await record.email).toBe(ada())
  })

  test('and where another record has the unique value already, that is told by the name of the field', async () => {
    const { Before, After } = beforeAndAfter(connection, await open())
    await After.init()
    const [, second] = await Before.create([{ email: ada() }, { email: ada() }])
    const { failures, updated } = await After.rotateKmsKey({ concurrency: 1 })
    expect([updated, failures]).toEqual([
      1,
      [{ id: second._id, error: expect.objectContaining({ code: 11000, keyPattern: { email: 1 } }) }],
    ])
  })
})

test('records whose only data keys are those of subdocuments, in maps too, and _ids of another type than the schema says', async () => {
  const on = await open()
  const schema = new Schema<any>({ _id: String, at: { type: Map, of: contactSchema() }, list: [contactSchema()] }, {})
  const Holder = on.model<any>(named('Holder'), schema) as any
  const phone = secret('+44 20 7946 0000')
  await Holder.create([{ _id: '1', at: { home: { phone } } }, { _id: '2', list: [{ phone }] }, { _id: '3' }])
  const before = await raw(Holder)
  expect(await Holder.rotateKmsKey()).toMatchObject({ processed: 3, updated: 2, unchanged: 1 })
  const [one, two] = await raw(Holder)
  expect(keysOf(one.at.home)).not.toEqual(keysOf(before[0].at.home))
  expect(keysOf(two.list[0])).not.toEqual(keysOf(before[1].list[0]))
  expect(await Holder.verifyKms()).toMatchObject({ failed: 0 })
  expect(await (await Holder.findById('1')).at.get('home').phone).toBe(phone)

  const { Person } = await models({}, { _id: String })
  await Person.create({ _id: '7', email: ada() })
  const [record] = await raw(Person)
  await Person.deleteOne({ _id: '7' })
  await on.db!.collection(Person.collection.name).insertOne({ ...record, _id: 7 as never })
  expect(await Person.rotateKmsKey()).toMatchObject(counts(1))
  expect(await Person.verifyKms()).toMatchObject({ unchanged: 1 })
})

test('no hook of the application is called, and its other name is that of the document method', async () => {
  const called: string[] = []
  const schema = new Schema<any>({ name: String }).plugin(plugin, {
    provider,
    fields: { email: String },
    methods: { rotateKmsKey: 'renew' },
  })
  const hooks = ['find', 'findOne', 'updateOne', 'save', 'init'] as const
  for (const hook of hooks) schema.pre(hook as never, (() => void called.push(hook)) as never)
  const Person = connection.model<any>(named('Person'), schema) as any
  await Person.create({ email: ada() })
  called.length = 0
  expect(await Person.renew()).toMatchObject(counts(1))
  expect([called, Person.rotateKmsKey]).toEqual([[], undefined])
  await refused(() => Person.renew({ resume: 5 }), 'OPTION_INVALID', /renew\(\): resume: expected the checkpoint/)
  await refused(() => Person.renew({ olderThan: 5 }), 'OPTION_INVALID', /olderThan: expected a Date/)
  await misconfigured(
    () =>
      new Schema<any>({})
        .static('renew', () => 1)
        .plugin(plugin, { provider, fields: ['a'], methods: { rotateKmsKey: 'renew' } }),
    /a static renew of its own/,
  )
})
