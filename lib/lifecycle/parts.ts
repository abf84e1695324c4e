import { randomUUID } from 'node:crypto'
import { JobError } from '../errors'
import type { AnyModel, Plain } from '../mongoose/host'
import type { Partition } from '../schema/jobs'

/**
 * What jobs keep in the database, in the collection `kms_jobs`: of each run one document with when it began and where its parts meet, and of each
 * part that is under way one with its lease and checkpoint. A run lasts until all of its parts have ended; the next worker begins another one.
 */
interface Run {
  readonly startedAt: Date
  /** The last `_id` of each part but the last one; fewer where there are fewer records. */
  readonly bounds: readonly unknown[]
  /** The parts that have ended. */
  readonly ended: readonly number[]
}

/** A part of a job that this process does, and no other. */
export interface Part extends Found {
  readonly lease: Lease
  /** Notes that all of it is done. */
  end(): Promise<void>
}

/** What is found of a part. */
interface Found {
  readonly startedAt: Date
  /** Behind which `_id` it begins or goes on, if any. */
  readonly after: unknown
  /** With which `_id` it ends, if any. */
  readonly upTo: unknown
  /** Whether there is nothing to do: it has ended before, or there are fewer records than parts. */
  readonly isOver: boolean
  /** Whether it was stopped before, and goes on. */
  readonly isResumed: boolean
}

/** A job that is shared by workers, and which part of it one of them is to do. */
export interface Share {
  readonly model: AnyModel
  /** Names the job, and by that all who share it. */
  readonly name: string
  readonly partition: Partition
  /** Gives the bounds for a run that begins at this time. */
  divide(startedAt: Date): Promise<unknown[]>
}

/**
 * Takes a part of a job for this process.
 *
 * @throws {JobError} JOB_RUNNING while another has it
 */
export async function takePart(share: Share, leaseMs: number): Promise<Part> {
  const { model, name, partition } = share
  const { index, of } = partition
  const jobs = jobsOf(model)
  const lease = new Lease(jobs, partId(share), leaseMs)
  const kept = await lease.take(`${name}: part ${index} of ${of}`)
  try {
    const found = foundOf(await currentRun(jobs, share), kept, partition)
    const run = { _id: runId(share), startedAt: found.startedAt }
    return { ...found, lease, end: async () => void (await jobs.updateOne(run, { $addToSet: { ended: index } })) }
  } catch (error) {
    await lease.release()
    throw error
  }
}

/** Tells what taking a part would find, and takes nothing. */
export async function peekPart(share: Share): Promise<Found> {
  const { model, partition } = share
  const jobs = jobsOf(model)
  const known: Run | null = await jobs.findOne({ _id: runId(share) }, primary)
  const kept: Kept | null = await jobs.findOne({ _id: partId(share) }, primary)
  const run = known && isUnderWay(known, partition) ? known : await newRun(share, known)
  return foundOf(run, kept ?? {}, partition)
}

const primary = { readPreference: 'primary' }

/** What is kept of a part: when its run began, and how far it came. */
interface Kept {
  readonly startedAt?: Date
  readonly checkpoint?: unknown
}

function foundOf({ startedAt, bounds, ended }: Run, kept: Kept, { index }: Partition): Found {
  const isResumed = kept.startedAt?.getTime() === startedAt.getTime() && 'checkpoint' in kept
  return {
    startedAt,
    after: isResumed ? kept.checkpoint : bounds[index - 1],
    upTo: bounds[index],
    isOver: ended.includes(index) || index > bounds.length,
    isResumed,
  }
}

function jobId({ model, name }: Share): string {
  return `${model.collection.name} ${name}`
}

function runId(share: Share): string {
  return `${jobId(share)} /${share.partition.of}`
}

function partId(share: Share): string {
  return `${jobId(share)} ${share.partition.index}/${share.partition.of}`
}

/** All that take a part of a run have the same one, whoever was the first. */
async function currentRun(jobs: Jobs, share: Share): Promise<Run> {
  const _id = runId(share)
  while (true) {
    const known: Run | null = await jobs.findOne({ _id }, primary)
    if (known && isUnderWay(known, share.partition)) return known
    const run = await newRun(share, known)
    if (known) await jobs.updateOne({ _id, startedAt: known.startedAt }, { $set: run })
    else await jobs.insertOne({ _id, ...run }).catch(ignoreDuplicate)
  }
}

