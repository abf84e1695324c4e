import { Int32, Timestamp } from 'bson'
import { type Doc, notImplemented, ServerError } from './errors'
import { compileFilter, elementTest, isOperators, type Match, type Predicate } from './match'
import { compileUpdatePipeline } from './pipeline'
import { sortBy } from './sort'
import { arithmetic, clone, compare, field, identical, isDoc, isNumeric, show, toNumber, typeOf } from './values'

/** Computes the document after the update; the one given is not changed. */
export type Update = (before: Doc, match: Match, inserting: boolean) => Doc

type Operator = {
  /** Whether missing parents are created and a path through a scalar is an error. */
  creates: boolean
  /** The new value, or `undefined` to leave the field out. */
  apply: (current: unknown, operand: unknown, place: Place) => unknown
}
type Place = { doc: Doc; path: string; name: string }
type Change = { name: string; operator: Operator; path: string[]; operand: unknown }

const OPERATORS: Record<string, Operator> = {
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

/**
 * Compiles an update document, replacement or pipeline. Everything that MongoDB reports without looking at a document
 * (unknown operators, conflicting paths, unused array filters) is thrown here.
 */
export function compileUpdate(update: unknown, arrayFilters: unknown): Update {
  if (Array.isArray(update)) {
    if (arrayFilters !== undefined)
      throw new ServerError(9, 'arrayFilters may not be specified for pipeline-syle updates')
    const run = compileUpdatePipeline(update as Doc[])
    return (before) => keepId(before, run(before))
  }
  if (!isDoc(update)) throw new ServerError(9, `Update argument must be either an object or an array`)
  if (!Object.keys(update)[0]?.startsWith('$')) return compileReplacement(update, arrayFilters)
  const filters = compileArrayFilters(arrayFilters)
  const changes = parseChanges(update)
  const used = new Set(changes.flatMap(({ path }) => path.map(identifierOf)))
  for (const id of filters.keys()) {
    if (!used.has(id))
      throw new ServerError(9, `The array filter for identifier '${id}' was not used in the update ${show(update)}`)
  }
  for (const id of used) {
    if (id !== undefined && !filters.has(id)) throw new ServerError(2, `No array filter found for identifier '${id}'`)
  }
  const positional = changes.some(({ path }) => path.some((part) => part.startsWith('$')))
  return (before, match, inserting) => {
    const after = clone(before)
    const taken = new Paths()
    for (const change of changes) {
      if (change.name === '$setOnInsert' && !inserting) continue
      for (const path of expand(after, change.path, filters, match)) {
        if (positional) taken.add(path)
        if (change.name === '$rename') rename(after, path, change.operand as string)
        else applyAt(after, path, change)
      }
    }
    return inserting ? after : keepId(before, after)
  }
}

export function isReplacement(update: unknown): boolean {
  return isDoc(update) && !Object.keys(update)[0]?.startsWith('$')
}

function compileReplacement(replacement: Doc, arrayFilters: unknown): Update {
  if (arrayFilters !== undefined) throw new ServerError(9, 'arrayFilters may not be specified for replacement updates')
  for (const name of Object.keys(replacement)) {
    if (name.startsWith('$')) {
      throw new ServerError(
        52,
        `The dollar ($) prefixed field '${name}' is not allowed in the context of an update's replacement document.`,
      )
    }
  }
  return (before) => {
    const id = field(before, '_id')
    if (id === undefined) return replacement
    if (replacement._id === undefined) return { _id: id, ...replacement }
    return keepId(before, { ...replacement })
  }
}

/** `_id` never changes, not even to a value that only compares equal; it also stays the first field. */
function keepId(before: Doc, after: Doc): Doc {
  if (field(before, '_id') === undefined || identical(before._id, field(after, '_id'))) return after
  if (field(after, '_id') === undefined) {
    throw new ServerError(66, "Performing an update on the path '_id' would modify the immutable field '_id'")
  }
  if (compare(before._id, after._id) === 0) return { ...after, _id: before._id }
  throw new ServerError(
    66,
    `After applying the update, the (immutable) field '_id' was found to have been altered to _id: ${show(after._id)}`,
  )
}

function parseChanges(update: Doc): Change[] {
  const changes: Change[] = []
  const taken = new Paths()
  for (const [name, operands] of Object.entries(update)) {
    if (name === '$bit') throw notImplemented('the update operator $bit')
    const operator = name === '$rename' ? { creates: false, apply: () => undefined } : OPERATORS[name]
    if (operator === undefined) {
      throw new ServerError(
        9,
        `Unknown modifier: ${name}. Expected a valid update modifier or pipeline-style update specified as an array`,
      )
    }
    if (!isDoc(operands))
      throw new ServerError(9, `Modifiers operate on fields but we found type ${typeOf(operands)} instead`)
    for (const [key, operand] of Object.entries(operands)) {
      const path = key.split('.')
      checkPath(key, path)
      checkOperand(name, key, operand)
      taken.add(path)
      if (name === '$rename') taken.add((operand as string).split('.'))
      changes.push({ name, operator, path, operand })
    }
  }
  return changes.sort((a, b) => comparePaths(a.path, b.path))
}

function checkPath(key: string, path: string[]): void {
  if (key === '') throw new ServerError(56, 'An empty update path is not valid.')
  if (path.includes(''))
    throw new ServerError(56, `The update path '${key}' contains an empty field name, which is not allowed.`)
  if (path[0]!.startsWith('$')) {
    throw new ServerError(
      path[0] === '$' || path[0]!.startsWith('$[') ? 2 : 52,
      `The path '${key}' may not begin with '${path[0]}'`,
    )
  }
  if (path.filter((part) => part === '$').length > 1) {
    throw new ServerError(2, `Too many positional (i.e. '$') elements found in path '${key}'`)
  }
  const dollar = path.find((part) => part.startsWith('$') && part !== '$' && !/^\$\[[a-zA-Z0-9]*\]$/.test(part))
  if (dollar !== undefined) throw notImplemented(`updates of the dollar-prefixed field '${dollar}' in '${key}'`)
}

/** What is wrong whatever the document holds. */
function checkOperand(name: string, key: string, operand: unknown): void {
  if ((name === '$inc' || name === '$mul') && !isNumeric(operand)) {
    const verb = name === '$inc' ? 'increment' : 'multiply'
    throw new ServerError(14, `Cannot ${verb} with non-numeric argument: {${key}: ${show(operand)}}`)
  }
  if (name === '$pop' && (!isNumeric(operand) || Math.abs(toNumber(operand)) !== 1)) {
    throw new ServerError(9, `$pop expects 1 or -1, found: ${show(operand)}`)
  }
  if (name === '$pullAll' && !Array.isArray(operand)) {
    throw new ServerError(2, `$pullAll requires an array argument but was given a ${typeOf(operand)}`)
  }
  if (name === '$rename') {
    if (typeof operand !== 'string')
      throw new ServerError(2, `The 'to' field for $rename must be a string: ${key}: ${show(operand)}`)
    if (/\$/.test(key) || /\$/.test(operand))
      throw new ServerError(2, 'The source and target field for $rename may not be dynamic')
    checkPath(operand, operand.split('.'))
  }
  if (name === '$push' || name === '$addToSet') modifiers(name, operand)
  if (name === '$currentDate') currentDate(operand)
}

/** The paths one update may touch: none twice, and none inside another. */
class Paths {
  readonly #root = new Map<string, unknown>()

  add(path: string[]): void {
    let node = this.#root as Map<string, unknown>
    for (const [i, part] of path.entries()) {
      const next = node.get(part)
      const last = i === path.length - 1
      if (next === null || (last && next !== undefined)) {
        const at = path.slice(0, i + 1).join('.')
        throw new ServerError(40, `Updating the path '${path.join('.')}' would create a conflict at '${at}'`)
      }
      if (last) node.set(part, null)
      else if (next === undefined) node.set(part, new Map())
      node = node.get(part) as Map<string, unknown>
    }
  }
}

/** New fields appear in the order of their names, numbers by value, as since MongoDB 5.0. */
function comparePaths(a: string[], b: string[]): number {
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    const [x, y] = [a[i]!, b[i]!]
    if (x === y) continue
    if (/^\d+$/.test(x) && /^\d+$/.test(y)) return Number(x) - Number(y)
    return x < y ? -1 : 1
  }
  return a.length - b.length
}

