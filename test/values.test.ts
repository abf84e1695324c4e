import fc from 'fast-check'
import mongoose, { Schema } from 'mongoose'
import { DecryptionError } from '../lib'
import { DataKey } from '../lib/format/datakey'
import { parseWrappedKey } from '../lib/format/entry'
import { decryptEnvelope, encodeAad, parseReference } from '../lib/format/envelope'
import { modelOf, rawCollection, useDatabase } from './support'
import { shown } from './twins'

const { connection, raw } = useDatabase()
const { BSON } = mongoose.mongo
const { Binary, Decimal128, Double, Int32, ObjectId, UUID } = BSON

const sub = new Schema({ street: String, since: Date, geo: { lat: Number } }, { _id: false })

/** For each type: a definition, some values worth naming, and what makes any others. */
const types: [string, unknown, unknown[], fc.Arbitrary<unknown>][] = [
  ['String', String, ['', ' ', 'text', 'ø€😀\u0000', 'x'.repeat(10_000)], fc.string({ unit: 'binary' })],
  [
    'Number',
    Number,
    [0, -0, 1, -1.5, 2 ** 31, 2 ** 53, Number.MAX_VALUE, 5e-324, Infinity, -Infinity],
    fc.double({ noNaN: true }),
  ],
  ['Boolean', Boolean, [true, false], fc.boolean()],
  ['Date', Date, [new Date(0), new Date(-1), new Date(8.64e15)], fc.date({ noInvalidDate: true })],
  [
    'Decimal128',
    'Decimal128',
    ['0', '-0', '1.10', '1E+6000', '9999999999999999999999999999999999', 'NaN', 'Infinity'].map(decimal),
    fc.bigInt({ min: -(10n ** 33n), max: 10n ** 33n }).map((value) => decimal(`${value}E-5`)),
  ],
  [
    'BigInt',
    BigInt,
    [0n, -1n, 2n ** 53n + 1n, 2n ** 63n - 1n, -(2n ** 63n)],
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  ],
  ['UUID', 'UUID', [new UUID('0195e3a0-6f3d-7cc2-b2f5-000000000001')], fc.uuid().map((text) => new UUID(text))],
  ['Buffer', Buffer, [Buffer.alloc(0), Buffer.from([0, 255])], fc.uint8Array().map((bytes) => Buffer.from(bytes))],
  [
    'Buffer of a subtype',
    Buffer,
    [new Binary(Buffer.from('abc'), 0x85), new Binary(Buffer.alloc(16), 4)],
    fc.constant(new Binary(Buffer.from('x'), 2)),
  ],
  ['ObjectId', 'ObjectId', [new ObjectId()], hex(12).map((text) => new ObjectId(text))],
  ['Int32', 'Int32', [0, -(2 ** 31), 2 ** 31 - 1], fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 })],
  ['Double', 'Double', [0, 5, -0.5, 1e300], fc.double({ noNaN: true })],
  ['[String]', [String], [[], ['a', '', 'b']], fc.array(fc.string())],
  ['[Number]', [Number], [[], [0, 1.5, -3]], fc.array(fc.double({ noNaN: true }))],
  ['[Date]', [Date], [[new Date(0)]], fc.array(fc.date({ noInvalidDate: true }))],
  ['[[Number]]', [[Number]], [[[1, 2], [], [3]]], fc.array(fc.array(fc.integer()))],
  ['[Mixed]', [{}], [[1, 'a', { b: [null] }]], fc.array(json())],
  ['[subdocument]', [{ label: String, qty: Number }], [[{ _id: new ObjectId(), label: 'x', qty: 1 }]], fc.constant([])],
  ['Map of String', { type: Map, of: String }, [new Map([['a', 'x']]), new Map()], map(fc.string())],
  ['Map of Date', { type: Map, of: Date }, [new Map([['a', new Date(0)]])], map(fc.date({ noInvalidDate: true }))],
  ['Map of Mixed', { type: Map, of: {} }, [new Map([['a', { b: [1] }]])], map(json())],
  [
    'Map of subdocuments',
    { type: Map, of: sub },
    [new Map([['a', { street: 'x', geo: { lat: 1 } }]])],
    fc.constant(new Map()),
  ],
  [
    'Mixed',
    {},
    ['', 0, false, [], {}, { a: [1, { b: null }] }, [NaN, new Date(0), 2n ** 60n, new ObjectId(), decimal('1.5')]],
    json(),
  ],
  [
    'nested object',
    { city: String, geo: { lat: Number } },
    [{ city: 'Rome', geo: { lat: 1.5 } }],
    fc.record({ city: fc.string(), geo: fc.record({ lat: fc.double({ noNaN: true }) }) }),
  ],
  [
    'single subdocument',
    sub,
    [{ street: 'x', since: new Date(0), geo: { lat: 2 } }],
    fc.record({ street: fc.string(), since: fc.date({ noInvalidDate: true }) }),
  ],
]

