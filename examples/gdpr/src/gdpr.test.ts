import mongoose from 'mongoose'
import { type AuditLine, auditLog } from 'mongoose-kms-encrypted'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { eraseAgain, erasePerson, exportPerson } from './gdpr'
import { Erasure, Order, Person } from './person'

const audit = { actor: 'grace', reason: 'request 7' }

beforeAll(async () => {
  await mongoose.connect(process.env.MONGODB_URI as string)
  await Person.init()
})

beforeEach(async () => {
  await Promise.all([Person.deleteMany(), Order.deleteMany(), Erasure.deleteMany()])
})

afterAll(async () => {
  await mongoose.connection.dropDatabase()
  await mongoose.disconnect()
})

async function register(name: string) {
  const { _id } = await Person.create({ name, email: `${name}@example.org` })
  await Order.create([1, 2].map((n) => ({ person: _id, total: n * 10, address: `${n} ${name} Street` })))
  return _id
}

const exported = (name: string) => ({
  person: { since: expect.any(Date), name, email: `${name.toLowerCase()}@example.org` },
  orders: [1, 2].map((n) => ({ total: n * 10, address: `${n} ${name} Street` })),
})

/** The stored documents, past the library. */
const stored = async () => {
  const { db } = mongoose.connection
  return [await db!.collection('people').find().toArray(), await db!.collection('orders').find().toArray()].flat()
}

test('an export has all that there is of one person, and a line of the audit log for each record', async () => {
  const lines: AuditLine[] = []
  const id = await register('Ada')
  await register('Bob')
  const log = auditLog({ write: (line) => lines.push(line) })
  expect(await exportPerson(id, audit)).toEqual(exported('Ada'))
  await log.close()
  expect(lines.map(({ model, actor, reason }) => [model, actor, reason])).toEqual(
    ['Person', 'Order', 'Order'].map((model) => [model, 'grace', 'request 7']),
  )
})

test('who is erased can be read and found no more, and the others can', async () => {
  const [ada, bob] = [await register('Ada'), await register('Bob')]
  await erasePerson(ada, 'grace')
  await expect(exportPerson(ada, audit)).rejects.toMatchObject({ name: 'DecryptionError', code: 'ERASED' })
  expect(await Person.findOne({ email: 'ada@example.org' })).toBeNull()
  expect(await exportPerson(bob, audit)).toEqual(exported('Bob'))
  expect(await Erasure.find().lean()).toEqual([expect.objectContaining({ _id: ada, by: 'grace' })])
})

test('what the books need stays, and the address is free', async () => {
  const ada = await register('Ada')
  await erasePerson(ada, 'grace')
  expect((await Order.find({ person: ada })).map(({ total }) => total)).toEqual([10, 20])
  const again = await register('Ada')
  expect(await exportPerson(again, audit)).toEqual(exported('Ada'))
})

test('the database has no wrapped key and no index value of who is erased, and never had a value in the clear', async () => {
  const ada = await register('Ada')
  const before = await stored()
  await erasePerson(ada, 'grace')
  const after = await stored()
  expect(before.filter(({ encrypted_kms_key: [key] }) => key.wrapped)).toHaveLength(3)
  expect(before.filter(({ email_bidx }) => email_bidx)).toHaveLength(1)
  expect(after.filter(({ encrypted_kms_key: [key], email_bidx }) => key.wrapped || email_bidx)).toEqual([])
  for (const doc of [...before, ...after]) {
    expect(Buffer.from(mongoose.mongo.BSON.serialize(doc)).toString('latin1')).not.toMatch(/ada/i)
  }
})

test('a backup brings back who was erased, until it is done again', async () => {
  const ada = await register('Ada')
  const [backup] = (await stored()).filter(({ _id }) => ada.equals(_id))
  await erasePerson(ada, 'grace')
  await mongoose.connection.db!.collection('people').replaceOne({ _id: ada }, backup!)
  expect((await Person.findOne({ email: 'ada@example.org' }).orFail())._id).toEqual(ada)
  await eraseAgain()
  await expect(exportPerson(ada, audit)).rejects.toMatchObject({ code: 'ERASED' })
})

test('an erasure can be called again', async () => {
  const ada = await register('Ada')
  await erasePerson(ada, 'grace')
  await erasePerson(ada, 'bob')
  expect(await Erasure.findById(ada)).toMatchObject({ by: 'grace' })
})
