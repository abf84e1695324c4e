import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import mongoose, { type Connection, Schema } from 'mongoose'
import { kmsEncrypted, localKms } from '../../../lib'
import { type Answer, answer, type Request } from './typescript'

const { deserialize, EJSON } = mongoose.mongo.BSON
const secret = Buffer.alloc(32, 'known to every reader')
export const provider = localKms({ secret })

export type Reader = (requests: Request[]) => Answer[]
/** Each reads fields by what is written in docs/format.md alone. */
export const readers: [string, Reader][] = [['TypeScript', (requests) => requests.map(answer)]]
if (spawnSync('python3', ['-c', 'import sys; sys.exit(sys.version_info < (3, 8))']).status === 0)
  readers.push(['Python', readInPython])
else console.warn('No python3 is at hand: docs/format.md is followed in TypeScript alone.')

function readInPython(requests: Request[]): Answer[] {
  const input = JSON.stringify(requests)
  const { stdout, stderr } = spawnSync('python3', ['-B', join(__dirname, 'python.py')], { input, encoding: 'utf8' })
  if (stderr) throw new Error(stderr)
  return JSON.parse(stdout)
}

/** What readers are told unless a test says something else. */
export type Facts = Partial<Request>
const defaults = { secret: secret.toString('hex'), keyPath: 'encrypted_kms_key', contexts: { 1: {} } }

/** A schema with encrypted fields. */
export function encrypted(definition: object, options: object, schemaOptions = {}): Schema<any> {
  const schema = new Schema<any>(definition, schemaOptions)
  schema.plugin(kmsEncrypted as any, { ...('dataKey' in options ? {} : { provider }), ...options })
  return schema
}

let models = 0

/** A model of a name of its own, all in one collection. */
export function modelOf(connection: Connection, schema: Schema<any>) {
  return connection.model<any>(`Read${++models}`, schema, 'read')
}

/** The documents of the collection as MongoDB has them, in the order in which they were made. */
export async function storedBytes(connection: Connection): Promise<[Uint8Array, ...Uint8Array[]]> {
  return (await connection.db!.collection('read').find({}, { raw: true }).toArray()) as never
}

/** Has fields read by their paths, and gives canonical Extended JSON of each. */
export function valuesBy(read: Reader, document: Uint8Array, model: string, fields: Record<string, Facts>) {
  const requests = Object.entries(fields).map(([path, facts]) => ({
    ...defaults,
    model,
    ...facts,
    path,
    document: Buffer.from(document).toString('hex'),
  }))
  const answers = read(requests).map((each, index) => [requests[index]?.path, valueIn(each)])
  return Object.fromEntries(answers)
}

function valueIn(each: Answer): unknown {
  if ('refused' in each) return each
  const { v } = deserialize(Buffer.from(each.plaintext, 'hex'), { promoteValues: false })
  return JSON.parse(EJSON.stringify({ v }, { relaxed: false })).v
}