function decimal(text: string) {
  return Decimal128.fromString(text)
}

function hex(length: number): fc.Arbitrary<string> {
  return fc.uint8Array({ minLength: length, maxLength: length }).map((bytes) => Buffer.from(bytes).toString('hex'))
}

/** Keys as MongoDB and Mongoose take them. */
function key(): fc.Arbitrary<string> {
  return fc.stringMatching(/^[a-z][a-z0-9 _-]{0,8}$/).filter((text) => !(text in Object.prototype))
}

function map<T>(value: fc.Arbitrary<T>): fc.Arbitrary<Map<string, T>> {
  return fc.array(fc.tuple(key(), value)).map((entries) => new Map(entries))
}

function json(): fc.Arbitrary<unknown> {
  return fc
    .anything({ key: key(), values: [fc.string(), fc.double(), fc.boolean(), fc.constant(null)], maxDepth: 3 })
    .filter((value) => value !== null && value !== undefined)
}

describe.each(types)('%s', (_name, type, values, arbitrary) => {
  const User = modelOf(connection, new Schema({}), { fields: { value: type as never } })
  /** As Mongoose casts it, before anything is encrypted. */
  const castOf = (value: unknown) => shown(new User({ value }).value)

  async function roundTrip(given: unknown[]) {
    const users = await User.insertMany(given.map((value) => ({ value })))
    const documents = await raw(User.collection.name)
    for (const document of documents) expect(document.value).toMatchObject({ _bsontype: 'Binary', sub_type: 0x80 })
    const found = await User.find().sort('_id')
    const opened = await User.decrypt(found)
    for (const [index, value] of given.entries()) {
      expect(shown(found[index].value)).toEqual(castOf(value))
      expect(shown(opened[index].value)).toEqual(castOf(value))
      expect(found[index].isModified()).toBe(false)
      // What was read may be assigned to another record.
      expect(shown(new User({ value: opened[index].value }).value)).toEqual(castOf(value))
      expect(shown(users[index].value)).toEqual(castOf(value))
    }
    await User.deleteMany({})
  }

  test('comes back as it was', () => roundTrip(values))

  test('any value comes back as it was', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(arbitrary, { minLength: 1, maxLength: 20 }), (given) => roundTrip(given)),
      { numRuns: 10 },
    )
  })

  test('null and undefined are stored as they are', async () => {
    await User.insertMany([{ value: null }], { lean: true })
    const [document] = await raw(User.collection.name)
    expect(document!.value).toBeNull()
    expect(document).not.toHaveProperty('encrypted_kms_key')
  })
})

test('-0, NaN and the types of numbers come back exactly', async () => {
  const User = modelOf(connection, new Schema({}), { fields: { number: Number, double: 'Double', int: 'Int32' } })
  await User.create({ number: -0, double: 5, int: 5 })
  const { number, double, int } = await (await User.findOne()).decrypt()
  expect(Object.is(number, -0)).toBe(true)
  expect([double._bsontype, double.value]).toEqual(['Double', 5])
  expect(int).toEqual(new Int32(5).valueOf())
  expect(new Double(5)).toEqual(double)
})

