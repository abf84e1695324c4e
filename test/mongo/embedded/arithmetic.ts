import { Double, Int32, Long } from 'bson'
import { notImplemented, ServerError } from './errors'
import { isInt32, numeric, toNumber, typeOf } from './values'

const INT64_MAX = 2n ** 63n - 1n

/** `$inc` and `$mul` with MongoDB's result types: the wider of the two, and int widening to long on overflow. */
export function arithmetic(operator: '$inc' | '$mul', a: unknown, b: unknown): Int32 | Long | Double {
  const types = [typeOf(a), typeOf(b)]
  if (types.includes('decimal')) throw notImplemented(`${operator} with Decimal128`)
  if (types.includes('double')) {
    const [x, y] = [toNumber(a), toNumber(b)]
    return new Double(operator === '$inc' ? x + y : x * y)
  }
  const [x, y] = [BigInt(numeric(a)), BigInt(numeric(b))]
  const result = operator === '$inc' ? x + y : x * y
  if (!types.includes('long') && isInt32(Number(result))) return new Int32(Number(result))
  if (result > INT64_MAX || result < -INT64_MAX - 1n) {
    throw new ServerError(2, `Failed to apply ${operator} operations to current value: overflow of a 64-bit integer`)
  }
  return Long.fromBigInt(result)
}
