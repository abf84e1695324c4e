import type { Names, Row, Section, World } from './row'

const names = (records: any[]) => records.map(({ name }) => name).sort()

/** A condition, put to `find()`. */
function asks(name: string, given: Row['given'], found: string[], more: Partial<Row> = {}): Row {
  return {
    name,
    encrypted: 'QUERY_REFUSED',
    given,
    run: async ({ User, options }, filter) => names(await User.find(filter).setOptions(options)),
    gives: () => found,
    ...more,
  }
}

const honoured = { encrypted: 'honoured' } as const

/** Conditions, with the records that they find where the field is in the clear. */
export const conditions: Row[] = [
  asks('equality', ({ text, old }) => ({ [text]: old }), ['Ada']),
  asks('$eq', ({ text, old }) => ({ [text]: { $eq: old } }), ['Ada']),
  asks('$ne', ({ text, old }) => ({ [text]: { $ne: old } }), ['Bob']),
  asks('$in', ({ text, old }) => ({ [text]: { $in: [old] } }), ['Ada']),
  asks('$in with null alone', ({ text }) => ({ [text]: { $in: [null] } }), ['Bob'], honoured),
  asks('$in with null and a value', ({ text, old }) => ({ [text]: { $in: [null, old] } }), ['Ada', 'Bob']),
  asks('$nin', ({ text, value }) => ({ [text]: { $nin: [value] } }), ['Ada', 'Bob']),
  asks('$gt, $lt', ({ number }) => ({ [number]: { $gt: 1, $lt: 99 } }), ['Ada']),
  asks('a regular expression', ({ text }) => ({ [text]: /./ }), ['Ada']),
  asks('$regex', ({ text }) => ({ [text]: { $regex: '.' } }), ['Ada']),
  asks('$mod', ({ number }) => ({ [number]: { $mod: [2, 0] } }), ['Ada']),
  asks('$type', ({ text }) => ({ [text]: { $type: 'string' } }), ['Ada']),
  asks('$size', ({ list }) => ({ [list]: { $size: 1 } }), ['Ada']),
  asks('$all', ({ list, item }) => ({ [list]: { $all: [item] } }), ['Ada']),
  asks('$elemMatch', ({ list, item }) => ({ [list]: { $elemMatch: { $eq: item } } }), ['Ada']),
  asks('an element of a list', ({ list, item }) => ({ [list]: item }), ['Ada']),
  asks('a dotted path', ({ nested, oldCity }) => ({ [`${nested}.city`]: oldCity }), ['Ada']),
  asks('a dotted path to null', ({ nested }) => ({ [`${nested}.city`]: null }), ['Bob']),
  asks('$not', ({ text, old }) => ({ [text]: { $not: { $eq: old } } }), ['Bob']),
  asks('$and', ({ text, old }) => ({ $and: [{ [text]: old }] }), ['Ada']),
  asks('$or', ({ text, old }) => ({ $or: [{ name: 'nobody' }, { [text]: old }] }), ['Ada']),
  asks('$nor', ({ text, old }) => ({ $nor: [{ [text]: old }] }), ['Bob']),
  asks('$and in $or in $nor', ({ text, old }) => ({ $nor: [{ $or: [{ $and: [{ [text]: old }] }] }] }), ['Bob']),
  asks('$expr', ({ text, old }) => ({ $and: [{ $expr: { $eq: [`$${text}`, old] } }] }), ['Ada']),
  asks('$expr by $$ROOT', ({ text, old }) => ({ $and: [{ $expr: { $in: [`$$ROOT.${text}`, [old]] } }] }), ['Ada']),
  asks(
    '$jsonSchema',
    ({ text }) => ({ $and: [{ $jsonSchema: { required: [text], properties: { [text]: { type: 'string' } } } }] }),
    ['Ada'],
    { needsMongod: true },
  ),
  asks('$where', ({ text, old }) => ({ $and: [{ $where: `this.${text} === '${old}'` }] }), ['Ada'], {
    needsMongod: true,
  }),
  asks('equality beside another field', ({ text, old }) => ({ name: 'Ada', [text]: old }), ['Ada']),
  asks('null', ({ text }) => ({ [text]: null }), ['Bob'], honoured),
  asks('$eq null', ({ text }) => ({ [text]: { $eq: null } }), ['Bob'], honoured),
  asks('$ne null', ({ text }) => ({ [text]: { $ne: null } }), ['Ada'], honoured),
  asks('$not $eq null', ({ text }) => ({ [text]: { $not: { $eq: null } } }), ['Ada'], honoured),
  asks('$exists: true', ({ number }) => ({ [number]: { $exists: true } }), ['Ada'], honoured),
  asks('$exists: false', ({ number }) => ({ [number]: { $exists: false } }), ['Bob'], honoured),
  asks('$or with null', ({ text }) => ({ $or: [{ [text]: null }] }), ['Bob'], honoured),
  asks('$nor with null', ({ text }) => ({ $nor: [{ [text]: null }] }), ['Ada'], honoured),
]

