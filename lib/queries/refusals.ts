import { OperationError } from '../errors'

/** A comparison with an encrypted value, in whatever way a query asks for it. */
export function refused(place: string, path: string): OperationError {
  return new OperationError(
    'QUERY_REFUSED',
    `${place}: ${path} is stored encrypted, so MongoDB cannot compare or sort it. Whether it is there can be asked, by null ` +
      'or $exists. Find records by a field in the clear, and compare after decrypting.',
  )
}

/** A comparison with wrapped keys. */
export function refusedKeys(place: string, path: string): OperationError {
  return new OperationError(
    'QUERY_REFUSED',
    `${place}: ${path} holds wrapped keys, which nothing compares. Whether they are there can be asked, by null or $exists.`,
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
