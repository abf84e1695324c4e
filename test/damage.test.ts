import mongoose, { Schema } from 'mongoose'
import { DecryptionError, localKms, RecordError } from '../lib'
import { encodeWrappedKey, parseWrappedKey } from '../lib/format/entry'
import { modelOf, rawCollection, secret, useDatabase } from './support'

const { connection, raw } = useDatabase()
const { Binary } = mongoose.mongo.BSON

const User = modelOf(connection, new Schema({ name: String }), { fields: { email: String, phone: String } })
const collection = () => rawCollection(User)

async function twoRecords() {
  await User.create({ name: 'Ada', email: secret('ada@example.org'), phone: secret('+44-1815-1210') })
  await User.create({ name: 'Bob', email: secret('bob@example.org'), phone: secret('+44-1905-0101') })
  return (await raw(collection().collectionName)) as [any, any]
}

const flip = (binary: any, index: number) => {
  const bytes = Buffer.from(binary.buffer)
  bytes[index]! ^= 1
  return new Binary(bytes, binary.sub_type)
}
const cut = (binary: any, length: number) => new Binary(Buffer.from(binary.buffer).subarray(0, length), binary.sub_type)

/** The entry of a wrapped key with something else in it, its checksum made good: what an attacker would write. */
const forged = (entry: any, change: object) =>
  encodeWrappedKey({ ...parseWrappedKey(entry, 'test'), ...change }, (bytes, subtype) => new Binary(bytes, subtype))

const bytes = (binary: any): Uint8Array => binary.buffer

type Damage = [name: string, code: string, change: (ada: any, bob: any) => object]

const ofOneField: Damage[] = [
  ['suite', 'ENVELOPE_UNKNOWN', (ada) => ({ email: flip(ada.email, 0) })],
  ['key reference', 'DATA_KEY_MISSING', (ada) => ({ email: flip(ada.email, 1) })],
  ['nonce', 'ENVELOPE_REJECTED', (ada) => ({ email: flip(ada.email, 5) })],
  ['ciphertext', 'ENVELOPE_REJECTED', (ada) => ({ email: flip(ada.email, 17) })],
  ['tag', 'ENVELOPE_REJECTED', (ada) => ({ email: flip(ada.email, ada.email.length() - 1) })],
  ['end, cut off', 'ENVELOPE_REJECTED', (ada) => ({ email: cut(ada.email, 40) })],
  ['all but the header, cut off', 'ENVELOPE_TRUNCATED', (ada) => ({ email: cut(ada.email, 17) })],
  ['bytes, all gone', 'ENVELOPE_TRUNCATED', () => ({ email: new Binary(Buffer.alloc(0), 0x80) })],
  ['place, taken by text', 'PLAINTEXT_FOUND', () => ({ email: 'ada@other.org' })],
  ['place, taken by an object', 'PLAINTEXT_FOUND', () => ({ email: { email: 'ada@other.org' } })],
  ['place, taken by another field', 'ENVELOPE_REJECTED', (ada) => ({ email: ada.phone })],
  ['place, taken by another record', 'DATA_KEY_MISSING', (_ada, bob) => ({ email: bob.email })],
]

const ofTheKey: Damage[] = [
  ['wrapped key, a bit flipped', 'WRAPPED_KEY_DAMAGED', (ada) => entry(ada, { wrapped: flip(key(ada).wrapped, 3) })],
  ['wrapped key, cut short', 'WRAPPED_KEY_DAMAGED', (ada) => entry(ada, { wrapped: cut(key(ada).wrapped, 20) })],
  ['wrapped key, missing', 'WRAPPED_KEY_DAMAGED', (ada) => entry(ada, { wrapped: undefined })],
  [
    'commitment, a late bit flipped',
    'WRAPPED_KEY_DAMAGED',
    (ada) => entry(ada, { commitment: flip(key(ada).commitment, 9) }),
  ],
  [
    'commitment, an early bit flipped',
    'DATA_KEY_MISSING',
    (ada) => entry(ada, { commitment: flip(key(ada).commitment, 0) }),
  ],
  ['key id', 'WRAPPED_KEY_DAMAGED', (ada) => entry(ada, { keyId: 'arn:aws:kms:other' })],
  ['version', 'WRAPPED_KEY_DAMAGED', (ada) => entry(ada, { version: 2 })],
  ['date', 'WRAPPED_KEY_DAMAGED', (ada) => entry(ada, { createdAt: new Date(0) })],
  ['checksum', 'WRAPPED_KEY_DAMAGED', (ada) => entry(ada, { crc32: 0 })],
  ['entries, all gone', 'DATA_KEY_MISSING', () => ({ encrypted_kms_key: [] })],
  ['place, taken by something else', 'DATA_KEY_MISSING', () => ({ encrypted_kms_key: 'none' })],
  ['entry of another record', 'DATA_KEY_MISSING', (_ada, bob) => ({ encrypted_kms_key: bob.encrypted_kms_key })],
  [
    'wrapped key, forged from another record',
    'KMS_WRONG_CONTEXT',
    (ada, bob) => ({ encrypted_kms_key: [forged(key(ada), { wrapped: bytes(key(bob).wrapped) })] }),
  ],
  ['key id, forged', 'KMS_WRONG_KEY', (ada) => ({ encrypted_kms_key: [forged(key(ada), { keyId: 'local:other' })] })],
  ['version, forged', 'KEY_VERSION_UNKNOWN', (ada) => ({ encrypted_kms_key: [forged(key(ada), { version: 7 })] })],
]

const key = (document: any) => document.encrypted_kms_key[0]
const entry = (document: any, change: object) => ({ encrypted_kms_key: [{ ...key(document), ...change }] })

