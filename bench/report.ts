import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { limitOf, type Outcome } from './goal'
import { type Summary, summaryOf } from './statistics'

/** What one part of the bench has found. */
export interface Findings {
  readonly goals?: readonly Outcome[]
  readonly tables?: readonly Table[]
  /** What must be known to read them. */
  readonly notes?: readonly string[]
}

export interface Table {
  readonly head: readonly string[]
  readonly rows: readonly (readonly string[])[]
}

const goalsHead = ['goal', 'measured', 'middle half of rounds', 'wanted', 'met']

/** The findings as a section of Markdown. */
export function sectionOf(
  title: string,
  environment: string,
  { goals = [], tables = [], notes = [] }: Findings,
): string {
  const rows = goals.map((goal) => [
    goal.what,
    number(goal.measured.median),
    span(goal.measured),
    limitOf(goal),
    goal.isMet ? 'yes' : '**no**',
  ])
  const parts = [
    `## ${title}`,
    environment,
    ...(rows.length > 0 ? [markdown({ head: goalsHead, rows })] : []),
    ...tables.map(markdown),
    ...notes,
  ]
  return `${parts.join('\n\n')}\n`
}

function markdown({ head, rows }: Table): string {
  const widths = head.map((cell, column) =>
    Math.max(...[cell, ...rows.map((row) => row[column]!)].map((text) => text.length)),
  )
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column]!)).join(' | ')} |`
  return [line(head), `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`, ...rows.map(line)].join('\n')
}

export function number(value: number): string {
  return Math.abs(value) < 10 ? value.toFixed(2) : Math.abs(value) < 100 ? value.toFixed(1) : value.toFixed(0)
}

function span({ low, high }: Summary): string {
  return `${number(low)} – ${number(high)}`
}

/** A cell of what was measured in several rounds. */
export function cell(numbers: readonly number[], unit: string): string {
  return `${number(summaryOf(numbers).median)} ${unit}`
}

const preface = `# Results

Written by \`npm run bench\`, each section by the last run that had it: see [README.md](README.md). Ratios are medians of ratios within one round.
`

/** Puts a section in the place of the one of the same title in a file, in the order of all titles. */
export function keep(file: string, title: string, section: string, titles: readonly string[]): void {
  const kept = new Map(sectionsIn(existsSync(file) ? readFileSync(file, 'utf8') : ''))
  kept.set(title, section)
  writeFileSync(file, [preface, ...titles.flatMap((each) => kept.get(each) ?? [])].join('\n'))
}

function sectionsIn(text: string): [title: string, section: string][] {
  return text
    .split(/^(?=## )/m)
    .filter((section) => section.startsWith('## '))
    .map((section) => [section.slice(3, section.indexOf('\n')), `${section.trimEnd()}\n`])
}
