import { bytesOf, type MakeBinary } from '../format/entry'
import type { BlindIndex, IndexVersion } from './declaration'

/**
 * Whether index values are still to be made: all fields have values, and what stands beside them is not of the live versions, in their
 * order. It is asked of records and of MongoDB, and both must tell the same.
 */

/**
 * The same as a filter.
 *
 * @param prefix the path of the subdocument that the index is of, with a dot after it
 */
export function staleFilter(index: BlindIndex, prefix: string, binary: MakeBinary): Record<string, unknown> {
  const present = index.fields.map((name) => ({ [`${prefix}${name}`]: { $ne: null } }))
  return { $and: [...present, staleValues(index, prefix, binary)] }
}

/** What of it concerns the index values alone. */
export function staleValues(
  { path, versions }: BlindIndex,
  prefix: string,
  binary: MakeBinary,
): Record<string, unknown> {
  const place = `${prefix}${path}`
  // A condition on an array holds, too, if it holds of its elements.
  const shape = { [place]: versions.length === 1 ? { $not: { $type: 'array' } } : { $size: versions.length } }
  const values = versions.map((version, position) => ({
    [versions.length === 1 ? place : `${place}.${position}`]: rangeOf(version, binary),
  }))
  return { $nor: [{ $and: [shape, ...values] }] }
}

/** All index values of a version: MongoDB sorts bytes by their length, then by their subtype, and only then by what they are. */
function rangeOf({ bits, subtype }: IndexVersion, binary: MakeBinary): Record<string, unknown> {
  const length = lengthOf(bits)
  return { $gte: binary(Buffer.alloc(length, 0), subtype), $lte: binary(Buffer.alloc(length, 0xff), subtype) }
}

/** @param record the record or subdocument as it is stored */
export function isStale({ fields, path, versions }: BlindIndex, record: Readonly<Record<string, unknown>>): boolean {
  if (fields.some((name) => (record[name] ?? null) === null)) return false
  const stored = versions.length === 1 ? [record[path]] : record[path]
  if (!Array.isArray(stored) || stored.length !== versions.length) return true
  return versions.some((version, position) => !isOf(version, stored[position]))
}

function isOf({ bits, subtype }: IndexVersion, value: unknown): boolean {
  // Where the driver gives buffers, the subtype is not to be seen.
  const { sub_type: given = subtype } = (value ?? {}) as { sub_type?: number }
  return bytesOf(value)?.length === lengthOf(bits) && given === subtype
}

function lengthOf(bits: number): number {
  return Math.ceil(bits / 8)
}
