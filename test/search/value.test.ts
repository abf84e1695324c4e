import { createHmac, createSecretKey, hkdfSync } from 'node:crypto'
import { inspect } from 'node:util'
import fc from 'fast-check'
import mongoose from 'mongoose'
import { type BlindIndex, compileCompounds, compileIndex } from '../../lib/search/declaration'
import { IndexKey, IndexKeys } from '../../lib/search/value'

// Index values as they are stored for ever: what is found today must be found tomorrow.
const { Decimal128, ObjectId } = mongoose.Types
const { Double, Int32, UUID } = mongoose.mongo.BSON
const key = new IndexKey(createSecretKey(Buffer.alloc(32, 7)))
const index = (type: string, options: object | true = true, name = 'email') =>
  compileIndex({ name, instance: type }, options, undefined)!
const indexValue = (of: IndexKey, { name, versions: [newest] }: BlindIndex, value: unknown, model = 'User') =>
  of.valueOf(model, name, newest!, [value]).toString('hex')
const valueFor = (type: string, value: unknown, options: object | true = true, model = 'User') =>
  indexValue(key, index(type, options), value, model)

const prefixed = (...parts: (string | Uint8Array)[]) =>
  Buffer.concat(
    parts.flatMap((part) => {
      const bytes = Buffer.from(part as string)
      const length = Buffer.alloc(4)
      length.writeUInt32BE(bytes.length)
      return [length, bytes]
    }),
  )

/** The construction, written down once more. */
function computed(label: string, bytes: string | Uint8Array): string {
  const info = prefixed('mongoose-kms-encrypted/1 blind index', 'User', 'email', '1')
  const derived = Buffer.from(hkdfSync('sha256', Buffer.alloc(32, 7), Buffer.alloc(0), info, 32))
  return createHmac('sha256', derived).update(prefixed(label, bytes)).digest('hex')
}

const hex = (digits: string) => Buffer.from(digits, 'hex')
const vectors: [string, string, unknown, string, string | Uint8Array, string][] = [
  [
    'a string',
    'String',
    'ada@example.org',
    'string',
    'ada@example.org',
    'b5d326258db7a3fb6e2b57b89e3e495cf5c2d7719a70930aa0d6897ce4cf4568',
  ],
  [
    'one that is composed',
    'String',
    'e\u0301',
    'string',
    '\u00e9',
    '04163f1fa74986f3ed98e699efa0d9dd948e793265ecc7a5fa723dd668d76c3a',
  ],
  ['an empty one', 'String', '', 'string', '', '573d02235537ddadfba2b9d3e4666e6dd4c5a808c58dd9df416b928a08e8b66e'],
  [
    'a number',
    'Number',
    1.5,
    'number',
    hex('3ff8000000000000'),
    'e1613e14b0e76020fcb6822c1b6042a773f71a213406ecb137b031a709a4c844',
  ],
  ['zero', 'Number', -0, 'number', Buffer.alloc(8), 'f555c557f34468e04a349001e65e0c15dc0569ebfd030e8f88c752ac69fa3ab8'],
  ['true', 'Boolean', true, 'boolean', hex('01'), 'da178b1c77889beee3f3e55c27979877b2e8bcaae73db9c851aa165ba7fd501f'],
  [
    'a date',
    'Date',
    new Date(1_600_000_000_000),
    'date',
    hex('00000174876e8000'),
    'b6eb8d70cb3b5b3fb8c2773a5f63f283ad62f58b2319bfe88d2b4a2bc1b5d670',
  ],
  [
    'bytes',
    'Buffer',
    Buffer.from('abc'),
    'bytes',
    'abc',
    '2e911ec94939087de82cf12879e0f0586045e7f772c79054d18dc4fce2bc580a',
  ],
  [
    'an ObjectId',
    'ObjectId',
    new ObjectId('65f000000000000000000001'),
    'objectId',
    hex('65f000000000000000000001'),
    '170e3a576887ded7cd1f0fc712b235f38735b0c43263693852c4c10bd13b19e3',
  ],
  [
    'a decimal',
    'Decimal128',
    Decimal128.fromString('-1.500E+3'),
    'decimal',
    '-15E2',
    '0d2b6a4f029457c20f355f397b01e298b999b2dfff04ccb34cfa74926d2b4201',
  ],
  [
    'a bigint',
    'BigInt',
    -(2n ** 62n),
    'bigint',
    '-4611686018427387904',
    '6679f7c56ab323731e2e9f76b3a6772d9bda92cf95057832ef20eaf678d92f25',
  ],
  [
    'a UUID',
    'UUID',
    new UUID('01234567-89ab-4def-8123-456789abcdef'),
    'uuid',
    hex('0123456789ab4def8123456789abcdef'),
    'dfde9d59641a2d9dbc473b45ddcfb486388ab2cfe37ca211714a20bd419d861d',
  ],
]

test.each(vectors)('%s', (_name, type, value, label, bytes, expected) => {
  expect([computed(label, bytes), valueFor(type, value)]).toEqual([expected, expected])
})

