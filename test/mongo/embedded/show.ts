import type { Binary, ObjectId } from 'bson'
import { bytesOf } from './compare'
import type { Doc } from './errors'
import { toNumber, typeOf } from './values'

/** A value as MongoDB prints it in messages: `{ name: "x" }`. */
export function show(value: unknown): string {
  switch (typeOf(value)) {
    case 'missing':
      return 'null'
    case 'string':
      return JSON.stringify(value)
    case 'object': {
      const fields = Object.entries(value as Doc).map(([name, inner]) => `${name}: ${show(inner)}`)
      return fields.length === 0 ? '{}' : `{ ${fields.join(', ')} }`
    }
    case 'array':
      return `[ ${(value as unknown[]).map(show).join(', ')} ]`
    case 'objectId':
      return `ObjectId('${(value as ObjectId).toHexString()}')`
    case 'double': {
      const number = toNumber(value)
      return Number.isInteger(number) ? number.toFixed(1) : String(number)
    }
    case 'date':
      return `new Date(${(value as Date).getTime()})`
    case 'binData':
      return `BinData(${(value as Binary).sub_type}, ${Buffer.from(bytesOf(value as Binary))
        .toString('hex')
        .toUpperCase()})`
    default:
      return String(value)
  }
}
