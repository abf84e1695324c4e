import { Schema } from 'mongoose'
import { Nonces } from '../lib/format/cipher'
import { modelOf, secret, useDatabase } from './support'

const { connection, raw } = useDatabase()

test('each nonce is given once, and no more of them than were asked for', () => {
  const nonces = new Nonces(3)
  const given = [nonces.next(), nonces.next(), nonces.next()]
  for (const nonce of given) expect(nonce).toHaveLength(12)
  expect(new Set(given.map((nonce) => Buffer.from(nonce).toString('hex'))).size).toBe(3)
  expect(() => nonces.next()).toThrow(RangeError)
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
