import { randomUUID } from 'node:crypto'
import { mkdirSync, statSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { type AuditOptions, auditTrail, type Progress } from '../../lib/trail/audit'
import { assumedRole } from '../kms/cloudtrail'
import { folder, keyArn, type Made, made, others } from './events'

let files: ReturnType<typeof folder>
beforeEach(() => {
  files = folder()
})
afterEach(() => files.remove())

/** Events of a record at so many minutes past noon. */
const times = (count: number, event: Made) =>
  Array.from({ length: count }, (_, index) =>
    made({ at: `2026-11-30T12:${String(index % 60).padStart(2, '0')}:00Z`, ...event }),
  )

const report = (options: Partial<AuditOptions> = {}) => auditTrail({ paths: [files.path], ...options })

/** What the application logs of a call. */
const line = (requestId: string | undefined, more: object = {}) => ({
  time: '2026-11-30T12:00:00.000Z',
  operation: 'unwrap',
  record: 'User/1',
  outcome: 'ok',
  requestId,
  ...more,
})

test('counts calls by record, by caller and by hour, of all that AWS gives', async () => {
  files.records([...others(), made({ record: 'User/1', at: '2026-11-30T09:10:00Z' })])
  files.write(
    JSON.stringify({ Events: [{ CloudTrailEvent: JSON.stringify(made({ record: 'User/2' })) }] }, undefined, 4),
  )
  files.lines([
    made({ record: 'User/1', operation: 'GenerateDataKey' }),
    made({ record: 'User/2', operation: 'ReEncrypt' }),
  ])
  files.write(
    gzipSync(`${JSON.stringify(made({ record: 'User/1', operation: 'GenerateDataKeyWithoutPlaintext' }))}\n`),
    'a.jsonl.gz',
  )
  files.write('not read: its name is of no log', 'notes.txt')
  const { read, total, records, principals, hours } = await report()
  expect(read).toMatchObject({ files: 4, events: 10, counted: 5, problems: { count: 0 } })
  expect(total).toMatchObject({ opened: 2, generated: 2, rewrapped: 1, failed: 0, first: '2026-11-30T09:10:00.000Z' })
  expect(records).toMatchObject({
    count: 2,
    rows: [
      {
        record: 'User/1',
        opened: 1,
        generated: 2,
        first: '2026-11-30T09:10:00.000Z',
        last: '2026-11-30T12:00:00.000Z',
      },
      { record: 'User/2', opened: 1, rewrapped: 1 },
    ],
  })
  expect(principals.rows).toMatchObject([{ address: '10.0.0.1', agent: 'aws-sdk-js/3.1164.0', opened: 2 }])
  expect(hours).toMatchObject([
    { hour: '2026-11-30T09:00:00.000Z', opened: 1 },
    { hour: '2026-11-30T12:00:00.000Z', opened: 1, generated: 2, rewrapped: 1 },
  ])
})

test('files in folders of folders are read, and digests are passed over', async () => {
  mkdirSync(join(files.path, '2026', '11'), { recursive: true })
  files.records([made({ record: 'User/1' })], '2026/11/a.json.gz')
  files.write(
    gzipSync(JSON.stringify({ digestStartTime: '2026-11-30T12:00:00Z', logFiles: [] })),
    '2026/11/digest.json.gz',
  )
  expect((await report()).read).toMatchObject({ files: 2, counted: 1, problems: { count: 0 } })
})

test('a folder in which nothing is to be read is told of, and so is a link to one; links to files are followed', async () => {
  mkdirSync(join(files.path, 'empty'))
  mkdirSync(join(files.path, 'links'))
  const elsewhere = folder()
  try {
    elsewhere.records([made({ record: 'User/1' })], 'a.json.gz')
    symlinkSync(join(elsewhere.path, 'a.json.gz'), join(files.path, 'links', 'a.json.gz'))
    symlinkSync(elsewhere.path, join(files.path, 'links', 'more'))
    symlinkSync(join(elsewhere.path, 'gone'), join(files.path, 'links', 'none'))
    const { read } = await report({ paths: [join(files.path, 'empty'), join(files.path, 'links')] })
    expect(read).toMatchObject({ counted: 1, problems: { count: 3 } })
    const problems = read.problems.rows.map(({ file }) => file.slice(files.path.length))
    expect(problems).toEqual(['/empty', '/links/more', '/links/none'])
  } finally {
    elsewhere.remove()
  }
})

test('a log that was put aside is read, by whatever number or date', async () => {
  files.records([made({ record: 'User/1', requestId: 'one' }), made({ record: 'User/1', requestId: 'two' })])
  const logs = folder()
  try {
    logs.write(JSON.stringify(line('one')), 'audit.log.1')
    logs.write(gzipSync(JSON.stringify(line('two'))), 'audit.log-20261130.gz')
    expect((await report({ appLog: [logs.path] })).join).toMatchObject({ lines: 2, unknown: { count: 0 } })
  } finally {
    logs.remove()
  }
})

test('an event that is delivered twice counts once', async () => {
  const event = made({ record: 'User/1' })
  const shared = { ...made({ record: 'User/1' }), sharedEventID: randomUUID() }
  files.records([event, shared])
  files.records([event, { ...shared, eventID: randomUUID() }])
  expect((await report()).read).toMatchObject({ counted: 2, repeated: 2 })
})

test('what cannot be read is told, and the rest is read', async () => {
  files.lines(
    ['{"broken', made({ record: 'User/1' }), 'null', { ...made({ record: 'User/1' }), eventTime: '' }],
    'a.ndjson',
  )
  const whole = gzipSync(JSON.stringify({ Records: times(500, { record: 'User/2' }) }))
  files.write(whole.subarray(0, whole.length - 100), 'b.json.gz')
  files.write(gzipSync('damaged').fill(7, 4), 'c.json.gz')
  const problems: string[] = []
  const { read, records } = await report({
    paths: [files.path, join(files.path, 'missing')],
    onProblem: ({ file, place }) => problems.push(`${file.slice(files.path.length + 1)} ${place}`),
  })
  expect(problems).toEqual([
    'a.ndjson line 1',
    'a.ndjson line 3',
    'a.ndjson line 4',
    'b.json.gz ',
    'c.json.gz ',
    'missing ',
  ])
  expect(read.problems.count).toBe(6)
  const [truncated] = records.rows
  expect(truncated).toMatchObject({ record: 'User/2' })
  expect(truncated!.opened).toBeGreaterThan(300)
  expect(records.count).toBe(2)
})

describe('only what is asked for', () => {
  beforeEach(() => {
    const intruder = { userIdentity: assumedRole('intruder', 's') }
    files.records([
      made({ record: 'User/1', at: '2026-11-30T10:00:00Z' }),
      made({ record: 'User/2', at: '2026-11-30T11:00:00Z', ...intruder }),
      made({ record: 'UserNote/1', at: '2026-11-30T12:00:00Z' }),
    ])
  })
  const asked: [name: string, options: Partial<AuditOptions>, records: string[]][] = [
    ['a record', { record: 'User/1' }, ['User/1']],
    ['a model', { model: 'User' }, ['User/1', 'User/2']],
    ['a role', { principal: 'role/intruder' }, ['User/2']],
    ['a session', { principal: 'intruder/s' }, ['User/2']],
    ['from a time on', { since: new Date('2026-11-30T11:00:00Z') }, ['User/2', 'UserNote/1']],
    ['up to a time', { until: new Date('2026-11-30T11:00:00Z') }, ['User/1']],
    ['both', { model: 'User', since: new Date('2026-11-30T10:30:00Z') }, ['User/2']],
  ]
  test.each(asked)('%s', async (_name, options, expected) => {
    const { records, read } = await report(options)
    expect(records.rows.map(({ record }) => record)).toEqual(expected)
    expect(read).toMatchObject({ events: 3, counted: expected.length })
  })

  test('of one record, each call is listed in order, with what the application says of it', async () => {
    const event = made({ record: 'User/1', requestId: randomUUID(), at: '2026-11-30T09:00:00Z' })
    files.records([event])
    const log = files.lines(
      [line(String(event.requestID), { actor: 'ada', reason: 'case 7', read: ['email'] })],
      'app.log',
    )
    const { calls } = await report({ paths: [files.path], record: 'User/1', appLog: [log] })
    expect(calls).toMatchObject({
      count: 2,
      rows: [
        { time: '2026-11-30T09:00:00.000Z', known: true, actor: 'ada', reason: 'case 7', fields: 'email' },
        { time: '2026-11-30T10:00:00.000Z', known: false },
      ],
    })
  })
})

test('a data key that is re-wrapped for another record is a call for both', async () => {
  const event = made({ operation: 'ReEncrypt' })
  const requestParameters = {
    sourceEncryptionContext: { Record: 'User/1' },
    destinationEncryptionContext: { Record: 'User/2' },
  }
  files.records([{ ...event, requestParameters }])
  expect((await report()).records.rows).toMatchObject([
    { record: 'User/1', rewrapped: 1 },
    { record: 'User/2', rewrapped: 1 },
  ])
  expect((await report({ record: 'User/2' })).total).toMatchObject({ rewrapped: 1 })
})

describe('what is unusual', () => {
  test('denied, refused and failed calls, those that name no record by the keys of records', async () => {
    const elsewhere = { key: keyArn.replace('1234abcd', '9999ffff') }
    files.records([
      made({ record: 'User/1' }),
      made({ errorCode: 'AccessDeniedException' }),
      made({ errorCode: 'AccessDeniedException' }),
      made({ errorCode: 'AccessDeniedException', ...elsewhere }),
      made({ record: 'User/1', errorCode: 'InvalidCiphertextException' }),
      made({ record: 'User/1', errorCode: 'ThrottlingException' }),
      made({ operation: 'GenerateDataKey' }),
      made({ operation: 'GenerateDataKey', ...elsewhere }),
    ])
    const { refusals, unnamed, total } = await report()
    expect(refusals.rows).toMatchObject([
      { kind: 'denied', error: 'AccessDenied', record: undefined, count: 2 },
      { kind: 'refused', error: 'InvalidCiphertextException', record: 'User/1', count: 1 },
      { kind: 'failed', error: 'ThrottlingException', count: 1 },
    ])
    expect(unnamed).toMatchObject({ count: 1, rows: [{ operation: 'GenerateDataKey', key: keyArn, count: 1 }] })
    expect(total).toMatchObject({ opened: 1, failed: 2 })
  })

  test('a call that the application knows is one of its own, whatever is missing in the event', async () => {
    const event = made({ errorCode: 'AccessDeniedException' })
    files.records([{ ...event, resources: undefined, errorMessage: undefined }])
    const log = files.lines([line(String(event.requestID), { outcome: 'KMS_ACCESS_DENIED' })], 'app.log')
    expect((await report()).refusals.count).toBe(0)
    const { refusals, join } = await report({ appLog: [log] })
    expect(refusals).toMatchObject({ count: 1, rows: [{ count: 1, unknown: 0 }] })
    expect(join).toMatchObject({ unknown: { count: 0 }, missing: { count: 0 } })
  })

  test('openings in bulk, beside what is usual for a role', async () => {
    const hour = (hour: number, count: number, event: Made = {}) =>
      Array.from({ length: count }, (_, index) =>
        made({ record: `User/${index}`, at: `2026-11-30T${String(hour).padStart(2, '0')}:30:00Z`, ...event }),
      )
    const once = { userIdentity: assumedRole('admin', 's') }
    files.records(
      [8, 9, 10, 11, 13].flatMap((each) => hour(each, 50, { userIdentity: assumedRole('app', `s${each}`) })),
    )
    files.records([...hour(12, 260), ...hour(14, 99, once), ...hour(15, 100, once)])
    files.records(hour(16, 500, { operation: 'GenerateDataKey' }))
    expect((await report()).bulk.rows).toEqual([
      { hour: '2026-11-30T12:00:00.000Z', identity: 'arn:aws:iam::111122223333:role/app', opened: 260, usual: 50 },
      {
        hour: '2026-11-30T15:00:00.000Z',
        identity: 'arn:aws:iam::111122223333:role/admin',
        opened: 100,
        usual: undefined,
      },
    ])
  })

  test('principals and addresses that are not in the events before the period', async () => {
    const before = '2026-11-29T12:00:00Z'
    files.records([
      made({ record: 'User/1', at: before }),
      made({ record: 'User/1', userIdentity: assumedRole('app', 'task-2') }),
      made({ record: 'User/1', userIdentity: assumedRole('intruder', 's'), sourceIPAddress: '203.0.113.9' }),
    ])
    const since = new Date('2026-11-30T00:00:00Z')
    const { newcomers, total } = await report({ since })
    expect(newcomers?.rows).toEqual([
      {
        kind: 'principal',
        name: 'arn:aws:iam::111122223333:role/intruder',
        calls: 1,
        first: '2026-11-30T12:00:00.000Z',
      },
      { kind: 'address', name: '203.0.113.9', calls: 1, first: '2026-11-30T12:00:00.000Z' },
    ])
    expect(total.opened).toBe(2)
    expect(await report()).not.toHaveProperty('newcomers')
  })

  test('records opened far more often than others of their model', async () => {
    const each = (model: string, count: number) =>
      Array.from({ length: 20 }, (_, index) => times(count, { record: `${model}/${index}` })).flat()
    files.records([...each('User', 3), ...times(30, { record: 'User/often' }), ...times(29, { record: 'User/less' })])
    files.records([...each('Note', 30), ...times(60, { record: 'Note/0' })])
    expect((await report()).frequent).toEqual({ count: 1, rows: [{ record: 'User/often', opened: 30, usual: 3 }] })
  })
})

describe("joined with the application's log", () => {
  test('calls that it knows nothing of, and lines that CloudTrail lacks', async () => {
    const known = made({ record: 'User/1' })
    const unknown = made({ record: 'User/2', userIdentity: assumedRole('intruder', 's') })
    const failed = made({ record: 'User/2', errorCode: 'InvalidCiphertextException' })
    files.records([known, unknown, failed])
    const missing = randomUUID()
    const log = files.lines(
      [
        line(String(known.requestID)),
        line(missing, { actor: 'ada' }),
        line(randomUUID(), { outcome: 'KMS_ACCESS_DENIED' }),
        line(randomUUID(), { time: '2026-11-30T12:10:00.000Z' }),
        line(undefined, { outcome: 'KMS_UNREACHABLE' }),
        { level: 'info', message: 'another line of the same file' },
        '{"broken',
      ],
      'app.txt',
    )
    const { join, read, records } = await report({ appLog: [log] })
    expect(join).toMatchObject({ lines: 5, unanswered: 1, later: 1 })
    expect(join?.unknown).toMatchObject({
      count: 1,
      rows: [{ record: 'User/2', requestId: unknown.requestID, known: false }],
    })
    expect(join?.missing).toMatchObject({ count: 1, rows: [{ requestId: missing, actor: 'ada', record: 'User/1' }] })
    expect(read.problems).toMatchObject({ count: 1, rows: [{ place: 'line 7' }] })
    expect(records.rows.map(({ record, unknown }) => [record, unknown])).toEqual([
      ['User/2', 1],
      ['User/1', 0],
    ])
  })

  test('what is not asked for is no gap', async () => {
    const others = made({ record: 'Note/1', at: '2026-11-30T08:00:00Z' })
    files.records([others, made({ record: 'User/1' })])
    const log = files.lines([line(String(others.requestID), { record: 'Note/1' })], 'app.txt')
    expect((await report({ appLog: [log], model: 'User' })).join).toMatchObject({
      unknown: { count: 1 },
      missing: { count: 0 },
    })
    const since = new Date('2026-11-30T11:00:00Z')
    expect((await report({ appLog: [log], since })).join).toMatchObject({
      unknown: { count: 1 },
      missing: { count: 0 },
    })
    expect((await report({ appLog: [log], model: 'Note' })).join).toMatchObject({ unknown: { count: 0 } })
  })
})

test('progress tells how much of the files was read, also within a large one', async () => {
  const small = files.records([made({ record: 'User/1' })])
  const large = files.lines(times(8000, { record: 'User/1' }))
  const sizes = [small, large].map((path) => statSync(path).size) as [number, number]
  const progress: Progress[] = []
  await report({ onProgress: (each) => progress.push(each) })
  const of = sizes[0] + sizes[1]
  expect(progress[0]).toEqual({ bytes: 0, of, events: 0 })
  expect(progress[1]).toEqual({ bytes: sizes[0], of, events: 1 })
  expect(progress.at(-1)).toEqual({ bytes: of, of, events: 8001 })
  const within = progress.slice(2, -1)
  expect(within.length).toBeGreaterThan(0)
  for (const { bytes, events } of within) {
    expect(bytes).toBeGreaterThan(sizes[0])
    expect(events).toBeGreaterThan(1)
  }
})
