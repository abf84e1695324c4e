import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type AuditGiven, runAudit } from '../../lib/trail/command'
import { folder, made } from './events'

const trail = folder()
const other = folder()
const event = made({ record: 'User/1' })
let log: string
beforeAll(() => {
  trail.records([event, made({ record: 'User/2' })])
  log = other.lines(
    [{ operation: 'unwrap', record: 'User/1', outcome: 'ok', requestId: event.requestID, time: event.eventTime }],
    'app.ndjson',
  )
})
afterAll(() => {
  trail.remove()
  other.remove()
})

/** What the command does and says. */
async function run(paths: readonly string[], given: AuditGiven = {}) {
  const said = { text: '', messages: [] as string[], progress: 0 }
  const outcome = await runAudit(paths, given, {
    raw: (text) => {
      said.text += text
    },
    message: (text) => said.messages.push(text),
    progress: () => {
      said.progress += 1
    },
  })
  return { outcome, ...said }
}

test('a report for the terminal, if nothing else is said', async () => {
  const { outcome, text, messages, progress } = await run([trail.path])
  expect([outcome, messages]).toEqual(['done', []])
  expect(text).toMatch(/^Read 2 events of 1 files/)
  expect(progress).toBe(2)
})

test('calls that the application does not know are an outcome of their own', async () => {
  const { outcome, text } = await run([trail.path], { appLog: [log] })
  expect(outcome).toBe('unknown')
  expect(text).toContain('ALARM')
  expect((await run([trail.path], { appLog: [log], record: 'User/1' })).outcome).toBe('done')
})

test('what could not be read is told, and is an outcome too', async () => {
  const bad = other.write('{"broken', 'bad\u001b[2J.json')
  const { outcome, messages, text } = await run([trail.path, bad])
  expect(outcome).toBe('failed')
  expect(messages).toEqual([expect.stringContaining('bad\ufffd[2J.json: line 1: ')])
  expect(text).toContain('NOT READ: 1')
  expect((await run([trail.path, bad], { appLog: [log] })).outcome).toBe('unknown')
})

test('a file in place of the output', async () => {
  const out = join(other.path, 'report.html')
  expect((await run([trail.path], { format: 'html', out })).text).toBe('')
  expect(readFileSync(out, 'utf8')).toMatch(/^<!doctype html>/)
})

test('a period', async () => {
  const { text } = await run([trail.path], { since: '2026-11-30', until: '2026-12-01T00:00:00Z', format: 'json' })
  expect(JSON.parse(text)).toMatchObject({
    asked: { since: '2026-11-30T00:00:00.000Z', until: '2026-12-01T00:00:00.000Z' },
    total: { opened: 2 },
  })
})

const wrong: [paths: string[], given: AuditGiven, message: string][] = [
  [[], {}, 'files or folders'],
  [[trail.path], { format: 'xml' }, 'one of table, json, csv, html'],
  [[trail.path], { format: 'toString' }, 'one of table'],
  [[trail.path], { since: 'yesterday' }, 'since: expected a time'],
  [[trail.path], { until: '30.11.' }, 'until: expected a time'],
]
test.each(wrong)('wrong use is refused: %j %j', async (paths, given, message) => {
  await expect(run(paths, given)).rejects.toMatchObject({
    code: 'OPTION_INVALID',
    message: expect.stringContaining(message),
  })
})
