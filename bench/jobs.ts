import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import mongoose from 'mongoose'
import type { JobResult, RotateOptions } from 'mongoose-kms-encrypted'
import { outcomeOf } from './goal'
import { costOf } from './measure'
import type { Part } from './part'
import { SlowKms } from './providers'
import { encryptedModel, type PlainModel, values } from './records'
import { cell, number } from './report'

/** Of calls to the KMS. A job works on twice as many records as its default: some wait for the KMS while others are read and written. */
const concurrency = 50
/** With so few, two processes wait for the KMS, and not for the cores that they share with the database. */
const fewCalls = 10
const latencyMs = 10
/** To rotate a data key is to unwrap one and to generate one. Both are asked for at once, of a KMS that takes `concurrency` calls at a time. */
const callsPerRecord = 2
const perInsert = 2000

/** What a worker is told. */
export interface Task {
  readonly uri: string
  readonly dbName: string
  readonly collection: string
  readonly latencyMs: number
  readonly concurrency: number
  readonly options: RotateOptions
}

/** What a worker tells. */
export interface Done {
  readonly updated: number
  readonly cpuMs: number
  readonly maxRssMb: number
}

export function jobModel(name: string, concurrency: number) {
  const kms = new SlowKms(concurrency)
  const Model = encryptedModel(name, { provider: kms.provider }) as PlainModel & {
    rotateKmsKey(options?: RotateOptions): Promise<JobResult>
  }
  return { Model, kms }
}

async function fill(name: string, records: number): Promise<void> {
  const { Model } = jobModel(name, concurrency)
  for (let left = records; left > 0; left -= perInsert)
    await Model.insertMany(Array.from({ length: Math.min(left, perInsert) }, values))
}

/** Runs workers side by side, from when all are ready. */
async function work(of: Omit<Task, 'dbName' | 'options'>, eachOptions: readonly RotateOptions[]) {
  const { name: dbName } = mongoose.connection
  const workers: ChildProcess[] = []
  for (const options of eachOptions) {
    const task: Task = { ...of, dbName, options }
    const worker = fork(join(__dirname, 'worker.ts'), [JSON.stringify(task)])
    workers.push(worker)
    await once(worker, 'message')
  }
  let done: Done[] = []
  const { wallMs } = await costOf(async () => {
    const answers = workers.map(async (worker) => ((await once(worker, 'message')) as [Done])[0])
    for (const worker of workers) worker.send('begin')
    done = await Promise.all(answers)
  })
  const sum = (of: 'updated' | 'cpuMs') => done.reduce((all, each) => all + each[of], 0)
  return {
    wallMs,
    updated: sum('updated'),
    cpuMs: sum('cpuMs'),
    maxRssMb: Math.max(...done.map(({ maxRssMb }) => maxRssMb)),
  }
}

async function rotations(uri: string, rounds: number, records: number, concurrency: number) {
  const leastMs = (latencyMs * callsPerRecord * records) / concurrency
  const collection = `Rotated${records}`
  await fill(collection, records)
  const one: number[] = []
  const two: number[] = []
  const cpu: number[] = []
  for (let round = 0; round < rounds; round++) {
    for (const [of, times] of [
      [1, one],
      [2, two],
    ] as const) {
      const options = Array.from({ length: of }, (_none, index) => ({ partition: { index, of } }))
      const { wallMs, updated, cpuMs } = await work({ uri, collection, latencyMs, concurrency }, options)
      if (updated !== records) throw new Error(`Of ${records} records, ${updated} were rotated.`)
      times.push(wallMs)
      cpu.push((cpuMs * 1000) / records)
    }
  }
  return { leastMs, one, two, cpu }
}

async function memory(uri: string, records: number): Promise<number> {
  const name = `Kept${records}`
  await fill(name, records)
  const { maxRssMb } = await work({ uri, collection: name, latencyMs, concurrency }, [{}])
  await mongoose.connection.dropCollection(mongoose.model(name).collection.name)
  return maxRssMb
}

export const jobs: Part = {
  title: 'Jobs over a collection',
  async run({ rounds, documents, uri }) {
    const few = Math.ceil(documents / 10)
    const { leastMs, one, two, cpu } = await rotations(uri, Math.min(rounds, 3), few, concurrency)
    const waiting = await rotations(uri, 1, Math.ceil(few / 10), fewCalls)
    const small = await memory(uri, few)
    const large = await memory(uri, documents)
    const share = one.map((ms) => leastMs / ms)
    return {
      goals: [
        outcomeOf(
          { what: `rotation of ${few} records, speed / what the latency allows`, limit: 0.8, isLeast: true },
          share,
        ),
        outcomeOf({ what: `resident memory of a rotation, ${documents} / ${few} records`, limit: 1.2 }, [
          large / small,
        ]),
        outcomeOf(
          { what: 'two parts in two processes, speed / one', limit: 1.7, isLeast: true },
          one.map((ms, round) => ms / two[round]!),
        ),
      ],
      tables: [
        {
          head: ['rotateKmsKey()', 'records', 'measured'],
          rows: [
            ['what the latency allows', `${few}`, `${number(leastMs / 1000)} s`],
            [
              'one process',
              `${few}`,
              cell(
                one.map((ms) => ms / 1000),
                's',
              ),
            ],
            [
              'two processes',
              `${few}`,
              cell(
                two.map((ms) => ms / 1000),
                's',
              ),
            ],
            ...(['one', 'two'] as const).map((of) => [
              `${of === 'one' ? 'one process' : 'two processes'}, ${fewCalls} calls at once`,
              `${Math.ceil(few / 10)}`,
              `${number(waiting[of][0]! / 1000)} s`,
            ]),
            ['client CPU of a record', `${few}`, cell(cpu, 'µs')],
            ['most resident memory', `${few}`, `${number(small)} MB`],
            ['most resident memory', `${documents}`, `${number(large)} MB`],
          ],
        },
      ],
      notes: [
        `A KMS that takes ${concurrency} calls at once and ${latencyMs} ms for each, of which a record needs ${callsPerRecord}. Jobs have their default concurrency.`,
      ],
    }
  },
}
