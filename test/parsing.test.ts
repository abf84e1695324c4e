import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import mongoose from 'mongoose'
import { DecryptionError } from '../lib'
import { DataKey } from '../lib/format/datakey'
import { encodeWrappedKey, parseWrappedKey, type WrappedKey } from '../lib/format/entry'
import { decryptEnvelope, encodeAad, encodeAadPrefix, encryptEnvelope, parseReference } from '../lib/format/envelope'
import { decodeText, encodeText } from '../lib/format/text'

const { Binary, BSON } = mongoose.mongo
const binary = (bytes: Uint8Array, subtype?: number) => new Binary(bytes, subtype)
const place = 'User/1 email'
const newKey = () => DataKey.derive(randomBytes(32))
const key = newKey()
const bytes = fc.uint8Array({ maxLength: 64 })

/** What an act gives, or the `DecryptionError` it throws; anything else that it throws passes. */
function attempt<T>(act: () => T): T | DecryptionError {
  try {
    return act()
  } catch (error) {
    if (!(error instanceof DecryptionError)) throw error
    expect(error.message).toContain('User/1')
    return error
  }
}

const entries: fc.Arbitrary<WrappedKey> = fc.record({
  version: fc.integer({ min: 1, max: 2 ** 31 - 1 }),
  keyId: fc.string({ unit: 'binary', minLength: 1 }),
  wrapped: fc.uint8Array({ minLength: 1, maxLength: 200 }).map((array) => Buffer.from(array)),
  commitment: fc.uint8Array({ minLength: 32, maxLength: 32 }).map((array) => Buffer.from(array)),
  createdAt: fc.date({ noInvalidDate: true }),
  boundVersion: fc.integer({ min: 1, max: 2 ** 31 - 1 }),
})

describe('texts', () => {
  test('are encoded as BSON encodes them', () => {
    const same = (text: string) => expect(encodeText(text).equals(BSON.serialize({ v: text }))).toBe(true)
    fc.assert(fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.string({ unit: 'grapheme' })), same))
    for (const text of ['', '\0', 'ß', '€', '🔑', '\ud83d', '\udd11\ud83d', 'a'.repeat(100_000)]) same(text)
  })

  test('are decoded as BSON decodes them', () => {
    const same = (text: string) => {
      const encoded = encodeText(text)
      expect(decodeText(encoded)).toBe(BSON.deserialize(encoded).v)
    }
    fc.assert(fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.string({ unit: 'grapheme' })), same))
    for (const text of ['', '\0', 'ß', '€', '🔑', '\ud83d', 'a'.repeat(100_000)]) same(text)
  })

  test.each<[string, Record<string, unknown>]>([
    ['nothing', {}],
    ['another type', { v: new BSON.Code('text') }],
    ['another name', { w: 'text' }],
    ['a longer name', { vv: 'text' }],
    ['more values', { v: 'text', w: 'text' }],
  ])('BSON of %s is no text', (_what, document) => {
    expect(decodeText(Buffer.from(BSON.serialize(document)))).toBeUndefined()
  })

  test('bytes that were cut or changed in length are no text', () => {
    const encoded = encodeText('text')
    for (let length = 0; length < encoded.length; length++)
      expect(decodeText(encoded.subarray(0, length))).toBeUndefined()
    for (const index of [0, 4, 5, 6, 7, encoded.length - 2, encoded.length - 1]) {
      const changed = Buffer.from(encoded)
      changed[index]! ^= 1
      expect(decodeText(changed)).toBeUndefined()
    }
  })
})

