import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { createIndexKey, localKms } from '../../lib'
import { named, secret, useFaults } from '../faults/support'
import { accountModel, bytesAt } from './support'

// One index key for a deployment: who has it finds what the others wrote.
const { connection, open, raw } = useFaults()
const address = () => secret('ada@example.org')

/** A provider as that of a KMS, which derives nothing, with the calls that it got. */
function kmsWith(secretBytes: Buffer) {
  const local = localKms({ secret: secretBytes })
  const calls: { name: string; context: object }[] = []
  let failure: Error | undefined
  return {
    calls,
    fail: (error?: Error) => {
      failure = error
    },
    provider: {
      keyId: local.keyId,
      generateDataKey: (request: any) => {
        calls.push({ name: 'generate', context: request.context })
        return local.generateDataKey(request)
      },
      unwrapDataKey: async (request: any) => {
        calls.push({ name: 'unwrap', context: request.context })
        if (failure) throw failure
        return local.unwrapDataKey(request)
      },
    },
  }
}

const ofIndex = ({ context }: { context: object }) => 'BlindIndex' in context
const kmsSecret = Buffer.alloc(32, 5)

test('two services with one index key find each other’s records, with another none', async () => {
  const [ours, theirs] = [kmsWith(kmsSecret), kmsWith(kmsSecret)]
  const indexKey = await createIndexKey({ provider: ours.provider })
  const name = named('Account')
  const One = accountModel(connection, { provider: ours.provider, indexKey }, undefined, name)
  const Two = accountModel(await open(), { provider: theirs.provider, indexKey }, undefined, name)
  const strangers = await createIndexKey({ provider: ours.provider })
  const Three = accountModel(await open(), { provider: theirs.provider, indexKey: strangers }, undefined, name)
  await One.create({ name: 'Ada', email: address() })
  expect(await (await Two.findOne({ email: address() }).orFail()).email).toBe(address())
  expect(await Three.findOne({ email: address() })).toBeNull()
  await Two.init()
  await expect(Two.create({ email: address() })).rejects.toMatchObject({ code: 11000 })
})

test('two local services with one secret need no set-up', async () => {
  const name = named('Account')
  const [one, two] = [localKms({ secret: kmsSecret }), localKms({ secret: kmsSecret })]
  await accountModel(connection, { provider: one }, undefined, name).create({ name: 'Ada', email: address() })
  const other = await open()
  expect(await accountModel(other, { provider: two }, undefined, name).countDocuments({ email: address() })).toBe(1)
  const stranger = accountModel(await open(), { provider: localKms({ secret: Buffer.alloc(32, 6) }) }, undefined, name)
  expect(await stranger.countDocuments({ email: address() })).toBe(0)
})

test('it is opened once, under its own context, when it is first needed', async () => {
  const kms = kmsWith(kmsSecret)
  const indexKey = await createIndexKey({ provider: kms.provider, name: 'eu' })
  expect(kms.calls).toEqual([{ name: 'generate', context: { BlindIndex: 'eu' } }])
  kms.calls.length = 0
  const models = [1, 2].map(() => accountModel(connection, { provider: kms.provider, indexKey }))
  expect(kms.calls).toEqual([])
  await Promise.all(
    models.flatMap((Account) => [
      Account.find({ email: address() }),
      Account.findOne({ email: address() }),
      Account.create({ email: address() }),
    ]),
  )
  expect(kms.calls.filter(ofIndex)).toEqual([{ name: 'unwrap', context: { BlindIndex: 'eu' } }])
})

test('an event tells of its opening', async () => {
  const kms = kmsWith(kmsSecret)
  const indexKey = await createIndexKey({ provider: kms.provider })
  const Account = accountModel(connection, { provider: kms.provider, indexKey })
  const events: any[] = []
  const listen = (event: unknown) => void events.push(event)
  subscribe('tracing:mongoose-kms-encrypted:unwrap:start', listen)
  await Account.find({ email: address() })
  unsubscribe('tracing:mongoose-kms-encrypted:unwrap:start', listen)
  expect(events).toEqual([
    expect.objectContaining({
      model: 'BlindIndex',
      id: 'default',
      keyId: kms.provider.keyId,
      context: { BlindIndex: 'default' },
    }),
  ])
})

test('an opening that failed is tried again, and nothing was sent meanwhile', async () => {
  const kms = kmsWith(kmsSecret)
  const indexKey = await createIndexKey({ provider: kms.provider })
  const Account = accountModel(connection, { provider: kms.provider, indexKey })
  kms.fail(new Error('down'))
  const acts = [
    () => Account.create({ email: address() }),
    () => Account.findOne({ email: address() }),
    () => Account.collection.find({ email: address() }).toArray(),
    () => Account.aggregate([{ $match: { email: address() } }]),
    () => Account.updateOne({ email: address() }, { name: 'x' }, { upsert: true }),
    () => Account.bulkWrite([{ deleteOne: { filter: { email: address() } } }]),
  ]
  for (const act of acts) await expect(act()).rejects.toMatchObject({ code: 'KMS_FAILED' })
  expect(await raw(Account)).toEqual([])
  kms.fail()
  await Account.create({ name: 'Ada', email: address() })
  expect(await Account.countDocuments({ email: address() })).toBe(1)
})

test('one that the KMS opens to another key is refused', async () => {
  const kms = kmsWith(kmsSecret)
  const indexKey = await createIndexKey({ provider: kms.provider })
  const { unwrapDataKey } = kms.provider
  kms.provider.unwrapDataKey = async (request: any) => {
    const bytes = await unwrapDataKey(request)
    return ofIndex(request) ? Buffer.alloc(32, 1) : bytes
  }
  const Account = accountModel(connection, { provider: kms.provider, indexKey })
  await expect(Account.findOne({ email: address() })).rejects.toMatchObject({ code: 'DATA_KEY_MISMATCH' })
})

test('the bytes of the key are zeroed where the provider gave them', async () => {
  const local = localKms({ secret: kmsSecret })
  const given: Uint8Array[] = []
  const provider = {
    ...local,
    deriveIndexKey: async (request: any) => {
      const bytes = await local.deriveIndexKey!(request)
      given.push(bytes)
      return bytes
    },
  }
  const Account = accountModel(connection, { provider })
  await Account.create({ email: address() })
  expect(given).toHaveLength(1)
  expect(Buffer.from(given[0]!)).toEqual(Buffer.alloc(32))
})

test('a provider that gives no 32 bytes is refused', async () => {
  const provider = { ...localKms({ secret: kmsSecret }), deriveIndexKey: async () => Buffer.alloc(0) }
  const Account = accountModel(connection, { provider })
  await expect(Account.create({ email: address() })).rejects.toMatchObject({ code: 'KMS_FAILED' })
})

test('index values of one address differ from model to model', async () => {
  const [One, Two] = [accountModel(connection), accountModel(connection)]
  await One.create({ email: address() })
  await Two.create({ email: address() })
  expect(bytesAt((await raw(One))[0])).not.toBe(bytesAt((await raw(Two))[0]))
})
