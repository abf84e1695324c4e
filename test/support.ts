import mongoose, { type Connection, type Schema } from 'mongoose'
import { type KmsEncryptedOptions, kmsEncrypted, localKms } from '../lib'
import { databaseName } from './mongo/run'

const { BSON } = mongoose.mongo
/** The plaintexts of a test, each with the bytes that are looked for. */
const secrets = new Map<string | number | Date, Needle[]>()

interface Needle {
  readonly as: string
  readonly bytes: Buffer
}

/**
 * A plaintext of a test. After each test, none of them may be found anywhere in the raw database: of a number or a date
 * not as BSON has them either.
 */
export function secret<T extends string | number | Date>(plaintext: T): T {
  if (!secrets.has(plaintext)) secrets.set(plaintext, needlesOf(plaintext))
  return plaintext
}

function needlesOf(plaintext: string | number | Date): Needle[] {
  const bytes = Buffer.alloc(8)
  if (plaintext instanceof Date) {
    bytes.writeBigInt64LE(BigInt(plaintext.getTime()))
    return [{ as: 'a date', bytes }, ...textNeedles(plaintext.toISOString())]
  }
  if (typeof plaintext === 'string') return textNeedles(plaintext)
  if (Number.isInteger(plaintext)) throw new Error(`${plaintext} is an integer: it could be found by chance`)
  bytes.writeDoubleLE(plaintext)
  return [{ as: 'a double', bytes }, ...textNeedles(String(plaintext))]
}

function textNeedles(text: string): Needle[] {
  if (text.length < 6) throw new Error(`"${text}" is too short to be looked for: it could be found by chance`)
  const bytes = Buffer.from(text)
  const needles = [
    { as: 'utf8', bytes },
    { as: 'hex', bytes: Buffer.from(bytes.toString('hex')) },
  ]
  // In base64, where it stands tells which of three texts it becomes. What depends on its neighbours is cut off.
  for (const offset of [0, 1, 2]) {
    const base64 = Buffer.concat([Buffer.alloc(offset), bytes]).toString('base64')
    const [start, end] = [Math.ceil((offset * 4) / 3), Math.floor(((offset + bytes.length) * 4) / 3)]
    needles.push({ as: 'base64', bytes: Buffer.from(base64.slice(start, end)) })
  }
  return needles
}

/** What tests share: a database of their own for one test file, swept for plaintext after each test. */
export interface TestDatabase {
  readonly connection: Connection
  /** The raw documents of a collection, as MongoDB has them, in the order of `_id`. */
  raw(collection: string): Promise<Record<string, any>[]>
  /** The names of the commands that were sent, in their order. Empty it before what is to be watched. */
  readonly commands: string[]
}

/** The collection of a model as the driver has it, where nothing is encrypted, refused or looked at: for who tampers. */
export function rawCollection(model: any) {
  return model.db.getClient().db(model.db.name).collection(model.collection.name)
}

/** Connects before the tests of a file, drops the database after them, and sweeps it after each. */
export function useDatabase(): TestDatabase {
  const dbName = databaseName()
  const connection = mongoose.createConnection()
  const commands: string[] = []
  const sent: Sent[] = []
  const raw = (collection: string) => connection.collection(collection).find({}).sort({ _id: 1 }).toArray()

  beforeAll(async () => {
    await connection.openUri(process.env.TEST_MONGO_URI as string, { dbName, monitorCommands: true })
    connection.getClient().on('commandStarted', ({ commandName, command }) => {
      commands.push(commandName)
      sent.push({ commandName, bytes: BSON.serialize(command, { ignoreUndefined: true }) })
    })
  })
  afterEach(async () => {
    const stored = await everything(connection)
    try {
      for (const { commandName, bytes } of sent) searchBytes(bytes, `a command ${commandName}`)
      searchAll(stored)
    } finally {
      for (const name of stored.keys()) await connection.db!.collection(name).deleteMany({})
      secrets.clear()
      sent.length = 0
    }
  })
  afterAll(async () => {
    await connection.dropDatabase()
    await connection.close()
  })
  return { connection, raw, commands }
}

/** A command that was sent, as it stood when it was. */
interface Sent {
  readonly commandName: string
  readonly bytes: Uint8Array
}

/** Fails when a plaintext of the test stands in any document, in any form that it could have. */
export async function sweep(connection: Connection): Promise<void> {
  searchAll(await everything(connection))
}

/** The documents of each collection that has one, as the bytes that are stored. */
async function everything(connection: Connection): Promise<Map<string, Uint8Array[]>> {
  const stored = new Map<string, Uint8Array[]>()
  for (const { name } of await connection.db!.listCollections().toArray()) {
    // By the driver's own collection: a model that was refused has left one behind that refuses all that it is asked for.
    const documents = await connection.db!.collection(name).find({}, { raw: true }).toArray()
    if (documents.length > 0) stored.set(name, documents as unknown as Uint8Array[])
  }
  return stored
}

function searchAll(stored: ReadonlyMap<string, Uint8Array[]>): void {
  for (const [name, documents] of stored) for (const bytes of documents) searchBytes(bytes, name)
}

/** Fails when a plaintext of the test stands in these bytes, in any form that it could have. */
function searchBytes(serialised: Uint8Array, place: string): void {
  const bytes = Buffer.from(serialised.buffer, serialised.byteOffset, serialised.byteLength)
  for (const [plaintext, needles] of secrets) {
    const found = needles.find((needle) => bytes.includes(needle.bytes))
    if (!found) continue
    const document = JSON.stringify(BSON.deserialize(bytes))
    throw new Error(`"${plaintext}" was found in ${place} as ${found.as}: ${document}`)
  }
}

/** What would be sent of a document: an error while a value is not encrypted. */
export function serialised(document: any): string {
  try {
    return Buffer.from(BSON.serialize(document.toBSON())).toString('hex')
  } catch (error) {
    return (error as Error).message
  }
}

let models = 0

/** A model of a name of its own, with the fields encrypted under `localKms`. */
export function modelOf(
  connection: Connection,
  schema: Schema<any>,
  options: Partial<KmsEncryptedOptions> & Pick<KmsEncryptedOptions, 'fields'>,
) {
  schema.plugin(kmsEncrypted as any, { provider: localKms(), ...options })
  return connection.model<any>(`User${++models}`, schema) as any
}
