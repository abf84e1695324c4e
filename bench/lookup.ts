import { createHmac, createSecretKey, randomBytes, randomInt } from 'node:crypto'
import mongoose, { Mongoose, model, Schema } from 'mongoose'
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

type Query = ReturnType<Model['findOne']>
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

/**
 * The stored documents of the encrypted model, asked for by their index values by a Mongoose that knows nothing of this library: what is
 * more than plain here is what is stored.
 */
async function bare({ collection }: Model) {
  const client = mongoose.connection.getClient()
  const connection = new Mongoose().createConnection().setClient(client).useDb(mongoose.connection.name)
  const schema = new Schema(
    { name: String, email: Buffer, email_bidx: { type: Buffer, select: false }, encrypted_kms_key: [] },
    { collection: collection.name, autoIndex: false },
  )
  const Bare = connection.model('Bare', schema)
  const stored = await connection
    .collection(collection.name)
    .find({}, { projection: { email_bidx: 1 } })
    .toArray()
  return { Bare, values: stored.map(({ email_bidx }) => email_bidx as Buffer) }
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

const lean = (query: Query) => query.lean()
const hydrated = (query: Query) => query
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
    `Of ${documents} documents. "Stored" is what is stored of the encrypted ones, found by its index value without this library.`,
    await requireIndex(plain, 'email_1'),
    await requireIndex(encrypted, 'email_bidx_1'),
  ]
  const goals: Outcome[] = []
  const rows: string[][] = []
  const { Bare, values } = await bare(encrypted)
  const byEmail = (Model: Model) => () => Model.findOne({ email: addressOf(randomInt(documents)) })
  const byValue = () => Bare.findOne({ email_bidx: values[randomInt(documents)] }) as unknown as Query
  for (const [name, as, atOnce] of workloads) {
    const work = (find: () => Query) => () =>
      concurrently(atOnce, records, async () => {
        if (!(await as(find()))) throw new Error('A record was not found.')
      })
    const measured = await inRounds(rounds, {
      plain: work(byEmail(plain)),
      encrypted: work(byEmail(encrypted)),
      stored: work(byValue),
    })
    const ratio = measured.map((round) => round.encrypted.wallMs / round.plain.wallMs)
    goals.push(outcomeOf({ what: `time of a findOne, ${name}, encrypted / plain`, limit: 1.3 }, ratio))
    const columns = (['wallMs', 'cpuMs'] as const).flatMap((cost) =>
      (['plain', 'stored', 'encrypted'] as const).map((way) =>
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
    tables: [
      {
        head: ['findOne by email', ...['', ', CPU'].flatMap((of) => [`plain${of}`, `stored${of}`, `encrypted${of}`])],
        rows,
      },
    ],
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
