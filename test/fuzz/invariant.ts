import { createRequire } from 'node:module'
import { holders } from './shape'

/** Only where it is needed, so that the fuzz run can be tried where the library does not run. */
const load = createRequire(__filename)

/** A record or subdocument as it is stored, the same as it is read, and where it stands. */
interface Stored {
  readonly raw: any
  readonly open: any
  readonly within: string
}

/** Options of the plugin that declare indexes, and whether they are those of subdocuments. */
interface Declared {
  readonly isHeld: boolean
  readonly fields: Record<string, any>
  readonly blindIndexes: unknown
}

/** The blind indexes of one subject as its definition really declares them, and what has to hold for what is stored. */
export class Invariant {
  readonly #declared: Declared[] = []

  /** What is declared on a schema. */
  note(schema: any, fields: Record<string, any>, blindIndexes: unknown): void {
    if (!blindIndexes && !Object.values(fields).some((field) => field?.blindIndex)) return
    this.#declared.push({ isHeld: schema.path('label') !== undefined, fields, blindIndexes })
  }

  get isIdle(): boolean {
    return this.#declared.length === 0
  }

  /** The fields of which no two records have the same value: strings, all of them. */
  get unique(): string[] {
    return this.#declared.flatMap(({ fields }) =>
      Object.keys(fields).filter((name) => fields[name]?.blindIndex?.unique === true),
    )
  }

  /** Says which index values are not as they have to be. */
  async problems(model: string, raws: readonly any[], opens: readonly any[]): Promise<string[]> {
    const { indexesIn, indexProblem, localIndexKeys } = load('../indexvalues') as typeof import('../indexvalues')
    const keys = await localIndexKeys()
    const indexes = this.#declared.flatMap(({ isHeld, fields, blindIndexes }) =>
      indexesIn(fields, blindIndexes).map((index) => ({ isHeld, index })),
    )
    return raws.flatMap((raw) => {
      const record = opens.find(({ _id }) => String(_id) === String(raw._id))
      return [...storedIn(raw, record)].flatMap(({ raw, open, within }) =>
        indexes.flatMap(({ isHeld, index }) => {
          if (isHeld !== (within !== '')) return []
          // What a record of the base holds of the child's fields is in no schema of it, and stays as it is stored.
          if (index.fields.some((name) => isEnvelope(open?.[name]))) return []
          const problem = indexProblem(index, raw, open, (values) =>
            keys.valuesOf(model, `${within}${index.name}`, index, values),
          )
          return problem === undefined ? [] : [`${problem}\nof ${within}${index.name}`]
        }),
      )
    })
  }
}

function* storedIn(raw: any, open: any): Generator<Stored> {
  yield { raw, open, within: '' }
  for (const holder of holders) {
    const [stored, opened] = [raw[holder], open?.[holder]]
    if (typeof stored !== 'object' || stored === null) continue
    if (holder === 'one') yield { raw: stored, open: opened, within: 'one.' }
    else
      for (const [key, each] of Object.entries(stored))
        if (each) yield { raw: each, open: opened?.[key], within: holder === 'byName' ? 'byName.*.' : 'contacts.' }
  }
}

function isEnvelope(value: any): boolean {
  return value?._bsontype === 'Binary' && value.sub_type === 0x80
}
