import { Double, Int32, Long } from 'bson'
import { Context, evalExpr } from 'mingo/core'
import * as mingo from 'mingo/operators/expression'
import { compare, keyOf } from './compare'
import { type Doc, notImplemented, ServerError } from './errors'
import { field, fromNumber, isDoc, isInt32, toNumber, typeOf } from './values'

/** Evaluates one aggregation expression on a document; `undefined` is a missing value. */
export type Expression = (doc: Doc) => unknown

/** The shape of mingo's operators, whose own types are too wide to work with. */
type Operator = (doc: unknown, expr: unknown, options: unknown) => unknown

const evaluate = evalExpr as Operator

/** A leaf mingo has no type for: it is passed through whole, and compared by its text. */
class Leaf {
  readonly #key: string
  constructor(readonly value: unknown) {
    this.#key = keyOf(value)
  }
  toString(): string {
    return this.#key
  }
}

/** mingo compares by other rules than MongoDB (other order of types, an array "equals" its elements), so these are ours. */
function comparison(holds: (result: number) => unknown): Operator {
  return (obj, expr, options) => {
    const [a, b] = (expr as unknown[]).map((operand) => fromPlain(evaluate(obj, operand, options)))
    if (a === undefined || b === undefined) return holds((a === undefined ? 0 : 1) - (b === undefined ? 0 : 1))
    return holds(compare(a, b))
  }
}

const OURS: Record<string, Operator> = {
  $eq: comparison((result) => result === 0),
  $ne: comparison((result) => result !== 0),
  $gt: comparison((result) => result > 0),
  $gte: comparison((result) => result >= 0),
  $lt: comparison((result) => result < 0),
  $lte: comparison((result) => result <= 0),
  $cmp: comparison((result) => Math.sign(result)),
  $in: (obj, expr, options) => {
    const [item, list] = (expr as unknown[]).map((operand) => evaluate(obj, operand, options))
    if (!Array.isArray(list))
      throw new ServerError(40081, `$in requires an array as a second argument, found: ${typeOf(list)}`)
    return list.some((member) => compare(fromPlain(member), fromPlain(item)) === 0)
  },
}

/** The expressions of mingo whose answers are MongoDB's on plain values; all others are refused. */
const THEIRS = [
  ...['$abs', '$add', '$ceil', '$divide', '$floor', '$mod', '$multiply', '$subtract'],
  ...['$and', '$not', '$or', '$cond', '$ifNull', '$switch', '$let', '$literal'],
  ...['$arrayElemAt', '$concatArrays', '$filter', '$first', '$isArray', '$last', '$map', '$reduce', '$size', '$slice'],
  ...['$concat', '$strLenCP', '$substrCP', '$toLower', '$toUpper', '$mergeObjects'],
] as const

const OPERATORS: Record<string, Operator> = {
  ...Object.fromEntries(THEIRS.map((name) => [name, (mingo as Record<string, unknown>)[name] as Operator])),
  ...OURS,
}
const OPTIONS = { context: Context.init().addExpressionOps(OPERATORS as never), scriptEnabled: false }

/**
 * Compiles an expression, evaluated by mingo on plain JavaScript values. Plain numbers cannot tell a 64-bit integer or
 * the double 1.0 from an int, so an expression whose result is stored or returned refuses to read such fields.
 */
export function compileExpression(expr: unknown, { storesResult }: { storesResult: boolean }): Expression {
  const constant = literal(expr)
  if (constant !== undefined) return () => constant.value
  if (typeof expr === 'string' && !expr.startsWith('$$')) {
    const path = expr.slice(1).split('.')
    return (doc) => pathValue(doc, path)
  }
  const now = new Date()
  const roots = new Set<string>()
  const plain = prepare(expr, roots, now)
  return (doc) => {
    for (const root of roots) {
      if (storesResult && !isPlain(root === '' ? doc : field(doc, root))) {
        throw notImplemented(`expressions on 64-bit, decimal or integral double values ('${root}')`)
      }
    }
    const input = Object.fromEntries(Object.entries(doc).map(([name, value]) => [name, toPlain(value)]))
    try {
      return fromPlain(evaluate(input, plain, OPTIONS))
    } catch (error) {
      if (error instanceof ServerError) throw error
      throw notImplemented(`this expression on these values (${(error as Error).message})`)
    }
  }
}

