import { checkArrayFilters } from '../../lib/queries/arrayfilters'
import { Box } from '../../lib/schema/box'
import { Filter, odd, refusal, root, value } from './layouts'

const { field, use } = root.children.get('email')!.fields[0]!
const place = 'User.updateOne()'
const update = { $set: { 'contacts.$[e].label': 'x' } }

const refusals: [string, unknown, unknown, string][] = [
  ['a path', update, { 'e.phone': value }, 'e.phone'],
  ['whether it is there, by a path', update, { 'e.phone': null }, 'e.phone'],
  ['a path within $or', update, { $or: [{ 'e.label': 'x' }, { 'e.phone': value }] }, 'e.phone'],
  ['null within $or', update, { $or: [{ 'e.phone': null }] }, 'e.phone'],
  ['a class', update, new Filter({ 'e.phone': value }), 'e.phone'],
  ['a Map', update, new Map([['e.phone', value]]), 'e.phone'],
  ['a class within $and', update, { $and: [new Filter({ 'e.phone': { $gt: value } })] }, 'e.phone'],
  ['a whole element', update, { e: { label: 'x', phone: value } }, 'e.phone'],
  ['a whole element by an operator', update, { e: { $in: [{ phone: value }] } }, 'e.phone'],
  ['$elemMatch', { $set: { 'grid.$[e].0.label': 'x' } }, { e: { $elemMatch: { phone: value } } }, 'e.phone'],
  ['elements of lists', { $set: { 'grid.$[a].$[e].label': 'x' } }, { 'e.phone': value }, 'e.phone'],
  ['the lists of elements', { $set: { 'grid.$[a].$[e].label': 'x' } }, { 'a.phone': value }, 'a.phone'],
  ['elements in a map', { $set: { 'byPlace.london.$[e].label': 'x' } }, { 'e.phone': value }, 'e.phone'],
  ['elements after a position', { $set: { 'grid.0.$[e].label': 'x' } }, { 'e.phone': value }, 'e.phone'],
  ['another operator', { $unset: { 'contacts.$[e].label': 1 } }, { 'e.phone': value }, 'e.phone'],
  [
    'one path of several',
    { $inc: { n: 1 }, $set: { name: 'x', 'tags.$[t]': 'y', 'contacts.$[e].label': 'x' } },
    { 'e.phone': value },
    'e.phone',
  ],
  [
    'an update that is a class',
    new Filter({ $set: new Filter({ 'contacts.$[e].label': 'x' }) }),
    { 'e.phone': value },
    'e.phone',
  ],
  ['an update without operators', { 'contacts.$[e].label': 'x' }, { 'e.phone': value }, 'e.phone'],
  ['the owner’s key', { $set: { 'owned.$[e].label': 'x' } }, { 'e.note': value }, 'e.note'],
  ['wrapped keys', update, { 'e.encrypted_kms_key.keyId': value }, 'e.encrypted_kms_key.keyId'],
  ['a box', update, { 'e.label': Box.open(field, use, undefined, value) }, 'e.label'],
  [
    'a box for any element',
    { $set: { 'tags.$[t]': 'x' } },
    { t: { $in: [Box.open(field, use, undefined, value)] } },
    't',
  ],
]

test.each(refusals)('refused: %s', (_name, given, filter, path) => {
  for (const filters of [[filter], [{ 'x.y': 1 }, filter]]) {
    expect(refusal(() => checkArrayFilters(root, given, filters, place))).toContain(`arrayFilters: ${path}`)
  }
})

test.each<[string, unknown, unknown]>([
  ['what is in the clear', update, { 'e.label': 'home', 'e.other.phone': 1 }],
  ['what is in the clear within $or', update, { $or: [{ 'e.label': 'home' }, { 'e._id': 1 }] }],
  ['a whole element', update, { e: { label: 'home', phone: null } }],
  ['an element that is there', update, { e: { $ne: null } }],
  ['elements in the clear', { $set: { 'tags.$[t]': 'x' } }, { t: { $gt: 'x' } }],
  ['another identifier', update, { 'other.phone': value }],
  ['wrapped keys that are there', update, { 'e.encrypted_kms_key': { $exists: true } }],
  ['elements of a field, whose update is refused', { $set: { 'labels.$[l]': 'x' } }, { l: { $type: 'string' } }],
  ['all elements', { $set: { 'contacts.$[].label': 'x' } }, { 'e.phone': value }],
])('allowed: %s', (_name, given, filter) => {
  expect(checkArrayFilters(root, given, [filter], place)).toBeUndefined()
})

test.each(odd.map((each) => [each]))('%p is taken for what it is', (each) => {
  expect(checkArrayFilters(root, each, each, place)).toBeUndefined()
  expect(checkArrayFilters(root, update, each, place)).toBeUndefined()
  expect(
    checkArrayFilters(root, update, [each, { e: each }, { 'e.label': each }, { $or: each }], place),
  ).toBeUndefined()
  for (const given of [each, { $set: each }, [each]]) checkArrayFilters(root, given, [{ e: 1 }], place)
})
