import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { auditTrail } from '../lib/trail/audit'
import type { Read, Reading } from './trail'
import type { TrailFiles } from './trailfiles'

/** What a program would do that reads file by file, and keeps nothing of it. */
function parse({ trail }: TrailFiles): number {
  let events = 0
  for (const name of readdirSync(trail))
    events += JSON.parse(gunzipSync(readFileSync(join(trail, name))).toString()).Records.length
  return events
}

async function report({ trail, appLog }: TrailFiles, isJoined: boolean): Promise<number> {
  const { read, join: joined } = await auditTrail({ paths: [trail], appLog: isJoined ? [appLog] : undefined })
  const unknown = Math.ceil((read.counted - 1) / 1000)
  if (joined && joined.unknown.count !== unknown)
    throw new Error(`${joined.unknown.count} openings are unknown to the application, not ${unknown}.`)
  return read.counted
}

/** A process that reads a trail in one way, so that its memory is that of this work alone. */
async function main(): Promise<void> {
  const { way, files }: Reading = JSON.parse(process.argv[2]!)
  const start = performance.now()
  const events = way === 'parse' ? parse(files) : await report(files, way === 'join')
  const read: Read = {
    events,
    seconds: (performance.now() - start) / 1000,
    // The most that the process ever had, as the system counts it, in kilobytes.
    megabytes: process.resourceUsage().maxRSS / 1024,
  }
  process.send!(read)
  process.disconnect()
}

void main()
