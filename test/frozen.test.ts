import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import mongoose, { type Model } from 'mongoose'
import { frozenModels } from './frozen/models'
import { useDatabase } from './support'

const { EJSON } = mongoose.mongo.BSON
const { connection } = useDatabase()
const folder = join(__dirname, 'frozen')
const files = readdirSync(folder).filter((file) => file.endsWith('.json'))

test('there are frozen records of format 1', () => {
  expect(files.filter((file) => file.includes('.1.'))).toHaveLength(3)
})

test.each(files)('the records of %s decrypt as they did when they were written', async (file) => {
  const text = readFileSync(join(folder, file), 'utf8')
  const frozen = EJSON.parse(text, { relaxed: false }) as { stored: Record<string, any>; values: object }[]
  const expected = JSON.parse(text) as { values: object }[]
  const model = frozenModels[file.split('.')[0] as keyof typeof frozenModels](connection) as Model<any>

  await model.collection.insertMany(frozen.map(({ stored }) => stored) as never)
  for (const [index, { stored }] of frozen.entries()) {
    const record = await model.findById(stored._id).orFail()
    expect(EJSON.serialize(await record.decrypt(), { relaxed: false })).toEqual(expected[index]?.values)
    const lean = await model.findById(stored._id).orFail().lean()
    const { values } = EJSON.serialize({ values: await (model as any).decrypt(lean) }, { relaxed: false })
    expect(values).toMatchObject(expected[index]?.values ?? {})
  }
})
