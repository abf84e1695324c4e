import fc from 'fast-check'
import mongoose from 'mongoose'
import { DecryptionError } from '../lib'
import { encodeWrappedKey, parseWrappedKey, type WrappedKey } from '../lib/format/entry'
import { secret, useDatabase } from './support'
import { outcome, people, type Raw, readTampered, replace, store, values } from './tampering'

const { Binary } = mongoose.mongo
const { connection } = useDatabase()
const binary = (bytes: Uint8Array, subtype?: number) => new Binary(bytes, subtype)

function flipBit(bytes: Uint8Array, bit: number): Buffer {
  const flipped = Buffer.from(bytes)
  flipped[bit >> 3]! ^= 1 << (bit & 7)
  return flipped
}

const flipInt = (value: number, bit: number) => value ^ (1 << (bit % 32))

/** Each part of a stored wrapped key with one of its bits flipped. */
const parts: Record<string, (entry: Raw, bit: number) => unknown> = {
  version: ({ version }, bit) => flipInt(version, bit),
  keyId: ({ keyId }, bit) => flipBit(Buffer.from(keyId), bit % (keyId.length * 8)).toString('latin1'),
  wrapped: ({ wrapped }, bit) => binary(flipBit(wrapped.buffer, bit % (wrapped.length() * 8))),
  commitment: ({ commitment }, bit) => binary(flipBit(commitment.buffer, bit % 256)),
  createdAt: ({ createdAt }, bit) => new Date(Number(BigInt(createdAt.getTime()) ^ (1n << BigInt(bit % 52)))),
  crc32: ({ crc32 }, bit) => flipInt(crc32, bit),
}

