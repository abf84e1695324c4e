import { changes, ofAda } from './changes'
import type { Names, Row, Section, Values } from './row'

/** An operator that needs to see the value. */
function computes(name: string, given: Row['given'], after: (names: Names) => Values, more: Partial<Row> = {}): Row {
  return changes(name, ({ User, options }, update) => User.updateOne(ofAda, update, options), {
    encrypted: 'UPDATE_REFUSED',
    given,
    after: (names) => ({ Ada: after(names) }),
    ...more,
  })
}

/** A stage of an update pipeline. */
function pipes(name: string, given: Row['given'], after: (names: Names) => Values, more: Partial<Row> = {}): Row {
  return changes(
    name,
    ({ User, options }, pipeline) => User.updateOne(ofAda, pipeline, { ...options, updatePipeline: true }),
    {
      encrypted: 'UPDATE_REFUSED',
      given,
      after: (names) => ({ Ada: after(names) }),
      ...more,
    },
  )
}

const honoured = { encrypted: 'honoured', note: 'Removal needs no key.' } as const
const needsMongod = { needsMongod: true } as const

const rows: Row[] = [
  computes(
    '$inc',
    ({ number }) => ({ $inc: { [number]: 1 } }),
    ({ number }) => ({ [number]: 37 }),
  ),
  computes(
    '$mul',
    ({ number }) => ({ $mul: { [number]: 2 } }),
    ({ number }) => ({ [number]: 72 }),
  ),
  computes(
    '$min',
    ({ number }) => ({ $min: { [number]: 1 } }),
    ({ number }) => ({ [number]: 1 }),
  ),
  computes(
    '$max',
    ({ number }) => ({ $max: { [number]: 99 } }),
    ({ number }) => ({ [number]: 99 }),
  ),
  computes(
    '$bit',
    ({ number }) => ({ $bit: { [number]: { and: 4 } } }),
    ({ number }) => ({ [number]: 4 }),
    needsMongod,
  ),
  computes(
    '$push',
    ({ list, value }) => ({ $push: { [list]: value } }),
    ({ list, item, value }) => ({ [list]: [item, value] }),
  ),
  computes(
    '$push with $each',
    ({ list, value }) => ({ $push: { [list]: { $each: [value] } } }),
    ({ list, item, value }) => ({ [list]: [item, value] }),
  ),
  computes(
    '$addToSet',
    ({ list, value }) => ({ $addToSet: { [list]: value } }),
    ({ list, item, value }) => ({ [list]: [item, value] }),
  ),
  computes(
    '$pull',
    ({ list, item }) => ({ $pull: { [list]: item } }),
    ({ list }) => ({ [list]: [] }),
  ),
  computes(
    '$pullAll',
    ({ list, item }) => ({ $pullAll: { [list]: [item] } }),
    ({ list }) => ({ [list]: [] }),
  ),
  computes(
    '$pop',
    ({ list }) => ({ $pop: { [list]: 1 } }),
    ({ list }) => ({ [list]: [] }),
  ),
  computes(
    '$currentDate',
    ({ date }) => ({ $currentDate: { [date]: true } }),
    ({ date }) => ({ [date]: expect.any(Date) }),
  ),
  computes(
    '$rename of a field',
    ({ text }) => ({ $rename: { [text]: `extra.${text}` } }),
    ({ text, old }) => ({ [text]: undefined, extra: { [text]: old } }),
  ),
  computes(
    '$rename to a field',
    ({ text }) => ({ $rename: { [`extra.${text}`]: text } }),
    () => ({}),
  ),
  computes(
    '$set of a path below a field',
    ({ nested, newCity }) => ({ $set: { [`${nested}.city`]: newCity } }),
    ({ nested, newCity }) => ({ [nested]: { city: newCity } }),
    { note: 'Only a whole field can be written.' },
  ),
  computes(
    '$set of an element',
    ({ list, value }) => ({ $set: { [`${list}.0`]: value } }),
    ({ list, value }) => ({ [list]: [value] }),
  ),
  computes(
    '$unset of a path below a field',
    ({ nested }) => ({ $unset: { [`${nested}.city`]: 1 } }),
    ({ nested }) => ({ [nested]: undefined }),
  ),
  computes(
    '$set of all elements, $[]',
    ({ list, value }) => ({ $set: { [`${list}.$[]`]: value } }),
    ({ list, value }) => ({ [list]: [value] }),
  ),
  changes(
    'arrayFilters, $[element]',
    ({ User, options }, update) =>
      User.updateOne(ofAda, update, { ...options, arrayFilters: [{ element: { $type: 'string' } }] }),
    {
      encrypted: 'UPDATE_REFUSED',
      given: ({ list, value }) => ({ $set: { [`${list}.$[element]`]: value } }),
      after: ({ list, value }) => ({ Ada: { [list]: [value] } }),
    },
  ),
  changes(
    'the operators with findOneAndUpdate',
    ({ User, options }, update) => User.findOneAndUpdate(ofAda, update, options),
    {
      encrypted: 'UPDATE_REFUSED',
      given: ({ number }) => ({ $inc: { [number]: 1 } }),
      after: ({ number }) => ({ Ada: { [number]: 37 } }),
    },
  ),
  changes('the operators with updateMany', ({ User, options }, update) => User.updateMany(ofAda, update, options), {
    encrypted: 'UPDATE_REFUSED',
    given: ({ number }) => ({ $inc: { [number]: 1 } }),
    after: ({ number }) => ({ Ada: { [number]: 37 } }),
  }),
  changes(
    'the operators with bulkWrite',
    ({ User, options }, update) => User.bulkWrite([{ updateOne: { filter: ofAda, update } }], options),
    {
      encrypted: 'UPDATE_REFUSED',
      given: ({ list, value }) => ({ $push: { [list]: value } }),
      after: ({ list, item, value }) => ({ Ada: { [list]: [item, value] } }),
    },
  ),
  changes(
    'the operators, { middleware: false }',
    ({ User, options }, update) => User.updateOne(ofAda, update, { ...options, middleware: false }),
    {
      since: '9.2',
      encrypted: 'UPDATE_REFUSED',
      given: ({ number }) => ({ $inc: { [number]: 1 } }),
      after: ({ number }) => ({ Ada: { [number]: 37 } }),
    },
  ),
  changes(
    'the operators, { strict: false }',
    ({ User, options }, update) => User.updateOne(ofAda, update, { ...options, strict: false }),
    {
      encrypted: 'UPDATE_REFUSED',
      given: ({ list, value }) => ({ $push: { [list]: value } }),
      after: ({ list, item, value }) => ({ Ada: { [list]: [item, value] } }),
    },
  ),
  pipes(
    'pipeline $set',
    ({ text, value }) => [{ $set: { [text]: value } }],
    ({ text, value }) => ({ [text]: value }),
  ),
  pipes(
    'pipeline $addFields',
    ({ text, value }) => [{ $addFields: { [text]: value } }],
    ({ text, value }) => ({ [text]: value }),
  ),
  pipes(
    'pipeline $unset',
    ({ text }) => [{ $unset: text }],
    ({ text }) => ({ [text]: undefined }),
    honoured,
  ),
  pipes(
    'pipeline that reads a field',
    ({ text }) => [{ $set: { [`extra.${text}`]: `$${text}` } }],
    ({ text, old }) => ({ extra: { [text]: old } }),
    { encrypted: 'QUERY_REFUSED' },
  ),
  pipes(
    'pipeline $replaceWith',
    ({ text, value }) => [{ $replaceWith: { $mergeObjects: ['$$ROOT', { [text]: value }] } }],
    ({ text, value }) => ({ [text]: value }),
    { clear: 'UPDATE_REFUSED', note: 'It could write anything, so it is refused whatever it names.' },
  ),
  changes(
    'pipeline with findOneAndUpdate',
    ({ User, options }, pipeline) => User.findOneAndUpdate(ofAda, pipeline, { ...options, updatePipeline: true }),
    {
      encrypted: 'UPDATE_REFUSED',
      given: ({ text, value }) => [{ $set: { [text]: value } }],
      after: ({ text, value }) => ({ Ada: { [text]: value } }),
    },
  ),
  changes(
    'pipeline with bulkWrite',
    ({ User, options }, update) =>
      User.bulkWrite([{ updateOne: { filter: ofAda, update, updatePipeline: true } }], options),
    {
      encrypted: 'UPDATE_REFUSED',
      given: ({ text, value }) => [{ $set: { [text]: value } }],
      after: ({ text, value }) => ({ Ada: { [text]: value } }),
    },
  ),
]

export const operators: Section = {
  title: 'Update operators',
  introduction:
    'MongoDB would have to compute with ciphertext, so these are refused. Load the record, change the value and save it.',
  rows,
}
