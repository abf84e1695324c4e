import { Schema } from 'mongoose'
import { createIndexKey, localKms } from '../../lib'
import { contactSchema, misconfigured, named, plugin, provider, useFaults } from '../faults/support'
import { accountModel } from './support'

// Blind indexes that cannot be, refused when the schema or model is built.
const { connection } = useFaults()
const build = (fields: object, options: object = {}) =>
  new Schema<any>({}).plugin(plugin, { provider, fields, ...options })
const indexed = (type: unknown) => ({ a: { type, blindIndex: true } })

test.each([
  ['an array', indexed([String]), /fields\.a: a value of the type Array has parts/],
  ['a unique array', { a: { type: [String], unique: true } }, /fields\.a: a value of the type Array has parts/],
  ['a map', indexed(Map), /the type Map has parts/],
  ['Mixed', indexed({}), /fields\.a/],
  ['a subdocument', indexed(new Schema({ b: String })), /fields\.a/],
  ['part of a field', { a: { b: { type: String, blindIndex: true } } }, /fields\.a\.b: The option blindIndex/],
  ['a unique part of a field', { a: { b: { type: String, unique: true } } }, /fields\.a\.b: The option unique/],
  ['elements', { a: [{ type: String, blindIndex: true }] }, /The option blindIndex/],
  ['no bits', { a: { type: String, blindIndex: { bits: 0 } } }, /bits must be an integer from 1 to 256/],
  ['parts of bits', { a: { type: String, blindIndex: { bits: 7.5 } } }, /bits must be an integer/],
  ['more bits than there are', { a: { type: String, blindIndex: { bits: 257 } } }, /bits must be an integer/],
  ['bits that are to be unique', { a: { type: String, blindIndex: { bits: 16, unique: true } } }, /cannot be unique/],
  [
    'a version that is no number',
    { a: { type: String, blindIndex: { version: 'b' } } },
    /version: expected an integer from 1 to 127/,
  ],
  [
    'a previous version that is current',
    { a: { type: String, blindIndex: { previousVersions: { 1: {} } } } },
    /previousVersions has 1, and the current version is 1/,
  ],
  [
    'a previous version that is unique',
    { a: { type: String, blindIndex: { version: 2, previousVersions: { 1: { unique: true } } } } },
    /previousVersions\.1: there is no option unique/,
  ],
  [
    'a previous version that is none',
    { a: { type: String, blindIndex: { version: 2, previousVersions: { 1: true } } } },
    /previousVersions\.1: expected an object/,
  ],
  ['an unknown option', { a: { type: String, blindIndex: { lower: true } } }, /blindIndex: there is no option lower/],
  ['a text', { a: { type: String, blindIndex: 'yes' } }, /blindIndex must be true/],
  ['null', { a: { type: String, blindIndex: null } }, /blindIndex must be true/],
  ['unique of a wrong type', { a: { type: String, blindIndex: { unique: 1 } } }, /blindIndex: unique must be/],
  ['unique with a message', { a: { type: String, unique: [true, 'taken'] } }, /unique must be true or false/],
  ['unique without an index', { a: { type: String, unique: true, blindIndex: false } }, /unique needs a blind index/],
  ['a number without case', { a: { type: Number, blindIndex: { caseInsensitive: true } } }, /for strings alone/],
  ['a normal form that is no function', { a: { type: String, blindIndex: { normalize: 'nfc' } } }, /normalize must be/],
  [
    'a path of its own that is taken',
    { a: { type: String, blindIndex: true }, a_bidx: String },
    /a_bidx.* already taken/,
  ],
])('%s', (_name, fields, message) => misconfigured(() => build(fields), message))

test('a path of the schema where index values would be', () =>
  misconfigured(
    () => new Schema<any>({ a_bidx: String }).plugin(plugin, { provider, fields: indexed(String) }),
    /a_bidx.* already taken/,
  ))

test('a path that comes to be where index values are', () =>
  misconfigured(
    () => connection.model(named('Late'), build(indexed(String)).add({ a_bidx: String })),
    /a_bidx holds the index values of a/,
  ))

