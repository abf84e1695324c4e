import { readFile } from 'node:fs/promises'
import mongoose from 'mongoose'
import { countingKms } from '../counting'
import { useDatabase } from '../support'
import { conditions, filterings } from './filters'
import { makeModels, records } from './models'
import { pagePath, renderPage } from './page'
import { encrypted, forKind, isRefusal, type Kind, kinds, outcomeOf, type Row, type Values, type World } from './row'
import { table } from './table'

const { connection, commands, raw } = useDatabase()
const kms = countingKms()
const { User, Post } = makeModels(connection, kms)

type Options = World['options']
type Stored = Record<string, any>

beforeAll(async () => {
  // Collections are not to be made inside a transaction.
  await Promise.all([User.init(), Post.init()])
})

const places = { 'outside a transaction': false, 'inside a transaction': true }

for (const [place, inside] of Object.entries(places)) {
  for (const { title, rows } of table) {
    describe(`${place}, ${title}`, () => {
      for (const row of rows.filter(isThere)) {
        test.each(kinds)(`${row.name}, %s`, (kind) => inTransaction(inside, (options) => check(row, kind, options)))
      }
    })
  }
}

/** Conditions that would match nothing, or everything, were they sent. */
const refused = conditions.filter(({ encrypted }) => isRefusal(encrypted))

test('docs/operations.md is current', async () => {
  expect(await readFile(pagePath, 'utf8')).toBe(renderPage())
})

describe.each([true, false, 'throw'] as const)('strictQuery: %s', (strictQuery) => {
  const models = makeModels(connection, kms, { strictQuery, autoCreate: false, autoIndex: false })

  test.each(filterings.filter((operation) => isThere(operation)))(
    '$name refuses encrypted fields',
    async (operation) => {
      const world: World = { ...models, connection, options: {}, kind: 'encrypted' }
      await seed(world)
      const before = await raw(models.User.collection.name)
      commands.length = 0
      for (const { name, given } of refused) {
        const condition = given(encrypted)
        if (operation.onPaths && Object.keys(condition).some((path) => path.startsWith('$'))) continue
        if (operation.withoutCode && name === '$where') continue
        expect([name, codeOf(await failureOf(operation.run(world, condition)))]).toEqual([name, 'QUERY_REFUSED'])
      }
      expect(commands.filter(isWrite)).toEqual([])
      expect(await raw(models.User.collection.name)).toEqual(before)
    },
  )
})

async function check(row: Row, kind: Kind, options: Options): Promise<void> {
  const world: World = { User, Post, connection, options, kind }
  const seeded = await seed(world)
  const before = await storedByName(options)
  const expected = outcomeOf(row, kind)
  const given = forKind(kind, row.given)
  kms.clear()
  commands.length = 0

  if (isRefusal(expected)) {
    expect(codeOf(await failureOf(row.run(world, given)))).toBe(expected)
    expect(commands.filter(isWrite)).toEqual([])
    expect(await storedByName(options)).toEqual(before)
    return
  }
  if (row.needsMongod && process.env.TEST_MONGO_KIND === 'embedded') return
  const result = await row.run(world, given)
  const asked = kms.calls.length
  const after = await storedByName(options)
  const changes = row.after ? forKind(kind, row.after) : {}

  if (row.gives) expect(result).toEqual(forKind(kind, row.gives))
  expect(await openByName(options)).toEqual(changed(seeded, changes, row.replaces === true))
  for (const name of Object.keys(seeded)) if (!(name in changes)) expect(after[name]).toEqual(before[name])
  for (const [name, record] of Object.entries(after)) {
    expectSealed(record)
    if (expected === 'as usual' && before[name]) expectCiphertextKept(record, before[name])
  }
  const needing = expected === 'as usual' ? 0 : Object.keys(changes).length
  expect(asked).toBeLessThanOrEqual(needing + (row.opens ?? 0))
}

/** Runs in a transaction, in which the records are made, too: whatever reads or writes outside of it misses them. */
async function inTransaction(inside: boolean, run: (options: Options) => Promise<void>): Promise<void> {
  if (!inside) return run({})
  await connection.transaction(async (session) => {
    await run({ session })
  })
}

async function seed({ User, Post, options }: World): Promise<Record<string, Values>> {
  const seeds = records()
  const docs = Object.entries(seeds).map(([name, values]) => ({ name, ...values }))
  const [ada] = await User.create(docs, { ...options, ordered: true })
  await Post.create([{ title: 'Notes', author: ada._id }], options)
  return seeds
}

async function storedByName({ session }: Options): Promise<Record<string, Stored>> {
  const stored = await User.collection.find({}, { session }).toArray()
  return Object.fromEntries(stored.map((record: Stored) => [record.name ?? record._id, record]))
}

/** The records as a user reads them, without what is absent. */
async function openByName({ session }: Options): Promise<Record<string, Values>> {
  const docs = await User.find({}, null, { session: session ?? null }).select('+pin +code')
  const opened: Record<string, Values> = {}
  for (const doc of docs) {
    const { _id, __v, name, ...values } = doc.toObject()
    opened[name ?? _id] = present({ ...values, ...(await doc.decrypt()) })
  }
  return opened
}

function changed(seeds: Record<string, Values>, changes: Record<string, Values | null>, replaces: boolean) {
  const records: Record<string, Values> = { ...seeds }
  for (const [name, values] of Object.entries(changes)) {
    if (values === null) delete records[name]
    else records[name] = present(replaces ? values : { ...records[name], ...values })
  }
  return records
}

function present(values: Values): Values {
  const isThere = (value: unknown) =>
    value !== undefined && !(isPlain(value) && Object.values(value).every((item) => item === undefined))
  return Object.fromEntries(Object.entries(values).filter(([, value]) => isThere(value)))
}

/** Every encrypted field is an envelope or null, and nothing is stored under its own name. */
function expectSealed(record: Stored): void {
  for (const field of ['email', 'score', 'tags', 'home', 'dob', 'pin']) {
    expect(record).not.toHaveProperty(field)
    const envelope = record[`encrypted_${field}`]
    if (envelope !== undefined && envelope !== null) expect(envelope.sub_type).toBe(0x80)
  }
}

function expectCiphertextKept(after: Stored, before: Stored): void {
  for (const [path, value] of Object.entries(after)) {
    if (path.startsWith('encrypted_')) expect(value).toEqual(before[path])
  }
}

async function failureOf(promise: PromiseLike<unknown>): Promise<any> {
  try {
    await promise
  } catch (error) {
    return error
  }
  throw new Error('It was not refused')
}

/** The code of a refusal, also where Mongoose reports it as an error of the path. */
function codeOf(error: any): string {
  const reasons = Object.values<any>(error.errors ?? {}).map(({ reason }) => reason?.code)
  return error.code ?? error.reason?.code ?? reasons[0] ?? String(error)
}

function isWrite(command: string): boolean {
  return ['insert', 'update', 'delete', 'findAndModify', 'bulkWrite'].includes(command)
}

/** Whether this version of Mongoose has an operation. */
function isThere({ since }: { since?: string }): boolean {
  if (since === undefined) return true
  const [major = 0, minor = 0] = mongoose.version.split('.').map(Number)
  const [firstMajor = 0, firstMinor = 0] = since.split('.').map(Number)
  return major > firstMajor || (major === firstMajor && minor >= firstMinor)
}

function isPlain(value: unknown): value is Values {
  return typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype
}
