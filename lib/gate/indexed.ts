import { OperationError } from '../errors'
import { bytesOf } from '../format/entry'
import type { Plain } from '../mongoose/host'
import { Box } from '../schema/box'
import { fieldsBelow, type Place, step } from '../schema/layout'
import { type BlindIndex, fullBits } from '../search/declaration'
import { keysAssigned } from './refusals'

/**
 * What is written at an indexed field, and what at its index value, belong together: a value brings its own when it is sealed, an envelope
 * that is put back must bring the one it had, and without a value there is none.
 */

/** The paths of index values in the records of a collection, with the name of what is indexed; positions are left out. */
export function indexPathsOf(root: Place, prefix = ''): Map<string, string> {
  const paths = new Map(root.indexes.map(({ name, path }) => [`${prefix}${path}`, `${prefix}${name}`]))
  for (const [segment, child] of root.children)
    for (const [path, name] of indexPathsOf(child, `${prefix}${segment}.`)) paths.set(path, name)
  return paths
}

/** Whether fields below a place have indexes. */
export function isIndexed(place: Place): boolean {
  return fieldsBelow(place).some((each) => each.place.fields.some(({ field, use }) => use.indexed.has(field.name)))
}

/** The records and subdocuments that paths of an update are of, by what stands before the name in the path, with their indexes. */
export function recordsAt(root: Place, paths: Iterable<string>): Map<string, readonly BlindIndex[]> {
  const records = new Map<string, readonly BlindIndex[]>()
  if (!root.hasIndexes) return records
  for (const path of paths) {
    const segments = path.split('.').slice(0, -1)
    const at = segments.reduce<Place | undefined>(step, root)
    if (at && at.indexes.length > 0) records.set(segments.map((segment) => `${segment}.`).join(''), at.indexes)
  }
  return records
}

/**
 * Looks over a record, or what the operand of `$set` has of one, once its values are boxes.
 *
 * @param prefix what stands before the names in the holder
 * @param clear is told of each path of index values whose field is set to nothing; a whole record needs it not
 * @throws {OperationError} WRITE_REFUSED for an envelope without its index value, UPDATE_REFUSED; {RecordError} STORED_PATH_ASSIGNED for an
 *   index value without an envelope
 */
export function checkIndexed(
  indexes: readonly BlindIndex[],
  holder: Plain,
  prefix: string,
  place: string,
  clear?: (path: string) => void,
): void {
  for (const { fields, path } of indexes) {
    const names = fields.map((name) => `${prefix}${name}`)
    const values = names.map((name) => holder[name])
    const stored = names.filter((_name, index) => isStored(values[index]))
    if (stored.length > 0) {
      if (stored.length === names.length && isIndexValue(holder[`${prefix}${path}`])) continue
      throw new OperationError(
        'WRITE_REFUSED',
        `${place}: ${stored.join(', ')} is given as it is stored, encrypted, without ${prefix}${path}, by which it is found. Give all as it was ` +
          'stored, or the values themselves.',
      )
    }
    if (values.every((value) => value instanceof Box)) continue
    if (holder[`${prefix}${path}`] !== undefined) throw keysAssigned(place, `${prefix}${path}`)
    if (clear) clearEmpty(names, holder, place, () => clear(`${prefix}${path}`))
  }
}

function clearEmpty(names: readonly string[], holder: Plain, place: string, clear: () => void): void {
  for (const name of names) {
    if (!Object.hasOwn(holder, name) || holder[name] instanceof Box) continue
    // By an option of the driver's, which is not known here, it is stored as null or left out.
    if (holder[name] === undefined) {
      throw new OperationError(
        'UPDATE_REFUSED',
        `${place}: ${name} is undefined. Give null, or use $unset, to take it away.`,
      )
    }
    clear()
  }
}

/** Whether what stands at a field is stored as it is. */
function isStored(value: unknown): boolean {
  return !(value instanceof Box) && (value ?? null) !== null
}

/** One index value, or those of several versions. */
function isIndexValue(value: unknown): boolean {
  const each = Array.isArray(value) ? value : [value]
  return each.length > 0 && each.every((one) => isLong(bytesOf(one)))
}

function isLong(bytes: Uint8Array | undefined): boolean {
  return bytes !== undefined && bytes.length > 0 && bytes.length <= fullBits / 8
}
