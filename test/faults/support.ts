import mongoose, { type Connection, Schema } from 'mongoose'
import { KmsEncryptedError, type KmsEncryptedOptions, kmsEncrypted, localKms } from '../../lib'
import { secret as sweptSecret, useDatabase } from '../support'

const { BSON, MongoClient } = mongoose.mongo

export const eight = mongoose.version.startsWith('8.')
export const plugin = kmsEncrypted as any
export const provider = localKms()

const secrets = new Set<string>()
const sent: { name: string; bytes: Buffer }[] = []

/** A plaintext of a test: it may stand neither in a command that is sent nor in a stored document. */
export function secret(text: string): string {
  secrets.add(text)
  return sweptSecret(text)
}

/** A plaintext that the test itself has put into the database: it may not be sent again. */
export function unsent(text: string): string {
  secrets.add(text)
  return text
}

/** A plaintext, in any form that could be looked for: as text, in hexadecimal or in base64. */
export function plaintextIn(bytes: Buffer): string | undefined {
  for (const text of secrets) {
    for (const encoding of ['utf8', 'hex', 'base64'] as const) {
      if (bytes.includes(Buffer.from(text).toString(encoding).replace(/=+$/, ''))) return `"${text}" as ${encoding}`
    }
  }
  return undefined
}

/** Fails when a command that was sent since the test began holds a plaintext of the test. */
export function expectNothingSent(): void {
  const found = sent.flatMap(({ name, bytes }) => {
    const text = plaintextIn(bytes)
    return text === undefined ? [] : [`${name} was sent with ${text}`]
  })
  expect(found).toEqual([])
}

/** Looks at every command that a connection sends. It must have been opened with `monitorCommands`. */
export function watch(connection: Connection): Connection {
  connection.getClient().on('commandStarted', ({ commandName, command }) => {
    try {
      sent.push({ name: commandName, bytes: Buffer.from(BSON.serialize(command, { ignoreUndefined: true })) })
    } catch {
      // The driver cannot serialise it either, so it is not sent.
    }
  })
  return connection
}

/** The database of a test file, looked at by a client of its own, which nothing of this library reaches. */
export interface FaultDatabase {
  readonly connection: Connection
  /** The stored records of a model, as MongoDB has them, in the order of `_id`. */
  raw(model: any): Promise<any[]>
  /** Writes past the library and past the search for plaintext. */
  plant(model: any, ...records: object[]): Promise<void>
  /** Changes stored records past the library and past the search for plaintext. */
  tamper(model: any, filter: object, update: object): Promise<void>
  /** Another connection to the same database, watched too, and closed after the tests. */
  open(options?: object, instance?: any): Promise<Connection>
}

let look: mongoose.mongo.Db

/** Everything that is stored, as text that shows each bit of it. */
export async function everything(): Promise<string> {
  const all: Record<string, unknown> = {}
  for (const { name } of await look.listCollections().toArray()) {
    const found = await look.collection(name).find({}, { promoteValues: false }).sort({ _id: 1 }).toArray()
    if (found.length > 0) all[name] = found
  }
  return BSON.EJSON.stringify(all, undefined, 1, { relaxed: false })
}

/** A database for one test file. After each test, all commands and all that is stored are searched for plaintext. */
export function useFaults(): FaultDatabase {
  const { connection } = useDatabase()
  const client = new MongoClient(process.env.TEST_MONGO_URI!)
  const opened: Connection[] = []
  const collection = (model: any) => look.collection(model.collection.name)

  beforeAll(() => {
    look = client.db(connection.name)
    watch(connection)
  })
  // The test before may have failed, and left something behind.
  beforeEach(async () => {
    for (const { name } of await look.listCollections().toArray()) await look.collection(name).drop()
  })
  afterEach(() => {
    try {
      expectNothingSent()
    } finally {
      secrets.clear()
      sent.length = 0
    }
  })
  afterAll(async () => {
    await Promise.all([...opened, client].map((each) => each.close()))
  })
  return {
    connection,
    raw: (model) => collection(model).find({}).sort({ _id: 1 }).toArray(),
    plant: async (model, ...records) => void (await collection(model).insertMany(records)),
    tamper: async (model, filter, update) => void (await collection(model).updateMany(filter, update)),
    open: async (options = {}, instance = mongoose) => {
      const other: Connection = instance.createConnection()
      opened.push(other)
      const settings = { dbName: connection.name, monitorCommands: true, ...options }
      await other.openUri(process.env.TEST_MONGO_URI!, settings)
      return watch(other)
    },
  }
}

let names = 0

/** A name that no other model has. */
export const named = (name: string) => `${name}_${++names}`

