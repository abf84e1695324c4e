import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { outcomeOf } from './goal'
import type { Part } from './part'
import { cell } from './report'
import { type TrailFiles, writeTrail } from './trailfiles'

const eventsPerDocument = 5
const fileCount = 200
const ways = { parse: 'gunzip and JSON.parse alone', audit: 'the report', join: "with the application's log" } as const

type Way = keyof typeof ways

/** What a process is told. */
export interface Reading {
  readonly way: Way
  readonly files: TrailFiles
}

/** What it tells. */
export interface Read {
  readonly events: number
  readonly seconds: number
  readonly megabytes: number
}

async function read(reading: Reading, events: number): Promise<Read> {
  const worker = fork(join(__dirname, 'trailworker.ts'), [JSON.stringify(reading)])
  const [read] = (await once(worker, 'message')) as [Read]
  await once(worker, 'exit')
  if (read.events !== events) throw new Error(`Of ${events} events, ${reading.way} has read ${read.events}.`)
  return read
}

export const trail: Part = {
  title: 'Audit of CloudTrail',
  async run({ rounds, documents }) {
    const folder = mkdtempSync(join(tmpdir(), 'bench-trail-'))
    const events = documents * eventsPerDocument
    const measured: Record<Way, Read>[] = []
    try {
      const files = writeTrail(folder, events, fileCount)
      for (let round = 0; round < Math.min(rounds, 3); round++) {
        const of = async (way: Way) => read({ way, files }, events)
        measured.push({ parse: await of('parse'), audit: await of('audit'), join: await of('join') })
      }
    } finally {
      rmSync(folder, { recursive: true })
    }
    const of = (way: Way, what: 'seconds' | 'megabytes') => measured.map((round) => round[way][what])
    return {
      goals: [
        outcomeOf(
          { what: 'time of the report / gunzip and JSON.parse alone', limit: 2 },
          measured.map(({ parse, audit }) => audit.seconds / parse.seconds),
        ),
        outcomeOf({ what: 'MB of memory of the report', limit: 300 }, of('audit', 'megabytes')),
      ],
      tables: [
        {
          head: ['', 'time', 'most resident memory'],
          rows: (Object.keys(ways) as Way[]).map((way) => [
            ways[way],
            cell(of(way, 'seconds'), 's'),
            cell(of(way, 'megabytes'), 'MB'),
          ]),
        },
      ],
      notes: [`${events} events in ${fileCount} gzipped files, each read by a process of its own.`],
    }
  },
}