function identifierOf(part: string): string | undefined {
  return /^\$\[(.+)\]$/.exec(part)?.[1]
}

function compileArrayFilters(arrayFilters: unknown): Map<string, Predicate> {
  const filters = new Map<string, Predicate>()
  for (const filter of (arrayFilters ?? []) as Doc[]) {
    const [id, ...more] = new Set(topNames(filter))
    if (id === undefined)
      throw new ServerError(9, 'Cannot use an expression without a top-level field name in arrayFilters')
    if (more.length > 0) {
      throw new ServerError(
        9,
        `Error parsing array filter :: caused by :: Expected a single top-level field name, found '${id}' and '${more[0]}'`,
      )
    }
    if (filters.has(id))
      throw new ServerError(9, `Found multiple array filters with the same top-level field name ${id}`)
    filters.set(id, compileFilter(filter))
  }
  return filters
}

function topNames(filter: Doc): string[] {
  return Object.entries(filter).flatMap(([name, value]) =>
    name.startsWith('$') && Array.isArray(value) ? value.flatMap((part) => topNames(part as Doc)) : name.split('.')[0]!,
  )
}

/** Replaces `$`, `$[]` and `$[id]` in a path by the array positions they stand for in this document. */
function expand(doc: Doc, path: string[], filters: Map<string, Predicate>, match: Match): string[][] {
  let paths: { at: string[]; node: unknown }[] = [{ at: [], node: doc }]
  for (const part of path) {
    paths = paths.flatMap(({ at, node }) =>
      positions(part, node, at, filters, match).map((step) => ({ at: [...at, step], node: child(node, step) })),
    )
  }
  return paths.map(({ at }) => at)
}

