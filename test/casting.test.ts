import { Types } from 'mongoose'
import { useDatabase } from './support'
import { fieldsOf, type Twins, twinsOf, validateSync } from './twins'

const { connection } = useDatabase()

type Case = readonly [name: string, definition: Record<string, any>, ...values: Record<string, any>[]]

const wait = (value: unknown) => new Promise((resume) => setImmediate(resume, value))

const cases: Case[] = [
  ['required', { email: { type: String, required: true } }, {}, { email: '' }, { email: null }, { email: 'a' }],
  ['required with a message', { email: { type: String, required: [true, 'no {PATH}, {VALUE}'] } }, {}, { email: 'a' }],
  [
    'required by a function of the record',
    {
      email: {
        type: String,
        required(this: any) {
          return this.name === 'Ada'
        },
      },
    },
    { name: 'Ada' },
    { name: 'Bob' },
    { name: 'Ada', email: 'a' },
  ],
  [
    'required by a function with a message',
    {
      email: {
        type: String,
        required: [
          function (this: any) {
            return this.name === 'Ada'
          },
          'Ada needs {PATH}',
        ],
      },
    },
    { name: 'Ada' },
    { name: 'Bob' },
  ],
  ['required array', { tags: { type: [String], required: true } }, {}, { tags: [] }, { tags: null }],
  [
    'required in a nested object',
    { address: { city: { type: String, required: true }, zip: String } },
    {},
    { address: {} },
    { address: { zip: '1' } },
    { address: { city: 'x' } },
    { address: null },
  ],
  ['enum', { role: { type: String, enum: ['a', 'b'] } }, { role: 'a' }, { role: 'c' }, { role: null }, {}],
  ['enum with a message', { role: { type: String, enum: { values: ['a'], message: 'not {VALUE}' } } }, { role: 'c' }],
  ['enum of numbers', { level: { type: Number, enum: [1, 2] } }, { level: 1 }, { level: 3 }, { level: '2' }],
  ['enum in an array', { roles: [{ type: String, enum: ['a', 'b'] }] }, { roles: ['a'] }, { roles: ['a', 'x', 'y'] }],
  ['match', { email: { type: String, match: /@/ } }, { email: 'a@b' }, { email: 'ab' }, { email: '' }],
  ['match with a message', { email: { type: String, match: [/@/, 'bad {VALUE}'] } }, { email: 'ab' }],
  ['min and max', { age: { type: Number, min: 1, max: [9, 'over {MAX}'] } }, { age: 0 }, { age: 10 }, { age: '5' }],
  [
    'min and max of dates',
    { dob: { type: Date, min: '2000-01-01', max: new Date('2001-01-01') } },
    { dob: '1999-01-01' },
    { dob: '2000-06-01' },
    { dob: '2002-01-01' },
  ],
  ['lengths', { pin: { type: String, minlength: 2, maxLength: 3 } }, { pin: 'a' }, { pin: 'abcd' }, { pin: 'abc' }],
  [
    'a validator that sees the record',
    {
      email: {
        type: String,
        validate(this: any, value: string) {
          return value.startsWith(this.name)
        },
      },
    },
    { name: 'Ada', email: 'Ada@' },
    { name: 'Ada', email: 'Bob@' },
  ],
  [
    'an asynchronous validator',
    {
      email: {
        type: String,
        validate: { validator: (value: string) => wait(value !== 'bad'), message: '{PATH}: {VALUE}' },
      },
    },
    { email: 'good' },
    { email: 'bad' },
  ],
  [
    'a validator that throws or rejects',
    {
      email: {
        type: String,
        validate: () => {
          throw new Error('thrown')
        },
      },
      phone: {
        type: String,
        validate: async () => {
          throw new Error('rejected')
        },
      },
    },
    { email: 'x', phone: 'y' },
  ],
  [
    'several validators with messages by function',
    {
      age: {
        type: Number,
        validate: [
          { validator: (value: number) => value > 1, message: (props: any) => `${props.path}=${props.value} is small` },
          { validator: (value: number) => value !== 3, message: 'three', type: 'custom' },
        ],
      },
    },
    { age: 1 },
    { age: 3 },
    { age: 4 },
  ],
  [
    'a validator of an array and of its elements',
    { tags: { type: [{ type: String, minlength: 2 }], validate: (tags: string[]) => tags.length < 3 } },
    { tags: ['aa', 'b'] },
    { tags: ['aa', 'bb', 'cc'] },
    { tags: ['a', 'b', 'c'] },
  ],
  [
    'lowercase and trim',
    { email: { type: String, lowercase: true, trim: true } },
    { email: '  ADA@X  ' },
    { email: 7 },
  ],
  ['uppercase', { code: { type: String, uppercase: true } }, { code: 'abc' }],
  [
    'a setter that sees the record',
    {
      email: {
        type: String,
        set(this: any, value: string) {
          return `${this.name}:${value}`
        },
      },
    },
    { name: 'Ada', email: 'x' },
    { email: 'x', name: 'Ada' },
  ],
  [
    'a default',
    { email: { type: String, default: 'none' } },
    {},
    { email: undefined },
    { email: null },
    { email: 'a' },
  ],
  [
    'a default that sees the record',
    {
      email: {
        type: String,
        default(this: any) {
          return `${this.name}@x`
        },
      },
    },
    { name: 'Ada' },
    { name: 'Ada', email: 'y' },
    {},
  ],
  ['a default that breaks a rule', { age: { type: Number, default: 0, min: 1 } }, {}, { age: 2 }],
  [
    'defaults in a nested object',
    { address: { city: { type: String, default: 'Rome' }, zip: String } },
    {},
    { address: { zip: '1' } },
    { address: { city: 'Oslo' } },
  ],
  [
    'defaults of arrays',
    { tags: [String], list: { type: [Number], default: [1, 2] }, none: { type: [String], default: undefined } },
    {},
  ],
  ['a default of a map', { scores: { type: Map, of: Number, default: { a: 1 } } }, {}, { scores: { b: 2 } }],
  ['a default of anything', { any: { type: Object, default: { a: { b: 1 } } } }, {}, { any: 5 }],
  ['a date by default', { at: { type: Date, default: () => new Date(0) } }, {}],
  ['a getter', { age: { type: Number, get: (value: number) => value * 2 } }, { age: 2 }],
  ['numbers', { age: Number }, { age: 'x' }, { age: '7' }, { age: true }, { age: {} }, { age: [1] }],
  ['dates', { dob: Date }, { dob: 'x' }, { dob: 0 }, { dob: '2020-01-01' }, { dob: true }],
  ['booleans', { ok: Boolean }, { ok: 'yes' }, { ok: 'x' }, { ok: 0 }],
  ['strings', { text: String }, { text: 5 }, { text: {} }, { text: ['a'] }, { text: ['a', 'b'] }],
  ['object ids', { other: 'ObjectId' }, { other: 'x' }, { other: '65f0c0ffee65f0c0ffee65f0' }],
  ['decimals', { price: 'Decimal128' }, { price: 'x' }, { price: '1.10' }, { price: 2 }],
  ['big integers', { big: BigInt }, { big: 'x' }, { big: '9007199254740993' }, { big: 5 }],
  ['uuids', { uuid: 'UUID' }, { uuid: 'x' }, { uuid: '0195e3a0-6f3d-7cc2-b2f5-000000000001' }],
  ['buffers', { bytes: Buffer }, { bytes: 'abc' }, { bytes: {} }, { bytes: [1, 2] }],
  ['arrays of numbers', { list: [Number] }, { list: ['1', 2] }, { list: ['x', 1, 'y'] }, { list: 3 }, { list: 'x' }],
  ['nested objects', { address: { zip: Number } }, { address: { zip: 'x' } }, { address: { zip: '1' } }],
  ['maps', { scores: { type: Map, of: Number } }, { scores: { a: 'x' } }, { scores: { a: '1' } }, { scores: 5 }],
  [
    'subdocuments',
    { items: [{ qty: { type: Number, min: 1, required: true }, label: { type: String, lowercase: true } }] },
    { items: [{ _id: '65f0c0ffee65f0c0ffee65f0', qty: '3', label: 'ABC' }] },
    { items: [{ _id: '65f0c0ffee65f0c0ffee65f0' }, { _id: '65f0c0ffee65f0c0ffee65f1', qty: 0 }] },
    { items: [{ _id: '65f0c0ffee65f0c0ffee65f0', qty: 'x' }] },
    { items: 'x' },
  ],
  ['unknown keys in a nested object', { address: { zip: Number } }, { address: { zip: 1, other: 2 } }],
  ['several errors at once', { email: { type: String, required: true }, age: Number }, { age: 'x', clear: 'x' }],
]