/** A schema of a subdocument with an encrypted `phone`. */
export function contactSchema(options: Partial<KmsEncryptedOptions> = {}, settings: object = {}): Schema<any> {
  return new Schema<any>({ label: String, qty: Number }, settings).plugin(plugin, {
    provider,
    fields: { phone: String },
    ...options,
  })
}

/** A model of these clear paths, with `email` or other fields encrypted. */
export function userModel(
  connection: Connection,
  definition: object | Schema<any> = { name: String },
  options: Partial<KmsEncryptedOptions> = {},
  settings: object = {},
): any {
  const schema = definition instanceof Schema ? definition : new Schema<any>(definition as never, settings)
  schema.plugin(plugin, { provider, fields: { email: String }, ...options })
  return connection.model<any>(named('User'), schema)
}

/** The error of this library that an error is, or that Mongoose has put into one of its own. */
export function refusalIn(error: any, depth = 0): KmsEncryptedError | undefined {
  if (error === null || typeof error !== 'object' || depth > 4) return undefined
  const ours = /^(Configuration|KeyProvider|Decryption|Record|Operation)Error$/.test(error.name)
  if (error instanceof KmsEncryptedError || (ours && typeof error.code === 'string')) return error as KmsEncryptedError
  for (const inner of [error.reason, error.cause, ...Object.values(error.errors ?? {})]) {
    const found = refusalIn(inner, depth + 1)
    if (found) return found
  }
  return undefined
}

/** What an act throws or rejects with, which must be an error of this library with one of these codes. */
export async function refused(act: () => unknown, code: string | RegExp, message?: RegExp): Promise<any> {
  let error: unknown
  try {
    await act()
  } catch (thrown) {
    error = thrown
  }
  const refusal = refusalIn(error)
  if (!refusal) throw new Error(`Expected an error with the code ${code}, got ${error}`, { cause: error })
  expect(refusal.code).toMatch(typeof code === 'string' ? new RegExp(`^${code}$`) : code)
  if (message) expect(refusal.message).toMatch(message)
  return refusal
}

/** What an act throws, which must be a `ConfigurationError` that names what it is about. */
export async function misconfigured(act: () => unknown, message: RegExp): Promise<any> {
  const error = await refused(act, /^(OPTION|FIELD)_INVALID$/, message)
  expect(error.name).toBe('ConfigurationError')
  return error
}

/**
 * An act works, and `worked` holds; or it is refused with this code, or this name where the error is not of this library, and
 * nothing at all was written.
 */
export async function settles<T>(
  code: string | undefined,
  act: () => Promise<T>,
  worked: (result: Awaited<T>) => unknown,
): Promise<void> {
  const before = await everything()
  let result: Awaited<T>
  try {
    result = await act()
  } catch (error: any) {
    const said = String(error)
    expect({ code: refusalIn(error)?.code ?? error.name, said }).toEqual({ code, said })
    // Where Mongoose says that a value has the wrong type, it names the type of the user's.
    expect(said).not.toMatch(/KmsEncrypted\b/)
    expect({ said, stored: await everything() }).toEqual({ said, stored: before })
    return
  }
  expect('it worked').toBe(code ?? 'it worked')
  await worked(result)
}

/** What is built: a model, or else a `ConfigurationError` that names what it is about. */
export function built<T>(make: () => T, message: RegExp): T | undefined {
  try {
    return make()
  } catch (error) {
    const refusal = refusalIn(error)
    if (refusal?.name !== 'ConfigurationError') throw error
    expect(refusal.message).toMatch(message)
    return undefined
  }
}

/** What stands at a dotted path of a document, a promise on the way being awaited. */
export async function at(value: any, path: string): Promise<any> {
  for (const step of path.split('.')) value = await (value instanceof Map ? value.get(step) : value?.[step])
  return value
}

/** Expects that a value at a path of a raw record is within an envelope. */
export function expectSealed(record: any, path: string): void {
  let value = record
  for (const step of path.split('.')) {
    if (value?._bsontype === 'Binary') break
    value = value?.[step]
  }
  expect({ path, sub_type: value?.sub_type }).toEqual({ path, sub_type: 0x80 })
}

/** Expects that records, loaded anew, have these values by dotted path, and that MongoDB has envelopes of them. */
export async function expectReads(model: any, filter: object, expected: Record<string, unknown>): Promise<any> {
  const record = await look.collection(model.collection.name).findOne(filter)
  // As text, for a model of another Mongoose knows only ObjectIds of its own.
  const doc = await model.findById(record?._id?._bsontype === 'ObjectId' ? String(record._id) : record?._id)
  const values: Record<string, unknown> = {}
  for (const [path, value] of Object.entries(expected)) {
    const got = await at(doc, path)
    values[path] = got?.toObject?.() ?? got
    if (value !== null && value !== undefined) expectSealed(record, path)
  }
  expect(values).toEqual(expected)
  return record
}
