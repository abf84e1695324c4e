import { fuzz, type Report } from './fuzz'
import { mutants } from './mutants'
import { textOf } from './report'

// That the fuzz run finds what it is for. It is the run that is tested, not Mongoose: once, on the newest.
const seed = 21
const uri = process.env.TEST_MONGO_URI as string

const oraclesOf = ({ findings }: Report) => [...findings.values()].map(({ failure }) => failure.oracle)

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
