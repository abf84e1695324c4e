import { bytesOf } from '../format/entry'
import type { BlindIndex } from './declaration'

/**
 * Whether index values are still to be made: all fields have values, and what stands beside them is not what a write would put there now.
 * That is told by how many versions there are. It is asked of records and of MongoDB, and both must tell the same.
 */

/**
 * The same as a filter.
 *
 * @param prefix the path of the subdocument that the index is of, with a dot after it
 */
export function staleFilter(index: BlindIndex, prefix: string): Record<string, unknown> {
  return {
    $and: [...index.fields.map((name) => ({ [`${prefix}${name}`]: { $ne: null } })), staleValues(index, prefix)],
  }
}

/** What of it concerns the index values alone. */
export function staleValues({ path, versions }: BlindIndex, prefix: string): Record<string, unknown> {
  const place = `${prefix}${path}`
  if (versions.length > 1) return { [place]: { $not: { $size: versions.length } } }
  // An array has the type of each of its elements, too.
  return { $or: [{ [place]: { $not: { $type: 'binData' } } }, { [place]: { $type: 'array' } }] }
}

/** @param record the record or subdocument as it is stored */
export function isStale({ fields, path, versions }: BlindIndex, record: Readonly<Record<string, unknown>>): boolean {
  if (fields.some((name) => (record[name] ?? null) === null)) return false
  const stored = record[path]
  if (versions.length === 1) return bytesOf(stored) === undefined
  return !Array.isArray(stored) || stored.length !== versions.length
}
