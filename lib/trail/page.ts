import { createHash } from 'node:crypto'
import { heatMapOf, patterns, timelineOf, topPrincipalsOf, topRecordsOf } from './charts'
import { escapeHtml } from './outside'
import type { Report } from './report'
import { summaryOf } from './summary'
import { type Cell, type Table, tablesOf } from './tables'

/** A page of one file: it asks for nothing outside itself, and its policy lets it run no script but its own. */
export function pageOf(report: Report): string {
  const hash = createHash('sha256').update(script).digest('base64')
  const policy = `default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-${hash}'; base-uri 'none'; form-action 'none'`
  const summary = summaryOf(report).map(
    (sentence) => `<p${/^[A-Z ]+:/.test(sentence) ? ' class="loud"' : ''}>${escapeHtml(sentence)}</p>`,
  )
  const charts = [timelineOf, topRecordsOf, topPrincipalsOf, heatMapOf].map((draw) => draw(report))
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>Who opened which record</title>
<style>${style}</style>
</head>
<body>
<h1>Who opened which record</h1>
${summary.join('\n')}
${patterns}
${charts.join('\n')}
<p class="search"><label>Search all tables <input type="search" id="search" autocomplete="off"></label> <output id="found"></output></p>
${tablesOf(report).map(sectionOf).join('\n')}
<script>${script}</script>
</body>
</html>
`
}

function sectionOf({ name, title, note, columns, rows, count }: Table): string {
  const heads = columns.map((column) => `<th scope="col"><button type="button">${column}</button></th>`)
  const lines = rows.map((row) => `<tr>${row.map(cellOf).join('')}</tr>`)
  const rest = count > rows.length ? `<p>The first ${rows.length} of ${count} are listed.</p>` : ''
  const table = `<div class="wide"><table><thead><tr>${heads.join('')}</tr></thead><tbody>${lines.join('\n')}</tbody></table></div>`
  return `<section id="${name}"><h2>${title}: ${count}</h2><p class="note">${note}</p>${count > 0 ? table + rest : '<p>None.</p>'}</section>`
}

function cellOf(cell: Cell): string {
  return typeof cell === 'number' ? `<td class="number">${cell}</td>` : `<td>${escapeHtml(cell ?? '')}</td>`
}

const style = `
:root { --text: #1a1d21; --ground: #fff; --soft: #5c6570; --rule: #d5dae0; --ink: #1f5fa8; --alarm: #b3261e }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6e9ed; --ground: #14171a; --soft: #9aa4af; --rule: #343b43; --ink: #7cb3f0; --alarm: #ff8a80 }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--ground); max-width: 1100px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin: 2rem 0 0 }
p { margin: .3rem 0 } .note, .legend, figcaption { color: var(--soft) }
.loud { color: var(--alarm); font-weight: 700; border-left: 4px solid; padding-left: .6rem }
figure { margin: 1.5rem 0 } figure > svg { width: 100%; height: auto; display: block } figcaption { font-weight: 600 }
.legend span { margin-right: 1rem; white-space: nowrap } .legend svg { vertical-align: -2px }
svg text { font: 11px system-ui, sans-serif; fill: var(--soft) }
svg text.name { font-family: ui-monospace, monospace; fill: var(--text) } svg text.cell { fill: var(--text) }
.opened, .ink, .heat { fill: var(--ink) } .ground { fill: var(--ground) }
.generated { fill: url(#stripes) } .rewrapped { fill: url(#dots) } .failed { fill: url(#grid) }
.opened, .generated, .rewrapped, .failed { stroke: var(--ink); stroke-width: .7 }
.line { stroke: var(--ink); fill: none } .rule { stroke: var(--rule) } .alarm { fill: var(--alarm) }
.search { margin-top: 2rem } .search input { font: inherit; padding: .2rem .5rem; width: 18rem }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: 13px; margin-top: .5rem }
th, td { text-align: left; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid var(--rule); white-space: nowrap }
.number { text-align: right; font-variant-numeric: tabular-nums }
th button { font: inherit; font-weight: 600; color: inherit; background: none; border: 0; padding: 0; cursor: pointer }
th[aria-sort=ascending] button::after { content: ' ▲' } th[aria-sort=descending] button::after { content: ' ▼' }
@media print { .search { display: none } }
`

/** Searching and sorting. Rows are moved and hidden, never written: what they say stays text. */
const script = `
  const search = document.getElementById('search')
  const found = document.getElementById('found')
  search.addEventListener('input', () => {
    const wanted = search.value.toLowerCase()
    let shown = 0
    for (const row of document.querySelectorAll('tbody tr')) {
      row.hidden = !row.textContent.toLowerCase().includes(wanted)
      if (!row.hidden) shown += 1
    }
    found.textContent = wanted === '' ? '' : shown + ' rows'
  })
  for (const head of document.querySelectorAll('th')) head.firstChild.addEventListener('click', () => {
    const order = head.getAttribute('aria-sort') === 'ascending' ? 'descending' : 'ascending'
    for (const other of head.parentNode.children) other.removeAttribute('aria-sort')
    head.setAttribute('aria-sort', order)
    const body = head.closest('table').tBodies[0]
    const textOf = (row) => row.cells[head.cellIndex].textContent
    const sorted = [...body.rows].sort((a, b) => textOf(a).localeCompare(textOf(b), 'en', { numeric: true }))
    body.append(...(order === 'ascending' ? sorted : sorted.reverse()))
  })
`
