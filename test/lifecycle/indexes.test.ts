import { type Connection, Schema } from 'mongoose'
import { named, plugin, provider, secret, useFaults } from '../faults/support'
import { commandsOf, watchedKms } from './support'

// Every kind of blind index comes to records from before as a write would have made it.
const { connection, open, raw, tamper } = useFaults()
const ada = () => secret('Ada Lovelace')
const one = () => secret('+44 20 7946 0001')
const two = () => secret('+44 20 7946 0002')

const hex = (value: any): unknown =>
  Array.isArray(value) ? value.map(hex) : value && Buffer.from(value.buffer).toString('hex')

/** Whether a run touches anything, and a second one. */
async function twice(model: any): Promise<number[]> {
  await model.init()
  const first = await model.backfillBlindIndexes()
  const sent = commandsOf(model.db)
  const second = await model.backfillBlindIndexes()
  expect([first.failed, second.processed, sent.map(({ name }) => name)]).toEqual([0, 0, ['find']])
  return [first.processed, first.updated]
}

test('versions: two side by side, and one by itself again', async () => {
  const name = named('Account')
  const make = (on: Connection, blindIndex: unknown) => {
    const email = { type: String, ...(blindIndex ? { blindIndex } : {}) }
    return on.model<any>(name, new Schema<any>({ name: String }).plugin(plugin, { provider, fields: { email } })) as any
  }
  const folded = { caseInsensitive: true, version: 2 }
  const None = make(connection, undefined)
  const One = make(await open(), {})
  const Both = make(await open(), { ...folded, previousVersions: { 1: { caseInsensitive: false } } })
  const Two = make(await open(), folded)
  const stored = async () => hex((await raw(None))[0].email_bidx)

  await None.create([{ email: ada() }, { name: 'none' }])
  expect(await twice(One)).toEqual([1, 1])
  const first = await stored()
  expect(await twice(Both)).toEqual([1, 1])
  expect(await stored()).toEqual([expect.stringMatching(/^[0-9a-f]{64}$/), first])
  const [second] = (await stored()) as string[]
  // Either is told by itself, and so is their order.
  const both = (await raw(None))[0].email_bidx
  for (const email_bidx of [[both[0]], [...both].reverse(), [both[0], both[0]], [...both, both[0]], both[1]]) {
    await tamper(None, { name: null }, { $set: { email_bidx } })
    expect(await twice(Both)).toEqual([1, 1])
    expect(await stored()).toEqual([second, first])
  }
  expect(await Two.countDocuments({ email: 'ADA LOVELACE' })).toBe(1)
  expect(await One.countDocuments({ email: ada() })).toBe(1)
  for (const email_bidx of [both, [both[0]], both[1], 'x']) {
    await tamper(None, { name: null }, { $set: { email_bidx } })
    expect(await twice(Two)).toEqual([1, 1])
    expect(await stored()).toBe(second)
  }
  expect(await One.countDocuments({ email: ada() })).toBe(0)
})

test('several fields together, where all are there; and indexes of few bits', async () => {
  const name = named('Person')
  const make = (on: Connection, options: object, bits: object) =>
    on.model<any>(
      name,
      new Schema<any>({}).plugin(plugin, {
        provider,
        fields: { name: String, dob: Date, ssn: { type: String, ...bits } },
        ...options,
      }),
    ) as any
  const Before = make(connection, {}, {})
  const After = make(
    await open(),
    { blindIndexes: { name_dob: { fields: ['name', 'dob'] } } },
    { blindIndex: { bits: 12 } },
  )
  const dob = new Date('1815-12-10')
  await Before.create([{ name: ada(), dob, ssn: one() }, { name: ada() }, { dob }])
  const before = await raw(Before)
  expect(await twice(After)).toEqual([1, 1])
  const [first, ...others] = await raw(Before)
  expect(others).toEqual(before.slice(1))
  const fresh = await After.create({ name: ada(), dob, ssn: one() })
  const written = (await raw(Before)).at(-1)
  expect(written._id).toEqual(fresh._id)
  for (const path of ['name_dob_bidx', 'ssn_bidx']) expect(hex(first[path])).toBe(hex(written[path]))
  expect(hex(first.ssn_bidx)).toHaveLength(4)
  expect(await After.countDocuments({ name: ada(), dob })).toBe(2)
})

describe.each([
  ['with keys of their own', { provider }],
  ["under the owner's key", { dataKey: 'owner' }],
])('subdocuments %s', (_name, dataKey) => {
  async function models() {
    const name = named('User')
    const kms = watchedKms()
    const own = 'provider' in dataKey ? { provider: kms.provider } : dataKey
    const make = (on: Connection, isIndexed: boolean) => {
      const field = isIndexed ? { type: String, blindIndex: true } : String
      const contact = new Schema<any>({ kind: String }).plugin(plugin, { ...own, fields: { phone: field } })
      const group = new Schema<any>({ main: contact, contacts: [contact] })
      const schema = new Schema<any>({ name: String, contacts: [contact], at: { home: contact }, groups: [group] })
      return on.model<any>(name, schema.plugin(plugin, { provider: kms.provider, fields: { email: field } })) as any
    }
    return { kms, Before: make(connection, false), After: make(await open(), true) }
  }

  const given = () => ({
    contacts: [{ kind: 'none' }, { phone: one() }, { phone: two() }],
    at: { home: { phone: one() } },
    groups: [{ main: { phone: two() } }, { contacts: [{ phone: one() }] }],
  })

  test('have theirs wherever they stand, as a write makes them', async () => {
    const { Before, After } = await models()
    await Before.create({ name: 'Ada', ...given() })
    await Before.create({ name: 'none' })
    const [before] = await raw(Before)
    expect(await twice(After)).toEqual([1, 1])
    await After.create({ name: 'later', ...given() })
    const [first, , later] = await raw(Before)
    const values = ({ contacts, at, groups }: any) =>
      [...contacts, at.home, groups[0].main, ...groups[1].contacts].map(({ phone_bidx }: any) => hex(phone_bidx))
    expect(values(first)).toEqual(values(later))
    expect(values(first).filter(Boolean)).toHaveLength(5)
    expect(await After.countDocuments({ 'contacts.phone': two() })).toBe(2)
    const stripped = JSON.stringify(first, (key, value) => (key === 'phone_bidx' ? undefined : value))
    expect(stripped).toBe(JSON.stringify(before))
  })

  test('that were moved meanwhile have the index values of where they came to stand', async () => {
    const { Before, After, kms } = await models()
    const { _id } = await Before.create({ contacts: [{ phone: one() }, { phone: two() }] })
    kms.whileOpening(async () => {
      kms.whileOpening(() => {})
      const [{ contacts }] = await raw(Before)
      await tamper(Before, { _id }, { $set: { contacts: [...contacts].reverse() } })
    })
    expect(await After.backfillBlindIndexes()).toMatchObject({ updated: 1 })
    const [{ contacts }] = await raw(Before)
    await After.create({ contacts: [{ phone: two() }, { phone: one() }] })
    const [, later] = await raw(Before)
    expect(contacts.map((each: any) => hex(each.phone_bidx))).toEqual(
      later.contacts.map((each: any) => hex(each.phone_bidx)),
    )
    expect(await After.countDocuments({ 'contacts.phone': one() })).toBe(2)
  })
})
