import mongoose from 'mongoose'
import { type AuditLine, auditLog } from 'mongoose-kms-encrypted'
import request from 'supertest'
import { Account, Session } from './account'
import { app } from './app'

const lines: AuditLine[] = []
const log = auditLog({ write: (line) => lines.push(line) })
const ada = { email: 'Ada@example.org', password: 'enchantress' }

beforeAll(async () => {
  await mongoose.connect(process.env.MONGODB_URI as string)
  await Account.init()
})

beforeEach(async () => {
  await Promise.all([Account.deleteMany(), Session.deleteMany()])
  lines.length = 0
})

afterAll(async () => {
  await mongoose.connection.dropDatabase()
  await mongoose.disconnect()
  await log.close()
})

const post = (path: string, body: object) => request(app).post(path).send(body)
const signUp = async () => (await post('/accounts', ada).expect(201)).body.id
const logIn = async (email: string) => (await post('/sessions', { ...ada, email }).expect(201)).body.token

test('who signed up logs in, however the address is written, and sees it', async () => {
  const id = await signUp()
  const token = await logIn('ada@EXAMPLE.org')
  expect(lines.map(({ operation }) => operation)).toEqual(['generate'])
  const { body } = await request(app).get('/me').auth(token, { type: 'bearer' }).expect(200)
  expect(body).toEqual({ _id: id, email: ada.email, __v: 0 })
})

test('who opened a record is logged', async () => {
  const id = await signUp()
  await request(app)
    .get('/me')
    .query({ from: 'ada@example.org' })
    .auth(await logIn(ada.email), { type: 'bearer' })
  await log.flush()
  expect(lines.at(-1)).toMatchObject({
    operation: 'unwrap',
    record: `Account/${id}`,
    actor: id,
    reason: 'GET /me',
  })
})

test('a changed address is the one to log in by', async () => {
  await signUp()
  const token = await logIn(ada.email)
  await request(app).patch('/me').auth(token, { type: 'bearer' }).send({ email: 'countess@example.org' }).expect(204)
  await logIn('countess@example.org')
  await post('/sessions', ada).expect(401)
})

test('a wrong password, an unknown address and no token are refused, and so is a condition', async () => {
  await signUp()
  await post('/sessions', { ...ada, password: 'countess' }).expect(401)
  await post('/sessions', { ...ada, email: 'bob@example.org' }).expect(401)
  await post('/sessions', { ...ada, email: { $ne: null } }).expect(400)
  await request(app).get('/me').auth('guessed', { type: 'bearer' }).expect(401)
})

test('what is refused is told without values', async () => {
  await signUp()
  const taken = await post('/accounts', { ...ada, email: 'ada@example.ORG' }).expect(409)
  const invalid = await post('/accounts', { ...ada, email: 'ada.example.org' }).expect(400)
  const broken = await request(app).post('/accounts').type('json').send('{ "email": ada@').expect(400)
  expect([taken.body, invalid.body]).toEqual([{ taken: ['email'] }, { invalid: ['email'] }])
  expect(broken.text).toBe('Bad Request')
})

test('the database has neither address nor password in the clear', async () => {
  await signUp()
  const stored = await Account.collection.findOne()
  expect(Object.keys(stored as object).sort()).toEqual([
    '__v',
    '_id',
    'email',
    'email_bidx',
    'encrypted_kms_key',
    'password',
  ])
  const bytes = Buffer.from(mongoose.mongo.BSON.serialize(stored as object)).toString('latin1')
  expect(bytes).not.toMatch(/ada@|enchantress/i)
})
