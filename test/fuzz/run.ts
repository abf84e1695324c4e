import { randomInt } from 'node:crypto'
import { parseArgs } from 'node:util'
import { startMongo } from '../mongo'
import { fuzz } from './fuzz'
import { mutants } from './mutants'
import { textOf } from './report'
import { isGrave } from './verdict'

/**
 * Draws calls of the public API, makes each on an encrypted model and on its plain twin, and compares. Exits with 1 where
 * plaintext is sent or shown, a value is lost without an error, or the process ends. `MONGOOSE=8` takes the other version.
 *
 *     node --import tsx test/fuzz/run.ts --seed 7 --seconds 60
 *     node --import tsx test/fuzz/run.ts --seed 7 --sequence 123     one sequence alone, by its number in a report
 *     node --import tsx test/fuzz/run.ts --target plain              two plain twins, which must be alike
 */
async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '60' },
      seed: { type: 'string', default: String(randomInt(2 ** 31)) },
      sequence: { type: 'string' },
      target: { type: 'string', default: 'library' },
    },
  })
  const { target } = values
  if (!['library', 'plain', ...Object.keys(mutants)].includes(target)) {
    throw new Error(`--target must be library, plain or one of ${Object.keys(mutants).join(', ')}`)
  }
  const [seed, seconds] = [Number(values.seed), Number(values.seconds)]
  console.log(`fuzz: seed ${seed}, ${seconds} s, against ${target}`)
  const server = await startMongo()
  try {
    const alone = values.sequence === undefined ? {} : { from: Number(values.sequence), maxSequences: 1 }
    const report = await fuzz({ uri: server.uri, seed, seconds, target, ...alone })
    console.log(textOf(report, seed))
    if ([...report.findings.values()].some(({ failure }) => isGrave(failure))) process.exitCode = 1
  } finally {
    await server.stop()
  }
}

main().catch((error) => {
  console.error(error)
  process.exitCode = 1
})
