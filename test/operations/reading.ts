import type { Names, Row, Section, World } from './row'

const honoured = { encrypted: 'honoured' } as const
const refused = { encrypted: 'QUERY_REFUSED' } as const

/** Reads fields of a document as a user does. */
async function read(doc: any, paths: readonly string[]): Promise<Record<string, unknown>> {
  const values: Record<string, unknown> = {}
  for (const path of paths) values[path] = await doc[path]
  return values
}

const text = ({ text }: Names) => [text]
const itsValue = ({ text, old }: Names) => ({ [text]: old })
const ofAda = { name: 'Ada' }

/** Reads fields of the record that is called Ada. */
function reads(name: string, run: (world: World, paths: string[]) => Promise<unknown>, more: Partial<Row> = {}): Row {
  return { name, ...honoured, opens: 1, given: text, run, gives: itsValue, ...more }
}

export const reading: Section = {
  title: 'Reading fields',
  introduction:
    'A field of a loaded record is awaited, and then it is there. The first one asks the KMS, with one call for the record; the others do not.',
  rows: [
    reads('findOne', async ({ User, options }, paths) => read(await User.findOne(ofAda).setOptions(options), paths)),
    reads('find', async ({ User, options }, paths) => read((await User.find(ofAda).setOptions(options))[0], paths)),
    reads('findById', async ({ User, options }, paths) => {
      const { _id } = await User.findOne(ofAda).setOptions(options)
      return read(await User.findById(_id).setOptions(options), paths)
    }),
    reads(
      'find, { middleware: false }',
      async ({ User, options }, paths) =>
        read((await User.find(ofAda).setOptions({ ...options, middleware: false }))[0], paths),
      { since: '9.2' },
    ),
    reads('cursor', async ({ User, options }, paths) => {
      const cursor = User.find(ofAda).setOptions(options).cursor()
      for await (const doc of cursor) return read(doc, paths)
    }),
    reads('document.decrypt()', async ({ User, options }, paths) => {
      const doc = await User.findOne(ofAda).setOptions(options)
      return Object.fromEntries(
        Object.entries({ ...doc.toObject(), ...(await doc.decrypt()) }).filter(([path]) => paths.includes(path)),
      )
    }),
    reads(
      'find().lean(), Model.decrypt()',
      async ({ User, options }, paths) => {
        const [lean] = await User.find(ofAda).setOptions(options).lean()
        return read(await User.decrypt(lean), paths)
      },
      { note: 'A lean object itself holds ciphertext.' },
    ),
    reads(
      'aggregate(), Model.decrypt()',
      async ({ User, options }, paths) => {
        const [result] = await User.aggregate([{ $match: ofAda }]).option(options)
        return read(await User.decrypt(result), paths)
      },
      { note: 'The result itself holds ciphertext.' },
    ),
    reads('find().lean().cursor(), Model.decrypt()', async ({ User, options }, paths) => {
      for await (const record of User.decrypt(User.find(ofAda).setOptions(options).lean().cursor()))
        return read(record, paths)
    }),
    reads('Model.hydrate()', async ({ User, options }, paths) => {
      const lean = await User.findOne(ofAda).setOptions(options).lean()
      return read(User.hydrate(lean), paths)
    }),
    reads(
      'populate',
      async ({ Post, options }, paths) =>
        read((await Post.findOne().setOptions(options).populate('author')).author, paths),
      { posts: true },
    ),
    reads(
      'document.populate',
      async ({ Post, options }, paths) => {
        const post = await Post.findOne().setOptions(options)
        await post.populate('author')
        return read(post.author, paths)
      },
      { posts: true },
    ),
    reads(
      'findOneAndUpdate',
      async ({ User, options }, paths) => read(await User.findOneAndUpdate(ofAda, { extra: 1 }, options), paths),
      {
        after: () => ({ Ada: { extra: 1 } }),
      },
    ),
    reads(
      'findOneAndDelete',
      async ({ User, options }, paths) => read(await User.findOneAndDelete(ofAda, options), paths),
      {
        after: () => ({ Ada: null }),
      },
    ),
    {
      name: 'toObject(), toJSON(), inspect',
      encrypted: 'honoured',
      given: text,
      note: 'Encrypted fields, ciphertext and keys are left out.',
      run: async ({ User, options }) => {
        const doc = await User.findOne(ofAda).setOptions(options)
        const shown = [doc.toObject({ virtuals: true }), JSON.parse(JSON.stringify(doc))]
        return shown.map(({ email, nickname, encrypted_kms_key }) => ({ email, nickname, encrypted_kms_key }))
      },
      gives: () => [{ nickname: 'Countess' }, { nickname: 'Countess' }],
    },
  ],
}

/** A query that MongoDB would have to answer by the value of a field. */
function compares(name: string, run: (world: World, given: any) => Promise<unknown>, more: Partial<Row> = {}): Row {
  return { name, ...refused, given: text, run, ...more }
}

const byText = ({ text }: Names) => ({ [text]: 1 })

const aggregates = (name: string, given: (names: Names) => object[], more: Partial<Row> = {}): Row =>
  compares(`aggregate ${name}`, ({ User, options }, pipeline) => User.aggregate(pipeline).option(options), {
    given,
    ...more,
  })

const needsMongod = { needsMongod: true } as const
const intoOwn: Partial<Row> = {
  encrypted: 'WRITE_REFUSED',
  clear: 'WRITE_REFUSED',
  given: ({ text, value }) => [{ $group: { _id: '$_id', [text]: { $first: value } } }],
  note: 'Results can hold anything under any name.',
}

