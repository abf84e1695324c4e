import { fuzz } from './fuzz/fuzz'
import { textOf } from './fuzz/report'
import { kindsOfSteps } from './fuzz/steps'
import { isGrave } from './fuzz/verdict'

// How to look for more stands in CONTRIBUTING.md. How many sequences a run comes to depends on the machine; which ones, on the seed.
const seconds = Number(process.env.FUZZ_SECONDS ?? 60)
const minSequences = 100
const maxSequences = process.env.FUZZ_SEQUENCES ? Number(process.env.FUZZ_SEQUENCES) : undefined
const seed = Number(process.env.FUZZ_SEED ?? 7)
const uri = process.env.TEST_MONGO_URI as string

test(
  `an encrypted model does what its plain twin does, or refuses, in ${seconds} seconds of random calls of seed ${seed}`,
  async () => {
    const report = await fuzz({ uri, seed, seconds, minSequences, maxSequences })
    const text = `fuzz: seed ${seed}\n${textOf(report, seed)}`
    console.info(text)
    expect(text).not.toContain('FAILURE')
    // Odd calls have errors of their own here and there; what differs often is no oddity.
    const differences = [...report.findings.values()].filter(({ failure }) => !isGrave(failure))
    const count = differences.reduce((sum, finding) => sum + finding.count, 0)
    expect(count).toBeLessThan(report.tally.steps / 50)
    if (maxSequences !== undefined) return
    expect(report.tally.sequences).toBeGreaterThanOrEqual(minSequences)
    expect(Object.keys(report.tally.kinds).sort()).toEqual([...kindsOfSteps].sort())
  },
  (seconds + 240) * 1000,
)
