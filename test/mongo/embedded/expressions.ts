import { type Doc, notImplemented, ServerError } from './errors'
import { callFunction, checkCount, isFunction } from './functions'
import { field, isDoc, isTrue, typeOf } from './values'

/** Evaluates one aggregation expression on a document; `undefined` is a missing value. */
export type Expression = (doc: Doc) => unknown

type Variables = { [name: string]: unknown }
type Evaluate = (variables: Variables) => unknown

/** @throws {ServerError} for a malformed expression, 238 for an operator this server does not do */
export function compileExpression(expression: unknown): Expression {
  const evaluate = compile(expression, ['ROOT', 'CURRENT', 'NOW', 'REMOVE'])
  const NOW = new Date()
  return (doc) => evaluate({ ROOT: doc, CURRENT: doc, NOW, REMOVE: undefined })
}

/** `known` are the names of the variables that exist at this place. */
function compile(expression: unknown, known: string[]): Evaluate {
  if (typeof expression === 'string' && expression.startsWith('$')) return compilePath(expression, known)
  if (Array.isArray(expression)) {
    const items = expression.map((item) => compile(item, known))
    // A missing element is null.
    return (variables) => items.map((item) => item(variables) ?? null)
  }
  if (!isDoc(expression)) return () => expression
  const [name, ...more] = Object.keys(expression)
  if (name?.startsWith('$')) {
    if (more.length > 0) throw new ServerError(15983, `an expression must have exactly one field: ${name}, ${more}`)
    return compileOperator(name, expression[name], known)
  }
  const fields = Object.entries(expression).map(([key, value]) => {
    if (key.startsWith('$')) throw new ServerError(16410, `FieldPath field names may not start with '$', found ${key}`)
    if (key.includes('.')) throw new ServerError(16412, `FieldPath field names may not contain '.', found ${key}`)
    return [key, compile(value, known)] as const
  })
  return (variables) =>
    Object.fromEntries(fields.map(([key, value]) => [key, value(variables)]).filter(([, value]) => value !== undefined))
}

function compilePath(path: string, known: string[]): Evaluate {
  const [name, ...rest] = path.startsWith('$$') ? path.slice(2).split('.') : ['CURRENT', ...path.slice(1).split('.')]
  if (path === '$') throw new ServerError(16872, "'$' by itself is not a valid FieldPath")
  if (name === '' || rest.includes('')) throw new ServerError(15998, `FieldPath field names may not be empty: ${path}`)
  if (['CLUSTER_TIME', 'USER_ROLES', 'SEARCH_META', 'DESCEND', 'PRUNE', 'KEEP'].includes(name!))
    throw notImplemented(`the variable ${name}`)
  if (!known.includes(name!)) throw new ServerError(17276, `Use of undefined variable: ${name}`)
  return (variables) => valueAt(variables[name!], rest)
}

/** Of an array on the way come the values of the documents in it; positions mean nothing. */
function valueAt(node: unknown, path: string[]): unknown {
  const [name, ...rest] = path
  if (name === undefined) return node
  if (isDoc(node)) return valueAt(field(node, name), rest)
  if (!Array.isArray(node)) return undefined
  return node
    .filter(isDoc)
    .map((item) => valueAt(item, path))
    .filter((value) => value !== undefined)
}

function compileOperator(name: string, operand: unknown, known: string[]): Evaluate {
  if (Object.hasOwn(FORMS, name)) return FORMS[name]!(operand, known)
  if (!isFunction(name)) throw notImplemented(`the expression ${name}`)
  const operands = (Array.isArray(operand) ? operand : [operand]).map((item) => compile(item, known))
  const call = callFunction(name, operands.length)
  return (variables) => call(operands.map((evaluate) => evaluate(variables)))
}

