import { Box } from '../schema/box'
import type { Place } from '../schema/layout'
import { checkContents } from './contents'
import { checkPath, checkSort } from './paths'
import { refusedBox } from './refusals'
import { binding, checkCode, readKey, readPath, type Scope, scopeOf } from './scope'
import { arrayOf, mapOf, merged, objectOf, touched, valuesIn, withPath } from './shapes'
import { entriesOf, hasOperators, itemsOf, optionsOf } from './values'

/**
 * Refuses an aggregation expression that reads an encrypted field, by whatever path or variable. A subdocument that holds one may
 * be passed on as a whole.
 *
 * @throws {OperationError} QUERY_REFUSED
 */
export function checkExpression(root: Place, expression: unknown, place: string): void {
  evaluate(scopeOf(root, place), expression)
}

/**
 * Checks an expression, and tells where encrypted fields stand in what it gives: rather in too many places than in too few.
 *
 * @throws {OperationError} QUERY_REFUSED
 */
export function evaluate(scope: Scope, expression: unknown): Place | undefined {
  if (expression instanceof Box) throw refusedBox(scope.place, '')
  if (typeof expression === 'string') return expression.startsWith('$') ? readPath(scope, expression) : undefined
  const items = itemsOf(expression)
  if (items) return arrayOf(merged(items.map((item) => evaluate(scope, item))))
  const entries = entriesOf(expression) ?? []
  if (!hasOperators(entries)) return objectOf(entries.map(([key, value]) => [key, evaluate(scope, value)]))
  return merged(entries.map(([operator, operand]) => (operators.get(operator) ?? anyOperator)(scope, operand)))
}

type Operator = (scope: Scope, operand: unknown) => Place | undefined
type Operands = Readonly<Record<string, unknown>>

/** What is not known better may give any of its operands, or an object made of them. */
const anyOperator: Operator = (scope, operand) => touched(operands(scope, operand))

function operands(scope: Scope, operand: unknown): Place | undefined {
  const items = itemsOf(operand)
  if (items) return merged(items.map((item) => evaluate(scope, item)))
  const entries = entriesOf(operand)
  if (!entries || hasOperators(entries)) return evaluate(scope, operand)
  const values = entries.map(([key, value]): [string, Place | undefined] => [key, evaluate(scope, value)])
  return merged([objectOf(values), ...values.map(([, value]) => value)])
}

/** Gives its operand, which may be an object that is built. */
const passing: Operator = (scope, operand) => (itemsOf(operand) ? anyOperator : evaluate)(scope, operand)

/** Takes each key from another of its operands. */
const mixing: Operator = (scope, operand) => touched(passing(scope, operand))

const collecting: Operator = (scope, operand) => arrayOf(evaluate(scope, operand))

/** Compares its operands with each other, a subdocument as a whole. */
const comparing: Operator = (scope, operand) => {
  const items = itemsOf(operand) ?? [operand]
  const values = items.map((item) => evaluate(scope, item))
  for (const value of values) {
    if (value) for (const item of items) checkContents(scope.place, value, '', constantOf(item) ?? item)
  }
  return merged(values)
}

/** Gives what is written there. */
const constant: Operator = (scope, operand) => {
  checkContents(scope.place, undefined, '', operand)
  return undefined
}

/** Takes operands by name, of which one is what it gives; another may be an order. */
function giving(name: string, checkOrder: (scope: Scope, sortBy: unknown, value: Place | undefined) => void): Operator {
  return (scope, operand) => {
    const { sortBy, ...operands } = optionsOf(operand)
    const values = new Map(Object.entries(operands).map(([key, given]) => [key, evaluate(scope, given)]))
    checkOrder(scope, sortBy, values.get(name))
    return values.get(name)
  }
}

/** Gives the first or last of the records that are grouped, by an order. */
const ordering = giving('output', ({ current, place }, sortBy) => checkSort(current, sortBy, place))

const coded: Operator = (scope, operand) => {
  const { body, init, accumulate, merge, finalize } = optionsOf(operand)
  const given = anyOperator(scope, operand)
  const seen = merged([scope.current, scope.record, ...scope.variables.values(), given])
  for (const code of [body, init, accumulate, merge, finalize]) checkCode(seen, code, scope.place)
  return given
}

