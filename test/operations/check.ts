import mongoose, { type Connection, version } from 'mongoose'
import type { CountingKms } from '../counting'
import { rawCollection } from '../support'
import { records } from './models'
import { forKind, isRefusal, type Kind, outcomeOf, type Row, type Values, type World } from './row'

const { BSON } = mongoose.mongo

type Options = World['options']
type Stored = Record<string, any>

/** What the rows run on. */
export interface Setting {
  /** The model that is read by, and that the records before are made by. */
  readonly User: any
  readonly Post: any
  readonly connection: Connection
  readonly commands: string[]
  readonly kms: CountingKms
  /**
   * The model that the operations are called on, where that is another one, which knows nothing of the fields: it may
   * refuse what the table says is encrypted.
   */
  readonly by?: any
  /** What hooks of others set the field `memo` to with every write, so that keys and calls are more than the table says. */
  readonly memo?: string
  /** The records that those hooks have a part in, where they are not those that the row changes. */
  readonly hooked?: (row: Row) => readonly string[] | undefined
}

/** Where the fields of the test models are stored. */
const sealed = ['email', 'score', 'tags', 'home', 'dob', 'pin', 'memo']

/** Runs a row for one kind of fields, and fails where anything else comes of it than the table says. */
export async function check(setting: Setting, row: Row, kind: Kind, options: Options): Promise<void> {
  const { User, connection, commands, kms, memo } = setting
  const Post = row.posts ? setting.Post : undefined
  const world: World = { User: setting.by ?? User, Post, connection, options, kind }
  const { seeded, before } = await seed({ ...world, User })
  const expected = outcomeOf(row, kind)
  const given = forKind(kind, row.given)
  kms.clear()
  commands.length = 0

  if (isRefusal(expected)) {
    const code = codeOf(await failureOf(row.run(world, given)))
    if (setting.by) expect(code).toMatch(/^(UPDATE|WRITE|QUERY)_REFUSED$|^STORED_PATH_ASSIGNED$/)
    else expect(code).toBe(expected)
    expect(commands.filter(isWrite)).toEqual([])
    expectEqual(await storedByName(User, options), before)
    return
  }
  let result: unknown
  try {
    result = await row.run(world, given)
  } catch (error) {
    // What a document passes over is no document to a plain model. The other is Mongoose's own, of what it does not know.
    const refusal = expected === 'ignored' ? /^STORED_PATH_ASSIGNED$/ : /^StrictModeError: /
    const isRefused = refusal.test(codeOf(error))
    if (!setting.by || kind === 'clear' || !isRefused) throw error
    expect(commands.filter(isWrite)).toEqual([])
    expectEqual(await storedByName(User, options), before)
    return
  }
  const asked = kms.calls.length
  /** A record without what hooks add to it. */
  const known = (record: Stored | undefined) => (memo ? { ...record, memo: 0, encrypted_kms_key: 0 } : record)
  const after = await storedByName(User, options)
  const changes = row.after ? forKind(kind, row.after) : {}
  const hooked = setting.by ? [] : (setting.hooked?.(row) ?? Object.keys(changes))

  if (row.gives && !setting.by) expect(result).toEqual(forKind(kind, row.gives))
  const wanted = memo === undefined ? changes : withMemo(memo, changes, hooked)
  expect(await openByName(User, options)).toEqual(changed(seeded, wanted, row.replaces === true))
  const untouched = Object.keys(seeded).filter((name) => !(name in changes))
  for (const name of untouched) expectEqual(known(after[name]), known(before[name]))
  expectSealed(Object.values(after))
  for (const [name, record] of Object.entries(after)) {
    const isKept = expected === 'as usual' || (expected === 'ignored' && !row.replaces)
    if (isKept && before[name] && !setting.by) expectCiphertextKept(record, before[name], memo !== undefined)
  }
  if (memo !== undefined || setting.by) return
  const needing = expected === 'as usual' || expected === 'ignored' ? 0 : Object.keys(changes).length
  expect(asked).toBeLessThanOrEqual(needing + (row.opens ?? 0))
}

/** Runs a row, and tells where the server refuses as not implemented what only a `mongod` has to have. */
export async function unlessLacking(row: Row, run: () => Promise<void>): Promise<void> {
  try {
    await run()
  } catch (error: any) {
    if (!row.needsMongod || error.code !== 238) throw error
    console.info(`skipped: ${row.name}: the server answers "${error.message}"`)
  }
}

/** The records that are there before an operation, as a user has them and as they are stored. */
interface Seeds {
  readonly seeded: Record<string, Values>
  readonly before: Record<string, Stored>
}

/** What the model of a file stores of the records, which is made once: it would be the same for each row. */
const made = new WeakMap<object, Promise<Record<string, Stored>>>()

