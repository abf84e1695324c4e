// An application's own test: an in-memory database, and localKms by way of kms.ts.
//
//     npx jest examples/application
import mongoose from 'mongoose'
import { addressOf, register, User } from './user'

beforeAll(async () => {
  // Jest's `globalSetup` starts the server and names the run, see jest.config.js. With mongodb-memory-server in its place:
  // `const mongo = await MongoMemoryServer.create()`, `mongo.getUri()` here, and `mongo.stop()` in the end.
  const dbName = `${process.env.TEST_MONGO_RUN}_application`
  await mongoose.connect(process.env.TEST_MONGO_URI as string, { dbName })
})

afterAll(async () => {
  await mongoose.connection.dropDatabase()
  await mongoose.disconnect()
})

test('a user who registered can be written to', async () => {
  const id = await register('Ada', 'Ada@example.org')
  expect(await addressOf(id)).toBe('Ada <ada@example.org>')
})

test('an address without an @ is refused', async () => {
  await expect(register('Ada', 'ada.example.org')).rejects.toThrow('email: ')
})

test('the database has no address in the clear', async () => {
  await register('Ada', 'ada@example.org')
  for (const stored of await User.collection.find().toArray()) {
    expect(stored.email).toHaveProperty('_bsontype', 'Binary')
    expect(JSON.stringify(stored)).not.toContain('ada@')
  }
})
