import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { databaseName, dropDatabases } from '../mongo/run'
import type { Orders, Told } from './child'
import type { Target } from './lab'
import { drawSequence, logOf } from './sequence'
import { Tally } from './tally'
import { type Failure, knownDifference, signatureOf } from './verdict'

export interface FuzzOptions {
  readonly uri: string
  readonly seed: number
  readonly seconds: number
  readonly target?: Target
  /** The first sequence, and how many: one alone is run again by its index. */
  readonly from?: number
  readonly maxSequences?: number | undefined
  /** Goes on until so many have been run, whatever the time. */
  readonly minSequences?: number
  /** Ends with the first failure. */
  readonly stopsAtFirst?: boolean
  readonly env?: NodeJS.ProcessEnv
}

/** A kind of failure, with the shortest log of the first of them. */
export interface Finding {
  readonly failure: Failure
  readonly index: number
  readonly log: string
  count: number
}

export interface Report {
  readonly tally: Tally
  readonly findings: ReadonlyMap<string, Finding>
  readonly seconds: number
}

/**
 * Runs drawn sequences on both twins in a process of its own, which may end: then its last sequence is a finding, and
 * another process goes on after it.
 */
export async function fuzz(options: FuzzOptions): Promise<Report> {
  const { seed, seconds, from = 0, maxSequences = Number.MAX_SAFE_INTEGER, minSequences = 0 } = options
  const started = Date.now()
  const end = started + seconds * 1000
  const tally = new Tally()
  const findings = new Map<string, Finding>()
  const add = (signature: string, finding: Omit<Finding, 'count'>) => {
    const known = findings.get(signature)
    const why = knownDifference(signature, finding.failure)
    if (why) tally.note(`known to differ: ${why}`)
    else if (known) known.count++
    else findings.set(signature, { ...finding, count: 1 })
  }
  let next = from
  while ((Date.now() < end || next < from + minSequences) && next < from + maxSequences) {
    const database = databaseName('fuzz')
    const orders = {
      uri: options.uri,
      database,
      target: options.target ?? 'library',
      seed,
      from: next,
      end,
      least: from + minSequences,
      known: [...findings.keys()],
    }
    let at = { index: next, step: -1 }
    const code = await runChild({ ...orders, maxSequences: from + maxSequences - next }, options.env, (told, stop) => {
      if ('at' in told) at = told.at
      else if ('failure' in told) {
        add(told.signature, told)
        if (options.stopsAtFirst && findings.size > 0) stop()
      } else {
        tally.add(told.tally)
        next = told.next
      }
    })
    if (options.stopsAtFirst && findings.size > 0) break
    if (code === 0) continue
    await dropDatabases(options.uri, database)
    const sequence = drawSequence(seed, at.index)
    const failure: Failure = {
      oracle: 'ended',
      step: at.step,
      kind: sequence.steps[at.step]?.kind ?? 'definition',
      detail: `the process ended with ${code}`,
    }
    add(signatureOf(failure), { failure, index: at.index, log: logOf(sequence, at.step) })
    next = at.index + 1
  }
  return { tally, findings, seconds: (Date.now() - started) / 1000 }
}

async function runChild(
  orders: Orders,
  env: NodeJS.ProcessEnv | undefined,
  hear: (told: Told, stop: () => void) => void,
) {
  const child = spawn(
    process.execPath,
    ['--disable-warning=MONGOOSE', '--import', 'tsx', join(__dirname, 'child.ts'), JSON.stringify(orders)],
    {
      stdio: ['ignore', 'inherit', 'inherit', 'pipe'],
      env: { ...process.env, ...env },
    },
  )
  const gone = once(child, 'exit')
  const lines = createInterface(child.stdio[3] as Readable)
  const ended = once(lines, 'close')
  lines.on('line', (line) => hear(JSON.parse(line), () => child.kill('SIGKILL')))
  const [code, signal] = await gone
  await ended
  return code ?? signal
}
