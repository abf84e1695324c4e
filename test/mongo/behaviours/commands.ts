import mongoose from 'mongoose'
import { aggregates, type Behaviour, projects, refusesAggregation } from './table'

const { Double, Long } = mongoose.mongo.BSON
const three = [
  { _id: 1, a: 3, g: 'x' },
  { _id: 2, a: 1, g: 'y' },
  { _id: 3, a: 2, g: 'x' },
]

/** How a find by `a` is planned where an index covers the documents that have it. */
function plansByPartialIndex(a: unknown, winningPlan: object): Behaviour {
  return {
    name: `explain: a partial index and ${JSON.stringify({ a })}`,
    before: three,
    indexes: [{ key: { a: 1 }, name: 'a_1', partialFilterExpression: { a: { $exists: true } } }],
    command: { explain: { find: 'things', filter: { a } }, verbosity: 'queryPlanner' },
    answer: { queryPlanner: { winningPlan } },
  }
}

export const writing: Behaviour[] = [
  {
    name: 'insert: several documents',
    command: {
      insert: 'things',
      documents: [
        { _id: 1, a: 1 },
        { _id: 2, a: { b: [1, null] } },
      ],
    },
    answer: { n: 2 },
    after: [
      { _id: 1, a: 1 },
      { _id: 2, a: { b: [1, null] } },
    ],
  },
  {
    name: 'insert: _id comes first',
    command: { insert: 'things', documents: [{ a: 1, _id: 1 }] },
    answer: { n: 1 },
    after: [{ _id: 1, a: 1 }],
  },
  {
    name: 'insert: number types survive',
    command: { insert: 'things', documents: [{ _id: 1, int: 1, long: Long.fromNumber(1), double: new Double(1) }] },
    answer: { n: 1 },
    after: [{ _id: 1, int: 1, long: Long.fromNumber(1), double: new Double(1) }],
  },
  {
    name: 'insert: ordered stops at the first error',
    before: [{ _id: 2 }],
    command: { insert: 'things', documents: [{ _id: 1 }, { _id: 2 }, { _id: 3 }] },
    answer: { n: 1, writeErrors: [{ index: 1, code: 11000, keyPattern: { _id: 1 }, keyValue: { _id: 2 } }] },
    after: [{ _id: 1 }, { _id: 2 }],
  },
  {
    name: 'insert: unordered goes on',
    before: [{ _id: 2 }],
    command: { insert: 'things', documents: [{ _id: 1 }, { _id: 2 }, { _id: 3 }], ordered: false },
    answer: { n: 2, writeErrors: [{ index: 1, code: 11000 }] },
    after: [{ _id: 1 }, { _id: 2 }, { _id: 3 }],
  },
  {
    name: 'insert: _ids are equal across number types',
    before: [{ _id: 1 }],
    command: { insert: 'things', documents: [{ _id: new Double(1) }] },
    answer: { n: 0, writeErrors: [{ index: 0, code: 11000 }] },
  },
  {
    name: 'insert: an array is no _id',
    command: { insert: 'things', documents: [{ _id: [1] }] },
    answer: { n: 0, writeErrors: [{ index: 0, code: 53 }] },
  },
  {
    name: 'update: one of several, the first',
    before: [
      { _id: 1, g: 1 },
      { _id: 2, g: 1 },
    ],
    command: { update: 'things', updates: [{ q: { g: 1 }, u: { $set: { a: 1 } } }] },
    answer: { n: 1, nModified: 1 },
    after: [
      { _id: 1, g: 1, a: 1 },
      { _id: 2, g: 1 },
    ],
  },
  {
    name: 'update: many',
    before: [
      { _id: 1, a: 1 },
      { _id: 2, a: 2 },
    ],
    command: { update: 'things', updates: [{ q: {}, u: { $set: { a: 2 } }, multi: true }] },
    answer: { n: 2, nModified: 1 },
    after: [
      { _id: 1, a: 2 },
      { _id: 2, a: 2 },
    ],
  },
  {
    name: 'update: several statements, unordered',
    before: [
      { _id: 1, a: 'x' },
      { _id: 2, a: 2 },
    ],
    command: {
      update: 'things',
      updates: [
        { q: { _id: 1 }, u: { $inc: { a: 1 } } },
        { q: { _id: 2 }, u: { $inc: { a: 1 } } },
      ],
      ordered: false,
    },
    answer: { n: 1, nModified: 1, writeErrors: [{ index: 0, code: 14 }] },
    after: [
      { _id: 1, a: 'x' },
      { _id: 2, a: 3 },
    ],
  },
  {
    name: 'update: nothing matches',
    before: [{ _id: 1 }],
    command: { update: 'things', updates: [{ q: { _id: 2 }, u: { $set: { a: 1 } } }] },
    answer: { n: 0, nModified: 0 },
  },
  {
    name: 'delete: one',
    before: [
      { _id: 1, g: 1 },
      { _id: 2, g: 1 },
    ],
    command: { delete: 'things', deletes: [{ q: { g: 1 }, limit: 1 }] },
    answer: { n: 1 },
    after: [{ _id: 2, g: 1 }],
  },
  {
    name: 'delete: many',
    before: three,
    command: { delete: 'things', deletes: [{ q: { g: 'x' }, limit: 0 }] },
    answer: { n: 2 },
    after: [three[1]!],
  },
  {
    name: 'delete refused: a limit of two',
    before: three,
    command: { delete: 'things', deletes: [{ q: {}, limit: 2 }] },
    code: 9,
  },
  {
    name: 'delete refused: no limit',
    before: three,
    command: { delete: 'things', deletes: [{ q: {} }] },
    code: 40414,
  },
  {
    name: 'findAndModify: the last by natural order',
    before: three,
    command: { findAndModify: 'things', query: {}, sort: { $natural: -1 }, remove: true },
    answer: { value: three[2] },
    after: [three[0]!, three[1]!],
  },
  {
    name: 'findAndModify: the document before',
    before: [{ _id: 1, a: 1 }],
    command: { findAndModify: 'things', query: { _id: 1 }, update: { $inc: { a: 1 } } },
    answer: { lastErrorObject: { n: 1, updatedExisting: true }, value: { _id: 1, a: 1 } },
    after: [{ _id: 1, a: 2 }],
  },
  {
    name: 'findAndModify: the document after, projected',
    before: [{ _id: 1, a: 1, b: 1 }],
    command: { findAndModify: 'things', query: { _id: 1 }, update: { $inc: { a: 1 } }, new: true, fields: { b: 0 } },
    answer: { value: { _id: 1, a: 2 } },
    after: [{ _id: 1, a: 2, b: 1 }],
  },
  {
    name: 'findAndModify: the first by sort',
    before: three,
    command: { findAndModify: 'things', query: {}, sort: { a: 1 }, update: { $set: { a: 9 } } },
    answer: { value: three[1] },
    after: [three[0]!, { _id: 2, a: 9, g: 'y' }, three[2]!],
  },
  {
    name: 'findAndModify: remove',
    before: [{ _id: 1, a: 1 }],
    command: { findAndModify: 'things', query: { _id: 1 }, remove: true },
    answer: { lastErrorObject: { n: 1 }, value: { _id: 1, a: 1 } },
    after: [],
  },
  {
    name: 'findAndModify: upsert',
    command: { findAndModify: 'things', query: { _id: 1 }, update: { $set: { a: 1 } }, upsert: true, new: true },
    answer: { lastErrorObject: { n: 1, updatedExisting: false, upserted: 1 }, value: { _id: 1, a: 1 } },
    after: [{ _id: 1, a: 1 }],
  },
  {
    name: 'findAndModify: nothing matches',
    command: { findAndModify: 'things', query: { _id: 1 }, update: { $set: { a: 1 } } },
    answer: { lastErrorObject: { n: 0, updatedExisting: false }, value: null },
  },
  {
    name: 'findAndModify: with arrayFilters',
    before: [{ _id: 1, a: [1, 2] }],
    command: {
      findAndModify: 'things',
      query: { _id: 1 },
      update: { $set: { 'a.$[x]': 0 } },
      arrayFilters: [{ x: 2 }],
      new: true,
    },
    answer: { value: { _id: 1, a: [1, 0] } },
    after: [{ _id: 1, a: [1, 0] }],
  },
  {
    name: 'findAndModify refused: update and remove',
    command: { findAndModify: 'things', query: {}, update: { $set: { a: 1 } }, remove: true },
    code: 9,
  },
  {
    name: 'findAndModify refused: an error of the update',
    before: [{ _id: 1, a: 'x' }],
    command: { findAndModify: 'things', query: {}, update: { $inc: { a: 1 } } },
    code: 14,
  },
  { name: 'an unknown command', command: { thisIsNoCommand: 1 }, code: 59 },
  { name: 'ping', command: { ping: 1 }, answer: { ok: new Double(1) }, exact: true },
]

