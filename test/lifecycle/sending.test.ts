import mongoose, { type Connection, Schema } from 'mongoose'
import { type KeyProvider, localKms } from '../../lib'
import { named, plugin } from '../faults/support'
import { useProxy } from '../proxied'
import { beforeAndAfter, watchedKms } from './support'

// The updates of a job, each of another record, are sent together, and each record has an outcome of its own.
const connection = mongoose.createConnection()
const other = mongoose.createConnection()
const server = useProxy([connection, other])
const count = 5
const address = (index: number) => `person ${index} at home`
const raw = (model: any): Promise<any[]> =>
  connection.db!.collection(model.collection.name).find().sort({ _id: 1 }).toArray()
const keysOf = async (model: any): Promise<string[]> =>
  (await raw(model)).map((record) => record.encrypted_kms_key.map((key: any) => key.commitment.toString('hex')).join())
const updates = () =>
  server.commands.filter(({ name }) => name === 'update').map(({ command }) => (command.updates as unknown[]).length)

/** A model whose records wait for the KMS until all of them do. */
async function people() {
  const kms = watchedKms()
  const name = named('Person')
  const on = (each: Connection, provider: KeyProvider) =>
    each.model<any>(name, new Schema<any>({}).plugin(plugin, { provider, fields: ['email'] })) as any
  const Person = on(connection, kms.provider)
  // As another process has it: it shares no calls to the KMS.
  const Other = on(other, localKms())
  const people = await Person.insertMany(Array.from({ length: count }, (_, index) => ({ email: address(index) })))
  const { promise, resolve } = promiseOf()
  let meanwhile: () => unknown = () => {}
  kms.whileOpening(async () => {
    if (kms.opened.length === count) resolve(await meanwhile())
    else if (kms.opened.length < count) await promise
  })
  const before = await keysOf(Person)
  server.clearCommands()
  return { Person, Other, people, before, whileAllWait: (act: () => unknown) => (meanwhile = act) }
}

function promiseOf() {
  let resolve!: (value: unknown) => void
  const promise = new Promise((settle) => {
    resolve = settle
  })
  return { promise, resolve }
}

const counts = (updated: number, failed = 0) => ({ processed: updated + failed, updated, unchanged: 0, failed })

test('those that are ready at once are one command', async () => {
  const { Person, before } = await people()
  expect(await Person.rotateKmsKey()).toMatchObject(counts(count))
  expect(updates()).toEqual([count])
  for (const [index, key] of (await keysOf(Person)).entries()) expect(key).not.toBe(before[index])
})

test('a record that was written meanwhile is read and done again, and no other is', async () => {
  const { Person, Other, people: all, before, whileAllWait } = await people()
  const email = 'somebody else at home'
  whileAllWait(async () => {
    const stored = (await raw(Person))[2]
    await Other.hydrate(stored).set('email', email).save()
  })
  expect(await Person.rotateKmsKey()).toMatchObject(counts(count))
  const after = await keysOf(Person)
  for (const [index, key] of after.entries()) expect(key).not.toBe(before[index])
  expect(await (await Person.findById(all[2]._id)).email).toBe(email)
  expect(await (await Person.findById(all[3]._id)).email).toBe(address(3))
})

test('a record that is gone by then is no failure', async () => {
  const { Person, Other, people: all, whileAllWait } = await people()
  whileAllWait(() => Other.deleteOne({ _id: all[1]._id }))
  expect(await Person.rotateKmsKey()).toMatchObject({ ...counts(count - 1), processed: count, unchanged: 1 })
})

test('where one would store an index value twice, it alone is told of, and the others are done', async () => {
  const { Before, After } = beforeAndAfter(connection, other)
  await After.init()
  const twice = 'ada@example.org'
  await Before.create([{ email: twice }, { email: twice }, { email: address(1) }, { email: address(2) }])
  const before = await keysOf(After)
  const { failures, ...result } = await After.rotateKmsKey()
  expect(result).toMatchObject(counts(3, 1))
  expect(failures[0].error).toMatchObject({ code: 11000, keyPattern: { email: 1 } })
  // It has a new key all the same, under the index value that it had.
  for (const [index, key] of (await keysOf(After)).entries()) expect(key).not.toBe(before[index])
})

test('a command that the server refuses fails for each of its records, and nothing is changed', async () => {
  const { Person, before } = await people()
  server.faults.fail({ command: 'update' }, { code: 13, message: 'not authorized' })
  const { failures, ...result } = await Person.rotateKmsKey()
  expect(result).toMatchObject(counts(0, count))
  expect(failures.map(({ error }: any) => error.code)).toEqual(Array(count).fill(13))
  expect(await keysOf(Person)).toEqual(before)
})

test('an answer that was lost is asked for again, and every record is done once', async () => {
  const { Person, before } = await people()
  server.faults.dropAfter({ command: 'update' })
  expect(await Person.rotateKmsKey()).toMatchObject(counts(count))
  for (const [index, key] of (await keysOf(Person)).entries()) expect(key).not.toBe(before[index])
  for (const [index, record] of (await Person.find().sort('_id')).entries())
    expect(await record.email).toBe(address(index))
})

test('a record whose update is too large for one command fails alone', async () => {
  const { Person, people: all, before } = await people()
  // With what is stored as its condition, an update is twice as long.
  all[3].email = 'x'.repeat(8.5 * 1024 * 1024)
  await all[3].save()
  const { failures, ...result } = await Person.rotateKmsKey()
  expect(result).toMatchObject(counts(count - 1, 1))
  expect(failures).toEqual([expect.objectContaining({ id: all[3]._id })])
  for (const [index, key] of (await keysOf(Person)).entries()) expect(key === before[index]).toBe(index === 3)
})
