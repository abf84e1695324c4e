import mongoose, { type Connection, Schema } from 'mongoose'
import { databaseName } from './mongo/run'
import { modelOf, rawCollection, secret, sweep, useDatabase } from './support'

/** A model that is given another connection: `Model.useConnection()`. */

const { connection } = useDatabase()
let other: Connection
const clear = new Schema({ name: String })

beforeAll(async () => {
  // The plugin has been used before: nothing has told it of this connection.
  userModel()
  other = mongoose.createConnection()
  await other.openUri(process.env.TEST_MONGO_URI as string, { dbName: databaseName() })
})
afterEach(async () => {
  await sweep(other)
  await other.dropDatabase()
})
afterAll(() => other.close())

const userModel = () => modelOf(connection, new Schema({ name: String }), { fields: { email: String } })
const moved = () => userModel().useConnection(other)

const email = secret('moved@example.org')
const document = () => ({ name: 'Ada', email: secret(email) })

test.each<[string, (User: any) => Promise<unknown>]>([
  ['create()', (User) => User.create(document())],
  ['insertMany(), lean', (User) => User.insertMany([document()], { lean: true })],
  ['updateOne()', (User) => User.updateOne({ name: 'Ada' }, document(), { upsert: true })],
  ['updateMany()', (User) => User.updateMany({ name: 'Ada' }, document(), { upsert: true })],
  ['bulkWrite()', (User) => User.bulkWrite([{ insertOne: { document: document() } }])],
  ['bulkSave()', (User) => User.bulkSave([new User(document())])],
  ['collection.insertOne()', (User) => User.collection.insertOne(document())],
  [
    'bulkWrite() of the new connection',
    (User) => other.bulkWrite([{ model: User, name: 'insertOne', document: document() }] as never),
  ],
  [
    'bulkWrite() of the new connection, by the name of the model',
    (User) => other.bulkWrite([{ model: User.modelName, name: 'insertOne', document: document() }] as never),
  ],
  [
    'an upsert of the new connection',
    (User) =>
      other.bulkWrite([
        {
          model: User,
          name: 'updateOne',
          filter: { name: 'Ada' },
          update: { $set: { email: secret(email) } },
          upsert: true,
        },
      ] as never),
  ],
])('%s writes to the other connection, encrypted', async (_name, write) => {
  const User = moved()
  await write(User)
  const stored = await rawCollection(User).findOne()
  expect(rawCollection(User).dbName).toBe(other.name)
  expect(stored).toMatchObject({ name: 'Ada', email: { sub_type: 0x80 }, encrypted_kms_key: [expect.anything()] })
  expect(await (await User.findOne()).email).toBe(email)
})

test.each<[string, (User: any) => Promise<unknown>]>([
  ['find()', (User) => User.find({ email })],
  ['deleteMany() of the collection', (User) => User.collection.deleteMany({ email })],
  [
    'bulkWrite() of the new connection',
    (User) => other.bulkWrite([{ model: User, name: 'deleteMany', filter: { email } }] as never),
  ],
  [
    'bulkWrite() of the client',
    (User) =>
      (other.getClient() as any).bulkWrite([
        { namespace: `${other.name}.${User.collection.name}`, name: 'deleteMany', filter: { email } },
      ]),
  ],
])('a filter by a field is refused there: %s', async (_name, query) => {
  const User = moved()
  await User.create(document())
  await expect(query(User)).rejects.toMatchObject({ code: 'QUERY_REFUSED' })
  expect(await User.countDocuments()).toBe(1)
})

test.each([[{}], [{ noListener: true }], [{ useCache: true }]])(
  'a pipeline is refused by bulkWrite() of the connection that the new one shares a client with, %j',
  async (options) => {
    const shared = connection.useDb(databaseName(), options as object)
    const User = userModel().useConnection(shared)
    const update = [{ $set: { email: secret(email) } }]
    const operation = { model: User, name: 'updateMany', filter: {}, update }
    for (const each of [connection, shared])
      await expect(each.bulkWrite([operation] as never)).rejects.toMatchObject({ code: 'UPDATE_REFUSED' })
  },
)

test('a pipeline is refused by bulkWrite() of the client beside what is for a collection without a model', async () => {
  const User = moved()
  const bulk = () =>
    (other.getClient() as any).bulkWrite([
      { namespace: `${other.name}.nobody`, name: 'insertOne', document: { name: 'clear' } },
      {
        namespace: `${other.name}.${User.collection.name}`,
        name: 'updateMany',
        filter: {},
        update: [{ $set: { email: secret(email) } }],
      },
    ])
  await expect(bulk()).rejects.toMatchObject({ code: 'UPDATE_REFUSED' })
  expect(await other.collection('nobody').countDocuments()).toBe(0)
})

test('what is for a collection without a model is written beside the others', async () => {
  const User = moved()
  await (other.getClient() as any).bulkWrite([
    { namespace: `${other.name}.nobody`, name: 'insertOne', document: { name: 'clear' } },
    { namespace: `${other.name}.${User.collection.name}`, name: 'insertOne', document: document() },
  ])
  expect(await other.collection('nobody').findOne({})).toMatchObject({ name: 'clear' })
  expect(await (await User.findOne()).email).toBe(email)
})

test('the other models of both connections stay as they are', async () => {
  const Clear = other.model('Clear', clear)
  const User = moved()
  await User.create(document())
  await Clear.create({ name: 'in the clear' })
  expect(await Clear.findOne({ name: 'in the clear' }).lean()).toMatchObject({ name: 'in the clear' })
  expect(User.db).toBe(other)
  expect(new User(document()).db).toBe(other)
})
