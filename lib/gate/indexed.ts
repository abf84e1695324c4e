import { OperationError } from '../errors'
import { bytesOf } from '../format/entry'
import type { Plain } from '../mongoose/host'
import { Box } from '../schema/box'
import type { Place } from '../schema/layout'
import { indexValueLength } from '../search/value'
import { keysAssigned } from './refusals'

/**
 * What is written at an indexed field, and what at its index value, belong together: a value brings its own when it is sealed, an envelope
 * that is put back must bring the one it had, and without a value there is none.
 */

/** The paths of the index values of a record, by those of the fields. */
export function indexPathsOf(root: Place): Map<string, string> {
  const paths = new Map<string, string>()
  for (const [path, { indexOf }] of root.children) for (const { name } of indexOf) paths.set(name, path)
  return paths
}

/**
 * Looks over a record, or the operand of `$set`, once its values are boxes.
 *
 * @param clear is told of each field that is set to nothing
 * @throws {OperationError} WRITE_REFUSED for an envelope without its index value, UPDATE_REFUSED; {RecordError} STORED_PATH_ASSIGNED for an
 *   index value without an envelope
 */
export function checkIndexed(
  paths: ReadonlyMap<string, string>,
  holder: Plain,
  place: string,
  clear?: (path: string) => void,
): void {
  for (const [name, path] of paths) {
    const value = holder[name]
    if (value instanceof Box) continue
    if ((value ?? null) !== null) {
      if (bytesOf(holder[path])?.length === indexValueLength) continue
      throw new OperationError(
        'WRITE_REFUSED',
        `${place}: ${name} is given as it is stored, encrypted, without ${path}, by which it is found. Give both as they were stored, or the ` +
          'value itself.',
      )
    }
    if (holder[path] !== undefined) throw keysAssigned(place, path)
    if (!clear || !Object.hasOwn(holder, name)) continue
    // By an option of the driver's, which is not known here, it is stored as null or left out.
    if (value === undefined) {
      throw new OperationError(
        'UPDATE_REFUSED',
        `${place}: ${name} is undefined. Give null, or use $unset, to take it away.`,
      )
    }
    clear(path)
  }
}