test('maps are in JSON, once decrypted, objects of their entries, as those in the clear are', async () => {
  const fields = () => ({
    labels: { type: Map, of: Date },
    deep: { of: { type: Map, of: sub }, list: [{ type: Map, of: String }] },
  })
  const values = { labels: { a: new Date(0) }, deep: { of: { b: { street: 'x' } }, list: [{ c: 'd' }] } }
  const Plain = connection.model('PlainMaps', new Schema(fields()))
  const User = modelOf(connection, new Schema({}), { fields: fields() })
  const user = await User.create(values)
  const { _id, ...clear } = JSON.parse(JSON.stringify(new Plain(values)))
  const { labels, deep } = await User.decrypt(await User.findOne().lean())
  for (const opened of [await user.decrypt(), await (await User.findOne()).decrypt(), { labels, deep }]) {
    expect(JSON.parse(JSON.stringify(opened))).toEqual(clear)
    expect(opened.labels).toStrictEqual(new Map([['a', new Date(0)]]))
  }
})

describe('bytes from anybody', () => {
  const dataKey = DataKey.derive(Buffer.alloc(32, 1))
  const aad = encodeAad(Buffer.alloc(3), 'email')
  const onlyDecryptionErrors = (act: () => unknown) => {
    try {
      act()
    } catch (error) {
      if (!(error instanceof DecryptionError)) throw error
    }
  }

  test('are an envelope or a DecryptionError', () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 80 }),
      fc
        .uint8Array({ maxLength: 80 })
        .map((tail) => Buffer.concat([Buffer.of(1), dataKey.commitment.subarray(0, 4), tail])),
    )
    fc.assert(
      fc.property(bytes, (envelope) => {
        onlyDecryptionErrors(() => parseReference(envelope, 'test'))
        expect(() => decryptEnvelope(dataKey, aad, envelope, 'test')).toThrow(DecryptionError)
      }),
      { numRuns: 500 },
    )
  })

  test('are a wrapped key or a DecryptionError', () => {
    const member = fc.oneof(
      fc.anything(),
      fc.uint8Array(),
      fc.uint8Array().map((bytes) => new Binary(bytes)),
      fc.date(),
      fc.integer(),
    )
    const stored = fc.oneof(
      fc.anything(),
      fc.record({
        version: member,
        keyId: member,
        wrapped: member,
        commitment: member,
        createdAt: member,
        crc32: member,
      }),
      fc.record({
        version: fc.double(),
        keyId: fc.string(),
        wrapped: fc.uint8Array(),
        commitment: fc.uint8Array({ minLength: 32, maxLength: 32 }),
        createdAt: fc.date(),
        crc32: fc.integer(),
      }),
    )
    fc.assert(
      fc.property(stored, (entry) => {
        expect(() => parseWrappedKey(entry, 'test')).toThrow(DecryptionError)
      }),
      { numRuns: 1000 },
    )
  })
})

test('a bit that is flipped anywhere in what is stored is a DecryptionError', async () => {
  const User = modelOf(connection, new Schema({}), { fields: { email: String, note: {} } })
  const { _id } = await User.create({ email: 'ada@example.org', note: { a: 1 } })
  const [document] = (await raw(User.collection.name)) as [any]
  const [entry] = document.encrypted_kms_key
  const places = [document.email, document.note, entry.wrapped, entry.commitment]
  await fc.assert(
    fc.asyncProperty(fc.nat(places.length - 1), fc.nat(), fc.nat(7), async (place, index, bit) => {
      const bytes = Buffer.from(places[place].buffer)
      bytes[index % bytes.length]! ^= 1 << bit
      const changed = new Binary(bytes, places[place].sub_type)
      const path = ['email', 'note', 'encrypted_kms_key.0.wrapped', 'encrypted_kms_key.0.commitment']
      await rawCollection(User).updateOne({ _id }, { $set: { [path[place]!]: changed } })
      const user = await User.findById(_id)
      await expect(user.decrypt()).rejects.toBeInstanceOf(DecryptionError)
      const intact = place === 0 ? 'note' : 'email'
      if (place < 2) expect(await user[intact]).toEqual(place === 0 ? { a: 1 } : 'ada@example.org')
      await rawCollection(User).replaceOne({ _id }, document)
    }),
    { numRuns: 100 },
  )
})
