import { Int32, Timestamp } from 'bson'
import { combine } from './arithmetic'
import { compare } from './compare'
import { type Doc, ServerError } from './errors'
import { compileFilter, isCondition } from './match'
import { show } from './show'
import { sortBy } from './sort'
import { field, isDoc, isNumeric, toNumber, typeOf } from './values'

export type Operator = {
  /** Whether missing parents are created and a path through a scalar is an error. */
  creates: boolean
  /** The new value, or `undefined` to leave the field out. */
  apply: (current: unknown, operand: unknown, place: Place) => unknown
}

type Place = { doc: Doc; path: string; name: string }

export const OPERATORS: Record<string, Operator> = {
  $set: { creates: true, apply: (_, operand) => operand },
  $setOnInsert: { creates: true, apply: (_, operand) => operand },
  $currentDate: { creates: true, apply: (_, operand) => currentDate(operand) },
  $inc: { creates: true, apply: (current, operand, place) => calculate('$inc', current, operand, place) },
  $mul: { creates: true, apply: (current, operand, place) => calculate('$mul', current, operand, place) },
  $min: { creates: true, apply: (now, operand) => (now === undefined || compare(operand, now) < 0 ? operand : now) },
  $max: { creates: true, apply: (now, operand) => (now === undefined || compare(operand, now) > 0 ? operand : now) },
  $push: { creates: true, apply: push },
  $addToSet: { creates: true, apply: addToSet },
  $pull: { creates: false, apply: (current, operand) => remove(current, pullTest(operand), '$pull') },
  $pullAll: { creates: false, apply: pullAll },
  $pop: { creates: false, apply: pop },
  $unset: { creates: false, apply: () => undefined },
}

export function showId(doc: Doc): string {
  return `_id: ${show(doc._id)}`
}

function calculate(operator: '$inc' | '$mul', current: unknown, operand: unknown, { doc, name }: Place): unknown {
  const operation = operator === '$inc' ? 'add' : 'multiply'
  if (current === undefined) return operator === '$inc' ? operand : combine(operation, [operand, new Int32(0)])
  if (isNumeric(current)) {
    const result = combine(operation, [current, operand])
    if (result !== undefined) return result
    throw new ServerError(2, `Failed to apply ${operator} operations to current value: overflow of a 64-bit integer`)
  }
  throw new ServerError(
    14,
    `Cannot apply ${operator} to a value of non-numeric type. {${showId(doc)}} has the field '${name}' of non-numeric type ${typeOf(current)}`,
  )
}

export function currentDate(operand: unknown): unknown {
  if (typeof operand === 'boolean') return new Date()
  const type = isDoc(operand) ? operand.$type : undefined
  if (type === 'date') return new Date()
  if (type === 'timestamp') return new Timestamp({ t: Math.floor(Date.now() / 1000), i: 1 })
  throw new ServerError(
    2,
    `${typeOf(operand)} is not valid type for $currentDate. Please use a boolean ('true') or a $type expression ({$type: 'timestamp/date'}).`,
  )
}

function push(current: unknown, operand: unknown, { doc, name }: Place): unknown {
  if (current !== undefined && !Array.isArray(current)) {
    throw new ServerError(
      2,
      `The field '${name}' must be an array but is of type ${typeOf(current)} in document {${showId(doc)}}`,
    )
  }
  const { $each, $position, $slice, $sort } = modifiers('$push', operand)
  let items = [...((current ?? []) as unknown[])]
  items.splice($position ?? items.length, 0, ...$each)
  if ($sort !== undefined) items = sortElements(items, $sort)
  if ($slice === undefined) return items
  return $slice < 0 ? items.slice($slice) : items.slice(0, $slice)
}

function sortElements(items: unknown[], order: unknown): unknown[] {
  if (isDoc(order)) return sortBy(order, items, (item) => (isDoc(item) ? item : {}))
  const direction = isNumeric(order) ? toNumber(order) : 0
  if (Math.abs(direction) !== 1) throw new ServerError(2, 'The $sort element value must be either 1 or -1')
  return items.sort((a, b) => direction * compare(a, b))
}

function addToSet(current: unknown, operand: unknown, { name }: Place): unknown {
  if (current !== undefined && !Array.isArray(current)) {
    throw new ServerError(
      2,
      `Cannot apply $addToSet to non-array field. Field named '${name}' has non-array type ${typeOf(current)}`,
    )
  }
  const items = [...((current ?? []) as unknown[])]
  for (const item of modifiers('$addToSet', operand).$each) {
    if (!items.some((present) => compare(present, item) === 0)) items.push(item)
  }
  return items
}

function remove(current: unknown, test: (item: unknown) => boolean, operator: string): unknown {
  if (!Array.isArray(current)) throw new ServerError(2, `Cannot apply ${operator} to a non-array value`)
  return current.filter((item) => !test(item))
}

/** A document without operators is a filter of documents; conditions see an element as the value of a field. */
function pullTest(operand: unknown): (item: unknown) => boolean {
  if (isDoc(operand) && !isCondition(operand)) {
    const predicate = compileFilter(operand, true)
    return (item) => isDoc(item) && predicate(item)
  }
  if (isDoc(operand) || typeOf(operand) === 'regex') {
    const predicate = compileFilter({ element: operand })
    return (element) => predicate({ element })
  }
  return (item) => compare(item, operand) === 0
}

function pullAll(current: unknown, operand: unknown): unknown {
  return remove(current, (item) => (operand as unknown[]).some((gone) => compare(item, gone) === 0), '$pullAll')
}

function pop(current: unknown, operand: unknown, { path }: Place): unknown {
  if (!Array.isArray(current)) {
    throw new ServerError(14, `Path '${path}' contains an element of non-array type '${typeOf(current)}'`)
  }
  return toNumber(operand) === 1 ? current.slice(0, -1) : current.slice(1)
}

type Modifiers = { $each: unknown[]; $position?: number; $slice?: number; $sort?: unknown }

/** The modifiers of `$push` and `$addToSet`; a plain operand is one element. */
export function modifiers(name: '$push' | '$addToSet', operand: unknown): Modifiers {
  if (!isDoc(operand) || field(operand, '$each') === undefined) return { $each: [operand] }
  const { $each, $position, $slice, $sort, ...unknown } = operand
  if (!Array.isArray($each)) {
    throw new ServerError(
      name === '$push' ? 2 : 14,
      `The argument to $each in ${name} must be an array but it was of type: ${typeOf($each)}`,
    )
  }
  const extra = name === '$push' ? Object.keys(unknown)[0] : Object.keys(operand).find((key) => key !== '$each')
  if (extra !== undefined) throw new ServerError(2, `Unrecognized clause in ${name}: ${extra}`)
  for (const [key, value] of [
    ['$position', $position],
    ['$slice', $slice],
  ] as const) {
    if (value !== undefined && (!isNumeric(value) || !Number.isInteger(toNumber(value)))) {
      throw new ServerError(2, `The value for ${key} must be an integer value but was given type: ${typeOf(value)}`)
    }
  }
  return {
    $each,
    $position: $position === undefined ? undefined : toNumber($position),
    $slice: $slice === undefined ? undefined : toNumber($slice),
    $sort,
  }
}
