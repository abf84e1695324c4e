import { type ChildProcess, spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import mongoose from 'mongoose'
import { awsKms } from '../../lib'
import { startKmsForPrograms } from '../docs/kms'
import { secret, useFaults } from '../faults/support'
import { randomOf } from '../torture/record'
import { concurrency, rotatedModel } from './rotator'

// A process that rotates is killed, again and again, and another one goes on.
const { connection, raw } = useFaults()
const seed = Number(process.env.KILL_SEED ?? randomInt(2 ** 31))
const kills = 10
const total = 600

test('killed at a random moment and gone on with ten times, every record is current, and none was done again but what was under way', async () => {
  const { kms, env } = await startKmsForPrograms()
  try {
    await killAndGoOn(kms, env)
  } catch (error) {
    if (error instanceof Error) error.message = `KILL_SEED=${seed}: ${error.message}`
    throw error
  } finally {
    await kms.stop()
  }
}, 300_000)

type Programs = Awaited<ReturnType<typeof startKmsForPrograms>>

async function killAndGoOn(kms: Programs['kms'], env: Programs['env']): Promise<void> {
  const random = randomOf(seed)
  const provider = awsKms({ client: kms.client() })
  const keyId = env.KMS_KEY_ID
  const Before = rotatedModel(mongoose, connection, 1, { keyId, provider })
  const emails = Array.from({ length: total }, (_, index) => secret(`person.${index}@example.org`))
  await Before.insertMany(emails.map((email) => ({ email, note: `of ${email}` })))
  const before = await raw(Before)

  const runs: string[][] = []
  for (let run = 0; run < kills; run++) {
    kms.clearCalls()
    const rotator = start(env)
    const calls = kms.inject({})
    await Promise.race([calls.reached(1 + Math.floor(random() * 60)), once(rotator, 'exit')])
    // By then it may be reading or writing.
    await wait(random() * 10)
    expect(await end(rotator, 'SIGKILL')).toBe('SIGKILL')
    calls.remove()
    runs.push(openedIn(kms))
  }
  kms.clearCalls()
  expect(await end(start(env))).toBe(0)
  runs.push(openedIn(kms))

  const done = new Set<string>()
  for (const opened of runs) {
    expect(opened).toHaveLength(new Set(opened).size)
    // Records that an earlier one had begun with, and had not written.
    expect(opened.filter((record) => done.has(record)).length).toBeLessThanOrEqual(concurrency)
    for (const record of opened) done.add(record)
  }
  expect(done.size).toBe(total)
  const keysOf = (records: any[]) => records.flatMap((record) => record.encrypted_kms_key)
  const textOf = ({ commitment }: any) => commitment.toString('hex')
  const after = await raw(Before)
  expect(keysOf(after)).toHaveLength(total)
  expect(keysOf(after).filter(({ version }) => version !== 2)).toEqual([])
  const old = new Set(keysOf(before).map(textOf))
  expect(keysOf(after).filter((key) => old.has(textOf(key)))).toEqual([])
  connection.deleteModel(Before.modelName)
  const After = rotatedModel(mongoose, connection, 2, { keyId, provider })
  expect(await After.verifyKms()).toMatchObject({ processed: total, unchanged: total })
  const values = await After.decrypt(await After.find().lean().sort({ _id: 1 }))
  expect(values.map(({ email, note }: any) => [email, note])).toEqual(emails.map((email) => [email, `of ${email}`]))
}

/** The records whose data keys were asked for, in turn. */
function openedIn({ calls }: Programs['kms']): string[] {
  return calls
    .filter(({ eventName }) => eventName === 'Decrypt')
    .map(({ requestParameters }) => (requestParameters.encryptionContext as { Record: string }).Record)
    .filter((record) => record.startsWith('Rotated/'))
}

function start(env: Programs['env']): ChildProcess {
  const program = ['--import', 'tsx', join(__dirname, 'rotator.ts'), connection.name]
  return spawn(process.execPath, program, {
    cwd: join(__dirname, '../..'),
    env: { ...process.env, ...env, TSX_TSCONFIG_PATH: join(__dirname, '../tsconfig.json') },
    stdio: ['ignore', 'ignore', 'inherit'],
  })
}

/** Waits for its end. @returns how it ended */
async function end(program: ChildProcess, signal?: NodeJS.Signals): Promise<unknown> {
  const gone = program.exitCode === null ? once(program, 'exit') : [program.exitCode]
  if (signal) program.kill(signal)
  const [code, killedBy] = await gone
  return killedBy ?? code
}
