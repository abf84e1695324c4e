import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Schema } from 'mongoose'
import { awsKms, createIndexKey, kmsEncrypted } from '../lib'
import { type KmsStandIn, startKms } from './kms'
import type { PolicyDocument } from './kms/iam'
import { modelOf, secret, useDatabase } from './support'

// Processes with different duties, each under the policy of docs/aws/policies that its role has.
const { connection, raw } = useDatabase()

let kms: KmsStandIn
let arn: string
let indexKey: string
let count = 0
beforeAll(async () => {
  kms = await startKms()
  arn = kms.createKey().arn
  indexKey = await createIndexKey({ provider: awsKms({ client: kms.client() }), keyId: arn })
  for (const role of ['writer', 'reader', 'rotator', 'auditor']) kms.attach(role, policyOf(role))
})
beforeEach(() => kms.clearCalls())
afterAll(() => kms.stop())

/** A policy as it stands in the documentation, for the key of this test. */
function policyOf(role: string): PolicyDocument {
  const text = readFileSync(join(__dirname, `../docs/aws/policies/${role}.json`), 'utf8')
  const named = 'arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab'
  expect(text).toContain(named)
  return JSON.parse(text.replaceAll(named, arn))
}

/** The same collection and model name, as a process of a role has it. */
function rolesOf(indexed = false) {
  const name = `Duty${++count}`
  const as = (principal: string, access?: string, options = {}) => {
    const schema = new Schema<any>({ name: String })
    schema.plugin(kmsEncrypted as any, {
      provider: awsKms({ client: kms.client({ principal }) }),
      keyId: arn,
      fields: { email: { type: String, ...(indexed && { blindIndex: true }) }, phone: String },
      ...(indexed && { indexKey }),
      ...(access && { access }),
      ...options,
    })
    return connection.useDb(connection.name, { useCache: false }).model<any>(name, schema, name) as any
  }
  return { as, stored: () => raw(name) }
}

const ada = () => ({ name: 'Ada', email: secret('ada@example.org'), phone: secret('+44-1815-1210') })
const grace = secret
const operations = () => [...new Set(kms.calls.map(({ eventName }) => eventName))]
const denied = () => kms.calls.filter(({ errorCode }) => errorCode !== undefined)

