import { fuzz, type Report } from './fuzz/fuzz'
import { mutants } from './fuzz/mutants'
import { textOf } from './fuzz/report'
import { kindsOfSteps } from './fuzz/steps'

// The same sequences on every machine: how to look for more stands in CONTRIBUTING.md.
const maxSequences = Number(process.env.FUZZ_SEQUENCES ?? 35)
const seconds = 60
const seed = Number(process.env.FUZZ_SEED ?? 7)
const uri = process.env.TEST_MONGO_URI as string

const oraclesOf = ({ findings }: Report) => [...findings.values()].map(({ failure }) => failure.oracle)

test(
  `an encrypted model does what its plain twin does, or refuses, in ${maxSequences} sequences of random calls of seed ${seed}`,
  async () => {
    const report = await fuzz({ uri, seed, seconds, maxSequences })
    const text = `fuzz: seed ${seed}\n${textOf(report, seed)}`
    console.info(text)
    expect(text).not.toContain('FAILURE')
    // A busy machine does fewer.
    if (report.tally.steps > 2000) expect(Object.keys(report.tally.kinds).sort()).toEqual([...kindsOfSteps].sort())
  },
  (seconds + 90) * 1000,
)

describe('the fuzz run itself', () => {
  test('finds no difference between two plain twins', async () => {
    const report = await fuzz({ uri, seed, seconds: 6, target: 'plain' })
    expect(textOf(report, seed)).toContain('the twins are alike')
    expect(report.tally.steps).toBeGreaterThan(50)
  }, 60_000)

  test.each(Object.entries(mutants))(
    'finds a twin that %s',
    async (name, { found }) => {
      const report = await fuzz({ uri, seed, seconds: 40, target: name, stopsAtFirst: true })
      // The whole report tells more than a list of names.
      if (!oraclesOf(report).every((oracle) => found.includes(oracle))) throw new Error(textOf(report, seed))
      expect(report.findings.size).toBe(1)
    },
    60_000,
  )
})