const clear = { name: { type: String, maxlength: 10 }, clear: Number }

for (const [name, definition, ...values] of cases) {
  test(`${name}: as on a path that is not encrypted`, async () => {
    const twins = twinsOf(connection, clear, definition)
    for (const each of values) {
      const { plain, encrypted } = await twins.both((model) => createAndRead(model, each, Object.keys(definition)))
      expect(encrypted).toEqual(plain)
      const sync = await twins.both((model) => validateNew(model, each))
      expect(sync.encrypted).toEqual(sync.plain)
      // A default that a loaded record lacks is read, and is not written by a save of something else.
      if (Object.keys(each).length > 0) await laterToo(twins, each)
    }
  })
}

async function createAndRead(model: any, values: object, names: string[]) {
  const doc = await model.create(values)
  const created = await fieldsOf(doc, names)
  return { created, found: await fieldsOf(await model.findById(doc._id), names) }
}

async function validateNew(model: any, values: object) {
  const error = validateSync(new model(values))
  if (error) throw error
}

/** The same values, set on a record that was loaded before: locked or open, they must cast and validate alike. */
async function laterToo(twins: Twins, values: object) {
  for (const prepare of [async () => {}, (doc: any) => doc.decrypt?.()]) {
    const { plain, encrypted } = await twins.both(async (model) => {
      const { insertedId } = await model.collection.insertOne({ name: 'Eve' })
      const doc = await model.findById(insertedId)
      await prepare(doc)
      doc.set(values)
      await doc.save()
      return fieldsOf(await model.findById(insertedId), Object.keys(values))
    })
    expect(encrypted).toEqual(plain)
  }
}

