import { Box } from '../schema/box'
import { follow, type Place } from '../schema/layout'
import { checkContents } from './contents'
import { evaluate } from './expression'
import { checkJsonSchema } from './jsonschema'
import { refused, refusedBox, refusedKeys } from './refusals'
import { checkCode, type Scope, scopeOf, type Variables } from './scope'
import { entriesOf, hasOperators, itemsOf, mapEntries, mapItems } from './values'

/**
 * The room of what is asked of MongoDB. Comes in: a filter, projection, sort or pipeline, and the layout of the collection it is for.
 * Goes out: what to send instead, or an error. Keeps invariant 3: whether an encrypted field is there can be asked; what it holds
 * cannot, and is never sent.
 */

export { checkExpression } from './expression'
export { checkPath, checkSort } from './paths'

/** Where a filter stands: at a record, or within `$elemMatch` at an element of it. */
interface Part {
  readonly scope: Scope
  readonly at: Place
  /** The path that led there, for messages. */
  readonly path: string
}

/**
 * Translates a filter into what can be sent.
 *
 * @param place names the operation for messages, such as `User.find()`
 * @param variables those of a `$lookup` around, for `$expr`
 * @returns the same object where nothing has to change
 * @throws {OperationError} QUERY_REFUSED when it compares an encrypted field, at whatever depth
 */
export function translateFilter(root: Place, filter: unknown, place: string, variables?: Variables): unknown {
  return translatePart({ scope: scopeOf(root, place, variables), at: root, path: '' }, filter)
}

function translatePart(part: Part, filter: unknown): unknown {
  if (filter instanceof Box) throw refusedBox(part.scope.place, part.path)
  const items = itemsOf(filter)
  if (items) return mapItems(filter, items, (item) => translatePart(part, item))
  const entries = entriesOf(filter)
  return entries ? mapEntries(filter, entries, (key, value) => translateEntry(part, key, value)) : filter
}

function translateEntry(part: Part, key: string, value: unknown): unknown {
  const { scope, at, path } = part
  switch (key) {
    case '$and':
    case '$or':
    case '$nor':
      return translateAlternatives(part, value)
    case '$expr':
      evaluate(scope, value)
      return value
    case '$jsonSchema':
      checkContents(scope.place, undefined, path, value)
      checkJsonSchema(at, value, scope.place, path)
      return value
    case '$where':
      checkCode(scope.record, value, scope.place)
      return value
  }
  if (key.startsWith('$')) return translateOperator(part, key, value)
  const location = follow(at, key)
  const full = joined(path, key)
  if (location?.place.fields.length) return translateFieldCondition(scope, full, value, location.below.length > 0)
  if (location?.place.keysOf.length) {
    if (!asksForPresence(value)) throw refusedKeys(scope.place, full)
    return value
  }
  if (location) return translateCondition({ scope, at: location.place, path: full }, value)
  checkContents(scope.place, undefined, full, value)
  return value
}

/** MongoDB takes lists alone; what would be refused there has been sent by then. */
function translateAlternatives(part: Part, value: unknown): unknown {
  const entries = entriesOf(value)
  for (const [, inner] of entries ?? []) translatePart(part, inner)
  return translatePart(part, value)
}

/** The one condition on what an encrypted field holds that MongoDB can answer is whether it holds anything. */
function translateFieldCondition({ place }: Scope, path: string, condition: unknown, isBelow: boolean): unknown {
  if (condition instanceof Box) throw refusedBox(place, path)
  if (isBelow || !asksForPresence(condition)) throw refused(place, path)
  return condition
}

/** A condition on an object or array that holds encrypted fields. */
function translateCondition(part: Part, condition: unknown): unknown {
  const entries = entriesOf(condition)
  if (entries && hasOperators(entries)) {
    return mapEntries(condition, entries, (operator, operand) => translateOperator(part, operator, operand))
  }
  checkContents(part.scope.place, part.at, part.path, condition)
  return condition
}

function translateOperator(part: Part, operator: string, operand: unknown): unknown {
  switch (operator) {
    case '$elemMatch':
      return translatePart(part, operand)
    case '$not':
      return translateCondition(part, operand)
    case '$all': {
      const items = itemsOf(operand)
      return items ? mapItems(operand, items, (item) => translateCondition(part, item)) : operand
    }
  }
  if (!operator.startsWith('$')) return translateEntry(part, operator, operand)
  checkContents(part.scope.place, part.at, part.path, operand)
  return operand
}

/** The types that an encrypted field is stored as, by name and number. */
const storedTypes = new Set<unknown>(['binData', 5, 'null', 10])

function asksForPresence(condition: unknown): boolean {
  if (condition === null) return true
  const entries = entriesOf(condition)
  return entries !== undefined && entries.length > 0 && entries.every(isPresenceOperator)
}

function isPresenceOperator([operator, operand]: readonly [string, unknown]): boolean {
  switch (operator) {
    case '$exists':
      return !(operand instanceof Box)
    case '$eq':
    case '$ne':
      return operand === null
    case '$in':
    case '$nin':
      return itemsOf(operand)?.every((item) => item === null) === true
    case '$type':
      return (itemsOf(operand) ?? [operand]).every((type) => storedTypes.has(type))
    case '$not':
      return operand !== null && asksForPresence(operand)
    default:
      return false
  }
}

function joined(path: string, key: string): string {
  return path === '' ? key : `${path}.${key}`
}
