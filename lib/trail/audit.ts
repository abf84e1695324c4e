import { callsOf, kindOf, noCounts, type Span } from './counts'
import { eventsIn, type KeyUse, parseKeyUse } from './event'
import { filesOf, readValues } from './files'
import { Listed } from './groups'
import { Ids } from './ids'
import { ApplicationLog, type LogLine } from './log'
import { type Problem, Problems } from './problems'
import { modelOf } from './records'
import type { CallRow, Join, Part, Report } from './report'
import { maxListed, Tally } from './tally'

/*
 * From CloudTrail's files, and the application's log of its own calls, to a report on the records: who opened which, and what the application
 * knows nothing of. Each event is read once, in any order, and forgotten; what grows is 22 to 45 bytes for each event and each line of the
 * log, by whose id it is known again, and some 100 for each record.
 */

export interface AuditOptions {
  /** Files and folders of CloudTrail's: gzipped or not, `Records` files, answers of `lookup-events`, JSON lines. */
  readonly paths: readonly string[]
  /** Files and folders of the application's log, JSON lines. */
  readonly appLog?: readonly string[]
  /** `User/65f0c0ffee65f0c0ffee65f0`: only this record, and each call for it. */
  readonly record?: string
  /** `User`: only its records. */
  readonly model?: string
  /** Only callers with this in their ARN. */
  readonly principal?: string
  /** From here on; events of before tell who is not new. */
  readonly since?: Date
  /** Up to here, and not this moment itself. */
  readonly until?: Date
  readonly onProgress?: (progress: Progress) => void
  readonly onProblem?: (problem: Problem) => void
  readonly signal?: AbortSignal
}

/** How much of all files has been read, gzipped as they are. */
export interface Progress {
  readonly bytes: number
  readonly of: number
  readonly events: number
}

/** So that who waits sees something move, also in a file of gigabytes. */
const bytesPerProgress = 4 * 1024 * 1024

/**
 * Reads them all; what cannot be read is a problem of the report, never an error.
 *
 * @throws the reason of the signal, when that is aborted
 */
export async function auditTrail(options: AuditOptions): Promise<Report> {
  const problems = new Problems(options.onProblem)
  const { signal } = options
  const log = options.appLog && new ApplicationLog(options.appLog, signal)
  await log?.read(problems, options.record)
  const audit = new Audit(options, log)
  const files = await filesOf(options.paths)
  const of = files.reduce((sum, { size }) => sum + size, 0)
  let before = 0
  let told = 0
  const progress = (bytes: number) => {
    told = bytes
    options.onProgress?.({ bytes, of, events: audit.events })
  }
  progress(0)
  for (const { path, size, error } of files) {
    const bad = (place: string, message: unknown) => problems.add(path, place, message)
    const value = (bytes: Buffer, place: string) => {
      try {
        for (const event of eventsIn(JSON.parse(bytes.toString()))) audit.take(event)
      } catch (error) {
        bad(place, error)
      }
    }
    try {
      if (error) throw error
      const onBytes = (bytes: number) => {
        if (before + bytes - told >= bytesPerProgress) progress(before + bytes)
      }
      await readValues(path, { value, bad }, { onBytes, signal })
    } catch (error) {
      signal?.throwIfAborted()
      bad('', error)
    }
    before += size
    progress(before)
  }
  return audit.report(files.filter(({ error }) => !error).length, problems)
}

class Audit {
  readonly #options: AuditOptions
  readonly #log: ApplicationLog | undefined
  readonly #tally = new Tally()
  readonly #ids = new Ids()
  readonly #unknown = new Listed<CallRow>(maxListed * 10)
  readonly #calls = new Listed<CallRow>(maxListed * 10)
  readonly #since: number
  readonly #until: number
  #repeated = 0
  #last = Number.NEGATIVE_INFINITY
  events = 0

  constructor(options: AuditOptions, log: ApplicationLog | undefined) {
    this.#options = options
    this.#log = log
    this.#since = options.since?.getTime() ?? Number.NEGATIVE_INFINITY
    this.#until = options.until?.getTime() ?? Number.POSITIVE_INFINITY
  }

