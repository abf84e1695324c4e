import { bytesOf } from '../format/entry'
import type { BlindIndex } from './value'

/**
 * Whether an index value is still to be made: the field has a value, and what stands beside it is not what a write would put there now. It
 * is asked of records and of MongoDB, and both must tell the same.
 */

/** The same as a filter. */
export function staleFilter(index: BlindIndex): Record<string, unknown> {
  return { [index.field]: { $ne: null }, ...staleIndex(index) }
}

/** What of it concerns the index value alone. */
export function staleIndex({ path }: BlindIndex): Record<string, unknown> {
  return { [path]: { $not: { $type: 'binData' } } }
}

/** @param record as it is stored */
export function isStale({ field, path }: BlindIndex, record: Readonly<Record<string, unknown>>): boolean {
  return (record[field] ?? null) !== null && bytesOf(record[path]) === undefined
}
