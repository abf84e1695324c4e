import { RecordError } from '../errors'

/** The error for a write to where wrapped keys or index values are stored. */
export function keysAssigned(place: string, path: string): RecordError {
  return new RecordError(
    'STORED_PATH_ASSIGNED',
    `${place}: ${path} holds wrapped keys or index values, which only the library writes: without them the record cannot be read, or not be found.`,
  )
}
