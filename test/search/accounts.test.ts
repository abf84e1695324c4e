import { secret, useFaults } from '../faults/support'
import { accountModel, bytesAt, hashesOf } from './support'

// An application that signs people in by an encrypted address.
const { connection, raw } = useFaults()

test('somebody signs up, signs in and changes the address', async () => {
  const Account = accountModel(connection)
  await Account.init()
  const address = secret('ada@example.org')
  await Account.create({ name: 'Ada', email: address })

  const found = await Account.findOne({ email: 'ADA@example.org' }).orFail()
  expect(found.name).toBe('Ada')
  expect(await found.email).toBe(address)
  expect(await Account.findOne({ email: secret('bob@example.org') })).toBeNull()

  found.email = secret('ada@example.net')
  await found.save()
  expect(await Account.findOne({ email: address })).toBeNull()
  expect(await Account.countDocuments({ email: 'ada@example.net' })).toBe(1)
  expect(await Account.exists({ email: 'ada@example.net' })).toEqual({ _id: found._id })
})

test('what is stored is neither the value nor a hash that needs no key', async () => {
  const Account = accountModel(connection)
  await Account.create({ email: secret('ada@example.org') })
  const [record] = await raw(Account)
  expect(Object.keys(record).sort()).toEqual(['__v', '_id', 'email', 'email_bidx', 'encrypted_kms_key'])
  expect(hashesOf('ada@example.org').map((hash) => hash.subarray(0, 32).toString('hex'))).not.toContain(bytesAt(record))
})

test('an address is taken once', async () => {
  const Account = accountModel(connection)
  await Account.init()
  await Account.create({ email: secret('ada@example.org') })
  const error = await Account.create({ email: 'Ada@Example.org' }).catch((thrown: unknown) => thrown)
  expect(error).toBeInstanceOf((connection as any).base.mongo.MongoServerError)
  expect(error).toMatchObject({ code: 11000, keyPattern: { email: 1 }, keyValue: { email: '<encrypted>' } })
  expect(error.message).toMatch(/E11000 duplicate key .* index: email_1 dup key: \{ email: <encrypted> \}/)
  const said = `${error.message} ${error.stack} ${JSON.stringify(error)} ${JSON.stringify(error.errorResponse)}`
  expect(said).not.toMatch(/bidx|ada@|BinData/i)
  expect(said.toLowerCase()).not.toContain(bytesAt((await raw(Account))[0]))
  expect(await raw(Account)).toHaveLength(1)
})

test('of many who take an address at once, one has it', async () => {
  const Account = accountModel(connection)
  await Account.init()
  const address = secret('ada@example.org')
  const outcomes = await Promise.allSettled(
    Array.from({ length: 8 }, (_none, n) => Account.create({ name: `${n}`, email: address })),
  )
  const refused = outcomes.filter(({ status }) => status === 'rejected') as PromiseRejectedResult[]
  expect(refused.map(({ reason }) => reason.code)).toEqual(Array(7).fill(11000))
  expect(await Account.countDocuments({ email: address })).toBe(1)
  expect(await raw(Account)).toHaveLength(1)
})

test('those without an address do not collide', async () => {
  const Account = accountModel(connection)
  await Account.init()
  await Account.create([{ name: 'Ada' }, { name: 'Bob', email: null }, { name: 'Cid', email: undefined }])
  for (const record of await raw(Account)) expect(record).not.toHaveProperty('email_bidx')
  expect(await Account.countDocuments({ email: null })).toBe(3)
})

test('the index is one that Mongoose manages', async () => {
  const Account = accountModel(connection)
  await Account.syncIndexes()
  const indexes = await Account.listIndexes()
  expect(indexes).toContainEqual(
    expect.objectContaining({
      key: { email_bidx: 1 },
      unique: true,
      sparse: true,
    }),
  )
  expect(await Account.diffIndexes()).toEqual({ toDrop: [], toCreate: [] })
})
