// Speed and size beside plain Mongoose on the same server, without the latency of a KMS:
//
//     npm run bench [-- --rounds 9 --records 1000]
//
// Rounds of plain and encrypted models alternate, so that whatever else the machine does hits both; the ratio is the
// median of the rounds' ratios. Where the server is the embedded one, it takes longer over larger documents than MongoDB
// does: the CPU time of the client alone says what this library costs.
import { randomBytes } from 'node:crypto'
import { parseArgs } from 'node:util'
import mongoose, { model, Schema } from 'mongoose'
import { kmsEncrypted } from 'mongoose-kms-encrypted'
import { concurrently, inRounds, median, printRow, type Round } from './measure'
import { sizedLikeAws } from './provider'
import { withDatabase } from './server'

const { values: args } = parseArgs({
  options: { rounds: { type: 'string', default: '9' }, records: { type: 'string', default: '1000' } },
})
const rounds = Number(args.rounds)
const records = Number(args.records)
const perFind = 100

const fields = { first: String, second: String, third: String, number: Number }
const Plain = model('Plain', new Schema(fields))
const Encrypted = model('Encrypted', new Schema({}).plugin(kmsEncrypted, { provider: sizedLikeAws(), fields }))
type Either = typeof Plain | typeof Encrypted
type RecordLike = { get(path: string): unknown }

const text = () => randomBytes(16).toString('hex')
const values = () => ({ first: text(), second: text(), third: text(), number: Math.random() })

async function save(Model: Either, atOnce: number): Promise<void> {
  await concurrently(atOnce, records, () => new Model(values()).save())
}

async function find(Model: Either, read?: (record: RecordLike) => Promise<void>): Promise<void> {
  for (let skip = 0; skip < records; skip += perFind) {
    const found: RecordLike[] = await (Model as typeof Plain).find().skip(skip).limit(perFind)
    if (read) for (const record of found) await read(record)
  }
}

async function readFields(record: RecordLike): Promise<void> {
  for (const field of Object.keys(fields)) await record.get(field)
}

const workloads: Record<string, (Model: Either) => Promise<void>> = {
  'save, one after another': (Model) => save(Model, 1),
  'save, 16 at once': (Model) => save(Model, 16),
  'find, untouched': (Model) => find(Model),
  'find and read': (Model) => find(Model, readFields),
}

async function measureSpeed(): Promise<void> {
  console.log(`\nRecords per second and client CPU per record, medians of ${rounds} rounds of ${records} records:\n`)
  printRow(['', 'plain/s', 'encrypted/s', 'ratio', 'plain', 'encrypted', 'ratio'])
  for (const [name, workload] of Object.entries(workloads)) {
    const empty = async () => {
      for (const Model of [Plain, Encrypted]) await Model.deleteMany()
    }
    const measured = await inRounds(
      rounds,
      { plain: () => workload(Plain), encrypted: () => workload(Encrypted) },
      name.startsWith('save') ? empty : undefined,
    )
    const medianOf = (pick: (round: Round) => number) => median(measured.map(pick))
    printRow([
      name,
      medianOf(({ plain }) => records / (plain.wallMs / 1000)).toFixed(0),
      medianOf(({ encrypted }) => records / (encrypted.wallMs / 1000)).toFixed(0),
      medianOf(({ plain, encrypted }) => plain.wallMs / encrypted.wallMs).toFixed(2),
      `${medianOf(({ plain }) => (plain.cpuMs * 1000) / records).toFixed(0)} µs`,
      `${medianOf(({ encrypted }) => (encrypted.cpuMs * 1000) / records).toFixed(0)} µs`,
      medianOf(({ plain, encrypted }) => plain.cpuMs / encrypted.cpuMs).toFixed(2),
    ])
  }
}

async function measureSize(): Promise<void> {
  const { calculateObjectSize } = mongoose.mongo.BSON
  const record = values()
  const storedBy = async (Model: Either) => {
    const saved = await new Model(record).save()
    return (await Model.collection.findOne({ _id: saved._id as mongoose.Types.ObjectId }))!
  }
  const plain = await storedBy(Plain)
  const encrypted = await storedBy(Encrypted)
  console.log('\nStored bytes of a document of three 32-byte strings and a number:\n')
  console.log(`plain ${calculateObjectSize(plain)}, encrypted ${calculateObjectSize(encrypted)}, of which`)
  for (const [field, value] of Object.entries(record)) {
    const bson = calculateObjectSize({ v: value })
    const envelope = encrypted[field].length()
    console.log(`  ${field.padEnd(8)} envelope ${envelope}, that is ${envelope - bson} more than BSON of { v: value }`)
  }
  const { encrypted_kms_key } = encrypted
  const path = calculateObjectSize({ encrypted_kms_key }) - calculateObjectSize({})
  console.log(`  the wrapped key with its path ${path}, with a key id and wrapped key as long as those of AWS KMS`)
}

void withDatabase(async () => {
  await measureSpeed()
  await measureSize()
})
