import { auditTrail } from '../../lib/trail/audit'
import { type KmsStandIn, startKms } from '../kms'
import { useDatabase } from '../support'
import { aDay, type Day } from './day'
import { folder } from './events'

// A day of an application on a KMS that writes CloudTrail's events, with somebody who uses the key beside it.
const { connection } = useDatabase()
const files = folder()
const trail = folder()
let kms: KmsStandIn
let day: Day
beforeAll(async () => {
  kms = await startKms()
  day = await aDay(kms, connection, `${files.path}/audit.ndjson`)
  const third = Math.ceil(day.events.length / 3)
  trail.records(day.events.slice(0, third))
  trail.write(
    JSON.stringify({
      Events: day.events.slice(third, 2 * third).map((event) => ({
        EventId: event.eventID,
        EventName: event.eventName,
        CloudTrailEvent: JSON.stringify(event),
      })),
    }),
  )
  trail.lines(day.events.slice(2 * third))
})
afterAll(async () => {
  files.remove()
  trail.remove()
  await kms.stop()
})

const audit = (options = {}) => auditTrail({ paths: [trail.path], appLog: [`${files.path}/audit.ndjson`], ...options })

test("names exactly the intruder's openings as those that the application does not know", async () => {
  const { join, read } = await audit()
  expect(read).toMatchObject({ problems: { count: 0 }, repeated: 6 })
  expect(join).toMatchObject({ unanswered: 0, later: 0, missing: { count: 0 } })
  expect(join!.unknown.rows.map(({ requestId }) => requestId).sort()).toEqual(
    day.intrusions.map(({ requestId }) => requestId).sort(),
  )
  const [ada, grace] = day.records
  expect(join!.unknown).toMatchObject({
    count: 3,
    rows: [
      { operation: 'Decrypt', record: grace, address: '203.0.113.77' },
      { operation: 'ReEncrypt', record: grace, to: ada },
      { operation: 'GenerateDataKey', record: ada },
    ],
  })
  for (const { principal } of join!.unknown.rows) expect(principal).toContain(`/${day.intruder}/`)
})

test('counts what the application did, each event once, and shows what was refused', async () => {
  const { total, refusals, records, principals } = await audit()
  expect(total).toMatchObject({ opened: 13, generated: 7, rewrapped: 1, failed: 2, unknown: 3 })
  expect(records.rows.map(({ record }) => record).sort()).toEqual([...day.records].sort())
  expect(principals.count).toBe(2)
  expect(refusals.rows.map(({ kind, count, unknown }) => [kind, count, unknown].join(' ')).sort()).toEqual([
    'denied 1 1',
    'refused 1 0',
    'refused 1 1',
  ])
})

test('of one record, says who opened it and for what reason', async () => {
  const [, grace] = day.records
  const { calls } = await audit({ record: grace })
  expect(calls!.rows.map(({ operation, actor, reason, known }) => [operation, actor, reason, known])).toEqual([
    ['GenerateDataKey', undefined, undefined, true],
    ['Decrypt', 'support', 'case 7', true],
    ['Decrypt', 'billing', 'case 7', true],
    ['Decrypt', undefined, undefined, false],
    ['ReEncrypt', undefined, undefined, false],
  ])
})

test('a line that CloudTrail lacks is told', async () => {
  const { requestId } = kms.calls.find(
    ({ eventName, principal }) => eventName === 'Decrypt' && principal === 'AKIDAPP',
  )!
  const partial = folder()
  partial.records(day.events.filter(({ requestID }) => requestID !== requestId))
  const { join } = await audit({ paths: [partial.path] })
  partial.remove()
  expect(join!.missing.rows).toMatchObject([{ requestId, actor: 'support' }])
})