/** Puts the records there that are to be there before, and the post by Ada where there is a model of posts. */
export async function seed({ User, Post, options }: World): Promise<Seeds> {
  const seeded = records()
  if (!made.has(User)) made.set(User, make(User, seeded))
  const before = await made.get(User)!
  await rawCollection(User).insertMany(Object.values(before), options)
  await Post?.create([{ title: 'Notes', author: before.Ada!._id }], options)
  return { seeded, before }
}

/** The records as the model stores them, which are gone again. */
async function make(User: any, seeded: Record<string, Values>): Promise<Record<string, Stored>> {
  await User.create(Object.entries(seeded).map(([name, values]) => ({ name, ...values })))
  const stored = await storedByName(User, {})
  await rawCollection(User).deleteMany({})
  // What hooks add shows only where it was not there before.
  for (const record of Object.values(stored)) delete record.memo
  return stored
}

export async function storedByName(User: any, { session }: Options): Promise<Record<string, Stored>> {
  const stored = await rawCollection(User).find({}, { session }).toArray()
  return Object.fromEntries(stored.map((record: Stored) => [record.name ?? record._id, record]))
}

/** The records as a user reads them, without what is absent. */
export async function openByName(User: any, { session }: Options): Promise<Record<string, Values>> {
  const docs = await User.find({}, null, { session: session ?? null }).select('+pin +code')
  const opened: Record<string, Values> = {}
  for (const doc of docs) {
    const { _id, __v, name, ...values } = doc.toObject()
    opened[name ?? _id] = present({ ...values, ...(await doc.decrypt()) })
  }
  return opened
}

export function changed(seeds: Record<string, Values>, changes: Record<string, Values | null>, replaces: boolean) {
  const changedRecords: Record<string, Values> = { ...seeds }
  for (const [name, values] of Object.entries(changes)) {
    if (values === null) delete changedRecords[name]
    else changedRecords[name] = present(replaces ? values : { ...changedRecords[name], ...values })
  }
  return changedRecords
}

/** The changes with what hooks add to those records that are not deleted. */
function withMemo(memo: string, changes: Record<string, Values | null>, hooked: readonly string[]): typeof changes {
  const added = hooked.filter((name) => changes[name] !== null).map((name) => [name, { ...changes[name], memo }])
  return { ...changes, ...Object.fromEntries(added) }
}

function present(values: Values): Values {
  const isThere = (value: unknown) =>
    value !== undefined && !(isPlain(value) && Object.values(value).every((item) => item === undefined))
  return Object.fromEntries(Object.entries(values).filter(([, value]) => isThere(value)))
}

/** Every encrypted field is an envelope or null, and there is no other place where one could be. */
export function expectSealed(stored: readonly Stored[]): void {
  const isOpen = (value: any) => value !== undefined && value !== null && value.sub_type !== 0x80
  const isOther = (path: string) =>
    (path.startsWith('encrypted_') && path !== 'encrypted_kms_key') || path.includes('.')
  const wrong = (record: Stored) => [
    ...sealed.filter((path) => isOpen(record[path])),
    ...Object.keys(record).filter(isOther),
  ]
  expect(stored.flatMap(wrong)).toEqual([])
}

function expectCiphertextKept(after: Stored, before: Stored, isAdded: boolean): void {
  const others = ['memo', 'encrypted_kms_key']
  for (const path of [...sealed, ...others].filter((path) => !isAdded || !others.includes(path)))
    if (path in after) expectEqual({ [path]: after[path] }, { [path]: before[path] })
}

/** Of what is stored, equal bytes are equal: to compare them is much faster, and shows nothing. */
function expectEqual(stored: Stored | undefined, wanted: Stored | undefined): void {
  const bytes = (record: Stored) => BSON.serialize(record, { ignoreUndefined: true })
  if (stored && wanted && Buffer.compare(bytes(stored), bytes(wanted)) === 0) return
  expect(stored).toEqual(wanted)
}

export async function failureOf(promise: PromiseLike<unknown>): Promise<any> {
  try {
    await promise
  } catch (error) {
    return error
  }
  throw new Error('It was not refused')
}

/** The code of a refusal, also where Mongoose reports it as an error of the path. */
export function codeOf(error: any): string {
  const reasons = Object.values<any>(error.errors ?? {}).map(({ reason }) => reason?.code)
  return error.code ?? error.reason?.code ?? reasons[0] ?? String(error)
}

export function isWrite(command: string): boolean {
  return ['insert', 'update', 'delete', 'findAndModify', 'bulkWrite'].includes(command)
}

/** Whether this version of Mongoose has an operation. */
export function isThere({ since }: { since?: string }): boolean {
  if (since === undefined) return true
  const [major = 0, minor = 0] = version.split('.').map(Number)
  const [firstMajor = 0, firstMinor = 0] = since.split('.').map(Number)
  return major > firstMajor || (major === firstMajor && minor >= firstMinor)
}

function isPlain(value: unknown): value is Values {
  return typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype
}
