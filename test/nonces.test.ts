import { Schema } from 'mongoose'
import { RandomBytes } from '../lib/format/random'
import { modelOf, secret, useDatabase } from './support'

const { connection, raw } = useDatabase()

test('random bytes are given once, and what is given is nowhere else', () => {
  const random = new RandomBytes()
  const given = Array.from({ length: 1000 }, () => random.next(12))
  for (const bytes of given) expect(bytes).toHaveLength(12)
  expect(new Set(given.map((bytes) => bytes.toString('hex'))).size).toBe(1000)
  const [one, other] = [random.next(32), random.next(32)]
  expect(one.equals(other)).toBe(false)
  const before = other.toString('hex')
  one.fill(0)
  expect(other.toString('hex')).toBe(before)
  for (const bytes of [one, other]) expect(bytes.buffer.byteLength).toBe(32)
})

test('no two envelopes of records that are written together, or again, have one nonce', async () => {
  const names = ['one', 'two', 'three']
  const User = modelOf(connection, new Schema({}), { fields: names })
  const values = () => Object.fromEntries(names.map((name) => [name, secret('the same value')]))
  await User.insertMany([values(), values()])
  const stored = async () => (await raw(User.collection.name)).flatMap((record) => names.map((name) => record[name]))
  const before = await stored()
  for (const user of await User.find()) await user.set(values()).save()
  const all = [...before, ...(await stored())].map(({ buffer }) => Buffer.from(buffer.subarray(5, 17)).toString('hex'))
  expect(all).toHaveLength(12)
  expect(new Set(all).size).toBe(12)
})
