import { fuzz, type Report } from './fuzz/fuzz'
import { mutants } from './fuzz/mutants'
import { textOf } from './fuzz/report'
import { kindsOfSteps } from './fuzz/steps'
import { isGrave } from './fuzz/verdict'

// How to look for more stands in CONTRIBUTING.md. How many sequences a run comes to depends on the machine; which ones, on the seed.
const seconds = 60
const minSequences = 100
const maxSequences = process.env.FUZZ_SEQUENCES ? Number(process.env.FUZZ_SEQUENCES) : undefined
const seed = Number(process.env.FUZZ_SEED ?? 7)
const uri = process.env.TEST_MONGO_URI as string

const oraclesOf = ({ findings }: Report) => [...findings.values()].map(({ failure }) => failure.oracle)

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

describe('the fuzz run itself', () => {
  test('finds no difference between two plain twins', async () => {
    const report = await fuzz({ uri, seed, seconds: 0, minSequences: 12, target: 'plain' })
    expect(textOf(report, seed)).toContain('the twins are alike')
    expect(report.tally.steps).toBeGreaterThan(50)
  }, 120_000)

  test.each(Object.entries(mutants))(
    'finds a twin that %s',
    async (name, { found }) => {
      const report = await fuzz({ uri, seed, seconds: 0, minSequences: 200, target: name, stopsAtFirst: true })
      // The whole report tells more than a list of names.
      if (!oraclesOf(report).every((oracle) => found.includes(oracle))) throw new Error(textOf(report, seed))
      expect(report.findings.size).toBe(1)
    },
    180_000,
  )
})
