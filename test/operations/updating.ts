import { loadAda as ada, changes, empty, gone, ofAda, text, values } from './changes'
import type { Row, Section } from './row'

const updates: Row[] = [
  changes('updateOne(filter, values)', ({ User, options }, given) => User.updateOne(ofAda, given, options)),
  changes('updateOne $set', ({ User, options }, given) => User.updateOne(ofAda, { $set: given }, options)),
  changes(
    'updateOne, { middleware: false }',
    ({ User, options }, given) => User.updateOne(ofAda, { $set: given }, { ...options, middleware: false }),
    { since: '9.2' },
  ),
  changes('updateOne, { strict: false }', ({ User, options }, given) =>
    User.updateOne(ofAda, given, { ...options, strict: false }),
  ),
  changes("updateOne, { strict: 'throw' }", ({ User, options }, given) =>
    User.updateOne(ofAda, given, { ...options, strict: 'throw' }),
  ),
  changes('updateOne, { runValidators: true }', ({ User, options }, given) =>
    User.updateOne(ofAda, given, { ...options, runValidators: true }),
  ),
  changes('updateOne(filter, document)', async (world, given) =>
    world.User.updateOne(ofAda, new world.User({ _id: (await ada(world))._id, ...given }), world.options),
  ),
  changes('findOneAndUpdate(filter, document)', async (world, given) =>
    world.User.findOneAndUpdate(ofAda, new world.User({ _id: (await ada(world))._id, ...given }), world.options),
  ),
  changes('query.updateOne(values)', ({ User, options }, given) =>
    User.find(ofAda).updateOne(given).setOptions(options),
  ),
  changes('query.set(field, value)', ({ User, options }, given) =>
    Object.entries(given).reduce((query, [path, value]) => query.set(path, value), User.updateOne(ofAda, {}, options)),
  ),
  changes(
    'updateOne that matches nothing',
    ({ User, options }, given) => User.updateOne({ name: 'nobody' }, given, options),
    {
      after: () => ({}),
      note: 'Nothing is written, and the KMS is not asked.',
    },
  ),
  changes('findOneAndUpdate(filter, values)', ({ User, options }, given) =>
    User.findOneAndUpdate(ofAda, given, options),
  ),
  changes('findOneAndUpdate $set', ({ User, options }, given) =>
    User.findOneAndUpdate(ofAda, { $set: given }, options),
  ),
  changes(
    "findOneAndUpdate, { returnDocument: 'after' }",
    async ({ User, options }, given) => {
      const doc = await User.findOneAndUpdate(ofAda, given, { ...options, returnDocument: 'after' })
      const read: Record<string, unknown> = {}
      for (const path of Object.keys(given)) read[path] = await doc[path]
      return read
    },
    { gives: values, opens: 1 },
  ),
  changes('findOneAndUpdate, { lean: true }', ({ User, options }, given) =>
    User.findOneAndUpdate(ofAda, given, { ...options, lean: true }),
  ),
  changes('findOneAndUpdate, { includeResultMetadata: true }', ({ User, options }, given) =>
    User.findOneAndUpdate(ofAda, given, { ...options, includeResultMetadata: true }),
  ),
  changes(
    'findOneAndUpdate, { middleware: false }',
    ({ User, options }, given) => User.findOneAndUpdate(ofAda, given, { ...options, middleware: false }),
    { since: '9.2' },
  ),
  changes('findOneAndUpdate with a sort', ({ User, options }, given) =>
    User.findOneAndUpdate({}, given, { ...options, sort: { name: 1 } }),
  ),
  changes('findByIdAndUpdate(id, values)', async (world, given) =>
    world.User.findByIdAndUpdate((await ada(world))._id, given, world.options),
  ),
  changes('bulkWrite updateOne', ({ User, options }, given) =>
    User.bulkWrite([{ updateOne: { filter: ofAda, update: { $set: given } } }], options),
  ),
  changes(
    'bulkWrite updateOne of a record that an earlier operation inserts',
    ({ User, options }, given) =>
      User.bulkWrite(
        [
          { insertOne: { document: { name: 'Eve' } } },
          { updateOne: { filter: { name: 'Eve' }, update: { $set: given } } },
        ],
        options,
      ),
    {
      encrypted: 'UPDATE_REFUSED',
      after: (names) => ({ Eve: values(names) }),
      note: 'Its key must be there beforehand. Split the bulk.',
    },
  ),
  changes('connection.bulkWrite updateOne', ({ User, connection, options }, given) =>
    connection.bulkWrite(
      [{ model: User, name: 'updateOne', filter: ofAda, update: { $set: given } }] as never,
      options,
    ),
  ),
  changes(
    'updateOne $setOnInsert, upsert of a record that is there',
    ({ User, options }, given) => User.updateOne(ofAda, { $setOnInsert: given }, { ...options, upsert: true }),
    {
      after: () => ({}),
      note: 'The record stays as it is.',
    },
  ),
  changes('updateOne, upsert of a record that is there', ({ User, options }, given) =>
    User.updateOne(ofAda, given, { ...options, upsert: true }),
  ),
  changes('updateOne of a field to null', ({ User, options }, given) => User.updateOne(ofAda, given, options), {
    given: ({ text }) => ({ [text]: null }),
    after: empty,
    encrypted: 'honoured',
    note: 'Null is stored as it is, without a key.',
  }),
  changes('updateOne $unset', ({ User, options }, given) => User.updateOne(ofAda, { $unset: given }, options), {
    given: text,
    after: gone,
    encrypted: 'honoured',
  }),
  changes(
    'updateOne(filter, { field: undefined })',
    ({ User, options }, given) => User.updateOne(ofAda, given, options),
    {
      given: ({ text }) => ({ [text]: undefined }),
      after: () => ({}),
      encrypted: 'honoured',
      note: 'The field stays as it is.',
    },
  ),
  changes(
    'findOneAndUpdate $unset',
    ({ User, options }, given) => User.findOneAndUpdate(ofAda, { $unset: given }, options),
    {
      given: text,
      after: gone,
      encrypted: 'honoured',
    },
  ),
  changes(
    'bulkWrite updateOne $unset',
    ({ User, options }, given) =>
      User.bulkWrite([{ updateOne: { filter: ofAda, update: { $unset: given } } }], options),
    {
      given: text,
      after: gone,
      encrypted: 'honoured',
    },
  ),
]

export const updating: Section = {
  title: 'Updating one record',
  introduction:
    'An update with a value for an encrypted field first reads the keys of the record that it reaches, and then writes to that record alone.',
  rows: updates,
}
