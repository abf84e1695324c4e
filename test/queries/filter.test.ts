import mongoose from 'mongoose'
import { checkExpression, checkFilter, checkPath, checkSort } from '../../lib/queries/filter'
import { Box } from '../../lib/schema/box'
import { Place } from '../../lib/schema/layout'
import { Filter, odd, place, refusal, root, User, value } from './layouts'

const { Binary, Long, ObjectId } = mongoose.mongo
const { field, use } = root.children.get('email')!.fields[0]!
const box = () => Box.open(field, use, undefined, value)
const bare = (values: object) => Object.assign(Object.create(null), values)
const envelope = new Binary(Buffer.concat([Buffer.from([1]), Buffer.alloc(40)]), 0x80)
const document = () => new (User as any)({ name: 'Ada', email: value })
const asDocument = (values: object) => ({ toBSON: () => values })

/** Each with the path that the message names. */
const refusals: [string, unknown, string][] = [
  ['equality', { email: value }, 'email'],
  ['an empty text', { email: '' }, 'email'],
  ['undefined', { email: undefined }, 'email'],
  ['undefined in $eq', { email: { $eq: undefined } }, 'email'],
  ['no operator', { email: {} }, 'email'],
  ['a String object', { email: new String(value) }, 'email'],
  ['a list', { email: [value] }, 'email'],
  ['an envelope', { email: envelope }, 'email'],
  ['an envelope in $eq', { email: { $eq: envelope } }, 'email'],
  ['bytes', { raw: Buffer.from(value) }, 'raw'],
  ['a regular expression', { email: /./ }, 'email'],
  ['$eq', { email: { $eq: value } }, 'email'],
  ['$ne', { email: { $ne: value } }, 'email'],
  ['$gt beside what is allowed', { email: { $ne: null, $gt: value } }, 'email'],
  ['$in', { email: { $in: [value] } }, 'email'],
  ['$in, null among others', { email: { $in: [null, value] } }, 'email'],
  ['$in of a set', { email: { $in: new Set([value]) } }, 'email'],
  ['$nin', { email: { $nin: [value] } }, 'email'],
  ['$not', { email: { $not: { $eq: value } } }, 'email'],
  ['$not of a regular expression', { email: { $not: /./ } }, 'email'],
  ['$not of null', { email: { $not: null } }, 'email'],
  ['$regex', { email: { $regex: '.' } }, 'email'],
  ['$size', { labels: { $size: 1 } }, 'labels'],
  ['$all', { labels: { $all: [value] } }, 'labels'],
  ['$elemMatch', { labels: { $elemMatch: { $eq: value } } }, 'labels'],
  ['$type of the value', { email: { $type: 'string' } }, 'email'],
  ['$type of the value among others', { email: { $type: ['null', 2] } }, 'email'],
  ['an unknown operator', { email: { $near: null } }, 'email'],
  ['a class of conditions', { email: new Filter({ $in: [value] }) }, 'email'],
  ['a Map of conditions', { email: new Map([['$eq', value]]) }, 'email'],
  ['a path below', { 'address.city': value }, 'address.city'],
  ['a path below, null', { 'address.city': null }, 'address.city'],
  ['an element', { 'labels.0': null }, 'labels.0'],
  ['a whole field', { address: { city: value } }, 'address'],
  ['a class', new Filter({ email: value }), 'email'],
  ['no prototype', bare({ email: value }), 'email'],
  ['a Map', new Map([['email', value]]), 'email'],
  ['a document', document(), 'email'],
  ['what says itself how it is stored', asDocument({ email: value }), 'email'],
  ['a list of filters', [{ email: value }], 'email'],
  ['$and', { $and: [{ name: 'Ada' }, { email: value }] }, 'email'],
  ['$or', { $or: [{ name: 'Ada' }, { email: value }] }, 'email'],
  ['$nor', { $nor: [{ email: value }] }, 'email'],
  ['$or of classes', { $or: [new Filter({ email: value })] }, 'email'],
  ['$or of Maps', { $or: [new Map([['email', value]])] }, 'email'],
  ['a Map of lists', new Map([['$or', [{ email: value }]]]), 'email'],
  ['a Map in place of a list', { $or: new Map([['0', { email: value }]]) }, 'email'],
  ['an object in place of a list', { $or: { email: value } }, 'email'],
  [
    'a class in a class',
    { $and: [new Filter({ $or: [new Filter({ $nor: [new Filter({ email: value })] })] })] },
    'email',
  ],
  ['$not around a filter', { $not: { email: value } }, 'email'],
  ['a path of a subdocument', { 'one.phone': value }, 'one.phone'],
  ['a path of elements', { 'contacts.phone': value }, 'contacts.phone'],
  ['a path of one element', { 'contacts.3.phone': value }, 'contacts.3.phone'],
  ['a path of a list in a list', { 'grid.0.1.phone': value }, 'grid.0.1.phone'],
  ['a path of a nested object', { 'nested.deep.down.phone': value }, 'nested.deep.down.phone'],
  ['a path in a map', { 'byName.ada.phone': value }, 'byName.ada.phone'],
  ['a path in a map of lists', { 'byPlace.london.phone': value }, 'byPlace.london.phone'],
  ['a path of an element in a map', { 'byPlace.london.0.phone': value }, 'byPlace.london.0.phone'],
  ['a whole subdocument', { one: { label: 'home', phone: value } }, 'one.phone'],
  ['a whole subdocument with operators for values', { one: { phone: { $exists: true } } }, 'one.phone'],
  ['a whole subdocument by a key with dots', { nested: { 'deep.down.phone': value } }, 'nested.deep.down.phone'],
  ['a whole nested object', { nested: { deep: { down: { phone: value } } } }, 'nested.deep.down.phone'],
  ['a part of a nested object', { 'nested.deep': { down: { phone: value } } }, 'nested.deep.down.phone'],
  ['a class for a subdocument', { one: new Filter({ phone: value }) }, 'one.phone'],
  ['a Map for a subdocument', { one: new Map([['phone', value]]) }, 'one.phone'],
  ['a document for a subdocument', { one: asDocument({ phone: value }) }, 'one.phone'],
  ['one of the elements', { contacts: { phone: value } }, 'contacts.phone'],
  ['all elements', { contacts: [{ label: 'home' }, { phone: value }] }, 'contacts.phone'],
  ['elements of a list in a list', { grid: [[{ phone: value }]] }, 'grid.phone'],
  ['a whole map', { byPlace: { london: [{ phone: value }] } }, 'byPlace.london.phone'],
  ['a whole Map', { byPlace: new Map([['london', [{ phone: value }]]]) }, 'byPlace.london.phone'],
  ['a Map of Maps', { byName: new Map([['ada', new Map([['phone', value]])]]) }, 'byName.ada.phone'],
  ['$eq of a subdocument', { one: { $eq: { phone: value } } }, 'one.phone'],
  ['$gt of a subdocument', { one: { $gt: { phone: value } } }, 'one.phone'],
  ['$in of subdocuments', { contacts: { $in: [{ phone: value }] } }, 'contacts.phone'],
  ['$not of a subdocument', { contacts: { $not: { $eq: { phone: value } } } }, 'contacts.phone'],
  ['$elemMatch of elements', { contacts: { $elemMatch: { phone: value } } }, 'contacts.phone'],
  ['$elemMatch by a class', { contacts: { $elemMatch: new Filter({ phone: value }) } }, 'contacts.phone'],
  ['$elemMatch with $or', { contacts: { $elemMatch: { $or: [{ phone: value }] } } }, 'contacts.phone'],
  ['$elemMatch with $eq', { contacts: { $elemMatch: { $eq: { phone: value } } } }, 'contacts.phone'],
  ['$elemMatch in $elemMatch', { grid: { $elemMatch: { $elemMatch: { phone: value } } } }, 'grid.phone'],
  ['$elemMatch in $not', { contacts: { $not: { $elemMatch: { phone: value } } } }, 'contacts.phone'],
  ['$elemMatch in $all', { contacts: { $all: [{ $elemMatch: { phone: value } }] } }, 'contacts.phone'],
  ['$all of elements', { contacts: { $all: [{ phone: value }] } }, 'contacts.phone'],
  ['$pull of an element', { 'contacts.phone': { $in: [value] } }, 'contacts.phone'],
  ['operators beside a path', { contacts: { $exists: true, phone: value } }, 'contacts.phone'],
  ['an owned field', { 'owned.note': value }, 'owned.note'],
  ['wrapped keys', { encrypted_kms_key: [] }, 'encrypted_kms_key'],
  ['a path of wrapped keys', { 'encrypted_kms_key.keyId': value }, 'encrypted_kms_key.keyId'],
  ['wrapped keys of elements', { 'contacts.encrypted_kms_key.version': 1 }, 'contacts.encrypted_kms_key.version'],
  ['wrapped keys in a whole subdocument', { one: { encrypted_kms_key: [{ keyId: value }] } }, 'one.encrypted_kms_key'],
  ['a box', { email: box() }, 'email'],
  ['a box in an operator', { email: { $ne: box() } }, 'email'],
  ['a box in a list', { email: { $in: [box()] } }, 'email'],
  ['a box for whether it is there', { email: { $exists: box() } }, 'email'],
  ['a box at a path in the clear', { name: box() }, 'name'],
  ['a box within a value in the clear', { name: { $in: [{ a: [box()] }] } }, 'name.$in.a'],
  ['a box in a Map', { tags: new Map([['a', box()]]) }, 'tags.a'],
  ['a box for a filter', { $or: [box()] }, 'the query'],
  ['a box as the filter', box(), 'the query'],
  ['a box in $jsonSchema', { $jsonSchema: { enum: [{ name: box() }] } }, 'enum.name'],
  ['$expr', { $and: [{ $expr: { $eq: ['$email', value] } }] }, 'email'],
  ['$expr within a class', { $or: [new Filter({ $expr: { $gt: ['$$ROOT.one.phone', value] } })] }, 'one.phone'],
  ['$where', { $where: `this.email === '${value}'` }, 'email'],
  ['$where, a function', { $where: (record: any) => record.contacts[0].phone }, 'phone'],
  ['$where, code', { $where: new mongoose.mongo.Code('return obj.email') }, 'email'],
  ['$jsonSchema', { $jsonSchema: { properties: { email: { type: 'string' } } } }, 'email'],
  ['$jsonSchema in $and', { $and: [{ $jsonSchema: { allOf: [{ properties: { email: {} } }] } }] }, 'email'],
  ['$jsonSchema of a part', { $jsonSchema: { properties: { one: { properties: { phone: {} } } } } }, 'one.phone'],
  [
    '$jsonSchema of elements',
    { $jsonSchema: { properties: { contacts: { items: { properties: { phone: {} } } } } } },
    'contacts.phone',
  ],
  [
    '$jsonSchema of lists',
    { $jsonSchema: { properties: { grid: { items: [{ items: { not: { properties: { phone: {} } } } }] } } } },
    'grid.phone',
  ],
  ['$jsonSchema by a pattern', { $jsonSchema: { patternProperties: { '^em': { type: 'string' } } } }, 'email'],
  ['$jsonSchema by a pattern that is none here', { $jsonSchema: { patternProperties: { '(?i)(': {} } } }, ''],
  ['$jsonSchema of all others', { $jsonSchema: { additionalProperties: { type: 'string' } } }, ''],
  [
    '$jsonSchema of a map',
    { $jsonSchema: { properties: { byName: { additionalProperties: { properties: { phone: {} } } } } } },
    'byName.*.phone',
  ],
  ['$jsonSchema by dependency', { $jsonSchema: { dependencies: { name: { properties: { email: {} } } } } }, 'email'],
  [
    '$jsonSchema of different elements',
    { $jsonSchema: { properties: { contacts: { uniqueItems: true } } } },
    'contacts',
  ],
  ['$jsonSchema of given values', { $jsonSchema: { properties: { one: { enum: [{ phone: value }] } } } }, 'one.phone'],
  ['$jsonSchema of wrapped keys', { $jsonSchema: { properties: { encrypted_kms_key: {} } } }, 'encrypted_kms_key'],
]

