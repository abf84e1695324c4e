import { ConfigurationError } from '../errors'
import type { AnyModel, Plain } from '../mongoose/host'
import { castFilter } from '../mongoose/model'
import { isPlainObject, toPlain } from '../mongoose/plain'
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

/** @throws {ConfigurationError} OPTION_INVALID, also where the filter names paths that the schema does not have */
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
  // A copy is cast, for Mongoose takes out of lists in place.
  const lost = lostFrom(filter, castFilter(model, toPlain(filter) as Plain))
  if (lost !== undefined)
    throw invalid(
      `filter: ${lost} would be left out, for it is undefined or no path of the schema, and more records be meant than are asked for`,
    )
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

/** The path of a condition that Mongoose leaves out, for the schema does not know it, or the driver, for it is undefined. */
function lostFrom(given: unknown, kept: unknown, path: string[] = []): string | undefined {
  if (given === undefined) return path.join('.')
  if (!isPlainObject(given) && !Array.isArray(given)) return undefined
  // What is cast to another shape is there still.
  const isComparable = Array.isArray(given) ? Array.isArray(kept) : isPlainObject(kept)
  for (const [key, value] of Object.entries(given)) {
    const own = [...path, key]
    if (isComparable && value !== undefined && !Object.hasOwn(kept as Plain, key)) return own.join('.')
    const lost = lostFrom(value, (kept as Plain | undefined)?.[key], own)
    if (lost !== undefined) return lost
  }
  return undefined
}
