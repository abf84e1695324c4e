import { ConfigurationError } from '../errors'
import { readyFilter } from '../gate/lookup'
import { gateOf } from '../gate/passes'
import { Limiter } from '../kms/limiter'
import { type AnyModel, hostOf, type Plain } from '../mongoose/host'
import { castFilter } from '../mongoose/model'
import { isPlainObject } from '../mongoose/plain'
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
  /**
   * Finds the records that there is something to do for. Where that depends on when the job began, it is a function of it, and a checkpoint
   * holds that as well: then who goes on with the job finds the same.
   */
  readonly condition: Plain | ((startedAt: Date) => Plain)
  /** Does what is needed once, before the first record; where that fails, so does the job. */
  begin(): Promise<unknown>
  /**
   * Does it for one record.
   *
   * @param stored all of the record, as it was when it was read
   * @param startedAt when the job began; for one that goes on, when it did first
   * @returns whether it changed anything, or what is wrong with the record, where that may be in several places
   */
  run(stored: Plain, startedAt: Date): Promise<boolean | readonly Fault[]>
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
  const { startedAt, after, checkpointAt } = resumed(job, resume)
  const counts = { processed: 0, updated: 0, unchanged: 0, failed: 0 }
  const failures: JobFailure[] = []
  let checkpoint = resume
  let interrupted = false
  const progress = (): JobProgress => ({ ...counts, checkpoint })
  const limiter = new Limiter(concurrency, Number.POSITIVE_INFINITY)
  /** Nothing, where it was not begun: then none behind it was, for they are begun in their order. */
  const work = (stored: Plain) =>
    limiter.run(async () => (signal?.aborted ? undefined : runFor(job, stored, startedAt)))
  // Twice what runs at once: while one record is waited for, those after it are not.
  for await (const settled of readAhead(recordsOf(job, startedAt, filter, batchSize, after), 2 * concurrency, work)) {
    const [done] = valuesOf([settled])
    interrupted = done === undefined
    if (!done) break
    counts.processed++
    counts[done.became]++
    failures.push(...done.failures.slice(0, keptFailures - failures.length))
    checkpoint = checkpointAt(done.id)
    if (counts.processed % batchSize === 0) await onProgress?.(progress())
  }
  if (counts.processed % batchSize !== 0) await onProgress?.(progress())
  return { ...progress(), failures, interrupted }
}

/** The checkpoint of a job whose condition depends on when it began. */
interface Checkpoint {
  readonly startedAt: Date
  readonly id: unknown
}

function isCheckpoint(value: unknown): value is Checkpoint {
  return isPlainObject(value) && value.startedAt instanceof Date
}

/** Where a job goes on, and what its checkpoints are. */
function resumed({ name, condition }: Job, resume: unknown) {
  const isTimed = typeof condition === 'function'
  if (isTimed && resume !== undefined && !isCheckpoint(resume))
    throw new ConfigurationError('OPTION_INVALID', `${name}: resume: expected the checkpoint of an earlier run.`)
  const { startedAt, id } =
    isTimed && isCheckpoint(resume) ? resume : { startedAt: new Date(), id: isTimed ? undefined : resume }
  return { startedAt, after: id, checkpointAt: (last: unknown) => (isTimed ? { startedAt, id: last } : last) }
}

/** What has become of a record. */
interface Done {
  readonly id: unknown
  readonly became: 'updated' | 'unchanged' | 'failed'
  readonly failures: readonly JobFailure[]
}

async function runFor(job: Job, stored: Plain, startedAt: Date): Promise<Done> {
  const id: unknown = stored._id
  const outcome = await outcomeOf(job.run(stored, startedAt))
  if (outcome.status === 'rejected') return { id, became: 'failed', failures: [{ id, error: outcome.reason }] }
  if (typeof outcome.value === 'boolean') return { id, became: outcome.value ? 'updated' : 'unchanged', failures: [] }
  return { id, became: outcome.value.length > 0 ? 'failed' : 'unchanged', failures: failuresOf(id, outcome.value) }
}

/** The records in batches, each of a query of its own: however long one batch takes, no cursor of the server's expires. */
function recordsOf(...args: Parameters<typeof readBatches>) {
  const records = readBatches(...args)
  return { next: () => records.next(), close: () => records.return() }
}

async function* readBatches(
  { model, name, condition, begin }: Job,
  startedAt: Date,
  filter: Plain,
  batchSize: number,
  after: unknown,
): AsyncGenerator<Plain, void, undefined> {
  const gate = gateOf(model.collection)
  const asked = await readyFilter(gate, castFilter(model, filter), name, undefined, gate.layout)
  const due = typeof condition === 'function' ? condition(startedAt) : condition
  let last = after
  for (let isFirst = true; ; isFirst = false) {
    const conditions = [asked, due, ...(last === undefined ? [] : [behind(hostOf(model.schema), last)])]
    const cursor = await gate.native.find({ $and: conditions }, { sort: { _id: 1 }, limit: batchSize })
    const batch: Plain[] = await cursor.toArray()
    if (isFirst && batch.length > 0) await begin()
    yield* batch
    if (batch.length < batchSize) return
    last = batch.at(-1)?._id
  }
}
