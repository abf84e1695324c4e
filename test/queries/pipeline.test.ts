import { checkPipeline } from '../../lib/queries/pipeline'
import { Box } from '../../lib/schema/box'
import { layoutOf, Place } from '../../lib/schema/layout'
import { branch, encrypted, Filter, modelOf, odd, refusal, root, value } from './layouts'

const other = layoutOf([
  modelOf(encrypted({ title: String, user: String }, { fields: { secret: String, name: String } })),
])
const { field, use } = root.children.get('email')!.fields[0]!
const rootOf = (collection: string) => ({ users: root, others: other })[collection]
const place = 'User.aggregate()'
const check = (pipeline: unknown, from: Place = root) => checkPipeline(from, pipeline, rootOf, place)

const asked = (path: string) => ({ $match: { [path]: value } })
const joinUsers = { $lookup: { from: 'users', localField: 'friend', foreignField: '_id', as: 'user' } }
const joinOthers = { $lookup: { from: 'others', localField: '_id', foreignField: 'user', as: 'others' } }

/** Each with the path that the message names. */
const refusals: [string, unknown[], string][] = [
  ['$match', [asked('email')], 'email'],
  ['$match, a class', [{ $match: new Filter({ $or: [new Filter({ email: value })] }) }], 'email'],
  ['a stage that is a class', [new Filter(asked('email'))], 'email'],
  ['a stage that is a Map', [new Map([['$match', { email: value }]])], 'email'],
  ['$match after others', [{ $limit: 1 }, { $skip: 1 }, { $sample: { size: 1 } }, asked('email')], 'email'],
  ['$match with $expr', [{ $match: { $expr: { $eq: ['$email', value] } } }], 'email'],
  ['$facet', [{ $facet: { a: [{ $match: new Filter({ email: value }) }] } }], 'email'],
  ['after $facet', [{ $facet: { a: [{ $match: {} }] } }, asked('a.0.email')], 'a.0.email'],
  [
    '$facet after a new name',
    [{ $addFields: { copy: '$$ROOT' } }, { $facet: { a: [asked('copy.email')] } }],
    'copy.email',
  ],
  ['$lookup by a field', [{ $lookup: { from: 'x', localField: 'email', foreignField: 'y', as: 'z' } }], 'email'],
  ['$lookup of a field', [{ $lookup: { from: 'others', localField: 'x', foreignField: 'secret', as: 'z' } }], 'secret'],
  ['$lookup by a variable', [{ $lookup: { from: 'x', let: { e: '$email' }, pipeline: [], as: 'z' } }], 'email'],
  ['$lookup by a pipeline', [{ $lookup: { from: 'others', pipeline: [asked('secret')], as: 'z' } }], 'secret'],
  [
    '$lookup by a pipeline with a variable',
    [
      {
        $lookup: {
          from: 'x',
          let: { u: '$$ROOT' },
          pipeline: [{ $match: { $expr: { $eq: ['$y', '$$u.email'] } } }],
          as: 'z',
        },
      },
    ],
    'u.email',
  ],
  [
    '$lookup in $lookup by a variable',
    [
      {
        $lookup: {
          from: 'x',
          let: { u: '$one' },
          pipeline: [{ $lookup: { from: 'y', pipeline: [{ $project: { p: '$$u.phone' } }], as: 'a' } }],
          as: 'z',
        },
      },
    ],
    'u.phone',
  ],
  [
    '$lookup from another database',
    [{ $lookup: { from: { db: 'x', coll: 'others' }, pipeline: [asked('secret')], as: 'z' } }],
    'secret',
  ],
  ['after $lookup', [joinOthers, asked('others.secret')], 'others.secret'],
  ['after $lookup, an element', [joinOthers, asked('others.0.secret')], 'others.0.secret'],
  ['after $lookup of the same', [joinUsers, asked('user.contacts.0.phone')], 'user.contacts.0.phone'],
  [
    'after $lookup, $elemMatch',
    [joinOthers, { $match: { others: { $elemMatch: { secret: value } } } }],
    'others.secret',
  ],
  [
    'after $lookup, an expression',
    [joinOthers, { $project: { x: { $in: [value, '$others.secret'] } } }],
    'others.secret',
  ],
  ['after $lookup, a sort', [joinOthers, { $sort: { 'others.secret': 1 } }], 'others.secret'],
  ['after $lookup into a path', [{ $lookup: { from: 'others', as: 'a.b' } }, asked('a.0.b.secret')], 'a.0.b.secret'],
  [
    'after $lookup by a pipeline',
    [{ $lookup: { from: 'others', pipeline: [{ $project: { x: '$$ROOT' } }], as: 'a' } }, asked('a.x.secret')],
    'a.x.secret',
  ],
  ['after $lookup and $unwind', [joinUsers, { $unwind: '$user' }, asked('user.email')], 'user.email'],
  [
    'after $lookup and $unwind with options',
    [joinUsers, { $unwind: { path: '$user', includeArrayIndex: 'i' } }, asked('user.email')],
    'user.email',
  ],
  [
    'after $lookup and $replaceRoot',
    [joinUsers, { $unwind: '$user' }, { $replaceRoot: { newRoot: '$user' } }, asked('email')],
    'email',
  ],
  [
    'after $lookup and a merge',
    [joinOthers, { $replaceWith: { $mergeObjects: [{ $arrayElemAt: ['$others', 0] }, '$$ROOT'] } }, asked('secret')],
    'secret',
  ],
  [
    '$graphLookup from a field',
    [{ $graphLookup: { from: 'x', startWith: '$email', connectFromField: 'a', connectToField: 'b', as: 'z' } }],
    'email',
  ],
  [
    '$graphLookup by a field',
    [
      {
        $graphLookup: { from: 'others', startWith: '$name', connectFromField: 'secret', connectToField: 'b', as: 'z' },
      },
    ],
    'secret',
  ],
  [
    '$graphLookup to a field',
    [
      {
        $graphLookup: { from: 'others', startWith: '$name', connectFromField: 'a', connectToField: 'secret', as: 'z' },
      },
    ],
    'secret',
  ],
  [
    '$graphLookup with a condition',
    [{ $graphLookup: { from: 'others', startWith: '$name', restrictSearchWithMatch: { secret: value }, as: 'z' } }],
    'secret',
  ],
  [
    'after $graphLookup',
    [{ $graphLookup: { from: 'others', startWith: '$name', as: 'z' } }, asked('z.secret')],
    'z.secret',
  ],
  ['$unionWith', [{ $unionWith: { coll: 'others', pipeline: [asked('secret')] } }], 'secret'],
  ['after $unionWith', [{ $unionWith: 'others' }, asked('secret')], 'secret'],
  ['after $unionWith, what was there', [{ $unionWith: 'others' }, asked('email')], 'email'],
  [
    'after $unionWith of another shape',
    [{ $unionWith: { coll: 'others', pipeline: [{ $project: { x: '$$ROOT' } }] } }, asked('x.secret')],
    'x.secret',
  ],
  ['$geoNear', [{ $geoNear: { near: '$email', distanceField: 'd' } }], 'email'],
  ['$geoNear by a key', [{ $geoNear: { near: [0, 0], distanceField: 'd', key: 'address.city' } }], 'address.city'],
  ['$geoNear with a condition', [{ $geoNear: { near: [0, 0], distanceField: 'd', query: { email: value } } }], 'email'],
  ['$sort', [{ $sort: { email: 1 } }], 'email'],
  ['$unset', [{ $unset: 'email' }], 'email'],
  ['$unset of several', [{ $unset: ['name', 'contacts.phone'] }], 'contacts.phone'],
  ['$project', [{ $project: { email: 1 } }], 'email'],
  ['$project without', [{ $project: { email: 0 } }], 'email'],
  ['$project, nested', [{ $project: { one: { phone: 1 } } }], 'one.phone'],
  ['$project of an expression', [{ $project: { mail: { $toUpper: '$email' } } }], 'email'],
  ['$addFields', [{ $addFields: { mail: '$email' } }], 'email'],
  ['$set', [{ $set: { email: value } }], 'email'],
  ['$set, nested', [{ $set: { nested: { deep: { down: { phone: value } } } } }], 'nested.deep.down.phone'],
  ['$set by a class', [{ $set: new Filter({ one: new Filter({ phone: value }) }) }], 'one.phone'],
  ['$group', [{ $group: { _id: '$email' } }], 'email'],
  ['$group with an accumulator', [{ $group: { _id: null, a: { $max: '$email' } } }], 'email'],
  ['$bucket', [{ $bucket: { groupBy: '$email', boundaries: [0, 1] } }], 'email'],
  [
    '$bucketAuto, its output',
    [{ $bucketAuto: { groupBy: '$name', buckets: 2, output: { a: { $push: '$email' } } } }],
    'email',
  ],
  ['$sortByCount', [{ $sortByCount: '$email' }], 'email'],
  ['$setWindowFields, its order', [{ $setWindowFields: { sortBy: { email: 1 }, output: {} } }], 'email'],
  ['$setWindowFields, its parts', [{ $setWindowFields: { partitionBy: '$email', output: {} } }], 'email'],
  [
    '$setWindowFields, its output',
    [{ $setWindowFields: { output: { a: { $first: '$email', window: {} } } } }],
    'email',
  ],
  ['$setWindowFields, a name', [{ $setWindowFields: { output: { email: { $rank: {} } } } }], 'email'],
  ['$fill', [{ $fill: { sortBy: { name: 1 }, output: { email: { method: 'locf' } } } }], 'email'],
  ['$fill, its order', [{ $fill: { sortBy: { email: 1 }, output: {} } }], 'email'],
  ['$fill, its parts', [{ $fill: { partitionByFields: ['email'], output: {} } }], 'email'],
  ['$fill, a value', [{ $fill: { output: { name: { value: '$email' } } } }], 'email'],
  ['$densify', [{ $densify: { field: 'email', range: { step: 1, bounds: 'full' } } }], 'email'],
  ['$densify, its parts', [{ $densify: { field: 'name', partitionByFields: ['email'], range: {} } }], 'email'],
  ['$unwind', [{ $unwind: '$labels' }], 'labels'],
  ['$unwind with options', [{ $unwind: { path: '$labels' } }], 'labels'],
  ['$replaceRoot', [{ $replaceRoot: { newRoot: '$address' } }], 'address'],
  ['$replaceWith', [{ $replaceWith: '$address' }], 'address'],
  ['$redact', [{ $redact: { $cond: [{ $eq: ['$email', value] }, '$$KEEP', '$$PRUNE'] } }], 'email'],
  ['$redact, on the way down', [{ $redact: { $cond: [{ $eq: ['$phone', value] }, '$$DESCEND', '$$PRUNE'] } }], 'phone'],
  ['$documents', [{ $documents: [{ a: 1 }] }, { $lookup: { from: 'others', as: 'o' } }, asked('o.secret')], 'o.secret'],
  ['$search', [{ $search: { compound: { must: [{ text: { path: 'email', query: value } }] } } }], 'email'],
  [
    '$search of several',
    [{ $searchMeta: { text: { path: ['name', { value: 'email', multi: 'x' }], query: value } } }],
    'email',
  ],
  ['a stage of tomorrow', [{ $tomorrow: { by: ['$email'] } }], 'email'],
  ['after $replaceRoot by itself', [{ $replaceRoot: { newRoot: '$$ROOT' } }, asked('email')], 'email'],
  [
    'after $replaceRoot by a new name',
    [{ $replaceRoot: { newRoot: { user: '$$ROOT' } } }, asked('user.email')],
    'user.email',
  ],
  ['after $replaceWith by a new name', [{ $replaceWith: { user: '$$CURRENT' } }, asked('user.email')], 'user.email'],
  [
    'after $replaceRoot by a subdocument',
    [{ $unwind: '$contacts' }, { $replaceRoot: { newRoot: '$contacts' } }, asked('phone')],
    'phone',
  ],
  [
    'after $replaceRoot by a condition',
    [{ $replaceRoot: { newRoot: { $ifNull: ['$one', {}] } } }, asked('phone')],
    'phone',
  ],
  ['after $project by a new name', [{ $project: { user: '$$ROOT' } }, asked('user.email')], 'user.email'],
  ['after $project by _id', [{ $project: { _id: '$$ROOT' } }, asked('_id.email')], '_id.email'],
  ['after $project of a part', [{ $project: { contacts: 1 } }, asked('contacts.0.phone')], 'contacts.0.phone'],
  [
    'after $project of a nested part',
    [{ $project: { nested: { deep: 1 } } }, asked('nested.deep.down.phone')],
    'nested.deep.down.phone',
  ],
  [
    'after $project by a number class',
    [{ $project: { one: { _bsontype: 'Int32', valueOf: () => 1 } } }, asked('one.phone')],
    'one.phone',
  ],
  ['what is no longer there', [{ $project: { name: 1 } }, asked('email')], 'email'],
  ['a sort by it', [{ $project: { name: 1 } }, { $sort: { 'contacts.phone': 1 } }], 'contacts.phone'],
  ['what was left out', [{ $project: { one: 0 } }, asked('one.phone')], 'one.phone'],
  ['what was unset', [{ $unset: ['one', 'contacts'] }, asked('contacts.phone')], 'contacts.phone'],
  ['what was left out within', [{ $project: { 'contacts.label': 1 } }, asked('contacts.phone')], 'contacts.phone'],
  ['after $project without another', [{ $project: { name: 0 } }, asked('email')], 'email'],
  ['after $project without _id', [{ $project: { _id: 0 } }, asked('email')], 'email'],
  ['after $project with _id without another', [{ $project: { _id: 1, name: 0 } }, asked('email')], 'email'],
  ['after $addFields', [{ $addFields: { copy: '$$ROOT' } }, asked('copy.email')], 'copy.email'],
  ['after $addFields, what was there', [{ $addFields: { copy: 1 } }, asked('email')], 'email'],
  ['after $addFields of a subdocument', [{ $addFields: { copy: '$one' } }, asked('copy.phone')], 'copy.phone'],
  ['after $addFields of elements', [{ $addFields: { copy: '$contacts' } }, asked('copy.0.phone')], 'copy.0.phone'],
  ['after $addFields of a part of elements', [{ $addFields: { copy: '$grid.x' } }, asked('grid.phone')], 'grid.phone'],
  ['after $addFields to a path', [{ $addFields: { 'a.b': '$one' } }, asked('a.0.b.phone')], 'a.0.b.phone'],
  [
    'after $addFields to what is there',
    [{ $addFields: { 'contacts.b': '$one' } }, asked('contacts.0.b.phone')],
    'contacts.0.b.phone',
  ],
  ['after $addFields in a map', [{ $addFields: { 'byName.ada': 1 } }, asked('byName.eve.phone')], 'byName.eve.phone'],
  ['after $set of a list', [{ $set: { copy: ['$$ROOT'] } }, asked('copy.0.email')], 'copy.0.email'],
  [
    'after $set by $map',
    [{ $set: { copy: { $map: { input: '$contacts', in: { c: '$$this' } } } } }, asked('copy.0.c.phone')],
    'copy.0.c.phone',
  ],
  [
    'after $set by $filter',
    [{ $set: { copy: { $filter: { input: '$contacts', cond: true } } } }, asked('copy.phone')],
    'copy.phone',
  ],
  [
    'after $set by $reduce',
    [
      {
        $set: {
          copy: { $reduce: { input: '$contacts', initialValue: [], in: { $concatArrays: ['$$value', ['$$this']] } } },
        },
      },
      asked('copy.0.phone'),
    ],
    'copy.0.phone',
  ],
  [
    'after $set by $switch',
    [{ $set: { copy: { $switch: { branches: [branch(true, '$$ROOT')] } } } }, asked('copy.email')],
    'copy.email',
  ],
  [
    'after $set by an unknown operator',
    [{ $set: { copy: { $tomorrow: { x: '$$ROOT' } } } }, asked('copy.email')],
    'copy.email',
  ],
  [
    'after $set in turn',
    [{ $set: { a: '$$ROOT' } }, { $set: { b: '$a' } }, { $unset: 'a' }, asked('b.email')],
    'b.email',
  ],
  ['after $objectToArray', [{ $set: { all: { $objectToArray: '$$ROOT' } } }, asked('all.v')], 'all.v'],
  [
    'after $objectToArray and back',
    [
      {
        $replaceWith: {
          $arrayToObject: { $filter: { input: { $objectToArray: '$$ROOT' }, cond: { $ne: ['$$this.k', 'x'] } } },
        },
      },
      asked('email'),
    ],
    'email',
  ],
  ['after $group', [{ $group: { _id: null, all: { $push: '$$ROOT' } } }, asked('all.0.email')], 'all.0.email'],
  [
    'after $group by $first',
    [{ $group: { _id: '$name', user: { $first: '$$ROOT' } } }, asked('user.email')],
    'user.email',
  ],
  [
    'after $group of a set',
    [{ $group: { _id: '$name', ones: { $addToSet: '$one' } } }, asked('ones.phone')],
    'ones.phone',
  ],
  [
    'after $group of an object',
    [{ $group: { _id: '$name', all: { $push: { user: '$$ROOT' } } } }, asked('all.user.email')],
    'all.user.email',
  ],
  [
    'after $group by $top',
    [{ $group: { _id: '$name', user: { $top: { output: '$$ROOT', sortBy: { name: 1 } } } } }, asked('user.email')],
    'user.email',
  ],
  ['after $group by a whole', [{ $group: { _id: { one: '$one' } } }, asked('_id.one.phone')], '_id.one.phone'],
  [
    'after $bucket',
    [{ $bucket: { groupBy: '$name', boundaries: [], output: { all: { $push: '$$ROOT' } } } }, asked('all.email')],
    'all.email',
  ],
  ['after $bucket by a whole', [{ $bucket: { groupBy: '$one', boundaries: [] } }, asked('_id.phone')], '_id.phone'],
  ['after $sortByCount', [{ $sortByCount: '$one' }, asked('_id.phone')], '_id.phone'],
  [
    'after $setWindowFields',
    [{ $setWindowFields: { output: { all: { $push: '$$ROOT', window: {} } } } }, asked('all.email')],
    'all.email',
  ],
  ['after $fill', [{ $fill: { output: { name: { value: '$one' } } } }, asked('name.phone')], 'name.phone'],
  ['after $fill, what was there', [{ $fill: { output: { one: { value: 1 } } } }, asked('one.phone')], 'one.phone'],
  ['after $documents', [{ $documents: [{ a: 1 }] }, { $unionWith: 'others' }, asked('secret')], 'secret'],
  ['$merge, when matched', [{ $merge: { into: 'x', whenMatched: [{ $set: { a: '$$new.email' } }] } }], 'new.email'],
  ['$merge, a variable', [{ $merge: { into: 'x', let: { e: '$email' }, whenMatched: [] } }], 'email'],
  ['a box', [{ $sort: { name: Box.open(field, use, undefined, value) } }], '$sort.name'],
]