/** The operators that decide what of their operands is evaluated, and how often. */
const FORMS: Record<string, (operand: unknown, known: string[]) => Evaluate> = {
  $literal: (operand) => () => operand,
  $and: (operand, known) => {
    const parts = [operand].flat().map((part) => compile(part, known))
    return (variables) => parts.every((part) => isTrue(part(variables)))
  },
  $or: (operand, known) => {
    const parts = [operand].flat().map((part) => compile(part, known))
    return (variables) => parts.some((part) => isTrue(part(variables)))
  },
  $cond: (operand, known) => {
    if (!isDoc(operand)) checkCount('$cond', [operand].flat().length, 3, 3)
    const names = ['if', 'then', 'else']
    const parts = isDoc(operand) ? operand : Object.fromEntries(names.map((name, i) => [name, [operand].flat()[i]]))
    checkNames(
      '$cond',
      parts,
      [
        ['if', 17080],
        ['then', 17081],
        ['else', 17082],
      ],
      17083,
    )
    const [test, yes, no] = names.map((name) => compile(parts[name], known)) as [Evaluate, Evaluate, Evaluate]
    return (variables) => (isTrue(test(variables)) ? yes(variables) : no(variables))
  },
  $ifNull: (operand, known) => {
    const parts = [operand].flat().map((part) => compile(part, known))
    if (parts.length < 2) throw new ServerError(1257300, `$ifNull needs at least two arguments, had: ${parts.length}`)
    return (variables) => {
      for (const part of parts.slice(0, -1)) {
        const value = part(variables)
        if (value !== undefined && value !== null) return value
      }
      return parts.at(-1)!(variables)
    }
  },
  $switch: (operand, known) => {
    const { branches, default: otherwise } = named('$switch', operand, 40060, [], 40067, ['branches', 'default'])
    if (branches !== undefined && !Array.isArray(branches))
      throw new ServerError(40061, "$switch expected an array for 'branches'")
    if (!Array.isArray(branches) || branches.length === 0)
      throw new ServerError(40068, '$switch requires at least one branch')
    const compiled = branches.map((branch) => {
      const parts = named(
        '$switch',
        branch,
        40062,
        [
          ['case', 40064],
          ['then', 40065],
        ],
        40063,
      )
      return { test: compile(parts.case, known), value: compile(parts.then, known) }
    })
    const fallback = otherwise === undefined ? undefined : compile(otherwise, known)
    return (variables) => {
      const branch = compiled.find(({ test }) => isTrue(test(variables)))
      if (branch !== undefined) return branch.value(variables)
      if (fallback !== undefined) return fallback(variables)
      throw new ServerError(40066, '$switch could not find a matching branch, and no default was specified')
    }
  },
  $let: (operand, known) => {
    const parts = named(
      '$let',
      operand,
      16874,
      [
        ['vars', 16876],
        ['in', 16877],
      ],
      16875,
    )
    if (!isDoc(parts.vars)) throw new ServerError(10065, 'invalid parameter: expected an object (vars)')
    const values = Object.entries(parts.vars).map(([name, value]) => [name, compile(value, known)] as const)
    const body = compile(parts.in, [...known, ...values.map(([name]) => name)])
    return (variables) =>
      body({ ...variables, ...Object.fromEntries(values.map(([name, value]) => [name, value(variables)])) })
  },
  $map: (operand, known) => {
    const parts = named(
      '$map',
      operand,
      16878,
      [
        ['input', 16880],
        ['in', 16882],
      ],
      16879,
      ['as'],
    )
    return eachItem('$map', 16883, parts, parts.in, known, (items, evaluate) =>
      items.map((item) => evaluate(item) ?? null),
    )
  },
  $filter: (operand, known) => {
    const parts = named(
      '$filter',
      operand,
      28646,
      [
        ['input', 28648],
        ['cond', 28650],
      ],
      28647,
      ['as', 'limit'],
    )
    if (parts.limit !== undefined) throw notImplemented('limit in $filter')
    return eachItem('$filter', 28651, parts, parts.cond, known, (items, evaluate) =>
      items.filter((item) => isTrue(evaluate(item))),
    )
  },
  $reduce: (operand, known) => {
    const parts = named(
      '$reduce',
      operand,
      40075,
      [
        ['input', 40077],
        ['initialValue', 40078],
        ['in', 40079],
      ],
      40076,
    )
    const [input, initial] = [compile(parts.input, known), compile(parts.initialValue, known)]
    const body = compile(parts.in, [...known, 'this', 'value'])
    return (variables) =>
      listOf('$reduce', 40080, input(variables))?.reduce<unknown>(
        (value, item) => body({ ...variables, this: item, value }),
        initial(variables),
      ) ?? null
  },
}

/** An operator that evaluates `body` for each item of its input. */
function eachItem(
  name: string,
  code: number,
  { input, as = 'this' }: Doc,
  body: unknown,
  known: string[],
  run: (items: unknown[], evaluate: (item: unknown) => unknown) => unknown,
): Evaluate {
  const variable = String(as)
  const [list, evaluate] = [compile(input, known), compile(body, [...known, variable])]
  return (variables) => {
    const items = listOf(name, code, list(variables))
    return items === undefined ? null : run(items, (item) => evaluate({ ...variables, [variable]: item }))
  }
}

function listOf(name: string, code: number, value: unknown): unknown[] | undefined {
  if (value === undefined || value === null) return undefined
  if (Array.isArray(value)) return value
  throw new ServerError(code, `input to ${name} must be an array not ${typeOf(value)}`)
}

/** The named arguments of an operator: `required` with the error when one lacks. */
function named(
  name: string,
  operand: unknown,
  noDoc: number,
  required: [string, number][],
  unknown: number,
  optional: string[] = [],
): Doc {
  if (!isDoc(operand)) throw new ServerError(noDoc, `${name} only supports an object as its argument`)
  checkNames(name, operand, required, unknown, optional)
  return operand
}

function checkNames(
  name: string,
  operand: Doc,
  required: [string, number][],
  unknown: number,
  optional: string[] = [],
): void {
  const extra = Object.keys(operand).find(
    (key) => !required.some(([needed]) => needed === key) && !optional.includes(key),
  )
  if (extra !== undefined) throw new ServerError(unknown, `Unrecognized parameter to ${name}: ${extra}`)
  for (const [key, code] of required) {
    if (!Object.hasOwn(operand, key)) throw new ServerError(code, `Missing '${key}' parameter to ${name}`)
  }
}
