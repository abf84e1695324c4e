import mongoose from 'mongoose'
import { type Behaviour, finds, refusesFilter } from './table'

const { Binary, Double, Int32, Long, ObjectId } = mongoose.mongo.BSON
const id = new ObjectId('64b7f0a1c2d3e4f5a6b7c8d9')
const bytes = (...values: number[]) => new Binary(Buffer.from(values))
const numbers = [
  { _id: 1, a: new Int32(1) },
  { _id: 2, a: Long.fromNumber(1) },
  { _id: 3, a: new Double(1) },
  { _id: 4, a: '1' },
]
const nulls = [{ _id: 1, a: null }, { _id: 2 }, { _id: 3, a: 0 }, { _id: 4, a: [null] }]
const lists = [
  { _id: 1, a: [1, 2, 3] },
  { _id: 2, a: [3] },
  { _id: 3, a: 3 },
  { _id: 4, a: [[3]] },
  { _id: 5, a: [] },
]
const items = [
  {
    _id: 1,
    items: [
      { k: 'x', n: 1 },
      { k: 'y', n: 5 },
    ],
  },
  { _id: 2, items: [{ k: 'x', n: 5 }] },
  { _id: 3, items: { k: 'x', n: 5 } },
]

export const filters: Behaviour[] = [
  finds('all documents', [{ _id: 1 }, { _id: 2 }], {}, [1, 2]),
  finds('numbers are equal across their types', numbers, { a: 1 }, [1, 2, 3]),
  finds(
    'a 64-bit integer beyond 2^53 is exact',
    [
      { _id: 1, a: Long.MAX_VALUE },
      { _id: 2, a: Long.MAX_VALUE.subtract(1) },
    ],
    { a: Long.MAX_VALUE },
    [1],
  ),
  finds('ranges stay within numbers', numbers, { a: { $gte: 1 } }, [1, 2, 3]),
  finds('ranges stay within strings', numbers, { a: { $gt: '' } }, [4]),
  finds(
    '$gt and $lt together',
    [
      { _id: 1, a: 1 },
      { _id: 2, a: 2 },
      { _id: 3, a: 3 },
    ],
    { a: { $gt: 1, $lt: 3 } },
    [2],
  ),
  finds('null is also a missing field', nulls, { a: null }, [1, 2, 4]),
  finds('$ne null', nulls, { a: { $ne: null } }, [3]),
  finds('$exists: false', nulls, { a: { $exists: false } }, [2]),
  finds('$exists: true includes null', nulls, { a: { $exists: true } }, [1, 3, 4]),
  finds('$in with null', nulls, { a: { $in: [null, 0] } }, [1, 2, 3, 4]),
  finds('$nin', nulls, { a: { $nin: [null] } }, [3]),
  finds('$gte null is null or missing', nulls, { a: { $gte: null } }, [1, 2, 4]),
  finds('$type int', numbers, { a: { $type: 'int' } }, [1]),
  finds('$type long', numbers, { a: { $type: 'long' } }, [2]),
  finds('$type double by number', numbers, { a: { $type: 1 } }, [3]),
  finds('$type number', numbers, { a: { $type: 'number' } }, [1, 2, 3]),
  finds('$type of a list of types', numbers, { a: { $type: ['string', 'int'] } }, [1, 4]),
  finds('$type array is the array itself', lists, { a: { $type: 'array' } }, [1, 2, 4, 5]),
  finds(
    '$type binData',
    [
      { _id: 1, a: bytes(1) },
      { _id: 2, a: 'AQ==' },
    ],
    { a: { $type: 'binData' } },
    [1],
  ),
  finds(
    '$type objectId',
    [
      { _id: 1, a: id },
      { _id: 2, a: id.toHexString() },
    ],
    { a: { $type: 'objectId' } },
    [1],
  ),
  finds('an element of an array', lists, { a: 3 }, [1, 2, 3]),
  finds('a whole array', lists, { a: [3] }, [2, 4]),
  finds('an empty array', lists, { a: [] }, [5]),
  finds('a range on any element', lists, { a: { $gt: 2 } }, [1, 2, 3]),
  finds('two ranges may be met by two elements', [{ _id: 1, a: [1, 5] }], { a: { $gt: 4, $lt: 2 } }, [1]),
  finds(
    '$elemMatch wants both of one element',
    [
      { _id: 1, a: [1, 5] },
      { _id: 2, a: [3] },
    ],
    { a: { $elemMatch: { $gt: 2, $lt: 4 } } },
    [2],
  ),
  finds('$size', lists, { a: { $size: 1 } }, [2, 4]),
  finds('$all', lists, { a: { $all: [1, 3] } }, [1]),
  finds('$all of a scalar', lists, { a: { $all: [3] } }, [1, 2, 3]),
  finds('$ne excludes arrays with the element', lists, { a: { $ne: 3 } }, [4, 5]),
  finds('an array by position', lists, { 'a.1': 2 }, [1]),
  finds('a path through an array of documents', items, { 'items.n': 5 }, [1, 2, 3]),
  finds('conditions on two fields of an array of documents', items, { 'items.k': 'x', 'items.n': 5 }, [1, 2, 3]),
  finds('$elemMatch on documents', items, { items: { $elemMatch: { k: 'x', n: 5 } } }, [2]),
  finds('a path with a position', items, { 'items.0.k': 'x' }, [1, 2]),
  finds(
    'a missing field of a document in an array',
    [
      { _id: 1, a: [{ b: 1 }, {}] },
      { _id: 2, a: [{ b: 1 }] },
    ],
    { 'a.b': null },
    [1],
  ),
  finds(
    'a field inside a scalar is missing',
    [
      { _id: 1, a: 4 },
      { _id: 2, a: { b: 1 } },
    ],
    { 'a.b': null },
    [1],
  ),
  finds(
    'an embedded document whole, in its field order',
    [
      { _id: 1, a: { x: 1, y: 2 } },
      { _id: 2, a: { y: 2, x: 1 } },
      { _id: 3, a: { x: 1 } },
    ],
    { a: { x: 1, y: 2 } },
    [1],
  ),
  finds(
    'Binary by its bytes',
    [
      { _id: 1, a: bytes(1, 2) },
      { _id: 2, a: bytes(1, 3) },
    ],
    { a: bytes(1, 2) },
    [1],
  ),
  finds(
    'Binary also by its subtype',
    [
      { _id: 1, a: new Binary(Buffer.from([1]), 0) },
      { _id: 2, a: new Binary(Buffer.from([1]), 5) },
    ],
    { a: new Binary(Buffer.from([1]), 5) },
    [2],
  ),
  finds(
    'Binary is ordered by length first',
    [
      { _id: 1, a: bytes(9) },
      { _id: 2, a: bytes(1, 1) },
    ],
    { a: { $gt: bytes(9) } },
    [2],
  ),
  finds(
    '$in of Binary',
    [
      { _id: 1, a: bytes(1) },
      { _id: 2, a: bytes(2) },
    ],
    { a: { $in: [bytes(2), bytes(3)] } },
    [2],
  ),
  finds('ObjectId', [{ _id: 1, a: id }], { a: new ObjectId(id.toHexString()) }, [1]),
  finds(
    'dates',
    [
      { _id: 1, a: new Date(5) },
      { _id: 2, a: new Date(9) },
    ],
    { a: { $lte: new Date(5) } },
    [1],
  ),
  finds(
    'booleans are no numbers',
    [
      { _id: 1, a: true },
      { _id: 2, a: 1 },
    ],
    { a: true },
    [1],
  ),
  finds(
    'a regular expression',
    [
      { _id: 1, a: 'Anna' },
      { _id: 2, a: 'bob' },
      { _id: 3, a: ['ann'] },
    ],
    { a: /^ann/i },
    [1, 3],
  ),
  finds(
    '$regex with $options',
    [
      { _id: 1, a: 'Anna' },
      { _id: 2, a: 'bob' },
    ],
    { a: { $regex: '^B', $options: 'i' } },
    [2],
  ),
  finds(
    '$in with a regular expression',
    [
      { _id: 1, a: 'Anna' },
      { _id: 2, a: 'bob' },
    ],
    { a: { $in: [/^b/] } },
    [2],
  ),
  finds(
    '$mod',
    [
      { _id: 1, a: 4 },
      { _id: 2, a: 5 },
    ],
    { a: { $mod: [4, 0] } },
    [1],
  ),
  finds('$not also finds missing fields', nulls, { a: { $not: { $gte: 0 } } }, [1, 2, 4]),
  finds('$and', lists, { $and: [{ a: 1 }, { a: 2 }] }, [1]),
  finds('$or', lists, { $or: [{ a: 1 }, { a: [] }] }, [1, 5]),
  finds('$nor', nulls, { $nor: [{ a: null }] }, [3]),
  finds(
    '$expr compares two fields',
    [
      { _id: 1, a: 2, b: 1 },
      { _id: 2, a: 1, b: 2 },
    ],
    { $expr: { $gt: ['$a', '$b'] } },
    [1],
  ),
  finds(
    '$expr compares across types',
    [
      { _id: 1, a: 'x' },
      { _id: 2, a: 1 },
    ],
    { $expr: { $gt: ['$a', 5] } },
    [1],
  ),
  finds('$expr compares arrays whole', [{ _id: 1, a: [1, 2] }], { $expr: { $eq: ['$a', 1] } }, []),
  refusesFilter('an unknown operator', { a: { $foo: 1 } }, 2),
  refusesFilter('an unknown top-level operator', { $foo: 1 }, 2),
  refusesFilter('$in without an array', { a: { $in: 1 } }, 2),
  refusesFilter('an empty $or', { $or: [] }, 2),
]
