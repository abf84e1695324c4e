import { array, type Code, code, object } from './code'
import { askIndex, isFolded } from './indexed'
import { type Kind, kinds } from './kinds'
import type { Random } from './random'
import { Secrets } from './secrets'
import { drawShape, type Field, type Shape } from './shape'

type Entry = readonly [string, Code]
type Presence = 'exists' | 'null' | 'not null'

/** How many records a sequence works on at most: few, so that steps meet. */
const maxRecords = 8

/** What is wrong for most types, and needs no text. */
const simpleOddities = [
  'undefined',
  'null',
  'NaN',
  "''",
  '0',
  '[]',
  '{}',
  'Infinity',
  'new Date(NaN)',
  'true',
  '-1',
  '[null, undefined]',
]

/** Draws the arguments of steps as source code. What it draws depends on the seed alone, never on what steps did. */
export class Draw {
  readonly secrets: Secrets
  readonly roles: readonly Code[]
  readonly shape: Shape
  /** Whether fields may be declared with `select: false`. */
  isSelectable = true
  /** Whether the values of indexed fields may be such as setters change. */
  isCast = true
  #records = 1
  /** Values of indexed fields that were drawn. */
  readonly #known = new Map<string, Code[]>()

  constructor(readonly random: Random) {
    this.secrets = new Secrets(random)
    this.roles = [0, 1, 2].map(() => `'${this.secrets.mark()}'`)
    this.shape = drawShape(this)
  }

  times<T>(most: number, draw: (index: number) => T): T[] {
    return Array.from({ length: this.random.below(most + 1) }, (_, index) => draw(index))
  }

  field(): Field {
    return this.random.pick(this.shape.fields)
  }

  /** The fields of the record itself; those of subdocuments are reached through their holders. */
  own(): readonly Field[] {
    return this.shape.fields.filter(({ within }) => within === '')
  }

  kindOf(field: Field): Kind {
    return kinds[field.kind] as Kind
  }

  /** A value for a field, as a rule a valid one. */
  value(field: Field, oddity = 0.15): Code {
    return this.random.chance(oddity) ? this.odd(field) : this.sound(field)
  }

  /** A valid value. That of an indexed field was drawn before, as a rule: records share it, and filters find it. */
  sound(field: Field): Code {
    const draw = () => this.kindOf(field).value(this)
    if (!this.shape.indexes.some(({ fields }) => fields.includes(field.name))) return draw()
    const { isCast } = this
    const all = this.#known.get(field.name) ?? []
    this.#known.set(field.name, all)
    const folds = this.shape.foldsCase && isFolded(field.name)
    const known = isCast ? all : all.filter((value) => isBare(value))
    if (known.length === 0 || this.random.chance(known.length < 4 ? 0.3 : 0.1)) {
      known.push(isFolded(field.name) && (folds || !isCast) ? `'${this.secrets.mark()}'` : draw())
      if (known !== all) all.push(known.at(-1) as Code)
    }
    const value = this.random.pick(known)
    return folds && isCast && this.random.chance(0.2) ? String(value).toUpperCase() : value
  }

  /** What an application gives by mistake, or from the body of a request. */
  odd({ name }: Field): Code {
    if (this.random.chance(0.45)) return this.random.pick(simpleOddities)
    const text = this.secrets.text()
    const other = this.random.below(3)
    return this.random.pick<Code>([
      code`{ $gt: ${text} }`,
      code`{ $set: { a: ${text} } }`,
      code`[${text}]`,
      code`[[${text}]]`,
      code`new Thing(${text})`,
      code`new Map([['k', ${text}]])`,
      code`Buffer.from(${text})`,
      code`new Binary(Buffer.from(${text}), 0x80)`,
      code`new String(${text})`,
      code`{ toString: () => ${text} }`,
      code`{ toBSON: () => ${text} }`,
      code`{ ['__proto__']: { a: ${text} } }`,
      code`{ a: undefined, b: ${text} }`,
      code`new RegExp(${text})`,
      text,
      // Those of other records: as they are held, and as they are read.
      `doc(${other})?._doc.${name}`,
      `doc(${other})?.${name}`,
      `await doc(${other})?.${name}`,
    ])
  }

  /** Where a field is stored; in an array, that of any element. */
  path({ name, within }: Field): string {
    if (!within) return name
    return within === 'byName' ? `byName.a.${name}` : `${within}.${name}`
  }

  /** `_id` and number go together, so that filters by either meet the same records. */
  record(): number {
    return this.random.below(this.#records)
  }

