import { Binary, calculateObjectSize, ObjectId } from 'bson'
import type { Doc } from './errors'
import { isDoc } from './values'

const BYTES_OF_UNIT = 3
const BYTES_AROUND_NAME = 2
const BYTES_AROUND_VALUE = 9

/** Whether a document, or several in an array, takes more bytes of BSON than this. */
export function exceeds(value: Doc | Doc[], bytes: number): boolean {
  return boundOf(value) > bytes && calculateObjectSize(value) > bytes
}

/** At least the bytes of BSON of a value: few documents are near a limit, and only their exact size is asked for, which takes longer. */
function boundOf(value: unknown): number {
  if (typeof value === 'string') return BYTES_AROUND_VALUE + value.length * BYTES_OF_UNIT
  if (typeof value !== 'object' || value === null || value instanceof Date || value instanceof ObjectId) return 16
  if (value instanceof Binary) return BYTES_AROUND_VALUE + value.position
  if (!Array.isArray(value) && !isDoc(value)) return calculateObjectSize({ value })
  let bytes = BYTES_AROUND_VALUE
  for (const name of Object.keys(value))
    bytes += BYTES_AROUND_NAME + name.length * BYTES_OF_UNIT + boundOf((value as Doc)[name])
  return bytes
}
