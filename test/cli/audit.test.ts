import { existsSync, readFileSync } from 'node:fs'
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

/** Events of another service, as many as take a while to read. */
const much = () =>
  other.write(Buffer.alloc(64_000_000, `${JSON.stringify({ eventSource: 's3.amazonaws.com' })}\n`), 'much.ndjson')

test('shows a bar on a terminal, and the report below it', async () => {
  const screen = cli.open(['audit', trail.path])
  expect(await screen.ended).toBe(0)
  expect(screen.text).toMatch(
    /^audit, kB █{24} 100% \| \d+\/\d+ \| \d+\/(s|min) \| 0:00 left\nRead 2 events of 1 files/,
  )
})

test('the bar goes on below what is said on the way', async () => {
  const screen = cli.open(['audit', other.write('{"broken', 'bad.json'), trail.path])
  expect(await screen.ended).toBe(1)
  expect(screen.text).toMatch(/bad\.json: line 1: .*\naudit, kB █{24} 100% \|/)
})

test('Ctrl-C stops it, and there is no report', async () => {
  const out = join(other.path, 'never.html')
  const screen = cli.open(['audit', much(), '--format', 'html', '--out', out])
  await screen.shows(/^audit, kB /m)
  screen.type('\x03')
  expect(await screen.ended).toBe(130)
  expect(screen.text).toMatch(/^Stopped before all was read: there is no report\.$/m)
  expect(existsSync(out)).toBe(false)
})

test('SIGTERM stops it, while it reads the log of the application too', async () => {
  const running = cli.start([
    'audit',
    trail.path,
    '--app-log',
    other.write('{"broken', 'bad.ndjson'),
    '--app-log',
    much(),
  ])
  await running.hasWritten('bad.ndjson: line 1')
  running.child.kill('SIGTERM')
  expect(await running.ended).toMatchObject({ code: 130, stdout: '' })
})

test('refuses wrong use', async () => {
  for (const args of [[], [trail.path, '--format', 'xml'], [trail.path, '--since', 'yesterday']])
    expect((await cli.run(['audit', ...args])).code).toBe(2)
})