function positions(part: string, node: unknown, at: string[], filters: Map<string, Predicate>, match: Match): string[] {
  if (!part.startsWith('$')) return [part]
  if (part === '$') {
    if (match.index === undefined) {
      throw new ServerError(2, 'The positional operator did not find the match needed from the query.')
    }
    return [String(match.index)]
  }
  const path = at.join('.')
  if (node === undefined) {
    throw new ServerError(2, `The path '${path}' must exist in the document in order to apply array updates.`)
  }
  if (!Array.isArray(node)) {
    throw new ServerError(2, `Cannot apply array updates to non-array element ${at.at(-1)}: ${show(node)}`)
  }
  const id = identifierOf(part)
  return [...node.keys()].filter((i) => id === undefined || filters.get(id)!({ [id]: node[i] })).map(String)
}

function child(node: unknown, name: string): unknown {
  if (Array.isArray(node)) return /^\d+$/.test(name) ? node[Number(name)] : undefined
  return isDoc(node) ? field(node, name) : undefined
}

/** The container of the last part of a path; `undefined` when it does not exist and is not to be created. */
function parentOf(doc: Doc, path: string[], create: boolean): Doc | unknown[] | undefined {
  let node: Doc | unknown[] = doc
  for (const [i, part] of path.entries()) {
    if (Array.isArray(node) && !/^\d+$/.test(part)) {
      if (!create) return undefined
      throw new ServerError(28, `Cannot create field '${part}' in element {${path[i - 1]}: ${show(node)}}`)
    }
    if (i === path.length - 1) break
    let next = child(node, part)
    if (next === undefined) {
      if (!create) return undefined
      next = {}
      put(node, part, next)
    }
    if (!isDoc(next) && !Array.isArray(next)) {
      if (!create) return undefined
      throw new ServerError(28, `Cannot create field '${path[i + 1]}' in element {${part}: ${show(next)}}`)
    }
    node = next
  }
  return node
}

function put(node: Doc | unknown[], name: string, value: unknown): void {
  if (!Array.isArray(node)) {
    node[name] = value
    return
  }
  if (Number(name) - node.length > 1_500_000) throw new ServerError(2, `can't backfill more than 1500000 elements`)
  while (node.length < Number(name)) node.push(null)
  node[Number(name)] = value
}

