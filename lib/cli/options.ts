import { InvalidArgumentError, Option } from 'commander'
import type { Partition } from '../schema/jobs'

/** The options that several commands have. */

/** What is given of them, by their names. */
export interface ModelOptions {
  readonly require: readonly string[]
  readonly import: readonly string[]
  readonly uri?: string
  readonly model?: readonly string[]
  readonly filter?: string
  readonly json?: true
}

export interface JobGiven extends ModelOptions {
  readonly concurrency?: number
  readonly batchSize?: number
  readonly partition?: Partition
  readonly resume?: boolean
  readonly lease?: number
  readonly dryRun?: true
  readonly yes?: true
  readonly actor?: string
  readonly reason?: string
}

const collect = (value: string, before: readonly string[] | undefined) => [...(before ?? []), value]

export function model(): Option {
  return new Option('-m, --model <name>', 'only this model; may be given several times').argParser(collect)
}
export function filter(): Option {
  return new Option('-f, --filter <json>', 'only records that this finds: a filter of Mongoose as Extended JSON')
}
export function json(): Option {
  return new Option('--json', 'lines of JSON on a terminal, too')
}

/** Of all that work on models. */
export function ofModels(): Option[] {
  return [
    new Option(
      '-r, --require <module>',
      'a module that makes the models, CommonJS, ESM or TypeScript; may be given several times',
    )
      .argParser(collect)
      .makeOptionMandatory(),
    new Option('--import <loader>', 'a loader for them, such as tsx, as for node --import; may be given several times')
      .argParser(collect)
      .default([], 'none'),
    new Option('-u, --uri <uri>', 'the database, unless the modules connect themselves (env: MONGODB_URI)'),
  ]
}

/** Of all jobs. */
export function ofJobs(): Option[] {
  return [
    new Option(
      '-c, --concurrency <n>',
      'records at once (default: twice as many as the key provider takes calls)',
    ).argParser(count),
    new Option(
      '--batch-size <n>',
      'records that are read at once, and after which progress is told (default: 100)',
    ).argParser(count),
    new Option('--actor <name>', 'who acts, for the trace of each call to KMS: withAudit()'),
    new Option('--reason <text>', 'why, likewise'),
    new Option('--dry-run', 'only tell how many records, calls to KMS and dollars it takes'),
  ]
}

/** Of those that are gone on with where they were stopped. */
export function ofLongJobs(): Option[] {
  return [
    new Option('-p, --partition <i/n>', 'one part of n, from 1/n to n/n: for several processes or hosts').argParser(
      partition,
    ),
    new Option(
      '--no-resume',
      'go over all records: neither go on where the job was stopped, nor keep how far it came',
    ).conflicts('partition'),
    new Option(
      '--lease <seconds>',
      'how long nobody else takes the job over should this process die (default: 60)',
    ).argParser(count),
  ]
}

export function yes(): Option {
  return new Option('-y, --yes', 'do not ask')
}

export function count(text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text)
  throw new InvalidArgumentError('Expected a positive integer.')
}

/** From 1/4 to 4/4; the library counts from 0. */
export function partition(text: string): Partition {
  const [, part, of] = /^(\d{1,9})\/(\d{1,9})$/.exec(text)?.map(Number) ?? []
  if (part !== undefined && of !== undefined && part >= 1 && part <= of) return { index: part - 1, of }
  throw new InvalidArgumentError('Expected a part such as 1/4, from 1/4 to 4/4.')
}

export function date(text: string): Date {
  const given = new Date(text)
  if (/^\d{4}-\d{2}-\d{2}/.test(text) && !Number.isNaN(given.getTime())) return given
  throw new InvalidArgumentError('Expected a date such as 2026-01-31 or 2026-01-31T12:00:00Z.')
}
