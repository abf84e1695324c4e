import type { Plain } from '../mongoose/host'
import { Box } from '../schema/box'
import { type FieldHere, follow, type Location, type Place, step } from '../schema/layout'
import type { BlindIndex } from '../search/declaration'
import { asksForPresence, checkEntryOf, checkFilter, checkHolder, isPresenceOperator } from './filter'
import { clearValues } from './indexvalue'
import {
  pathBelow,
  refusedAlone,
  refusedApart,
  refusedBeyondEquality,
  refusedSeveral,
  refusedTouched,
  refusedUndefined,
} from './refusals'
import type { Variables } from './scope'
import { entriesOf, hasOperators, itemsOf } from './values'

/** What becomes of values that an index is asked for: an index value for each live version of it, or `null` where there is nothing to ask for. */
export type Compare = (
  index: BlindIndex,
  heres: readonly FieldHere[],
  values: readonly unknown[],
  place: string,
) => readonly unknown[] | null

/**
 * What the `_id` of records must be in that have what an index is asked for, where it is shortened; `undefined` where other records may
 * be found, too.
 *
 * @param values index values, as `Compare` gives them
 */
export type Verify = (values: readonly unknown[]) => unknown

/** What is the same throughout a filter. */
interface Walk {
  readonly place: string
  readonly compare: Compare
  readonly verify: Verify | undefined
  readonly variables: Variables | undefined
}

/** Where a part of a filter stands: at a record, or within `$elemMatch` at an element of it. */
interface Part {
  readonly at: Place
  /** The path that led there, for messages. */
  readonly path: string
}

/**
 * Translates a filter: what it compares an indexed field with is asked of the index values. The filter given stays as it is.
 *
 * @param place names the operation for messages, such as `User.find()`
 * @param variables those of a `$lookup` around, for `$expr`
 * @param verify where records can be looked at before they are found
 * @returns the filter itself, where nothing is to be translated
 * @throws {OperationError} QUERY_REFUSED when it compares an encrypted field in another way
 */
export function translateFilter(
  root: Place,
  filter: unknown,
  place: string,
  compare: Compare,
  variables?: Variables,
  verify?: Verify,
): unknown {
  if (root.hasIndexes) return translatePart({ place, compare, verify, variables }, { at: root, path: '' }, filter)
  checkFilter(root, filter, place, variables)
  return filter
}

function translatePart(walk: Walk, part: Part, filter: unknown): unknown {
  const items = itemsOf(filter)
  if (items)
    return sameOr(
      filter,
      items,
      Array.from(items, (item) => translatePart(walk, part, item)),
    )
  const entries = filter instanceof Box ? undefined : entriesOf(filter)
  if (!entries) {
    checkFilter(part.at, filter, walk.place, walk.variables, part.path)
    return filter
  }
  const located = entries.map(
    ([key, value]): Located => ({
      key,
      value,
      location: key.startsWith('$') ? undefined : follow(part.at, key),
    }),
  )
  const conjunction = new Conjunction()
  const together = togetherIn(walk, part, located)
  for (const { path, compared, condition } of together) {
    if (condition) conjunction.put('$and', undefined, [condition])
    else conjunction.put(path, undefined, compared)
  }
  for (const entry of located)
    if (!together.some(({ keys }) => keys.includes(entry.key))) translateEntry(walk, part, entry, conjunction)
  return conjunction.isChanged ? conjunction.filter : filter
}

/** One entry of a filter, and what its key leads to that is encrypted, or holds what is. */
interface Located {
  readonly key: string
  readonly value: unknown
  readonly location: Location | undefined
}

/** The conditions of one object. Whether there is an index value can be asked as well, so that a path may come twice. */
class Conjunction {
  readonly #conditions = new Map<string, unknown>()
  readonly #besides: Plain[] = []
  isChanged = false

