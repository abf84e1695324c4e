import mongoose from 'mongoose'
import { behaviours } from './behaviours'
import type { Behaviour, Doc } from './behaviours/table'
import { databaseName } from './run'

const { MongoClient, BSON, MongoServerError } = mongoose.mongo
const client = new MongoClient(process.env.TEST_MONGO_URI!)
const db = client.db(databaseName('behaviours'))

/** An answer as plain JSON; without the types of its numbers where they are not documented. */
function plain(value: unknown, { exact = false }: Behaviour): object {
  return JSON.parse(BSON.EJSON.stringify(value, { relaxed: !exact }))
}

/** Stored documents exactly: the types of numbers and the order of fields included. */
function exact(docs: unknown): string {
  return BSON.EJSON.stringify(docs, { relaxed: false })
}

async function run({ command, code }: Behaviour): Promise<unknown> {
  if (code === undefined) return db.command(command, { promoteValues: false })
  const error: unknown = await db.command(command).catch((reason) => reason)
  expect(error).toBeInstanceOf(MongoServerError)
  expect(error).toMatchObject({ code })
  return (error as { errorResponse: unknown }).errorResponse
}

async function stored(): Promise<unknown> {
  return db
    .collection('things')
    .find({}, { sort: { _id: 1 }, promoteValues: false })
    .toArray()
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
  expect(plain(await run(behaviour), behaviour)).toMatchObject(plain(answer, behaviour))
  expect(exact(await stored())).toBe(exact(after))
})
