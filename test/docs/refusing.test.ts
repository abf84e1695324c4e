import { crc32 } from 'node:zlib'
import mongoose from 'mongoose'
import { rawCollection, useDatabase } from '../support'
import { encrypted, modelOf, readers, storedBytes, valuesBy } from './readers/readers'

// What docs/format.md says to refuse is refused by who follows it, at the step that it says, and by the library.
const { connection } = useDatabase()
const { Binary, deserialize, serialize } = mongoose.mongo.BSON
type Binary = InstanceType<typeof Binary>

const flip = (value: Binary, at: number) => {
  const copy = Buffer.from(value.buffer)
  copy[at < 0 ? copy.length + at : at]! ^= 1
  return new Binary(copy, value.sub_type)
}

/** Puts the checksum right after an entry was altered. */
function checked(entry: any, change: object): any {
  const { version, keyId, wrapped, commitment, createdAt } = Object.assign(entry, change)
  const numbers = Buffer.alloc(12)
  numbers.writeInt32BE(version)
  numbers.writeBigInt64BE(BigInt(createdAt.getTime()), 4)
  const parts = [numbers, Buffer.from(keyId), wrapped.buffer, commitment.buffer]
  const lengths = parts.map((part) => Buffer.from(new Uint32Array([part.length]).buffer).swap32())
  entry.crc32 = crc32(Buffer.concat(parts.flatMap((part, index) => [lengths[index]!, part]))) | 0
  return entry
}

/** What is done to a document and its entry, given another document; the step that refuses; and the code of the library's own error. */
const refusals: [what: string, tamper: (own: any, key: any, other: any) => unknown, step: number, code: string][] = [
  ['a string', (own) => (own.email = 'plain'), 1, 'PLAINTEXT_FOUND'],
  ['another subtype', (own) => (own.email = new Binary(own.email.buffer)), 1, 'PLAINTEXT_FOUND'],
  [
    'a short envelope',
    (own) => (own.email = new Binary(own.email.buffer.subarray(0, 32), 128)),
    1,
    'ENVELOPE_TRUNCATED',
  ],
  ['another suite', (own) => (own.email = flip(own.email, 0)), 1, 'ENVELOPE_UNKNOWN'],
  ['another key reference', (own) => (own.email = flip(own.email, 1)), 2, 'DATA_KEY_MISSING'],
  ['another nonce', (own) => (own.email = flip(own.email, 5)), 5, 'ENVELOPE_REJECTED'],
  ['another ciphertext', (own) => (own.email = flip(own.email, 17)), 5, 'ENVELOPE_REJECTED'],
  ['another tag', (own) => (own.email = flip(own.email, -1)), 5, 'ENVELOPE_REJECTED'],
  ['the envelope of another field', (own) => (own.email = own.phone), 5, 'ENVELOPE_REJECTED'],
  ['the envelope of another record', (own, _key, other) => (own.email = other.email), 2, 'DATA_KEY_MISSING'],
  ['another _id', (own, _key, other) => (own._id = other._id), 3, 'KMS_WRONG_CONTEXT'],
  ['no entries', (own) => delete own.encrypted_kms_key, 2, 'DATA_KEY_MISSING'],
  ['entries that are no array', (own, key) => (own.encrypted_kms_key = key), 2, 'DATA_KEY_MISSING'],
  ['an entry twice', (own, key) => own.encrypted_kms_key.push(key), 2, 'WRAPPED_KEY_DAMAGED'],
  ['another version', (_own, key) => (key.version = 2), 2, 'WRAPPED_KEY_DAMAGED'],
  ['another keyId', (_own, key) => (key.keyId += 'x'), 2, 'WRAPPED_KEY_DAMAGED'],
  ['no keyId', (_own, key) => delete key.keyId, 2, 'WRAPPED_KEY_DAMAGED'],
  ['another wrapped', (_own, key) => (key.wrapped = flip(key.wrapped, 20)), 2, 'WRAPPED_KEY_DAMAGED'],
  ['another commitment', (_own, key) => (key.commitment = flip(key.commitment, -1)), 2, 'WRAPPED_KEY_DAMAGED'],
  ['another createdAt', (_own, key) => (key.createdAt = new Date(0)), 2, 'WRAPPED_KEY_DAMAGED'],
  ['another crc32', (_own, key) => (key.crc32 ^= 1), 2, 'WRAPPED_KEY_DAMAGED'],
  ['a version that is not known', (_own, key) => checked(key, { version: 9 }), 3, 'KEY_VERSION_UNKNOWN'],
  ['a keyId that is not known', (_own, key) => checked(key, { keyId: 'local:x' }), 3, 'KMS_WRONG_KEY'],
  [
    'another wrapped, its checksum put right',
    (_own, key) => checked(key, { wrapped: flip(key.wrapped, 20) }),
    3,
    'KMS_WRONG_CONTEXT',
  ],
  [
    'another commitment, its checksum put right',
    (_own, key) => checked(key, { commitment: flip(key.commitment, -1) }),
    4,
    'DATA_KEY_MISMATCH',
  ],
  [
    'envelope and entry of another record',
    (own, _key, other) => Object.assign(own, { email: other.email, encrypted_kms_key: other.encrypted_kms_key }),
    3,
    'KMS_WRONG_CONTEXT',
  ],
]

test.each(refusals)(
  'by the steps of docs/format.md, and by the library, is refused: %s',
  async (_what, tamper, step, code) => {
    const Model = modelOf(connection, encrypted({}, { fields: ['email', 'phone'] }))
    await Model.create([
      { email: 'own', phone: 'own' },
      { email: 'other', phone: 'other' },
    ])
    const [own, other] = (await storedBytes(connection)).map((each) => deserialize(each))
    tamper(own, own!.encrypted_kms_key[0], other)
    const document = serialize(own!)
    for (const [language, read] of readers)
      expect([language, valuesBy(read, document, Model.modelName, { email: {} })]).toEqual([
        language,
        { email: { refused: step } },
      ])
    await expect(async () => Model.hydrate(deserialize(document)).email).rejects.toMatchObject({ code })
  },
)

test('a value is written under the newest data key of the version, wherever its entry stands', async () => {
  const Model = modelOf(connection, encrypted({}, { fields: ['email', 'phone'] }))
  await Model.create([{ email: 'first' }])
  const [older] = deserialize((await storedBytes(connection))[0]).encrypted_kms_key
  await (await Model.findOne().orFail()).rotateKmsKey()
  const [newer] = deserialize((await storedBytes(connection))[0]).encrypted_kms_key
  checked(older, { createdAt: new Date(0) })
  for (const entries of [
    [newer, older],
    [older, newer],
  ]) {
    await rawCollection(Model).updateOne({}, { $set: { encrypted_kms_key: entries } })
    await (await Model.findOne().orFail()).set({ phone: 'second' }).save()
    const { phone, encrypted_kms_key } = deserialize((await storedBytes(connection))[0])
    expect(encrypted_kms_key).toEqual(entries)
    expect(phone.buffer.subarray(1, 5)).toEqual(newer.commitment.buffer.subarray(0, 4))
  }
  checked(older, { createdAt: newer.createdAt })
  await rawCollection(Model).updateOne({}, { $set: { encrypted_kms_key: [newer, older] } })
  await (await Model.findOne().orFail()).set({ phone: 'third' }).save()
  const { phone } = deserialize((await storedBytes(connection))[0])
  expect(phone.buffer.subarray(1, 5)).toEqual(older.commitment.buffer.subarray(0, 4))
})