export const filtering: Section = {
  title: 'Conditions of filters',
  introduction:
    'Whether a field is there can be asked. What it holds cannot, at whatever depth, under every `strictQuery`, and by every operation that takes a filter.',
  rows: conditions,
}

/** An operation that takes a filter; the filter names a text. */
interface Filtering {
  readonly name: string
  readonly run: (world: World, filter: any) => Promise<unknown>
  readonly after?: Row['after']
  readonly replaces?: true
  readonly since?: string
  readonly needsMongod?: true
  readonly posts?: true
  /** Where it takes only conditions on paths. */
  readonly onPaths?: true
  /** Where Mongoose itself refuses JavaScript. */
  readonly withoutCode?: true
}

const gone = () => ({ Ada: null })
const changed = () => ({ Ada: { extra: 'changed' } })
const extra = { extra: 'changed' }
const replaced = { after: () => ({ Ada: {} }), replaces: true } as const

/** Every operation that takes a filter. */
export const filterings: Filtering[] = [
  { name: 'find', run: ({ User, options }, filter) => User.find(filter).setOptions(options) },
  {
    name: 'find, { middleware: false }',
    since: '9.2',
    run: ({ User, options }, filter) => User.find(filter).setOptions({ ...options, middleware: false }),
  },
  { name: 'find().lean()', run: ({ User, options }, filter) => User.find(filter).setOptions(options).lean() },
  {
    name: 'find().cursor()',
    run: ({ User, options }, filter) => User.find(filter).setOptions(options).cursor().next(),
  },
  { name: 'for await (of find())', run: ({ User, options }, filter) => drain(User.find(filter).setOptions(options)) },
  {
    name: 'find(filter).cursor().eachAsync()',
    run: ({ User, options }, filter) =>
      User.find(filter)
        .setOptions(options)
        .cursor()
        .eachAsync(() => {}),
  },
  { name: 'findOne', run: ({ User, options }, filter) => User.findOne(filter).setOptions(options) },
  { name: 'where(filter)', run: ({ User, options }, filter) => User.where(filter).find().setOptions(options) },
  {
    name: 'where(field).equals(value)',
    onPaths: true,
    run: ({ User, options }, filter) =>
      Object.entries(filter).reduce(
        (query, [path, value]) => query.where(path).equals(value),
        User.find().setOptions(options),
      ),
  },
  {
    name: 'where(field).in(values)',
    onPaths: true,
    run: ({ User, options }, filter) =>
      Object.entries(filter).reduce(
        (query, [path, value]) => query.where(path).in([value]),
        User.find().setOptions(options),
      ),
  },
  { name: 'find().or([filter])', run: ({ User, options }, filter) => User.find().setOptions(options).or([filter]) },
  {
    name: 'find().merge(query)',
    run: ({ User, options }, filter) => User.find().setOptions(options).merge(User.find(filter)),
  },
  { name: 'countDocuments', run: ({ User, options }, filter) => User.countDocuments(filter).setOptions(options) },
  { name: 'exists', run: ({ User, options }, filter) => User.exists(filter).setOptions(options) },
  {
    name: 'distinct(name, filter)',
    run: ({ User, options }, filter) => User.distinct('name', filter).setOptions(options),
  },
  { name: 'deleteOne', run: ({ User, options }, filter) => User.deleteOne(filter, options), after: gone },
  { name: 'deleteMany', run: ({ User, options }, filter) => User.deleteMany(filter, options), after: gone },
  {
    name: 'deleteMany, { middleware: false }',
    since: '9.2',
    run: ({ User, options }, filter) => User.deleteMany(filter, { ...options, middleware: false }),
    after: gone,
  },
  {
    name: 'find(filter).deleteMany()',
    run: ({ User, options }, filter) => User.find(filter).deleteMany().setOptions(options),
    after: gone,
  },
  { name: 'findOneAndDelete', run: ({ User, options }, filter) => User.findOneAndDelete(filter, options), after: gone },
  { name: 'updateOne', run: ({ User, options }, filter) => User.updateOne(filter, extra, options), after: changed },
  { name: 'updateMany', run: ({ User, options }, filter) => User.updateMany(filter, extra, options), after: changed },
  {
    name: 'updateOne, upsert',
    run: ({ User, options }, filter) => User.updateOne(filter, extra, { ...options, upsert: true }),
    after: changed,
  },
  {
    name: 'findOneAndUpdate',
    run: ({ User, options }, filter) => User.findOneAndUpdate(filter, extra, options),
    after: changed,
  },
  {
    name: 'replaceOne',
    run: ({ User, options }, filter) => User.replaceOne(filter, { name: 'Ada' }, options),
    ...replaced,
  },
  {
    name: 'findOneAndReplace',
    run: ({ User, options }, filter) => User.findOneAndReplace(filter, { name: 'Ada' }, options),
    ...replaced,
  },
  {
    name: 'bulkWrite updateOne',
    run: ({ User, options }, filter) => User.bulkWrite([{ updateOne: { filter, update: extra } }], options),
    after: changed,
  },
  {
    name: 'bulkWrite updateMany',
    run: ({ User, options }, filter) => User.bulkWrite([{ updateMany: { filter, update: extra } }], options),
    after: changed,
  },
  {
    name: 'bulkWrite deleteOne',
    run: ({ User, options }, filter) => User.bulkWrite([{ deleteOne: { filter } }], options),
    after: gone,
  },
  {
    name: 'bulkWrite deleteMany',
    run: ({ User, options }, filter) => User.bulkWrite([{ deleteMany: { filter } }], options),
    after: gone,
  },
  {
    name: 'bulkWrite replaceOne',
    run: ({ User, options }, filter) =>
      User.bulkWrite([{ replaceOne: { filter, replacement: { name: 'Ada' } } }], options),
    ...replaced,
  },
  {
    name: 'connection.bulkWrite deleteMany',
    run: ({ User, connection, options }, filter) =>
      connection.bulkWrite([{ model: User, name: 'deleteMany', filter }] as never, options),
    after: gone,
  },
  {
    name: 'connection.bulkWrite updateOne',
    run: ({ User, connection, options }, filter) =>
      connection.bulkWrite([{ model: User, name: 'updateOne', filter, update: extra }] as never, options),
    after: changed,
  },
  {
    name: 'aggregate $match',
    run: ({ User, options }, filter) => User.aggregate([{ $match: filter }]).option(options),
  },
  { name: 'aggregate().match()', run: ({ User, options }, filter) => User.aggregate().match(filter).option(options) },
  {
    name: 'aggregate $match in $facet',
    run: ({ User, options }, filter) => User.aggregate([{ $facet: { found: [{ $match: filter }] } }]).option(options),
  },
  {
    name: 'aggregate().cursor()',
    run: ({ User, options }, filter) =>
      drain(
        User.aggregate([{ $match: filter }])
          .option(options)
          .cursor(),
      ),
  },
  {
    name: 'aggregate, { middleware: false }',
    since: '9.2',
    run: ({ User, options }, filter) => User.aggregate([{ $match: filter }], { ...options, middleware: false }),
  },
  {
    name: 'aggregate $lookup into the own collection',
    needsMongod: true,
    run: ({ User, options }, filter) =>
      User.aggregate([
        { $lookup: { from: User.collection.name, pipeline: [{ $match: filter }], as: 'others' } },
      ]).option(options),
  },
  {
    name: 'aggregate $unionWith the own collection',
    needsMongod: true,
    run: ({ User, options }, filter) =>
      User.aggregate([{ $unionWith: { coll: User.collection.name, pipeline: [{ $match: filter }] } }]).option(options),
  },
  {
    name: 'populate({ match })',
    withoutCode: true,
    posts: true,
    run: ({ Post, options }, filter) => Post.find().setOptions(options).populate({ path: 'author', match: filter }),
  },
]

async function drain(records: AsyncIterable<unknown>): Promise<void> {
  for await (const _record of records) {
    // Only that it can be read to the end matters.
  }
}

/** Each with an equality, which finds Ada where the field is in the clear. */
export const carrying: Section = {
  title: 'Operations that take a filter',
  introduction: 'Here with an equality such as `{ email: value }`.',
  rows: filterings.map(({ onPaths: _onPaths, withoutCode: _withoutCode, ...operation }) => ({
    encrypted: 'QUERY_REFUSED',
    given: ({ text, old }: Names) => ({ [text]: old }),
    ...operation,
  })),
}
