import { changes, empty, gone, text, values } from './changes'
import type { Names, Row, Section } from './row'

const everybody = (after: (names: Names) => { Ada: object }) => (names: Names) => {
  const { Ada } = after(names)
  return { Ada: { ...Ada }, Bob: { ...Ada } }
}

const many: Row[] = [
  changes('updateMany(filter, values)', ({ User, options }, given) => User.updateMany({}, given, options), {
    after: everybody((names) => ({ Ada: values(names) })),
    note: 'Every record has a key of its own: they are read and written in batches.',
  }),
  changes('updateMany $set', ({ User, options }, given) => User.updateMany({}, { $set: given }, options), {
    after: everybody((names) => ({ Ada: values(names) })),
  }),
  changes(
    'updateMany, { strict: false }',
    ({ User, options }, given) => User.updateMany({}, given, { ...options, strict: false }),
    {
      after: everybody((names) => ({ Ada: values(names) })),
    },
  ),
  changes(
    'updateMany, { middleware: false }',
    ({ User, options }, given) => User.updateMany({}, given, { ...options, middleware: false }),
    {
      after: everybody((names) => ({ Ada: values(names) })),
      since: '9.2',
    },
  ),
  changes(
    'bulkWrite updateMany',
    ({ User, options }, given) => User.bulkWrite([{ updateMany: { filter: {}, update: given } }], options),
    {
      encrypted: 'UPDATE_REFUSED',
      after: everybody((names) => ({ Ada: values(names) })),
      note: 'Use `updateMany()` of the model.',
    },
  ),
  changes(
    'connection.bulkWrite updateMany',
    ({ User, connection, options }, given) =>
      connection.bulkWrite([{ model: User, name: 'updateMany', filter: {}, update: given }] as never, options),
    {
      encrypted: 'UPDATE_REFUSED',
      after: everybody((names) => ({ Ada: values(names) })),
    },
  ),
  changes('updateMany of a field to null', ({ User, options }, given) => User.updateMany({}, given, options), {
    given: ({ text }) => ({ [text]: null }),
    after: everybody(empty),
    encrypted: 'honoured',
  }),
  changes('updateMany $unset', ({ User, options }, given) => User.updateMany({}, { $unset: given }, options), {
    given: text,
    after: everybody(gone),
    encrypted: 'honoured',
  }),
  changes(
    'bulkWrite updateMany $unset',
    ({ User, options }, given) => User.bulkWrite([{ updateMany: { filter: {}, update: { $unset: given } } }], options),
    {
      given: text,
      after: everybody(gone),
      encrypted: 'honoured',
    },
  ),
]

export const updatingMany: Section = {
  title: 'Updating many records',
  introduction:
    'One ciphertext cannot serve many records, so `updateMany` encrypts for each and writes each under a condition of its own. Null and removal need no key.',
  rows: many,
}
