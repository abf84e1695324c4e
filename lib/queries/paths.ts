import { fieldAt, follow, type Place } from '../schema/layout'
import { refused, refusedKeys } from './refusals'
import { entriesOf, itemsOf } from './values'

/**
 * Refuses a path that leads to an encrypted field or its index values, or below one: of `distinct()`, or of a stage that reads or sets it.
 *
 * @throws {OperationError} QUERY_REFUSED
 */
export function checkPath(root: Place, path: unknown, place: string): void {
  checkField(root, path, place)
  if (typeof path === 'string' && follow(root, path)?.place.indexOf.length) throw refusedKeys(place, path)
}

/** The same of a stage that takes along what stands there, or leaves it out: index values can be. */
export function checkField(root: Place, path: unknown, place: string): void {
  if (typeof path === 'string' && fieldAt(root, path)) throw refused(place, path)
}

/**
 * Refuses to sort by an encrypted field.
 *
 * @param sort in any form that Mongoose or the driver takes: an object, a Map, a list of pairs or of paths, or `'email -name'`
 * @throws {OperationError} QUERY_REFUSED
 */
export function checkSort(root: Place, sort: unknown, place: string): void {
  if (sort === undefined || sort === null) return
  if (typeof sort === 'string') {
    for (const path of sort.split(/\s+/)) checkPath(root, path.replace(/^[+-]/, ''), place)
    return
  }
  for (const item of itemsOf(sort) ?? []) checkSort(root, item, place)
  for (const [path] of entriesOf(sort) ?? []) checkPath(root, path.replace(/^[+-]/, ''), place)
}