function isUnderWay(run: Run, { of }: Partition): boolean {
  return run.ended.length < of
}

async function newRun({ divide }: Share, before: Run | null): Promise<Run> {
  const startedAt = new Date(Math.max(Date.now(), before ? before.startedAt.getTime() + 1 : 0))
  return { startedAt, bounds: await divide(startedAt), ended: [] }
}

function ignoreDuplicate(error: unknown): void {
  if (!isDuplicate(error)) throw error
}

function isDuplicate(error: unknown): boolean {
  return (error as { code?: unknown } | null)?.code === 11000
}

/**
 * The right to do a part, which expires some time after its holder has told last that it is there. By the clock of the database alone: those of
 * several hosts may differ.
 */
export class Lease {
  readonly #jobs: Jobs
  readonly #id: string
  readonly #ms: number
  readonly #holder = randomUUID()
  #timer: NodeJS.Timeout | undefined
  #isLost = false

  constructor(jobs: Jobs, id: string, ms: number) {
    this.#jobs = jobs
    this.#id = id
    this.#ms = ms
  }

  /** Whether another has it by now. */
  get isLost(): boolean {
    return this.#isLost
  }

  /**
   * @param place names it in messages
   * @returns what was kept of the part
   * @throws {JobError} JOB_RUNNING
   */
  async take(place: string): Promise<Kept> {
    const isFree = { $not: [{ $gt: ['$leaseUntil', '$$NOW'] }] }
    const update = [{ $set: { holder: this.#holder, leaseUntil: this.#until } }]
    try {
      const kept = await this.#jobs.findOneAndUpdate({ _id: this.#id, $expr: isFree }, update, {
        ...{ upsert: true, returnDocument: 'after' },
      })
      // A batch may take longer than the lease is for.
      this.#timer = setInterval(() => void this.#write({}).catch(() => {}), this.#ms / 3).unref()
      return kept
    } catch (error) {
      // There is one, and the condition does not find it.
      if (!isDuplicate(error)) throw error
      throw new JobError(
        'JOB_RUNNING',
        `${place}: another worker does it. Should that have died, its lease ends within the ${this.#ms} ms of leaseMs, or of what it was given itself.`,
      )
    }
  }

  /**
   * Notes how far the part has come, and renews the lease.
   *
   * @throws {JobError} LEASE_LOST
   */
  async save(startedAt: Date, checkpoint: unknown): Promise<void> {
    await this.#write({ startedAt, checkpoint: { $literal: checkpoint } })
    this.requireHeld()
  }

  /** @throws {JobError} LEASE_LOST */
  requireHeld(): void {
    if (!this.#isLost) return
    throw new JobError(
      'LEASE_LOST',
      `${this.#id}: the lease of ${this.#ms} ms ended before it was renewed, and another worker may do the part by now. What was done is kept. ` +
        'Give a longer one by leaseMs.',
    )
  }

  /** Lets others take the part. */
  async release(): Promise<void> {
    clearInterval(this.#timer)
    // Without a holder, so that no sign of life that is still on its way renews it.
    await this.#write({ holder: null, leaseUntil: '$$NOW' })
  }

  get #until() {
    return { $add: ['$$NOW', this.#ms] }
  }

  async #write(values: Plain): Promise<void> {
    const update = [{ $set: { leaseUntil: this.#until, ...values } }]
    const { matchedCount } = await this.#jobs.updateOne({ _id: this.#id, holder: this.#holder }, update)
    if (matchedCount === 0) this.#isLost = true
  }
}

/** What is used of the collection, as the driver has it. */
type Jobs = {
  findOne(filter: Plain, options: Plain): Promise<any>
  findOneAndUpdate(filter: Plain, update: readonly Plain[], options: Plain): Promise<any>
  insertOne(document: Plain): Promise<unknown>
  updateOne(filter: Plain, update: Plain | readonly Plain[]): Promise<{ matchedCount: number }>
}

function jobsOf(model: AnyModel): Jobs {
  return model.db.collection('kms_jobs') as unknown as Jobs
}
