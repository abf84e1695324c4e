import { type Code, code, object } from '../code'
import type { Draw } from '../draw'
import { askIndex, isWhole } from '../indexed'
import { change, type Drawn } from './creating'
import { update } from './updating'

function selected(draw: Draw): Code {
  const path = draw.path(draw.field())
  return draw.random.pick<Code>([
    `'${path}'`,
    `'-${path}'`,
    `'+${path}'`,
    "'name n'",
    `'-_id ${path}'`,
    object([
      [path, '1'],
      ['n', '1'],
    ]),
    `{ ${JSON.stringify(path)}: 0 }`,
  ])
}

const sorted = (draw: Draw) => (draw.random.chance(0.9) ? "'n'" : `'${draw.field().name}'`)

/** Ways to read. */
export const reading: Readonly<Record<string, Drawn>> = {
  findOne: (draw) => code`return hold(await ${draw.model()}.findOne(${draw.filter()}))`,
  findById: (draw) => code`return hold(await Model.findById(id(${String(draw.record())})))`,
  'findOne, selected': (draw) => code`return hold(await Model.findOne(${draw.filter()}).select(${selected(draw)}))`,
  find: (draw) =>
    code`return found(await Model.find(${draw.filter()}).sort(${sorted(draw)}).limit(${String(1 + draw.random.below(4))}))`,
  'find, selected': (draw) => code`return found(await Model.find(${draw.filter()}).select(${selected(draw)}))`,
  'find, lean': (draw) => code`return found(await Model.find(${draw.filter()}).lean())`,
  'find, lean, virtuals': (draw) =>
    code`return found(await Model.find(${draw.filter()}).lean({ virtuals: true, getters: true }))`,
  'Model.applyVirtuals': (draw) =>
    code`const lean = await Model.findOne(${draw.filter()}).lean(); return lean && String(Model.applyVirtuals(lean).id)`,
  cursor: (draw) =>
    code`let last; for await (const one of Model.find(${draw.filter()}).sort('n').cursor()) last = one; return last && hold(last)`,
  distinct: (draw) =>
    code`return (await Model.distinct(${draw.random.chance(0.7) ? "'name'" : `'${draw.field().name}'`}, ${draw.filter()})).length`,
  countDocuments: (draw) => code`return Model.countDocuments(${draw.filter()})`,
  exists: (draw) => code`return Boolean(await Model.exists(${draw.filter()}))`,
  // By what there is an index for, of the model that has it.
  'ask by value': (draw) => {
    const { indexes } = draw.shape
    if (indexes.length === 0) return reading.findById!(draw)
    const filter = askIndex(draw)
    return draw.random.pick<Code>([
      code`return Kid.countDocuments(${filter})`,
      code`return found(await Kid.find(${filter}).sort('n'))`,
      code`return Boolean(await Kid.exists(${filter}))`,
    ])
  },
  where: (draw) => {
    const field = draw.field()
    const condition = draw.random.pick<Code>([
      code`.equals(${draw.value(field)})`,
      ...draw
        .presences(field)
        .map((presence) => ({ null: '.equals(null)', exists: '.exists()', 'not null': '.ne(null)' })[presence]),
      code`.in([${draw.value(field)}])`,
    ])
    return code`return found(await Model.where('${draw.path(field)}')${condition}.find().sort('n'))`
  },
  aggregate: (draw) => {
    const field = draw.field()
    const { name } = field
    const stages = draw.random.some<Code>(
      [
        code`{ $match: ${draw.filter()} }`,
        `{ $match: { ${name}: ${draw.presences(field).includes('null') ? '{ $ne: null }' : '{ $exists: true }'} } }`,
        `{ $project: { name: 1 } }`,
        `{ $group: { _id: '$${draw.random.pick(['name', name])}' } }`,
        `{ $sort: { ${draw.random.pick(['n', name])}: 1 } }`,
        "{ $count: 'records' }",
      ],
      0.3,
    )
    return code`return (await Model.aggregate(${object([]) && ['[', ...stages.flatMap((stage, index) => (index ? [', ', stage] : [stage])), ']']})).length`
  },
  'aggregate $merge': (draw) =>
    code`await Model.aggregate([{ $match: ${draw.filter()} }, { $set: ${object([draw.entry(draw.field())])} }, { $merge: { into: Model.collection.name } }])`,
  hydrate: (draw) => code`const stored = raw(${String(draw.record())}); return stored && hold(Model.hydrate(stored))`,
  'Model.collection, written': (draw) => {
    const field = draw.field()
    const value = draw.kindOf(field).value(draw)
    const path = field.within === 'contacts' ? `contacts.0.${field.name}` : draw.path(field)
    return code`const done = await Model.collection.${draw.random.pick<Code>([
      code`insertOne(${draw.body({ oddity: 0 })})`,
      code`insertMany([${draw.body({ oddity: 0 })}])`,
      code`updateOne({ n: ${String(draw.record())} }, { $set: ${object([[path, value]])} })`,
      code`updateMany({ n: ${String(draw.record())} }, { $set: ${object([[path, 'null']])} })`,
      code`findOneAndUpdate({ n: ${String(draw.record())} }, ${update(draw)})`,
      code`replaceOne({ n: ${String(draw.record())} }, ${draw.body({ oddity: 0, id: false })})`,
      code`bulkWrite([{ insertOne: { document: ${draw.body({ oddity: 0 })} } }])`,
      code`updateOne({ n: ${String(draw.record())} }, { $set: { name: 'direct' } })`,
    ])}; return done && written(done)`
  },
  // What was read before a change is put back after it, as a backup is.
  'put back': (draw) => {
    const record = String(draw.record())
    const whole = draw.shape.fields.filter(({ kind }) => isWhole(kind))
    // An empty object is stored here and not by Mongoose, so that `$set` would bring it back.
    const field = whole.length > 0 ? draw.random.pick(whole) : draw.field()
    const changed = code`await Model.updateOne({ n: ${record} }, ${object([[draw.path(field), draw.value(field)]])})`
    return code`const stored = raw(${record}); if (stored) { ${changed}; await Model.collection.${draw.random.pick([
      'replaceOne({ _id: stored._id }, stored)',
      'findOneAndReplace({ _id: stored._id }, stored)',
      'bulkWrite([{ replaceOne: { filter: { _id: stored._id }, replacement: stored } }])',
      ...(isWhole(field.kind)
        ? ['updateOne({ _id: stored._id }, { $set: (({ _id, ...rest }) => rest)(stored) })']
        : []),
    ])} }`
  },
  'Model.collection, read': (draw) => code`return (await Model.collection.find(${draw.filter()}).toArray()).length`,
  transaction: (draw) => {
    const inside = draw.random.pick<Code>([
      code`await Model.create([${draw.body()}], { session })`,
      code`await Model.updateOne(${draw.filter()}, ${update(draw)}, { session })`,
      code`const it = await Model.findOne(${draw.filter()}).session(session); if (it) { await open(it); ${change(draw, 'it')}; await it.save({ session }) }`,
    ])
    const end = draw.random.chance(0.3) ? code`; throw new Abort()` : ''
    return code`await transaction(async (session) => { ${inside}; await Model.updateOne({ n: ${String(draw.record())} }, { $set: { name: 'transacted' } }, { session })${end} })`
  },
}
