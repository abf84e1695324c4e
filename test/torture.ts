import { type ChildProcess, spawn } from 'node:child_process'
import { createHash, randomInt } from 'node:crypto'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { startMongo } from './mongo'
import { databaseName, dropDatabases } from './mongo/run'
import {
  connect,
  ids,
  pick,
  placeNames,
  type Random,
  randomOf,
  type Shared,
  type SignedName,
  sign,
  whole,
} from './torture/record'
import { verify } from './torture/verify'
import type { Message } from './torture/writer'

/** How long a writer is left alone, on average, over all of them. */
const meanKillIntervalMs = 2000

/**
 * Many processes write to the same few records of one server, are killed, and have a KMS that fails. At the end every
 * field must decrypt to a value that some writer wrote. Prints what was done, and exits with 1 where a record is damaged.
 *
 *     node --import tsx test/torture.ts --seconds 60 --seed 1 --writers 8
 */
async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '60' },
      seed: { type: 'string', default: String(randomInt(2 ** 31)) },
      writers: { type: 'string', default: '8' },
    },
  })
  const [seconds, seed, writers] = [Number(values.seconds), Number(values.seed), Number(values.writers)]
  console.log(`torture: ${seconds} s, seed ${seed}, ${writers} writers, ${ids.length} records`)
  const mongo = await startMongo()
  const database = databaseName('torture')
  try {
    const secret = createHash('sha256').update(`torture ${seed}`).digest('hex')
    const shared: Shared = { uri: mongo.uri, database, seed, secret }
    await populate(shared)
    const run = new Run(shared, writers)
    await run.forSeconds(seconds)
    report(run, await verify(shared))
  } finally {
    await dropDatabases(mongo.uri, database)
    await mongo.stop()
  }
}

/** Two thirds of the records are there at the start, half of them without a data key. */
async function populate(shared: Shared): Promise<void> {
  const { connection, Tortured, Member, sent } = await connect(shared, 0, Math.random)
  await Promise.all([Tortured.createIndexes(), Member.createIndexes()])
  for (const id of ids.filter((each) => each % 3 !== 0)) {
    if (id % 3 === 1) await Tortured.collection.insertOne({ _id: id, name: 'clear' })
    else {
      const signed = (name: SignedName) => sign(shared, id, name, 'populate')
      const subdocuments = placeNames.map((place) => [place, whole(place, 'first', signed(place))])
      await Tortured.create({ _id: id, name: 'first', note: signed('note'), ...Object.fromEntries(subdocuments) })
    }
  }
  await connection.close()
  if (sent.inTheClear.length > 0) throw new Error(sent.inTheClear.join(', '))
}

/** The writers of a run: started, killed, replaced, and stopped. */
class Run {
  readonly counts = new Map<string, number>()
  readonly failures: string[] = []
  readonly #shared: Shared
  readonly #random: Random
  readonly #writers: ChildProcess[]
  #started = 0

  constructor(shared: Shared, writers: number) {
    this.#shared = shared
    this.#random = randomOf(shared.seed)
    this.#writers = Array.from({ length: writers }, () => this.#start())
  }

  async forSeconds(seconds: number): Promise<void> {
    const end = Date.now() + seconds * 1000
    for (;;) {
      const pause = this.#random() * 2 * meanKillIntervalMs
      if (Date.now() + pause >= end) break
      await wait(pause)
      await this.#killOne()
    }
    await wait(Math.max(0, end - Date.now()))
    await Promise.all(this.#writers.map((writer) => this.#stop(writer)))
  }

  #start(): ChildProcess {
    const number = ++this.#started
    const seed = this.#shared.seed + number
    const argv = [JSON.stringify(this.#shared), `writer${number}`, String(seed)]
    const program = join(__dirname, 'torture/writer.ts')
    const writer = spawn(process.execPath, ['--import', 'tsx', program, ...argv], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    writer.on('message', ({ counts, failure }: Message) => {
      for (const [what, count] of Object.entries(counts)) this.#count(what, count)
      if (failure !== undefined) this.failures.push(failure)
    })
    writer.on('exit', (code) => {
      if (code !== null && code !== 0) this.failures.push(`a writer ended with ${code}`)
    })
    return writer
  }

  async #killOne(): Promise<void> {
    const victim = pick(this.#random, this.#writers)
    const gone = once(victim, 'exit')
    victim.kill('SIGKILL')
    await gone
    this.#count('kills', 1)
    this.#writers.splice(this.#writers.indexOf(victim), 1, this.#start())
  }

  async #stop(writer: ChildProcess): Promise<void> {
    if (writer.exitCode !== null) return
    const gone = once(writer, 'exit')
    writer.send('stop')
    await gone
  }

  #count(what: string, count: number): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + count)
  }
}

function report({ counts, failures }: Run, verdict: Awaited<ReturnType<typeof verify>>): void {
  for (const [what, count] of [...counts].sort(([one], [other]) => one.localeCompare(other)))
    console.log(`${String(count).padStart(8)}  ${what}`)
  const { records, fields, notes, members, mostKeys, problems } = verdict
  console.log(
    `at the end: ${records} records, ${members} members, ${fields} fields, at most ${mostKeys} data keys on a record`,
  )
  for (const [place, count] of Object.entries(notes)) console.log(`${String(count).padStart(8)}  at the end: ${place}`)
  for (const problem of [...failures, ...problems]) console.log(`PROBLEM ${problem}`)
  console.log(failures.length + problems.length === 0 ? 'nothing was lost' : 'the records are DAMAGED')
  if (failures.length + problems.length > 0) process.exitCode = 1
}

main().catch((error) => {
  console.error(error)
  process.exitCode = 1
})