describe("access: 'write-only'", () => {
  test('writes every way, needing kms:GenerateDataKey alone, and its values are read elsewhere', async () => {
    const { as } = rolesOf()
    const Writer = as('writer', 'write-only')
    const email = (index: number) => grace(`grace${index}@example.org`)
    const created = await Writer.create(ada())
    created.phone = grace('+1-555-0100-1')
    await created.save()
    const loaded = await Writer.findById(created._id)
    loaded.email = email(1)
    await loaded.save()
    loaded.email = email(2)
    await loaded.save()
    await Writer.updateOne({ _id: created._id }, { $set: { phone: grace('+1-555-0100-2') } })
    await Writer.findOneAndUpdate({ _id: created._id }, { email: email(3) })
    await Writer.bulkWrite([{ updateOne: { filter: { _id: created._id }, update: { email: email(4) } } }])
    await Writer.insertMany([{ email: email(5) }])
    await Writer.updateOne({ name: 'New' }, { email: email(6) }, { upsert: true })
    expect(operations()).toEqual(['GenerateDataKey'])
    expect(denied()).toEqual([])

    const Reader = as('reader', 'read-only')
    const found = await Reader.decrypt(await Reader.find().sort({ _id: 1 }))
    expect(found.map(({ email, phone }: any) => [email, phone])).toEqual([
      [email(4), '+1-555-0100-2'],
      [email(5), undefined],
      [email(6), undefined],
    ])
  })

  test('a record that was written without being opened has a data key for each write, until it is rotated', async () => {
    const { as, stored } = rolesOf()
    const Writer = as('writer', 'write-only')
    const { _id } = await Writer.create(ada())
    await Writer.updateOne({ _id }, { phone: grace('+1-555-0100-2') })
    expect((await stored())[0]!.encrypted_kms_key).toHaveLength(2)
    const Rotator = as('rotator')
    await Rotator.rotateKmsKey()
    expect((await stored())[0]!.encrypted_kms_key).toHaveLength(1)
    expect(await (await Rotator.findById(_id)).decrypt()).toEqual({ email: 'ada@example.org', phone: '+1-555-0100-2' })
  })

  test('opens nothing, however it is asked, before the KMS is', async () => {
    const { as } = rolesOf()
    const Writer = as('writer', 'write-only')
    const { _id } = await Writer.create(ada())
    kms.clearCalls()
    const user = await Writer.findById(_id)
    const refused = { code: 'ACCESS_WRITE_ONLY' }
    await expect(user.email).rejects.toMatchObject(refused)
    await expect(user.decrypt()).rejects.toMatchObject(refused)
    await expect(user.rotateKmsKey()).rejects.toMatchObject(refused)
    await expect(Writer.decrypt(await Writer.find().lean())).rejects.toMatchObject(refused)
    expect((await Writer.verifyKms()).failures.map(({ code }: any) => code)).toContain('ACCESS_WRITE_ONLY')
    expect(kms.calls).toEqual([])
  })

  test('keeps blind indexes, by which it finds records', async () => {
    const { as } = rolesOf(true)
    const Writer = as('writer', 'write-only')
    const { _id } = await Writer.create(ada())
    await Writer.updateOne({ email: 'ada@example.org' }, { email: grace('grace@example.org') })
    expect((await Writer.findOne({ email: 'grace@example.org' }))._id).toEqual(_id)
    // The index key is opened, and no data key.
    const opened = kms.calls.filter(({ eventName }) => eventName === 'Decrypt')
    expect(opened.map(({ requestParameters }) => requestParameters.encryptionContext)).toEqual([
      { BlindIndex: 'default' },
    ])
    expect(denied()).toEqual([])
  })
})

describe("access: 'read-only'", () => {
  test('reads, needing kms:Decrypt alone', async () => {
    const { as } = rolesOf(true)
    await as('writer').create(ada())
    kms.clearCalls()
    const Reader = as('reader', 'read-only')
    const user = await Reader.findOne({ email: 'ada@example.org' })
    expect(await user.decrypt()).toEqual({ email: 'ada@example.org', phone: '+44-1815-1210' })
    user.name = 'Ada L.'
    await user.save()
    expect(operations()).toEqual(['Decrypt'])
    expect(denied()).toEqual([])
  })

  test('encrypts nothing, however it is asked, before the KMS is, and what is stored stays as it is', async () => {
    const { as, stored } = rolesOf(true)
    const { _id } = await as('writer').create(ada())
    const before = await stored()
    kms.clearCalls()
    const Reader = as('reader', 'read-only')
    const email = grace('grace@example.org')
    const refused = { code: 'ACCESS_READ_ONLY' }
    const user = await Reader.findById(_id)
    user.email = email
    await expect(user.save()).rejects.toMatchObject(refused)
    await expect(Reader.create({ email })).rejects.toMatchObject(refused)
    await expect(Reader.insertMany([{ email }])).rejects.toMatchObject(refused)
    await expect(Reader.updateOne({ _id }, { email })).rejects.toMatchObject(refused)
    await expect(Reader.findOneAndReplace({ _id }, { email })).rejects.toMatchObject(refused)
    await expect(Reader.bulkWrite([{ insertOne: { document: { email } } }])).rejects.toMatchObject(refused)
    for (const job of ['rotateKmsKey', 'rewrapKmsKey', 'eraseKmsKey'])
      await expect((await Reader.findById(_id))[job]()).rejects.toMatchObject(refused)
    expect((await Reader.eraseKmsKey({ filter: { _id } })).failures).toEqual([
      { id: _id, error: expect.objectContaining(refused) },
    ])
    expect(kms.calls).toEqual([])
    expect(await stored()).toEqual(before)
  })

  test('no job writes either: each record is told of, and stays as it is', async () => {
    const { as, stored } = rolesOf()
    const { _id } = await as('writer').create(ada())
    const before = await stored()
    const fields = { email: { type: String, blindIndex: true }, phone: String }
    const Reader = as('reader', 'read-only', { fields, indexKey, migrating: true })
    const refused = { id: _id, error: expect.objectContaining({ code: 'ACCESS_READ_ONLY' }) }
    for (const job of ['rotateKmsKey', 'backfillBlindIndexes', 'migrateFromKms']) {
      const { failures } = await Reader[job]()
      expect([job, failures]).toEqual([job, [refused]])
    }
    await expect((await Reader.findById(_id)).migrateFromKms()).rejects.toMatchObject({ code: 'ACCESS_READ_ONLY' })
    const ofRecords = kms.calls.filter((call) => JSON.stringify(call.requestParameters).includes(String(_id)))
    expect(ofRecords.map(({ eventName }) => eventName)).toEqual(['GenerateDataKey'])
    expect(await stored()).toEqual(before)
  })
})

