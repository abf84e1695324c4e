import { writeFile } from 'node:fs/promises'
import { ConfigurationError } from '../errors'
import { type AuditOptions, auditTrail, type Progress } from './audit'
import { type Format, formats } from './formats'
import { clean } from './outside'
import type { Problem } from './problems'
import type { Report } from './report'

/** What is given on the command line. */
export interface AuditGiven extends Pick<AuditOptions, 'appLog' | 'record' | 'model' | 'principal'> {
  readonly since?: string
  readonly until?: string
  /** Default `table`. */
  readonly format?: string
  /** A file to write to, in place of the output. */
  readonly out?: string
  readonly signal?: AbortSignal
}

/** Where it goes. */
export interface AuditOutput {
  /** The report. */
  raw(text: string): void
  /** What is to be known, and is no result. */
  message(text: string): void
  progress(progress: Progress): void
}

/**
 * `unknown`: there are calls that the application's log has nothing of; `failed`: something could not be read, and the
 * rest is reported; `interrupted`: nothing is.
 */
export type AuditOutcome = 'done' | 'failed' | 'unknown' | 'interrupted'

/**
 * Audits what is given, as `audit` of the command line.
 *
 * @throws {ConfigurationError} OPTION_INVALID
 */
export async function runAudit(
  paths: readonly string[],
  { format = 'table', out, ...given }: AuditGiven,
  output: AuditOutput,
): Promise<AuditOutcome> {
  if (paths.length === 0) throw invalid('expected files or folders of CloudTrail')
  if (!Object.hasOwn(formats, format)) {
    throw invalid(`format: expected one of ${Object.keys(formats).join(', ')}, got ${format}`)
  }
  const report = await reportOf(paths, given, output)
  if (!report) {
    output.message('Stopped before all was read: there is no report.')
    return 'interrupted'
  }
  const text = formats[format as Format](report)
  if (out === undefined) output.raw(text)
  else await writeFile(out, text)
  if (report.join && report.join.unknown.count > 0) return 'unknown'
  return report.read.problems.count > 0 ? 'failed' : 'done'
}

/** @returns `undefined` where it was stopped */
async function reportOf(
  paths: readonly string[],
  { since, until, signal, ...given }: AuditGiven,
  output: AuditOutput,
): Promise<Report | undefined> {
  const options = {
    paths,
    ...given,
    since: since === undefined ? undefined : timeOf('since', since),
    until: until === undefined ? undefined : timeOf('until', until),
    signal,
    onProgress: (progress: Progress) => output.progress(progress),
    onProblem: ({ file, place, message }: Problem) =>
      output.message(clean([file, place, message].filter((part) => part !== '').join(': '))),
  }
  try {
    return await auditTrail(options)
  } catch (error) {
    if (signal?.aborted) return undefined
    throw error
  }
}

function timeOf(name: string, text: string): Date {
  const time = new Date(text)
  if (Number.isNaN(time.getTime())) throw invalid(`${name}: expected a time such as 2026-11-30T12:00:00Z, got ${text}`)
  return time
}

function invalid(fault: string): ConfigurationError {
  return new ConfigurationError('OPTION_INVALID', `audit: ${fault}.`)
}
