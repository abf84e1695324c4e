import { createHash } from 'node:crypto'
import { ConfigurationError, OperationError } from '../errors'
import { readyFilter } from '../gate/lookup'
import { gateOf } from '../gate/passes'
import { type AnyModel, hostOf, type Plain } from '../mongoose/host'
import { ambientSession, castFilter } from '../mongoose/model'
import { isPlainObject } from '../mongoose/plain'
import { readAhead } from '../record/cursors'
import type { Send } from '../record/rewriting'
import type { JobFailure, JobOptions, JobProgress, JobResult, Partition, VerifyFailure } from '../schema/jobs'
import { checkOptions } from './options'
import { behind, notBehind } from './order'
import { isThrottled, Pace } from './pace'
import { type Lease, peekPart, type Share, takePart } from './parts'
import { sendingTogether } from './sending'

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
   * @param send sends an update of it, together with those of others
   * @returns whether it changed anything, or what is wrong with the record, where that may be in several places
   */
  run(stored: Plain, startedAt: Date, send: Send): Promise<boolean | readonly Fault[]>
  /** How many calls to the KMS that takes, as far as can be told without one. */
  calls(stored: Plain, startedAt: Date): number
  /** What beside the filter tells one run of the job from another: who goes on with it has the same. */
  readonly scope?: Plain
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
 * @throws {ConfigurationError} OPTION_INVALID; {OperationError} WRITE_REFUSED in a transaction; {JobError} JOB_RUNNING, LEASE_LOST; whatever
 *   `begin`, `onProgress` or the reading of records fails with
 */
export async function runJob(job: Job, given: JobOptions | undefined): Promise<JobResult> {
  const options = checkOptions(job, given)
  requireNoTransaction(job)
  const { partition, leaseMs, resume, filter, dryRun } = options
  if (dryRun) return tryOut(job, options)
  if (!partition) return run(job, options, stretchFrom(job, resume), resume)
  const part = await takePart(await shareOf(job, filter, partition), leaseMs)
  try {
    const result = part.isOver ? nothing : await run(job, options, part, undefined)
    part.lease.requireHeld()
    if (!result.interrupted) await part.end()
    return result
  } finally {
    // What is wrong with the database by now is told already, or does no harm: the lease expires.
    await part.lease.release().catch(() => {})
  }
}

const none = { processed: 0, updated: 0, unchanged: 0, failed: 0 }
const nothing: JobResult = { ...none, checkpoint: undefined, failures: [], interrupted: false }

/** One that the asynchronous context passes on would have its writes, and neither its reads nor its checkpoints. */
function requireNoTransaction({ model, name }: Job): void {
  if (!ambientSession(model)) return
  throw new OperationError(
    'WRITE_REFUSED',
    `${name}: a job over a collection cannot be part of a transaction. Call it outside; the method of a document can be part of one.`,
  )
}

/** Goes over the same records, and only counts. */
async function tryOut(job: Job, options: ReturnType<typeof checkOptions>): Promise<JobResult> {
  const { partition, resume, filter } = options
  const part = partition && (await peekPart(await shareOf(job, filter, partition)))
  let kmsCalls = 0
  const counting: Job = {
    ...job,
    begin: async () => {},
    run: async (stored, startedAt) => {
      kmsCalls += job.calls(stored, startedAt)
      return false
    },
  }
  const stretch = part ?? stretchFrom(job, resume)
  const result = part?.isOver ? nothing : await run(counting, options, stretch, partition ? undefined : resume)
  return { ...result, kmsCalls }
}

/** The records that are gone over: of a collection, or of a part of it. */
interface Stretch {
  readonly startedAt: Date
  readonly after: unknown
  readonly upTo?: unknown
  /** Whether it goes on where another run was stopped. */
  readonly isResumed: boolean
  readonly lease?: Lease
}

/** What workers share of a job: those with another filter have another one. */
async function shareOf(job: Job, filter: Plain, partition: Partition): Promise<Share> {
  const { model, name, scope } = job
  const [asked] = await conditionsFor(job, filter, new Date())
  const only = { ...(Object.keys(asked as Plain).length > 0 && { filter: asked }), ...scope }
  const digest = createHash('sha256').update(hostOf(model.schema).serialize(only)).digest('hex').slice(0, 8)
  return {
    model,
    name: Object.keys(only).length > 0 ? `${name} ${digest}` : name,
    partition,
    divide: async (startedAt) => boundsOf(model, await conditionsFor(job, filter, startedAt), partition.of),
  }
}

async function run(
  job: Job,
  { filter, concurrency, batchSize, signal, onProgress, onBegin, onFailure }: ReturnType<typeof checkOptions>,
  stretch: Stretch,
  resume: unknown,
): Promise<JobResult> {
  const { startedAt, lease } = stretch
  const counts = { ...none }
  const failures: JobFailure[] = []
  let checkpoint = resume
  let last: unknown
  let interrupted = false
  const progress = (): JobProgress => ({ ...counts, checkpoint })
  const tell = async () => {
    await lease?.save(startedAt, last)
    await onProgress?.(progress())
  }
  const pace = new Pace(concurrency, signal)
  const isStopped = () => signal?.aborted || lease?.isLost
  /** Gives nothing, or fails, where it was not done: then whoever goes on begins with it. */
  const send = sendingTogether(concurrency)
  const work = (stored: Plain) => pace.run(async () => (isStopped() ? undefined : runFor(job, stored, startedAt, send)))
  const conditions = withinStretch(job, await conditionsFor(job, filter, startedAt), stretch)
  if (onBegin) {
    const left = leftOf(job, conditions, stretch.after)
    const total: number = await gateOf(job.model.collection).native.countDocuments({ $and: left })
    await onBegin({ total, checkpoint: stretch.isResumed ? checkpointOf(job, startedAt, stretch.after) : undefined })
  }
  const records = recordsOf(job, conditions, batchSize, stretch.after, pace)
  // Twice what runs at once: while one record is waited for, those after it are not.
  for await (const settled of readAhead(records, 2 * concurrency, work)) {
    const done = settled.status === 'fulfilled' ? settled.value : undefined
    interrupted = done === undefined
    if (!done) break
    counts.processed++
    counts[done.became]++
    failures.push(...done.failures.slice(0, keptFailures - failures.length))
    if (onFailure) for (const failure of done.failures) await onFailure(failure)
    last = done.id
    checkpoint = checkpointOf(job, startedAt, last) ?? checkpoint
    if (counts.processed % batchSize === 0) await tell()
  }
  if (counts.processed % batchSize !== 0) await tell()
  return { ...progress(), failures, interrupted }
}