test.each(refusals)('refused: %s', (_name, pipeline, path) => {
  expect(refusal(() => check(pipeline))).toContain(`: ${path}`)
})

test.each<[string, unknown[]]>([
  [
    '$match of what is in the clear',
    [{ $match: new Filter({ name: 'Ada', 'contacts.label': 'home' }) }, { $group: { _id: '$name' } }],
  ],
  ['whether it is there', [{ $match: { email: { $ne: null }, 'contacts.phone': null } }]],
  ['whether it is there, by a new name', [joinOthers, { $match: { 'others.secret': { $exists: true } } }]],
  ['$lookup', [joinUsers, joinOthers, { $unwind: '$user' }, { $match: { 'others.title': 'x', 'user.name': 'Ada' } }]],
  [
    '$lookup by a pipeline',
    [
      {
        $lookup: {
          from: 'others',
          let: { n: '$name' },
          pipeline: [{ $match: { title: 'x', email: 'x', $expr: { $eq: ['$user', '$$n'] } } }],
          as: 'o',
        },
      },
    ],
  ],
  [
    '$lookup into a collection in the clear',
    [
      { $lookup: { from: 'x', localField: 'name', foreignField: 'email', pipeline: [asked('email')], as: 'z' } },
      asked('z.email'),
    ],
  ],
  [
    '$lookup by wrapped keys',
    [{ $lookup: { from: 'x', localField: 'encrypted_kms_key.keyId', foreignField: 'y', as: 'z' } }],
  ],
  [
    '$graphLookup',
    [
      {
        $graphLookup: {
          from: 'users',
          startWith: '$name',
          connectFromField: 'name',
          connectToField: 'friend',
          restrictSearchWithMatch: { name: 'x' },
          as: 'f',
        },
      },
      { $match: { 'f.name': 'x' } },
    ],
  ],
  ['$unionWith', [{ $unionWith: { coll: 'x', pipeline: [asked('email')] } }, { $unionWith: 'users' }]],
  [
    '$facet',
    [
      { $facet: { a: [{ $match: { name: 'x' } }, { $count: 'n' }], b: [{ $limit: 1 }] } },
      { $match: { 'a.email': 'x', 'b.name': 'x' } },
    ],
  ],
  [
    '$geoNear',
    [{ $geoNear: { near: { type: 'Point', coordinates: [0, 0] }, distanceField: 'd', query: { name: 'x' } } }],
  ],
  ['$sort', [{ $sort: { name: 1, 'contacts.label': -1 } }]],
  [
    '$project',
    [
      { $project: { name: 1, one: 1, nested: { clear: 1 }, n: { $size: '$contacts' } } },
      { $match: { n: 2, email: null } },
    ],
  ],
  ['whether what was left out is there', [{ $project: { one: 0 } }, { $match: { 'one.phone': null } }]],
  ['what was replaced', [{ $set: { one: { $literal: { phone: 'x' } } } }, asked('one.phone')]],
  ['a key of a map that was replaced', [{ $set: { 'byName.ada': 'x' } }, asked('byName.ada.phone')]],
  [
    'what was computed by $group',
    [
      { $group: { _id: '$name', email: { $sum: 1 }, all: { $push: { email: '$name', user: '$$ROOT' } } } },
      { $match: { email: 2, 'all.email': 'x' } },
    ],
  ],
  ['$count', [{ $count: 'email' }, asked('email')]],
  ['$sortByCount', [{ $sortByCount: '$name' }, { $match: { count: 1, email: 'x' } }]],
  [
    '$bucket',
    [{ $bucket: { groupBy: '$age', boundaries: [0, 1], default: 'x', output: { n: { $sum: 1 } } } }, asked('email')],
  ],
  [
    '$replaceRoot',
    [{ $unwind: '$contacts' }, { $replaceRoot: { newRoot: '$contacts' } }, { $match: { label: 'x', email: 'x' } }],
  ],
  ['$replaceWith', [{ $replaceWith: { name: '$name' } }, asked('email')]],
  [
    '$unwind',
    [
      { $unwind: { path: '$contacts', includeArrayIndex: 'one' } },
      { $match: { 'contacts.label': 'x', 'one.phone': 1 } },
    ],
  ],
  [
    '$setWindowFields',
    [
      {
        $setWindowFields: {
          partitionBy: '$name',
          sortBy: { age: 1 },
          output: { n: { $sum: '$age', window: { documents: [-1, 0] } } },
        },
      },
    ],
  ],
  [
    '$fill',
    [
      {
        $fill: {
          sortBy: { age: 1 },
          partitionByFields: ['name'],
          output: { age: { method: 'linear' }, n: { value: 0 } },
        },
      },
    ],
  ],
  [
    '$densify',
    [{ $densify: { field: 'at', partitionByFields: ['name'], range: { step: 1, unit: 'day', bounds: 'full' } } }],
  ],
  ['$redact', [{ $redact: { $cond: [{ $eq: ['$level', 5] }, '$$PRUNE', '$$DESCEND'] } }]],
  ['$documents', [{ $documents: [{ email: 'x' }] }, asked('email')]],
  ['$search', [{ $search: { text: { path: ['name', { wildcard: 'em*' }], query: 'email' } } }]],
  [
    '$merge and $out',
    [
      { $merge: { into: 'x', on: '_id', whenMatched: [{ $set: { a: '$$new.name' } }] } },
      { $out: 'y' },
      { $out: { db: 'z', coll: 'y' } },
    ],
  ],
  ['stages of nobody', [{ $indexStats: {} }, { $tomorrow: { by: '$name' } }, { constructor: 1 }, {}]],
])('allowed: %s', (_name, pipeline) => {
  expect(check(pipeline)).toBe(pipeline)
})

