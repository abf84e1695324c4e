import { type Counts, callsOf, kinds, noCounts } from './counts'
import { escapeHtml } from './outside'
import type { HourRow, Report } from './report'

/*
 * Drawings in SVG. What colour tells, a pattern or a number tells as well.
 */

const width = 960
const hourMs = 60 * 60 * 1000
const maxBars = 120
const maxRows = 15

const swatches = kinds.map(
  (kind) =>
    `<span><svg width="14" height="14" aria-hidden="true"><rect width="14" height="14" class="${kind}"/></svg> ${kind}</span>`,
)

/** What bars and their legends are filled with: plain, stripes, dots, a grid. */
export const patterns = `<svg width="0" height="0" aria-hidden="true"><defs>
<pattern id="stripes" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="5" height="5" class="ground"/><rect width="2" height="5" class="ink"/></pattern>
<pattern id="dots" width="5" height="5" patternUnits="userSpaceOnUse"><rect width="5" height="5" class="ground"/><circle cx="2.5" cy="2.5" r="1.3" class="ink"/></pattern>
<pattern id="grid" width="5" height="5" patternUnits="userSpaceOnUse"><rect width="5" height="5" class="ground"/><path d="M0 0H5M0 0V5" class="line"/></pattern>
</defs></svg>`

/** Calls over time: by hour, or by as many hours as make at most 120 bars of it. */
export function timelineOf({ hours }: Report): string {
  if (hours.length === 0) return ''
  const [height, left, bottom, top] = [220, 56, 24, 16]
  const bars = barsOf(hours)
  const highest = Math.max(...bars.map(callsOf))
  const step = (width - left) / bars.length
  const scale = (height - top - bottom) / highest
  const drawn = bars.map((bar, index) => {
    const x = left + index * step
    let y = height - bottom
    const parts = kinds.map((kind) => {
      y -= bar[kind] * scale
      return bar[kind] === 0 ? '' : rect(x + step * 0.1, y, step * 0.8, bar[kind] * scale, kind)
    })
    const mark = bar.unknown > 0 ? `<path class="alarm" d="M${px(x + step / 2)} ${px(y - 13)}l6 11h-12z"/>` : ''
    const label = `${bar.label}: ${kinds.map((kind) => `${bar[kind]} ${kind}`).join(', ')}, ${bar.unknown} unknown`
    return `<g><title>${label}</title>${parts.join('')}${mark}</g>`
  })
  const every = Math.ceil(bars.length / 6)
  const labels = bars
    .map(({ label }, index) => ({ label, index }))
    .filter(({ index }) => index % every === 0)
    .map(({ label, index }) => `<text x="${px(left + index * step)}" y="${height - 6}">${label}</text>`)
  const lines = [0.5, 1].map((part) => {
    const y = px(height - bottom - part * highest * scale)
    return `<path class="rule" d="M${left} ${y}H${width}"/><text x="${left - 6}" y="${y}" dy="4" text-anchor="end">${short(highest * part)}</text>`
  })
  const legend = [
    ...swatches,
    '<span><svg width="14" height="14" aria-hidden="true"><path class="alarm" d="M7 1l6 11h-12z"/></svg> some unknown to the application</span>',
  ]
  return figure('Calls over time', height, [...lines, ...drawn, ...labels].join(''), legend)
}

export function topRecordsOf({ records }: Report): string {
  return rowsOf(
    'Records with the most calls',
    records.rows.map((row) => ({ ...row, label: row.record })),
  )
}

export function topPrincipalsOf({ principals }: Report): string {
  return rowsOf(
    'Principals with the most calls',
    principals.rows.map((row) => ({ ...row, label: `${row.principal.replace(/^.*:/, '')} from ${row.address}` })),
  )
}