const special: Readonly<Record<string, Operator>> = {
  $let(scope, operand) {
    const { vars, in: result } = optionsOf(operand)
    const values = (entriesOf(vars) ?? []).map(([name, value]) => [name, evaluate(scope, value)])
    return evaluate(binding(scope, Object.fromEntries(values)), result)
  },
  $map(scope, operand) {
    const { input, as = 'this', in: result } = optionsOf(operand)
    return arrayOf(evaluate(binding(scope, { [String(as)]: evaluate(scope, input) }), result))
  },
  $filter(scope, operand) {
    const { input, as = 'this', cond, limit } = optionsOf(operand)
    const elements = evaluate(scope, input)
    evaluate(binding(scope, { [String(as)]: elements }), [cond, limit])
    return elements
  },
  $reduce(scope, operand) {
    const { input, initialValue, in: result } = optionsOf(operand)
    const element = evaluate(scope, input)
    let value = evaluate(scope, initialValue)
    // What one step gives is the value of the next.
    for (let pass = 0; pass < 3; pass++) {
      value = merged([value, evaluate(binding(scope, { this: element, value }), result)])
    }
    return value
  },
  $switch(scope, operand) {
    const { branches, default: otherwise } = optionsOf(operand)
    const cases = (itemsOf(branches) ?? []).map(optionsOf)
    for (const each of cases) evaluate(scope, each.case)
    return merged([evaluate(scope, otherwise), ...cases.map((each) => evaluate(scope, each.then))])
  },
  $getField(scope, operand) {
    const options: Operands = 'field' in optionsOf(operand) ? optionsOf(operand) : { field: operand }
    const input = 'input' in options ? evaluate(scope, options.input) : scope.current
    const name = constantOf(options.field)
    if (typeof name === 'string') return input && readKey(scope, input, name)
    evaluate(scope, options.field)
    if (input?.any) readKey(scope, input, '*')
    return input && merged([...input.children.keys()].map((key) => readKey(scope, input, key)).concat(input.any))
  },
  $setField(scope, operand) {
    const { field, input, value } = optionsOf(operand)
    const name = constantOf(field)
    const object = evaluate(scope, input)
    const set = evaluate(scope, value)
    if (typeof name !== 'string') return merged([object, mapOf(set), evaluate(scope, field)])
    if (object) checkPath(object, name, scope.place)
    return object ? withPath(object, [name], set) : objectOf([[name, set]])
  },
  $objectToArray(scope, operand) {
    const object = passing(scope, operand)
    const pairs = object && arrayOf(objectOf([['v', valuesIn(object)]]))
    if (pairs) takenApart.set(pairs, object)
    return pairs
  },
  $arrayToObject(scope, operand) {
    const pairs = passing(scope, operand)
    // Some of the keys may have been left out meanwhile.
    return pairs && touched(takenApart.get(pairs) ?? mapOf(merged([pairs, pairs.children.get('v')])))
  },
  $sortArray: giving('input', ({ place }, sortBy, value) => value && checkSort(value, sortBy, place)),
}

const operators: ReadonlyMap<string, Operator> = new Map([
  ...Object.entries(special),
  ...each('$literal $const $meta', constant),
  ...each('$first $last $max $min', passing),
  ...each('$mergeObjects', mixing),
  ...each('$push $addToSet', collecting),
  ...each('$top $topN $bottom $bottomN', ordering),
  ...each('$function $accumulator', coded),
  ...each('$eq $ne $gt $gte $lt $lte $cmp $in $indexOfArray', comparing),
  ...each('$setEquals $setIsSubset $setIntersection $setDifference', comparing),
])

function each(names: string, operator: Operator): [string, Operator][] {
  return names.split(' ').map((name) => [name, operator])
}

/** Objects that were made lists of keys and values, so that they can be put together again. */
const takenApart = new WeakMap<Place, Place>()

/** What an expression gives whatever the record is; `undefined` where that is not known. */
function constantOf(expression: unknown): unknown {
  if (typeof expression === 'string') return expression.startsWith('$') ? undefined : expression
  const { $literal, $const = $literal } = optionsOf(expression)
  return $const
}