test.each([
  [['x']],
  [[['x']]],
  'x',
  0,
  false,
  '',
  new Date(0),
  new Date(Number.NaN),
  /x/,
  Buffer.from('x'),
  new Types.ObjectId(),
])('what is no object is an error in the place of a nested one: %j', async (address) => {
  const { encrypted } = twinsOf(connection, clear, { address: { city: String } })
  const doc = await encrypted.create({ name: 'Ada', address: { city: 'Rome' } })
  const found = await encrypted.findById(doc._id)
  for (const each of [doc, found]) {
    each.address = address
    await expect(each.save()).rejects.toThrow('Cast to Object failed')
    each.address = { city: 'Oslo' }
    await each.save()
    await expect((await encrypted.findById(doc._id)).decrypt()).resolves.toEqual({ address: { city: 'Oslo' } })
  }
  await expect(encrypted.create({ address })).rejects.toThrow('Cast to Object failed')
  for (const name of ['Ada', 'nobody'])
    await expect(encrypted.updateOne({ name }, { address }, { upsert: true })).rejects.toThrow(
      /Cast to Object failed|cannot be cast to Object/,
    )
  await expect(encrypted.insertMany([{ address }], { lean: true })).rejects.toMatchObject({ code: 'WRITE_REFUSED' })
  expect(await encrypted.countDocuments()).toBe(1)
})

test('a map in the place of a nested object is taken for an object, as the driver takes it', async () => {
  const { encrypted } = twinsOf(connection, clear, { address: { city: String, zip: Number } })
  const address = new Map<string, unknown>([
    ['city', 'Rome'],
    ['zip', '7'],
  ])
  await encrypted.create({ name: 'create', address })
  await encrypted.insertMany([{ name: 'insertMany, lean', address }], { lean: true })
  await encrypted.collection.insertOne({ name: 'collection', address })
  await encrypted.updateOne({ name: 'updateOne' }, { address }, { upsert: true })
  const found = await encrypted.find()
  expect(found).toHaveLength(4)
  for (const each of found) expect((await each.decrypt()).address).toEqual({ city: 'Rome', zip: 7 })
})

test.each<[string, unknown, unknown]>([
  ['a text', new String('Rome'), 'Rome'],
  ['within', { a: [new Number(7), { b: new Boolean(false) }], c: 'x' }, { a: [7, { b: false }], c: 'x' }],
])('%s that is an object is stored as what it is of', async (_case, given, stored) => {
  const { plain, encrypted } = twinsOf(connection, clear, { any: {} })
  // By others of its own, Mongoose stores an object of the letters.
  await plain.updateOne({ name: 'updateOne' }, { any: given }, { upsert: true })
  await encrypted.create({ name: 'create', any: given })
  await encrypted.updateOne({ name: 'updateOne' }, { any: given }, { upsert: true })
  await encrypted.bulkWrite([{ insertOne: { document: { name: 'bulkWrite', any: given } } }])
  for (const each of await plain.find()) expect(each.any).toEqual(stored)
  for (const each of await encrypted.find()) expect(await each.any).toEqual(stored)
})

test('an update that cannot be cast is an error where no record matches, too', async () => {
  const twins = twinsOf(connection, clear, { grid: [[Number]], scores: { type: Map, of: Number } })
  for (const update of [{ grid: [['x']] }, { $set: { grid: Number.NaN } }]) {
    const { plain, encrypted } = await twins.both((model) =>
      model.updateOne({ name: 'nobody' }, update).catch((error: any) => ({ failed: error.name, path: error.path })),
    )
    expect(encrypted).toEqual(plain)
    expect(plain).toMatchObject({ failed: 'CastError' })
  }
})

test.each(['validate', 'castObject'])(
  'Model.%s() tells what cannot be cast in a value of several parts',
  async (method) => {
    const twins = twinsOf(connection, clear, { scores: { type: Map, of: Number }, tags: [Number] })
    for (const values of [{ scores: [null] }, { tags: ['x'] }, { scores: { a: 'x' } }]) {
      const { plain, encrypted } = await twins.both(async (model) => {
        const error = await (async () => model[method](values))().catch((each: any) => each)
        const paths = Object.keys(error.errors ?? {}).map((path) => path.split('.')[0])
        return { name: error.name, paths: [...new Set(paths)] }
      })
      expect(encrypted).toEqual(plain)
      expect(plain).toMatchObject({ name: 'ValidationError' })
    }
  },
)