test('several fields, a path in a subdocument, another version and fewer bits', () => {
  const fields = ['String', 'Date'].map((instance, at) => ({ name: `f${at}`, instance }))
  const [compound] = compileCompounds({ pair: { fields: ['f0', 'f1'], version: 3, bits: 12 } }, (name) =>
    fields.find((field) => field.name === name),
  )
  const info = prefixed('mongoose-kms-encrypted/1 blind index', 'User', 'contacts.pair', '3')
  const derived = Buffer.from(hkdfSync('sha256', Buffer.alloc(32, 7), Buffer.alloc(0), info, 32))
  const input = prefixed('string', 'a', 'date', hex('00000174876e8000'))
  const whole = createHmac('sha256', derived).update(input).digest()
  const short = Buffer.of(whole[0]!, whole[1]! & 0xf0)
  const values = new IndexKeys(() => key).valuesOf('User', 'contacts.pair', compound!, [
    'a',
    new Date(1_600_000_000_000),
  ])
  expect(values).toEqual([short])
  expect(short.toString('hex')).toBe('e130')
})

test('models, fields and types have values apart', () => {
  const values = [
    valueFor('String', '1'),
    valueFor('String', '1', true, 'Admin'),
    indexValue(key, index('String', true, 'phone'), '1'),
    valueFor('Number', 1),
    valueFor('BigInt', 1n),
    valueFor('Buffer', Buffer.from('1')),
    valueFor('Decimal128', Decimal128.fromString('1')),
    indexValue(new IndexKey(createSecretKey(Buffer.alloc(32, 8))), index('String'), '1'),
  ]
  expect(new Set(values).size).toBe(values.length)
})

test('model and field are told apart where they join', () => {
  expect(indexValue(key, index('String', true, 'bc'), 'x', 'a')).not.toEqual(
    indexValue(key, index('String', true, 'c'), 'x', 'ab'),
  )
})

describe('two values have equal index values exactly if they are the same value', () => {
  const check = <T>(
    type: string,
    values: fc.Arbitrary<T>,
    normal: (value: T) => unknown,
    options: object | true = true,
  ) =>
    fc.assert(
      fc.property(values, values, (one, other) => {
        const isSame = Object.is(normal(one), normal(other))
        return (valueFor(type, one, options) === valueFor(type, other, options)) === isSame
      }),
      { numRuns: 500 },
    )
  // Few letters, so that equal ones come up.
  const texts = fc.string({
    unit: fc.constantFrom('e', '\u0301', '\u00e9', 'E', 'ß', 'S', 's', '\ud800'),
    maxLength: 3,
  })

  /** As it is stored: UTF-8 has no half of a pair. */
  const wellFormed = (text: string) => Buffer.from(text).toString()

  test('strings', () => check('String', texts, (text) => wellFormed(text).normalize('NFC')))
  test('strings in any case', () =>
    check('String', texts, (text) => wellFormed(text).normalize('NFC').toUpperCase().normalize('NFC'), {
      caseInsensitive: true,
    }))
  test('numbers', () =>
    check('Number', fc.oneof(fc.constantFrom(0, -0, Number.NaN, 1, -1, Infinity), fc.double()), (number) => number + 0))
  test('numbers of BSON', () =>
    check(
      'Double',
      fc.integer({ min: -2, max: 2 }).map((n) => (n % 2 ? new Double(n) : new Int32(n))),
      Number,
    ))
  test('dates', () => check('Date', fc.date({ noInvalidDate: true }), Number))
  test('booleans', () => check('Boolean', fc.boolean(), (value) => value))
  test('bigints', () => check('BigInt', fc.bigInt({ min: -9n, max: 9n }), String))
  test('bytes', () => check('Buffer', fc.uint8Array({ maxLength: 2 }), String))
  test('decimals', () => {
    const decimals = fc.tuple(fc.integer({ min: -200, max: 200 }), fc.integer({ min: -3, max: 3 }))
    check(
      'Decimal128',
      decimals.map(([digits, power]) => Decimal128.fromString(`${digits}E${power}`)),
      (value) => Number(String(value)) + 0,
    )
  })
})

test('decimals that are no numbers', () => {
  const values = ['NaN', 'Infinity', '-Infinity', '0'].map((text) =>
    valueFor('Decimal128', Decimal128.fromString(text)),
  )
  expect(new Set(values).size).toBe(4)
  expect(valueFor('Decimal128', Decimal128.fromString('-0.00'))).toBe(values[3])
})

test.each([
  ['String', 7],
  ['Number', '7'],
  ['Date', new Date(Number.NaN)],
  ['Boolean', 1],
  ['BigInt', 1],
  ['Buffer', 'x'],
  ['ObjectId', '65f000000000000000000001'],
  ['Decimal128', 1],
])('a value of another type than %s has none', (type, value) => {
  expect(() => valueFor(type, value)).toThrow(/make an index value of/)
})

test('a key shows nothing of itself', () => {
  valueFor('String', 'x')
  expect(inspect(key, { depth: 9, showHidden: true })).not.toMatch(/07 07|KeyObject/)
  expect(JSON.stringify(key)).toBe('{}')
})
