import type { Touch } from './changes'
import { checkOperand, checkPath } from './checks'
import { compare, identical } from './compare'
import { type Doc, notImplemented, ServerError } from './errors'
import type { Match } from './match'
import { OPERATORS, type Operator, showId } from './operators'
import { child, comparePaths, compileArrayFilters, expand, identifierOf, Paths, parentOf, put } from './paths'
import { compileUpdatePipeline } from './pipeline'
import { show } from './show'
import { clone, field, isDoc, typeOf } from './values'

/** Computes the document after the update; the one given is not changed. Notes in `touches` where operators were applied. */
export type Update = (before: Doc, match: Match, inserting: boolean, touches?: Touch[]) => Doc

type Change = { name: string; operator: Operator; path: string[]; operand: unknown }

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
  return (before, match, inserting, touches) => {
    const after = clone(before)
    const taken = new Paths()
    for (const change of changes) {
      if (change.name === '$setOnInsert' && !inserting) continue
      for (const path of expand(after, change.path, filters, match)) {
        if (positional) taken.add(path)
        touches?.push({ name: change.name, path, operand: change.operand })
        if (change.name === '$rename')
          touches?.push({ name: '$set', path: (change.operand as string).split('.'), operand: undefined })
        if (change.name === '$rename') rename(after, path, change.operand as string)
        else applyAt(after, path, change)
      }
    }
    return keepId(before, after)
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
    const { _id, ...rest } = replacement
    return keepId(before, { _id, ...rest })
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

/** As a `$set` of the target and an `$unset` of the source, neither of which may lie in an array. */
function rename(doc: Doc, path: string[], target: string): void {
  const value = sourceOf(doc, path)
  if (value === undefined) return
  const parts = target.split('.')
  notInArray('destination', doc, parts)
  put(parentOf(doc, parts, true)!, parts.at(-1)!, value)
  delete (parentOf(doc, path, false) as Doc)[path.at(-1)!]
}

/** The value to rename; `undefined` when there is none. @throws {ServerError} 28 for a path that cannot exist here */
function sourceOf(doc: Doc, path: string[]): unknown {
  let node: unknown = doc
  for (const [i, part] of path.entries()) {
    if (!isDoc(node) && !(Array.isArray(node) && /^\d+$/.test(part))) {
      throw new ServerError(
        28,
        `cannot use the part (${path[i - 1]} of ${path.join('.')}) to traverse the element ({${path[i - 1]}: ${show(node)}})`,
      )
    }
    node = child(node, part)
    if (node === undefined) return undefined
  }
  notInArray('source', doc, path)
  return node
}

function notInArray(role: string, doc: Doc, path: string[]): void {
  let node: unknown = doc
  for (const part of path) {
    if (Array.isArray(node)) {
      throw new ServerError(
        2,
        `The ${role} field cannot be an array element, '${path.join('.')}' in doc with ${showId(doc)}`,
      )
    }
    node = child(node, part)
  }
}
