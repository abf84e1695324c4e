import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { jobs, writing } from './torture/jobs'
import { operations } from './torture/operations'
import { placeNames } from './torture/record'

const seconds = Number(process.env.TORTURE_SECONDS ?? 60)
const seed = process.env.TORTURE_SEED ?? '1'

test(
  `nothing is lost in ${seconds} seconds of killed writers and a failing KMS`,
  async () => {
    const argv = ['--import', 'tsx', 'test/torture.ts', '--seconds', String(seconds), '--seed', seed]
    const env = { ...process.env, TEST_MONGO: 'uri', MONGODB_URI: process.env.TEST_MONGO_URI }
    const program = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'inherit'], env })
    const output = await text(program.stdout)
    console.info(output)
    expect(output).not.toContain('PROBLEM')
    expect(output).toContain('nothing was lost')
    // Each was done, and often enough to get into the way of the others.
    const others = ['conflicts', 'kills', 'KMS calls refused', 'commands searched']
    const ends = placeNames.map((place) => `at the end: ${place}`)
    const changed = writing.map((kind) => `records changed by ${kind}`)
    for (const kind of [...Object.keys(operations), ...Object.keys(jobs), ...changed, ...others, ...ends])
      expect(output).toMatch(new RegExp(`^ *[1-9]\\d*  ${kind}$`, 'm'))
  },
  (seconds + 120) * 1000,
)
