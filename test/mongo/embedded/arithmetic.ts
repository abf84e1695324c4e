import { Double, Int32, Long } from 'bson'
import { notImplemented } from './errors'
import { isInt32, numeric, toInt64, toNumber, typeOf } from './values'

const OPERATIONS = {
  add: { double: (x: number, y: number) => x + y, integer: (x: bigint, y: bigint) => x + y },
  subtract: { double: (x: number, y: number) => x - y, integer: (x: bigint, y: bigint) => x - y },
  multiply: { double: (x: number, y: number) => x * y, integer: (x: bigint, y: bigint) => x * y },
  remainder: { double: (x: number, y: number) => x % y, integer: (x: bigint, y: bigint) => x % y },
}

type Operation = keyof typeof OPERATIONS

/** Combines numbers with MongoDB's result types: the widest of all; `undefined` when 64 bits do not hold the result. */
export function combine(operation: Operation, numbers: unknown[]): Int32 | Long | Double | undefined {
  const types = numbers.map(typeOf)
  if (types.includes('decimal')) throw notImplemented('arithmetic with Decimal128')
  if (types.includes('double')) return new Double(numbers.map(toNumber).reduce(OPERATIONS[operation].double))
  const result = numbers.map((number) => BigInt(numeric(number))).reduce(OPERATIONS[operation].integer)
  return integer(result, types.includes('long') ? 'long' : 'int')
}

/** As `combine`, but a double where 64 bits do not hold the result: how expressions calculate. */
export function calculate(operation: Operation, numbers: unknown[]): Int32 | Long | Double {
  return combine(operation, numbers) ?? new Double(numbers.map(toNumber).reduce(OPERATIONS[operation].double))
}

export function sum(numbers: unknown[]): Int32 | Long | Double {
  return calculate('add', [new Int32(0), ...numbers])
}

/** An integer of a type, or of the next wider one that holds it. */
export function integer(value: bigint, type: string): Int32 | Long | undefined {
  if (type === 'int' && isInt32(Number(value))) return new Int32(Number(value))
  return toInt64(value) === undefined ? undefined : Long.fromBigInt(value)
}
