import { localKms } from 'mongoose-kms-encrypted'
import { readBare, saveBare, updateBare } from './floor'
import { beyondInFloors, type Goal, outcomeOf } from './goal'
import { concurrently, inRounds, type Round } from './measure'
import type { Extent, Part } from './part'
import { encryptedModel, type PlainModel, plainModel, readFields, text, values } from './records'
import { cell, type Findings, type Table } from './report'

const atOnce = 16
const perFind = 100

const models = () => ({ plain: plainModel(), encrypted: encryptedModel('Encrypted', { provider: localKms() }) })

/** As long as BSON of a string of 32 bytes in `{ v }`. */
const plaintext = Buffer.alloc(45)
const plaintexts = [plaintext, plaintext, plaintext]

type Way = 'plain' | 'encrypted' | 'floor'

function bySize(measured: readonly Round<Way>[], records: number): Table {
  const ways = (['plain', 'encrypted', 'floor'] as const).filter((way) => measured[0]![way])
  return {
    head: ['', 'client CPU of a record', 'time of a record'],
    rows: ways.map((way) => [
      way === 'floor' ? 'floor: bare cryptography' : way,
      ...(['cpuMs', 'wallMs'] as const).map((cost) =>
        cell(
          measured.map((round) => (round[way][cost] * 1000) / records),
          'µs',
        ),
      ),
    ]),
  }
}

function inFloors(goal: Goal, measured: readonly Round<Way>[], records: number, note: string): Findings {
  const ratios = measured.map(({ encrypted, plain, floor }) =>
    beyondInFloors(encrypted.cpuMs, plain.cpuMs, floor.cpuMs),
  )
  return { goals: [outcomeOf(goal, ratios)], tables: [bySize(measured, records)], notes: [note] }
}

function repeat(times: number, work: () => unknown): () => void {
  return () => {
    for (let time = 0; time < times; time++) work()
  }
}

export const save: Part = {
  title: 'Save',
  async run({ rounds, records }) {
    const { plain, encrypted } = models()
    const saveAll = (Model: PlainModel) => () => concurrently(atOnce, records, () => new Model(values()).save())
    const measured = await inRounds(
      rounds,
      { plain: saveAll(plain), encrypted: saveAll(encrypted), floor: repeat(records, () => saveBare(plaintexts)) },
      () => Promise.all([plain.deleteMany(), encrypted.deleteMany()]),
    )
    const goal = { what: 'CPU of a save beyond plain, in floors', limit: 2 }
    return inFloors(goal, measured, records, `New records of three fields, ${atOnce} saves at once.`)
  },
}

async function filled({ records }: Extent) {
  const { plain, encrypted } = models()
  for (const Model of [plain, encrypted]) await Model.insertMany(Array.from({ length: records }, values))
  return { plain, encrypted }
}

async function findAll(Model: PlainModel, records: number, use: (record: object) => unknown): Promise<void> {
  for (let skip = 0; skip < records; skip += perFind) {
    for (const record of await Model.find().skip(skip).limit(perFind)) await use(record)
  }
}

export const read: Part = {
  title: 'Open and read',
  async run(extent) {
    const { rounds, records } = extent
    const { plain, encrypted } = await filled(extent)
    const readAll = (Model: PlainModel) => () => findAll(Model, records, readFields as never)
    const bare = saveBare(plaintexts)
    const measured = await inRounds(rounds, {
      plain: readAll(plain),
      encrypted: readAll(encrypted),
      floor: repeat(records, () => readBare(bare)),
    })
    const goal = { what: 'CPU of opening and reading three fields beyond plain, in floors', limit: 2 }
    return inFloors(goal, measured, records, `Records of finds of ${perFind}, their fields awaited one after another.`)
  },
}

export const find: Part = {
  title: 'Find untouched',
  async run(extent) {
    const { rounds, records } = extent
    const { plain, encrypted } = await filled(extent)
    const untouched = (Model: PlainModel) => () => findAll(Model, records, () => {})
    const measured = await inRounds(rounds, { plain: untouched(plain), encrypted: untouched(encrypted) })
    const goal = { what: 'CPU of a find whose fields are not read, plain / encrypted', limit: 0.7, isLeast: true }
    return {
      goals: [
        outcomeOf(
          goal,
          measured.map((round) => round.plain.cpuMs / round.encrypted.cpuMs),
        ),
      ],
      tables: [bySize(measured as readonly Round<Way>[], records)],
      notes: [`Finds of ${perFind} records.`],
    }
  },
}

export const update: Part = {
  title: 'Update',
  async run(extent) {
    const { rounds, records } = extent
    const { plain, encrypted } = await filled(extent)
    const updateAll = async (Model: PlainModel) => {
      const stored = await Model.find().select('_id').lean()
      return () =>
        concurrently(atOnce, records, (number) => Model.updateOne({ _id: stored[number]!._id }, { first: text() }))
    }
    const bare = saveBare(plaintexts)
    const measured = await inRounds(rounds, {
      plain: await updateAll(plain),
      encrypted: await updateAll(encrypted),
      floor: repeat(records, () => updateBare(bare, plaintext)),
    })
    const goal = { what: 'CPU of an updateOne of one field beyond plain, in floors', limit: 3 }
    return inFloors(
      goal,
      measured,
      records,
      `By _id, ${atOnce} at once. The floor opens the record and encrypts one field.`,
    )
  },
}
