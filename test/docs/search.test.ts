import { readPage, sectionOf } from './page'

// What docs/search.md computes is recomputed.
const page = readPage('docs/search.md')

/** The cells of the table in a section, without its head. */
function rowsOf(heading: string): string[][] {
  const lines = sectionOf(page, heading)
    .split('\n')
    .filter((line) => line.startsWith('|'))
  return lines.slice(2).map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  )
}

/** `10^9`, `36,525` or `56 minutes` as a number. */
function numberIn(text: string): number {
  const [, digits = '', power] = /^([\d,.]+)(?:\^(\d+))?/.exec(text) ?? []
  return Number(digits.replaceAll(',', '')) ** Number(power ?? 1)
}

const rounded = (value: number) => Number(value < 1 ? value.toPrecision(1) : value.toFixed(0))

test('the time that trying all values takes is that of the rate that was measured', () => {
  const rate = numberIn(/about ([\d,]+) HMACs a second/.exec(page)?.[1] as string)
  const rows = rowsOf('## Trying all values').filter(([, , time]) => time !== 'never')
  expect(rows).toHaveLength(3)
  for (const [values, number, time] of rows as [string, string, string][]) {
    const seconds = numberIn(number) / rate
    expect([values, numberIn(time)]).toEqual([values, rounded(time.endsWith('minutes') ? seconds / 60 : seconds)])
  }
})

test('what fewer bits buy is n / 2^b', () => {
  const rows = rowsOf('## What fewer bits buy').filter(([bits]) => !bits?.startsWith('all'))
  expect(rows).toHaveLength(5)
  for (const [bits, ...cells] of rows) {
    const buckets = 2 ** Number(bits)
    expect([bits, ...cells.map(numberIn)]).toEqual([bits, ...[1e9, 200_000, 1e7].map((n) => rounded(n / buckets))])
  }
})