describe.each(['onAccess', 'onLoad'] as const)('read %s', (decrypt) => {
  test('any bit of an envelope that is flipped is a DecryptionError of its field alone', async () => {
    const Person = people(connection, { decrypt })
    const [stored] = await store(Person)
    for (const path of ['email', 'dob']) {
      const bytes = stored![path].buffer as Buffer
      for (let bit = 0; bit < bytes.length * 8; bit += decrypt === 'onLoad' ? 7 : 1) {
        const read = await readTampered(Person, { ...stored, [path]: binary(flipBit(bytes, bit), 0x80) })
        const expected = bit < 8 ? 'ENVELOPE_UNKNOWN' : bit < 40 ? 'DATA_KEY_MISSING' : 'ENVELOPE_REJECTED'
        expect(read).toEqual({ ...values, [path]: expected })
      }
    }
  })

  test('any bit of a wrapped key that is flipped is a DecryptionError of the fields it encrypts', async () => {
    const Person = people(connection, { decrypt })
    const [stored] = await store(Person)
    const [entry] = stored!.encrypted_kms_key
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...Object.keys(parts)), fc.nat(1023), async (part, bit) => {
        const tampered = { ...entry, [part]: parts[part]!(entry, bit) }
        const code = part === 'commitment' && bit % 256 < 32 ? 'DATA_KEY_MISSING' : 'WRAPPED_KEY_DAMAGED'
        const read = await readTampered(Person, { ...stored, encrypted_kms_key: [tampered] })
        expect(read).toEqual({ ...values, email: code, dob: code })
      }),
      { numRuns: 150 },
    )
  })

  test.each<[string, unknown, string]>([
    ['text', 'ada', 'PLAINTEXT_FOUND'],
    ['a number', 5, 'PLAINTEXT_FOUND'],
    ['false', false, 'PLAINTEXT_FOUND'],
    ['an empty object', {}, 'PLAINTEXT_FOUND'],
    ['an array', [1], 'PLAINTEXT_FOUND'],
    ['bytes of the ordinary kind', binary(Buffer.alloc(64, 1)), 'PLAINTEXT_FOUND'],
    ['an empty Binary', binary(Buffer.alloc(0), 0x80), 'ENVELOPE_TRUNCATED'],
    ['32 bytes', binary(Buffer.alloc(32, 1), 0x80), 'ENVELOPE_TRUNCATED'],
  ])('%s in the place of an envelope is a DecryptionError', async (_name, planted, code) => {
    const Person = people(connection, { decrypt })
    const [stored] = await store(Person)
    const read = await readTampered(Person, { ...stored, email: planted })
    expect(read).toEqual({ ...values, email: code })
  })

  test('anything in the place of the wrapped keys is a DecryptionError, and does not hide the right one', async () => {
    const Person = people(connection, { decrypt })
    const [{ encrypted_kms_key: keys, ...stored }] = (await store(Person)) as [Raw]
    for (const planted of [
      undefined,
      null,
      'x',
      5,
      {},
      [],
      [null],
      ['x'],
      [{}],
      [[]],
      [{ commitment: 'x' }],
      keys[0],
    ]) {
      const tampered = planted === undefined ? stored : { ...stored, encrypted_kms_key: planted }
      const read = await readTampered(Person, tampered)
      expect(read).toEqual({ ...values, email: 'DATA_KEY_MISSING', dob: 'DATA_KEY_MISSING' })
      if (!Array.isArray(planted)) continue
      expect(await readTampered(Person, { ...stored, encrypted_kms_key: [...planted, ...keys] })).toEqual(values)
    }
    for (const part of Object.keys(parts)) {
      const { [part]: _left, ...rest } = keys[0]
      const code = part === 'commitment' ? 'DATA_KEY_MISSING' : 'WRAPPED_KEY_DAMAGED'
      const read = await readTampered(Person, { ...stored, encrypted_kms_key: [rest] })
      expect(read).toEqual({ ...values, email: code, dob: code })
    }
  })

  test('a wrapped key that is whole and not the right one is a DecryptionError', async () => {
    const Person = people(connection, { decrypt, context: () => ({ Record: 'shared' }) })
    const [stored, other] = (await store(Person)) as [Raw, Raw]
    const [entry] = stored.encrypted_kms_key
    const forge = (changes: Raw) => [encodeWrappedKey({ ...unboxed(entry), ...changes }, binary)]
    const foreign = forge({ wrapped: other.encrypted_kms_key[0].wrapped.buffer })
    const mismatch = { ...values, email: 'DATA_KEY_MISMATCH', dob: 'DATA_KEY_MISMATCH' }
    expect(await readTampered(Person, { ...stored, encrypted_kms_key: foreign })).toEqual(mismatch)
    const unknown = { ...values, email: 'KEY_VERSION_UNKNOWN', dob: 'KEY_VERSION_UNKNOWN' }
    expect(await readTampered(Person, { ...stored, encrypted_kms_key: forge({ version: 9 }) })).toEqual(unknown)
    expect(await readTampered(Person, { ...stored, encrypted_kms_key: forge({}) })).toEqual(values)
  })
})

function unboxed(entry: Raw): WrappedKey {
  return parseWrappedKey(entry, 'test')
}

test('a record with a damaged field: all of it does not decrypt, the rest can be saved, the field set anew', async () => {
  const Person = people(connection)
  const [stored] = (await store(Person)) as [Raw]
  await replace(Person, { ...stored, email: binary(flipBit(stored.email.buffer, 300), 0x80) })
  const record = await Person.findById(stored._id)
  await expect(record.decrypt()).rejects.toMatchObject({ code: 'ENVELOPE_REJECTED' })
  await expect(Person.decrypt(await Person.findById(stored._id).lean())).rejects.toBeInstanceOf(DecryptionError)
  record.name = 'Ada 0'
  record.dob = new Date(0)
  await record.save()
  record.email = secret('new@example.org')
  await record.save()
  expect(await outcome(await Person.findById(stored._id))).toEqual({
    ...values,
    email: 'new@example.org',
    dob: new Date(0),
  })
})