export const indexing: Behaviour[] = [
  {
    name: 'unique index: a duplicate',
    before: [{ _id: 1, name: 'x' }],
    indexes: [{ key: { name: 1 }, name: 'name_1', unique: true }],
    command: { insert: 'things', documents: [{ _id: 2, name: 'x' }] },
    answer: { n: 0, writeErrors: [{ index: 0, code: 11000, keyPattern: { name: 1 }, keyValue: { name: 'x' } }] },
  },
  {
    name: 'unique index: two documents without the field',
    before: [{ _id: 1 }],
    indexes: [{ key: { name: 1 }, name: 'name_1', unique: true }],
    command: { insert: 'things', documents: [{ _id: 2 }] },
    answer: { n: 0, writeErrors: [{ index: 0, code: 11000, keyValue: { name: null } }] },
  },
  {
    name: 'unique sparse index: two documents without the field',
    before: [{ _id: 1 }],
    indexes: [{ key: { name: 1 }, name: 'name_1', unique: true, sparse: true }],
    command: { insert: 'things', documents: [{ _id: 2 }] },
    answer: { n: 1 },
    after: [{ _id: 1 }, { _id: 2 }],
  },
  {
    name: 'unique partial index: outside of its condition',
    before: [{ _id: 1, name: 'x', live: false }],
    indexes: [{ key: { name: 1 }, name: 'name_1', unique: true, partialFilterExpression: { live: true } }],
    command: { insert: 'things', documents: [{ _id: 2, name: 'x', live: true }] },
    answer: { n: 1 },
    after: [
      { _id: 1, name: 'x', live: false },
      { _id: 2, name: 'x', live: true },
    ],
  },
  {
    name: 'unique partial index: inside of its condition',
    before: [{ _id: 1, name: 'x', live: true }],
    indexes: [{ key: { name: 1 }, name: 'name_1', unique: true, partialFilterExpression: { live: true } }],
    command: { insert: 'things', documents: [{ _id: 2, name: 'x', live: true }] },
    answer: { n: 0, writeErrors: [{ index: 0, code: 11000 }] },
  },
  {
    name: 'unique compound index: differs in one field',
    before: [{ _id: 1, a: 1, b: 1 }],
    indexes: [{ key: { a: 1, b: 1 }, name: 'a_1_b_1', unique: true }],
    command: {
      insert: 'things',
      documents: [
        { _id: 2, a: 1, b: 2 },
        { _id: 3, a: 1, b: 1 },
      ],
    },
    answer: { n: 1, writeErrors: [{ index: 1, code: 11000, keyValue: { a: 1, b: 1 } }] },
    after: [
      { _id: 1, a: 1, b: 1 },
      { _id: 2, a: 1, b: 2 },
    ],
  },
  {
    name: 'unique index on an array: an element of another document',
    before: [{ _id: 1, a: [1, 2] }],
    indexes: [{ key: { a: 1 }, name: 'a_1', unique: true }],
    command: { insert: 'things', documents: [{ _id: 2, a: [3, 2] }] },
    answer: { n: 0, writeErrors: [{ index: 0, code: 11000 }] },
  },
  {
    name: 'unique index on an array: the arrays inside it whole',
    before: [{ _id: 1, a: [[1, 2]] }],
    indexes: [{ key: { a: 1 }, name: 'a_1', unique: true }],
    command: {
      insert: 'things',
      documents: [
        { _id: 2, a: 1 },
        { _id: 3, a: [[1, 3]] },
        { _id: 4, a: [[1, 2]] },
      ],
    },
    answer: { n: 2, writeErrors: [{ index: 2, code: 11000, keyValue: { a: [1, 2] } }] },
    after: [
      { _id: 1, a: [[1, 2]] },
      { _id: 2, a: 1 },
      { _id: 3, a: [[1, 3]] },
    ],
  },
  {
    name: 'unique index on a field: not of documents in an array inside an array',
    before: [{ _id: 1, a: [[{ b: 1 }]] }],
    indexes: [{ key: { 'a.b': 1 }, name: 'a.b_1', unique: true }],
    command: {
      insert: 'things',
      documents: [
        { _id: 2, a: { b: 1 } },
        { _id: 3, a: [[{ b: 2 }]] },
      ],
    },
    answer: { n: 1, writeErrors: [{ index: 1, code: 11000, keyValue: { 'a.b': null } }] },
    after: [
      { _id: 1, a: [[{ b: 1 }]] },
      { _id: 2, a: { b: 1 } },
    ],
  },
  {
    name: 'unique index on a position: the array there whole',
    before: [{ _id: 1, a: [[1, 2]] }],
    indexes: [{ key: { 'a.0': 1 }, name: 'a.0_1', unique: true }],
    command: {
      insert: 'things',
      documents: [
        { _id: 2, a: [1] },
        { _id: 3, a: [[1, 2], 3] },
      ],
    },
    answer: { n: 1, writeErrors: [{ index: 1, code: 11000, keyValue: { 'a.0': [1, 2] } }] },
    after: [
      { _id: 1, a: [[1, 2]] },
      { _id: 2, a: [1] },
    ],
  },
  {
    name: 'unique index on a field of the documents of an empty array: null',
    before: [{ _id: 1, a: [] }],
    indexes: [{ key: { 'a.b': 1 }, name: 'a.b_1', unique: true }],
    command: { insert: 'things', documents: [{ _id: 2, a: { b: null } }] },
    answer: { n: 0, writeErrors: [{ index: 0, code: 11000 }] },
  },
  {
    name: 'unique index on two fields of the documents of one array: pairs of one document',
    before: [
      {
        _id: 1,
        a: [
          { x: 1, y: 1 },
          { x: 2, y: 2 },
        ],
      },
    ],
    indexes: [{ key: { 'a.x': 1, 'a.y': 1 }, name: 'x_y', unique: true }],
    command: {
      insert: 'things',
      documents: [
        { _id: 2, a: { x: 1, y: 2 } },
        { _id: 3, a: [{ x: 3 }, { x: 2, y: 2 }] },
      ],
    },
    answer: { n: 1, writeErrors: [{ index: 1, code: 11000, keyValue: { 'a.x': 2, 'a.y': 2 } }] },
    after: [
      {
        _id: 1,
        a: [
          { x: 1, y: 1 },
          { x: 2, y: 2 },
        ],
      },
      { _id: 2, a: { x: 1, y: 2 } },
    ],
  },
  {
    name: 'unique index on an array and a field of its documents',
    before: [{ _id: 1, a: [{ x: 1 }] }],
    indexes: [{ key: { a: 1, 'a.x': 1 }, name: 'a_x', unique: true }],
    command: { insert: 'things', documents: [{ _id: 2, a: [{ x: 2 }, { x: 1 }] }] },
    answer: { n: 0, writeErrors: [{ index: 0, code: 11000, keyValue: { a: { x: 1 }, 'a.x': 1 } }] },
  },
  {
    name: 'an index on two fields of the documents of one array finds them apart too',
    before: [
      {
        _id: 1,
        a: [
          { x: 1, y: 1 },
          { x: 2, y: 2 },
        ],
      },
    ],
    indexes: [{ key: { 'a.x': 1, 'a.y': 1 }, name: 'x_y' }],
    command: { find: 'things', filter: { 'a.x': 1, 'a.y': 2 }, projection: { _id: 1 } },
    answer: { cursor: { firstBatch: [{ _id: 1 }] } },
  },
  {
    name: 'an index on two arrays of one document',
    indexes: [{ key: { a: 1, b: 1 }, name: 'a_b' }],
    command: {
      insert: 'things',
      documents: [
        { _id: 1, a: [1], b: 1 },
        { _id: 2, a: [1], b: [1] },
      ],
    },
    answer: { n: 1, writeErrors: [{ index: 1, code: 171 }] },
    after: [{ _id: 1, a: [1], b: 1 }],
  },
  {
    name: 'an index on two arrays inside one array of documents',
    indexes: [{ key: { 'a.x': 1, 'a.y': 1 }, name: 'x_y' }],
    command: { insert: 'things', documents: [{ _id: 1, a: [{ x: [1], y: [1] }] }] },
    answer: { n: 0, writeErrors: [{ index: 0, code: 171 }] },
  },
  {
    name: 'unique index: an update that would duplicate changes nothing',
    before: [
      { _id: 1, a: 1 },
      { _id: 2, a: 2 },
    ],
    indexes: [{ key: { a: 1 }, name: 'a_1', unique: true }],
    command: { update: 'things', updates: [{ q: { _id: 2 }, u: { $set: { a: 1, b: 1 } } }] },
    answer: { n: 0, nModified: 0, writeErrors: [{ index: 0, code: 11000 }] },
  },
  {
    name: 'unique index: a value that was given up is free',
    before: [
      { _id: 1, a: 1 },
      { _id: 2, a: 2 },
    ],
    indexes: [{ key: { a: 1 }, name: 'a_1', unique: true }],
    command: {
      update: 'things',
      updates: [
        { q: { _id: 1 }, u: { $set: { a: 3 } } },
        { q: { _id: 2 }, u: { $set: { a: 1 } } },
      ],
    },
    answer: { n: 2, nModified: 2 },
    after: [
      { _id: 1, a: 3 },
      { _id: 2, a: 1 },
    ],
  },
  {
    name: 'findAndModify refused: a duplicate',
    before: [
      { _id: 1, a: 1 },
      { _id: 2, a: 2 },
    ],
    indexes: [{ key: { a: 1 }, name: 'a_1', unique: true }],
    command: { findAndModify: 'things', query: { _id: 2 }, update: { $set: { a: 1 } } },
    code: 11000,
    answer: { keyPattern: { a: 1 }, keyValue: { a: 1 } },
  },
  {
    name: 'createIndexes refused: the documents are not unique',
    before: [
      { _id: 1, a: 1 },
      { _id: 2, a: 1 },
    ],
    command: { createIndexes: 'things', indexes: [{ key: { a: 1 }, name: 'a_1', unique: true }] },
    code: 11000,
  },
  {
    name: 'createIndexes: counts before and after',
    before: [{ _id: 1 }],
    command: { createIndexes: 'things', indexes: [{ key: { a: 1 }, name: 'a_1' }] },
    answer: { numIndexesBefore: 1, numIndexesAfter: 2 },
  },
  {
    name: 'createIndexes: again is nothing new',
    before: [{ _id: 1 }],
    indexes: [{ key: { a: 1 }, name: 'a_1' }],
    command: { createIndexes: 'things', indexes: [{ key: { a: 1 }, name: 'a_1' }] },
    answer: { numIndexesBefore: 2, numIndexesAfter: 2 },
  },
  {
    name: 'createIndexes refused: the name with another key',
    indexes: [{ key: { a: 1 }, name: 'n' }],
    command: { createIndexes: 'things', indexes: [{ key: { b: 1 }, name: 'n' }] },
    code: 86,
  },
  {
    name: 'createIndexes refused: the key with another name',
    indexes: [{ key: { a: 1 }, name: 'n' }],
    command: { createIndexes: 'things', indexes: [{ key: { a: 1 }, name: 'm' }] },
    code: 85,
  },
  {
    name: 'listIndexes',
    before: [{ _id: 1 }],
    indexes: [{ key: { a: 1 }, name: 'a_1', unique: true, sparse: true }],
    command: { listIndexes: 'things' },
    answer: {
      cursor: {
        firstBatch: [
          { v: 2, key: { _id: 1 }, name: '_id_' },
          { v: 2, key: { a: 1 }, name: 'a_1', unique: true, sparse: true },
        ],
      },
    },
  },
  { name: 'listIndexes refused: no such collection', command: { listIndexes: 'nothing' }, code: 26 },
  {
    name: 'dropIndexes',
    indexes: [{ key: { a: 1 }, name: 'a_1' }],
    command: { dropIndexes: 'things', index: 'a_1' },
    answer: { nIndexesWas: 2 },
  },
  {
    name: 'dropIndexes refused: no such index',
    indexes: [{ key: { a: 1 }, name: 'a_1' }],
    command: { dropIndexes: 'things', index: 'b_1' },
    code: 27,
  },
  {
    name: 'explain: by index',
    before: three,
    indexes: [{ key: { a: 1 }, name: 'a_1' }],
    command: { explain: { find: 'things', filter: { a: 2 } }, verbosity: 'executionStats' },
    answer: {
      queryPlanner: { winningPlan: { stage: 'FETCH', inputStage: { stage: 'IXSCAN', indexName: 'a_1' } } },
      executionStats: { nReturned: 1, totalDocsExamined: 1 },
    },
  },
  {
    name: 'explain: what kind of index it is',
    before: three,
    indexes: [{ key: { a: 1 }, name: 'a_1', unique: true, sparse: true }],
    command: { explain: { find: 'things', filter: { a: 2 } }, verbosity: 'queryPlanner' },
    answer: {
      queryPlanner: {
        winningPlan: {
          inputStage: {
            keyPattern: { a: 1 },
            isUnique: true,
            isSparse: true,
            isPartial: false,
            indexVersion: 2,
            direction: 'forward',
          },
        },
      },
    },
  },
  // A partial index serves what can match nothing that is not in it.
  ...[2, { $eq: 2 }, { $in: [2, 3] }, { $gt: 1 }, { $exists: true, $in: [2] }].map((a) =>
    plansByPartialIndex(a, {
      stage: 'FETCH',
      inputStage: { stage: 'IXSCAN', keyPattern: { a: 1 }, indexName: 'a_1', isPartial: true },
    }),
  ),
  ...[null, { $eq: null }, { $in: [2, null] }, { $ne: 2 }, { $exists: false }].map((a) =>
    plansByPartialIndex(a, { stage: 'COLLSCAN' }),
  ),
  {
    name: 'find: by a partial index, what has several of the values once',
    before: [{ _id: 1, a: [1, 2] }, { _id: 2, a: 2 }, { _id: 3 }],
    indexes: [{ key: { a: 1 }, name: 'a_1', partialFilterExpression: { a: { $exists: true } } }],
    command: { find: 'things', filter: { a: { $in: [1, 2, 3] } }, sort: { _id: 1 } },
    answer: {
      cursor: {
        firstBatch: [
          { _id: 1, a: [1, 2] },
          { _id: 2, a: 2 },
        ],
      },
    },
  },
  {
    name: 'explain: by scan',
    before: three,
    command: { explain: { find: 'things', filter: { a: 2 } }, verbosity: 'executionStats' },
    answer: {
      queryPlanner: { winningPlan: { stage: 'COLLSCAN' } },
      executionStats: { nReturned: 1, totalDocsExamined: 3 },
    },
  },
]

