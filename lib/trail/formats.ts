import { clean, csvCell, printableJson } from './outside'
import { pageOf } from './page'
import type { Report } from './report'
import { summaryOf } from './summary'
import { type Cell, type Table, tablesOf } from './tables'

export const formats = { table: textOf, json: printableJson, csv: csvOf, html: pageOf } as const satisfies Record<
  string,
  (report: Report) => string
>

export type Format = keyof typeof formats

const rowsOnScreen = 20
const widestOnScreen = 60

function textOf(report: Report): string {
  const summary = summaryOf(report).map(clean).join('\n')
  return [
    summary,
    ...tablesOf(report)
      .filter(({ count }) => count > 0)
      .map(screenOf),
  ].join('\n\n')
}

function screenOf({ title, columns, rows, count }: Table): string {
  const shown = rows.slice(0, rowsOnScreen)
  // A column in which nothing stands is left out.
  const used = columns.map((_, index) => index).filter((index) => shown.some((row) => textOfCell(row[index]) !== ''))
  const lines = [
    used.map((index) => columns[index]!),
    ...shown.map((row) => used.map((index) => textOfCell(row[index]))),
  ]
  const widths = used.map((_, index) => Math.max(...lines.map((line) => line[index]!.length)))
  const isNumber = used.map((index) => shown.every((row) => typeof row[index] !== 'string'))
  const aligned = lines.map((line) =>
    line
      .map((cell, index) => (isNumber[index] ? cell.padStart(widths[index]!) : cell.padEnd(widths[index]!)))
      .join('  ')
      .trimEnd(),
  )
  const rest = count > shown.length ? [`… and ${count - shown.length} more`] : []
  return [`${title}: ${count}`, ...[...aligned, ...rest].map((line) => `  ${line}`)].join('\n')
}

function textOfCell(cell: Cell): string {
  const text = clean(String(cell ?? ''))
  return text.length <= widestOnScreen ? text : `${text.slice(0, widestOnScreen - 1)}…`
}

/** All tables in one: each row says of which it is, and has the columns of all. */
function csvOf(report: Report): string {
  const tables = tablesOf(report)
  const columns = [...new Set(tables.flatMap((table) => table.columns))]
  const lines = tables.flatMap((table) =>
    table.rows.map((row) => [table.name, ...columns.map((column) => row[table.columns.indexOf(column)] ?? '')]),
  )
  return [['table', ...columns], ...lines].map((line) => `${line.map(csvCell).join(',')}\r\n`).join('')
}
