import { inspect } from 'node:util'
import { Schema } from 'mongoose'
import { named, plugin, provider, secret, useFaults } from './support'

// No error that the cast or a validator of a field ends with holds the value that it is about.
const { connection, open } = useFaults()
const value = 'what-nobody-may-read'
beforeEach(() => void secret(value))

const fields = {
  age: Number,
  born: Date,
  isOn: Boolean,
  uuid: Schema.Types.UUID,
  of: Schema.Types.ObjectId,
  price: Schema.Types.Decimal128,
  big: BigInt,
  photo: Buffer,
  scores: [Number],
  grid: [[Number]],
  byName: { type: Map, of: Number },
  address: { zip: Number, at: { x: Number } },
  one: new Schema({ qty: Number, at: { x: Number } }),
  many: [new Schema({ qty: Number, code: { type: String, maxlength: 3 } })],
  said: { type: Number, cast: '{VALUE} is no number' },
  role: { type: String, enum: ['a', 'b'] },
  short: { type: String, maxlength: [3, 'not {VALUE}'] },
  matching: { type: String, match: /^x/ },
  own: { type: String, validate: { validator: () => false, message: 'no, {VALUE} is wrong' } },
  late: { type: String, validate: async () => false },
  failing: {
    type: String,
    validate: async () => {
      throw new Error('the validator has failed')
    },
  },
  setter: {
    type: String,
    set: () => {
      throw new Error('the setter has failed')
    },
  },
}

const schema = new Schema<any>({ name: String }).plugin(plugin, { provider, fields })
const Wrong = connection.model<any>(named('Wrong'), schema) as any
const held = new Schema<any>({}).plugin(plugin, { provider, fields })
const Holder = connection.model<any>(
  named('Holder'),
  new Schema<any>({ list: [held], single: held, map: { type: Map, of: held } }),
) as any

const wrong: [string, Record<string, unknown>][] = [
  ...Object.keys(fields)
    .filter((name) => !['address', 'one', 'many', 'scores', 'grid', 'byName'].includes(name))
    .map((name): [string, Record<string, unknown>] => [name, { [name]: value }]),
  ['an object as a number', { age: { of: value } }],
  ['an array as a date', { born: [value] }],
  ['a promise', { born: Promise.resolve(value) }],
  ['an array', { scores: [1, value] }],
  ['an array of arrays', { grid: [[value]] }],
  ['text as an array of numbers', { scores: value }],
  ['a map', { byName: { a: value } }],
  ['text as a map', { byName: value }],
  ['a part of an object', { address: { zip: value } }],
  ['text as an object', { address: value }],
  ['text as an object in an object', { address: { at: value } }],
  ['a subdocument', { one: { qty: value } }],
  ['text as a subdocument', { one: value }],
  ['text as an object in a subdocument', { one: { at: value } }],
  ['an element', { many: [{ qty: value }] }],
  ['text as an element', { many: [value] }],
  ['a validator of an element', { many: [{ code: value }] }],
]

const checked = { runValidators: true }
const ways: [string, (given: Record<string, unknown>) => unknown][] = [
  ['save', (given) => new Wrong(given).save()],
  ['a new document', (given) => new Wrong(given).validateSync()],
  ['set and save', async (given) => Object.assign(await Wrong.create({}), given).save()],
  ['create', (given) => Wrong.create(given)],
  ['insertMany', (given) => Wrong.insertMany([given])],
  ['insertMany, raw', (given) => Wrong.insertMany([given], { ordered: false, throwOnValidationError: true })],
  ['insertMany, lean', (given) => Wrong.insertMany([given], { lean: true })],
  ['updateOne', (given) => Wrong.updateOne({}, given, checked)],
  ['updateOne of parts', (given) => Wrong.updateOne({}, dotted(given), checked)],
  ['updateOne, all errors', (given) => Wrong.updateOne({}, given, { ...checked, multipleCastError: true })],
  ['updateMany', (given) => Wrong.updateMany({}, { $set: given }, checked)],
  ['findOneAndUpdate', (given) => Wrong.findOneAndUpdate({}, given, { ...checked, upsert: true })],
  ['replaceOne', (given) => Wrong.replaceOne({}, given, checked)],
  ['bulkWrite', (given) => Wrong.bulkWrite([{ insertOne: { document: given } }])],
  ['bulkWrite of an update', (given) => Wrong.bulkWrite([{ updateOne: { filter: {}, update: given } }])],
  ['castObject', (given) => Wrong.castObject(given)],
  ['validate', (given) => Wrong.validate(given)],
  ['a list', (given) => new Holder({ list: [given] }).save()],
  ['a subdocument', (given) => new Holder({ single: given }).save()],
  ['a map of subdocuments', (given) => new Holder({ map: { a: given } }).save()],
  ['an update of a list', (given) => Holder.updateOne({}, { list: [given] }, checked)],
  ['an update that adds to a list', (given) => Holder.updateOne({}, { $push: { list: given } }, checked)],
  ['an update of a subdocument', (given) => Holder.updateOne({}, { single: given }, checked)],
  ['an update of one in a list', (given) => Holder.updateOne({}, dotted({ 'list.0': given }), checked)],
]

/** The same with paths for what is within objects. */
function dotted(given: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(given).flatMap(([key, item]) =>
      Object.getPrototypeOf(item) === Object.prototype
        ? Object.entries(item as object).map(([part, each]) => [`${key}.${part}`, each])
        : [[key, item]],
    ),
  )
}

const everythingOf = (error: any) =>
  [
    error.message,
    error.stack,
    JSON.stringify(error),
    inspect(error, { depth: 20, showHidden: true }),
    ...Object.values(error.errors ?? {}).map((each: any) => `${each.stack} ${JSON.stringify(each)}`),
  ].join('\n')

test.each(wrong)('%s', async (_name, given) => {
  const told: string[] = []
  let failed = 0
  for (const [name, way] of ways) {
    const error = await (async () => way(given))().then(
      (result) => (result instanceof Error ? result : undefined),
      (thrown: Error) => thrown,
    )
    if (error) failed++
    if (error && everythingOf(error).includes(value)) told.push(`${name}: ${error}`)
  }
  expect(told).toEqual([])
  expect(failed).toBeGreaterThan(5)
})

test('a value that is stored and no longer fits its type is told of without it', async () => {
  const name = named('Changed')
  const make = (on: any, types: object) =>
    on.model(name, new Schema<any>({}).plugin(plugin, { provider, fields: types })) as any
  const Before = make(connection, { age: String, scores: [String], at: { x: String } })
  const After = make(await open(), { age: Number, scores: [Number], at: { x: Number } })
  const { _id } = await Before.create({ age: value, scores: [value], at: { x: value } })
  const { failures } = await After.verifyKms()
  expect(failures.map(({ path }: any) => path)).toContain('age')
  const found = await After.findById(_id)
  const errors = [
    ...failures.map(({ error }: any) => error),
    await found.decrypt().catch((error: Error) => error),
    // Not opened by the first failure.
    await found.decrypt().catch((error: Error) => error),
    await found.age.catch((error: Error) => error),
    await After.decrypt(await After.findById(_id).lean()).catch((error: Error) => error),
    await found.rotateKmsKey().catch((error: Error) => error),
    ...(await After.rotateKmsKey()).failures.map(({ error }: any) => error),
    await Object.assign(await After.findById(_id), { age: 5 })
      .save()
      .catch((error: Error) => error),
  ]
  expect(errors.slice(0, 5).map((error) => error.name)).toEqual(Array(5).fill('CastError'))
  expect(errors.filter((error) => error && everythingOf(error).includes(value))).toEqual([])
})