test.each([
  ['no list', { fields: 'a' }, /fields must list two fields or more/],
  ['one field', { fields: ['a'] }, /fields must list two fields or more/],
  ['a field twice', { fields: ['a', 'a', 'b'] }, /each once/],
  ['no field of the use', { fields: ['a', 'c'] }, /c is no field of this use/],
  ['a field that has parts', { fields: ['a', 'list'] }, /fields\.list: a value of the type Array has parts/],
  ['no options', null, /expected options such as/],
  ['an unknown option', { fields: ['a', 'b'], normalize: String }, /there is no option normalize/],
  ['bits that are to be unique', { fields: ['a', 'b'], bits: 8, unique: true }, /cannot be unique/],
])('an index over several fields: %s', (_name, index, message) =>
  misconfigured(() => build({ a: String, b: Date, list: [String] }, { blindIndexes: { both: index } }), message),
)

test('indexes of one name', () =>
  misconfigured(
    () => build({ a: { type: String, blindIndex: true }, b: String }, { blindIndexes: { a: { fields: ['a', 'b'] } } }),
    /a_bidx.* already taken/,
  ))

test('no indexes over several fields', () =>
  misconfigured(() => build({ a: String }, { blindIndexes: ['a'] }), /blindIndexes: expected an object/))

test('a subdocument in a map', () =>
  misconfigured(() => {
    const contact = contactSchema({ fields: { phone: { type: String, blindIndex: true } } })
    connection.model(named('User'), new Schema<any>({ contacts: { type: Map, of: contact } }))
  }, /contacts\.\*\.phone has a blind index.*keys of a map/))

test("dataKey: 'owner' whose owner has no index key", () =>
  misconfigured(() => {
    const { generateDataKey, unwrapDataKey, keyId } = localKms()
    const contact = new Schema<any>({}).plugin(plugin, { dataKey: 'owner', fields: indexed(String) })
    const owner = new Schema<any>({ contacts: [contact] }).plugin(plugin, {
      provider: { generateDataKey, unwrapDataKey, keyId },
      fields: ['name'],
    })
    connection.model(named('User'), owner)
  }, /contacts\.a has a blind index, and the record that holds it no indexKey/))

describe('an index key', () => {
  const kms = localKms()
  const plain = {
    keyId: kms.keyId,
    generateDataKey: kms.generateDataKey,
    unwrapDataKey: kms.unwrapDataKey,
  }

  test('that is missing', () =>
    misconfigured(
      () => accountModel(connection, { provider: plain }),
      /indexKey is missing.*createIndexKey\(\{ provider, keyId \}\)/,
    ))

  test('that is missing for a version', async () => {
    const indexKey = { 2: await createIndexKey({ provider: plain }) }
    await misconfigured(
      () => accountModel(connection, { provider: plain, indexKey }),
      /indexKey: There is none for version 1 of the blind index email/,
    )
  })

  test('that is not needed, and missing', () => {
    accountModel(connection, { provider: plain }, { type: String })
  })

  test.each([
    ['empty', () => ''],
    ['cut off', (key: string) => key.slice(0, -4)],
    ['altered', (key: string) => `B${key.slice(1)}`],
    ['altered within', (key: string) => `${key.slice(0, 60)}${key[60] === 'A' ? 'B' : 'A'}${key.slice(61)}`],
    ['something else', () => 'QUJDREVGR0hJSktMTU5P'],
    ['with something after it', (key: string) => `${key}\n`],
    ['no text', () => 7],
  ])('that is %s', async (_name, spoil) => {
    const indexKey = spoil(await createIndexKey({ provider: plain }))
    await misconfigured(
      () => accountModel(connection, { provider: plain, indexKey }),
      /indexKey is no text that createIndexKey/,
    )
  })

  test('under a KMS key that is not trusted', async () => {
    const indexKey = await createIndexKey({ provider: plain })
    const allowKeyIds = (keyId: string) => keyId !== kms.keyId
    await misconfigured(() => accountModel(connection, { provider: plain, indexKey, allowKeyIds }), /allowKeyIds/)
  })

  test('is not made without a key id', () =>
    expect(createIndexKey({ provider: { ...plain, keyId: '' } })).rejects.toMatchObject({ code: 'KEY_ID_INVALID' }))
})
