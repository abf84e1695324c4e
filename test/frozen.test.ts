import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import mongoose, { type Model } from 'mongoose'
import { frozenModels, valuesOf } from './frozen/models'
import { rawCollection, useDatabase } from './support'

const { EJSON, UUID } = mongoose.mongo.BSON
const { connection } = useDatabase()
const folder = join(__dirname, 'frozen')
const files = readdirSync(folder).filter((file) => file.endsWith('.json'))

test('there are frozen records of format 1', () => {
  expect(files.filter((file) => file.includes('.1.'))).toHaveLength(5)
})

test.each(files)('the records of %s decrypt as they did when they were written', async (file) => {
  const text = readFileSync(join(folder, file), 'utf8')
  const frozen = EJSON.parse(text, { relaxed: false }) as { stored: Record<string, any>; values: object }[]
  const expected = JSON.parse(text) as { values: object }[]
  const model = frozenModels[file.split('.')[0] as keyof typeof frozenModels](connection) as Model<any>

  await rawCollection(model).insertMany(frozen.map(({ stored }) => stored))
  for (const [index, { stored }] of frozen.entries()) {
    const record = await model.findById(stored._id).orFail()
    expect(canonical(await valuesOf(record))).toEqual(expected[index]?.values)
    const lean = await model.findById(stored._id).orFail().lean()
    const { subdocuments: _, ...values } = (expected[index]?.values ?? {}) as Record<string, unknown>
    // A lean object has what is stored, and nothing that a document would have by default.
    const own = Object.fromEntries(Object.entries(values).filter(([name]) => name in stored))
    expect(canonical(await (model as any).decrypt(lean))).toMatchObject(own)
  }
})

test.each(files)('the records of %s can be put back as a backup', async (file) => {
  const frozen = EJSON.parse(readFileSync(join(folder, file), 'utf8'), { relaxed: false }) as {
    stored: { _id: unknown }
  }[]
  const model = frozenModels[file.split('.')[0] as keyof typeof frozenModels](connection) as Model<any>
  const stored = frozen.map((each) => each.stored)
  await model.collection.insertMany(stored as never)
  expect(await rawCollection(model).find().toArray()).toEqual(EJSON.deserialize(EJSON.serialize(stored)))
  for (const { _id } of stored) await (await model.findById(_id).orFail()).decrypt()
})

/** Mongoose 8 gives a UUID as text, Mongoose 9 as the BSON type. */
function canonical(values: Record<string, unknown>): object {
  const { uuid } = values
  return EJSON.serialize(typeof uuid === 'string' ? { ...values, uuid: new UUID(uuid) } : values, { relaxed: false })
}
