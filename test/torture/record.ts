import { createHmac } from 'node:crypto'
import { createRequire } from 'node:module'
import type { Mongoose } from 'mongoose'
import { type KeyProvider, KeyProviderError, kmsEncrypted, localKms } from '../../lib'
import { mongooseName } from '../mongooseName'

const load = createRequire(__filename)
const mongoose: Mongoose = load(mongooseName)

/** The fields of the tortured records, all strings, encrypted under one data key for each record. */
export const fields = ['email', 'phone', 'note'] as const
export type FieldName = (typeof fields)[number]

/** The encrypted field of the subdocuments in `notes`, each of which has a data key of its own. */
export const text = 'text'
export type SignedName = FieldName | typeof text

/** The `_id`s that all writers fight for. */
export const ids = Array.from({ length: 50 }, (_, index) => index + 1)

/** Stands in every value, so that a value in the clear is found in the raw database. */
export const marker = 'torture-plaintext'

/** What all processes of a run share. */
export interface Shared {
  readonly uri: string
  readonly database: string
  readonly seed: number
  /** Of `localKms`: 64 hexadecimal digits. */
  readonly secret: string
}

/** Random numbers of a seed: 0 or more, less than 1. */
export type Random = () => number

/** Mulberry32: small, and good enough to choose operations. */
export function randomOf(seed: number): Random {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

export function pick<T>(random: Random, list: readonly T[]): T {
  return list[Math.floor(random() * list.length)] as T
}

/** One of the `_id`s, some more often than others, so that writers meet. */
export function pickId(random: Random): number {
  return ids[Math.floor(random() ** 3 * ids.length)] as number
}

/** A value that names its writer and is signed for one field of one record: nothing else passes for it there. */
export function sign(shared: Shared, id: number, field: SignedName, writer: string): string {
  return `${marker}/${writer}/${signatureOf(shared, id, field, writer)}`
}

export function isSigned(shared: Shared, id: number, field: SignedName, value: unknown): boolean {
  const [start, writer, signature, ...rest] = String(value).split('/')
  return start === marker && rest.length === 0 && signature === signatureOf(shared, id, field, writer as string)
}

function signatureOf({ secret }: Shared, id: number, field: SignedName, writer: string): string {
  return createHmac('sha256', secret)
    .update(JSON.stringify([id, field, writer]))
    .digest('hex')
    .slice(0, 32)
}

/** Connects, and gives the model of the tortured records. `failing` is the share of calls to the KMS that fail. */
export async function connect(shared: Shared, failing: number, random: Random, onFailure: () => void = () => {}) {
  const connection = await mongoose
    .createConnection(shared.uri, { dbName: shared.database, maxPoolSize: 5, serverSelectionTimeoutMS: 20_000 })
    .asPromise()
  const provider = failingKms(shared.secret, failing, random, onFailure)
  const note = new mongoose.Schema<any>({ label: String })
  note.plugin(kmsEncrypted as any, { provider, fields: { text: String } })
  const schema = new mongoose.Schema<any>({ _id: Number, name: String, count: Number, notes: [note] })
  schema.plugin(kmsEncrypted as any, {
    provider,
    fields: { email: String, phone: String, note: String },
  })
  return { connection, Tortured: connection.model<any>('Tortured', schema) as any }
}

function failingKms(secret: string, failing: number, random: Random, onFailure: () => void): KeyProvider {
  const local = localKms({ secret })
  async function call<T>(operation: () => Promise<T>): Promise<T> {
    // A KMS is far away: others come between.
    await new Promise((resolve) => setTimeout(resolve, random() * 20))
    if (random() >= failing) return operation()
    onFailure()
    throw new KeyProviderError('KMS_THROTTLED', 'the KMS of the torture test refuses a call')
  }
  return {
    keyId: local.keyId,
    generateDataKey: (request) => call(() => local.generateDataKey(request)),
    unwrapDataKey: (request) => call(() => local.unwrapDataKey(request)),
  }
}