test.each(refusals)('refused: %s', (_name, filter, path) => {
  expect(refusal(() => checkFilter(root, filter, place))).toContain(`: ${path}`)
})

const allowed: [string, unknown][] = [
  ['null', { email: null }],
  ['$exists', { email: { $exists: true } }],
  ['$exists: false', { email: { $exists: false } }],
  ['$eq null', { email: { $eq: null } }],
  ['$ne null', { email: { $ne: null } }],
  ['both', { email: { $exists: true, $ne: null } }],
  ['$in of null', { email: { $in: [null] } }],
  ['$in of nothing', { email: { $in: [] } }],
  ['$nin of null', { email: { $nin: [null, null] } }],
  ['$not', { email: { $not: { $eq: null } } }],
  ['$not of $in', { email: { $not: { $in: [null] } } }],
  ['$type of what is stored', { email: { $type: 'binData' } }],
  ['$type null', { email: { $type: ['null', 5, 10] } }],
  ['a class', { email: new Filter({ $ne: null }) }],
  ['a Map', new Map([['email', new Map([['$ne', null]])]])],
  ['of elements', { 'contacts.phone': null }],
  ['of one element', { 'contacts.0.phone': { $exists: true } }],
  ['of a map', { 'byName.ada.phone': { $ne: null } }],
  ['$elemMatch', { contacts: { $elemMatch: { phone: { $ne: null }, label: 'home' } } }],
  ['$elemMatch in $all', { contacts: { $all: [{ $elemMatch: { phone: null } }] } }],
  ['a whole subdocument with null', { one: { label: 'home', phone: null } }],
  ['a whole subdocument without', { one: { label: 'home' } }],
  ['elements without', { contacts: [{ label: 'home' }] }],
  ['a subdocument that is null', { one: null }],
  ['a subdocument that is there', { one: { $ne: null } }],
  ['how many elements', { contacts: { $size: 2 } }],
  ['a text for a subdocument', { one: 'text' }],
  ['paths in the clear of elements', { 'contacts.label': 'home', 'byPlace.london.0.label': { $gt: 'a' } }],
  ['a path of a nested object', { 'nested.clear': 'x' }],
  ['names like those of fields', { emails: 'x', 'other.email': 'x', 'tags.email': 'x', 'one.email': 'x', phone: 'x' }],
  ['a nested object like a record', { tags: { email: 'x', phone: { $gt: 'x' } } }],
  ['wrapped keys', { encrypted_kms_key: { $exists: true }, 'contacts.encrypted_kms_key': null }],
  ['how many wrapped keys', { 'encrypted_kms_key.1': { $exists: false } }],
  [
    'values of all classes',
    {
      name: /./,
      _id: new ObjectId(),
      a: new Date(),
      b: Long.fromNumber(1),
      c: envelope,
      d: Buffer.from('x'),
      e: new Map([['x', 1]]),
    },
  ],
  ['lists', { $and: [{ name: 'Ada' }, { $or: [{ email: null }, new Filter({ name: 'x' })] }], $nor: [{ name: 'x' }] }],
  ['$expr', { $expr: { $gt: ['$name', 'x'] } }],
  [
    'in lists',
    { $and: [{ email: { $exists: true } }], $or: [{ email: { $ne: null } }], $nor: [{ email: { $type: 5 } }] },
  ],
  ['$text and $comment', { $text: { $search: 'email' }, $comment: 'email' }],
  ['$where', { $where: 'this.name === 1' }],
  [
    '$jsonSchema',
    {
      $jsonSchema: {
        required: ['email', 'name'],
        properties: {
          name: { type: 'string' },
          one: { required: ['phone'] },
          contacts: { minItems: 1, items: { properties: { label: {} } } },
        },
      },
    },
  ],
  [
    '$jsonSchema with others',
    {
      $jsonSchema: {
        patternProperties: { '^na': { type: 'string' } },
        additionalProperties: false,
        dependencies: { name: ['email'] },
        anyOf: [{ properties: { tags: { uniqueItems: true } } }],
      },
    },
  ],
  ['what says itself how it is stored', asDocument({ name: 'Ada', email: null })],
]

