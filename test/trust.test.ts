import { Schema } from 'mongoose'
import { awsKms, type KmsEncryptedOptions } from '../lib'
import { type KmsStandIn, startKms } from './kms'
import { modelOf, rawCollection, secret, useDatabase } from './support'

/** Which KMS keys a record may name, and which of its data keys is written under. */

const { connection, raw } = useDatabase()
let kms: KmsStandIn
let own: string
let foreign: string

beforeAll(async () => {
  kms = await startKms()
  own = kms.createKey({ alias: 'alias/own' }).arn
  foreign = kms.createKey({ alias: 'alias/foreign' }).arn
})
beforeEach(() => kms.clearCalls())
afterAll(() => kms.stop())

const modelWith = (options: Partial<KmsEncryptedOptions>) =>
  modelOf(connection, new Schema({ name: String }), {
    provider: awsKms({ client: kms.client() }),
    fields: { email: String },
    ...options,
  })

/** A record whose data key is under the foreign KMS key, as somebody would plant it who may write to the database. */
async function plant(User: any): Promise<any> {
  const context = (doc: any) => ({ Record: `${User.modelName}/${doc._id}` })
  const Planter = modelWith({ keyId: foreign, context })
  const { _id } = await Planter.create({ name: 'Ada', email: secret('planted@example.org') })
  const [record] = await rawCollection(Planter).find({ _id }).toArray()
  await rawCollection(User).insertOne(record)
  kms.clearCalls()
  return User.findById(_id)
}

const notAllowed = {
  name: 'KeyProviderError',
  code: 'KMS_KEY_NOT_ALLOWED',
  message: expect.stringMatching(/allowKeyIds/),
}

describe('a data key under a KMS key that nobody configured', () => {
  const refusing: [string, () => Partial<KmsEncryptedOptions>][] = [
    ['keyId is a full ARN', () => ({ keyId: own })],
    ['keyId and previousVersions are', () => ({ keyId: own, version: 2, previousVersions: { 1: { keyId: own } } })],
    ['allowKeyIds does not name it', () => ({ keyId: 'alias/own', allowKeyIds: [own] })],
    ['allowKeyIds is a function that says no', () => ({ keyId: 'alias/own', allowKeyIds: (keyId) => keyId === own })],
    ['allowKeyIds is a function that says nothing', () => ({ keyId: own, allowKeyIds: (() => undefined) as never })],
  ]

  test.each(refusing)('is neither opened nor written under where %s', async (_name, options) => {
    const User = modelWith(options())
    const user = await plant(User)
    await expect(user.email).rejects.toMatchObject(notAllowed)
    await expect(User.decrypt(await User.findById(user._id).lean())).rejects.toMatchObject(notAllowed)
    if (!options().version) {
      user.email = secret('new@example.org')
      await expect(user.save()).rejects.toMatchObject(notAllowed)
      await expect(User.updateOne({ _id: user._id }, { email: secret('new@example.org') })).rejects.toMatchObject(
        notAllowed,
      )
    }
    await expect((await User.findById(user._id)).rotateKmsKey()).rejects.toMatchObject(notAllowed)
    expect(kms.calls.filter(({ keyId }) => keyId === foreign)).toEqual([])
  })

  const opening: [string, () => Partial<KmsEncryptedOptions>][] = [
    ['allowKeyIds names it', () => ({ keyId: own, allowKeyIds: [own, foreign] })],
    ['allowKeyIds is a function that says yes', () => ({ keyId: own, allowKeyIds: () => true })],
    ['previousVersions does', () => ({ keyId: own, version: 2, previousVersions: { 1: { keyId: foreign } } })],
    ['keyId is an alias, and there is no allowKeyIds', () => ({ keyId: 'alias/own' })],
    ['keyId is a function, and there is no allowKeyIds', () => ({ keyId: () => own })],
  ]

  test.each(opening)('is opened where %s', async (_name, options) => {
    const user = await plant(modelWith(options()))
    expect(await user.email).toBe('planted@example.org')
  })

  test('is not made either: an alias that was pointed at it', async () => {
    kms.createKey({ alias: 'alias/moved' })
    kms.updateAlias('alias/moved', foreign)
    const User = modelWith({ keyId: 'alias/moved', allowKeyIds: [own] })
    await expect(User.create({ email: 'a' })).rejects.toMatchObject(notAllowed)
    expect(await User.countDocuments()).toBe(0)
  })

  test.each<[string, unknown]>([
    ['a text', 'alias/own'],
    ['an empty list', []],
    ['an empty id', ['']],
    ['an alias', ['alias/own']],
    ['the ARN of an alias', ['arn:aws:kms:us-east-1:111122223333:alias/own']],
  ])('cannot be allowed by %s', (_name, allowKeyIds) => {
    expect(() => modelWith({ keyId: 'alias/own', allowKeyIds: allowKeyIds as never })).toThrow(
      expect.objectContaining({ code: 'OPTION_INVALID', message: expect.stringContaining('allowKeyIds') }),
    )
  })
})

test('a list that leaves out the key to write under is refused', () => {
  const refusal = expect.objectContaining({ code: 'OPTION_INVALID', message: expect.stringContaining(own) })
  expect(() => modelWith({ keyId: own, allowKeyIds: [foreign] })).toThrow(refusal)
  const previousVersions = { 1: { keyId: own } }
  expect(() => modelWith({ keyId: foreign, version: 2, previousVersions, allowKeyIds: [foreign] })).toThrow(refusal)
})

