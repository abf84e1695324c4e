import fc, { type Arbitrary } from 'fast-check'
import mongoose, { Schema } from 'mongoose'
import { modelOf, secret, useDatabase } from './support'
import { shown, type Twins, twinsOf } from './twins'

const { Binary, Decimal128, Double, ObjectId } = mongoose.mongo
const { connection, raw } = useDatabase()
// Every test has models of its own. After its sweep they go, or the next would sweep them all again.
afterEach(() => connection.dropDatabase())

interface Case {
  readonly name: string
  /** The definition of a field. */
  readonly of: unknown
  /** Values that are easily lost, and any others. */
  readonly values: readonly unknown[]
  readonly any: Arbitrary<unknown>
}

const { Types } = Schema
const word = fc.stringMatching(/^[a-z]\w{0,8}$/)
const text = fc.string({ unit: 'binary', maxLength: 40 })
const number = fc.double({ noNaN: true })
const date = fc.date({ noInvalidDate: true })
const bytes = fc.uint8Array({ maxLength: 40 }).map((array) => Buffer.from(array))
const int64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })
const objectId = fc.uint8Array({ minLength: 12, maxLength: 12 }).map((array) => new ObjectId(array))
const decimal = fc
  .tuple(fc.bigInt({ min: -(10n ** 34n) + 1n, max: 10n ** 34n - 1n }), fc.integer({ min: -6176, max: 6111 }))
  .map(([digits, exponent]) => Decimal128.fromString(`${digits}E${exponent}`))
const nullable = (arbitrary: Arbitrary<unknown>) => fc.option(arbitrary, { freq: 8 })
const list = (arbitrary: Arbitrary<unknown>) => fc.array(arbitrary, { maxLength: 6 })
const map = (arbitrary: Arbitrary<unknown>) => fc.dictionary(word, arbitrary, { maxKeys: 4, noNullPrototype: true })

const { mixed } = fc.letrec((tie) => ({
  mixed: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.oneof(text, fc.double(), fc.boolean(), date, bytes, int64, objectId, decimal, fc.constant(null)),
    fc.array(tie('mixed'), { maxLength: 4 }),
    map(fc.option(tie('mixed'), { nil: undefined, freq: 9 })),
  ),
}))
const definite = mixed.filter((value) => value !== null)

const visit = { at: Date, note: String, tags: [String] }
const visits = fc.record({ at: date, note: nullable(text), tags: list(text) }, { requiredKeys: [] })
const address = { street: String, geo: { lat: Number, lon: Number } }
const addresses = fc.record({ street: text, geo: fc.record({ lat: number, lon: number }, { requiredKeys: ['lat'] }) })
const visitSchema = () => new Schema(visit, { _id: false })
const decimals = ['0', '-0', '1.10', '0E-6176', '9.999999999999999999999999999999999E+6144', 'NaN', '-Infinity']

const cases: Case[] = [
  { name: 'String', of: String, values: ['', ' ', '\0', '👩‍🚀', '𐀀', 'null', 'a'.repeat(100_000)], any: text },
  { name: 'Number', of: Number, values: [0, -0, Infinity, -Infinity, 2 ** 53 + 2, 5e-324, 0.1, 2 ** 31], any: number },
  { name: 'Boolean', of: Boolean, values: [false, true], any: fc.boolean() },
  { name: 'Date', of: Date, values: [new Date(0), new Date(-1), new Date(8.64e15), new Date(-8.64e15)], any: date },
  {
    name: 'Decimal128',
    of: Types.Decimal128,
    values: decimals.map((each) => Decimal128.fromString(each)),
    any: decimal,
  },
  {
    name: 'BigInt',
    of: BigInt,
    values: [0n, -1n, 2n ** 31n, 2n ** 53n + 1n, -(2n ** 53n) - 1n, 2n ** 63n - 1n, -(2n ** 63n)],
    any: int64,
  },
  { name: 'UUID', of: Types.UUID, values: ['0195e3a0-6f3d-7cc2-b2f5-000000000001'], any: fc.uuid() },
  { name: 'Buffer', of: Buffer, values: [Buffer.alloc(0), Buffer.alloc(1), Buffer.alloc(70_000, 7)], any: bytes },
  { name: 'ObjectId', of: Types.ObjectId, values: [new ObjectId('0'.repeat(24))], any: objectId },
  { name: 'Int32', of: Types.Int32, values: [0, 2 ** 31 - 1, -(2 ** 31)], any: fc.integer() },
  { name: 'Double', of: Types.Double, values: [0, -0, 1, 0.5, Infinity, new Double(2)], any: number },
  {
    name: 'map of numbers',
    of: { type: Map, of: Number },
    values: [new Map([['a', -0]]), { b: null }],
    any: map(number),
  },
  {
    name: 'map of subdocuments',
    of: { type: Map, of: visitSchema() },
    values: [new Map(), { first: {} }, { first: { at: new Date(0), note: 'x', tags: [] } }],
    any: map(visits),
  },
  {
    name: 'Mixed',
    of: Types.Mixed,
    values: [{}, [], '', 0, false, NaN, -0, 5n, [undefined, null], { a: undefined, b: {} }, [[], [[]]], { 'b.c': 2 }],
    any: definite,
  },
  { name: 'array of strings', of: [String], values: [[], [''], ['a', null]], any: list(nullable(text)) },
  { name: 'array of numbers', of: [Number], values: [[], [-0, Infinity]], any: list(nullable(number)) },
  { name: 'array of dates', of: [Date], values: [[], [new Date(0), null]], any: list(nullable(date)) },
  { name: 'array of big integers', of: [BigInt], values: [[], [1n, 2n ** 60n]], any: list(int64) },
  { name: 'array of buffers', of: [Buffer], values: [[], [Buffer.alloc(0)]], any: list(bytes) },
  { name: 'array of anything', of: [], values: [[], [[]], [{}, null, 1n]], any: list(mixed) },
  { name: 'array of arrays', of: [[Number]], values: [[], [[]], [[1], [], [2, 3]]], any: list(list(number)) },
  {
    name: 'array of subdocuments',
    of: [{ ...visit, _id: false }],
    values: [[], [{}], [{ at: new Date(0), note: '', tags: [''] }]],
    any: list(visits),
  },
  { name: 'nested object', of: address, values: [{ street: '' }, { geo: { lat: -0 } }], any: addresses },
  { name: 'subdocument', of: visitSchema(), values: [{}, { tags: [] }, { note: 'x', tags: ['y'] }], any: visits },
]

