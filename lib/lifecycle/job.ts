import { readyFilter } from '../gate/lookup'
import { gateOf } from '../gate/passes'
import { Limiter } from '../kms/limiter'
import { type AnyModel, hostOf, type Plain } from '../mongoose/host'
import { castFilter } from '../mongoose/model'
import { readAhead } from '../record/cursors'
import { outcomeOf, valuesOf } from '../record/outcomes'
import type { JobFailure, JobOptions, JobProgress, JobResult, VerifyFailure } from '../schema/jobs'
import { checkOptions } from './options'
import { behind } from './order'

/**
 * The room of jobs over a collection. Comes in: which records there is something to do for, and what; goes out: what became of them, and up
 * to which `_id` all is done. Keeps invariant 4 of the design: a record that fails is reported, and keeps no other from being done.
 */
export interface Job {
  readonly model: AnyModel
  /** Names it in messages: `User.backfillBlindIndexes()`. */
  readonly name: string
  /** Finds the records that there is something to do for. */
  readonly condition: Plain
  /** Does what is needed once, before the first record; where that fails, so does the job. */
  begin(): Promise<unknown>
  /**
   * Does it for one record.
   *
   * @param stored all of the record, as it was when it was read
   * @returns whether it changed anything, or what is wrong with the record, where that may be in several places
   */
  run(stored: Plain): Promise<boolean | readonly Fault[]>
}

/** What is wrong with a record, and where in it. */
export interface Fault {
  readonly path: string
  readonly error: unknown
}

/** The same as the result of a job tells it. */
export function failuresOf(id: unknown, faults: readonly Fault[]): VerifyFailure[] {
  return faults.map(({ path, error }) => ({ id, path, code: (error as { code?: string } | null)?.code, error }))
}

/** How many failures are told of. */
const keptFailures = 100

/**
 * Runs a job over the records of its model, in the order of their `_id`.
 *
 * @throws {ConfigurationError} OPTION_INVALID; whatever `begin`, `onProgress` or the reading of records fails with
 */
export async function runJob(job: Job, given: JobOptions | undefined): Promise<JobResult> {
  const { filter, concurrency, batchSize, signal, onProgress, resume } = checkOptions(job, given)
  const counts = { processed: 0, updated: 0, unchanged: 0, failed: 0 }
  const failures: JobFailure[] = []
  let checkpoint = resume
  let interrupted = false
  const progress = (): JobProgress => ({ ...counts, checkpoint })
  const limiter = new Limiter(concurrency, Number.POSITIVE_INFINITY)
  /** Nothing, where it was not begun: then none behind it was, for they are begun in their order. */
  const work = (stored: Plain) => limiter.run(async () => (signal?.aborted ? undefined : runFor(job, stored)))
  // Twice what runs at once: while one record is waited for, those after it are not.
  for await (const settled of readAhead(recordsOf(job, filter, batchSize, resume), 2 * concurrency, work)) {
    const [done] = valuesOf([settled])
    interrupted = done === undefined
    if (!done) break
    counts.processed++
    counts[done.became]++
    failures.push(...done.failures.slice(0, keptFailures - failures.length))
    checkpoint = done.id
    if (counts.processed % batchSize === 0) await onProgress?.(progress())
  }
  if (counts.processed % batchSize !== 0) await onProgress?.(progress())
  return { ...progress(), failures, interrupted }
}

/** What has become of a record. */
interface Done {
  readonly id: unknown
  readonly became: 'updated' | 'unchanged' | 'failed'
  readonly failures: readonly JobFailure[]
}

async function runFor(job: Job, stored: Plain): Promise<Done> {
  const id: unknown = stored._id
  const outcome = await outcomeOf(job.run(stored))
  if (outcome.status === 'rejected') return { id, became: 'failed', failures: [{ id, error: outcome.reason }] }
  if (typeof outcome.value === 'boolean') return { id, became: outcome.value ? 'updated' : 'unchanged', failures: [] }
  return { id, became: outcome.value.length > 0 ? 'failed' : 'unchanged', failures: failuresOf(id, outcome.value) }
}

/** The records in batches, each of a query of its own: however long one batch takes, no cursor of the server's expires. */
function recordsOf(job: Job, filter: Plain, batchSize: number, resume: unknown) {
  const records = readBatches(job, filter, batchSize, resume)
  return { next: () => records.next(), close: () => records.return() }
}

async function* readBatches(
  { model, name, condition, begin }: Job,
  filter: Plain,
  batchSize: number,
  resume: unknown,
): AsyncGenerator<Plain, void, undefined> {
  const gate = gateOf(model.collection)
  const asked = await readyFilter(gate, castFilter(model, filter), name, undefined, gate.layout)
  let last = resume
  for (let isFirst = true; ; isFirst = false) {
    const conditions = [asked, condition, ...(last === undefined ? [] : [behind(hostOf(model.schema), last)])]
    const cursor = await gate.native.find({ $and: conditions }, { sort: { _id: 1 }, limit: batchSize })
    const batch: Plain[] = await cursor.toArray()
    if (isFirst && batch.length > 0) await begin()
    yield* batch
    if (batch.length < batchSize) return
    last = batch.at(-1)?._id
  }
}
