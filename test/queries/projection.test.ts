import { kmsEncrypted, localKms } from '../../lib'
import { translateProjection } from '../../lib/queries/projection'
import { layoutOf } from '../../lib/schema/layout'
import { encrypted, Filter, modelOf, odd, place, refusal, root, value } from './layouts'

/** A record with two data keys, the encryption context of one of which reads a path. */
const tenants = layoutOf([
  modelOf(
    encrypted({ name: String, tenant: { id: String } }, { fields: { email: String } }).plugin(
      kmsEncrypted as never,
      {
        provider: localKms(),
        name: 'phone',
        fields: { phone: String, mobile: String },
      } as never,
    ),
  ),
])
tenants.children.get('encrypted_kms_key')!.keysOf[0]!.dependencies.add('tenant')

const keys = { encrypted_kms_key: 1 }

test.each<[string, unknown, object]>([
  ['a field', { email: 1 }, { email: 1, ...keys }],
  ['a field by true', { email: true, name: true }, { email: true, name: true, ...keys }],
  ['several fields', { email: 1, labels: 1 }, { email: 1, labels: 1, ...keys }],
  ['a field without _id', { _id: 0, email: 1 }, { _id: 0, email: 1, ...keys }],
  ['a class', new Filter({ email: 1 }), { email: 1, ...keys }],
  ['a Map', new Map([['email', 1]]), { email: 1, ...keys }],
  ['a text', 'email name', { email: 1, name: 1, ...keys }],
  ['a list', ['email'], { email: 1, ...keys }],
  ['below a field', { 'address.city': 1, 'address.street': 1 }, { address: 1, ...keys }],
  ['below a field, with its keys', { 'address.city': 1, encrypted_kms_key: 1 }, { address: 1, ...keys }],
  ['of a subdocument', { 'one.phone': 1 }, { 'one.phone': 1, 'one._id': 1, 'one.encrypted_kms_key': 1 }],
  ['of elements', { 'contacts.phone': 1 }, { 'contacts.phone': 1, 'contacts._id': 1, 'contacts.encrypted_kms_key': 1 }],
  [
    'of a map',
    { 'byName.ada.phone': 1 },
    { 'byName.ada.phone': 1, 'byName.ada._id': 1, 'byName.ada.encrypted_kms_key': 1 },
  ],
  [
    'of a nested subdocument',
    { 'nested.deep.down.phone': 1 },
    { 'nested.deep.down.phone': 1, 'nested.deep.down._id': 1, 'nested.deep.down.encrypted_kms_key': 1 },
  ],
  [
    'an object within',
    { one: { phone: 1, label: 1 } },
    { 'one.phone': 1, 'one.label': 1, 'one._id': 1, 'one.encrypted_kms_key': 1 },
  ],
  [
    'the record’s and the subdocument’s',
    { email: 1, 'one.phone': 1 },
    { email: 1, 'one.phone': 1, ...keys, 'one._id': 1, 'one.encrypted_kms_key': 1 },
  ],
  ['a field and a part of its keys', { email: 1, 'encrypted_kms_key.keyId': 1 }, { email: 1, ...keys }],
  ['of the owner’s key', { 'owned.note': 1 }, { 'owned.note': 1, 'owned._id': 1, ...keys }],
  ['a whole subdocument of the owner’s key', { owned: 1 }, { owned: 1, ...keys }],
  ['an element of the owner’s key', { 'owned.$': 1 }, { 'owned.$': 1, ...keys }],
  [
    'elements of the owner’s key',
    { owned: { $elemMatch: { label: 'x' } } },
    { owned: { $elemMatch: { label: 'x' } }, ...keys },
  ],
  ['some elements of the owner’s key', { name: 1, owned: { $slice: 1 } }, { name: 1, owned: { $slice: 1 }, ...keys }],
])('what is needed is loaded with it: %s', (_name, projection, expected) => {
  expect(translateProjection(root, projection, place)).toEqual(expected)
})

test.each<[string, object, object]>([
  ['what the context reads', { email: 1 }, { email: 1, ...keys, tenant: 1 }],
  ['in place of a part of it', { email: 1, 'tenant.id': 1 }, { email: 1, ...keys, tenant: 1 }],
  [
    'but not beside a part that is sliced',
    { email: 1, 'tenant.tags': { $slice: 1 } },
    { email: 1, 'tenant.tags': { $slice: 1 }, ...keys },
  ],
  ['but not twice', { email: 1, tenant: 1 }, { email: 1, tenant: 1, ...keys }],
  ['and no other key', { phone: 1 }, { phone: 1, encrypted_kms_key_phone: 1 }],
  ['both keys', { email: 1, phone: 1 }, { email: 1, phone: 1, ...keys, tenant: 1, encrypted_kms_key_phone: 1 }],
  ['not the key of what is left out', { email: 0 }, { email: 0, encrypted_kms_key: 0 }],
  [
    'not the key where all of it is left out',
    { phone: 0, mobile: false, name: 0 },
    { phone: 0, mobile: false, name: 0, encrypted_kms_key_phone: 0 },
  ],
])('%s', (_name, projection, expected) => {
  expect(translateProjection(tenants, projection, place)).toEqual(expected)
})

