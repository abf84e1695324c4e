// Wrote the frozen records of this folder:
//
//     TSX_TSCONFIG_PATH=test/tsconfig.json node --import tsx test/frozen/generate.ts 1
//
// They must decrypt for ever, so what is there is never written again; a new format gets files of its own.
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import mongoose, { type Model } from 'mongoose'
import { startMongo } from '../mongo'
import { databaseName } from '../mongo/run'
import { frozenModels, valuesOf } from './models'

const { EJSON, Binary, Decimal128, ObjectId, UUID } = mongoose.mongo.BSON

const types = [
  {
    name: 'ordinary values',
    string: 'Ada Lovelace, 12 St James’s Square',
    number: 42,
    boolean: true,
    date: new Date('1815-12-10T06:30:00.123Z'),
    buffer: Buffer.from('00ff80', 'hex'),
    objectId: new ObjectId('65f0c0ffee65f0c0ffee65f0'),
    decimal: Decimal128.fromString('123456789.000000000000000000000001'),
    bigint: 9007199254740993n,
    uuid: new UUID('0f0e0d0c-0b0a-4908-8706-050403020100'),
    map: { one: 1, two: 2.5 },
    mixed: { nested: [1, 'two', { three: null }], at: new Date(0), bytes: new Binary(Buffer.from('raw')) },
    strings: ['a', 'b', ''],
    address: { street: 'Main Street 1', geo: { lat: 51.5074, lon: -0.1278 } },
    visits: [{ at: new Date('2024-02-29T00:00:00Z'), note: 'leap day' }, { note: 'undated' }],
  },
  {
    name: 'values that are easily lost',
    string: '',
    number: Number.NEGATIVE_INFINITY,
    boolean: false,
    date: new Date(-1),
    buffer: Buffer.alloc(0),
    decimal: Decimal128.fromString('NaN'),
    bigint: -9223372036854775808n,
    map: {},
    mixed: Number.NaN,
    strings: [],
    visits: [],
  },
  { name: 'large and exact', string: '𝒜 😀 \u0000 é', number: -0, mixed: 2 ** 53, strings: ['x'.repeat(300)] },
  { name: 'stored as they are', string: null, number: 1.5e300, date: null },
]

const options = [
  { _id: 'a string', tenant: 'acme' },
  { _id: 7, tenant: 'acme' },
  { _id: new ObjectId('65f0c0ffee65f0c0ffee65f1'), tenant: 'Ünited' },
  { _id: { region: 'eu', number: 3 }, tenant: 'globex' },
].map((record) => ({ ...record, email: `${record.tenant}@example.org`, phone: '+44 20 7946 0000' }))

const shapes = [
  {
    name: 'Ada',
    place: { country: 'UK', city: 'London' },
    contacts: ['private', 'work'].map((kind) => ({ kind, address: `ada@${kind}.example` })),
    nested: { contacts: [{ kind: 'other', address: 'ada@other.example' }] },
  },
]

const tenants = options.map(({ phone: _phone, ...record }) => record)

async function main(format: string): Promise<void> {
  const mongo = await startMongo()
  const connection = await mongoose.createConnection(mongo.uri, { dbName: databaseName('frozen') }).asPromise()
  await freeze(`types.${format}`, frozenModels.types(connection) as Model<any>, types)
  await freeze(`options.${format}.version1`, frozenModels.options(connection, 1) as Model<any>, options)
  await freeze(`options.${format}.version2`, frozenModels.options(connection, 2) as Model<any>, options)
  await freeze(`shapes.${format}`, frozenModels.shapes(connection) as Model<any>, shapes)
  await freeze(`tenants.${format}`, frozenModels.tenants(connection) as Model<any>, tenants)
  await connection.dropDatabase()
  await connection.close()
  await mongo.stop()
}

async function freeze(name: string, model: Model<any>, records: object[]): Promise<void> {
  const path = join(__dirname, `${name}.json`)
  if (existsSync(path)) return console.log(`${path} is there`)
  await model.collection.deleteMany({})
  const frozen = []
  for (const given of records) {
    const { _id } = await model.create(given)
    const stored = await model.collection.findOne({ _id })
    const record = await model.findById(_id).orFail()
    frozen.push({ stored, values: await valuesOf(record) })
  }
  writeFileSync(path, `${EJSON.stringify(frozen, undefined, 2, { relaxed: false })}\n`)
}

void main(process.argv[2] as string)