  /** @param given what the condition was before it was translated */
  put(key: string, given: unknown, translated: unknown): void {
    this.isChanged ||= given !== translated
    if (this.#conditions.has(key)) this.#besides.push({ [key]: translated })
    else this.#conditions.set(key, translated)
  }

  get filter(): Plain {
    const conditions: Plain = Object.fromEntries(this.#conditions)
    if (this.#besides.length > 0) conditions.$and = [...(conditions.$and ?? []), ...this.#besides]
    return conditions
  }
}

function translateEntry(walk: Walk, part: Part, { key, value, location }: Located, conjunction: Conjunction): void {
  if ((key === '$and' || key === '$or' || key === '$nor') && itemsOf(value)) {
    conjunction.put(key, value, translatePart(walk, part, value))
    return
  }
  const place = location?.below.length === 0 ? location.place : undefined
  if (place && isHolder(place) && place.hasIndexes) {
    conjunction.put(key, value, translateHolder(walk, { at: place, path: pathBelow(part.path, key) }, value))
    return
  }
  const found = place && !asksForPresence(value) ? indexedAt(walk, part, key, place) : undefined
  if (found) {
    translateCondition(walk, part, found, key, value, conjunction)
    return
  }
  if (place) refuseAlone(walk, part, key, place, value)
  checkEntryOf(part.at, key, value, walk.place, walk.variables, part.path)
  conjunction.put(key, value, value)
}

/** What is asked of an indexed field, beyond whether it is there. */
function translateCondition(
  walk: Walk,
  part: Part,
  found: Found,
  key: string,
  value: unknown,
  conjunction: Conjunction,
): void {
  const { here, index } = found
  const operators = operatorsOf(value)
  if (here.use.migrating || (index.isShortened && walk.verify)) {
    conjunction.put('$and', undefined, clausesOf(walk, part, found, key, operators ?? [['$eq', value]]))
    return
  }
  const path = `${prefixOf(key)}${index.path}`
  if (!operators) {
    conjunction.put(path, value, oneOf(compared(walk, found, value)))
    return
  }
  const present = operators.filter(isPresenceOperator)
  if (present.length > 0) conjunction.put(key, value, Object.fromEntries(present))
  const comparing = operators.filter((each) => !present.includes(each))
  for (const each of comparisons(walk, found, comparing)) conjunction.put(path, value, bare(each))
}

/** Whether a place is an object or array, and neither a field nor what is kept beside it. */
function isHolder({ fields, keysOf }: Place): boolean {
  return fields.length === 0 && keysOf.length === 0
}

/** A condition on an object or array that holds indexed fields: its elements are asked for them. */
function translateHolder(walk: Walk, part: Part, condition: unknown): unknown {
  const operators = operatorsOf(condition)
  if (!operators) {
    checkHolder(part.at, condition, walk.place, part.path, walk.variables)
    return condition
  }
  const translated = operators.map(([operator, operand]): [string, unknown] => {
    if (operator === '$elemMatch') return [operator, translatePart(walk, part, operand)]
    if (operator === '$not') return [operator, translateHolder(walk, part, operand)]
    const items = operator === '$all' ? itemsOf(operand) : undefined
    if (items) {
      const others = Array.from(items, (item) => translateHolder(walk, part, item))
      return [operator, sameOr(operand, items, others)]
    }
    checkHolder(part.at, { [operator]: operand }, walk.place, part.path, walk.variables)
    return [operator, operand]
  })
  const isChanged = translated.some(([, operand], index) => operand !== operators[index]?.[1])
  return isChanged ? Object.fromEntries(translated) : condition
}

function sameOr(given: unknown, items: readonly unknown[], others: readonly unknown[]): unknown {
  return items.some((item, index) => item !== others[index]) ? others : given
}

/** A field with its index, and index values that are there to be asked. */
interface Found {
  readonly here: FieldHere
  readonly index: BlindIndex
}

function prefixOf(key: string): string {
  return key.slice(0, key.lastIndexOf('.') + 1)
}

/** Whether a key leads to any element of an array: then each of several conditions may be met by another one. */
function leadsToAny({ at }: Part, key: string): boolean {
  let place: Place | undefined = at
  let isAny = false
  for (const segment of key.split('.')) {
    const next = step(place, segment)
    if (isAny && next !== place) return true
    isAny = next !== place && next?.isArray === true
    place = next
  }
  return false
}

/** What holds the index values of a field at a key. */
function recordAround({ at }: Part, key: string): Place | undefined {
  const prefix = prefixOf(key).slice(0, -1)
  return prefix === '' ? at : follow(at, prefix)?.place
}

/** Whether both index values and the fields beside them are what was stored. */
export function isStored(record: Place | undefined, index: BlindIndex): boolean {
  const values = record?.children.get(index.path)
  if (!record || !values || values.isTouched || !values.indexOf.includes(index)) return false
  return index.fields.every((name) => record.children.get(name)?.isTouched === false)
}

/** The field at a key, where it is found by itself. */
function indexedAt({ place }: Walk, part: Part, key: string, { fields }: Place): Found | undefined {
  const [here, another] = fields
  const { index } = here?.field ?? {}
  if (!here || !index || !isStored(recordAround(part, key), index)) return undefined
  // Each would have a normal form of its own.
  if (another) throw refusedSeveral(place, pathBelow(part.path, key))
  return { here, index }
}

/** A field that is found together with others alone, or was parted from its index values. */
function refuseAlone(walk: Walk, part: Part, key: string, { fields }: Place, condition: unknown): void {
  const [here] = fields
  if (here?.field.index && !asksForPresence(condition)) throw refusedTouched(walk.place, pathBelow(part.path, key))
  const index = here?.use.indexes.find(({ fields: names }) => names.includes(here.field.name))
  if (!here || !index || index.fields.length < 2 || asksForPresence(condition)) return
  if (isStored(recordAround(part, key), index)) throw refusedAlone(walk.place, pathBelow(part.path, key), index.fields)
}

/** Conditions that ask an index over several fields, each for one value. */
interface Together {
  readonly index: BlindIndex
  readonly keys: readonly string[]
  readonly path: string
  readonly compared: unknown
  /** All of the condition, where the index value is not all that is asked for. */
  readonly condition: Plain | undefined
}

function togetherIn(walk: Walk, part: Part, entries: readonly Located[]): Together[] {
  const found: Together[] = []
  for (const { key, location } of entries) {
    const [first] = location?.place.fields ?? []
    if (!first) continue
    for (const index of first.use.indexes) {
      if (index.fields.length < 2 || !index.fields.includes(first.field.name)) continue
      if (found.some((each) => each.index === index && each.keys.includes(key))) continue
      if (!isStored(recordAround(part, key), index)) continue
      const prefix = prefixOf(key)
      const keys = index.fields.map((name) => `${prefix}${name}`)
      const values = keys.map((each) => equalTo(entries, each))
      if (values.some((value) => value === undefined)) continue
      const heres = keys.map((each) => follow(part.at, each)?.place.fields ?? [])
      if (heres.some((own) => own.length > 1)) throw refusedSeveral(walk.place, pathBelow(part.path, key))
      if (leadsToAny(part, key)) throw refusedApart(walk.place, pathBelow(part.path, prefix.slice(0, -1)), index.fields)
      const compared = walk.compare(
        index,
        heres.map(([here]) => here as FieldHere),
        values,
        walk.place,
      )
      if (!compared) continue
      const path = `${prefix}${index.path}`
      const isAlone = !heres[0]?.[0]?.use.migrating && !(index.isShortened && walk.verify)
      const condition = isAlone ? undefined : having(walk, part, index, prefix, compared)
      found.push({ index, keys, path, compared: oneOf(compared), condition })
    }
  }
  return found
}

/** The one value that a condition on a key asks for; `undefined` where it asks for none, or for anything else. */
function equalTo(entries: readonly Located[], key: string): unknown {
  const condition = entries.find((entry) => entry.key === key)?.value
  const operators = operatorsOf(condition)
  const value = operators
    ? operators.length === 1 && operators[0]?.[0] === '$eq'
      ? operators[0][1]
      : undefined
    : condition
  return value === null || isPattern(value) ? undefined : value
}

/** The condition on an index, clause by clause: each is said of the records that have the value, and may be negated as a whole. */
function clausesOf(
  walk: Walk,
  part: Part,
  found: Found,
  key: string,
  operators: readonly (readonly [string, unknown])[],
): Plain[] {
  // What is in the clear has no index value.
  const path = found.here.use.migrating ? key : `${prefixOf(key)}${found.index.path}`
  return operators.map(([operator, operand]): Plain => {
    if (isPresenceOperator([operator, operand])) return { [key]: { [operator]: operand } }
    const inner = operator === '$not' ? operatorsOf(operand) : undefined
    if (inner) return { $nor: [{ $and: clausesOf(walk, part, found, key, inner) }] }
    const isList = operator === '$in' || operator === '$nin'
    if (!isList && operator !== '$eq' && operator !== '$ne')
      throw refusedBeyondEquality(walk.place, found.here.field.name)
    const items = Array.from(isList ? (itemsOf(operand) ?? [operand]) : [operand], (item) =>
      compared(walk, found, item),
    )
    const values = items.flat().filter((value) => value !== null)
    const has = values.length > 0 ? [having(walk, part, found.index, prefixOf(key), values)] : []
    const isNull = items.some(([value]) => value === null) ? [{ [path]: null }] : []
    const any = [...has, ...isNull]
    const positive = any.length === 1 ? (any[0] as Plain) : any.length === 0 ? { [path]: { $in: [] } } : { $or: any }
    return operator === '$eq' || operator === '$in' ? positive : { $nor: [positive] }
  })
}

/** What has one of these index values, and the value itself; or has it in the clear, where that is migrated. */
function having({ verify }: Walk, { at }: Part, index: BlindIndex, prefix: string, values: readonly unknown[]): Plain {
  const among = index.isShortened ? verify?.(values) : undefined
  const verified = among === undefined ? {} : { _id: { $in: among } }
  const record = prefix.split('.').slice(0, -1)
  const fields = index.fields.map((name) => follow(at, `${prefix}${name}`)?.place.fields[0])
  if (!fields[0]?.use.migrating) return { [`${prefix}${index.path}`]: oneOf(values), ...verified }
  // Beside what an older version of the application has put in the place of an envelope, its index value has stayed.
  const sealed = Object.fromEntries(index.fields.map((name) => [name, { $type: 'binData' }]))
  const clear = clearValues(values).map((each) => Object.fromEntries(index.fields.map((name, i) => [name, each[i]])))
  const alternatives = [{ [index.path]: oneOf(values), ...sealed, ...verified }, ...clear]
  return { $or: alternatives.map((each) => ofRecord(at, record, each)) }
}

/** Conditions on one and the same record or subdocument, at the path of what it stands in. */
function ofRecord(at: Place, path: readonly string[], conditions: Plain): Plain {
  let place = at
  for (const [index, segment] of path.entries()) {
    const next = step(place, segment) as Place
    const isElement = next === place || isPosition(path[index + 1])
    if (next.isArray && !isElement)
      return { [path.slice(0, index + 1).join('.')]: { $elemMatch: ofRecord(next, path.slice(index + 1), conditions) } }
    place = next
  }
  return Object.fromEntries(Object.entries(conditions).map(([key, value]) => [[...path, key].join('.'), value]))
}

function isPosition(segment: string | undefined): boolean {
  return segment !== undefined && /^\d+$/.test(segment)
}

function operatorsOf(condition: unknown): readonly [string, unknown][] | undefined {
  const entries = condition instanceof Box ? undefined : entriesOf(condition)
  return entries && hasOperators(entries) ? entries : undefined
}

/** Conditions that hold together: one, unless an operator comes twice, as `$eq` and `$in` of one value do. */
function comparisons(walk: Walk, found: Found, operators: readonly [string, unknown][]): Plain[] {
  const result = operators.map(([operator, operand]): [string, unknown] => {
    switch (operator) {
      case '$eq':
        return listed(true, compared(walk, found, operand))
      case '$ne':
        return listed(false, compared(walk, found, operand))
      case '$in':
      case '$nin': {
        const items = Array.from(itemsOf(operand) ?? [operand], (item) => compared(walk, found, item))
        // MongoDB takes one for an equality, also in what an upsert stores.
        return items.length === 1
          ? listed(operator === '$in', items[0] as readonly unknown[])
          : [operator, items.flat()]
      }
      case '$not': {
        const inner = operatorsOf(operand)
        if (!inner) throw refusedBeyondEquality(walk.place, found.here.field.name)
        const [only, another] = comparisons(walk, found, inner)
        if (another) throw refusedBeyondEquality(walk.place, found.here.field.name)
        return [operator, only]
      }
      default:
        throw refusedBeyondEquality(walk.place, found.here.field.name)
    }
  })
  const conditions: Plain[] = []
  for (const [operator, operand] of result) {
    const free = conditions.find((condition) => !Object.hasOwn(condition, operator))
    if (free) free[operator] = operand
    else conditions.push({ [operator]: operand })
  }
  return conditions
}

/** The operator by which one of these values, or none of them, is asked for. */
function listed(isEqual: boolean, values: readonly unknown[]): [string, unknown] {
  if (values.length === 1) return [isEqual ? '$eq' : '$ne', values[0]]
  return [isEqual ? '$in' : '$nin', values]
}

function oneOf(values: readonly unknown[]): unknown {
  return values.length === 1 ? values[0] : { $in: values }
}

/** A value in the place of `$eq` alone: it is what an upsert takes over. */
function bare(condition: Plain): unknown {
  const [only, another] = Object.keys(condition)
  return only === '$eq' && another === undefined ? condition.$eq : condition
}

/** What is asked for in the place of a value: an index value of each live version, or `null` alone. */
function compared({ compare, place }: Walk, { here, index }: Found, value: unknown): readonly unknown[] {
  if (value === null) return [null]
  if (value === undefined) throw refusedUndefined(place, here.field.name)
  if (isPattern(value)) throw refusedBeyondEquality(place, here.field.name)
  return compare(index, [here], [value], place) ?? [null]
}

function isPattern(value: unknown): boolean {
  return value instanceof RegExp || (value as { _bsontype?: unknown } | undefined)?._bsontype === 'BSONRegExp'
}
