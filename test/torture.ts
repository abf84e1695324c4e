import { type ChildProcess, spawn } from 'node:child_process'
import { createHash, randomInt } from 'node:crypto'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { startMongo } from './mongo'
import { databaseName, dropDatabases } from './mongo/run'
import { finish } from './torture/finish'
import { connectOwn } from './torture/own'
import type { Message, Start } from './torture/program'
import {
  connect,
  ids,
  kmsOf,
  placeNames,
  type Random,
  randomOf,
  type Shared,
  type SignedName,
  sign,
  whole,
} from './torture/record'
import { verify } from './torture/verify'

/** How long a writer is left alone, on average, over all of them. */
const meanKillIntervalMs = 3000

/**
 * Many processes write to the same few records of one server, and others run jobs over all of them: all are killed, and have a KMS that
 * fails. At the end every field must decrypt to a value that some writer wrote, and to the last one where it has one writer. Prints what was done, and exits with 1 where a record is damaged.
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
    run.failures.push(...(await finish(shared)))
    report(run, await verify(shared))
  } finally {
    await dropDatabases(mongo.uri, database)
    await mongo.stop()
  }
}

/** Two thirds of the records are there at the start, half of them without a data key. */
async function populate(shared: Shared): Promise<void> {
  const { connection, Tortured, Member, sent } = await connect(shared, 1, kmsOf(shared))
  const { connection: other, Own } = await connectOwn(shared, 1, kmsOf(shared))
  await Promise.all([Tortured, Member, Own].map((model) => model.createIndexes()))
  for (const id of ids.filter((each) => each % 3 !== 0)) {
    if (id % 3 === 1) await Tortured.collection.insertOne({ _id: id, name: 'clear' })
    else {
      const signed = (name: SignedName) => sign(shared, id, name, 'populate')
      const subdocuments = placeNames.map((place) => [place, whole(place, 'first', signed(place))])
      await Tortured.create({ _id: id, name: 'first', note: signed('note'), ...Object.fromEntries(subdocuments) })
    }
  }
  await Promise.all([connection.close(), other.close()])
  if (sent.inTheClear.length > 0) throw new Error(sent.inTheClear.join(', '))
}

/** Writers change records, keepers run jobs over all of them. */
type Role = 'writer' | 'keeper'

/** How many run jobs, beside each other as well. */
const keepers = 2

/** The processes of a run: started, killed, replaced, and stopped. */
class Run {
  readonly counts = new Map<string, number>()
  readonly failures: string[] = []
  readonly #shared: Shared
  readonly #random: Random
  readonly #processes: { readonly role: Role; readonly child: ChildProcess }[]
  #started = 0

  constructor(shared: Shared, writers: number) {
    this.#shared = shared
    this.#random = randomOf(shared.seed)
    const roles = Array.from({ length: writers + keepers }, (_, index): Role => (index < writers ? 'writer' : 'keeper'))
    this.#processes = roles.map((role) => this.#start(role))
  }

  async forSeconds(seconds: number): Promise<void> {
    await Promise.all(this.#processes.map(({ child }) => Promise.race([once(child, 'message'), once(child, 'exit')])))
    const end = Date.now() + seconds * 1000
    for (;;) {
      const pause = this.#random() * 2 * meanKillIntervalMs
      if (Date.now() + pause >= end) break
      await wait(pause)
      await this.#killOne()
    }
    await wait(Math.max(0, end - Date.now()))
    await Promise.all(this.#processes.map(({ child }) => this.#stop(child)))
  }

  #start(role: Role) {
    const number = ++this.#started
    const start: Start = { shared: this.#shared, number, seed: this.#shared.seed + number }
    const program = join(__dirname, `torture/${role}.ts`)
    const child = spawn(process.execPath, ['--import', 'tsx', program, JSON.stringify(start)], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    child.on('message', ({ counts, failure }: Message) => {
      for (const [what, count] of Object.entries(counts)) this.#count(what, count)
      if (failure !== undefined) this.failures.push(failure)
    })
    child.on('exit', (code) => {
      if (code !== null && code !== 0) this.failures.push(`a ${role} ended with ${code}`)
    })
    return { role, child }
  }

  async #killOne(): Promise<void> {
    const index = Math.floor(this.#random() * this.#processes.length)
    const { role, child } = this.#processes[index]!
    const gone = once(child, 'exit')
    child.kill('SIGKILL')
    await gone
    this.#count('kills', 1)
    this.#processes[index] = this.#start(role)
  }

  async #stop(child: ChildProcess): Promise<void> {
    if (child.exitCode !== null) return
    const gone = once(child, 'exit')
    child.send('stop')
    await gone
  }

  #count(what: string, count: number): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + count)
  }
}

function report({ counts, failures }: Run, verdict: Awaited<ReturnType<typeof verify>>): void {
  for (const [what, count] of [...counts].sort(([one], [other]) => one.localeCompare(other)))
    console.log(`${String(count).padStart(8)}  ${what}`)
  const { records, fields, notes, members, own, mostKeys, problems } = verdict
  console.log(
    `at the end: ${records} records, ${members} members, ${own} of one writer, ${fields} fields, at most ${mostKeys} data keys on a record`,
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