describe('the policies of docs/aws/policies', () => {
  const contexts: Record<string, string>[] = [
    { Record: 'User/1' },
    { BlindIndex: 'default' },
    {},
    { BlindIndex: 'other' },
  ]
  const asked = async (role: string) => {
    const provider = awsKms({ client: kms.client({ principal: role }) })
    const owner = awsKms({ client: kms.client() })
    const can = async (act: () => Promise<unknown>) =>
      act().then(
        () => true,
        ({ code }) => (code === 'KMS_ACCESS_DENIED' ? false : Promise.reject(code)),
      )
    const allowed: unknown[] = []
    for (const context of contexts) {
      const { wrapped } = await owner.generateDataKey({ keyId: arn, context })
      const to = { keyId: arn, context }
      allowed.push([
        await can(() => provider.generateDataKey({ keyId: arn, context })),
        await can(() => provider.unwrapDataKey({ wrapped, keyId: arn, context })),
        await can(() => provider.rewrapDataKey!({ wrapped, keyId: arn, context, to })),
      ])
    }
    return allowed
  }
  const [no, make, open, all] = [
    [false, false, false],
    [true, false, false],
    [false, true, false],
    [true, true, true],
  ]

  test.each([
    ['writer', [make, open, no, no]],
    ['reader', [open, open, no, no]],
    ['rotator', [all, open, no, no]],
    ['auditor', [no, no, no, no]],
  ])('allow a %s what it needs, of records and of the index key, and nothing else', async (role, expected) => {
    expect(await asked(role)).toEqual(expected)
  })

  test('a rotator rotates and wraps anew', async () => {
    const { as } = rolesOf()
    await as('writer').create(ada())
    kms.clearCalls()
    const other = kms.createKey().arn
    const Rotator = as('rotator', undefined, { version: 2, previousVersions: { 1: { keyId: arn } } })
    expect(await Rotator.rotateKmsKey()).toMatchObject({ updated: 1, failed: 0 })
    // Another key is not among those of the policy.
    const Elsewhere = as('rotator', undefined, { keyId: other, version: 3, previousVersions: { 2: { keyId: arn } } })
    expect((await Elsewhere.rewrapKmsKey()).failures.map(({ error }: any) => error.code)).toEqual(['KMS_ACCESS_DENIED'])
  })
})

test.each([
  [{ access: 'none' }, 'access'],
  [{ access: 'write-only', decrypt: 'onLoad' }, 'access'],
  [{ requireActor: 'yes' }, 'requireActor'],
  [{ access: 'read-only', dataKey: 'owner', provider: undefined }, 'access'],
])('options %j are refused', (options, named) => {
  expect(() => modelOf(connection, new Schema({}), { fields: { email: String }, ...options } as never)).toThrow(
    expect.objectContaining({ code: 'OPTION_INVALID', message: expect.stringContaining(named) }),
  )
})
