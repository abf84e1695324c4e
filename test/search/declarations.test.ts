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
  ['bits', { a: { type: String, blindIndex: { bits: 20 } } }, /bits is not supported yet/],
  ['another version', { a: { type: String, blindIndex: { version: 2 } } }, /only 1 is supported yet/],
  ['an unknown option', { a: { type: String, blindIndex: { lower: true } } }, /blindIndex has no option lower/],
  ['a text', { a: { type: String, blindIndex: 'yes' } }, /blindIndex must be true/],
  ['null', { a: { type: String, blindIndex: null } }, /blindIndex must be true/],
  ['unique of a wrong type', { a: { type: String, blindIndex: { unique: 1 } } }, /blindIndex\.unique must be/],
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

test('several fields in one index', () =>
  misconfigured(() => build({ a: String }, { blindIndexes: { a_b: { fields: ['a'] } } }), /not supported yet/))

test('a subdocument', () =>
  misconfigured(() => {
    const contact = contactSchema({ fields: { phone: { type: String, blindIndex: true } } })
    connection.model(named('User'), new Schema<any>({ contacts: [contact] }))
  }, /contacts\.phone has a blind index, which is not supported in subdocuments yet/))

test("dataKey: 'owner'", () =>
  misconfigured(
    () => new Schema<any>({}).plugin(plugin, { dataKey: 'owner', fields: indexed(String) }),
    /not supported with dataKey/,
  ))

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
