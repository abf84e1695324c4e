// How fast CloudTrail's files are read into a report, and in how much memory, beside `gunzip` and `JSON.parse` alone:
//
//     npm run bench:trail [-- --events 1000000 --files 200 --records 1000000]
//
// Both run in processes of their own, the one after the other, three times. It ends with exit code 1 where the report takes more than twice as
// long, or more than 300 MB of memory.
import { fork } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { gunzipSync, gzipSync } from 'node:zlib'
import { auditTrail } from '../lib/trail/audit'
import { assumedRole, cloudTrailEvent } from '../test/kms/cloudtrail'
import { median } from './statistics'

const { values: args } = parseArgs({
  options: {
    events: { type: 'string', default: '1000000' },
    files: { type: 'string', default: '200' },
    records: { type: 'string', default: '1000000' },
    rounds: { type: 'string', default: '3' },
    read: { type: 'string' },
    as: { type: 'string' },
  },
})
const [events, files, records, rounds] = [args.events, args.files, args.records, args.rounds].map(Number) as [
  number,
  number,
  number,
  number,
]
const maxMegabytes = 300
const maxTimes = 2
const key = 'arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab'

interface Measured {
  readonly seconds: number
  readonly megabytes: number
  readonly counted: number
  readonly different: number
}

/** The same event for the same number, in every run. */
function eventOf(number: number) {
  const hex = createHash('md5').update(String(number)).digest('hex')
  const uuid = (of: string) => of.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
  const record = Number.parseInt(hex.slice(0, 12), 16) % records
  const eventTime = new Date(Date.UTC(2026, 10, 1) + Math.floor((number / events) * 30 * 86_400) * 1000)
  const operation = number % 10 === 0 ? 'GenerateDataKey' : 'Decrypt'
  const event = cloudTrailEvent(
    {
      eventTime: eventTime.toISOString(),
      eventName: operation,
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
      eventTime: eventTime.toISOString().replace('.000Z', 'Z'),
    },
  )
  return { ...event, eventID: uuid(hex) }
}

function generate(folder: string): void {
  const perFile = Math.ceil(events / files)
  for (let file = 0; file < files; file++) {
    const numbers = Array.from(
      { length: Math.min(perFile, events - file * perFile) },
      (_, index) => file * perFile + index,
    )
    const name = `111122223333_CloudTrail_us-east-1_${String(file).padStart(4, '0')}.json.gz`
    writeFileSync(join(folder, name), gzipSync(JSON.stringify({ Records: numbers.map(eventOf) }), { level: 1 }))
  }
  const lines = Array.from({ length: events }, (_, number) => number)
    .filter((number) => number % 1000 !== 1)
    .map((number) => {
      const { requestID, eventTime, requestParameters } = eventOf(number) as Record<string, any>
      const record = requestParameters.encryptionContext.Record
      return JSON.stringify({ time: eventTime, operation: 'unwrap', record, outcome: 'ok', requestId: requestID })
    })
  writeFileSync(join(folder, '..', 'app.ndjson'), lines.join('\n'))
}

/** What a program would do that reads file by file, and keeps nothing of it. */
async function parse(folder: string) {
  let counted = 0
  for (const name of readdirSync(folder)) {
    counted += JSON.parse(gunzipSync(readFileSync(join(folder, name))).toString()).Records.length
  }
  return { counted, different: 0 }
}

async function audit(folder: string, appLog?: readonly string[]) {
  const { read, records, join } = await auditTrail({ paths: [folder], appLog })
  if (join) console.log(`  unknown to the application: ${join.unknown.count}`)
  return { counted: read.counted, different: records.count }
}

const works = {
  parse,
  audit,
  join: (folder: string) => audit(folder, [join(folder, '..', 'app.ndjson')]),
}

/** In a process of its own, whose memory is that of this work alone. */
function measure(folder: string, as: keyof typeof works): Promise<Measured> {
  return new Promise((resolve, reject) => {
    const child = fork(__filename, ['--read', folder, '--as', as])
    child.once('message', (message) => resolve(message as Measured))
    child.once('exit', (code) => reject(new Error(`${as} ended with ${code}`)))
  })
}

async function run(): Promise<void> {
  const root = mkdtempSync(join(tmpdir(), 'bench-trail-'))
  const folder = join(root, 'trail')
  mkdirSync(folder)
  try {
    generate(folder)
    const measured: Record<keyof typeof works, Measured[]> = { parse: [], audit: [], join: [] }
    for (let round = 0; round < rounds; round++)
      for (const as of Object.keys(works) as (keyof typeof works)[]) measured[as].push(await measure(folder, as))
    for (const [as, each] of Object.entries(measured)) {
      const seconds = each.map(({ seconds }) => seconds.toFixed(1)).join(', ')
      const megabytes = Math.max(...each.map(({ megabytes }) => megabytes))
      const { counted, different } = each[0]!
      console.log(
        `${as}: ${counted} events, ${different} records; seconds ${seconds}; at most ${megabytes.toFixed(0)} MB`,
      )
    }
    const secondsOf = (as: keyof typeof works) => median(measured[as].map(({ seconds }) => seconds))
    const times = secondsOf('audit') / secondsOf('parse')
    const megabytes = Math.max(...measured.audit.map(({ megabytes }) => megabytes))
    console.log(
      `The report takes ${times.toFixed(2)} times as long as gunzip and JSON.parse alone, and ${megabytes.toFixed(0)} MB.`,
    )
    if (times > maxTimes || megabytes > maxMegabytes) process.exitCode = 1
  } finally {
    rmSync(root, { recursive: true })
  }
}

async function work(folder: string, as: keyof typeof works): Promise<void> {
  const start = performance.now()
  const counts = await works[as](folder)
  // The most that the process ever had, as the system counts it, in kilobytes.
  const megabytes = process.resourceUsage().maxRSS / 1024
  process.send?.({ seconds: (performance.now() - start) / 1000, megabytes, ...counts })
}

void (args.read === undefined ? run() : work(args.read, args.as as keyof typeof works))
