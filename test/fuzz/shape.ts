import { type Code, code, type List, object } from './code'
import type { Draw } from './draw'
import { drawIndexes, type Index } from './indexed'
import { kinds } from './kinds'

/** An encrypted field: its name, and the path of the subdocument, subdocument array or map that it stands in. */
export interface Field {
  readonly name: string
  readonly kind: string
  readonly within: '' | Holder
}

/** Clear paths that hold encrypted subdocuments: an array, one by itself, a map. */
export const holders = ['contacts', 'one', 'byName'] as const
export type Holder = (typeof holders)[number]

/** What a sequence works on: the source of its schemas, and what the steps have to know of them. */
export interface Shape {
  readonly variant: string
  /** Statements that define `Model`, and `Kid` where there is a discriminator. */
  readonly definition: readonly Code[]
  readonly fields: readonly Field[]
  readonly indexes: readonly Index[]
  /** Whether the indexes take strings that differ in case alone for the same: the twin stores them in lower case. */
  readonly foldsCase: boolean
  readonly hasKid: boolean
  readonly idType: 'ObjectId' | 'Number' | 'String'
  readonly strict: 'true' | 'false' | "'throw'"
  /** Whether Mongoose leaves out empty objects. */
  readonly minimize: boolean
}

/** Draws what a sequence works on. In its source, `encrypt` adds fields: with the plugin, or to the twin as they are. */
export function drawShape(draw: Draw): Shape {
  const { random } = draw
  const variant = random.weighted({ flat: 6, subdocuments: 3, discriminator: 2 })
  const strict = random.weighted({ true: 6, false: 2, "'throw'": 1 }) as Shape['strict']
  const minimize = random.chance(0.8)
  const idType = random.weighted({ ObjectId: 7, Number: 2, String: 1 }) as Shape['idType']
  const isIndexed = random.chance(0.5)
  const foldsCase = isIndexed && random.chance(0.3)
  const options = optionsOf(draw, strict, minimize)
  const names = random.some(Object.keys(kinds), 0.3, variant === 'flat' ? 2 : 1).slice(0, 6)
  const own = names.map((name) => ({ name, kind: name, within: '' }) as const)
  const clear: [string, Code][] = [
    ['n', 'Number'],
    ['name', 'String'],
    ['list', '[String]'],
    ['hits', 'Number'],
  ]
  const hasKid = variant === 'discriminator'
  if (hasKid) options.push(['discriminatorKey', "'kind'"])
  if (idType !== 'ObjectId') clear.unshift(['_id', idType])

  const definition: Code[] = []
  const inner: Field[] = []
  const indexes: Index[] = []
  const encrypts = (schema: string, names: readonly string[], options: [string, Code][], places: Index['within'][]) => {
    const drawn = drawIndexes(random, isIndexed ? names : [], schema, foldsCase)
    const fields = names.map((name) => {
      const defined = kinds[name]!.define(draw)
      const option = drawn.options.get(name)
      return [name, option ? (defined as List).with(code`blindIndex: ${option}`) : defined] as const
    })
    for (const within of places) indexes.push(...drawn.indexes.map((index) => ({ ...index, within })))
    if (drawn.compounds.length > 0) options = [...options, ['blindIndexes', object(drawn.compounds)]]
    definition.push(code`encrypt(${schema}, ${object(fields)}, ${object(options)})`)
  }
  if (variant === 'subdocuments') {
    const inside = random.some(['email', 'count', 'tags', 'any', 'address', 'dob'], 0.3, 1).slice(0, 3)
    definition.push(code`const contact = new Schema({ label: String }, ${object([['strict', strict]])})`)
    const ofOwner: [string, Code][] = random.chance(0.3) ? [['dataKey', "'owner'"]] : []
    // No index reaches what is below the keys of a map.
    const chosen = random.some(isIndexed ? holders.slice(0, 2) : holders, 0.5, 1)
    // Mongoose has no `select` in maps.
    draw.isSelectable = false
    encrypts('contact', inside, ofOwner, chosen)
    draw.isSelectable = true
    for (const holder of chosen) {
      clear.push([holder, { contacts: '[contact]', one: 'contact', byName: '{ type: Map, of: contact }' }[holder]])
      inner.push(...inside.map((name) => ({ name, kind: name, within: holder })))
    }
  }
  definition.push(code`const schema = new Schema(${object(clear)}, ${object(options)})`)
  const decrypt: [string, Code][] = random.chance(0.25) ? [['decrypt', "'onLoad'"]] : []
  const onBase = !hasKid || random.chance(0.6)
  if (onBase) encrypts('schema', names, decrypt, [''])
  definition.push(...drawHooks(draw, 'schema', onBase ? own : []), 'const Model = model(schema)')
  const fields: Field[] = [...(onBase ? own : []), ...inner]
  if (hasKid) {
    const others = Object.keys(kinds).filter((name) => !names.includes(name))
    const ofKid = onBase ? random.some(others, 0.15, random.below(2)).slice(0, 2) : names
    definition.push(code`const kid = new Schema({ toy: String })`)
    if (ofKid.length > 0) encrypts('kid', ofKid, [...decrypt, ['name', "'kid'"]], [''])
    definition.push('const Kid = discriminator(Model, kid)')
    if (onBase) fields.push(...ofKid.map((name) => ({ name, kind: name, within: '' }) as const))
    else fields.push(...own)
  }
  return { variant, definition, fields, indexes, foldsCase, hasKid, idType, strict, minimize }
}

function optionsOf({ random }: Draw, strict: string, minimize: boolean): [string, Code][] {
  const options: [string, Code][] = []
  if (strict !== 'true') options.push(['strict', strict])
  if (!minimize) options.push(['minimize', 'false'])
  if (random.chance(0.25)) options.push(['timestamps', 'true'])
  if (random.chance(0.2)) options.push(['optimisticConcurrency', 'true'])
  if (random.chance(0.15)) options.push(['toJSON', '{ virtuals: true, transform: (doc, ret) => ({ data: ret }) }'])
  if (random.chance(0.15)) options.push(['strictQuery', random.pick(['true', 'false', "'throw'"])])
  if (random.chance(0.1)) options.push(['validateBeforeSave', 'false'])
  return options
}

/** Hooks that were declared after the plugin, and write to encrypted fields: somebody else's plugin. */
function drawHooks(draw: Draw, schema: string, fields: readonly Field[]): Code[] {
  const { random } = draw
  if (fields.length === 0 || !random.chance(0.3)) return []
  const { name, kind } = random.pick(fields)
  const value = kinds[kind]!.value(draw)
  const set = object([[name, value]])
  return random.some(
    [
      code`${schema}.pre('save', async function () { this.${name} = ${value} })`,
      code`${schema}.pre('validate', function () { if (this.isNew) this.set('${name}', ${value}) })`,
      code`${schema}.pre('updateOne', { query: true, document: false }, function () { this.set(${set}) })`,
      code`${schema}.pre('findOneAndUpdate', function () { if (!Array.isArray(this.getUpdate())) this.setUpdate({ ...this.getUpdate(), $set: ${set} }) })`,
      code`${schema}.pre('insertMany', async function (...given) { for (const one of [given.at(-1)].flat()) if (one && typeof one === 'object') one.${name} = ${value} })`,
      code`${schema}.pre('bulkWrite', async function (...given) { const operations = given.find(Array.isArray); operations?.push({ updateOne: { filter: { n: 1 }, update: { $set: ${set} } } }) })`,
      code`${schema}.post('init', function () { this.$locals.seen = true })`,
      code`${schema}.post('save', function () { this.$locals.saved = true })`,
    ],
    0.2,
    1,
  )
}
