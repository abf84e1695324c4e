import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import mongoose from 'mongoose'
import { type AuditLine, auditLog } from 'mongoose-kms-encrypted'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { exportUsers, type Progress } from './export.js'
import { User } from './user.js'

const count = 10_000
const folder = mkdtempSync(join(tmpdir(), 'export-'))
const file = join(folder, 'users.csv')
const audit = { actor: 'grace', reason: 'case 7' }

beforeAll(async () => {
  await mongoose.connect(process.env.MONGODB_URI as string)
  await User.deleteMany()
  const users = Array.from({ length: count }, (_, n) => ({
    plan: 'free',
    name: `=User ${n}`,
    email: `${n}@example.org`,
  }))
  await User.insertMany(users)
}, 120_000)

afterAll(async () => {
  rmSync(folder, { recursive: true })
  await mongoose.connection.dropDatabase()
  await mongoose.disconnect()
})

test('10,000 records are written to a file, with progress and a line of the audit log for each', async () => {
  const lines: AuditLine[] = []
  const log = auditLog({ write: (line) => lines.push(line) })
  const progress: Progress[] = []
  const result = await exportUsers(file, { audit, onProgress: (each) => progress.push(each) })
  await log.close()

  expect(result).toEqual({ done: count, total: count, failed: 0 })
  expect(progress.map(({ done }) => done)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10].map((each) => each * 1000))
  const [header, ...rows] = readFileSync(file, 'utf8').trimEnd().split('\r\n')
  expect(header).toBe('"id","plan","name","email"')
  expect(rows.map((row) => row.split(',').slice(1).join())).toEqual(
    Array.from({ length: count }, (_, n) => `"free","'=User ${n}","${n}@example.org"`),
  )
  expect(statSync(file).mode & 0o077).toBe(0)
  expect(new Set(lines.map(({ record }) => record)).size).toBe(count)
  expect(new Set(lines.map(({ operation, actor, reason }) => `${operation} ${actor} ${reason}`))).toEqual(
    new Set(['unwrap grace case 7']),
  )
}, 120_000)

test('one that is stopped leaves no file', async () => {
  const stopped = new AbortController()
  const target = join(folder, 'stopped.csv')
  const onProgress = () => stopped.abort()
  await expect(exportUsers(target, { audit, onProgress, signal: stopped.signal })).rejects.toThrow('aborted')
  expect([existsSync(target), existsSync(`${target}.part`)]).toEqual([false, false])
}, 120_000)

test('a record that is damaged is told and left out, and the others are written', async () => {
  const [{ _id: last }] = await User.find().sort({ _id: 1 }).skip(99).limit(1)
  await User.deleteMany({ _id: { $gt: last } })
  const users = mongoose.connection.collection('users')
  const { _id, email } = (await users.findOne({ plan: 'free' })) as {
    _id: mongoose.Types.ObjectId
    email: mongoose.mongo.Binary
  }
  email.buffer[email.position - 1] ^= 1
  await users.updateOne({ _id }, { $set: { email } })
  const told = vi.spyOn(console, 'error').mockImplementation(() => {})
  expect(await exportUsers(file, { audit })).toEqual({ done: 100, total: 100, failed: 1 })
  expect(told.mock.calls).toEqual([[expect.stringContaining(String(_id))]])
  expect(readFileSync(file, 'utf8')).not.toContain(String(_id))
}, 120_000)

test('the database has neither name nor address in the clear', async () => {
  const stored = await User.collection.findOne()
  expect(Object.keys(stored as object).sort()).toEqual(['__v', '_id', 'email', 'encrypted_kms_key', 'name', 'plan'])
  const bytes = Buffer.from(mongoose.mongo.BSON.serialize(stored as object)).toString('latin1')
  expect(bytes).not.toMatch(/=User|example/)
})
