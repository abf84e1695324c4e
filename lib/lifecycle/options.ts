import { ConfigurationError } from '../errors'
import type { AnyModel, Plain } from '../mongoose/host'
import { isPlainObject } from '../mongoose/plain'
import { concurrencyOf } from '../record/decrypting'
import type { JobOptions, Partition } from '../schema/jobs'
import { isCount } from '../schema/use'

/** The options of a job, with their defaults. */
type Checked = JobOptions & {
  readonly filter: Plain
  readonly concurrency: number
  readonly batchSize: number
  readonly leaseMs: number
  readonly dryRun: boolean
}

/** @throws {ConfigurationError} OPTION_INVALID */
export function checkOptions({ model, name }: { model: AnyModel; name: string }, options: JobOptions = {}): Checked {
  const invalid = (fault: string) => new ConfigurationError('OPTION_INVALID', `${name}: ${fault}.`)
  if (Object(options) !== options) throw invalid('expected an object of options')
  const {
    filter = {},
    concurrency = 2 * concurrencyOf(model),
    batchSize = 100,
    signal,
    onProgress,
    onBegin,
    onFailure,
    dryRun = false,
    resume,
    partition = resume === true ? { index: 0, of: 1 } : undefined,
    leaseMs = 60_000,
    ...others
  } = options
  const [unknown] = Object.keys(others)
  if (unknown !== undefined) throw invalid(`there is no option ${unknown}`)
  if (!isPlainObject(filter)) throw invalid('filter: expected an object of conditions')
  for (const [option, value] of Object.entries({ concurrency, batchSize, leaseMs }))
    if (!isCount(value)) throw invalid(`${option}: expected a positive integer, at most 2147483647`)
  if (signal !== undefined && typeof signal?.aborted !== 'boolean') throw invalid('signal: expected an AbortSignal')
  for (const [option, value] of Object.entries({ onProgress, onBegin, onFailure }))
    if (value !== undefined && typeof value !== 'function') throw invalid(`${option}: expected a function`)
  if (typeof dryRun !== 'boolean') throw invalid('dryRun: expected true or false')
  if (partition !== undefined && !isPartition(partition))
    throw invalid(
      'partition: expected { index, of }, two integers, such as { index: 0, of: 4 } for the first of four parts',
    )
  if (partition !== undefined && resume !== undefined && resume !== true)
    throw invalid('resume: a part goes on after the checkpoint that is in the database: give true, or nothing')
  return {
    ...{ filter, concurrency, batchSize, signal, resume, partition, leaseMs, dryRun },
    ...{ onProgress, onBegin, onFailure },
  }
}

function isPartition(value: unknown): value is Partition {
  if (!isPlainObject(value)) return false
  const { index, of, ...others } = value
  return (
    Number.isInteger(index) &&
    isCount(of) &&
    (index as number) >= 0 &&
    (index as number) < of &&
    Object.keys(others).length === 0
  )
}
