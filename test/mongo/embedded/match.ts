import {
  equals,
  isIn,
  isOperators,
  type Match,
  modulo,
  range,
  regexOf,
  regexTest,
  sizeTest,
  type Test,
  typeTest,
} from './conditions'
import { type Doc, notImplemented, ServerError } from './errors'
import { compileExpression } from './expressions'
import { field, isDoc, isTrue, typeOf } from './values'

export type { Match }

export type Predicate<Subject = Doc> = (subject: Subject, match?: Match) => boolean

/**
 * Applies a test of one value to what a condition is about: the values at a path (of an array at its end also the
 * elements, unless `expandLeaf` is off), or one value as it is.
 */
type Apply<Subject> = (test: Test, expandLeaf?: boolean) => Predicate<Subject>

const MATCH_ALL = () => true

/** The operators that stand beside fields rather than in the condition of one. */
const LOGICAL = ['$and', '$or', '$nor', '$expr', '$comment', '$where', '$text', '$jsonSchema', '$sampleRate']

/**
 * Compiles a filter to a predicate with MongoDB's path rules. `inElement` is a filter in `$elemMatch`, which sees an
 * element instead of the document.
 *
 * @throws {ServerError} 2 for a malformed filter, 238 for an operator this server does not do
 */
export function compileFilter(filter: Doc, inElement = false): Predicate {
  const parts = Object.entries(filter).map(([name, value]) => compileEntry(name, value, inElement))
  if (parts.length === 0) return MATCH_ALL
  if (parts.length === 1) return parts[0]!
  return every(parts)
}

function compileEntry(name: string, value: unknown, inElement: boolean): Predicate {
  if (!name.startsWith('$')) return compileCondition(atPath(name.split('.')), value)
  switch (name) {
    case '$and':
      return every(clauses(name, value, inElement))
    case '$or': {
      const parts = clauses(name, value, inElement)
      return (doc, match) => parts.some((part) => part(doc, match))
    }
    case '$nor': {
      const parts = clauses(name, value, inElement)
      return (doc) => !parts.some((part) => part(doc))
    }
    case '$expr': {
      if (inElement) throw new ServerError(2, '$expr can only be applied to the top-level document')
      const evaluate = compileExpression(value)
      return (doc) => isTrue(evaluate(doc))
    }
    case '$comment':
      return MATCH_ALL
    default:
      if (LOGICAL.includes(name)) throw notImplemented(`the query operator ${name}`)
      throw new ServerError(2, `unknown top level operator: ${name}`)
  }
}

function clauses(name: string, value: unknown, inElement: boolean): Predicate[] {
  if (!Array.isArray(value) || value.length === 0) throw new ServerError(2, `${name} must be a nonempty array`)
  return value.map((clause) => {
    if (!isDoc(clause)) throw new ServerError(2, `${name} entries need to be full objects`)
    return compileFilter(clause, inElement)
  })
}

function every<Subject>(parts: Predicate<Subject>[]): Predicate<Subject> {
  return (subject, match) => parts.every((part) => part(subject, match))
}

function compileCondition<Subject>(apply: Apply<Subject>, condition: unknown): Predicate<Subject> {
  if (!isOperators(condition)) return apply(isValue(condition))
  return every(Object.entries(condition).map(([name, operand]) => compileOperator(apply, name, operand, condition)))
}

function isValue(operand: unknown): Test {
  return typeOf(operand) === 'regex' ? regexTest(operand) : equals(operand)
}

function compileOperator<Subject>(
  apply: Apply<Subject>,
  name: string,
  operand: unknown,
  condition: Doc,
): Predicate<Subject> {
  switch (name) {
    case '$eq':
      return apply(equals(operand))
    case '$ne':
      if (typeOf(operand) === 'regex') throw new ServerError(2, "Can't have regex as arg to $ne.")
      return not(apply(equals(operand)))
    case '$in':
      return apply(isIn(name, operand))
    case '$nin':
      return not(apply(isIn(name, operand)))
    case '$gt':
    case '$gte':
    case '$lt':
    case '$lte':
      return apply(range(name, operand))
    case '$exists': {
      const exists = apply((value) => value !== undefined, false)
      return isTrue(operand) ? exists : not(exists)
    }
    case '$not':
      if (typeOf(operand) === 'regex') return not(apply(regexTest(operand)))
      if (!isOperators(operand)) throw new ServerError(2, '$not needs a regex or a document of operators')
      return not(compileCondition(apply, operand))
    case '$regex':
      return apply(regexTest(regexOf(condition)))
    case '$options':
      if (condition.$regex === undefined) throw new ServerError(2, '$options needs a $regex')
      return MATCH_ALL
    case '$type':
      return apply(typeTest(operand))
    case '$mod':
      return apply(modulo(operand))
    case '$size':
      return apply(sizeTest(operand), false)
    case '$all':
      return all(apply, operand)
    case '$elemMatch':
      return apply(someElement(operand), false)
    case '$comment':
      return MATCH_ALL
    default:
      if (/^\$(geo|near|box|center|bits|text|where|jsonSchema)/i.test(name)) {
        throw notImplemented(`the query operator ${name}`)
      }
      throw new ServerError(2, `unknown operator: ${name}`)
  }
}

