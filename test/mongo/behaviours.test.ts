import mongoose from 'mongoose'
import { behaviours } from './behaviours'
import type { Behaviour, Doc } from './behaviours/table'

const { MongoClient, BSON, MongoServerError } = mongoose.mongo
const client = new MongoClient(process.env.TEST_MONGO_URI!)
const db = client.db('behaviours')

/** Exact: types of numbers and the order of fields included. */
function exact(value: unknown): unknown {
  return JSON.parse(BSON.EJSON.stringify(value, { relaxed: false }))
}

async function run({ command, code }: Behaviour): Promise<unknown> {
  // The answer may carry write errors, so it is taken raw; 64-bit integers and doubles are not made numbers.
  const answer = db.command(command, { promoteValues: false })
  if (code === undefined) return answer
  const error: unknown = await answer.then(
    () => undefined,
    (reason) => reason,
  )
  expect(error).toBeInstanceOf(MongoServerError)
  expect(error).toMatchObject({ code })
  return (error as { errorResponse: unknown }).errorResponse
}

async function stored(): Promise<string> {
  const docs = await db
    .collection('things')
    .find({}, { sort: { _id: 1 }, promoteValues: false })
    .toArray()
  return BSON.EJSON.stringify(docs, { relaxed: false })
}

beforeEach(async () => {
  await db.collection('things').drop()
})

afterAll(async () => {
  await db.dropDatabase()
  await client.close()
})

it.each(behaviours)('$name', async (behaviour) => {
  const { before = [], indexes = [], answer = {}, after = before } = behaviour
  await db.createCollection('things')
  if (before.length > 0) await db.collection<Doc>('things').insertMany(before as never)
  if (indexes.length > 0) await db.command({ createIndexes: 'things', indexes })
  expect(exact(await run(behaviour))).toMatchObject(exact(answer) as object)
  expect(await stored()).toBe(BSON.EJSON.stringify(after, { relaxed: false }))
})
