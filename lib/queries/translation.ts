import type { Plain } from '../mongoose/host'
import { Box } from '../schema/box'
import type { FieldHere, Place } from '../schema/layout'
import { asksForPresence, checkFilter, isPresenceOperator } from './filter'
import { refusedBeyondEquality, refusedSeveral, refusedTouched } from './refusals'
import type { Variables } from './scope'
import { entriesOf, hasOperators, itemsOf } from './values'

/** What becomes of a value that an indexed field is compared with. */
export type Compare = (here: FieldHere, value: unknown, place: string) => unknown

/** What is the same throughout a filter. */
interface Walk {
  readonly root: Place
  readonly place: string
  readonly compare: Compare
  readonly variables: Variables | undefined
}

/**
 * Translates a filter: what it compares an indexed field with is asked of the index values. The filter given stays as it is.
 *
 * @param place names the operation for messages, such as `User.find()`
 * @param variables those of a `$lookup` around, for `$expr`
 * @returns the filter itself, where nothing is to be translated
 * @throws {OperationError} QUERY_REFUSED when it compares an encrypted field in another way
 */
export function translateFilter(
  root: Place,
  filter: unknown,
  place: string,
  compare: Compare,
  variables?: Variables,
): unknown {
  if (hasIndexes(root)) return translatePart({ root, place, compare, variables }, filter)
  checkFilter(root, filter, place, variables)
  return filter
}

/** Whether records of such a shape have index values. */
export function hasIndexes(root: Place): boolean {
  for (const { indexOf } of root.children.values()) if (indexOf.length > 0) return true
  return false
}

function translatePart(walk: Walk, filter: unknown): unknown {
  const items = itemsOf(filter)
  if (items)
    return sameOr(
      filter,
      items,
      Array.from(items, (item) => translatePart(walk, item)),
    )
  const entries = filter instanceof Box ? undefined : entriesOf(filter)
  if (!entries) {
    checkFilter(walk.root, filter, walk.place, walk.variables)
    return filter
  }
  // With no prototype: any key is one.
  const translated: Plain = Object.create(null)
  const besides: Plain[] = []
  let isChanged = false
  for (const [key, value] of entries) {
    if ((key === '$and' || key === '$or' || key === '$nor') && itemsOf(value)) {
      translated[key] = translatePart(walk, value)
      isChanged ||= translated[key] !== value
      continue
    }
    const here = indexedAt(walk, key)
    const split = here && splitCondition(walk, here, value)
    if (!split) {
      checkFilter(walk.root, { [key]: value }, walk.place, walk.variables)
      translated[key] = value
      continue
    }
    isChanged = true
    if (split.present) translated[key] = split.present
    const path = here?.field.index?.path as string
    // Whether there is an index value can be asked as well.
    if (entries.some(([other]) => other === path)) besides.push({ [path]: split.compared })
    else translated[path] = split.compared
  }
  if (besides.length > 0) translated.$and = [...(translated.$and ?? []), ...besides]
  return isChanged ? translated : filter
}

function sameOr(given: unknown, items: readonly unknown[], others: readonly unknown[]): unknown {
  return items.some((item, index) => item !== others[index]) ? others : given
}

/** The field of a key, if it is an indexed one. */
function indexedAt({ root, place }: Walk, key: string): FieldHere | undefined {
  const [here, another] = root.children.get(key)?.fields ?? []
  if (!here?.field.index) return undefined
  // Each would have a normal form of its own.
  if (another) throw refusedSeveral(place, key)
  return here
}

/** Whether both the envelopes of a field and the index values beside them are what was stored. */
export function isStored(root: Place, { field }: FieldHere): boolean {
  const index = field.index && root.children.get(field.index.path)
  return (
    index?.indexOf.includes(field) === true && !index.isTouched && root.children.get(field.name)?.isTouched === false
  )
}

/** A condition in two: on the index value, and on whether the field is there. Nothing where that is all that is asked. */
function splitCondition(
  walk: Walk,
  here: FieldHere,
  condition: unknown,
): { compared: unknown; present: Plain | undefined } | undefined {
  if (asksForPresence(condition)) return undefined
  if (!isStored(walk.root, here)) throw refusedTouched(walk.place, here.field.name)
  const operators = operatorsOf(condition)
  if (!operators) return { compared: compared(walk, here, condition), present: undefined }
  const present = operators.filter(isPresenceOperator)
  const comparing = operators.filter((each) => !present.includes(each))
  return {
    compared: bare(comparisons(walk, here, comparing)),
    present: present.length > 0 ? Object.fromEntries(present) : undefined,
  }
}

function operatorsOf(condition: unknown): readonly [string, unknown][] | undefined {
  const entries = condition instanceof Box ? undefined : entriesOf(condition)
  return entries && hasOperators(entries) ? entries : undefined
}

function comparisons(walk: Walk, here: FieldHere, operators: readonly [string, unknown][]): Plain {
  const result = operators.map(([operator, operand]): [string, unknown] => {
    switch (operator) {
      case '$eq':
      case '$ne':
        return [operator, compared(walk, here, operand)]
      case '$in':
      case '$nin': {
        const items = Array.from(itemsOf(operand) ?? [operand], (item) => compared(walk, here, item))
        // MongoDB takes one for an equality, also in what an upsert stores.
        return operator === '$in' && items.length === 1 ? ['$eq', items[0]] : [operator, items]
      }
      case '$not': {
        const inner = operatorsOf(operand)
        if (!inner) throw refusedBeyondEquality(walk.place, here.field.name)
        return [operator, comparisons(walk, here, inner)]
      }
      default:
        throw refusedBeyondEquality(walk.place, here.field.name)
    }
  })
  // One that is asked for twice in one object would be asked for once.
  if (new Set(result.map(([operator]) => operator)).size < result.length)
    throw refusedBeyondEquality(walk.place, here.field.name)
  return Object.fromEntries(result)
}

/** A value in the place of `$eq` alone: it is what an upsert takes over. */
function bare(condition: Plain): unknown {
  const [only, another] = Object.keys(condition)
  return only === '$eq' && another === undefined ? condition.$eq : condition
}

function compared({ compare, place }: Walk, here: FieldHere, value: unknown): unknown {
  if (value === null) return null
  const isPattern =
    value instanceof RegExp || (value as { _bsontype?: unknown } | undefined)?._bsontype === 'BSONRegExp'
  if (value === undefined || isPattern) throw refusedBeyondEquality(place, here.field.name)
  return compare(here, value, place)
}