  /** As a rule one that is not there yet. */
  newRecord(): number {
    if (this.#records >= maxRecords || this.random.chance(0.15)) return this.record()
    return this.#records++
  }

  /** As a rule one that is honoured; conditions on fields without a blind index are refused, except whether they are there. */
  filter(): Code {
    const record = this.record()
    const indexed = this.shape.indexes.length > 0 ? 6 : 0
    const chosen = this.random.weighted({ n: 7, id: 3, all: 0.7, encrypted: 1.5, indexed })
    // Where ids are no ObjectIds, an upsert has to give one.
    const isOwnId = this.shape.idType !== 'ObjectId'
    if (chosen === 'indexed' && isOwnId) return code`{ _id: id(${String(record)}), $and: [${askIndex(this)}] }`
    if (chosen === 'indexed') return askIndex(this)
    if (chosen === 'n' && !isOwnId) return `{ n: ${record} }`
    if (chosen === 'id' || isOwnId) return `{ _id: id(${record}) }`
    if (chosen === 'all') return '{}'
    const field = this.field()
    const path = this.path(field)
    const value = this.value(field, 0.1)
    const equal = object([[path, value]])
    return this.random.pick<Code>([
      equal,
      ...this.presences(field).map((presence) => object([[path, this.#conditionOf(presence)]])),
      object([[path, code`{ $in: [${value}] }`]]),
      code`{ $or: [{ n: ${String(record)} }, ${equal}] }`,
      code`{ $nor: [${equal}] }`,
      code`{ $and: [new Filter(${equal})] }`,
      code`{ $expr: { $eq: ['$${path}', ${value}] } }`,
    ])
  }

  /**
   * The conditions on being there by which both twins have to find the same: MongoDB looks for null within arrays, too, and Mongoose
   * stores an empty nested object where nothing is minimised.
   */
  presences({ kind }: Field): readonly Presence[] {
    if (kind === 'address' && !this.shape.minimize) return []
    return /^(tags|history|grid|any)$/.test(kind) ? ['exists'] : ['exists', 'null', 'not null']
  }

  #conditionOf(presence: Presence): Code {
    if (presence === 'exists') return `{ $exists: ${this.random.chance(0.5)} }`
    return presence === 'null' ? 'null' : '{ $ne: null }'
  }

  /** What is given to a constructor, `set` or a replacement. */
  body({ id = true, oddity = 0.12 } = {}): Code {
    const record = id ? this.newRecord() : this.record()
    const entries: Entry[] = id ? [['_id', `id(${record})`]] : []
    if (id || this.random.chance(0.2)) entries.push(['n', String(record)])
    if (this.random.chance(0.4)) entries.push(['name', `'clear${this.random.below(9)}'`])
    for (const field of this.random.some(this.own(), 0.65)) entries.push(this.entry(field, oddity))
    for (const holder of new Set(this.shape.fields.map(({ within }) => within))) {
      if (holder && this.random.chance(0.7)) entries.push([holder, this.held(holder)])
    }
    if (this.shape.hasKid && this.random.chance(0.5)) entries.push(['kind', "'kid'"])
    if (this.random.chance(0.04)) entries.push(['extra', "'clear'"])
    if (this.shape.strict !== "'throw'" && this.random.chance(0.04)) entries.push(this.planted())
    return object(entries)
  }

  /** A field with its value, or a path below the field with a value for that. */
  entry(field: Field, oddity = 0.12): Entry {
    // Paths into maps are for `set()`: Mongoose itself drops them elsewhere.
    const below = this.random.chance(0.08) && field.kind !== 'meta' ? this.kindOf(field).below?.(this) : undefined
    return below ? [`${this.path(field)}.${below[0]}`, below[1]] : [this.path(field), this.value(field, oddity)]
  }

  /** One of the documents that a path holds. */
  contact(): Code {
    const fields = this.shape.fields.filter(({ within }) => within !== '')
    const names = new Map(fields.map((field) => [field.name, field]))
    const chosen = this.random
      .some([...names.values()], 0.7)
      .map((field) => [field.name, this.value(field, 0.08)] as const)
    const id: Entry[] = this.random.chance(0.5) ? [['_id', `sub(${this.random.below(4)})`]] : []
    return object([...id, ['label', `'l${this.random.below(3)}'`], ...chosen])
  }

  held(holder: string): Code {
    if (holder === 'one') return this.contact()
    if (holder === 'byName') return object([['a', this.contact()]])
    return array(this.times(2, () => this.contact()))
  }

  /** Another record's wrapped keys, or a piece of nonsense in their place. */
  planted(): Entry {
    const value = this.random.pick(['raw(0)?.encrypted_kms_key', '[]', 'null', "'planted'"])
    return this.random.chance(0.6) ? ['encrypted_kms_key', value] : ['encrypted_kms_key.0', `(${value})?.[0]`]
  }

  model(): string {
    return this.shape.hasKid && this.random.chance(0.5) ? 'Kid' : 'Model'
  }

  /** Options, each with its probability. */
  options(entries: readonly (readonly [string, Code, number])[]): Code {
    return object(entries.filter(([, , chance]) => this.random.chance(chance)).map(([name, value]) => [name, value]))
  }
}

/** Whether a text is one that no setter changes, or it is no text. */
function isBare(value: Code): boolean {
  return typeof value !== 'string' || !value.startsWith("'") || /^'zq\w+x'$/.test(value)
}