describe.each(cases)('$name', ({ of, values, any }) => {
  test('values that are easily lost come back as from a path that is not encrypted', async () => {
    await compare(twinsFor(of), values)
  })

  test('any value comes back as from a path that is not encrypted', async () => {
    const twins = twinsFor(of)
    await fc.assert(
      fc.asyncProperty(fc.array(any, { minLength: 1, maxLength: 10 }), (list) => compare(twins, list)),
      { numRuns: 6 },
    )
  })

  test('null and undefined are stored as they are, and need no key', async () => {
    // Arrays have a default, and a nested object is always there.
    if (of === address) return
    const definition = typeof of === 'object' && 'type' in (of as object) ? of : { type: of, default: undefined }
    const User = modelOf(connection, new Schema({}), { fields: { value: definition as never } })
    const { _id } = await User.create({ value: null })
    const absent = await User.create({ value: undefined })
    expect(await raw(User.collection.name)).toEqual([
      { _id, __v: 0, value: null },
      { _id: absent._id, __v: 0 },
    ])
    expect((await User.findById(_id)).value).toBeNull()
    expect((await User.findById(absent._id)).value).toBeUndefined()
  })
})

function twinsFor(of: unknown): Twins {
  // Where values are encrypted, objects that are empty are stored as well.
  return twinsOf(connection, {}, { value: of }, { minimize: false })
}

/** Values that a model in the clear and an encrypted one store and give back; there also when encrypted anew. */
async function compare({ plain, encrypted }: Twins, values: readonly unknown[]): Promise<void> {
  const given = values.map((value) => ({ value }))
  await plain.create(given)
  await encrypted.create(given)
  const expected = (await plain.find().sort('_id')).map(({ value }: any) => value)
  expect(expected).toHaveLength(values.length)

  const stored = await raw(encrypted.collection.name)
  for (const each of stored) {
    expect(Object.keys(each).sort()).toEqual(['__v', '_id', 'encrypted_kms_key', 'value'])
    expect(each.value).toBeInstanceOf(Binary)
  }
  const found = await encrypted.find().sort('_id')
  const lean = await encrypted.decrypt(await encrypted.find().sort('_id').lean())
  for (const [index, value] of expected.entries()) {
    expect(value).toBeDefined()
    const opened = await found[index].value
    expect([typeof opened, opened?.constructor?.name]).toEqual([typeof value, value?.constructor?.name])
    const plainly = (await found[index].decrypt()).value
    for (const each of [opened, plainly, lean[index].value]) expect(shown(each)).toEqual(shown(value))
    expect(found[index].isModified()).toBe(false)
    found[index].markModified('value')
  }

  await encrypted.bulkSave(found)
  const again = await encrypted.find().sort('_id')
  const storedAgain = await raw(encrypted.collection.name)
  for (const [index, value] of expected.entries()) {
    expect(storedAgain[index]!.value).not.toEqual(stored[index]!.value)
    expect(shown(await again[index].value)).toEqual(shown(value))
  }
  await plain.deleteMany()
  await encrypted.deleteMany()
}

test.each([
  ['an empty string', String, ''],
  ['zero', Number, 0],
  ['false', Boolean, false],
  ['an empty array', [String], []],
  ['an empty object', Types.Mixed, {}],
  ['an empty map', { type: Map, of: String }, {}],
  ['an empty subdocument', visitSchema(), {}],
  ['an empty Buffer', Buffer, Buffer.alloc(0)],
])('%s is encrypted', async (_name, of, value) => {
  const User = modelOf(connection, new Schema({}), { fields: { value: of as never } })
  await User.create({ value })
  const [stored] = await raw(User.collection.name)
  expect(stored!.value.sub_type).toBe(0x80)
  expect(stored!.value.length()).toBeGreaterThan(33)
})

test('what is not a number is refused in a Number, as Mongoose does, and kept in a Mixed', async () => {
  const User = modelOf(connection, new Schema({}), { fields: { age: Number, any: Types.Mixed } })
  await expect(User.create({ age: Number.NaN })).rejects.toMatchObject({ errors: { age: { name: 'CastError' } } })
  const { _id } = await User.create({ any: Number.NaN })
  expect(await (await User.findById(_id)).any).toBeNaN()
})

test('all types of one record come back together, and none of them is found in the database', async () => {
  const names = cases.map((_, index) => `field${index}`)
  const fields = Object.fromEntries([...cases.map(({ of }, index) => [names[index], of]), ['secret', String]])
  const User = modelOf(connection, new Schema({}), { fields })
  const given = Object.fromEntries(cases.map(({ values }, index) => [names[index], values.at(-1)]))
  const { _id } = await User.create({ ...given, secret: secret('ada@example.org') })
  const all = await (await User.findById(_id)).decrypt()
  expect(Object.keys(all)).toEqual([...names, 'secret'])
  for (const name of names) {
    expect(all[name]).toBeDefined()
    expect(shown(all[name])).toEqual(shown(await (await User.findById(_id))[name]))
  }
})
