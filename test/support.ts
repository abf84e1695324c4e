import { randomUUID } from 'node:crypto'
import mongoose, { type Connection, type Schema } from 'mongoose'
import { type KmsEncryptedOptions, kmsEncrypted, localKms } from '../lib'

const { BSON } = mongoose.mongo
const encodings = ['utf8', 'hex', 'base64'] as const
/** The plaintexts of a test, each with the bytes that are looked for. */
const secrets = new Map<string, [encoding: string, needle: Buffer][]>()

/** A plaintext of a test. After each test, none of them may be found anywhere in the raw database. */
export function secret(text: string): string {
  if (text.length < 6) throw new Error(`"${text}" is too short to be looked for: it could be found by chance`)
  if (!secrets.has(text))
    secrets.set(
      text,
      encodings.map((encoding) => [encoding, encoded(text, encoding)]),
    )
  return text
}

function encoded(text: string, encoding: BufferEncoding): Buffer {
  return Buffer.from(Buffer.from(text).toString(encoding).replace(/=+$/, ''))
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
  const database = `test_${randomUUID().slice(0, 8)}`
  const connection = mongoose.createConnection()
  const commands: string[] = []
  const sent: Sent[] = []
  const raw = (collection: string) => connection.collection(collection).find({}).sort({ _id: 1 }).toArray()

  beforeAll(async () => {
    await connection.openUri(process.env.TEST_MONGO_URI as string, { dbName: database, monitorCommands: true })
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

/** Fails when a plaintext of the test stands in any document: as text, in hexadecimal or in base64. */
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

/** Fails when a plaintext of the test stands in these bytes: as text, in hexadecimal or in base64. */
function searchBytes(serialised: Uint8Array, place: string): void {
  const bytes = Buffer.from(serialised.buffer, serialised.byteOffset, serialised.byteLength)
  for (const [text, needles] of secrets) {
    for (const [encoding, needle] of needles) {
      if (!bytes.includes(needle)) continue
      const document = JSON.stringify(BSON.deserialize(bytes))
      throw new Error(`"${text}" was found in ${place} as ${encoding}: ${document}`)
    }
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
