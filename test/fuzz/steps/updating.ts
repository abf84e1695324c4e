import { array, type Code, code, object } from '../code'
import type { Draw } from '../draw'
import type { Drawn } from './creating'

/** An update document: plain values, or operators, on the record and below. */
export function update(draw: Draw, mayBePipeline = true): Code {
  const { random } = draw
  if (mayBePipeline && random.chance(0.06)) return array([object([['$set', object([draw.entry(draw.field())])]])])
  const shown = random.weighted({ plain: 2, set: 5, several: 2, operator: 2 })
  if (shown === 'plain') return draw.body({ id: false })
  if (shown === 'set') return object([['$set', values(draw)]])
  const operators: [string, Code][] = []
  const add = (name: string, value: Code, chance: number) => random.chance(chance) && operators.push([name, value])
  const field = draw.field()
  if (shown === 'operator') {
    const [name, operand] = draw.kindOf(field).operate?.(draw) ?? ['$set', draw.value(field)]
    operators.push([name, object([[pathOf(draw, field), operand]])])
  }
  add('$set', values(draw), 0.6)
  add('$unset', object([[pathOf(draw, draw.field()), '1']]), 0.3)
  add('$setOnInsert', values(draw), 0.2)
  add('$inc', object([['hits', '1']]), 0.3)
  add('$rename', object([[field.name, `'${draw.field().name}'`]]), 0.05)
  add('$rename', object([['name', `'${field.name}'`]]), 0.03)
  add('$push', object([['list', "'clear'"]]), 0.2)
  if (field.within === 'contacts') {
    add('$push', object([['contacts', draw.contact()]]), 0.5)
    add('$pull', object([['contacts', object([['label', "'l1'"]])]]), 0.3)
  }
  return operators.length > 0 ? object(operators) : object([['name', "'clear'"]])
}

function values(draw: Draw): Code {
  const entries = draw.random.some(draw.shape.fields, 0.35).map((field) => {
    if (field.within) return [pathOf(draw, field), draw.value(field)] as const
    return draw.entry(field)
  })
  if (draw.random.chance(0.3)) entries.push(['name', "'updated'"])
  if (draw.random.chance(0.03)) entries.push(['extra', "'clear'"])
  return object(entries)
}

function pathOf({ random }: Draw, { name, within }: { name: string; within: string }): string {
  if (!within) return name
  if (within === 'byName') return `byName.a.${name}`
  return within === 'one' ? `one.${name}` : `contacts.${random.pick(['0', '1', '$', '$[]'])}.${name}`
}

const updateOptions = (draw: Draw) =>
  draw.options([
    ['upsert', 'true', 0.3],
    ['runValidators', 'true', 0.2],
    ['timestamps', 'false', 0.1],
    ['strict', draw.random.pick(['false', 'true', "'throw'"]), 0.12],
    ['setDefaultsOnInsert', 'false', 0.1],
    ['updatePipeline', 'true', 0.1],
    ['overwriteDiscriminatorKey', 'true', 0.05],
    ['translateAliases', 'true', 0.05],
  ])

const findOptions = (draw: Draw) =>
  code`{ ...${updateOptions(draw)}, ...${draw.options([
    ['returnDocument', "'after'", 0.4],
    ['lean', 'true', 0.15],
    ['includeResultMetadata', 'true', 0.1],
    ['sort', '{ n: 1 }', 0.2],
    ['projection', object([[draw.field().name, '1']]), 0.1],
  ])} }`