function not<Subject>(predicate: Predicate<Subject>): Predicate<Subject> {
  return (subject) => !predicate(subject)
}

function all<Subject>(apply: Apply<Subject>, operand: unknown): Predicate<Subject> {
  if (!Array.isArray(operand)) throw new ServerError(2, '$all needs an array')
  const elementwise = operand.map((item) => isDoc(item) && Object.keys(item)[0] === '$elemMatch')
  if (elementwise[0] && elementwise.includes(false)) throw new ServerError(2, '$all/$elemMatch has to be consistent')
  const parts = operand.map((item) => {
    if (elementwise[0]) return apply(someElement(item.$elemMatch), false)
    if (isOperators(item)) throw new ServerError(2, 'no $ expressions in $all')
    return apply(isValue(item))
  })
  return parts.length > 0 ? every(parts) : () => false
}

function someElement(operand: unknown): Test {
  const test = elementTest(operand)
  return (value, match) => {
    const index = Array.isArray(value) ? value.findIndex((item) => test(item)) : -1
    if (index >= 0 && match !== undefined) match.index = index
    return index >= 0
  }
}

/**
 * The test of one array element, for `$elemMatch` in filters and projections: operators on the element as it is, or a
 * filter of its fields, which of an array are its positions.
 */
export function elementTest(operand: unknown): Test {
  if (!isDoc(operand)) throw new ServerError(2, '$elemMatch needs an Object')
  if (isCondition(operand)) {
    return compileCondition<unknown>((test) => test, operand)
  }
  const predicate = compileFilter(operand, true)
  return (item) => isContainer(item) && predicate((Array.isArray(item) ? { ...item } : item) as Doc)
}

/** Whether operators are about one value, rather than about the fields of a document. */
export function isCondition(operand: unknown): operand is Doc {
  return isOperators(operand) && !LOGICAL.includes(Object.keys(operand)[0]!)
}

function isContainer(value: unknown): boolean {
  return isDoc(value) || Array.isArray(value)
}

/** A test holds at a path when any value there passes it. */
function atPath(path: string[]): Apply<Doc> {
  return (test, expandLeaf = true) =>
    (doc, match) =>
      someAt(doc, path, 0, expandLeaf, undefined, (value, index) => {
        if (!test(value, match)) return false
        if (match !== undefined && index !== undefined) match.index = index
        return true
      })
}

/**
 * Visits the values at a path as MongoDB does: through arrays of documents, by array position where a part is a number,
 * and for an array at the end its elements before the array itself (unless `expandLeaf` is off, or a position led to
 * it). A missing field is visited as `undefined`; array elements that are no documents are not visited. `outer` is the
 * position in the first array passed.
 */
function someAt(
  node: unknown,
  path: string[],
  at: number,
  expandLeaf: boolean,
  outer: number | undefined,
  visit: (value: unknown, index: number | undefined) => boolean,
): boolean {
  const name = path[at]
  if (name === undefined) {
    if (expandLeaf && Array.isArray(node) && node.some((item, i) => visit(item, outer ?? i))) return true
    return visit(node, outer)
  }
  if (Array.isArray(node)) {
    if (node.some((item, i) => isDoc(item) && someAt(item, path, at, expandLeaf, outer ?? i, visit))) return true
    if (!/^(0|[1-9]\d*)$/.test(name) || Number(name) >= node.length) return false
    const item = node[Number(name)]
    if (at === path.length - 1) return visit(item, outer)
    return isContainer(item) && someAt(item, path, at + 1, expandLeaf, outer, visit)
  }
  if (!isDoc(node)) return visit(undefined, outer)
  return someAt(field(node, name), path, at + 1, expandLeaf, outer, visit)
}
