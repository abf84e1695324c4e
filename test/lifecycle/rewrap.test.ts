import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { Schema } from 'mongoose'
import { awsKms, localKms } from '../../lib'
import { named, plugin, refused, secret, useFaults } from '../faults/support'
import { type KmsStandIn, startKms } from '../kms'
import { commandsOf } from './support'

// Wrapped keys that the KMS wraps anew: under another KMS key, or another encryption context. Data keys and ciphertexts stay.
const { connection, open, raw, tamper } = useFaults()
let kms: KmsStandIn
let first: string
let second: string

beforeAll(async () => {
  kms = await startKms()
  first = kms.createKey({ alias: 'alias/users' }).arn
  second = kms.createKey().arn
})
beforeEach(() => {
  kms.updateAlias('alias/users', first)
  kms.clearCalls()
})
afterAll(() => kms.stop())

const ada = () => ({ name: 'Ada', tenant: 'acme', email: secret('ada@example.org'), note: secret('a quiet note') })
const bob = () => ({ name: 'Bob', tenant: 'acme', email: secret('bob@example.org') })
const withTenant = (doc: any) => ({ Tenant: doc.tenant })
const byDefault = (doc: any) => ({ Record: `${doc.constructor.modelName}/${doc._id}` })
const callsTo = (name: string) => kms.calls.filter(({ eventName }) => eventName === name)

/** One model as two deployments have it. */
async function deployments(before: object, after: object, paths: object = {}) {
  const name = named('User')
  const make = (on: any, options: any) => {
    const provider = options.provider ?? awsKms({ client: kms.client({ fastRetries: true }) })
    const schema = new Schema<any>({ name: String, tenant: String, ...paths }, { timestamps: true })
    return on.model(name, schema.plugin(plugin, { fields: ['email', 'note'], ...options, provider }))
  }
  const other = await open()
  return { Before: make(connection, before), After: make(other, after), sent: commandsOf(other) }
}

const stays = ({ encrypted_kms_key: _keys, ...rest }: any) => rest

test('another KMS key: one ReEncrypt for each record, and nothing else of it changes', async () => {
  const { Before, After } = await deployments({ keyId: first }, { keyId: second, allowKeyIds: [first, second] })
  const [user] = await Before.create([ada(), bob()])
  const before = await raw(After)
  kms.clearCalls()
  expect(await After.rewrapKmsKey()).toMatchObject({ processed: 2, updated: 2, failed: 0, failures: [] })
  expect(kms.calls.map(({ eventName }) => eventName)).toEqual(['ReEncrypt', 'ReEncrypt'])
  expect(callsTo('ReEncrypt')[0]).toMatchObject({ keyId: second, sourceKeyId: first })
  const after = await raw(After)
  expect(after.map(stays)).toEqual(before.map(stays))
  for (const [index, { encrypted_kms_key: keys }] of after.entries()) {
    const [old] = before[index]!.encrypted_kms_key
    expect(keys).toEqual([{ ...old, keyId: second, wrapped: expect.anything(), crc32: expect.any(Number) }])
    expect(keys[0].wrapped).not.toEqual(old.wrapped)
    expect(Object.keys(keys[0])).toEqual(Object.keys(old))
  }
  kms.clearCalls()
  const found = await After.findById(user._id)
  expect(await found.decrypt()).toEqual({ email: ada().email, note: ada().note })
  expect(callsTo('Decrypt')).toMatchObject([{ requestParameters: { keyId: second } }])
  found.email = secret('new@example.org')
  await found.save()
  expect((await raw(After))[0].encrypted_kms_key).toHaveLength(1)
})

test('what is current is left alone, and costs no call', async () => {
  const { Before, After, sent } = await deployments({ keyId: first }, { keyId: second, allowKeyIds: [first, second] })
  await Before.create([ada(), bob()])
  await Before.create({ name: 'none' })
  await After.rewrapKmsKey()
  kms.clearCalls()
  sent.length = 0
  expect(await After.rewrapKmsKey()).toMatchObject({ processed: 0, updated: 0 })
  expect(kms.calls).toEqual([])
  expect(sent.map(({ name }) => name)).toEqual(['find'])
  const user = await After.findOne({ name: 'Ada' })
  await user.rewrapKmsKey()
  expect(kms.calls).toEqual([])
})

test('what an alias stands for is known once it was used', async () => {
  const { Before } = await deployments({ keyId: 'alias/users' }, { keyId: 'alias/users' })
  await Before.create([ada(), bob(), bob()])
  kms.updateAlias('alias/users', second)
  kms.clearCalls()
  expect(await Before.rewrapKmsKey({ concurrency: 1 })).toMatchObject({ processed: 3, updated: 3 })
  expect((await raw(Before)).map(({ encrypted_kms_key: [key] }: any) => key.keyId)).toEqual([second, second, second])
  expect(await Before.rewrapKmsKey()).toMatchObject({ processed: 3, updated: 0, unchanged: 3 })
  expect(callsTo('ReEncrypt')).toHaveLength(3)
})

