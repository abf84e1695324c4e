import type { Audit } from '../kms/actor'
import type { AnyModel, Plain } from '../mongoose/host'
import type { JobFailure, JobOptions, JobProgress, JobResult, JobStart } from '../schema/jobs'
import { clean } from '../trail/outside'
import type { Session } from './command'
import { confirm, requireAnswerable } from './confirm'
import { closeModels, jobOf, openModels, placeOf } from './models'
import type { JobGiven } from './options'
import { Misuse, type Outcome, worse } from './outcome'
import { describeFailure } from './output'
import { costOf, withPlural } from './words'

/** A job, as a command runs it over one model after another. */
export interface JobCommand {
  /** Of the command. */
  readonly name: string
  /** The name of the static. */
  readonly job: string
  /** What has become of the records that were updated, for people: `rotated`. */
  readonly done: string
  /** Its options beside those of all jobs. */
  readonly options?: Plain
  /** What is asked before, with the number of records; where it is not given, nothing is asked. */
  readonly question?: (records: string, model: string) => string
  /** Whether it does something for which is to be asked where there are no records, too. */
  readonly isAskedForNone?: boolean
  /** Why there is nothing to do where no model is one that it is for. */
  readonly lacking?: string
}

/** Failures that are no fault of the record: all others would fail as well. */
const ofAll = new Set([
  ...['KMS_NO_REGION', 'KMS_NO_CREDENTIALS', 'KMS_CREDENTIALS_REJECTED', 'KMS_TLS_FAILED'],
  ...['ACTOR_REQUIRED', 'ACCESS_WRITE_ONLY', 'ACCESS_READ_ONLY'],
])

/** Runs a job over all models that it is for. */
export async function runJobs(command: JobCommand, given: JobGiven, session: Session): Promise<Outcome> {
  const isAsking = command.question !== undefined && !given.dryRun
  if (isAsking) requireAnswerable(session.surroundings, given.yes === true)
  const models = await openModels(given, session)
  try {
    const isMeant = (model: AnyModel) => given.model !== undefined || jobOf(model, command.job).isFor
    const meant = models.filter(isMeant)
    if (meant.length === 0) throw new Misuse(`There is nothing to ${command.name}: ${command.lacking}`)
    let outcome: Outcome = 'done'
    for (const model of meant) {
      if (session.signal.aborted) return 'interrupted'
      outcome = worse(outcome, await new ModelRun(command, given, session, model).run())
    }
    return outcome
  } finally {
    session.output.stopBar()
    await closeModels(models)
  }
}

class NotConfirmed extends Error {}

/** A job over one model. */
class ModelRun {
  readonly #command: JobCommand
  readonly #given: JobGiven
  readonly #session: Session
  readonly #model: AnyModel
  readonly #stringify: (value: object) => string
  #start: JobStart = { total: 0, checkpoint: undefined }

  constructor(command: JobCommand, given: JobGiven, session: Session, model: AnyModel) {
    this.#command = command
    this.#given = given
    this.#session = session
    this.#model = model
    const { EJSON } = model.base.mongo.BSON
    this.#stringify = (value) => EJSON.stringify(value)
  }

  async run(): Promise<Outcome> {
    try {
      const result = await jobOf(this.#model, this.#command.job).run(this.#options(), this.#audit)
      return this.#given.dryRun ? this.#tellPlan(result) : this.#tellResult(result)
    } catch (error) {
      if (!(error instanceof NotConfirmed)) throw error
      this.#session.output.message('Nothing was done.')
      return 'interrupted'
    }
  }

  get #audit(): Audit {
    const { actor, reason } = this.#given
    return { ...(actor !== undefined && { actor }), ...(reason !== undefined && { reason }) }
  }

  #options(): JobOptions {
    const { filter, concurrency, batchSize, partition, resume, lease, dryRun } = this.#given
    const isDropping = this.#command.options?.dropIndexes === true
    return {
      ...(filter !== undefined && { filter: parseFilter(this.#model, filter) }),
      ...(concurrency && { concurrency }),
      ...(batchSize && { batchSize }),
      ...(partition && { partition }),
      // A part is gone on with anyway; indexes are dropped after a run over all records alone.
      ...(resume && !partition && !isDropping && { resume: true }),
      ...(lease && { leaseMs: lease * 1000 }),
      ...this.#command.options,
      ...(dryRun && { dryRun }),
      signal: this.#session.signal,
      onBegin: (start) => this.#begin(start),
      onProgress: (progress) => this.#progress(progress),
      onFailure: (failure) => this.#fail(failure),
    }
  }

  async #begin(start: JobStart): Promise<void> {
    const { output, surroundings, signal } = this.#session
    const { modelName } = this.#model
    const { name, question, isAskedForNone } = this.#command
    const { dryRun = false, yes } = this.#given
    this.#start = start
    if (question && !dryRun && !yes && (start.total > 0 || isAskedForNone)) {
      output.message(`${modelName}: ${withPlural(start.total, 'record')}, ${placeOf(this.#model)}.`)
      const asked = question(withPlural(start.total, 'record'), modelName)
      if (!(await confirm(surroundings, asked, signal))) throw new NotConfirmed()
    }
    const { total, checkpoint } = start
    this.#line({ type: 'start', command: name, records: total, ...(dryRun && { dryRun }), checkpoint })
    if (checkpoint !== undefined)
      output.message(`${modelName}: goes on where it was stopped; --no-resume goes over all records.`)
    output.startBar(`${name} ${modelName}`, total)
  }

  #progress({ processed, updated, unchanged, failed, checkpoint }: JobProgress): void {
    this.#session.output.updateBar(processed, failed)
    this.#line({ type: 'progress', processed, updated, unchanged, failed, checkpoint })
  }

