import { RecordError } from '../errors'

/** The error for a record that another write has changed meanwhile, with what helps. */
export function recordChanged(
  message: string,
  remedy: NonNullable<RecordError['remedy']>,
  options?: ErrorOptions,
): RecordError {
  return Object.assign(new RecordError('RECORD_CHANGED', message, options), { remedy })
}