test.each<[string, unknown]>([
  ['nothing', {}],
  ['what is in the clear', { name: 1, 'contacts.label': 1, 'nested.clear': true }],
  ['a text', 'name -_id'],
  ['_id alone', { _id: 1 }],
  ['a field with its keys', { email: 1, encrypted_kms_key: 1 }],
  ['wrapped keys alone', { 'encrypted_kms_key.keyId': 1 }],
  ['a whole subdocument', { contacts: 1, one: true }],
  ['a whole map', { byName: 1 }],
  ['an element', { 'contacts.$': 1 }],
  ['some elements', { contacts: { $slice: [1, 2] } }],
  ['some elements of the owner’s key, beside all else', { owned: { $slice: 1 } }],
  ['elements by what is in the clear', { contacts: { $elemMatch: { label: 'home', phone: { $ne: null } } } }],
  ['elements in the clear', { tags: { $elemMatch: { $eq: 'x' } } }],
  ['something else by the name of what is owned', { owned: { $literal: 1 } }],
  ['all fields but some left out', { email: 0, labels: 0, address: 0, raw: 0, owned: { $slice: 1 } }],
  ['one field of several left out', { email: 0 }],
  ['all fields of a subdocument left out', { 'contacts.phone': 0 }],
  ['all fields but an owned one left out', { email: 0, labels: 0, address: 0, raw: 0 }],
  ['wrapped keys left out', { encrypted_kms_key: 0 }],
  ['a plus, as Mongoose has it', { '+email': 1 }],
  ['a score', { score: { $meta: 'textScore' } }],
  ['an expression', { upper: { $toUpper: '$name' }, whole: '$one', text: 'email' }],
  ['an empty object within', { one: {} }],
])('stays as it is: %s', (_name, projection) => {
  expect(translateProjection(root, projection, place)).toBeUndefined()
})

test('the key is left out with all that it opens, also where that is in a subdocument', () => {
  const without = { email: 0, labels: 0, address: 0, raw: 0 }
  for (const owned of [{ owned: 0 }, { 'owned.note': 0 }]) {
    expect(translateProjection(root, { ...without, ...owned }, place)).toEqual({
      ...without,
      ...owned,
      encrypted_kms_key: 0,
    })
  }
})

test.each<[string, unknown, string]>([
  ['$slice', { labels: { $slice: 1 } }, 'labels'],
  ['$elemMatch', { labels: { $elemMatch: { $eq: value } } }, 'labels'],
  ['$meta', { email: { $meta: 'textScore' } }, 'email'],
  ['an expression in its place', { email: { $toUpper: '$name' } }, 'email'],
  ['a text in its place', { email: value }, 'email'],
  ['another number', { email: 2 }, 'email'],
  ['undefined', { email: undefined }, 'email'],
  ['$slice of a subdocument’s', { 'one.phone': { $slice: 1 } }, 'one.phone'],
  ['below a field, left out', { 'address.city': 0 }, 'address.city'],
  ['below a field, sliced', { 'address.city': { $slice: 1 } }, 'address.city'],
  ['an expression', { mail: { $toUpper: '$email' } }, 'email'],
  ['a path', { mail: '$one.phone' }, 'one.phone'],
  ['an expression within an object', { a: { b: { $concat: ['$$ROOT.email'] } } }, 'email'],
  ['a part by an expression', { x: { $slice: ['$labels', 1] } }, 'labels'],
  ['elements by their field', { contacts: { $elemMatch: { phone: value } } }, 'phone'],
  ['elements by a class', { contacts: { $elemMatch: new Filter({ $or: [{ phone: value }] }) } }, 'phone'],
  ['elements of lists', { grid: { $elemMatch: { $elemMatch: { phone: value } } } }, 'phone'],
])('refused: %s', (_name, projection, path) => {
  expect(refusal(() => translateProjection(root, projection, place))).toContain(`: ${path}`)
})

test.each(odd.map((each) => [each]))('%p is taken for what it is', (each) => {
  expect(translateProjection(root, each, place)).toBeUndefined()
  expect(translateProjection(root, { name: each, contacts: each }, place)).toBeUndefined()
  expect(translateProjection(root, { contacts: { $elemMatch: each } }, place)).toBeUndefined()
})

test('the error that Mongoose gives in place of a projection is thrown', () => {
  const error = new Error('cast')
  expect(() => translateProjection(root, error, place)).toThrow(error)
})
