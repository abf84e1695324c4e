import mongoose, { type Connection } from 'mongoose'
import { concurrently, inRounds } from './measure'
import type { Part } from './part'
import { type Peer, type PeerModel, peers } from './peers'
import { fieldNames, readFields, values } from './records'
import { cell } from './report'

const atOnce = 16
const perFind = 100

async function withModels<T>(uri: string, all: readonly Peer[], use: (models: PeerModel[]) => Promise<T>): Promise<T> {
  const connections: Connection[] = []
  try {
    const models = []
    for (const peer of all) {
      const connection = peer.mongoose.createConnection()
      connections.push(connection)
      await connection.openUri(uri, { dbName: mongoose.connection.name })
      models.push(peer.model(connection))
    }
    return await use(models)
  } finally {
    for (const connection of connections) await connection.close()
  }
}

async function readAll(Model: PeerModel, records: number): Promise<void> {
  for (let skip = 0; skip < records; skip += perFind)
    for (const record of await Model.find().sort('_id').skip(skip).limit(perFind)) await readFields(record)
}

type Stored = Record<string, any>

/** What is stored of a model, past all libraries. */
function rawOf(Model: PeerModel) {
  return mongoose.connection.db!.collection<Stored>(Model.collection.name)
}

/** Another first bit of the nonce of the first field, in whatever form that is stored. */
function damaged(stored: Stored): Stored {
  const field = '_ct' in stored ? '_ct' : 'first'
  const value = stored[field]
  if (typeof value === 'string') return { ...stored, [field]: `${value[0] === '0' ? '1' : '0'}${value.slice(1)}` }
  const bytes = Buffer.from(value.buffer)
  bytes[5]! ^= 1
  return { ...stored, [field]: new mongoose.mongo.Binary(bytes, value.sub_type) }
}

/** Whether what is stored is refused when it is read, for at least one field. */
async function isRefused(Model: PeerModel, stored: Stored): Promise<boolean> {
  await rawOf(Model).replaceOne({ _id: stored._id }, stored)
  try {
    const record = await Model.findById(`${stored._id}`)
    await readFields(record)
    return false
  } catch {
    return true
  }
}

/** What a library notices of what somebody does who may write to the database. */
async function noticed(Model: PeerModel, isWhole: boolean): Promise<string[]> {
  await Model.deleteMany()
  for (let count = 0; count < 2; count++) await new Model(values()).save()
  const [stored = {}, foreign = {}]: Stored[] = await rawOf(Model).find().toArray()
  const yes = (isSo: boolean) => (isSo ? 'yes' : 'no')
  return [
    yes(await isRefused(Model, damaged(stored))),
    isWhole ? 'one ciphertext' : yes(await isRefused(Model, { ...stored, first: stored.second, second: stored.first })),
    yes(await isRefused(Model, { ...foreign, _id: stored._id })),
  ]
}

export const comparison: Part = {
  title: 'Beside other libraries',
  async run({ rounds, records, uri }) {
    const all = peers()
    return withModels(uri, all, async (models) => {
      const ways = (work: (Model: PeerModel) => Promise<unknown>) =>
        Object.fromEntries(models.map((Model, index) => [all[index]!.name, () => work(Model)]))
      const saving = await inRounds(
        rounds,
        ways((Model) => concurrently(atOnce, records, () => new Model(values()).save())),
        () => Promise.all(models.map((Model) => Model.deleteMany())),
      )
      for (const Model of models) {
        await Model.deleteMany()
        await concurrently(atOnce, records, () => new Model(values()).save())
      }
      const reading = await inRounds(
        rounds,
        ways((Model) => readAll(Model, records)),
      )
      const { calculateObjectSize } = mongoose.mongo.BSON
      const rows = []
      const seen = []
      for (const [index, { name, keyOfRecord, isWhole = false }] of all.entries()) {
        const Model = models[index]!
        const costs = [saving, reading].flatMap((measured) =>
          (['cpuMs', 'wallMs'] as const).map((cost) =>
            cell(
              measured.map((round) => (round[name]![cost] * 1000) / records),
              'µs',
            ),
          ),
        )
        rows.push([name, ...costs, `${calculateObjectSize((await rawOf(Model).findOne())!)}`])
        if (!name.startsWith('plain')) seen.push([name, ...(await noticed(Model, isWhole)), keyOfRecord])
      }
      return {
        tables: [
          { head: ['of a record', 'save, CPU', 'save, time', 'read, CPU', 'read, time', 'bytes'], rows },
          { head: ['', 'authenticates', 'binds to the field', 'binds to the record', 'a key per record'], rows: seen },
        ],
        notes: [
          `A record of ${fieldNames.length} strings of 32 bytes. ${atOnce} saves at once; finds of ${perFind} whose fields are read.`,
          'Tried with what is stored: a changed nonce, two fields exchanged, all of a record put in the place of another. Bound is what is refused.',
        ],
      }
    })
  },
}