  #fail({ id, error, ...place }: JobFailure & { path?: string }): void {
    const { code, message } = describeFailure(error)
    if (ofAll.has(String(code))) throw error
    this.#line({ type: 'failure', id, path: place.path, code, message })
  }

  #tellPlan({ processed, failed, failures, interrupted, kmsCalls = 0 }: JobResult): Outcome {
    const { output } = this.#session
    const { modelName } = this.#model
    const { usd, text } = costOf(kmsCalls)
    const outcome = interrupted ? 'interrupted' : failed > 0 ? 'failed' : 'done'
    const command = this.#command.name
    this.#line({ type: 'plan', command, outcome, records: processed, failed, kmsCalls, usd })
    output.text(
      `${modelName}: ${withPlural(processed, 'record')}, at most ${withPlural(kmsCalls, 'call')} to KMS, ${text}. Nothing was changed.`,
    )
    this.#list(failures, failed)
    return outcome
  }

  #tellResult(result: JobResult & { indexes?: readonly string[]; droppedIndexes?: readonly string[] }): Outcome {
    const { failures, interrupted, failed, updated, unchanged, processed, checkpoint } = result
    const { output } = this.#session
    const { modelName } = this.#model
    const { name, done } = this.#command
    const { indexes, droppedIndexes } = result
    const outcome = interrupted ? 'interrupted' : failed > 0 ? 'failed' : 'done'
    this.#line({
      ...{ type: 'result', command: name, outcome, processed, updated, unchanged, failed, checkpoint },
      ...{ isResumed: this.#start.checkpoint !== undefined, indexes, droppedIndexes },
    })
    const counts = [
      ...(done === '' ? [] : [`${updated} ${done}`]),
      `${unchanged} ${done === '' ? 'in order' : 'unchanged'}`,
    ]
    const end = interrupted ? `, stopped after ${processed} of ${this.#start.total}. Start it again to go on` : ''
    const isNothing = processed === 0 && this.#start.total === 0
    output.text(
      isNothing
        ? `${modelName}: nothing to ${name}.`
        : `${modelName}: ${[...counts, `${failed} failed`].join(', ')}${end}.`,
    )
    if (indexes && indexes.length > 0) output.text(`  indexes of before, of no use any more: ${indexes.join(', ')}`)
    if (droppedIndexes && droppedIndexes.length > 0) output.text(`  indexes dropped: ${droppedIndexes.join(', ')}`)
    this.#list(failures, failed)
    return outcome
  }

  /** The failures, for people. */
  #list(failures: readonly (JobFailure & { path?: string })[], failed: number): void {
    const { output } = this.#session
    for (const { id, path, error } of failures) {
      const { code, message } = describeFailure(error)
      output.text(`  ${clean([this.#idText(id), path, code].filter(Boolean).join(' '))}: ${message}`)
    }
    if (new Set(failures.map(({ id }) => this.#idText(id))).size < failed)
      output.text(`  … of ${failed}: all of them with --json.`)
  }

  #idText(id: unknown): string {
    return typeof id === 'string' || (id as { _bsontype?: string } | null)?._bsontype === 'ObjectId'
      ? String(id)
      : this.#stringify({ id }).slice(6, -1)
  }

  #line({ type, ...values }: { type: string } & Plain): void {
    const given = Object.entries(values).filter(([, value]) => value !== undefined)
    this.#session.output.line({ type, model: this.#model.modelName, ...Object.fromEntries(given) }, this.#stringify)
  }
}

/**
 * A filter as it is given, with the types of the Mongoose that the model is of.
 *
 * @throws {Misuse} that does not hold it: there may be personal data in it
 */
export function parseFilter({ base }: AnyModel, text: string): Plain {
  const parse = () => {
    try {
      return base.mongo.BSON.EJSON.parse(text) as unknown
    } catch {
      return undefined
    }
  }
  const filter = parse()
  if (typeof filter === 'object' && filter !== null && !Array.isArray(filter)) return filter
  throw new Misuse(
    `--filter is no object of Extended JSON, such as '{"name":"Ada"}' or '{"_id":{"$oid":"65f0c0ffee0000000000cafe"}}'.`,
  )
}
