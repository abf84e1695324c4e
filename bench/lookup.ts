import { createHmac, createSecretKey, randomBytes, randomInt } from 'node:crypto'
import { model, Schema } from 'mongoose'
import { createIndexKey, kmsEncrypted } from 'mongoose-kms-encrypted'
import { type BlindIndex, compileIndex } from '../lib/search/declaration'
import { IndexKey, IndexKeys } from '../lib/search/value'
import { type Outcome, outcomeOf } from './goal'
import { concurrently, inRounds } from './measure'
import type { Extent, Part } from './part'
import { sizedLikeAws } from './providers'
import { cell, type Findings } from './report'

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

type Model = Awaited<ReturnType<typeof models>>['plain']

async function fill(Model: Model, documents: number): Promise<void> {
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

/** @throws where MongoDB would go through the collection */
async function requireIndex(Model: Model, name: string): Promise<string> {
  const { queryPlanner } = (await Model.find({ email: addressOf(0) }).explain()) as unknown as {
    queryPlanner: { winningPlan: unknown }
  }
  const plan = JSON.stringify(queryPlanner.winningPlan)
  if (indexIn(queryPlanner.winningPlan) !== name)
    throw new Error(`${Model.modelName} is not planned by ${name}: ${plan}`)
  return `\`explain\` of ${Model.modelName}: \`${plan}\``
}

const lean = (Model: Model, email: string) => Model.findOne({ email }).lean()
const hydrated = (Model: Model, email: string) => Model.findOne({ email })
const workloads = [
  ['lean, one after another', lean, 1],
  ['lean, 16 at once', lean, 16],
  ['hydrated, one after another', hydrated, 1],
  ['hydrated, 16 at once', hydrated, 16],
] as const

async function lookups({ rounds, records, documents }: Extent): Promise<Findings> {
  const { plain, encrypted } = await models()
  for (const Model of [plain, encrypted]) await fill(Model, documents)
  const notes = [
    `Of ${documents} documents.`,
    await requireIndex(plain, 'email_1'),
    await requireIndex(encrypted, 'email_bidx_1'),
  ]
  const goals: Outcome[] = []
  const rows: string[][] = []
  for (const [name, lookUp, atOnce] of workloads) {
    const work = (Model: Model) => () =>
      concurrently(atOnce, records, async () => {
        if (!(await lookUp(Model, addressOf(randomInt(documents))))) throw new Error('A record was not found.')
      })
    const measured = await inRounds(rounds, { plain: work(plain), encrypted: work(encrypted) })
    const ratio = measured.map((round) => round.encrypted.wallMs / round.plain.wallMs)
    goals.push(outcomeOf({ what: `time of a findOne, ${name}, encrypted / plain`, limit: 1.3 }, ratio))
    const columns = (['wallMs', 'cpuMs'] as const).flatMap((cost) =>
      (['plain', 'encrypted'] as const).map((way) =>
        cell(
          measured.map((round) => (round[way][cost] * 1000) / records),
          'µs',
        ),
      ),
    )
    rows.push([name, ...columns])
  }
  return {
    goals,
    tables: [{ head: ['findOne by email', 'plain', 'encrypted', 'plain, CPU', 'encrypted, CPU'], rows }],
    notes,
  }
}

/** How often one thread does something in a second of processor time, in each round. */
async function ratesOf(rounds: number, times: number, work: (number: number) => void): Promise<number[]> {
  const measured = await inRounds(rounds, {
    work: () => {
      for (let number = 0; number < times; number++) work(number)
    },
  })
  return measured.map((round) => times / (round.work.cpuMs / 1000))
}

async function indexValues({ rounds, documents }: Extent) {
  const secret = createSecretKey(randomBytes(32))
  const key = new IndexKey(secret)
  const keys = new IndexKeys(() => key)
  const index = compileIndex({ name: 'email', instance: 'String' }, true, undefined) as BlindIndex
  const values = await ratesOf(rounds, documents, (number) =>
    keys.valuesOf('Account', index.path, index, [addressOf(number)]),
  )
  // What somebody computes who has the index key and tries all there is.
  const bare = await ratesOf(rounds, documents, (number) =>
    createHmac('sha256', secret)
      .update(String(100_000_000 + number))
      .digest(),
  )
  const minutes = bare.map((rate) => 1e9 / rate / 60)
  return {
    goal: outcomeOf(
      { what: 'thousand index values in a second of one core', limit: 150, isLeast: true },
      values.map((rate) => rate / 1000),
    ),
    note: `All 10^9 numbers of nine digits, by bare HMACs: ${cell(minutes, 'minutes')} of one core.`,
  }
}

export const lookup: Part = {
  title: 'Lookups by a blind index',
  async run(extent) {
    const { goals = [], tables, notes = [] } = await lookups(extent)
    const { goal, note } = await indexValues(extent)
    return { goals: [...goals, goal], tables, notes: [...notes, note] }
  },
}