async function conditionsFor({ model, name, condition }: Job, filter: Plain, startedAt: Date): Promise<Plain[]> {
  const gate = gateOf(model.collection)
  const asked = await readyFilter(gate, castFilter(model, filter), name, undefined, gate.layout)
  return [asked as Plain, typeof condition === 'function' ? condition(startedAt) : condition]
}

/** Where parts of about as many records meet: the last `_id` of each but the last. */
async function boundsOf(model: AnyModel, conditions: readonly Plain[], of: number): Promise<unknown[]> {
  const { native } = gateOf(model.collection)
  const total: number = of === 1 ? 0 : await native.countDocuments({ $and: conditions })
  const bounds: unknown[] = []
  for (let index = 1; index < of; index++) {
    const size = Math.floor((index * total) / of) - Math.floor(((index - 1) * total) / of)
    if (size === 0) continue
    const beyond = bounds.length > 0 ? [behind(hostOf(model.schema), bounds.at(-1))] : []
    const found = native.find(
      { $and: [...conditions, ...beyond] },
      { sort: { _id: 1 }, skip: size - 1, limit: 1, projection: { _id: 1 } },
    )
    // Some may be gone by now.
    for (const { _id } of (await found.toArray()) as Plain[]) bounds.push(_id)
  }
  return bounds
}

/** The checkpoint of a job whose condition depends on when it began. */
interface Checkpoint {
  readonly startedAt: Date
  readonly id: unknown
}

function isCheckpoint(value: unknown): value is Checkpoint {
  return isPlainObject(value) && value.startedAt instanceof Date
}

/** What is left after a checkpoint that the caller has. */
function stretchFrom({ name, condition }: Job, resume: unknown): Stretch {
  const isResumed = resume !== undefined
  if (typeof condition !== 'function' || !isResumed) return { startedAt: new Date(), after: resume, isResumed }
  if (isCheckpoint(resume)) return { startedAt: resume.startedAt, after: resume.id, isResumed }
  throw new ConfigurationError('OPTION_INVALID', `${name}: resume: expected the checkpoint of an earlier run.`)
}

/** The checkpoint behind a record; none where it would say something else: as `resume`, true means that it is in the database. */
function checkpointOf({ condition }: Job, startedAt: Date, id: unknown): unknown {
  if (typeof condition === 'function') return { startedAt, id } satisfies Checkpoint
  return id === true ? undefined : id
}

/** What has become of a record. */
interface Done {
  readonly id: unknown
  readonly became: 'updated' | 'unchanged' | 'failed'
  readonly failures: readonly JobFailure[]
}

/** @throws {KeyProviderError} KMS_THROTTLED alone: then it was not done, and what else a record fails with is told of */
async function runFor(job: Job, stored: Plain, startedAt: Date, send: Send): Promise<Done> {
  const id: unknown = stored._id
  let failures: readonly JobFailure[]
  try {
    const result = await job.run(stored, startedAt, send)
    if (typeof result === 'boolean') return { id, became: result ? 'updated' : 'unchanged', failures: [] }
    failures = failuresOf(id, result)
  } catch (error) {
    failures = [{ id, error }]
  }
  const throttled = failures.find(({ error }) => isThrottled(error))
  if (throttled) throw throttled.error
  return { id, became: failures.length > 0 ? 'failed' : 'unchanged', failures }
}

/** The records in batches, each of a query of its own: however long one batch takes, no cursor of the server's expires. */
function recordsOf(...args: Parameters<typeof readBatches>) {
  const records = readBatches(...args)
  return { next: () => records.next(), close: () => records.return() }
}

async function* readBatches(
  job: Job,
  conditions: readonly Plain[],
  batchSize: number,
  after: unknown,
  pace: Pace,
): AsyncGenerator<Plain, void, undefined> {
  const { native } = gateOf(job.model.collection)
  let last = after
  for (let isFirst = true; ; isFirst = false) {
    const $and = leftOf(job, conditions, last)
    const batch: Plain[] = await (await native.find({ $and }, { sort: { _id: 1 }, limit: batchSize })).toArray()
    if (isFirst && batch.length > 0) await pace.run(() => job.begin())
    yield* batch
    if (batch.length < batchSize) return
    last = batch.at(-1)?._id
  }
}

function withinStretch({ model }: Job, conditions: readonly Plain[], { upTo }: Stretch): readonly Plain[] {
  return upTo === undefined ? conditions : [...conditions, notBehind(hostOf(model.schema), upTo)]
}

function leftOf({ model }: Job, conditions: readonly Plain[], last: unknown): readonly Plain[] {
  return last === undefined ? conditions : [...conditions, behind(hostOf(model.schema), last)]
}