test.each(ofOneField)("a field's %s: an error of that field alone", async (_name, code, change) => {
  const [ada, bob] = await twoRecords()
  await collection().updateOne({ _id: ada._id }, { $set: change(ada, bob) })
  const [user, other] = await User.find().sort('_id')
  await refused(user.email, code)
  expect(await user.phone).toBe('+44-1815-1210')
  await refused(user.decrypt(), code)
  expect(await other.email).toBe('bob@example.org')

  // What is set anew needs nothing of what was there.
  user.email = 'new@example.org'
  await user.save()
  expect(await (await User.findById(ada._id)).decrypt()).toEqual({ email: 'new@example.org', phone: '+44-1815-1210' })
})

test.each(ofTheKey)(
  "the data key's %s: an error of each field, and of no other record",
  async (_name, code, change) => {
    const [ada, bob] = await twoRecords()
    await collection().updateOne({ _id: ada._id }, { $set: change(ada, bob) }, { ignoreUndefined: false })
    const documents = await raw(collection().collectionName)
    const [user, other] = await User.find().sort('_id')
    await refused(user.email, code)
    await refused(user.phone, code)
    expect(await other.email).toBe('bob@example.org')

    // A clear path can still be saved, and nothing that might be mended is written over.
    user.name = 'Ada Lovelace'
    await user.save()
    expect(await raw(collection().collectionName)).toEqual([{ ...documents[0], name: 'Ada Lovelace' }, documents[1]])
  },
)

test('another data key under the right context is told by the commitment', async () => {
  const provider = localKms()
  const Shared = modelOf(connection, new Schema({}), {
    provider,
    fields: ['email'],
    context: () => ({ Record: 'shared' }),
  })
  await Shared.create([{ email: secret('ada@example.org') }, { email: secret('bob@example.org') }])
  const [ada, bob] = await raw(Shared.collection.name)
  const changed = [forged(key(ada), { wrapped: bytes(key(bob).wrapped) })]
  await rawCollection(Shared).updateOne({ _id: ada!._id }, { $set: { encrypted_kms_key: changed } })
  await refused((await Shared.findById(ada!._id)).email, 'DATA_KEY_MISMATCH')
})

test('a context that was changed since the record was loaded', async () => {
  const Owned = modelOf(connection, new Schema({ owner: String, name: String }), {
    fields: ['email'],
    context: ({ owner }: any) => ({ Owner: owner }),
  })
  const { _id } = await Owned.create({ owner: 'ada', email: secret('ada@example.org') })
  const documents = await raw(Owned.collection.name)
  const record = await Owned.findById(_id)
  record.set({ owner: 'bob', name: 'x' })
  const refusal: any = await record.save().catch((error: unknown) => error)
  expect(refusal).toBeInstanceOf(RecordError)
  expect(refusal.code).toBe('CONTEXT_CHANGED')
  expect(await raw(Owned.collection.name)).toEqual(documents)
  expect(record.modifiedPaths().sort()).toEqual(['name', 'owner'])

  // It opens under the context that it was written under, and once it is open it can be written under another.
  expect(await record.email).toBe('ada@example.org')
  expect(await raw(Owned.collection.name)).toEqual(documents)
  await record.save()
  const moved = await Owned.findById(_id)
  expect([moved.name, moved.owner, await moved.email]).toEqual(['x', 'bob', 'ada@example.org'])

  const locked = await Owned.findById(_id)
  locked.set({ owner: 'eve', name: 'y' })
  await expect(locked.save()).rejects.toMatchObject({ code: 'CONTEXT_CHANGED' })
  locked.owner = 'bob'
  await locked.save()
  expect(await (await Owned.findById(_id)).email).toBe('ada@example.org')
})

test('numbers that the driver gives as BSON has them are no damage', async () => {
  await twoRecords()
  const settings = { promoteValues: false }
  const user = await User.findOne({ name: 'Ada' }, null, settings)
  expect(await user.email).toBe('ada@example.org')
  user.email = secret('new@example.org')
  await user.save()
  const lean = await User.findOne({ name: 'Ada' }, null, settings).lean()
  expect(await User.decrypt(lean)).toMatchObject({ email: 'new@example.org', phone: '+44-1815-1210' })
  expect((await raw(collection().collectionName))[0]!.encrypted_kms_key).toHaveLength(1)
})

test('a record that was loaded without its _id', async () => {
  await twoRecords()
  const user = await User.findOne({ name: 'Ada' }).select('-_id')
  await expect(user.email).rejects.toMatchObject({ code: 'ID_NOT_SELECTED', message: expect.stringContaining('_id') })
})

test('a record that was loaded without its wrapped key', async () => {
  await twoRecords()
  const user = await User.findOne({ name: 'Ada' }).select('-encrypted_kms_key')
  await expect(user.email).rejects.toMatchObject({ code: 'KEY_NOT_SELECTED' })
  user.email = 'new@example.org'
  await user.save()
  expect(await (await User.findById(user._id)).decrypt()).toEqual({ email: 'new@example.org', phone: '+44-1815-1210' })
})

async function refused(promise: Promise<unknown>, code: string): Promise<void> {
  const error = await promise.then(
    () => new Error(`expected ${code}, and it was opened`),
    (reason) => reason,
  )
  expect(error).toMatchObject({ code })
  if (!code.startsWith('KMS_')) expect(error).toBeInstanceOf(DecryptionError)
  expect(error.message).toMatch(
    code.startsWith('KMS_') ? /localKms/ : new RegExp(`^${User.modelName.slice(0, 4)}\\d+/`),
  )
  expect(error.message).not.toContain('@')
}
