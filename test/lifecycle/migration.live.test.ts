import { useFaults } from '../faults/support'
import { rawCollection, sweep } from '../support'
import { sealedIn, versions } from './migrating'

// Ten thousand records are migrated while both versions of the application write.
const database = useFaults()
const { raw } = database
const total = 10_000

test('nothing is lost, and nothing is in the clear at the end', async () => {
  const fields = { email: { type: String, unique: true }, phone: { type: String, blindIndex: true } }
  const { Old, New } = await versions(database, {}, fields, { count: Number }, { email: String, phone: String })
  await New.init()
  const driver = rawCollection(Old)
  const records = Array.from({ length: total }, (_none, _id) => ({
    _id,
    email: `${_id}.first@example.org`,
    phone: `+${_id % 50}`,
    count: 0,
  }))
  const named = new Map(records.map(({ _id, ...each }) => [_id, each]))
  const { insertedIds } = await driver.insertMany(records.map(({ _id, ...each }) => each))
  const idOf = (n: number) => insertedIds[n]

  /** What one writer does to one record, in turn as either version would; each record has one writer, who knows what it must hold. */
  const writes: ((n: number, text: string) => Promise<void>)[] = [
    async (n, email) => {
      await driver.updateOne({ _id: idOf(n) }, { $set: { email } })
      named.get(n)!.email = email
    },
    async (n, email) => {
      const doc = await New.findById(idOf(n))
      await doc.set({ email }).save()
      named.get(n)!.email = email
    },
    async (n) => {
      const doc = await New.findById(idOf(n))
      await doc.set({ count: doc.count + 1 }).save()
      named.get(n)!.count++
    },
    async (n, phone) => {
      await New.updateOne({ _id: idOf(n) }, { $set: { phone } })
      named.get(n)!.phone = phone
    },
    async (n) => {
      await New.updateOne({ email: named.get(n)!.email }, { $inc: { count: 1 } }).orFail()
      named.get(n)!.count++
    },
    async (n, phone) => {
      await driver.updateOne({ _id: idOf(n) }, { $set: { phone }, $inc: { count: 1 } })
      named.get(n)!.phone = phone
      named.get(n)!.count++
    },
  ]
  let isOver = false
  let written = 0
  const writer = async (first: number) => {
    for (let turn = 0; !isOver; turn++) {
      const n = (first + turn * 7 * 4) % total
      await (writes[(turn + first) % writes.length] as (typeof writes)[0])(n, `${n}.${first}.${turn}@example.org`)
      written++
    }
  }
  // Records of one writer are apart by a multiple of four from those of another.
  const writers = [0, 1, 2, 3].map(writer)
  let updated = 0
  for (let pass = 0; pass < 2; pass++) {
    const result = await New.migrateToKms()
    expect(result.failures).toEqual([])
    updated += result.updated
  }
  isOver = true
  await Promise.all(writers)
  expect(written).toBeGreaterThan(200)
  // By now the older version is gone.
  const last = await New.migrateToKms()
  expect(last).toMatchObject({ failed: 0, interrupted: false })
  expect(updated + last.updated).toBeGreaterThan(0.9 * total)
  const stored = await raw(Old)
  expect(stored).toHaveLength(total)
  expect(stored.filter((each) => sealedIn(each).length < 2)).toEqual([])
  expect(JSON.stringify(stored)).not.toContain('example.org')
  await sweep(New.db)
  const read = await New.decrypt(await New.find().lean().sort({ _id: 1 }))
  expect(read.map(({ email, phone, count }: any) => ({ email, phone, count }))).toEqual([...named.values()])
  for (const n of [0, 1, 2, 3, 500, total - 1]) {
    const { email } = named.get(n)!
    expect(await New.countDocuments({ email })).toBe(1)
  }
  expect(await New.migrateToKms()).toMatchObject({ processed: 0 })
}, 300_000)