/** Ways to change records without loading them. */
export const updating: Readonly<Record<string, Drawn>> = {
  updateOne: (draw) =>
    code`return written(await ${draw.model()}.updateOne(${draw.filter()}, ${update(draw)}, ${updateOptions(draw)}))`,
  updateMany: (draw) =>
    code`return written(await ${draw.model()}.updateMany(${draw.filter()}, ${update(draw)}, ${updateOptions(draw)}))`,
  findOneAndUpdate: (draw) =>
    code`return found(await ${draw.model()}.findOneAndUpdate(${draw.filter()}, ${update(draw)}, ${findOptions(draw)}))`,
  findByIdAndUpdate: (draw) =>
    code`return found(await Model.findByIdAndUpdate(id(${String(draw.record())}), ${update(draw)}, ${findOptions(draw)}))`,
  replaceOne: (draw) =>
    code`return written(await Model.replaceOne(${draw.filter()}, ${draw.body({ id: draw.random.chance(0.2) })}, ${updateOptions(draw)}))`,
  findOneAndReplace: (draw) =>
    code`return found(await Model.findOneAndReplace(${draw.filter()}, ${draw.body({ id: false })}, ${findOptions(draw)}))`,
  'find().updateOne': (draw) => code`return written(await Model.find(${draw.filter()}).updateOne(${update(draw)}))`,
  'query.set': (draw) => {
    const field = draw.field()
    return code`return written(await Model.updateOne(${draw.filter()}, {}).set('${pathOf(draw, field)}', ${draw.value(field)}))`
  },
  'query, twice': (draw) =>
    code`const query = Model.updateOne(${draw.filter()}, ${update(draw)}); await query; return written(await query.clone())`,
  bulkWrite: (draw) =>
    code`return written(await ${draw.model()}.bulkWrite(${operations(draw)}, ${draw.options([
      ['ordered', 'false', 0.3],
      ['strict', 'false', 0.1],
    ])}))`,
  'connection.bulkWrite': (draw) => {
    const named = [
      code`{ model: Model, name: 'insertOne', document: ${draw.body()} }`,
      code`{ model: Model, name: 'updateOne', filter: ${draw.filter()}, update: ${update(draw)} }`,
      code`{ model: Model, name: 'replaceOne', filter: ${draw.filter()}, replacement: ${draw.body({ id: false })} }`,
      code`{ model: Model, name: 'updateMany', filter: ${draw.filter()}, update: ${update(draw)} }`,
      code`{ model: Model, name: 'deleteOne', filter: ${draw.filter()} }`,
    ]
    return code`return written(await connection.bulkWrite(${array(draw.random.some(named, 0.3))}))`
  },
  'two updates side by side': (draw) => {
    const [one, other] = draw.random.some(draw.own(), 0.4, 2)
    if (!one || !other) return updating.updateOne!(draw)
    const set = (field: typeof one) =>
      code`Model.updateOne({ n: ${String(record)} }, ${object([[field.name, draw.value(field, 0.05)]])})`
    const record = draw.record()
    return code`await settled(${array([set(one), set(other)])})`
  },
  findOneAndDelete: (draw) => code`return found(await Model.findOneAndDelete(${draw.filter()}))`,
  deleteOne: (draw) => code`return written(await Model.deleteOne(${draw.filter()}))`,
  deleteMany: (draw) => code`return written(await Model.deleteMany(${draw.filter()}))`,
}

function operations(draw: Draw): Code {
  const one = (): Code => {
    const kind = draw.random.weighted({ insertOne: 3, updateOne: 4, updateMany: 1, replaceOne: 2, deleteOne: 1 })
    if (kind === 'insertOne')
      return code`{ insertOne: { document: ${draw.random.chance(0.85) ? draw.body() : 'doc(1)'} } }`
    const filter = draw.filter()
    if (kind === 'deleteOne') return code`{ deleteOne: { filter: ${filter} } }`
    const upsert = draw.options([['upsert', 'true', 0.3]])
    if (kind === 'replaceOne')
      return code`{ replaceOne: { filter: ${filter}, replacement: ${draw.body({ id: false })}, ...${upsert} } }`
    return code`{ ${kind}: { filter: ${filter}, update: ${update(draw)}, ...${upsert} } }`
  }
  return array([one(), ...draw.times(3, one)])
}
