import { nameOf } from '../record/identity'
import { type FieldHere, type Place, step } from '../schema/layout'
import { checkPath } from './paths'
import { refusedJoin } from './refusals'
import { isStored } from './translation'

/** The paths by which records of two collections are joined. */
export interface Join {
  readonly localField: unknown
  readonly foreignField: unknown
}

/**
 * The paths to send in the place of two that are compared with each other: those of index values, where both have such of one field of one
 * model. Of any two others they differ for equal values.
 *
 * @throws {OperationError} QUERY_REFUSED when either is encrypted and there are no such
 */
export function translateJoin(local: Place, foreign: Place, given: Join, place: string): Join {
  const from = indexed(local, given.localField)
  const to = indexed(foreign, given.foreignField)
  if (from && to && isOne(from.here, to.here)) return { localField: from.path, foreignField: to.path }
  if (from) throw refusedJoin(place, String(given.localField))
  if (to) throw refusedJoin(place, String(given.foreignField))
  checkPath(local, given.localField, place)
  checkPath(foreign, given.foreignField, place)
  return given
}

/** Whether equal values of two fields have equal index values. */
function isOne(one: FieldHere, other: FieldHere): boolean {
  return (
    one.field === other.field &&
    one.use === other.use &&
    one.within === other.within &&
    nameOf(one.model) === nameOf(other.model)
  )
}

/** An indexed field at the end of a path, and the path of the index values beside it. */
function indexed(root: Place, path: unknown): { here: FieldHere; path: string } | undefined {
  if (typeof path !== 'string') return undefined
  const above = path.split('.').slice(0, -1)
  const parent = above.reduce<Place | undefined>(step, root)
  const [here, another] = parent?.children.get(path.split('.').at(-1) as string)?.fields ?? []
  const { index } = here?.field ?? {}
  // Of what is shortened, others are found as well.
  if (!here || !index || another || index.isShortened || !isStored(parent, index)) return undefined
  return { here, path: [...above, index.path].join('.') }
}
