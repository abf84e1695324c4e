import { kinds } from './counts'
import type { Part, Report } from './report'

export type Cell = string | number | undefined

/** One table of a report, as each format shows it. */
export interface Table {
  /** For programs, and the address within the page. */
  readonly name: string
  readonly title: string
  readonly note: string
  readonly columns: readonly string[]
  readonly rows: readonly (readonly Cell[])[]
  /** How many rows there would be if all were listed. */
  readonly count: number
}

const counts = [...kinds, 'unknown'] as const
const call = [
  'time',
  'operation',
  'record',
  'to',
  'principal',
  'address',
  'agent',
  'key',
  'requestId',
  'error',
  'known',
  'actor',
  'reason',
  'fields',
] as const

/** What a report says, the alarming first. Tables without rows are there where that says something. */
export function tablesOf(report: Report): Table[] {
  const { join, newcomers, calls } = report
  const tables: (Table | undefined)[] = [
    join &&
      table(
        'unknown',
        'Calls that the application knows nothing of',
        'They succeeded, and no line of its log has their request id: somebody else used the key. A call that the SDK repeated because no answer came is one of them too.',
        call.filter((name) => !['error', 'known', 'actor', 'reason', 'fields'].includes(name)),
        join.unknown,
      ),
    table(
      'refusals',
      'Denied, refused and failed',
      'Denied: not allowed. Refused: a wrong context, another key or damaged bytes. Failed: anything else. Whom the KMS denies it need not name the record of.',
      ['kind', 'error', 'operation', 'record', 'principal', 'address', 'count', 'unknown', 'first', 'last'],
      report.refusals,
    ),
    table(
      'unnamed',
      'Calls without a record, by keys of records',
      'Nothing that this library does: it names the record in each call.',
      ['key', 'operation', 'principal', 'address', 'count', 'first', 'last'],
      report.unnamed,
    ),
    table(
      'bulk',
      'Openings in bulk',
      'Hours in which a role or user opened at least 100 data keys, and five times as many as in its median hour; where it has at most three hours, nothing is usual.',
      ['hour', 'identity', 'opened', 'usual'],
      report.bulk,
    ),
    newcomers &&
      table(
        'newcomers',
        'New in the period',
        'Roles, users and addresses that are not in the events from before it.',
        ['kind', 'name', 'calls', 'first'],
        newcomers,
      ),
    table(
      'frequent',
      'Opened far more often than their like',
      'Records opened at least 20 times, and ten times as often as the median record of their model that was opened.',
      ['record', 'opened', 'usual'],
      report.frequent,
    ),
    join &&
      table(
        'missing',
        'Lines of the application that CloudTrail lacks',
        'The application says they succeeded; no event has their request id. Are all files of the trail here?',
        ['time', 'operation', 'record', 'requestId', 'actor', 'reason'],
        join.missing,
      ),
    calls && table('calls', 'All calls', 'Each call for the record that was asked for.', call, calls),
    table('records', 'By record', '', ['record', ...counts, 'first', 'last'], report.records),
    table(
      'principals',
      'By principal',
      'A role session or user, its address and its user agent.',
      ['principal', 'address', 'agent', ...counts, 'first', 'last'],
      report.principals,
    ),
    table('hours', 'By hour', 'In UTC.', ['hour', ...counts], { count: report.hours.length, rows: report.hours }),
  ]
  return tables.filter((each) => each !== undefined)
}

function table<Row extends object>(
  name: string,
  title: string,
  note: string,
  columns: readonly (string & keyof Row)[],
  { count, rows }: Part<Row>,
): Table {
  return { name, title, note, columns, count, rows: rows.map((row) => columns.map((column) => cellOf(row[column]))) }
}

function cellOf(value: unknown): Cell {
  if (typeof value === 'boolean') return value ? 'yes' : 'no'
  if (typeof value === 'string') return value.replace(/(\d\dT\d\d:\d\d:\d\d)\.000Z$/, '$1Z')
  return value as Cell
}
