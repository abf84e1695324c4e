import { Box } from '../schema/box'
import { follow, leadsPast, type Place } from '../schema/layout'
import { checkContents } from './contents'
import { evaluate } from './expression'
import { checkJsonSchema } from './jsonschema'
import { pathBelow, refused, refusedBox, refusedKeys } from './refusals'
import { checkCode, type Scope, scopeOf, type Variables } from './scope'
import { entriesOf, hasOperators, itemsOf } from './values'

/**
 * The room of what is asked of MongoDB. Comes in: a filter, projection, sort or pipeline, and the layout of the collection it is for.
 * Goes out: an error, or nothing; of a projection, what to send instead. Keeps invariant 3: whether an encrypted field is there can be asked; what it holds
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
 * Refuses a filter that compares an encrypted field, at whatever depth.
 *
 * @param place names the operation for messages, such as `User.find()`
 * @param variables those of a `$lookup` around, for `$expr`
 * @param path the path that leads to where the filter stands, for messages
 * @throws {OperationError} QUERY_REFUSED
 */
export function checkFilter(root: Place, filter: unknown, place: string, variables?: Variables, path = ''): void {
  checkPart({ scope: scopeOf(root, place, variables), at: root, path }, filter)
}

/** The same of one entry of a filter. */
export function checkEntryOf(
  root: Place,
  key: string,
  value: unknown,
  place: string,
  variables?: Variables,
  path = '',
): void {
  checkEntry({ scope: scopeOf(root, place, variables), at: root, path }, key, value)
}

/** The same of a condition on an object or array that holds encrypted fields. */
export function checkHolder(at: Place, condition: unknown, place: string, path: string, variables?: Variables): void {
  checkPartCondition({ scope: scopeOf(at, place, variables), at, path }, condition)
}

function checkPart(part: Part, filter: unknown): void {
  if (filter instanceof Box) throw refusedBox(part.scope.place, part.path)
  for (const item of itemsOf(filter) ?? []) checkPart(part, item)
  for (const [key, value] of entriesOf(filter) ?? []) checkEntry(part, key, value)
}

function checkEntry(part: Part, key: string, value: unknown): void {
  const { scope, path } = part
  if (key === '$and' || key === '$or' || key === '$nor') {
    // MongoDB takes lists alone; what would be refused there has been sent by then.
    for (const [, inner] of entriesOf(value) ?? []) checkPart(part, inner)
    checkPart(part, value)
  } else if (key === '$expr') evaluate(scope, value)
  else if (key === '$jsonSchema') {
    checkContents(scope.place, undefined, path, value)
    checkJsonSchema(part.at, value, scope.place, path)
  } else if (key === '$where') checkCode(scope.record, value, scope.place)
  else if (key.startsWith('$')) checkOperator(part, key, value)
  else checkCondition(part, key, value)
}

/** What is asked of a path. */
function checkCondition({ scope, at, path }: Part, key: string, condition: unknown): void {
  const location = follow(at, key)
  const full = pathBelow(path, key)
  if (location?.place.fields.length) checkFieldCondition(scope, full, condition, location.below.length > 0)
  else if (location?.place.keysOf.length) {
    if (!asksForPresence(condition)) throw refusedKeys(scope.place, full)
  } else if (location) checkPartCondition({ scope, at: location.place, path: full }, condition)
  else {
    if (leadsPast(at, key) && !asksForPresence(condition)) throw refused(scope.place, full)
    checkContents(scope.place, undefined, full, condition)
  }
}

/** The one condition on what an encrypted field holds that MongoDB can answer is whether it holds anything. */
function checkFieldCondition({ place }: Scope, path: string, condition: unknown, isBelow: boolean): void {
  if (condition instanceof Box) throw refusedBox(place, path)
  if (isBelow || !asksForPresence(condition)) throw refused(place, path)
}

/** A condition on an object or array that holds encrypted fields. */
function checkPartCondition(part: Part, condition: unknown): void {
  const entries = entriesOf(condition)
  if (!entries || !hasOperators(entries)) checkContents(part.scope.place, part.at, part.path, condition)
  else for (const [operator, operand] of entries) checkOperator(part, operator, operand)
}

function checkOperator(part: Part, operator: string, operand: unknown): void {
  if (operator === '$elemMatch') checkPart(part, operand)
  else if (operator === '$not') checkPartCondition(part, operand)
  else if (operator === '$all') for (const item of itemsOf(operand) ?? []) checkPartCondition(part, item)
  else if (!operator.startsWith('$')) checkEntry(part, operator, operand)
  else checkContents(part.scope.place, part.at, part.path, operand)
}

/** The types that an encrypted field is stored as, by name and number. */
const storedTypes = new Set<unknown>(['binData', 5, 'null', 10])

/** Whether a condition on a field asks for no more than whether it is there. */
export function asksForPresence(condition: unknown): boolean {
  if (condition === null) return true
  const entries = entriesOf(condition)
  return entries !== undefined && entries.length > 0 && entries.every(isPresenceOperator)
}

export function isPresenceOperator([operator, operand]: readonly [string, unknown]): boolean {
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
