import mongoose, { type Connection, Schema } from 'mongoose'
import { type KmsEncryptedOptions, kmsEncrypted, localKms } from '../lib'
import type { FaultMatch, MongoProxy } from './mongo/proxy'
import { useProxy } from './proxied'
import { rawCollection, secret, sweep } from './support'

/** The encrypted fields of the records that are raced for, all strings. */
export const fields = ['email', 'phone', 'note'] as const
export type FieldName = (typeof fields)[number]

/** What the tests of races share: a way of their own to the server, on which commands can be held. */
export interface RaceTrack {
  readonly connection: Connection
  readonly server: MongoProxy
  /** A model of a collection of its own; `like` gives it the collection of another, as in a second process. */
  model(options?: ModelOptions): any
  /** Notes a value as one that may be found afterwards. It must not be found in the clear. */
  wrote(value: string): string
  /** Lets an operation come up to a command, and holds it there while something else happens. */
  interrupt<T>(at: FaultMatch, operation: () => PromiseLike<T>, meanwhile: () => PromiseLike<unknown>): Promise<T>
  raw(model: any): Promise<Record<string, any>[]>
}

interface ModelOptions extends Partial<KmsEncryptedOptions> {
  readonly like?: any
  readonly schema?: Schema<any>
}

let models = 0

/**
 * Opens a database for a test file. After each test every stored field must decrypt, through a record loaded anew, to a
 * value that was written, under a key that is on the record; and nothing may stand in the clear.
 */
export function useRaceTrack(connectionOptions: mongoose.ConnectOptions = {}): RaceTrack {
  const connection = mongoose.createConnection()
  /** That of the second process, which has collections of its own. */
  const other = mongoose.createConnection()
  const written = new Set<string>()
  const raced = new Set<any>()
  const server = useProxy([connection, other], connectionOptions)

  afterEach(async () => {
    try {
      await sweep(connection)
      for (const model of raced) {
        await checkRecords(model, written)
        // Each test has models of its own: the collections of those before would be swept with every one.
        await rawCollection(model).drop()
      }
    } finally {
      raced.clear()
      written.clear()
      server.clearCommands()
    }
  })

  return {
    connection,
    server,
    model({ like, schema, ...options }: ModelOptions = {}) {
      const definition = schema ?? new Schema({ name: String, count: Number })
      if (like) definition.set('collection', like.collection.name)
      definition.plugin(kmsEncrypted as any, {
        provider: localKms(),
        fields: { email: String, phone: String, note: String },
        // Two models of one collection must have one context, as in two processes the name of the model is the same.
        context: (doc: { _id: unknown }) => ({ Record: String(doc._id) }),
        ...options,
      })
      const model = (like ? other : connection).model<any>(`Racer${++models}`, definition)
      if (like) raced.delete(like)
      raced.add(model)
      return model
    },
    wrote(value) {
      written.add(value)
      return secret(value)
    },
    async interrupt(at, operation, meanwhile) {
      const hold = server.faults.hold(at)
      // A query runs each time it is awaited, a promise once.
      const running = (async () => operation())()
      const ended = running.then(
        () => 'ended',
        () => 'ended',
      )
      if ((await Promise.race([hold.reached, ended])) === 'ended') {
        await running
        throw new Error(`the operation ended without a command ${JSON.stringify(at)}`)
      }
      await meanwhile()
      hold.release()
      return running
    },
    raw: (model) => rawCollection(model).find({}).toArray(),
  }
}

async function checkRecords(model: any, written: ReadonlySet<string>): Promise<void> {
  for (const stored of await rawCollection(model).find({}).toArray()) {
    const references = new Set((stored.encrypted_kms_key ?? []).map((entry: any) => hex(entry.commitment).slice(0, 8)))
    for (const field of fields) {
      const envelope = stored[field]
      if (envelope === undefined || envelope === null) continue
      const reference = hex(envelope).slice(2, 10)
      if (!references.has(reference)) throw new Error(`${field}: the record has no key ${reference}`)
    }
  }
  for (const record of await model.find()) {
    const open = await record.decrypt()
    for (const field of fields) {
      if (open[field] !== undefined && open[field] !== null && !written.has(open[field]))
        throw new Error(`${field}: nobody wrote "${open[field]}"`)
    }
  }
}

function hex(binary: { buffer: Uint8Array; position: number }): string {
  return Buffer.from(binary.buffer.subarray(0, binary.position)).toString('hex')
}

/** One way to write a field of a record. */
export interface Writer {
  readonly name: string
  /** The command that makes the write, to hold it at. */
  readonly command: string
  /** Reads what the write begins with. What it gives makes the write, and can be called again when that is refused. */
  begin(model: any, id: unknown, field: FieldName, value: string): Promise<() => Promise<unknown>>
}

/** Every way to write one field and leave the others. */
export const writers: readonly Writer[] = [
  {
    name: 'save()',
    command: 'update',
    async begin(model, id, field, value) {
      const record = await model.findById(id)
      record[field] = value
      return () => record.save()
    },
  },
  {
    name: 'save() of a part that was selected',
    command: 'update',
    async begin(model, id, field, value) {
      const record = await model.findById(id).select('name')
      record[field] = value
      return () => record.save()
    },
  },
  {
    name: 'updateOne()',
    command: 'update',
    begin: async (model, id, field, value) => () => model.updateOne({ _id: id }, { [field]: value }),
  },
  {
    name: 'findOneAndUpdate()',
    command: 'findAndModify',
    begin: async (model, id, field, value) => () =>
      model.findOneAndUpdate({ _id: id }, { $set: { [field]: value } }, { returnDocument: 'after' }),
  },
  {
    name: 'findByIdAndUpdate() with upsert',
    command: 'findAndModify',
    begin: async (model, id, field, value) => () => model.findByIdAndUpdate(id, { [field]: value }, { upsert: true }),
  },
  {
    name: 'document.updateOne()',
    command: 'update',
    async begin(model, id, field, value) {
      const record = await model.findById(id)
      return () => record.updateOne({ [field]: value })
    },
  },
  {
    name: 'bulkWrite()',
    command: 'update',
    begin: async (model, id, field, value) => () =>
      model.bulkWrite([{ updateOne: { filter: { _id: id }, update: { $set: { [field]: value } } } }]),
  },
  {
    name: 'connection.bulkWrite()',
    command: 'bulkWrite',
    begin: async (model, id, field, value) => () =>
      model.db.bulkWrite([{ model, name: 'updateOne', filter: { _id: id }, update: { [field]: value } }]),
  },
  {
    name: 'bulkSave()',
    command: 'update',
    async begin(model, id, field, value) {
      const record = await model.findById(id)
      record[field] = value
      return () => model.bulkSave([record])
    },
  },
]

/** A rotation, which can come between any write and its reading. */
export const rotation: Writer = {
  name: 'rotateKmsKey()',
  command: 'update',
  async begin(model, id) {
    const record = await model.findById(id)
    return () => record.rotateKmsKey()
  },
}

export function writerOf(name: string): Writer {
  const writer = [...writers, rotation].find((each) => each.name === name)
  if (!writer) throw new Error(`there is no writer ${name}`)
  return writer
}

/** Writes, and when the write is refused as overtaken, writes the same again, once. Tells whether it was refused. */
export async function insist(write: () => Promise<unknown>): Promise<boolean> {
  try {
    await write()
    return false
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'RECORD_CHANGED') throw error
    await write()
    return true
  }
}
