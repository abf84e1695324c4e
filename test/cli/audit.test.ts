import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { folder, made } from '../trail/events'
import { useProgram } from './support'

// `audit` as a person runs it, and as a job of the night does.
const cli = useProgram()
const trail = folder()
const other = folder()
const known = made({ record: 'User/1' })
let log: string
beforeAll(() => {
  trail.records([known, made({ record: 'User/2', sourceIPAddress: '203.0.113.77' })])
  const line = {
    time: known.eventTime,
    operation: 'unwrap',
    record: 'User/1',
    outcome: 'ok',
    requestId: known.requestID,
  }
  log = other.lines([line], 'app.ndjson')
})
afterAll(() => {
  trail.remove()
  other.remove()
})

test('tells who opened what, and needs neither models nor a database', async () => {
  const { code, stdout, stderr } = await cli.run(['audit', trail.path])
  expect([code, stderr]).toEqual([0, ''])
  expect(stdout).toMatch(/^Read 2 events of 1 files/)
  expect(stdout).toMatch(/User\/2 +1/)
})

test('ends with exit code 3 where there are calls that the application does not know', async () => {
  const out = join(other.path, 'report.json')
  const { code, stdout } = await cli.run(['audit', trail.path, '--app-log', log, '--format', 'json', '--out', out])
  expect([code, stdout]).toEqual([3, ''])
  expect(JSON.parse(readFileSync(out, 'utf8')).join.unknown).toMatchObject({
    count: 1,
    rows: [{ record: 'User/2', address: '203.0.113.77' }],
  })
  expect((await cli.run(['audit', trail.path, '--app-log', log, '--record', 'User/1'])).code).toBe(0)
})

test('ends with exit code 1 where something could not be read', async () => {
  const bad = other.write('{"broken', 'bad.json')
  const { code, stderr, stdout } = await cli.run(['audit', trail.path, bad])
  expect([code, stderr]).toEqual([1, expect.stringContaining('bad.json: line 1')])
  expect(stdout).toContain('NOT READ: 1')
})

test('refuses wrong use', async () => {
  for (const args of [[], [trail.path, '--format', 'xml'], [trail.path, '--since', 'yesterday']])
    expect((await cli.run(['audit', ...args])).code).toBe(2)
})
