import { Schema } from 'mongoose'
import { awsKms, createIndexKey, kmsEncrypted } from '../../lib'
import { type KmsStandIn, startKms } from '../kms'
import { modelOf, useDatabase } from '../support'
import { readPage } from './page'

// What docs/cost.md says is counted, and the rest recomputed.
const { connection } = useDatabase()
const page = readPage('docs/cost.md')
const rowsOf = (text: string) =>
  text
    .split('\n')
    .filter((line) => line.startsWith('| '))
    .map((line) => line.slice(2, -2).split(' | '))
const [table, parts] = page.split('## A record with many parts') as [string, string]

const count = 3
let kms: KmsStandIn
let User: any
let arn: string
let provider: any
beforeAll(async () => {
  kms = await startKms()
  arn = kms.createKey().arn
  provider = awsKms({ client: kms.client() })
  User = modelOf(connection, new Schema({ name: String }), {
    keyId: arn,
    provider,
    indexKey: await createIndexKey({ provider, keyId: arn }),
    fields: { email: { type: String, blindIndex: true }, phone: String, dob: Date },
  })
  // Opens the index key.
  await User.findOne({ email: 'nobody@example.org' })
})
afterAll(() => kms.stop())

const values = (index: number) => ({ name: 'Ada', email: `${index}@example.org`, phone: '1815', dob: new Date() })
const each = async (act: (user: any, index: number) => unknown) => {
  for (const [index, user] of (await User.find()).entries()) await act(user, index)
}

const operations: Record<string, () => unknown> = {
  '`create()`, `insertMany()`': async () => {
    await User.create(values(0))
    await User.insertMany([values(1), values(2)])
  },
  '`find()`': () => User.find(),
  'read one field': () => each((user) => user.email),
  'read three fields, or `decrypt()`': () =>
    each((user, index) => (index > 1 ? user.decrypt() : Promise.all([user.email, user.phone, user.dob]))),
  '`save()`, nothing changed': () => each((user) => user.save()),
  '`save()` of a field, record locked': () => each((user) => user.set({ phone: '1852' }).save()),
  '`save()` of a field, record open': async () => {
    const users = await User.find()
    await User.decrypt(users)
    kms.clearCalls()
    for (const user of users) await user.set({ phone: '1843' }).save()
  },
  '`updateOne()` of a field': () => each(({ _id }) => User.updateOne({ _id }, { phone: '1844' })),
  '`updateMany()` of a field': () => User.updateMany({}, { phone: '1845' }),
  '`updateOne()` of a field in the clear, or to `null`': () =>
    each(({ _id }) => User.updateOne({ _id }, { name: 'Grace', phone: null })),
  '`findOne()` by a blind index': () => each((_, index) => User.findOne({ email: `${index}@example.org` })),
  '`verifyKms()`': () => User.verifyKms(),
  '`rotateKmsKey()`': () => User.rotateKmsKey(),
  '`rewrapKmsKey()`': async () => {
    const Later = connection.useDb(connection.name, { useCache: false }).model<any>(
      User.modelName,
      new Schema<any>({}).plugin(kmsEncrypted as any, {
        keyId: kms.createKey().arn,
        provider,
        version: 2,
        previousVersions: { 1: { keyId: arn } },
        fields: ['phone'],
      }),
      User.collection.name,
    ) as any
    expect(await Later.rewrapKmsKey()).toMatchObject({ updated: count })
  },
  '`eraseKmsKey()`': () => User.eraseKmsKey({ filter: { _id: { $exists: true } } }),
}

describe('of a million records', () => {
  const rows = rowsOf(table).slice(1)

  test('the table has the operations that are counted', () => {
    expect(rows.map(([name]) => name)).toEqual(Object.keys(operations))
  })

  test('each takes so many calls, which cost so much and take so long', async () => {
    await User.deleteMany()
    for (const [name, calls, dollars, seconds] of rows) {
      if (name !== '`create()`, `insertMany()`' && (await User.countDocuments()) === 0)
        await User.insertMany(Array.from({ length: count }, (_, index) => values(index)))
      kms.clearCalls()
      await operations[name as string]!()
      expect([name, kms.calls.length]).toEqual([name, Number(calls) * count])
      expect([name, dollars, seconds]).toEqual([
        name,
        (((Number(calls) * 1_000_000) / 10_000) * 0.03).toFixed(2),
        String((Number(calls) * 1_000_000) / 10_000),
      ])
    }
  })
})

test('the notes of a patient take so many calls, in each of the ways', async () => {
  const notes = () => Array.from({ length: 20 }, (_, index) => ({ text: `note ${index}` }))
  const plugin = { keyId: arn, provider }
  const own = new Schema<any>({}).plugin(kmsEncrypted as any, { ...plugin, fields: ['text'] })
  const owners = new Schema<any>({}).plugin(kmsEncrypted as any, { dataKey: 'owner', fields: ['text'] })
  const ways = [
    modelOf(connection, new Schema({}), { ...plugin, fields: { notes: [{ text: String }] } as any }),
    connection.model<any>('PatientOfNotes', new Schema<any>({ notes: [own] })),
    modelOf(connection, new Schema({ notes: [owners] }), { ...plugin, fields: { allergies: String } }),
  ]
  const rows = rowsOf(parts).slice(1, 4)
  expect(rows).toHaveLength(ways.length)
  for (const [index, Patient] of ways.entries()) {
    const counted = async (act: () => unknown) => {
      kms.clearCalls()
      await act()
      return String(kms.calls.length)
    }
    const isField = index === 0
    const created = await counted(() => Patient.create({ notes: notes() }))
    const one = await counted(async () => {
      const found: any = await Patient.findOne()
      expect(
        (isField ? (await found.notes)[7] : await { ...found.notes[7].toObject(), text: await found.notes[7].text })
          .text,
      ).toBe('note 7')
    })
    const all = await counted(async () => {
      const found: any = await Patient.findOne()
      for (const note of isField ? await found.notes : found.notes) expect(await note.text).toMatch(/^note /)
    })
    const stored: any = await connection.collection(Patient.collection.name).findOne({})
    const keys = [stored, ...(isField ? [] : stored.notes)].flatMap(({ encrypted_kms_key: key }) => key ?? [])
    expect(rows[index]!.slice(1)).toEqual([created, one, all, String(keys.length)])
  }
})
