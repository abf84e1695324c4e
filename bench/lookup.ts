// Lookups by an encrypted field with a blind index beside lookups by a clear one with an index, and how fast index values are made:
//
//     npm run bench:lookup [-- --documents 200000 --rounds 9 --lookups 2000]
//
// It ends with exit code 1 where MongoDB does not plan both by their index.
import { createHmac, createSecretKey, randomBytes, randomInt } from 'node:crypto'
import { parseArgs } from 'node:util'
import { model, Schema } from 'mongoose'
import { createIndexKey, kmsEncrypted } from 'mongoose-kms-encrypted'
import { type BlindIndex, compileIndex } from '../lib/search/declaration'
import { IndexKey, IndexKeys } from '../lib/search/value'
import { concurrently, costOf, inRounds, median, printRow } from './measure'
import { sizedLikeAws } from './provider'
import { withDatabase } from './server'

const { values: args } = parseArgs({
  options: {
    documents: { type: 'string', default: '200000' },
    rounds: { type: 'string', default: '9' },
    lookups: { type: 'string', default: '2000' },
  },
})
const documents = Number(args.documents)
const rounds = Number(args.rounds)
const lookups = Number(args.lookups)
const perInsert = 2000

const addressOf = (number: number) => `user${number}@example.org`

async function models() {
  const provider = sizedLikeAws()
  const Plain = model('Plain', new Schema({ name: String, email: { type: String, unique: true } }))
  const schema = new Schema({ name: String }).plugin(kmsEncrypted, {
    provider,
    indexKey: await createIndexKey({ provider }),
    fields: { email: { type: String, unique: true } },
  })
  // Both are asked alike.
  return { plain: Plain, encrypted: model('Encrypted', schema) as unknown as typeof Plain }
}

async function fill(Model: Awaited<ReturnType<typeof models>>['plain']): Promise<void> {
  await Model.init()
  for (let first = 0; first < documents; first += perInsert) {
    const length = Math.min(perInsert, documents - first)
    await Model.insertMany(
      Array.from({ length }, (_none, index) => ({ name: `User ${first + index}`, email: addressOf(first + index) })),
    )
  }
}

/** The index of the winning plan, wherever in it that stands: its form differs between versions of MongoDB. */
function indexIn(plan: unknown): string | undefined {
  if (typeof plan !== 'object' || plan === null) return undefined
  const { stage, indexName } = plan as { stage?: unknown; indexName?: string }
  if (typeof stage === 'string' && stage.endsWith('IXSCAN')) return indexName
  return Object.values(plan)
    .map(indexIn)
    .find((name) => name !== undefined)
}

async function measureLookups(): Promise<void> {
  const { plain, encrypted } = await models()
  for (const [name, Model] of Object.entries({ plain, encrypted })) {
    const { wallMs } = await costOf(() => fill(Model))
    console.log(`${documents} ${name} records inserted in ${(wallMs / 1000).toFixed(0)} s`)
  }

  console.log()
  for (const [Model, index] of [
    [plain, 'email_1'],
    [encrypted, 'email_bidx_1'],
  ] as const) {
    const { queryPlanner } = (await Model.find({ email: addressOf(0) }).explain()) as unknown as {
      queryPlanner: { winningPlan: unknown }
    }
    console.log(`${Model.modelName} is planned by ${JSON.stringify(queryPlanner.winningPlan)}`)
    if (indexIn(queryPlanner.winningPlan) === index) continue
    console.log(`That is not by its index ${index}.`)
    process.exitCode = 1
  }

  const lean = (Model: typeof plain, email: string) => Model.findOne({ email }).lean()
  const hydrated = (Model: typeof plain, email: string) => Model.findOne({ email })
  const workloads = [
    ['lean, one after another', lean, 1],
    ['lean, 16 at once', lean, 16],
    ['hydrated, one after another', hydrated, 1],
    ['hydrated, 16 at once', hydrated, 16],
  ] as const
  console.log(`\nTime and client CPU of a findOne by email, medians of ${rounds} rounds of ${lookups}:\n`)
  printRow(['', 'plain', 'encrypted', 'ratio', 'plain CPU', 'encr. CPU', 'ratio'])
  for (const [name, lookUp, atOnce] of workloads) {
    const work = (Model: typeof plain) =>
      concurrently(atOnce, lookups, async () => {
        if (!(await lookUp(Model, addressOf(randomInt(documents))))) throw new Error('A record was not found.')
      })
    const measured = await inRounds(rounds, { plain: () => work(plain), encrypted: () => work(encrypted) })
    const columns = (['wallMs', 'cpuMs'] as const).flatMap((cost) => [
      ...(['plain', 'encrypted'] as const).map(
        (way) => `${median(measured.map((round) => (round[way][cost] * 1000) / lookups)).toFixed(0)} µs`,
      ),
      median(measured.map((round) => round.encrypted[cost] / round.plain[cost])).toFixed(2),
    ])
    printRow([name, ...columns])
  }
}

/** How often one thread does something in a second of processor time. */
async function rateOf(work: (number: number) => void): Promise<number> {
  const perRound = 200_000
  const rates: number[] = []
  for (let round = 0; round <= rounds; round++) {
    const { cpuMs } = await costOf(() => {
      for (let number = 0; number < perRound; number++) work(number)
    })
    if (round > 0) rates.push(perRound / (cpuMs / 1000))
  }
  return median(rates)
}

async function measureValues(): Promise<void> {
  const secret = createSecretKey(randomBytes(32))
  const key = new IndexKey(secret)
  const keys = new IndexKeys(() => key)
  const index = compileIndex({ name: 'email', instance: 'String' }, true, undefined) as BlindIndex
  const values = await rateOf((number) => keys.valuesOf('Account', index.path, index, [addressOf(number)]))
  console.log(`\n${Math.round(values)} index values of addresses in a second of one core`)
  // What somebody computes who has the index key and tries all there is.
  const bare = await rateOf((number) =>
    createHmac('sha256', secret)
      .update(String(100_000_000 + number))
      .digest(),
  )
  const minutes = 1e9 / bare / 60
  console.log(`${Math.round(bare)} bare HMACs of nine digits: all 10^9 of them take ${minutes.toFixed(0)} core-minutes`)
}

void withDatabase(measureLookups).then(measureValues)