test.each<[string, object]>([
  ['$out', { $out: 'users' }],
  ['$out with a database', { $out: { db: 'x', coll: 'others' } }],
  ['$merge', { $merge: 'users' }],
  ['$merge with options', { $merge: { into: 'others' } }],
  ['$merge with a database', { $merge: { into: { db: 'x', coll: 'others' } } }],
  ['$out in $facet', { $facet: { a: [{ $out: 'users' }] } }],
])('refused: %s to records with encrypted fields', (_name, stage) => {
  expect(refusal(() => check([{ $group: { _id: '$name' } }, stage]), 'WRITE_REFUSED')).toMatch(/users|others/)
  refusal(() => check([stage], new Place()), 'WRITE_REFUSED')
})

test('a collection in the clear reaches others', () => {
  refusal(() => check([joinUsers, asked('user.email')], new Place()))
  const pipeline = [asked('email'), joinUsers, { $project: { email: 1 } }]
  expect(check(pipeline, new Place())).toBe(pipeline)
})

test('the layout of a collection stays as it is', () => {
  const before = JSON.stringify([...layoutPaths(root)])
  check([
    { $set: { 'contacts.x': '$$ROOT', name: '$one', 'byName.x': 1 } },
    { $unset: ['one', 'nested.deep'] },
    { $unionWith: 'others' },
  ])
  expect(JSON.stringify([...layoutPaths(root)])).toBe(before)
})

function* layoutPaths(at: Place, path = ''): Generator<string> {
  yield `${path} ${at.isArray} ${at.fields.length} ${at.keysOf.length}`
  for (const [key, child] of [...at.children, ['*', at.any] as const])
    if (child) yield* layoutPaths(child, `${path}.${key}`)
}

const stages =
  '$match $facet $lookup $graphLookup $unionWith $geoNear $merge $out $sort $unset $project $addFields $group $bucket $sortByCount ' +
  '$unwind $setWindowFields $fill $densify $replaceRoot $replaceWith $redact $search $documents $count $tomorrow'

test.each(stages.split(' '))('%s takes anything', (stage) => {
  for (const each of odd) {
    const pipeline = [
      { [stage]: each },
      { [stage]: { a: each } },
      { [stage]: { as: each, let: each, pipeline: each, output: each } },
    ]
    expect(check(pipeline)).toBe(pipeline)
  }
})

test.each(odd.map((each) => [each]))('%p is taken for what it is', (each) => {
  expect(check(each)).toBe(each)
  const pipeline = [each]
  expect(check(pipeline)).toBe(pipeline)
})
