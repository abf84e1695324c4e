import { OperationError } from './errors'
import type { AnySchema } from './host'
import { childSchema, layoutOf, locate } from './layout'

/** Operators whose operand holds filters of the same document. */
const logical = new Set(['$and', '$or', '$nor', '$not'])

/**
 * Rewrites a filter so that it can be sent: whether an encrypted field is there can be asked, what it holds cannot.
 *
 * @param place names the operation for messages, such as `User.find()`
 * @throws {OperationError} QUERY_REFUSED when it compares an encrypted field, at whatever depth
 */
export function translateFilter(schema: AnySchema, filter: unknown, place: string): unknown {
  if (Array.isArray(filter)) return filter.map((item) => translateFilter(schema, item, place))
  if (!isFilter(filter)) return filter
  const translated: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(filter)) {
    if (key === '$expr') {
      refuseExpression(schema, value, place)
      translated[key] = value
    } else if (key === '$jsonSchema') {
      refuseJsonSchema(schema, value, place)
      translated[key] = value
    } else if (key === '$where') {
      refuseCode(schema, value, place)
      translated[key] = value
    } else if (logical.has(key)) {
      translated[key] = translateFilter(schema, value, place)
    } else if (key.startsWith('$')) {
      translated[key] = value
    } else {
      const [path, condition] = translateCondition(schema, key, value, place)
      translated[path] = condition
    }
  }
  return translated
}

function translateCondition(schema: AnySchema, path: string, condition: unknown, place: string): [string, unknown] {
  const location = locate(schema, path)
  if (!location) return [path, translateElements(schema, path, condition, place)]
  if (location.stored) return [path, condition]
  if (location.discriminator) throw belongs(place, path, location.discriminator)
  if (!location.whole || !asksForPresence(condition)) throw refused(place, path)
  return [location.config.fields.byName.get(location.name)!.storedPath, condition]
}

/** `$elemMatch` holds a filter of a subdocument, with paths of its own. */
export function translateElements(schema: AnySchema, path: string, condition: unknown, place: string): unknown {
  if (!isFilter(condition)) return condition
  const child = childSchema(schema, path)?.schema
  if (!child) return condition
  return Object.fromEntries(
    Object.entries(condition).map(([operator, operand]) => {
      if (operator === '$elemMatch') return [operator, translateFilter(child, operand, place)]
      if (operator === '$not') return [operator, translateElements(schema, path, operand, place)]
      if (operator === '$all' && Array.isArray(operand)) {
        return [operator, operand.map((each) => translateElements(schema, path, each, place))]
      }
      return [operator, operand]
    }),
  )
}

function asksForPresence(condition: unknown): boolean {
  if (condition === null) return true
  if (!isFilter(condition)) return false
  const entries = Object.entries(condition)
  return (
    entries.length > 0 &&
    entries.every(([operator, operand]) => {
      if (operator === '$exists') return true
      if (operator === '$not') return asksForPresence(operand) && operand !== null
      return (operator === '$eq' || operator === '$ne') && operand === null
    })
  )
}

/**
 * Refuses an aggregation expression that reads an encrypted field, by a path such as `$email` or `$$ROOT.email`.
 *
 * @throws {OperationError} QUERY_REFUSED
 */
export function refuseExpression(schema: AnySchema, expression: unknown, place: string): void {
  if (typeof expression === 'string') {
    const path = /^\$(?:\$(?:ROOT|CURRENT)\.)?([^$].*)$/.exec(expression)?.[1]
    const location = path === undefined ? undefined : locate(schema, path)
    if (path !== undefined && location && !location.stored) throw refused(place, path)
  } else if (Array.isArray(expression)) {
    for (const item of expression) refuseExpression(schema, item, place)
  } else if (isFilter(expression)) {
    for (const [operator, operand] of Object.entries(expression)) {
      if (operator === '$literal') continue
      if (operator === '$function') refuseCode(schema, (operand as { body?: unknown } | null)?.body, place)
      if (operator === '$let') refuseBoundRecord(schema, operand, place)
      if (operator === '$getField') refuseFieldName(schema, operand, place)
      refuseExpression(schema, operand, place)
    }
  }
}

/** A variable of `$let` that stands for the whole record reads its fields as `$` does: `$$r.email`. */
function refuseBoundRecord(schema: AnySchema, operand: unknown, place: string): void {
  if (!isFilter(operand) || !isFilter(operand.vars)) return
  for (const [name, value] of Object.entries(operand.vars)) {
    if (value === '$$ROOT' || value === '$$CURRENT') {
      refuseExpression(schema, withPrefix(operand.in, `$$${name}.`, '$'), place)
    }
  }
}

/** An expression with the beginning of its strings replaced. */
function withPrefix(expression: unknown, before: string, after: string): unknown {
  if (typeof expression === 'string') {
    return expression.startsWith(before) ? after + expression.slice(before.length) : expression
  }
  if (Array.isArray(expression)) return expression.map((item) => withPrefix(item, before, after))
  if (!isFilter(expression)) return expression
  return Object.fromEntries(Object.entries(expression).map(([key, value]) => [key, withPrefix(value, before, after)]))
}

function refuseFieldName(schema: AnySchema, operand: unknown, place: string): void {
  const field = isFilter(operand) ? operand.field : operand
  if (typeof field === 'string' && locate(schema, field) && !locate(schema, field)?.stored) throw refused(place, field)
}

/** JavaScript that names an encrypted field would find nothing there. */
function refuseCode(schema: AnySchema, code: unknown, place: string): void {
  const words = new Set(String((code as { code?: unknown } | null)?.code ?? code).match(/\w+/g))
  for (const name of layoutOf(schema).byField.keys()) if (words.has(name)) throw refused(place, name)
}

function refuseJsonSchema(schema: AnySchema, rules: unknown, place: string): void {
  if (!isFilter(rules)) return
  const named = [...Object.keys(isFilter(rules.properties) ? rules.properties : {})]
  if (Array.isArray(rules.required)) named.push(...rules.required.map(String))
  for (const name of named) if (locate(schema, name)) throw refused(place, name)
}

/**
 * Refuses to sort by an encrypted field.
 *
 * @throws {OperationError} QUERY_REFUSED
 */
export function refuseSort(schema: AnySchema, sort: unknown, place: string): void {
  const paths = sort instanceof Map ? [...sort.keys()] : isFilter(sort) ? Object.keys(sort) : []
  for (const path of paths) refusePath(schema, String(path), place)
}

/**
 * Refuses a path that leads to an encrypted field.
 *
 * @throws {OperationError} QUERY_REFUSED
 */
export function refusePath(schema: AnySchema, path: string, place: string): void {
  const location = locate(schema, path)
  if (location && !location.stored) throw refused(place, path)
}

/** Mongoose does not know the paths of a discriminator here, and would leave them out of the filter. */
function belongs(place: string, path: string, discriminator: string): OperationError {
  return new OperationError(
    'QUERY_REFUSED',
    `${place}: ${path} is an encrypted field of ${discriminator}. Ask that model whether it is there; what it holds cannot be asked.`,
  )
}

function refused(place: string, path: string): OperationError {
  return new OperationError(
    'QUERY_REFUSED',
    `${place}: ${path} is stored encrypted, so MongoDB cannot compare or sort it. Whether it is there can be asked, by null ` +
      'or $exists. Find records by a field in the clear, and compare after decrypting.',
  )
}

/** A plain object; anything else, such as an ObjectId or a RegExp, is a value. */
function isFilter(value: unknown): value is Record<string, unknown> {
  if (value === null || typeof value !== 'object') return false
  const prototype = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}
