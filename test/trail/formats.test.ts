import { type AuditOptions, auditTrail } from '../../lib/trail/audit'
import { formats } from '../../lib/trail/formats'
import { clean, csvCell, escapeHtml, printableJson } from '../../lib/trail/outside'
import { folder, type Made, made } from './events'

let files: ReturnType<typeof folder>
beforeEach(() => {
  files = folder()
})
afterEach(() => files.remove())

async function reportOn(events: readonly Made[], options: Partial<AuditOptions> = {}) {
  files.records(events.map(made))
  return auditTrail({ paths: [files.path], ...options })
}

/** Whatever somebody outside may put into a name, a context or a user agent. */
const hostile = {
  terminal: '\u001b[2J\u001b]0;owned\u0007',
  eightBit: '\u009b31m',
  line: 'User/1\nUser/2\r\nALARM',
  direction: 'User/\u202e1\u2066',
  markup: `</script><script>alert(1)</script><img src=x onerror=alert(1)>`,
  attribute: `" onmouseover="alert(1)' x='`,
  formula: '=HYPERLINK("http://example.org";"open")',
  sum: '+1+1',
  minus: '-2+3',
  at: '@SUM(A1)',
  tabbed: '\t=1+1',
  wide: '＝1+1',
  unseen: 'admin\u2060\u{e0041}',
}

test('what a terminal would obey is not printed', async () => {
  const report = await reportOn(Object.values(hostile).map((text) => ({ record: `User/${text}`, userAgent: text })))
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  const obeyed = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2060-\u2069]|\u{e0041}/u
  expect(formats.table(report)).not.toMatch(obeyed)
  expect(formats.json(report)).not.toMatch(obeyed)
  expect(formats.csv(report).replaceAll('\r\n', '')).not.toMatch(obeyed)
  expect(formats.html(report)).not.toMatch(obeyed)
})

test('JSON says the same, whatever is in it', async () => {
  const report = await reportOn([{ record: hostile.direction, userAgent: hostile.terminal }])
  expect(JSON.parse(formats.json(report))).toEqual(JSON.parse(JSON.stringify(report)))
  expect(JSON.parse(printableJson({ [hostile.line]: hostile }))).toEqual({ [hostile.line]: hostile })
})

test('in CSV, nothing is a formula, and each row has its columns', async () => {
  const report = await reportOn(Object.values(hostile).map((text) => ({ record: text, userAgent: text })))
  const rows = parseCsv(formats.csv(report))
  const [head, ...lines] = rows
  expect(lines.length).toBeGreaterThan(Object.keys(hostile).length)
  for (const line of lines) {
    expect(line).toHaveLength(head!.length)
    for (const cell of line) expect(cell).not.toMatch(/^\s*[=+\-@＝]/)
  }
  const records = lines.filter(([table]) => table === 'records').map((line) => line[head!.indexOf('record')])
  expect(records).toContain(`'${hostile.formula}`)
  expect(records).toContain(hostile.markup)
})

test('cells', () => {
  expect(csvCell(-5)).toBe('-5')
  expect(csvCell('-5')).toBe(`"'-5"`)
  expect(csvCell('a,b')).toBe('"a,b"')
  expect(csvCell('say "a"')).toBe('"say ""a"""')
  expect(clean('a\nb')).toBe('a\ufffdb')
})

test('in HTML, everything from outside is text', async () => {
  const report = await reportOn(
    Object.values(hostile).map((text) => ({ record: text, userAgent: text })),
    {
      principal: '',
      model: undefined,
    },
  )
  const html = formats.html(report)
  expect(html.match(/<script/g)).toHaveLength(1)
  expect(html).not.toContain('<img')
  expect(html).not.toContain(hostile.attribute)
  expect(html).toContain(escapeHtml(hostile.markup))
})

test('in HTML, what was asked for and the names of files are text too', async () => {
  files.lines(['{"broken'], `${'<b>'}.ndjson`)
  const html = formats.html(await reportOn([], { record: hostile.markup }))
  expect(html).toContain('NOT READ')
  expect(html).not.toContain('<b>')
  expect(html.match(/<script/g)).toHaveLength(1)
})

test('the table for a terminal shows what is alarming first, cut to the screen', async () => {
  const many = Array.from({ length: 25 }, (_, index): Made => ({ record: `User/${index}` }))
  const report = await reportOn([...many, { record: 'User/0', errorCode: 'InvalidCiphertextException' }])
  const text = formats.table(report)
  expect(text.split('\n')[0]).toBe(
    'Read 26 events of 1 files. 26 of them are calls for records from 2026-11-30T12:00 to 2026-11-30T12:00 UTC: 25 opened a data key, 0 generated one, 0 re-wrapped one, 1 failed.',
  )
  expect(text.indexOf('Denied, refused and failed: 1')).toBeLessThan(text.indexOf('By record: 25'))
  expect(text).toContain('… and 5 more')
  expect(text).not.toContain('Openings in bulk')
  expect(text).toMatch(/record +opened +generated +rewrapped +failed +unknown +first +last/)
})

test('nothing to tell is told in every format', async () => {
  const report = await reportOn([])
  expect(formats.table(report)).toContain('0 of them are calls for records')
  expect(parseCsv(formats.csv(report))).toHaveLength(1)
  expect(formats.html(report)).toContain('None.')
  expect(JSON.parse(formats.json(report))).toMatchObject({ total: { opened: 0 } })
})

/** RFC 4180. */
function parseCsv(text: string): string[][] {
  return text
    .split('\r\n')
    .slice(0, -1)
    .map((line) =>
      [...`${line},`.matchAll(/("(?:[^"]|"")*"|[^,]*),/g)].map(([, cell]) =>
        cell!.startsWith('"') ? cell!.slice(1, -1).replaceAll('""', '"') : cell!,
      ),
    )
}