export const reading: Behaviour[] = [
  {
    name: 'find: sort, skip and limit',
    before: three,
    command: { find: 'things', sort: { a: 1 }, skip: 1, limit: 1 },
    answer: { cursor: { firstBatch: [three[2]], id: Long.ZERO } },
  },
  {
    name: 'find: sort across types',
    before: [
      { _id: 1, a: 'x' },
      { _id: 2, a: 5 },
      { _id: 3 },
      { _id: 4, a: true },
      { _id: 5, a: { b: 1 } },
      { _id: 6, a: new Date(0) },
    ],
    command: { find: 'things', sort: { a: 1 }, projection: { a: 0 } },
    answer: { cursor: { firstBatch: [{ _id: 3 }, { _id: 2 }, { _id: 1 }, { _id: 5 }, { _id: 4 }, { _id: 6 }] } },
  },
  {
    name: 'find: an array sorts by its least element, or its greatest',
    before: [
      { _id: 1, a: [5, 1] },
      { _id: 2, a: 3 },
    ],
    command: { find: 'things', sort: { a: -1 }, projection: { a: 0 } },
    answer: { cursor: { firstBatch: [{ _id: 1 }, { _id: 2 }] } },
  },
  {
    name: 'find: an empty array sorts before null',
    before: [
      { _id: 1, a: null },
      { _id: 2, a: [] },
    ],
    command: { find: 'things', sort: { a: 1 }, projection: { a: 0 } },
    answer: { cursor: { firstBatch: [{ _id: 2 }, { _id: 1 }] } },
  },
  {
    name: 'find: sort by two fields',
    before: three,
    command: { find: 'things', sort: { g: -1, a: 1 }, projection: { _id: 1 } },
    answer: { cursor: { firstBatch: [{ _id: 2 }, { _id: 3 }, { _id: 1 }] } },
  },
  {
    name: 'find: reverse natural order',
    before: three,
    command: { find: 'things', filter: { _id: { $in: [2, 3, 1] } }, sort: { $natural: -1 }, limit: 2 },
    answer: { cursor: { firstBatch: [three[2], three[1]] } },
  },
  {
    name: 'find: natural order',
    before: three,
    command: { find: 'things', filter: { _id: { $in: [2, 3, 1] } }, sort: { $natural: 1 }, projection: { _id: 1 } },
    answer: { cursor: { firstBatch: [{ _id: 1 }, { _id: 2 }, { _id: 3 }] } },
  },
  {
    name: 'find: sort by two fields of the documents of an array, one document at a time',
    before: [
      {
        _id: 1,
        a: [
          { x: 1, y: 9 },
          { x: 2, y: 1 },
        ],
      },
      { _id: 2, a: { x: 1, y: 5 } },
    ],
    command: { find: 'things', sort: { 'a.x': 1, 'a.y': 1 }, projection: { _id: 1 } },
    answer: { cursor: { firstBatch: [{ _id: 2 }, { _id: 1 }] } },
  },
  {
    name: 'find refused: sort by parallel arrays',
    before: [{ _id: 1, a: [1], b: [1] }, { _id: 2 }],
    command: { find: 'things', sort: { a: 1, b: 1 } },
    code: 2,
  },
  { name: 'find refused: $natural by two', command: { find: 'things', sort: { $natural: 2 } }, code: 2 },
  { name: 'find refused: $natural and a field', command: { find: 'things', sort: { $natural: 1, a: 1 } }, code: 2 },
  { name: 'find refused: a negative limit', command: { find: 'things', limit: -1 }, code: 51024 },
  { name: 'find refused: a negative skip', command: { find: 'things', skip: -1 }, code: 51024 },
  { name: 'find refused: a negative batch size', command: { find: 'things', batchSize: -1 }, code: 51024 },
  { name: 'count refused: a negative skip', command: { count: 'things', skip: -1 }, code: 51024 },
  {
    name: 'count: a negative limit is a limit',
    before: three,
    command: { count: 'things', limit: -2 },
    answer: { n: 2 },
  },
  {
    name: 'find: a single batch closes the cursor',
    before: three,
    command: { find: 'things', batchSize: 1, singleBatch: true },
    answer: { cursor: { firstBatch: [three[0]], id: Long.ZERO } },
  },
  projects('inclusion with _id', { _id: 1, a: 1, b: 2 }, { a: 1 }, { _id: 1, a: 1 }),
  projects('inclusion without _id', { _id: 1, a: 1, b: 2 }, { a: 1, _id: 0 }, { a: 1 }),
  projects('exclusion', { _id: 1, a: 1, b: 2 }, { a: 0 }, { _id: 1, b: 2 }),
  projects('an embedded field', { _id: 1, a: { b: 1, c: 2 }, d: 1 }, { 'a.b': 1 }, { _id: 1, a: { b: 1 } }),
  projects(
    'a field of documents in an array',
    { _id: 1, a: [{ b: 1, c: 1 }, { c: 2 }, 5] },
    { 'a.b': 1 },
    { _id: 1, a: [{ b: 1 }, {}] },
  ),
  projects('exclusion in an array', { _id: 1, a: [{ b: 1, c: 1 }, 5] }, { 'a.b': 0 }, { _id: 1, a: [{ c: 1 }, 5] }),
  projects('$slice', { _id: 1, a: [1, 2, 3], b: 1 }, { a: { $slice: -2 } }, { _id: 1, a: [2, 3], b: 1 }),
  projects(
    '$elemMatch',
    { _id: 1, a: [{ k: 1 }, { k: 2 }, { k: 2, n: 1 }], b: 1 },
    { a: { $elemMatch: { k: 2 } } },
    { _id: 1, a: [{ k: 2 }] },
  ),
  {
    name: 'projection refused: inclusion and exclusion',
    before: three,
    command: { find: 'things', projection: { a: 1, g: 0 } },
    code: 31254,
  },
  {
    name: 'projection refused: exclusion and inclusion',
    before: three,
    command: { find: 'things', projection: { a: 0, g: 1 } },
    code: 31253,
  },
  { name: 'count', before: three, command: { count: 'things', query: { g: 'x' } }, answer: { n: 2 } },
  {
    name: 'count with skip and limit',
    before: three,
    command: { count: 'things', query: {}, skip: 1, limit: 1 },
    answer: { n: 1 },
  },
  {
    name: 'distinct: elements of arrays one by one',
    before: [{ _id: 1, a: [1, 2] }, { _id: 2, a: 2 }, { _id: 3 }],
    command: { distinct: 'things', key: 'a' },
    answer: { values: [1, 2] },
  },
  {
    name: 'distinct: a field that only some elements have',
    before: [
      { _id: 1, a: [{ b: 1 }, {}] },
      { _id: 2, a: [[{ b: 2 }]] },
      { _id: 3, a: { b: null } },
    ],
    command: { distinct: 'things', key: 'a.b' },
    answer: { values: [1, null] },
  },
  {
    name: 'distinct: by position',
    before: [
      { _id: 1, a: [[1, 2], 3] },
      { _id: 2, a: [4] },
    ],
    command: { distinct: 'things', key: 'a.0' },
    answer: { values: [1, 2, 4] },
  },
  aggregates(
    '$match, $sort, $project',
    three,
    [{ $match: { g: 'x' } }, { $sort: { a: 1 } }, { $project: { a: 1, _id: 0 } }],
    [{ a: 2 }, { a: 3 }],
  ),
  aggregates(
    '$group with $sum',
    three,
    [{ $group: { _id: '$g', total: { $sum: '$a' }, n: { $sum: 1 } } }, { $sort: { _id: 1 } }],
    [
      { _id: 'x', total: 5, n: 2 },
      { _id: 'y', total: 1, n: 1 },
    ],
  ),
  aggregates(
    '$group of everything',
    three,
    [{ $group: { _id: null, least: { $min: '$a' }, all: { $push: '$_id' } } }],
    [{ _id: null, least: 1, all: [1, 2, 3] }],
  ),
  aggregates('$count', three, [{ $match: { g: 'x' } }, { $count: 'n' }], [{ n: 2 }]),
  aggregates('$count of nothing', three, [{ $match: { g: 'z' } }, { $count: 'n' }], []),
  aggregates('$skip and $limit', three, [{ $sort: { _id: 1 } }, { $skip: 1 }, { $limit: 1 }], [three[1]!]),
  aggregates(
    '$unwind',
    [{ _id: 1, a: [1, 2] }, { _id: 2, a: [] }, { _id: 3 }],
    [{ $unwind: '$a' }],
    [
      { _id: 1, a: 1 },
      { _id: 1, a: 2 },
    ],
  ),
  aggregates(
    '$unwind keeping the empty',
    [{ _id: 1, a: [] }, { _id: 2 }],
    [{ $unwind: { path: '$a', preserveNullAndEmptyArrays: true } }, { $sort: { _id: 1 } }],
    [{ _id: 1 }, { _id: 2 }],
  ),
  aggregates(
    '$addFields',
    [{ _id: 1, a: 2 }],
    [{ $addFields: { b: { $multiply: ['$a', 3] }, 'c.d': 'x' } }],
    [{ _id: 1, a: 2, b: 6, c: { d: 'x' } }],
  ),
  aggregates(
    '$project computes',
    [{ _id: 1, a: 2, b: 'x' }],
    [{ $project: { twice: { $add: ['$a', '$a'] }, b: 1 } }],
    [{ _id: 1, b: 'x', twice: 4 }],
  ),
  aggregates('$replaceRoot', [{ _id: 1, a: { x: 1 } }], [{ $replaceRoot: { newRoot: '$a' } }], [{ x: 1 }]),
  aggregates(
    '$lookup',
    [{ _id: 1, parent: 2 }, { _id: 2 }],
    [{ $match: { _id: 1 } }, { $lookup: { from: 'things', localField: 'parent', foreignField: '_id', as: 'parents' } }],
    [{ _id: 1, parent: 2, parents: [{ _id: 2 }] }],
  ),
  aggregates(
    'expressions on arrays',
    [{ _id: 1, a: [1, 2, 3] }],
    [{ $project: { n: { $size: '$a' }, big: { $filter: { input: '$a', as: 'x', cond: { $gte: ['$$x', 2] } } } } }],
    [{ _id: 1, n: 3, big: [2, 3] }],
  ),
  aggregates(
    'the types of sums',
    [
      { _id: 1, int: 2147483647, long: Long.fromNumber(1), double: new Double(1), text: 'x' },
      { _id: 2, int: 1, long: Long.fromNumber(1), double: 1, text: 'y' },
    ],
    [
      {
        $group: {
          _id: null,
          int: { $sum: '$int' },
          long: { $sum: '$long' },
          double: { $sum: '$double' },
          text: { $sum: '$text' },
          average: { $avg: '$long' },
          none: { $avg: '$text' },
          least: { $min: '$double' },
        },
      },
    ],
    [
      {
        _id: null,
        int: Long.fromNumber(2147483648),
        long: Long.fromNumber(2),
        double: new Double(2),
        text: 0,
        average: new Double(1),
        none: null,
        least: new Double(1),
      },
    ],
  ),
  aggregates(
    '$sum beyond 64 bits is a double',
    [
      { _id: 1, a: Long.MAX_VALUE },
      { _id: 2, a: 1 },
    ],
    [{ $group: { _id: null, a: { $sum: '$a' } } }],
    [{ _id: null, a: new Double(2 ** 63) }],
  ),
  refusesAggregation('$project of nothing', three, [{ $project: {} }], 51272),
  refusesAggregation('$project of an empty document', three, [{ $project: { a: {} } }], 51270),
  refusesAggregation('$addFields of nothing', three, [{ $addFields: {} }], 40177),
  refusesAggregation('$addFields of an empty document', three, [{ $addFields: { a: {} } }], 40180),
  refusesAggregation('$unset of nothing', three, [{ $unset: [] }], 31119),
  refusesAggregation('$unset of a number', three, [{ $unset: 1 }], 31002),
  refusesAggregation('$unset of numbers', three, [{ $unset: [1] }], 31120),
  refusesAggregation('$count of no name', three, [{ $count: '' }], 40156),
  refusesAggregation('$count of a number', three, [{ $count: 1 }], 40156),
  refusesAggregation('$count of a name with a dollar', three, [{ $count: '$a' }], 40158),
  refusesAggregation('$count of a name with a dot', three, [{ $count: 'a.b' }], 40160),
  refusesAggregation('a negative $skip', three, [{ $skip: -1 }], 5107200),
  refusesAggregation('$skip of a string', three, [{ $skip: '1' }], 5107200),
  refusesAggregation('a negative $limit', three, [{ $limit: -1 }], 5107201),
  refusesAggregation('$limit of a fraction', three, [{ $limit: 1.5 }], 5107201),
  refusesAggregation('$limit of zero', three, [{ $limit: 0 }], 15958),
  refusesAggregation('$sort by $natural', three, [{ $sort: { $natural: 1 } }], 16410),
  refusesAggregation('$sort by nothing', three, [{ $sort: {} }], 15976),
  refusesAggregation('$sort of no document', three, [{ $sort: 1 }], 15973),
  refusesAggregation('$match of no document', three, [{ $match: 1 }], 15959),
  refusesAggregation('$group of no document', three, [{ $group: 1 }], 15947),
  refusesAggregation('$group without _id', three, [{ $group: { n: { $sum: 1 } } }], 15955),
  refusesAggregation('a stage with two fields', three, [{ $match: {}, $limit: 1 }], 40323),
  {
    name: 'aggregate refused: a negative batch size',
    command: { aggregate: 'things', pipeline: [], cursor: { batchSize: -1 } },
    code: 51024,
  },
  { name: 'aggregate refused: no cursor', command: { aggregate: 'things', pipeline: [] }, code: 9 },
]
