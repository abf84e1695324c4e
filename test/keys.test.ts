import { Schema } from 'mongoose'
import { kmsEncrypted, localKms } from '../lib'
import { modelOf, secret, useDatabase } from './support'

const { connection, raw } = useDatabase()
const fields = { email: String, phone: String }

/** Two models of one collection: as the application was, and as it is with a new version of key and context. */
function generations() {
  const provider = localKms()
  const collection = `people_${Math.random().toString(36).slice(2)}`
  const context = (generation: string) => (doc: any) => ({ Record: `Person/${doc._id}`, Generation: generation })
  const schema = () => new Schema({ name: String }, { collection })
  const Before = modelOf(connection, schema(), { provider, fields, context: context('1') })
  const After = modelOf(connection, schema(), {
    provider,
    fields,
    version: 2,
    context: context('2'),
    previousVersions: { 1: { context: context('1') } },
  })
  return { Before, After, collection, provider, schema }
}

test('records of an earlier version are read, and written under the current one', async () => {
  const { Before, After, collection } = generations()
  await Before.create({ name: 'Ada', email: secret('ada@example.org'), phone: secret('+44 111 1111') })
  const person = await After.findOne()
  expect(await person.email).toBe('ada@example.org')
  person.email = secret('new@example.org')
  await person.save()

  const [stored] = await raw(collection)
  expect(stored!.encrypted_kms_key.map((entry: any) => entry.version)).toEqual([1, 2])
  const reference = (path: string) => Buffer.from(stored![path].buffer).subarray(1, 5).toString('hex')
  const commitment = (i: number) =>
    Buffer.from(stored!.encrypted_kms_key[i].commitment.buffer).subarray(0, 4).toString('hex')
  expect([reference('email'), reference('phone')]).toEqual([commitment(1), commitment(0)])
  expect(await (await After.findOne()).decrypt()).toEqual({ email: 'new@example.org', phone: '+44 111 1111' })
})

test('rotation leaves the earlier version behind', async () => {
  const { Before, After, collection } = generations()
  await Before.create({ name: 'Ada', email: secret('ada@example.org'), phone: secret('+44 111 1111') })
  await (await After.findOne()).rotateKmsKey()
  const [stored] = await raw(collection)
  expect(stored!.encrypted_kms_key.map((entry: any) => entry.version)).toEqual([2])
  expect(await (await After.findOne()).decrypt()).toEqual({ email: 'ada@example.org', phone: '+44 111 1111' })
})

test('a version that is not described is an error of the field, not of the find', async () => {
  const { Before, provider, schema } = generations()
  await Before.create({ name: 'Ada', email: secret('ada@example.org') })
  const Forgetful = modelOf(connection, schema(), { provider, fields, version: 2 })
  const person = await Forgetful.findOne()
  expect(person.name).toBe('Ada')
  await expect(person.email).rejects.toMatchObject({ name: 'DecryptionError', code: 'KEY_VERSION_UNKNOWN' })
})

test('a second name gives a second data key, and each opens only its own fields', async () => {
  const provider = localKms()
  const opened: string[][] = []
  const counting = (name: string) => ({
    ...provider,
    unwrapDataKey: (request: any) => {
      opened.push([name])
      return provider.unwrapDataKey(request)
    },
  })
  const schema = new Schema({ name: String })

  schema.plugin(kmsEncrypted, { provider: counting('contact'), fields: { email: String } } as never)
  const Person = modelOf(connection, schema, {
    provider: counting('health'),
    name: 'health',
    fields: { diagnosis: String },
  })
  await Person.create({ email: secret('ada@example.org'), diagnosis: secret('a cold in the head') })
  const [stored] = await raw(Person.collection.name)
  expect(stored!.encrypted_kms_key[0].commitment).not.toEqual(stored!.encrypted_kms_key_health[0].commitment)

  const person = await Person.findOne()
  expect(await person.diagnosis).toBe('a cold in the head')
  expect(opened).toEqual([['health']])
  expect(await person.decrypt()).toEqual({ email: 'ada@example.org', diagnosis: 'a cold in the head' })
  expect(opened).toEqual([['health'], ['contact']])
  expect(() => modelOf(connection, schema, { fields: { other: String } })).toThrow(/Give a second data key a name/)
})
