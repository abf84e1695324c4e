import { sameBytes } from '../format/bytes'
import { bytesOf } from '../format/entry'
import { isDocument, type Plain, topOf, valuesOf } from '../mongoose/host'
import { isPlainObject } from '../mongoose/plain'
import { IndexValue } from '../queries/indexvalue'
import { equalities, isScalar } from './conditions'

/**
 * What an operation of a bulk write leaves in a record. Which record an operation finds is looked up before the first one runs, so one that finds
 * none yet has to know whether those before it may make one: then it would be tied to nothing, and lost.
 */
export interface Made {
  /** The values that it is known to store, by their paths. */
  readonly values: Plain
  /** Whether the record holds nothing else. */
  readonly isWhole: boolean
  /** What else it changes; `undefined` where that may be anything. */
  readonly changed: readonly string[] | undefined
}

export function madeByInsert(document: unknown): Made {
  return { values: valuesToInsert(document), isWhole: true, changed: [] }
}

function valuesToInsert(document: unknown): Plain {
  return isDocument(document) ? valuesOf(document) : (document as Plain)
}

export function madeBy(name: string, { filter, update, replacement, upsert }: Plain): Made[] {
  if (name === 'replaceOne') {
    // The `_id` stays that of the record, which its filter may say or not.
    const { _id } = equalities(filter ?? {})
    return [
      { values: { _id, ...valuesToInsert(replacement) }, isWhole: true, changed: _id === undefined ? ['_id'] : [] },
    ]
  }
  if (!isPlainObject(update)) return [{ values: {}, isWhole: false, changed: undefined }]
  const { $set, $setOnInsert, $rename, ...others } = update as Plain
  const renamed = Object.entries($rename ?? {}).flatMap(([from, to]) => [from, String(to)])
  const changed = [...renamed, ...Object.values(others).flatMap((operand) => Object.keys(operand ?? {}))]
  const made: Made[] = [{ values: { ...$set }, isWhole: false, changed }]
  if (upsert) made.push({ values: { ...equalities(filter ?? {}), ...$set, ...$setOnInsert }, isWhole: true, changed })
  return made
}

/** Whether a filter that finds nothing may find what operations before it leave. */
export function mayFind(filter: Plain, made: readonly Made[]): boolean {
  const read = pathsIn(filter)
  return made.some((each) => mayFindOne(filter, read, each))
}

function mayFindOne(filter: Plain, read: readonly string[] | undefined, made: Made): boolean {
  const { values, isWhole, changed } = made
  if (!changed) return true
  const touched = new Set([...Object.keys(values), ...changed].map(topOf))
  // A record that it leaves as it is to this filter was not found before.
  if (!isWhole && read && !read.some((path) => touched.has(path))) return false
  const unknown = new Set(changed.map(topOf))
  return !Object.entries(equalities(filter)).some(
    ([path, value]) => !unknown.has(topOf(path)) && differs(made, path, value),
  )
}

/** Whether what stands at a path afterwards is surely not what is asked for. */
function differs({ values, isWhole }: Made, path: string, asked: unknown): boolean {
  if (asked instanceof IndexValue) return isWhole && hasOtherIndexValue(values, path, asked)
  if (path in values) return isScalar(values[path]) && isScalar(asked) && areUnlike(values[path], asked)
  return isWhole && !path.includes('.') && asked !== null && asked !== undefined
}

/** A collation, be it the collection's own, may take texts for equal that differ in case, accents or punctuation. */
const tolerant = new Intl.Collator('en', { sensitivity: 'base', ignorePunctuation: true, numeric: true })

function areUnlike(one: unknown, other: unknown): boolean {
  if (typeof one === 'string' && typeof other === 'string') return tolerant.compare(one, other) !== 0
  return String(one) !== String(other)
}

/** What an upsert takes over from its filter is known; of other values the index values are made later. */
function hasOtherIndexValue(values: Plain, path: string, value: IndexValue): boolean {
  const fields = fieldsAsked(value)
  if (value.asked.isWithin || Object.keys(values).some((each) => fields.includes(topOf(each)))) return false
  const [own, other] = [values[path], value].map((each) => each instanceof IndexValue && bytesOf(each.toBSON()))
  return !own || (other instanceof Uint8Array && !sameBytes(own, other))
}

/** The top-level paths that a filter reads; `undefined` where that cannot be told. */
export function pathsIn(filter: Plain): string[] | undefined {
  const paths: string[] = []
  for (const [key, condition] of Object.entries(filter)) {
    const clauses = /^\$(and|or|nor)$/.test(key) && Array.isArray(condition) ? condition : undefined
    if (key.startsWith('$') && !clauses) return undefined
    const below = clauses?.map(pathsIn)
    if (below?.includes(undefined)) return undefined
    paths.push(...((below?.flat() as string[] | undefined) ?? [topOf(key), ...fieldsAsked(condition)]))
  }
  return paths
}

/** The fields whose index values stand in a condition: what changes is them. */
function fieldsAsked(condition: unknown): string[] {
  if (condition instanceof IndexValue) {
    const { index, here } = condition.asked
    return here.within === '' ? [...index.fields] : [topOf(here.within)]
  }
  const isContainer = Array.isArray(condition) || isPlainObject(condition)
  return isContainer ? Object.values(condition).flatMap(fieldsAsked) : []
}
