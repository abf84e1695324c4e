import { keyOf } from './compare'
import { isOperators } from './conditions'
import { type Doc, notImplemented, ServerError } from './errors'
import { keysOf } from './keys'
import { compileFilter, type Predicate } from './match'
import { show } from './show'
import { field, isDoc, isNumeric, isTrue, typeOf } from './values'

/** One entry of an index: its key as text, and the values it was made of (for `keyValue` in errors). */
export type IndexKey = { text: string; values: unknown[] }

const OPTIONS = ['v', 'key', 'name', 'unique', 'sparse', 'partialFilterExpression', 'background', 'ns', 'hidden']
const COMPARISONS = ['$eq', '$gt', '$gte', '$lt', '$lte']

/** An index of a collection: which documents hold which key. */
export class Index {
  readonly name: string
  readonly key: Doc
  readonly unique: boolean
  readonly entries = new Map<string, Set<string>>()
  readonly #paths: string[][]
  readonly #covers: Predicate

  /** @throws {ServerError} 67 for a malformed key, 238 for an option or kind of index this server does not do */
  constructor(readonly spec: Doc) {
    const unknown = Object.keys(spec).find((option) => !OPTIONS.includes(option))
    if (unknown !== undefined && !isSimple(unknown, spec[unknown])) throw notImplemented(`the index option ${unknown}`)
    this.key = spec.key as Doc
    this.name = spec.name as string
    this.unique = isTrue(spec.unique)
    this.#paths = Object.keys(this.key).map((path) => path.split('.'))
    if (this.#paths.length === 0) throw new ServerError(67, 'Index keys cannot be empty.')
    for (const [path, order] of Object.entries(this.key)) {
      if (!isNumeric(order)) throw notImplemented(`indexes of kind ${show(order)}`)
      if (path.includes('$')) throw notImplemented(`the index key ${path}`)
    }
    this.#covers = compileFilter((spec.partialFilterExpression as Doc) ?? {})
  }

  keysOf(doc: Doc | undefined): IndexKey[] {
    if (doc === undefined || !this.#covers(doc)) return []
    const rows = keysOf(doc, this.#paths, isTrue(this.spec.sparse))
    return [...new Map(rows.map((values) => [textOf(values), values]))].map(([text, values]) => ({ text, values }))
  }

  add(keys: IndexKey[], id: string): void {
    for (const { text } of keys) {
      const ids = this.entries.get(text)
      if (ids === undefined) this.entries.set(text, new Set([id]))
      else ids.add(id)
    }
  }

  remove(keys: IndexKey[], id: string): void {
    for (const { text } of keys) {
      const ids = this.entries.get(text)
      ids?.delete(id)
      if (ids?.size === 0) this.entries.delete(text)
    }
  }

  /** Whether the planner may use this index: a partial one only for a filter that implies its condition. */
  serves(conditions: Map<string, unknown>): boolean {
    if (isTrue(this.spec.hidden)) return false
    if (this.spec.partialFilterExpression !== undefined) {
      const covered = Object.entries(this.spec.partialFilterExpression as Doc)
      return covered.every(([path, wanted]) => implies(conditions.get(path), wanted))
    }
    const first = conditions.get(this.#paths[0]!.join('.'))
    return !isTrue(this.spec.sparse) || (first !== null && first !== undefined)
  }
}

/** Whether MongoDB takes one condition on a path for one that nothing meets which does not meet the other too. */
function implies(given: unknown, wanted: unknown): boolean {
  if (given === undefined) return false
  if (keyOf(given) === keyOf(wanted)) return true
  const wantsExistence = isDoc(wanted) && Object.keys(wanted).join() === '$exists' && isTrue(wanted.$exists)
  if (!wantsExistence) return false
  if (!isOperators(given)) return given !== null
  return Object.entries(given).some(([name, operand]) => {
    if (name === '$in') return Array.isArray(operand) && !operand.includes(null)
    return name === '$exists' ? isTrue(operand) : COMPARISONS.includes(name) && operand !== null
  })
}

/** Options that change nothing when they name the default. */
function isSimple(option: string, value: unknown): boolean {
  return option === 'collation' && isDoc(value) && value.locale === 'simple'
}

/** An empty array is indexed as `undefined`, apart from null. */
function textOf(values: unknown[]): string {
  return values.map((value) => (value === undefined ? 'undefined' : keyOf(value))).join()
}

export function duplicateKey(namespace: string, name: string, key: Doc, values: unknown[]): ServerError {
  const keyValue = Object.fromEntries(Object.keys(key).map((path, i) => [path, values[i]]))
  return new ServerError(
    11000,
    `E11000 duplicate key error collection: ${namespace} index: ${name} dup key: ${show(keyValue)}`,
    { keyPattern: key, keyValue },
  )
}

type Plan = { index?: Index; ids?: Iterable<string> }

/** Chooses how to find the documents of a filter: by `_id`, by an index, or (neither given) by a scan. */
export function plan(filter: Doc, indexes: Iterable<Index>): Plan {
  const conditions = conditionsOf(filter)
  const ids = equalKeys(conditions.get('_id'))
  if (ids !== undefined) return { ids }
  let ranged: Index | undefined
  for (const index of indexes) {
    const paths = Object.keys(index.key)
    if (!index.serves(conditions)) continue
    const keys = paths.map((path) => equalKeys(conditions.get(path)))
    // Two fields of one array of documents may match by two documents, of which the index has no common key.
    const apart = new Set(paths.map((path) => path.split('.')[0])).size === paths.length
    if (apart && keys.every((key) => key !== undefined)) {
      const texts = (keys as string[][]).reduce((rows, next) =>
        rows.flatMap((row) => next.map((key) => `${row},${key}`)),
      )
      return { index, ids: new Set(texts.flatMap((text) => [...(index.entries.get(text) ?? [])])) }
    }
    const first = conditions.get(paths[0]!)
    if (keys[0] !== undefined || isRange(first)) ranged ??= index
  }
  return { index: ranged }
}

function conditionsOf(filter: Doc, conditions = new Map<string, unknown>()): Map<string, unknown> {
  for (const name of Object.keys(filter)) {
    const value = filter[name]
    if (!name.startsWith('$')) conditions.set(name, value)
    else if (name === '$and' && Array.isArray(value)) for (const part of value) conditionsOf(part as Doc, conditions)
  }
  return conditions
}

/** The index keys of an equality or `$in` on scalars; `undefined` for every other condition. */
function equalKeys(condition: unknown): string[] | undefined {
  if (condition === undefined) return undefined
  if (!isOperators(condition)) return isScalar(condition) ? [keyOf(condition)] : undefined
  const [operator, ...more] = Object.keys(condition)
  if (more.length > 0) return undefined
  if (operator === '$eq') return isScalar(condition.$eq) ? [keyOf(condition.$eq)] : undefined
  const list = operator === '$in' ? field(condition, '$in') : undefined
  return Array.isArray(list) && list.every(isScalar) ? [...new Set(list.map(keyOf))] : undefined
}

function isScalar(value: unknown): boolean {
  return !['null', 'missing', 'regex', 'array', 'object'].includes(typeOf(value))
}

function isRange(condition: unknown): boolean {
  return isOperators(condition) && Object.keys(condition).some((name) => name === '$in' || COMPARISONS.includes(name))
}
