import { equals, isIn, isOperators, modulo, range, regexTest, type Test, typeTest } from './conditions'
import { type Doc, notImplemented, ServerError } from './errors'
import { compileExpression } from './expressions'
import { field, isDoc, isNumeric, isTrue, toNumber, typeOf } from './values'

/** Filled while a filter matches: the array position that `$` in an update stands for. */
export type Match = { index?: number }

export type Predicate = (doc: Doc, match?: Match) => boolean

const MATCH_ALL: Predicate = () => true

/**
 * Compiles a filter to a predicate with MongoDB's path rules. Written here rather than left to mingo, whose answers
 * differ for 64-bit integers, field order of embedded documents, ranges over arrays, `null` and nested arrays.
 *
 * @throws {ServerError} 2 for a malformed filter, 238 for an operator this server does not do
 */
export function compileFilter(filter: Doc): Predicate {
  const parts = Object.entries(filter).map(([name, value]) => compileEntry(name, value))
  if (parts.length === 0) return MATCH_ALL
  if (parts.length === 1) return parts[0]!
  return (doc, match) => parts.every((part) => part(doc, match))
}

function compileEntry(name: string, value: unknown): Predicate {
  if (!name.startsWith('$')) return compilePath(name.split('.'), value)
  switch (name) {
    case '$and': {
      const parts = clauses(name, value)
      return (doc, match) => parts.every((part) => part(doc, match))
    }
    case '$or': {
      const parts = clauses(name, value)
      return (doc, match) => parts.some((part) => part(doc, match))
    }
    case '$nor': {
      const parts = clauses(name, value)
      return (doc) => !parts.some((part) => part(doc))
    }
    case '$expr': {
      const evaluate = compileExpression(value, { storesResult: false })
      return (doc) => isTrue(evaluate(doc))
    }
    case '$comment':
      return MATCH_ALL
    case '$where':
    case '$text':
    case '$jsonSchema':
    case '$sampleRate':
      throw notImplemented(`the query operator ${name}`)
    default:
      throw new ServerError(2, `unknown top level operator: ${name}`)
  }
}

function clauses(name: string, value: unknown): Predicate[] {
  if (!Array.isArray(value) || value.length === 0) throw new ServerError(2, `${name} must be a nonempty array`)
  return value.map((clause) => {
    if (!isDoc(clause)) throw new ServerError(2, `${name} entries need to be full objects`)
    return compileFilter(clause)
  })
}

function compilePath(path: string[], condition: unknown): Predicate {
  if (!isOperators(condition)) {
    return typeOf(condition) === 'regex' ? onPath(path, regexTest(condition)) : onPath(path, equals(condition))
  }
  const parts = Object.entries(condition).map(([name, operand]) => compileOperator(path, name, operand, condition))
  return (doc, match) => parts.every((part) => part(doc, match))
}

function compileOperator(path: string[], name: string, operand: unknown, condition: Doc): Predicate {
  switch (name) {
    case '$eq':
      return onPath(path, equals(operand))
    case '$ne':
      if (typeOf(operand) === 'regex') throw new ServerError(2, "Can't have regex as arg to $ne.")
      return not(onPath(path, equals(operand)))
    case '$in':
      return onPath(path, isIn(name, operand))
    case '$nin':
      return not(onPath(path, isIn(name, operand)))
    case '$gt':
    case '$gte':
    case '$lt':
    case '$lte':
      return onPath(path, range(name, operand))
    case '$exists': {
      const exists = onPath(path, (value) => value !== undefined, false)
      return isTrue(operand) ? exists : not(exists)
    }
    case '$not':
      if (typeOf(operand) === 'regex') return not(onPath(path, regexTest(operand)))
      if (!isOperators(operand)) throw new ServerError(2, '$not needs a regex or a document')
      return not(compilePath(path, operand))
    case '$regex':
      return onPath(path, regexTest(operand, condition.$options))
    case '$options':
      if (condition.$regex === undefined) throw new ServerError(2, '$options needs a $regex')
      return MATCH_ALL
    case '$type':
      return onPath(path, typeTest(operand))
    case '$mod':
      return onPath(path, modulo(operand))
    case '$size': {
      if (!isNumeric(operand))
        throw new ServerError(2, `Failed to parse $size. Expected a number in: $size: ${operand}`)
      const size = toNumber(operand)
      return onPath(path, (value) => Array.isArray(value) && value.length === size, false)
    }
    case '$all':
      return all(path, operand)
    case '$elemMatch':
      return elementMatch(path, operand)
    case '$comment':
      return MATCH_ALL
    default:
      if (/^\$(geo|near|box|center|bits|text|where|jsonSchema)/i.test(name)) {
        throw notImplemented(`the query operator ${name}`)
      }
      throw new ServerError(2, `unknown operator: ${name}`)
  }
}

export function not(predicate: Predicate): Predicate {
  return (doc) => !predicate(doc)
}

/** A predicate that holds when any value at the path passes the test. */
function onPath(path: string[], test: Test, expandLeaf = true): Predicate {
  return (doc, match) =>
    someAt(doc, path, 0, expandLeaf, undefined, (value, index) => {
      if (!test(value)) return false
      if (match !== undefined && index !== undefined) match.index = index
      return true
    })
}

/**
 * Visits the values at a path as MongoDB does: through arrays of documents, by array position where a part is a number,
 * and for an array at the end its elements before the array itself (unless `expandLeaf` is off). A missing field is
 * visited as `undefined`; array elements that are no documents are not visited. `outer` is the position in the first
 * array passed.
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
    if (!/^\d+$/.test(name) || Number(name) >= node.length) return false
    return someAt(node[Number(name)], path, at + 1, expandLeaf, outer, visit)
  }
  return someAt(
    isDoc(node) ? field(node, name) : undefined,
    path,
    isDoc(node) ? at + 1 : path.length,
    expandLeaf,
    outer,
    visit,
  )
}

function all(path: string[], operand: unknown): Predicate {
  if (!Array.isArray(operand)) throw new ServerError(2, '$all needs an array')
  const parts = operand.map((item) => {
    if (isDoc(item) && item.$elemMatch !== undefined) return elementMatch(path, item.$elemMatch)
    if (isOperators(item)) throw new ServerError(2, 'no $ expressions in $all')
    return onPath(path, typeOf(item) === 'regex' ? regexTest(item) : equals(item))
  })
  return (doc, match) => parts.length > 0 && parts.every((part) => part(doc, match))
}

function elementMatch(path: string[], operand: unknown): Predicate {
  const test = elementTest(operand)
  return (doc, match) =>
    someAt(doc, path, 0, false, undefined, (value) => {
      const index = Array.isArray(value) ? value.findIndex(test) : -1
      if (index < 0) return false
      if (match !== undefined) match.index = index
      return true
    })
}

/** The test of one array element, for `$elemMatch` in filters and projections: operators on a value, or a filter. */
export function elementTest(operand: unknown): Test {
  if (!isDoc(operand)) throw new ServerError(2, '$elemMatch needs an Object')
  if (isOperators(operand) && !['$and', '$or', '$nor', '$expr'].includes(Object.keys(operand)[0]!)) {
    const predicate = compilePath(['value'], operand)
    return (item) => {
      if (Array.isArray(item)) throw notImplemented('$elemMatch with operators on arrays inside arrays')
      return predicate({ value: item })
    }
  }
  const predicate = compileFilter(operand)
  return (item) => isDoc(item) && predicate(item)
}
