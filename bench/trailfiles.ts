import { createHash } from 'node:crypto'
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { assumedRole, cloudTrailEvent } from '../test/kms/cloudtrail'

const key = 'arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab'
const days = 30

const uuid = (hex: string) => hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')

/** The same event for the same number, in every run: about as many records as events, 40 sessions, 40 addresses. */
function eventOf(number: number, of: number) {
  const hex = createHash('md5').update(String(number)).digest('hex')
  const record = Number.parseInt(hex.slice(0, 12), 16) % of
  const at = new Date(Date.UTC(2026, 10, 1) + Math.floor((number / of) * days * 86_400) * 1000)
  const eventTime = at.toISOString().replace('.000Z', 'Z')
  const event = cloudTrailEvent(
    {
      eventTime,
      eventName: number % 10 === 0 ? 'GenerateDataKey' : 'Decrypt',
      requestId: uuid([...hex].reverse().join('')),
      awsRegion: 'us-east-1',
      principal: 'app',
      userAgent: 'aws-sdk-js/3.1164.0 ua/2.1 os/linux lang/js md/nodejs#22.12.0 api/kms#3.1164.0 m/E',
      requestParameters: {
        keyId: key,
        encryptionContext: { Record: `User/${record.toString(16).padStart(24, '65f0c0ffee')}` },
      },
      keyId: key,
    },
    {
      userIdentity: assumedRole('app', `task-${number % 40}`),
      sourceIPAddress: `10.0.${number % 4}.${number % 10}`,
      eventTime,
    },
  )
  return { ...event, eventID: uuid(hex) }
}

type Event = ReturnType<typeof eventOf> & Record<string, any>

/** What `auditLog()` would have written of it. */
function lineOf({ requestID, eventTime, requestParameters }: Event): string {
  const record = requestParameters.encryptionContext.Record
  return `${JSON.stringify({ time: eventTime, operation: 'unwrap', record, outcome: 'ok', requestId: requestID })}\n`
}

/** CloudTrail's files of a month, and the application's log, which has nothing of each thousandth event. */
export interface TrailFiles {
  readonly trail: string
  readonly appLog: string
}

export function writeTrail(folder: string, events: number, files: number): TrailFiles {
  const trail = join(folder, 'trail')
  const appLog = join(folder, 'app.ndjson')
  mkdirSync(trail)
  const perFile = Math.ceil(events / files)
  for (let first = 0, file = 0; first < events; first += perFile, file++) {
    const length = Math.min(perFile, events - first)
    const Records = Array.from({ length }, (_none, index) => eventOf(first + index, events) as Event)
    const name = `111122223333_CloudTrail_us-east-1_${String(file).padStart(4, '0')}.json.gz`
    writeFileSync(join(trail, name), gzipSync(JSON.stringify({ Records }), { level: 1 }))
    const known = Records.filter((_event, index) => (first + index) % 1000 !== 1)
    appendFileSync(appLog, known.map(lineOf).join(''))
  }
  return { trail, appLog }
}