/** Calls by day of the week and hour of the day. */
export function heatMapOf({ hours }: Report): string {
  if (hours.length === 0) return ''
  const cells = Array.from({ length: 7 * 24 }, () => 0)
  for (const row of hours) {
    const at = new Date(row.hour)
    cells[((at.getUTCDay() + 6) % 7) * 24 + at.getUTCHours()]! += callsOf(row)
  }
  const [left, top, size] = [44, 18, 26]
  const step = (width - left) / 24
  const highest = Math.max(...cells)
  const drawn = cells.map((calls, index) => {
    const [x, y] = [left + (index % 24) * step, top + Math.floor(index / 24) * size]
    // Never so strong that the number in it could not be read, in the dark or the light.
    const strength = Math.sqrt(calls / highest) / 2
    const title = `<title>${days[Math.floor(index / 24)]} ${index % 24}:00: ${calls} calls</title>`
    const fill = `<rect class="heat" x="${px(x + 1)}" y="${px(y + 1)}" width="${px(step - 2)}" height="${size - 2}" fill-opacity="${strength.toFixed(2)}"/>`
    const number = `<text class="cell" x="${px(x + step / 2)}" y="${y + size / 2}" dy="4" text-anchor="middle">${calls === 0 ? '·' : short(calls)}</text>`
    return `<g>${title}${fill}${number}</g>`
  })
  const names = days.map((day, index) => `<text x="0" y="${top + index * size + size / 2}" dy="4">${day}</text>`)
  const times = Array.from(
    { length: 24 },
    (_, hour) => `<text x="${px(left + (hour + 0.5) * step)}" y="12" text-anchor="middle">${hour}</text>`,
  )
  return figure('Calls by day of the week and hour (UTC)', top + 7 * size, [...drawn, ...names, ...times].join(''))
}

const days = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun']

type Bar = Counts & { readonly label: string }

function barsOf(hours: readonly HourRow[]): Bar[] {
  const [first, last] = [hours[0]!, hours.at(-1)!].map(({ hour }) => Date.parse(hour) / hourMs) as [number, number]
  const isFew = (each: number) => Math.floor(last / each) - Math.floor(first / each) < maxBars
  const each = [1, 3, 6, 12, 24].find(isFew) ?? Math.ceil((last - first) / (maxBars - 1) / 24) * 24
  const begin = Math.floor(first / each)
  const bars = Array.from({ length: Math.floor(last / each) - begin + 1 }, (_, index) => {
    const time = new Date((begin + index) * each * hourMs).toISOString()
    return { ...noCounts(), label: each < 24 ? time.slice(0, 16).replace('T', ' ') : time.slice(0, 10) }
  })
  for (const row of hours) {
    const bar = bars[Math.floor(Date.parse(row.hour) / hourMs / each) - begin]!
    for (const kind of [...kinds, 'unknown'] as const) bar[kind] += row[kind]
  }
  return bars
}

function rowsOf(title: string, rows: readonly Bar[]): string {
  if (rows.length === 0) return ''
  const shown = rows.slice(0, maxRows)
  const [left, right, size] = [330, 60, 22]
  const highest = Math.max(...shown.map(callsOf))
  const scale = (width - left - right) / highest
  const drawn = shown.map((row, index) => {
    const y = index * size
    let x = left
    const parts = kinds.map((kind) => {
      const drawn = row[kind] === 0 ? '' : rect(x, y + 3, row[kind] * scale, size - 6, kind)
      x += row[kind] * scale
      return drawn
    })
    const mark = row.unknown > 0 ? `<path class="alarm" d="M${left - 12} ${y + 6}l5 10h-10z"/>` : ''
    const label = `<text class="name" x="${left - 22}" y="${y + size / 2}" dy="4" text-anchor="end">${escapeHtml(shortened(row.label))}</text>`
    const number = `<text x="${px(x + 6)}" y="${y + size / 2}" dy="4">${callsOf(row)}</text>`
    return `<g><title>${escapeHtml(row.label)}</title>${label}${mark}${parts.join('')}${number}</g>`
  })
  return figure(title, shown.length * size, drawn.join(''), swatches)
}

function figure(title: string, height: number, drawing: string, legend: readonly string[] = []): string {
  const key = legend.length > 0 ? `<p class="legend">${legend.join(' ')}</p>` : ''
  return `<figure><figcaption>${title}</figcaption><svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${title}">${drawing}</svg>${key}</figure>`
}

function rect(x: number, y: number, w: number, h: number, kind: string): string {
  return `<rect class="${kind}" x="${px(x)}" y="${px(y)}" width="${px(w)}" height="${px(h)}"/>`
}

/** The end of a name tells more than its beginning. */
function shortened(label: string): string {
  return label.length <= 44 ? label : `…${label.slice(-43)}`
}

function short(calls: number): string {
  if (calls < 1000) return String(Math.round(calls))
  return calls < 1e6 ? `${(calls / 1000).toPrecision(2).replace(/e.*/, '')}k` : `${(calls / 1e6).toPrecision(2)}M`
}

function px(length: number): string {
  return String(Math.round(length * 10) / 10)
}
