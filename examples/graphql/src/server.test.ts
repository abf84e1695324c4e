import { createHash } from 'node:crypto'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import mongoose from 'mongoose'
import { type AuditLine, auditLog } from 'mongoose-kms-encrypted'
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { User } from './user'

const lines: AuditLine[] = []
const log = auditLog({ write: (line) => lines.push(line) })
const ada = { plan: 'free', name: 'Ada', email: 'ada@example.org', born: new Date('1815-12-10') }
let server: typeof import('./server').server

beforeAll(async () => {
  vi.stubEnv('STAFF', JSON.stringify({ [createHash('sha256').update('a token').digest('hex')]: 'grace' }))
  server = (await import('./server')).server
  await Promise.all([
    mongoose.connect(process.env.MONGODB_URI as string),
    once(server.listen(0, '127.0.0.1'), 'listening'),
  ])
})

beforeEach(async () => {
  await User.deleteMany()
  lines.length = 0
})

afterAll(async () => {
  server.closeAllConnections()
  server.close()
  await log.close()
  await mongoose.connection.dropDatabase()
  await mongoose.disconnect()
})

const post = (query: string, token = 'a token') =>
  fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/graphql`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ query }),
  })
const ask = async (query: string) => (await post(query)).json()
const opened = () => lines.filter(({ operation }) => operation === 'unwrap')

test('fields that are asked for are decrypted, by one call for each record', async () => {
  const { id } = await User.create(ada)
  const { data } = await ask(`{ user(id: "${id}") { id plan name email born } }`)
  expect(data.user).toEqual({ ...ada, id, born: '1815-12-10' })
  expect(opened()).toHaveLength(1)
})

test('of a list too, and where none is asked for, nothing is opened', async () => {
  await User.create([ada, { ...ada, name: 'Bob', born: undefined }])
  expect(await ask('{ users { plan } }')).toEqual({ data: { users: [{ plan: 'free' }, { plan: 'free' }] } })
  expect(opened()).toEqual([])
  const { data } = await ask('{ users { name born } }')
  expect(data.users).toEqual([
    { name: 'Ada', born: '1815-12-10' },
    { name: 'Bob', born: null },
  ])
  expect(opened()).toHaveLength(2)
})

test('who opened a record is logged', async () => {
  const { id } = await User.create(ada)
  await ask('{ users { email } }')
  await log.flush()
  expect(opened()).toMatchObject([{ record: `User/${id}`, read: ['email'], actor: 'grace' }])
})

test('a field that is damaged is null, with an error that tells nothing, and the others are there', async () => {
  const { _id } = await User.create(ada)
  const users = mongoose.connection.collection('users')
  const stored = await users.findOne({ _id })
  const email: mongoose.mongo.Binary = stored!.email
  email.buffer[email.position - 1]! ^= 1
  await users.updateOne({ _id }, { $set: { email } })
  const told = vi.spyOn(console, 'error').mockImplementation(() => {})
  const { data, errors } = await ask('{ users { name email } }')
  expect(data).toEqual({ users: [{ name: 'Ada', email: null }] })
  expect(errors).toMatchObject([{ message: 'Unexpected error.', path: ['users', 0, 'email'] }])
  expect(told).toHaveBeenCalled()
})

test('nobody is answered without a token', async () => {
  expect((await post('{ users { name } }', 'guessed')).status).toBe(401)
})

test('the database has no value of these fields in the clear', async () => {
  await User.create(ada)
  const stored = await User.collection.findOne()
  expect(Object.keys(stored!).sort()).toEqual(['__v', '_id', 'born', 'email', 'encrypted_kms_key', 'name', 'plan'])
  expect(Buffer.from(mongoose.mongo.BSON.serialize(stored!)).toString('latin1')).not.toMatch(/ada/i)
})
