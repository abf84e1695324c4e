import { createHash } from 'node:crypto'
import type { INestApplication } from '@nestjs/common'
import { getConnectionToken } from '@nestjs/mongoose'
import { Test } from '@nestjs/testing'
import mongoose, { type Connection } from 'mongoose'
import { type AuditLine, auditLog } from 'mongoose-kms-encrypted'
import request from 'supertest'
import { AppModule } from './app.js'

const lines: AuditLine[] = []
const log = auditLog({ write: (line) => lines.push(line) })
const ada = { plan: 'free', name: 'Ada', email: 'Ada@example.org' }
let app: INestApplication
let connection: Connection

beforeAll(async () => {
  process.env.STAFF = JSON.stringify({ [createHash('sha256').update('a token').digest('hex')]: 'grace' })
  const testing = await Test.createTestingModule({ imports: [AppModule] }).compile()
  app = await testing.createNestApplication().init()
  connection = app.get(getConnectionToken())
})

beforeEach(async () => {
  await connection.collection('users').deleteMany({})
  lines.length = 0
})

afterAll(async () => {
  await connection.dropDatabase()
  await app.close()
  await log.close()
})

const get = (path: string) => request(app.getHttpServer()).get(path).auth('a token', { type: 'bearer' })
const post = (path: string, body: object) =>
  request(app.getHttpServer()).post(path).auth('a token', { type: 'bearer' }).send(body)
const register = async () => (await post('/users', ada).expect(201)).body.id

test('the list has no encrypted field and asks nothing of KMS; one user has what is named', async () => {
  const id = await register()
  expect((await get('/users').expect(200)).body).toEqual([{ _id: id, plan: 'free', __v: 0 }])
  expect(lines.map(({ operation }) => operation)).toEqual(['generate'])
  expect((await get(`/users/${id}`).expect(200)).body).toEqual({ _id: id, __v: 0, ...ada })
})

test('who opened a record is logged', async () => {
  const id = await register()
  await get(`/users/${id}`)
  await log.flush()
  expect(lines).toEqual([
    expect.objectContaining({ operation: 'generate', actor: 'grace', reason: 'POST /users' }),
    expect.objectContaining({ operation: 'unwrap', record: `User/${id}`, actor: 'grace', reason: 'GET /users/:id' }),
  ])
})

test('a user is found by the address, however it is written, and by no condition', async () => {
  const id = await register()
  expect((await post('/users/search', { email: 'ADA@example.org' }).expect(200)).body).toEqual({ id })
  await post('/users/search', { email: 'bob@example.org' }).expect(404)
  await post('/users/search', { email: { $ne: null } }).expect(400)
})

test('what is refused is told without values', async () => {
  await register()
  const taken = await post('/users', { ...ada, email: 'ada@EXAMPLE.org' }).expect(409)
  const invalid = await post('/users', { ...ada, email: 'ada.example.org' }).expect(400)
  expect([taken.body, invalid.body]).toEqual([{ taken: ['email'] }, { invalid: ['email'] }])
})

test('nobody is answered without a token', async () => {
  await request(app.getHttpServer()).get('/users').expect(401)
})

test('the database has neither name nor address in the clear', async () => {
  await register()
  const stored = await connection.collection('users').findOne()
  expect(Object.keys(stored as object).sort()).toEqual([
    '__v',
    '_id',
    'email',
    'email_bidx',
    'encrypted_kms_key',
    'name',
    'plan',
  ])
  expect(Buffer.from(mongoose.mongo.BSON.serialize(stored as object)).toString('latin1')).not.toMatch(/ada/i)
})