/** A constant, which needs no evaluation and keeps its exact type. */
function literal(expr: unknown): { value: unknown } | undefined {
  if (typeof expr === 'string') return expr.startsWith('$') ? undefined : { value: expr }
  if (Array.isArray(expr)) return expr.every((item) => literal(item)) ? { value: expr } : undefined
  if (!isDoc(expr)) return { value: expr }
  if (Object.keys(expr).length === 1 && '$literal' in expr) return { value: expr.$literal }
  if (Object.keys(expr).some((name) => name.startsWith('$'))) return undefined
  return Object.values(expr).every((item) => literal(item)) ? { value: expr } : undefined
}

/** The value of `'$a.b'`: arrays on the way give the array of their elements' values, positions mean nothing. */
function pathValue(node: unknown, path: string[]): unknown {
  if (path.length === 0) return node
  if (Array.isArray(node)) {
    return node
      .filter((item) => isDoc(item) || Array.isArray(item))
      .map((item) => pathValue(item, path))
      .filter((value) => value !== undefined)
  }
  return isDoc(node) ? pathValue(field(node, path[0]!), path.slice(1)) : undefined
}

/** Checks the operators, notes the top-level fields read ('' for the whole document) and turns constants plain. */
function prepare(expr: unknown, roots: Set<string>, now: Date): unknown {
  if (expr === '$$NOW') return now
  if (typeof expr === 'string') {
    if (/^\$\$(ROOT|CURRENT)/.test(expr)) roots.add('')
    else if (/^\$\$(CLUSTER_TIME|USER_ROLES|SEARCH_META)/.test(expr)) throw notImplemented(`the variable ${expr}`)
    else if (expr.startsWith('$') && !expr.startsWith('$$')) roots.add(expr.slice(1).split('.')[0]!)
    if (/\.\d+(\.|$)/.test(expr) && expr.startsWith('$')) throw notImplemented(`a number in the field path ${expr}`)
    return expr
  }
  if (Array.isArray(expr)) return expr.map((item) => prepare(item, roots, now))
  if (!isDoc(expr)) return toPlain(expr)
  if ('$literal' in expr) return { $literal: toPlain(expr.$literal) }
  return Object.fromEntries(
    Object.entries(expr).map(([name, operand]) => {
      if (name.startsWith('$') && !Object.hasOwn(OPERATORS, name)) throw notImplemented(`the expression ${name}`)
      return [name, prepare(operand, roots, now)]
    }),
  )
}

function isPlain(value: unknown): boolean {
  if (Array.isArray(value)) return value.every(isPlain)
  if (isDoc(value)) return Object.values(value).every(isPlain)
  const type = typeOf(value)
  if (type === 'double') return !isInt32(toNumber(value))
  return type !== 'long' && type !== 'decimal'
}

function toPlain(value: unknown): unknown {
  if (value === null || typeof value !== 'object' || value instanceof Date) return value
  if (Array.isArray(value)) return value.map(toPlain)
  if (value instanceof Int32 || value instanceof Double) return value.value
  if (value instanceof Long) {
    const number = value.toNumber()
    if (!Number.isSafeInteger(number)) throw notImplemented('expressions on integers beyond 2^53')
    return number
  }
  if (!isDoc(value)) return new Leaf(value)
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, toPlain(inner)]))
}

function fromPlain(value: unknown): unknown {
  if (typeof value === 'number') return fromNumber(value)
  if (value instanceof Leaf) return value.value
  // A missing element of an array an expression builds is null.
  if (Array.isArray(value)) return value.map((item) => (item === undefined ? null : fromPlain(item)))
  if (!isDoc(value)) return value
  const fields = Object.entries(value).filter(([, inner]) => inner !== undefined)
  return Object.fromEntries(fields.map(([name, inner]) => [name, fromPlain(inner)]))
}