  take(event: unknown): void {
    this.events += 1
    const use = parseKeyUse(event)
    if (!use) return
    // Of all events, so that what is asked for has no part in what CloudTrail lacks.
    const isKnown = this.#log?.knows(use.requestId)
    if (use.time > this.#last) this.#last = use.time
    if (use.time >= this.#until || !this.#isAsked(use)) return
    if (use.id !== undefined && !this.#ids.add(use.id)) {
      this.#repeated += 1
      return
    }
    if (use.time < this.#since) {
      if (use.record !== undefined) this.#tally.takeBefore(use)
      return
    }
    this.#tally.take(use, isKnown)
    if (use.record === undefined) return
    if (isKnown === false && kindOf(use) !== 'failed') this.#unknown.add(() => this.#callOf(use, isKnown))
    if (this.#options.record !== undefined) this.#calls.add(() => this.#callOf(use, isKnown))
  }

  async report(files: number, problems: Problems): Promise<Report> {
    const { record, model, principal, since, until } = this.#options
    const tally = this.#tally
    const newcomers = tally.newcomers()
    const refusals = tally.refusals()
    const unnamed = tally.unnamed()
    return {
      asked: { record, model, principal, since: since?.toISOString(), until: until?.toISOString() },
      read: {
        files,
        events: this.events,
        counted: callsOf(tally.total),
        repeated: this.#repeated,
        problems: { count: problems.count, rows: problems.rows },
      },
      total: callsOf(tally.total) === 0 ? noCounts() : dated(tally.total),
      records: mapped(tally.topRecords(), dated),
      principals: mapped(tally.principals(), dated),
      hours: tally.hours().map(({ hour, ...counts }) => ({ hour: iso(hour * 60 * 60 * 1000), ...counts })),
      refusals: {
        ...refusals,
        ...mapped(refusals, ({ kind, error, operation, record, principal, address, ...span }) => ({
          kind,
          error,
          operation,
          record,
          principal,
          address,
          count: callsOf(span),
          unknown: span.unknown,
          first: iso(span.first),
          last: iso(span.last),
        })),
      },
      unnamed: mapped(unnamed, ({ key, operation, principal, address, ...span }) => ({
        key,
        operation,
        principal,
        address,
        count: callsOf(span),
        first: iso(span.first),
        last: iso(span.last),
      })),
      bulk: tally.bulk(),
      ...(newcomers && {
        newcomers: mapped(newcomers, ({ kind, name, calls, first }) => ({ kind, name, calls, first: iso(first) })),
      }),
      frequent: tally.frequent(),
      ...(this.#log && { join: await this.#join(this.#log) }),
      ...(record !== undefined && { calls: inOrder(this.#calls) }),
      left: tally.left,
    }
  }

  async #join(log: ApplicationLog): Promise<Join> {
    let later = 0
    const missing = await log.missing((line) => {
      if (!this.#isAskedLine(line)) return false
      // CloudTrail takes its time, some minutes as a rule: this is no gap yet.
      if (Date.parse(line.time) <= this.#last) return true
      later += 1
      return false
    }, maxListed * 10)
    const { lines, unanswered } = log
    const rows = missing.rows.map(({ time, operation, record, requestId, actor, reason }) => ({
      time,
      operation,
      record,
      requestId,
      actor,
      reason,
    }))
    return { lines, unanswered, unknown: inOrder(this.#unknown), missing: { count: missing.count, rows }, later }
  }

  #isAsked({ record, to, principal }: KeyUse): boolean {
    const { record: only, model, principal: part } = this.#options
    if (part !== undefined && !principal.session.includes(part) && !principal.identity.includes(part)) return false
    if (only === undefined && model === undefined) return true
    return [record, to].some((name) => name !== undefined && isOf(name, only, model))
  }

  #isAskedLine({ record, time }: LogLine): boolean {
    const { record: only, model } = this.#options
    const at = Date.parse(time)
    if (!(at >= this.#since && at < this.#until)) return false
    return (only === undefined && model === undefined) || (record !== undefined && isOf(record, only, model))
  }

  #callOf({ principal, id: _, time, ...use }: KeyUse, known: boolean | undefined): CallRow {
    const { actor, reason, fields } = this.#log?.detailsOf(use.requestId) ?? {}
    return { time: iso(time), ...use, principal: principal.session, known, actor, reason, fields }
  }
}

function isOf(record: string, only: string | undefined, model: string | undefined): boolean {
  return (only === undefined || record === only) && (model === undefined || modelOf(record) === model)
}

function inOrder({ count, rows }: Part<CallRow>): Part<CallRow> {
  return { count, rows: [...rows].sort((a, b) => (a.time < b.time ? -1 : 1)) }
}

function mapped<From, To>({ count, rows }: Part<From>, map: (row: From) => To): Part<To> {
  return { count, rows: rows.map(map) }
}

function dated<Row extends Span>(row: Row): Omit<Row, 'first' | 'last'> & { first: string; last: string } {
  return { ...row, first: iso(row.first), last: iso(row.last) }
}

function iso(time: number): string {
  return new Date(time).toISOString()
}
