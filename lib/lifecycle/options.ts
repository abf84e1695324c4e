import { ConfigurationError } from '../errors'
import type { AnyModel, Plain } from '../mongoose/host'
import { isPlainObject } from '../mongoose/plain'
import { concurrencyOf } from '../record/decrypting'
import type { JobOptions } from '../schema/jobs'
import { isCount } from '../schema/use'

/** The options of a job, with their defaults. */
type Checked = JobOptions & { readonly filter: Plain; readonly concurrency: number; readonly batchSize: number }

/** @throws {ConfigurationError} OPTION_INVALID */
export function checkOptions({ model, name }: { model: AnyModel; name: string }, options: JobOptions = {}): Checked {
  const invalid = (fault: string) => new ConfigurationError('OPTION_INVALID', `${name}: ${fault}.`)
  if (Object(options) !== options) throw invalid('expected an object of options')
  const {
    filter = {},
    concurrency = concurrencyOf(model),
    batchSize = 100,
    signal,
    onProgress,
    resume,
    ...others
  } = options
  const [unknown] = Object.keys(others)
  if (unknown !== undefined) throw invalid(`there is no option ${unknown}`)
  if (!isPlainObject(filter)) throw invalid('filter: expected an object of conditions')
  for (const [option, value] of Object.entries({ concurrency, batchSize }))
    if (!isCount(value)) throw invalid(`${option}: expected a positive integer, at most 2147483647`)
  if (signal !== undefined && typeof signal?.aborted !== 'boolean') throw invalid('signal: expected an AbortSignal')
  if (onProgress !== undefined && typeof onProgress !== 'function') throw invalid('onProgress: expected a function')
  return { filter, concurrency, batchSize, signal, onProgress, resume }
}
