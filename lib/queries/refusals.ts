import { OperationError } from '../errors'
import type { Place } from '../schema/layout'

/** The path of a key, for messages. */
export function pathBelow(path: string, key: string): string {
  return path === '' ? key : `${path}.${key}`
}

/** Refuses to compare what stands at a place, if that is encrypted or holds wrapped keys. */
export function refuseAt(at: Place | undefined, place: string, path: string): void {
  if (at?.fields.length) throw refused(place, path)
  if (at?.keysOf.length) throw refusedKeys(place, path)
}

/** A comparison with an encrypted value, in whatever way a query asks for it. */
export function refused(place: string, path: string): OperationError {
  return new OperationError(
    'QUERY_REFUSED',
    `${place}: ${path} is stored encrypted, so MongoDB cannot compare or sort it. Whether it is there can be asked, by null ` +
      'or $exists. Find records by a field in the clear, and compare after decrypting.',
  )
}

/** A comparison with an indexed field that is more than one of equality. */
export function refusedBeyondEquality(place: string, path: string): OperationError {
  return new OperationError(
    'QUERY_REFUSED',
    `${place}: ${path} is found by its blind index, which knows equal values alone: by a value, $eq, $ne, $in, $nin or $not of these, and by null ` +
      'or $exists. Ranges and patterns need the value itself: compare after decrypting.',
  )
}

/** A comparison of an indexed field with nothing: by options of the driver, that would be null, or no condition at all. */
export function refusedUndefined(place: string, path: string): OperationError {
  return new OperationError(
    'QUERY_REFUSED',
    `${place}: ${path} is asked for undefined, as where a value that was to come is missing. Ask for a value, or for null.`,
  )
}

/** A comparison with an indexed field after a stage that may have parted it from its index values. */
export function refusedTouched(place: string, path: string): OperationError {
  return new OperationError(
    'QUERY_REFUSED',
    `${place}: ${path} is found by its blind index, and a stage before this one may have taken away, set or mixed one of both. Have the $match come ` +
      'before it.',
  )
}

/** A comparison of an indexed field with another path, or with that of another model. */
export function refusedJoin(place: string, path: string): OperationError {
  return new OperationError(
    'QUERY_REFUSED',
    `${place}: ${path} is found by its blind index, and index values can be compared only with those of the same field of the same model. Join ` +
      'by a path in the clear, such as _id, or by a $match within a pipeline that asks for a value.',
  )
}

/** A comparison with a field that several models index. */
export function refusedSeveral(place: string, path: string): OperationError {
  return new OperationError(
    'QUERY_REFUSED',
    `${place}: several models of this collection index ${path}, each in its own way. Declare the field in the model that they are ` +
      'discriminators of.',
  )
}

/** A comparison with a field that an index knows together with others alone. */
export function refusedAlone(place: string, path: string, fields: readonly string[]): OperationError {
  return new OperationError(
    'QUERY_REFUSED',
    `${place}: ${path} is found by a blind index over ${fields.join(', ')} together. Ask in one object for one value of each of them.`,
  )
}

/** A comparison with several fields of any elements of an array, which an index knows of one element. */
export function refusedApart(place: string, path: string, fields: readonly string[]): OperationError {
  return new OperationError(
    'QUERY_REFUSED',
    `${place}: asked like this, ${fields.join(', ')} may be those of several elements of ${path}, and a blind index finds them in one. Ask by ` +
      '$elemMatch, or at a position.',
  )
}

/** A comparison with an index that is shortened, where nothing can be looked at again. */
export function refusedShortened(place: string, path: string): OperationError {
  return new OperationError(
    'QUERY_REFUSED',
    `${place}: ${path} is found by an index that is shortened to some bits and finds other values, too, and here nothing can be decrypted to tell ` +
      'them apart. Find the records before, or ask for approximate(value) and compare after decrypting.',
  )
}

/** A comparison with wrapped keys. */
export function refusedKeys(place: string, path: string): OperationError {
  return new OperationError(
    'QUERY_REFUSED',
    `${place}: ${path} holds wrapped keys or index values of this library, which no query of yours compares. Whether they are there can be asked, ` +
      'by null or $exists; values by the field itself.',
  )
}

/** The value of an encrypted field, as a document holds it, somewhere in a query. */
export function refusedBox(place: string, path: string): OperationError {
  const where = path === '' ? 'the query' : path
  return new OperationError(
    'QUERY_REFUSED',
    `${place}: ${where} was given the value of an encrypted field, which MongoDB cannot compare with anything. Find records by a ` +
      'field in the clear, and compare after decrypting.',
  )
}
