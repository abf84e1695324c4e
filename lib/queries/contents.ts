import { Box } from '../schema/box'
import { follow, isPositionOfNone, type Place } from '../schema/layout'
import { pathBelow, refuseAt, refusedBox } from './refusals'
import { entriesOf, itemsOf } from './values'

/**
 * Looks through a value that MongoDB is to compare as a whole with what stands at a place: `{ label: 'home', phone: 'x' }`
 * compares an encrypted phone as well. At no place at all, only boxes are looked for.
 *
 * @throws {OperationError} QUERY_REFUSED when it holds anything but null where the place has an encrypted field
 */
export function checkContents(place: string, at: Place | undefined, path: string, value: unknown): void {
  if (value instanceof Box) throw refusedBox(place, path)
  const items = itemsOf(value)
  for (const item of items ?? []) {
    checkContents(place, at, path, item)
    // An upsert would store a list where a map is.
    if (at?.any && !at.isArray) checkContents(place, at.any, path, item)
  }
  for (const [key, item] of (items ? undefined : entriesOf(value)) ?? []) {
    const inner = pathBelow(path, key)
    // An upsert would store what stands below a position where no array is.
    const isPosition = at !== undefined && path !== '' && isPositionOfNone(at, key)
    const within = isPosition ? at : at && follow(at, key)?.place
    if (item !== null && item !== undefined) refuseAt(within, place, inner)
    checkContents(place, within, inner, item)
  }
}