function applyAt(doc: Doc, path: string[], { operator, operand, name }: Change): void {
  const parent = parentOf(doc, path, operator.creates)
  const last = path.at(-1)!
  if (parent === undefined) return
  const current = child(parent, last)
  if (current === undefined && !operator.creates) return
  const next = operator.apply(current, operand, { doc, path: path.join('.'), name: last })
  if (next !== undefined) put(parent, last, next)
  else if (Array.isArray(parent)) put(parent, last, null)
  else if (name === '$unset') delete parent[last]
}

function rename(doc: Doc, path: string[], target: string): void {
  for (const [role, parts] of [
    ['source', path],
    ['destination', target.split('.')],
  ] as const) {
    let node: unknown = doc
    for (const part of parts) {
      if (Array.isArray(node))
        throw new ServerError(
          2,
          `The ${role} field cannot be an array element, '${parts.join('.')}' in doc with ${showId(doc)}`,
        )
      node = child(node, part)
    }
  }
  const parent = parentOf(doc, path, false) as Doc | undefined
  const value = parent && child(parent, path.at(-1)!)
  if (parent === undefined || value === undefined) return
  delete parent[path.at(-1)!]
  put(parentOf(doc, target.split('.'), true)!, target.split('.').at(-1)!, value)
}

function showId(doc: Doc): string {
  return `_id: ${show(doc._id)}`
}

function calculate(operator: '$inc' | '$mul', current: unknown, operand: unknown, { doc, name }: Place): unknown {
  if (current === undefined) return operator === '$inc' ? operand : arithmetic('$mul', operand, new Int32(0))
  if (isNumeric(current)) return arithmetic(operator, current, operand)
  throw new ServerError(
    14,
    `Cannot apply ${operator} to a value of non-numeric type. {${showId(doc)}} has the field '${name}' of non-numeric type ${typeOf(current)}`,
  )
}

function currentDate(operand: unknown): unknown {
  if (typeof operand === 'boolean') return new Date()
  const type = isDoc(operand) ? operand.$type : undefined
  if (type === 'date') return new Date()
  if (type === 'timestamp') return new Timestamp({ t: Math.floor(Date.now() / 1000), i: 1 })
  throw new ServerError(
    2,
    `${typeOf(operand)} is not valid type for $currentDate. Please use a boolean ('true') or a $type expression ({$type: 'timestamp/date'}).`,
  )
}

type Modifiers = { $each: unknown[]; $position?: number; $slice?: number; $sort?: unknown }

/** The modifiers of `$push` and `$addToSet`; a plain operand is one element. */
function modifiers(name: '$push' | '$addToSet', operand: unknown): Modifiers {
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

function pullTest(operand: unknown): (item: unknown) => boolean {
  if (isDoc(operand)) return elementTest(operand)
  if (typeOf(operand) === 'regex') return elementTest({ $in: [operand] })
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

/** The document an upsert starts from: the equality conditions of its filter. */
export function upsertBase(filter: Doc, replacing: boolean): Doc {
  const base: Doc = {}
  const taken = new Set<string>()
  for (const [path, value] of equalities(filter)) {
    if (replacing && path !== '_id') continue
    if (taken.has(path)) throw new ServerError(54, `cannot infer query fields to set, path '${path}' is matched twice`)
    taken.add(path)
    const parts = path.split('.')
    put(parentOf(base, parts, true)!, parts.at(-1)!, clone(value))
  }
  return base
}

function equalities(filter: Doc): [string, unknown][] {
  return Object.entries(filter).flatMap(([name, condition]): [string, unknown][] => {
    if (name === '$and') return (condition as Doc[]).flatMap(equalities)
    if (name === '$or') return (condition as Doc[]).length === 1 ? equalities((condition as Doc[])[0]!) : []
    if (name.startsWith('$') || typeOf(condition) === 'regex') return []
    if (!isOperators(condition)) return [[name, condition]]
    const list = field(condition, '$in') ?? field(condition, '$all')
    if (Array.isArray(list) && list.length === 1)
      throw notImplemented('an upsert whose filter has $in or $all of one value')
    return field(condition, '$eq') === undefined ? [] : [[name, condition.$eq]]
  })
}

/** Whether an updated document differs from the stored one, which is what `nModified` counts. */
export function changed(before: Doc, after: Doc): boolean {
  return !identical(before, after)
}
