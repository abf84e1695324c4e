import { createIndexKey, localKms } from '../../lib'
import { named, refused, secret, useFaults } from '../faults/support'
import { accountModel } from './support'

// The normal form and the key of an index change while old and new processes are at work: what either writes the other finds.
const { connection, open, raw } = useFaults()
const ada = () => secret('Ada@Example.org')
const bob = () => secret('Bob@Example.org')
const lower = (text: string) => secret(text.toLowerCase())

const exact = { unique: true }
const both = { unique: true, caseInsensitive: true, version: 2, previousVersions: { 1: { caseInsensitive: false } } }
const folded = { unique: true, caseInsensitive: true, version: 2 }

/** The same model in three deployments, one after the other. */
async function deployments(options: readonly object[] = [{}, {}, {}]): Promise<any[]> {
  const name = named('Account')
  const connections = [connection, await open(), await open()]
  const models = [exact, both, folded].map((blindIndex, index) =>
    accountModel(connections[index]!, options[index], { type: String, blindIndex }, name),
  )
  await models[0].init()
  return models
}

/** Bytes of the index values of each record. */
async function storedIn(model: any): Promise<(string | string[])[]> {
  const hex = (value: any) => `${value.sub_type.toString(16)} ${Buffer.from(value.buffer).toString('hex')}`
  return (await raw(model)).map(({ email_bidx: value }: any) => (Array.isArray(value) ? value.map(hex) : hex(value)))
}

test('two live versions stand side by side, and one by itself', async () => {
  const [One, Two, Three] = await deployments()
  await One.create({ email: ada() })
  const [first] = await storedIn(One)
  expect(first).toMatch(/^0 [0-9a-f]{64}$/)
  await Two.updateOne({}, { email: ada() })
  const [second] = await storedIn(One)
  expect(second).toEqual([expect.stringMatching(/^82 [0-9a-f]{64}$/), first])
  await Three.updateOne({}, { email: ada() })
  expect(await storedIn(One)).toEqual([second![0]])
})

test('what one deployment writes, the one beside it finds', async () => {
  const [One, Two, Three] = await deployments()
  await One.create({ name: 'Ada', email: ada() })
  await Two.create({ name: 'Bob', email: bob() })
  expect(await One.countDocuments({ email: bob() })).toBe(1)
  expect(await One.countDocuments({ email: lower(bob()) })).toBe(0)
  expect(await Two.countDocuments({ email: ada() })).toBe(1)
  expect(await Two.countDocuments({ email: lower(bob()) })).toBe(1)
  await Three.create({ name: 'Cid', email: secret('Cid@Example.org') })
  expect(await Two.countDocuments({ email: secret('cid@example.org') })).toBe(1)
  expect(await Three.countDocuments({ email: lower(bob()) })).toBe(1)
})

test('an address is taken in either version', async () => {
  const [One, Two, Three] = await deployments()
  await One.create({ email: ada() })
  const taken = { code: 11000, keyPattern: { email: 1 } }
  await expect(Two.create({ email: ada() })).rejects.toMatchObject(taken)
  await Two.create({ email: bob() })
  await expect(One.create({ email: bob() })).rejects.toMatchObject(taken)
  await expect(Three.create({ email: lower(bob()) })).rejects.toMatchObject(taken)
  expect(await raw(One)).toHaveLength(2)
})

const asked: [string, (email: string) => object, number][] = [
  ['$eq', (email) => ({ email: { $eq: email } }), 1],
  ['$ne', (email) => ({ email: { $ne: email } }), 2],
  ['$in', (email) => ({ email: { $in: [email, bob()] } }), 2],
  ['$in with null', (email) => ({ email: { $in: [email, null] } }), 2],
  ['$nin', (email) => ({ email: { $nin: [email, bob()] } }), 1],
  ['$not', (email) => ({ email: { $not: { $in: [email] } } }), 2],
  ['$or', (email) => ({ $or: [{ email }, { email: bob() }] }), 2],
  ['$nor', (email) => ({ $nor: [{ email }, { email: bob() }] }), 1],
]

test.each(asked)('%s asks both versions', async (_name, filter, count) => {
  const [One, Two] = await deployments()
  await One.create({ email: ada() })
  await Two.create([{ email: bob() }, { name: 'None' }])
  expect(await Two.countDocuments(filter(ada()))).toBe(count)
  expect(await Two.aggregate([{ $match: filter(ada()) }])).toHaveLength(count)
})

test('an upsert finds what is there in either version, and stores what it asks for where there is none', async () => {
  const [One, Two] = await deployments()
  await One.create({ name: 'Ada', email: ada() })
  await Two.updateOne({ email: ada() }, { name: 'Countess' }, { upsert: true })
  await Two.updateOne({ email: bob() }, { name: 'Bob' }, { upsert: true })
  expect((await raw(One)).map(({ name }: any) => name)).toEqual(['Countess', 'Bob'])
  expect(await One.countDocuments({ email: bob() })).toBe(1)
  expect(await Two.countDocuments({ email: lower(bob()) })).toBe(1)
  await refused(
    () => Two.updateOne({ email: { $in: [ada(), bob()] } }, { name: 'x' }, { upsert: true }),
    'UPDATE_REFUSED',
  )
})

test('a value is changed in both versions by whoever changes it, and taken away', async () => {
  const [One, Two] = await deployments()
  await Two.create({ email: ada() })
  await One.updateOne({ email: ada() }, { email: bob() })
  expect(await Two.countDocuments({ email: ada() })).toBe(0)
  expect(await Two.countDocuments({ email: lower(ada()) })).toBe(0)
  expect(await Two.countDocuments({ email: bob() })).toBe(1)
  await Two.updateOne({ email: bob() }, { $unset: { email: 1 } })
  expect(await raw(One)).toMatchObject([{}])
  expect((await raw(One))[0]).not.toHaveProperty('email_bidx')
})

test('a backup with both is put back', async () => {
  const [, Two] = await deployments()
  await Two.create({ email: ada() })
  const [stored] = await raw(Two)
  await Two.deleteMany({})
  await Two.collection.insertOne(stored)
  expect(await Two.countDocuments({ email: lower(ada()) })).toBe(1)
})

test('each version may have an index key of its own', async () => {
  const { generateDataKey, unwrapDataKey, keyId } = localKms()
  const provider = { generateDataKey, unwrapDataKey, keyId }
  const [first, second] = [await createIndexKey({ provider }), await createIndexKey({ provider, name: 'second' })]
  const [One, Two, Three] = await deployments([
    { provider, indexKey: first },
    { provider, indexKey: { 1: first, 2: second } },
    { provider, indexKey: second },
  ])
  await One.create({ email: ada() })
  expect(await Two.countDocuments({ email: ada() })).toBe(1)
  await Two.updateOne({ email: ada() }, { email: bob() })
  expect(await Three.countDocuments({ email: lower(bob()) })).toBe(1)
  expect(await One.countDocuments({ email: bob() })).toBe(1)
})
