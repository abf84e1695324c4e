import { createRequire } from 'node:module'
import type { BlindIndex } from '../../lib/search/declaration'
import { holders } from './shape'

const load = createRequire(__filename)

/** A record or subdocument as it is stored, the same as it is read, and where it stands. */
interface Stored {
  readonly raw: any
  readonly open: any
  readonly within: string
}

/**
 * The blind indexes of one subject as its definition really declares them, and what has to hold for what is stored: an index value stands
 * beside the fields of its index exactly if all of them have values, and is that of these values, in each live version.
 */
export class Invariant {
  readonly #ofRecords: BlindIndex[] = []
  readonly #ofHeld: BlindIndex[] = []

  /** What is declared on a schema. */
  note(schema: any, fields: Record<string, any>, blindIndexes: unknown): void {
    // Only here, so that the fuzz run can be tried where the library does not run.
    const { compileCompounds, compileIndex } = load('../../lib/search/declaration')
    const indexed = (name: string) => ({ name, instance: nameOfType(fields[name]?.type) })
    const single = Object.entries(fields).map(([name, field]) =>
      compileIndex(indexed(name), field?.blindIndex, undefined),
    )
    const indexes = [...single, ...compileCompounds(blindIndexes, indexed)].filter((index) => index !== undefined)
    const isHeld = schema.path('label') !== undefined
    ;(isHeld ? this.#ofHeld : this.#ofRecords).push(...indexes)
  }

  get isIdle(): boolean {
    return this.#ofRecords.length + this.#ofHeld.length === 0
  }

  /** Says which index values are not as they have to be. */
  async problems(model: string, raws: readonly any[], opens: readonly any[]): Promise<string[]> {
    const { indexKeySource } = load('../../lib/search/indexkey')
    const { localKms } = load('../../lib')
    const keys = await indexKeySource(localKms(), undefined, () => true).open()
    const problems: string[] = []
    for (const raw of raws) {
      const open = opens.find(({ _id }) => String(_id) === String(raw._id))
      for (const stored of storedIn(raw, open)) {
        for (const index of stored.within === '' ? this.#ofRecords : this.#ofHeld) {
          const problem = problemOf(index, stored, (values) =>
            keys.valuesOf(model, `${stored.within}${index.name}`, index, values),
          )
          if (problem) problems.push(`${problem}\nof ${stored.within}${index.name}`)
        }
      }
    }
    return problems
  }
}

function problemOf(
  { fields, path, versions }: BlindIndex,
  { raw, open }: Stored,
  valuesOf: (values: unknown[]) => Buffer[],
): string | undefined {
  const isWhole = fields.every((name) => (raw[name] ?? null) !== null)
  const stored = raw[path]
  if (!isWhole) return stored === undefined ? undefined : 'an index value is left where a field has no value'
  if (stored === undefined) return 'there is no index value'
  const values = fields.map((name) => open?.[name])
  // What a record of the base holds of the child's fields is in no schema of it, and stays as it is stored.
  if (values.some((value) => value?._bsontype === 'Binary' && value.sub_type === 0x80)) return undefined
  const expected = valuesOf(values).map((value) => value.toString('hex'))
  const found = [stored].flat().map(hexOf)
  if (found.join() === expected.join() && Array.isArray(stored) === versions.length > 1) return undefined
  return found.length === expected.length ? 'an index value is that of another value' : 'a version has no index value'
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

function hexOf(value: any): string {
  return value?._bsontype === 'Binary' ? Buffer.from(value.buffer.subarray(0, value.position)).toString('hex') : '?'
}

/** `String`, or the class of a schema type, whose own name differs. */
function nameOfType(type: any): string {
  return type?.schemaName ?? type?.name
}