describe('envelopes', () => {
  test('any plaintext and AAD come back, 33 bytes longer', () => {
    fc.assert(
      fc.property(bytes, bytes, (aad, plaintext) => {
        const envelope = encryptEnvelope(key, aad, plaintext)
        expect(envelope).toHaveLength(plaintext.length + 33)
        expect(parseReference(envelope, place)).toBe(key.commitment.readUInt32BE())
        expect(decryptEnvelope(key, aad, envelope, place)).toEqual(Buffer.from(plaintext))
      }),
    )
  })

  test('another AAD, another key, fewer bytes or more are a DecryptionError', () => {
    fc.assert(
      fc.property(bytes, bytes, fc.uint8Array({ minLength: 1 }), (aad, plaintext, more) => {
        const envelope = encryptEnvelope(key, aad, plaintext)
        const altered: [DataKey, Uint8Array, Uint8Array][] = [
          [key, Buffer.concat([aad, more]), envelope],
          [key, aad, Buffer.concat([envelope, more])],
          [key, aad, envelope.subarray(0, Math.max(0, envelope.length - more.length))],
          [newKey(), aad, envelope],
        ]
        for (const [k, a, e] of altered) {
          expect(attempt(() => decryptEnvelope(k, a, e, place))).toBeInstanceOf(DecryptionError)
        }
      }),
    )
  })

  test('any other bytes are a DecryptionError', () => {
    const suite1 = fc
      .uint8Array({ minLength: 33, maxLength: 99 })
      .map((array) => Buffer.from([1, ...array.subarray(1)]))
    fc.assert(
      fc.property(fc.oneof(bytes, suite1), bytes, (envelope, aad) => {
        const reference = attempt(() => parseReference(envelope, place))
        const readable = envelope.length >= 33 && envelope[0] === 1
        expect(typeof reference).toBe(readable ? 'number' : 'object')
        expect(attempt(() => decryptEnvelope(key, aad, envelope, place))).toBeInstanceOf(DecryptionError)
      }),
      { numRuns: 500 },
    )
  })

  test('no two places have the same AAD', () => {
    const text = (value: string) => Buffer.from(value)
    // Short parts of few letters, so that places which are nearly the same are met.
    const part = fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 2 })
    const place = fc.tuple(part.map(text), part.map(text), part)
    const aadOf = ([context, id, path]: [Uint8Array, Uint8Array, string]) =>
      encodeAad(encodeAadPrefix(context, id), path)
    fc.assert(
      fc.property(place, place, (a, b) => {
        const same = a.every((part, index) => Buffer.from(part as string).equals(Buffer.from(b[index] as string)))
        expect(aadOf(a).equals(aadOf(b))).toBe(same)
      }),
      { numRuns: 2000 },
    )
    expect(aadOf([text('ab'), text('c'), 'd'])).not.toEqual(aadOf([text('a'), text('bc'), 'd']))
    expect(aadOf([text('a'), text('bc'), 'd'])).not.toEqual(aadOf([text('a'), text('b'), 'cd']))
  })
})

describe('wrapped keys', () => {
  test('any entry comes back', () => {
    fc.assert(
      fc.property(entries, (entry) => {
        expect(parseWrappedKey(encodeWrappedKey(entry, binary), place)).toEqual(entry)
      }),
    )
  })

  test('any bit of any part that is flipped is a DecryptionError', () => {
    const [entry] = fc.sample(entries, 1) as [WrappedKey]
    const stored = encodeWrappedKey({ ...entry, keyId: 'arn:aws:kms:eu-central-1:1:key/x' }, binary) as any
    const flip = (value: Uint8Array, bit: number) => {
      const flipped = Buffer.from(value)
      flipped[bit >> 3]! ^= 1 << (bit & 7)
      return flipped
    }
    const refused = (changes: object) => {
      const error = attempt(() => parseWrappedKey({ ...stored, ...changes }, place))
      expect(error).toMatchObject({ name: 'DecryptionError', code: 'WRAPPED_KEY_DAMAGED' })
    }
    for (const part of ['wrapped', 'commitment']) {
      for (let bit = 0; bit < stored[part].length() * 8; bit++) {
        refused({ [part]: binary(flip(stored[part].buffer, bit)) })
        refused({ [part]: flip(stored[part].buffer, bit) })
      }
    }
    for (let bit = 0; bit < stored.keyId.length * 8; bit++) {
      refused({ keyId: flip(Buffer.from(stored.keyId), bit).toString('latin1') })
    }
    for (let bit = 0; bit < 32; bit++)
      for (const part of ['version', 'crc32']) refused({ [part]: stored[part] ^ (1 << bit) })
    // Beyond what a `Date` can hold, the driver gives an invalid one.
    for (let bit = 0n; bit < 63n; bit++) {
      refused({ createdAt: new Date(Number(BigInt(entry.createdAt.getTime()) ^ (1n << bit))) })
    }
  })

  test('any other value in the place of an entry or of a part is a DecryptionError', () => {
    const numbers = fc.oneof(fc.double(), fc.constantFrom(2 ** 31, -(2 ** 40), 1.5, Number.NaN, Infinity, -0))
    const junk = fc.oneof(
      numbers,
      fc.anything({ withDate: true, withTypedArray: true, withBigInt: true, withNullPrototype: true }),
      fc.date({ noInvalidDate: false }),
      fc.constantFrom(new Date(Number.NaN), { _bsontype: 'Binary' }, { _bsontype: 'Binary', buffer: 'x' }),
      bytes.map((array) => binary(array)),
    )
    fc.assert(
      fc.property(junk, (stored) => {
        expect(attempt(() => parseWrappedKey(stored, place))).toBeInstanceOf(DecryptionError)
      }),
      { numRuns: 500 },
    )
    const parts = fc.constantFrom('version', 'keyId', 'wrapped', 'commitment', 'createdAt', 'crc32')
    fc.assert(
      fc.property(entries, parts, junk, (entry, part, planted) => {
        const stored = { ...encodeWrappedKey(entry, binary), [part]: planted }
        const parsed = attempt(() => parseWrappedKey(stored, place))
        if (!(parsed instanceof DecryptionError)) expect(parsed).toEqual(entry)
      }),
      { numRuns: 2000 },
    )
  })
})