export const comparing: Section = {
  title: 'Sorting, grouping and joining',
  introduction: 'MongoDB cannot order, group or join by ciphertext.',
  rows: [
    compares('sort', ({ User, options }, sort) => User.find().setOptions(options).sort(sort), { given: byText }),
    compares('sort by a string', ({ User, options }, paths) =>
      User.find()
        .setOptions(options)
        .sort(`-${paths.join(' ')}`),
    ),
    compares('sort by a list', ({ User, options }, paths) =>
      User.find()
        .setOptions(options)
        .sort(paths.map((path: string) => [path, 1])),
    ),
    compares('findOne with a sort', ({ User, options }, sort) => User.findOne({}, null, { ...options, sort }), {
      given: byText,
    }),
    compares(
      'findOneAndUpdate with a sort by the field',
      ({ User, options }, sort) => User.findOneAndUpdate({ extra: null }, { extra: 1 }, { ...options, sort }),
      {
        given: ({ text }) => ({ [text]: -1 }),
        after: () => ({ Ada: { extra: 1 } }),
      },
    ),
    compares(
      'findOneAndDelete with a sort',
      ({ User, options }, sort) => User.findOneAndDelete({}, { ...options, sort }),
      {
        given: ({ text }) => ({ [text]: -1 }),
        after: () => ({ Ada: null }),
      },
    ),
    compares(
      'distinct',
      async ({ User, options }, paths) => {
        const values = []
        for (const path of paths) values.push(...(await User.distinct(path).setOptions(options)))
        return values.filter((value) => value !== null)
      },
      { gives: ({ old }) => [old] },
    ),
    compares(
      'populate with a sort',
      ({ Post, options }, sort) => Post.find().setOptions(options).populate({ path: 'author', options: { sort } }),
      { given: byText, posts: true },
    ),
    aggregates('$sort', ({ text }) => [{ $sort: { [text]: 1 } }]),
    aggregates('$group', ({ text }) => [{ $group: { _id: `$${text}` } }]),
    aggregates('$group with an accumulator', ({ text, number }) => [
      { $group: { _id: null, [`of_${text}`]: { $max: `$${number}` } } },
    ]),
    aggregates('$sortByCount', ({ text }) => [{ $sortByCount: `$${text}` }]),
    aggregates(
      '$bucket',
      ({ number }) => [{ $bucket: { groupBy: `$${number}`, boundaries: [0, 99], default: 'other' } }],
      needsMongod,
    ),
    aggregates(
      '$setWindowFields',
      ({ text, number }) => [
        { $setWindowFields: { sortBy: { [number]: 1 }, output: { [`rank_${text}`]: { $rank: {} } } } },
      ],
      needsMongod,
    ),
    aggregates(
      '$fill',
      ({ number }) => [{ $fill: { sortBy: { name: 1 }, output: { [number]: { method: 'locf' } } } }],
      needsMongod,
    ),
    aggregates(
      '$densify',
      ({ date }) => [
        { $match: { name: 'Ada' } },
        { $densify: { field: date, range: { step: 1, unit: 'day', bounds: 'full' } } },
      ],
      needsMongod,
    ),
    compares(
      'aggregate $graphLookup',
      ({ User, options }, paths) =>
        User.aggregate(
          paths.map((connectToField: string) => ({
            $graphLookup: {
              from: User.collection.name,
              startWith: '$name',
              connectFromField: 'name',
              connectToField,
              as: `of_${connectToField}`,
            },
          })),
        ).option(options),
      needsMongod,
    ),
    compares(
      'aggregate $merge into the own collection',
      ({ User, options }, stages) =>
        User.aggregate([...stages, { $merge: { into: User.collection.name } }]).option(options),
      intoOwn,
    ),
    compares(
      'aggregate $out to the own collection',
      ({ User, options }, stages) => User.aggregate([...stages, { $out: User.collection.name }]).option(options),
      intoOwn,
    ),
    aggregates('$project', ({ text }) => [{ $project: { [text]: 1 } }]),
    aggregates('$project of an expression', ({ text }) => [{ $project: { [`of_${text}`]: { $toUpper: `$${text}` } } }]),
    aggregates('$addFields', ({ text }) => [{ $addFields: { [`of_${text}`]: `$${text}` } }]),
    aggregates('$set', ({ text, value }) => [{ $set: { [text]: value } }]),
    aggregates('$unset', ({ text }) => [{ $unset: text }]),
    aggregates('$unwind', ({ list }) => [{ $unwind: `$${list}` }]),
    aggregates('$replaceWith', ({ nested }) => [{ $match: { name: 'Ada' } }, { $replaceWith: `$${nested}` }]),
    aggregates('$getField', ({ text }) => [{ $project: { [`of_${text}`]: { $getField: text } } }], needsMongod),
    compares('aggregate $lookup by the field', ({ User, options }, paths) =>
      User.aggregate(
        paths.map((localField: string) => ({
          $lookup: { from: User.collection.name, localField, foreignField: 'name', as: `of_${localField}` },
        })),
      ).option(options),
    ),
    compares('aggregate $lookup of the field', ({ User, options }, paths) =>
      User.aggregate(
        paths.map((foreignField: string) => ({
          $lookup: { from: User.collection.name, localField: 'name', foreignField, as: `of_${foreignField}` },
        })),
      ).option(options),
    ),
    {
      name: 'countDocuments(), estimatedDocumentCount()',
      encrypted: 'as usual',
      given: () => ({}),
      run: async ({ User, options }) => [await User.countDocuments().setOptions(options)],
      gives: () => [2],
    },
  ],
}