describe('the wrapped keys of one record', () => {
  test('one of this version under the KMS key of an earlier one is neither opened nor written under', async () => {
    const User = modelWith({ keyId: own, version: 2, previousVersions: { 1: { keyId: foreign } } })
    const context = (doc: any) => ({ Record: `${User.modelName}/${doc._id}` })
    const Planter = modelWith({ keyId: foreign, version: 2, context })
    const { _id } = await Planter.create({ name: 'Ada', email: secret('planted@example.org') })
    await rawCollection(User).insertOne(await rawCollection(Planter).findOne({ _id }))
    const user = await User.findById(_id)
    await expect(user.email).rejects.toMatchObject(notAllowed)
    user.email = secret('new@example.org')
    await expect(user.save()).rejects.toMatchObject(notAllowed)
  })

  test('a new one is later than all that the record has, whatever the clock was of who made those', async () => {
    const User = modelWith({ keyId: 'alias/own' })
    const user = await User.create({ name: 'Ada', email: secret('first@example.org') })
    const ahead = new Date(Date.now() + 3_600_000)
    const Older = modelOf(connection, new Schema({ name: String }), {
      provider: awsKms({ client: kms.client() }),
      keyId: 'alias/own',
      fields: { email: String, old: String },
      context: (doc: any) => ({ Record: `${User.modelName}/${doc._id}` }),
    })
    const now = jest.spyOn(Date, 'now').mockReturnValue(ahead.getTime())
    const created = await Older.create({ name: 'Eve', email: secret('eve@example.org'), old: secret('of old') })
    now.mockRestore()
    await rawCollection(User).insertOne(await rawCollection(Older).findOne({ _id: created._id }))
    const found = await User.findById(created._id)
    await found.rotateKmsKey()
    const [, rotated] = (await rawCollection(User).findOne({ _id: created._id }))!.encrypted_kms_key
    expect(rotated.createdAt.getTime()).toBeGreaterThan(ahead.getTime())
    const again = await User.findById(created._id)
    again.email = secret('second@example.org')
    await again.save()
    const stored = await rawCollection(User).findOne({ _id: created._id })
    expect(Buffer.from(stored!.email.buffer).toString('hex', 1, 5)).toBe(
      Buffer.from(rotated.commitment.buffer).toString('hex', 0, 4),
    )
    expect(user.isModified()).toBe(false)
  })

  test('one whose time is no time, or that is none, does not end a save otherwise than with an error of its own', async () => {
    const User = modelWith({ keyId: 'alias/own' })
    for (const planted of [null, { createdAt: { toString: 'x', valueOf: 'y' }, version: 1 }]) {
      const user = await User.create({ name: 'Ada', email: secret('first@example.org') })
      await rawCollection(User).updateOne({ _id: user._id }, { $push: { encrypted_kms_key: planted } as never })
      const found = await User.findById(user._id)
      found.email = secret('second@example.org')
      await found.save()
      await (await User.findById(user._id)).rotateKmsKey()
      expect(await (await User.findById(user._id)).email).toBe('second@example.org')
    }
  })

  test.each(['behind', 'before'])('an old one that was put back %s the new one is not written under', async (place) => {
    const User = modelWith({ keyId: 'alias/own' })
    const user = await User.create({ name: 'Ada', email: secret('first@example.org') })
    const [before] = (await raw(User.collection.name))[0]!.encrypted_kms_key
    await user.rotateKmsKey()
    const [after] = (await raw(User.collection.name))[0]!.encrypted_kms_key
    const keys = place === 'behind' ? [after, before] : [before, after]
    await rawCollection(User).updateOne({}, { $set: { encrypted_kms_key: keys } })
    const found = await User.findOne()
    found.email = secret('second@example.org')
    await found.save()
    await User.updateOne({}, { email: secret('third@example.org') })
    const [stored] = await raw(User.collection.name)
    const reference = (bytes: any, from: number) => Buffer.from(bytes.buffer).toString('hex', from, from + 4)
    expect(reference(stored!.email, 1)).toBe(reference(after.commitment, 0))
    expect(await (await User.findOne()).email).toBe('third@example.org')
  })

  test('two of one reference are damaged', async () => {
    const User = modelWith({ keyId: 'alias/own' })
    await User.create({ name: 'Ada', email: secret('first@example.org') })
    const [{ encrypted_kms_key: keys }] = (await raw(User.collection.name)) as any
    await rawCollection(User).updateOne({}, { $set: { encrypted_kms_key: [...keys, { ...keys[0], version: 1 }] } })
    await expect((await User.findOne()).email).rejects.toMatchObject({
      code: 'WRAPPED_KEY_DAMAGED',
      message: expect.stringContaining('two wrapped keys'),
    })
  })
})

test('of a Multi-Region key, the replica in the region of the client is asked', async () => {
  const primary = kms.createKey({ multiRegion: true })
  const replica = kms.replicateKey(primary.arn, 'eu-west-1')
  const options = (region: string, keyId: string) => ({ provider: awsKms({ client: kms.client({ region }) }), keyId })
  const American = modelWith(options('us-east-1', primary.arn))
  const context = (doc: any) => ({ Record: `${American.modelName}/${doc._id}` })
  const European = modelWith({ ...options('eu-west-1', replica.arn), context })
  const { _id } = await American.create({ name: 'Ada', email: secret('ada@example.org') })
  await rawCollection(European).insertOne(await rawCollection(American).findOne({ _id }))
  kms.clearCalls()
  const found = await European.findById(_id)
  expect(await found.email).toBe('ada@example.org')
  found.email = secret('european@example.org')
  await found.save()
  await found.rotateKmsKey()
  expect(await (await European.findById(_id)).email).toBe('european@example.org')
  expect(new Set(kms.calls.map(({ keyId }) => keyId))).toEqual(new Set([replica.arn]))
})
