import mongoose from 'mongoose'
import { Account, AddressTaken, changeAddress, logIn, signUp } from './account'

beforeAll(async () => {
  const dbName = `${process.env.TEST_MONGO_RUN}_accounts`
  await mongoose.connect(process.env.TEST_MONGO_URI as string, { dbName })
})

beforeEach(() => Account.deleteMany())

afterAll(async () => {
  await mongoose.connection.dropDatabase()
  await mongoose.disconnect()
})

const addressOf = async (id: string) => (await Account.findById(id).orFail()).email

/** The values of those that were done, and the errors of the others. */
async function settle<T>(calls: Promise<T>[]) {
  const outcomes = await Promise.allSettled(calls)
  return {
    done: outcomes.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : [])),
    refused: outcomes.flatMap((each) => (each.status === 'rejected' ? [each.reason] : [])),
  }
}

test('who signed up logs in, however the address is written', async () => {
  const id = await signUp(' Ada@Example.org', 'enchantress')
  expect(await logIn('ada@example.org', 'enchantress')).toBe(id)
  expect(await logIn('ADA@EXAMPLE.ORG ', 'enchantress')).toBe(id)
  expect(await addressOf(id)).toBe('Ada@Example.org')
})

test('a wrong password and an unknown address are told alike', async () => {
  await signUp('ada@example.org', 'enchantress')
  expect(await logIn('ada@example.org', 'countess')).toBeUndefined()
  expect(await logIn('bob@example.org', 'enchantress')).toBeUndefined()
})

test('an address has one account, and who asks for a second is not told whose it is', async () => {
  const id = await signUp('ada@example.org', 'enchantress')
  const { refused } = await settle([signUp('ADA@example.org', 'impostor')])
  expect(refused).toEqual([expect.any(AddressTaken)])
  const [{ message, stack }] = refused
  expect(`${message} ${stack} ${JSON.stringify(refused)}`).not.toMatch(new RegExp(`ada@|${id}`, 'i'))
  expect(await Account.countDocuments()).toBe(1)
  expect(await logIn('ada@example.org', 'enchantress')).toBe(id)
})

test('of two who sign up with one address at once, one does', async () => {
  const { done, refused } = await settle([
    signUp('ada@example.org', 'enchantress'),
    signUp('Ada@Example.org', 'enchantress'),
  ])
  expect(refused).toEqual([expect.any(AddressTaken)])
  expect((await Account.find()).map(({ id }) => id)).toEqual(done)
})

test('a changed address is the one to log in by, and the old one is free', async () => {
  const id = await signUp('ada@example.org', 'enchantress')
  await changeAddress(id, 'Countess@example.org')
  expect(await logIn('countess@example.org', 'enchantress')).toBe(id)
  expect(await logIn('ada@example.org', 'enchantress')).toBeUndefined()
  await signUp('ada@example.org', 'another')
})

test('an address is changed to the same in another case', async () => {
  const id = await signUp('ada@example.org', 'enchantress')
  await changeAddress(id, 'Ada@Example.org')
  expect(await addressOf(id)).toBe('Ada@Example.org')
})

test('an address that is taken is not changed to', async () => {
  const [ada, bob] = [await signUp('ada@example.org', 'enchantress'), await signUp('bob@example.org', 'builder')]
  await expect(changeAddress(bob, 'Ada@example.org')).rejects.toThrow(AddressTaken)
  expect(await addressOf(bob)).toBe('bob@example.org')
  expect(await logIn('bob@example.org', 'builder')).toBe(bob)
  expect(await logIn('ada@example.org', 'enchantress')).toBe(ada)
})

test('of two who change to one address at once, and one who signs up with it, one has it', async () => {
  const ids = [await signUp('ada@example.org', 'enchantress'), await signUp('bob@example.org', 'builder')]
  const { refused } = await settle<unknown>([
    ...ids.map((id) => changeAddress(id, 'wanted@example.org')),
    signUp('Wanted@example.org', 'third'),
  ])
  expect(refused).toEqual([expect.any(AddressTaken), expect.any(AddressTaken)])
  expect(await Account.countDocuments({ email: 'wanted@example.org' })).toBe(1)
})

test('what is no address is refused', async () => {
  await expect(signUp('ada', 'enchantress')).rejects.toThrow('email: ')
  const id = await signUp('ada@example.org', 'enchantress')
  await expect(changeAddress(id, 'ada')).rejects.toThrow('email: ')
  expect(await addressOf(id)).toBe('ada@example.org')
})

test('the database has neither address nor password in the clear', async () => {
  const id = await signUp('Ada@Example.org', 'enchantress')
  await changeAddress(id, 'Countess@Example.org')
  const [stored] = await Account.collection.find().toArray()
  expect(Object.keys(stored as object).sort()).toEqual([
    '__v',
    '_id',
    'email',
    'email_bidx',
    'encrypted_kms_key',
    'password',
  ])
  const bytes = Buffer.from(mongoose.mongo.BSON.serialize(stored as object)).toString('latin1')
  expect(bytes).not.toMatch(/ada@|countess@|enchantress/i)
})
