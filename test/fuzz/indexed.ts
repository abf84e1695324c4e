import { array, type Code, code, object } from './code'
import type { Draw } from './draw'
import type { Random } from './random'
import type { Field } from './shape'

/** A blind index that filters can ask, of the records or of subdocuments. */
export interface Index {
  readonly fields: readonly string[]
  readonly within: Field['within']
}

/** Fields whose values may be drawn in upper case, too; those of an enumeration have one form. */
const folded = ['email', 'code', 'nick']
/** Fields whose values are whole; the embedded server compares no decimals. */
const whole = [...folded, 'role', 'count', 'dob', 'flag', 'bytes', 'big', 'ref']

interface Drawn {
  /** The option `blindIndex` of fields. */
  readonly options: ReadonlyMap<string, Code>
  /** The entries of the option `blindIndexes`. */
  readonly compounds: readonly (readonly [string, Code])[]
  readonly indexes: readonly Pick<Index, 'fields'>[]
}

export function isFolded(name: string): boolean {
  return folded.includes(name)
}

export function isWhole(name: string): boolean {
  return whole.includes(name)
}

/** Draws the blind indexes of one use of the plugin. */
export function drawIndexes(random: Random, names: readonly string[], schema: string, foldsCase: boolean): Drawn {
  const possible = names.filter(isWhole)
  const single = possible.filter(() => random.chance(0.6))
  const together = possible.length > 1 && random.chance(0.5) ? [random.some(possible, 0.5, 2)] : []
  const folds = (fields: readonly string[]) => foldsCase && fields.some(isFolded)
  return {
    options: new Map(single.map((name) => [name, drawOption(random, schema, name, folds([name]))])),
    compounds: together.map((fields) => {
      const listed = code`fields: ${array(fields.map((name) => `'${name}'`))}`
      return [`${schema}Both`, object(drawOptions(random, schema, folds(fields))).with(listed)]
    }),
    indexes: [...single.map((name) => [name]), ...together].map((fields) => ({ fields })),
  }
}

function drawOption(random: Random, schema: string, name: string, folds: boolean): Code {
  const options = drawOptions(random, schema, folds)
  const isShortened = options.some(([option]) => option === 'bits')
  if (schema === 'schema' && isFolded(name) && !isShortened && random.chance(0.2)) options.push(['unique', 'true'])
  return options.length === 0 ? 'true' : object(options)
}

function drawOptions(random: Random, schema: string, folds: boolean): [string, Code][] {
  const options: [string, Code][] = folds ? [['caseInsensitive', 'true']] : []
  // So few that values meet. Those of subdocuments cannot be asked then.
  if (schema !== 'contact' && random.chance(0.12)) options.push(['bits', String(2 + random.below(3))])
  if (!random.chance(0.3)) return options
  const before = object(folds ? [['caseInsensitive', 'false']] : [])
  return [...options, ['version', '2'], ['previousVersions', object([['1', before]])]]
}

/** A filter that asks a blind index, in any way that it can be asked. */
export function askIndex(draw: Draw, index: Index = draw.random.pick(draw.shape.indexes)): Code {
  const { random } = draw
  const fields = index.fields.map(
    (name) => draw.shape.fields.find((field) => field.name === name && field.within === index.within) as Field,
  )
  const asked = (prefix: string) =>
    fields.length > 1
      ? object(fields.map((field) => [`${prefix}${field.name}`, equal(draw, field)] as const))
      : object([[`${prefix}${fields[0]!.name}`, condition(draw, fields[0]!)]])
  const one = (): Code => {
    switch (index.within) {
      case '':
        return asked('')
      case 'one':
        return asked('one.')
      default:
        return random.pick<() => Code>([
          // Several fields of any elements are refused.
          () => asked(fields.length > 1 || random.chance(0.5) ? 'contacts.0.' : 'contacts.'),
          () => object([['contacts', object([['$elemMatch', asked('')]])]]),
          () => object([['contacts', code`{ $not: { $elemMatch: ${asked('')} } }`]]),
          () => object([['contacts', code`{ $all: [{ $elemMatch: ${asked('')} }, { $elemMatch: ${asked('')} }] }`]]),
        ])()
    }
  }
  const clear = `{ n: ${draw.record()} }`
  switch (random.weighted({ alone: 6, or: 1, nor: 1, and: 1, several: 1, filter: 0.3 })) {
    case 'or':
      return code`{ $or: [${one()}, ${clear}] }`
    case 'nor':
      return code`{ $nor: [${one()}, ${clear}] }`
    case 'and':
      return code`{ $and: [${one()}, ${random.pick([clear, one()])}] }`
    case 'several':
      return code`{ $or: [${one()}, ${one()}] }`
    case 'filter':
      return code`new Filter(${one()})`
    default:
      return one()
  }
}

function equal(draw: Draw, field: Field): Code {
  const value = draw.sound(field)
  return draw.random.chance(0.2) ? code`{ $eq: ${value} }` : value
}

function condition(draw: Draw, field: Field): Code {
  const value = () => draw.sound(field)
  return draw.random.pick<() => Code>([
    value,
    value,
    value,
    () => code`{ $eq: ${value()} }`,
    () => code`{ $ne: ${value()} }`,
    () => code`{ $in: [${value()}] }`,
    () => code`{ $in: [${value()}, ${value()}] }`,
    () => code`{ $in: [null, ${value()}] }`,
    () => '{ $in: [] }',
    () => code`{ $nin: [${value()}, ${value()}] }`,
    () => code`{ $nin: [${value()}, null] }`,
    () => code`{ $not: { $eq: ${value()} } }`,
    () => code`{ $not: { $in: [${value()}, ${value()}] } }`,
    () => code`{ $exists: true, $ne: ${value()} }`,
    () => code`{ $ne: ${value()}, $nin: [${value()}] }`,
    () => code`{ $in: [${value()}, ${value()}], $ne: ${value()} }`,
    () => code`{ $eq: null }`,
  ])()
}