test('another encryption context: the KMS is told the new one, and ciphertexts stay bound to the one before', async () => {
  const versions = { keyId: first, version: 2, context: withTenant, previousVersions: { 1: { context: byDefault } } }
  const { Before, After } = await deployments({ keyId: first }, versions)
  await Before.create([ada()])
  const [before] = await raw(After)
  expect(await After.rewrapKmsKey()).toMatchObject({ updated: 1 })
  const [after] = await raw(After)
  expect(stays(after)).toEqual(stays(before))
  expect(after.encrypted_kms_key).toMatchObject([{ version: 2, boundVersion: 1 }])
  kms.clearCalls()
  const user = await After.findOne()
  expect(await user.decrypt()).toEqual({ email: ada().email, note: ada().note })
  expect(callsTo('Decrypt')).toMatchObject([{ requestParameters: { encryptionContext: { Tenant: 'acme' } } }])
  user.email = secret('new@example.org')
  await user.save()
  expect((await raw(After))[0].encrypted_kms_key).toHaveLength(1)
  expect(await (await After.findOne()).decrypt()).toMatchObject({ email: 'new@example.org', note: ada().note })
  await user.rotateKmsKey()
  const [rotated] = await raw(After)
  expect(rotated.encrypted_kms_key).toMatchObject([{ version: 2 }])
  expect(rotated.encrypted_kms_key[0]).not.toHaveProperty('boundVersion')
  expect(await (await After.findOne()).note).toBe(ada().note)
})

describe.each([false, true])(
  'what an earlier context reads is changed, where it was wrapped anew: %p',
  (isRewrapped) => {
    const early = () => ({ keyId: first, context: withTenant })
    const late = () => ({
      ...early(),
      version: 2,
      context: byDefault,
      previousVersions: { 1: { context: withTenant } },
    })
    const all = { email: ada().email, note: 'a loud note' }

    async function stored() {
      const { Before, After } = await deployments(early(), late())
      await Before.create(ada())
      if (isRewrapped) await After.rewrapKmsKey()
      return After
    }

    test.each([{ tenant: 'umbrella' }, { tenant: 'umbrella', note: secret(all.note) }])(
      'by an open record: %j',
      async (change) => {
        const After = await stored()
        const user = await After.findOne()
        await user.decrypt()
        await user.set(change).save()
        const found = await After.findOne()
        expect(found.tenant).toBe('umbrella')
        expect(await found.decrypt()).toEqual({
          email: all.email,
          note: ada().note,
          ...('note' in change && { note: all.note }),
        })
        expect((await raw(After))[0].encrypted_kms_key).toMatchObject([{ version: 2 }])
      },
    )

    test.each<[string, (After: any) => any]>([
      ['locked', (After) => After.findOne()],
      ['loaded in part', (After) => After.findOne().select('tenant')],
    ])('not by one that is %s', async (_state, load) => {
      const After = await stored()
      const user = await load(After)
      user.set({ tenant: 'umbrella', note: secret(all.note) })
      await refused(() => user.save(), 'CONTEXT_CHANGED')
      expect(await (await After.findOne()).decrypt()).toEqual({ email: ada().email, note: ada().note })
      user.tenant = 'acme'
      await user.save()
      expect(await (await After.findOne()).decrypt()).toEqual(all)
    })
  },
)

test('a context that is the same in both versions binds to the new one, and the earlier one may go', async () => {
  const { Before, After } = await deployments(
    { keyId: first },
    { keyId: second, version: 2, previousVersions: { 1: { keyId: first } } },
  )
  await Before.create([ada()])
  await After.rewrapKmsKey()
  expect((await raw(After))[0].encrypted_kms_key[0]).not.toHaveProperty('boundVersion')
  const { After: Later } = await deployments({ keyId: first }, { keyId: second, version: 2 })
  const later = Later.hydrate((await raw(After))[0])
  await refused(() => later.email, 'KMS_WRONG_CONTEXT')
})

test('a document that is open stays open, and knows the new keys', async () => {
  const { Before, After } = await deployments({ keyId: first }, { keyId: second, allowKeyIds: [first, second] })
  const { _id } = await Before.create(ada())
  const user = await After.findById(_id)
  await user.decrypt()
  user.name = 'Countess'
  user.note = secret('another note')
  await user.rewrapKmsKey()
  expect(user.modifiedPaths()).toEqual(['name', 'note'])
  kms.clearCalls()
  await user.save()
  expect(kms.calls).toEqual([])
  expect(await (await After.findById(_id)).decrypt()).toEqual({ email: ada().email, note: 'another note' })
})