test.each(allowed)('allowed: %s', (_name, filter) => {
  expect(checkFilter(root, filter, place)).toBeUndefined()
})

test('the filter within another collection’s records is checked by their layout alone', () => {
  const filter = { email: value, one: { phone: value } }
  expect(checkFilter(new Place(), filter, place)).toBeUndefined()
})

test.each(odd.map((each) => [each]))('%p is taken for what it is', (each) => {
  const filters = [
    each,
    { name: each, contacts: each, $and: each, $where: each },
    { $jsonSchema: each, $expr: each, $not: each, $text: each },
    { contacts: { $elemMatch: each, $all: each, $in: each, $not: each } },
  ]
  for (const filter of filters) expect(checkFilter(root, filter, place)).toBeUndefined()
  if (each !== null) refusal(() => checkFilter(root, { email: each }, place))
  refusal(() => checkFilter(root, { email: { $gt: each } }, place))
  for (const check of [checkExpression, checkSort, checkPath]) expect(check(root, each, place)).toBeUndefined()
})

const sorts: [string, unknown][] = [
  ['an object', { name: 1, email: -1 }],
  ['a class', new Filter({ email: 1 })],
  ['a Map', new Map([['email', 1]])],
  [
    'pairs',
    [
      ['name', 1],
      ['email', -1],
    ],
  ],
  ['one pair', ['email', -1]],
  ['a list of paths', ['name', 'email']],
  ['a list of objects', [{ name: 1 }, { email: 1 }]],
  ['a text', 'name email'],
  ['a text, backwards', '-email'],
  ['a text with a plus', 'name +email'],
  ['by a score', { email: { $meta: 'textScore' } }],
  ['a path of elements', { 'contacts.0.phone': 1 }],
  ['below a field', { 'address.city': 1 }],
]

test.each(sorts)('refused: a sort by %s', (_name, sort) => {
  expect(refusal(() => checkSort(root, sort, place))).toMatch(/email|contacts\.0\.phone|address\.city/)
})

test.each<[unknown]>([
  [{ name: 1, 'contacts.label': -1, emails: 1 }],
  [new Map([['name', 1]])],
  [[['name', 1]]],
  ['name -created  tags'],
  [{ encrypted_kms_key: 1 }],
])('allowed: a sort by %p', (sort) => {
  expect(checkSort(root, sort, place)).toBeUndefined()
})

test('paths', () => {
  for (const path of ['email', 'address.city', 'contacts.phone', 'byName.x.phone']) {
    expect(refusal(() => checkPath(root, path, place))).toContain(path)
  }
  for (const path of ['name', 'contacts', 'contacts.label', 'encrypted_kms_key.keyId', 'phone']) {
    expect(checkPath(root, path, place)).toBeUndefined()
  }
})

test('a box says that it is one', () => {
  for (const filter of [{ email: box() }, { name: box() }, { $or: [box()] }]) {
    expect(refusal(() => checkFilter(root, filter, place))).toContain('was given the value of an encrypted field')
  }
})