test('subdocuments with keys of their own', async () => {
  const contact = (options: object) =>
    new Schema<any>({ kind: String }).plugin(plugin, {
      provider: awsKms({ client: kms.client({ fastRetries: true }) }),
      fields: ['phone'],
      ...options,
    })
  const name = named('User')
  const Before = connection.model<any>(name, new Schema<any>({ contacts: [contact({ keyId: first })] }))
  const schema = new Schema<any>({ contacts: [contact({ keyId: second, allowKeyIds: [first, second] })] })
  const After: any = (await open()).model<any>(name, schema)
  const phones = [secret('+44 20 7946 0001'), secret('+44 20 7946 0002')]
  await Before.create({ contacts: phones.map((phone) => ({ phone })) })
  const user = await After.findOne()
  await user.contacts[1].rewrapKmsKey()
  const keyIds = async () => (await raw(After))[0].contacts.map((each: any) => each.encrypted_kms_key[0].keyId)
  expect(await keyIds()).toEqual([first, second])
  expect(await After.rewrapKmsKey()).toMatchObject({ updated: 1 })
  expect(await keyIds()).toEqual([second, second])
  const found = await After.findOne()
  expect([await found.contacts[0].phone, await found.contacts[1].phone]).toEqual(phones)
})

test('a record that another write changes meanwhile is taken as it is then', async () => {
  const { Before, After } = await deployments({ keyId: first }, { keyId: second, allowKeyIds: [first, second] })
  const { _id } = await Before.create(ada())
  const { native } = require('../../lib/gate/passes').gateOf(After.collection)
  const update = native.updateOne
  native.updateOne = async (...args: unknown[]) => {
    native.updateOne = update
    await (await Before.findById(_id)).rotateKmsKey()
    return update(...args)
  }
  expect(await After.rewrapKmsKey()).toMatchObject({ updated: 1, failed: 0 })
  expect(callsTo('ReEncrypt')).toHaveLength(2)
  expect((await raw(After))[0].encrypted_kms_key).toMatchObject([{ keyId: second }])
  expect(await (await After.findById(_id)).email).toBe(ada().email)
})

test('a record that fails is told of, and the rest done', async () => {
  const { Before, After } = await deployments({ keyId: first }, { keyId: second, allowKeyIds: [first, second] })
  const users = await Before.create([ada(), bob(), bob()])
  await tamper(After, { _id: users[1]._id }, { $set: { 'encrypted_kms_key.0.crc32': 1 } })
  const result = await After.rewrapKmsKey()
  expect(result).toMatchObject({ processed: 3, updated: 2, failed: 1 })
  expect(result.failures).toMatchObject([{ id: users[1]._id, error: { code: 'WRAPPED_KEY_DAMAGED' } }])
})

test('neither timestamps nor the version of a document notice, and no hook runs', async () => {
  const { Before, After } = await deployments({ keyId: first }, { keyId: second, allowKeyIds: [first, second] })
  await Before.create(ada())
  const [before] = await raw(After)
  const hooks: string[] = []
  for (const hook of ['save', 'validate', 'updateOne']) After.schema.pre(hook, () => void hooks.push(hook))
  After.schema.post('init', () => void hooks.push('init'))
  await After.rewrapKmsKey()
  expect((await raw(After))[0]).toMatchObject({ updatedAt: before.updatedAt, __v: before.__v })
  expect(hooks).toEqual([])
})

test('a provider that cannot, and a KMS that refuses', async () => {
  const { generateDataKey, unwrapDataKey, keyId } = localKms()
  const plain = { generateDataKey, unwrapDataKey, keyId }
  const { Before, After } = await deployments(
    { provider: plain },
    { provider: plain, version: 2, previousVersions: { 1: {} } },
  )
  await Before.create(ada())
  const { failures } = await After.rewrapKmsKey()
  expect(failures).toMatchObject([{ error: { code: 'KMS_FAILED', message: expect.stringMatching(/rotateKmsKey/) } }])
  await refused(async () => (await After.findOne()).rewrapKmsKey(), 'KMS_FAILED', /has no rewrapDataKey/)
})

test('is traced with the record, the new key and the new context', async () => {
  const { Before, After } = await deployments({ keyId: first }, { keyId: second, allowKeyIds: [first, second] })
  const { _id } = await Before.create(ada())
  const events: any[] = []
  const listen = (event: unknown) => void events.push(event)
  subscribe('tracing:mongoose-kms-encrypted:rewrap:asyncEnd', listen)
  await After.rewrapKmsKey()
  unsubscribe('tracing:mongoose-kms-encrypted:rewrap:asyncEnd', listen)
  const context = { Record: `${After.modelName}/${_id}` }
  expect(events).toMatchObject([{ operation: 'rewrap', id: _id, keyId: second, context, records: 1 }])
})

test('a record whose _id is stored as another type than the schema says', async () => {
  const { Before, After } = await deployments({ keyId: first }, { keyId: second, allowKeyIds: [first, second] })
  const { _id } = await Before.create(ada())
  const [stored] = await raw(After)
  const records = connection.db!.collection(After.collection.name)
  await records.deleteOne({ _id })
  await records.insertOne({ ...stored, _id: String(_id) as never })
  expect(await After.rewrapKmsKey()).toMatchObject({ updated: 1, failures: [] })
  expect((await raw(After))[0].encrypted_kms_key[0].keyId).toBe(second)
})
