import { createHmac } from 'node:crypto'
import { createRequire } from 'node:module'
import type { Mongoose, mongo } from 'mongoose'
import { type KeyProvider, KeyProviderError, kmsEncrypted, localKms } from '../../lib'
import type { BlindIndex } from '../../lib/search/declaration'
import { indexesIn, indexProblem, localIndexKeys } from '../indexvalues'
import { mongooseName } from '../mongooseName'

const load = createRequire(__filename)
export const mongoose: Mongoose = load(mongooseName)

/** The fields of the tortured records, all strings, encrypted under one data key for each record. */
export const fields = ['email', 'phone', 'note'] as const
export type FieldName = (typeof fields)[number]

/** Where a record has subdocuments with an encrypted `text`, and in what shape. */
export const places = {
  notes: { shape: 'list', owned: false },
  one: { shape: 'single', owned: false },
  byName: { shape: 'map', owned: false },
  ownedNotes: { shape: 'list', owned: true },
  ownedOne: { shape: 'single', owned: true },
  ownedByName: { shape: 'map', owned: true },
} as const satisfies Record<string, { shape: 'list' | 'single' | 'map'; owned: boolean }>
export type Place = keyof typeof places
export const placeNames = Object.keys(places) as Place[]

/** The keys of maps that writers fight for. */
export const mapKeys = ['a', 'b'] as const

/** A whole value for a place, with one subdocument. */
export function whole(place: Place, label: string, text: string): unknown {
  const note = { label, text }
  return { list: [note], single: note, map: { [mapKeys[0]]: note } }[places[place].shape]
}

/** What stands at a place, of a document or of a stored record: its subdocuments by their paths. */
export function subdocumentsAt(record: any, place: Place): [path: string, subdocument: any][] {
  const found = record[place]
  if (found === undefined || found === null) return []
  const { shape } = places[place]
  if (shape === 'single') return [[place, found]]
  const entries: [unknown, any][] =
    shape === 'list' ? [...found.entries()] : found instanceof Map ? [...found] : Object.entries(found)
  return entries.map(([key, each]) => [`${place}.${key}`, each])
}

/** What a value is signed for: a field, the place of a subdocument, or the name that a member is to have alone. */
export type SignedName = FieldName | Place | 'login'

/** Stands for each record in the signature of a value that is written to many. */
export const anyRecord = 0

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

/** A value that names its writer and is signed for one field or place of one record: nothing else passes for it there. */
export function sign(shared: Shared, id: number, field: SignedName, writer: string): string {
  return `${marker}/${writer}/${signatureOf(shared, id, field, writer)}`
}

export function isSigned(shared: Shared, id: number, field: SignedName, value: unknown): boolean {
  const [start, writer, signature, ...rest] = String(value).split('/')
  const signatures = [id, anyRecord].map((each) => signatureOf(shared, each, field, writer as string))
  return start === marker && rest.length === 0 && signatures.includes(signature as string)
}

function signatureOf({ secret }: Shared, id: number, field: SignedName, writer: string): string {
  return createHmac('sha256', secret)
    .update(JSON.stringify([id, field, writer]))
    .digest('hex')
    .slice(0, 32)
}

/** Looks for the marker as text, in hexadecimal, and in base64 at each of the three places it can begin. */
export function holdsMarker(bytes: Buffer): boolean {
  return needles.some((needle) => bytes.includes(needle))
}

const needles = [
  marker,
  Buffer.from(marker).toString('hex'),
  ...[0, 1, 2].map((offset) => {
    const base64 = Buffer.from('x'.repeat(offset) + marker).toString('base64')
    return base64.slice(offset === 0 ? 0 : 4, -4)
  }),
]

/** The commands that a process has sent: how many, and the names of those with a value in the clear. */
export interface Sent {
  count: number
  readonly inTheClear: string[]
}

/** Looks at every command that a client sends. */
function watch(client: mongo.MongoClient): Sent {
  const sent: Sent = { count: 0, inTheClear: [] }
  client.on('commandStarted', ({ commandName, command }) => {
    sent.count++
    const bytes = mongoose.mongo.BSON.serialize(command, { ignoreUndefined: true })
    if (holdsMarker(Buffer.from(bytes))) sent.inTheClear.push(`${commandName} was sent with a value in the clear`)
  })
  return sent
}

/** Connects, and gives the model of the tortured records, with data keys of this version. */
export async function connect(shared: Shared, version: number, provider: KeyProvider) {
  const connection = await mongoose
    .createConnection(shared.uri, {
      dbName: shared.database,
      maxPoolSize: 5,
      serverSelectionTimeoutMS: 20_000,
      monitorCommands: true,
      // All indexes are there before writers are.
      autoIndex: false,
      autoCreate: false,
    })
    .asPromise()
  const sent = watch(connection.getClient() as never)
  const note = (options: { provider?: KeyProvider; dataKey?: string }, text: object) =>
    new mongoose.Schema<any>({ label: String }).plugin(kmsEncrypted as any, {
      fields: { text },
      ...options,
      ...(options.provider && generations(version)),
    })
  const subdocuments = placeNames.map((place) => {
    const { shape, owned } = places[place]
    const of = note(owned ? { dataKey: 'owner' } : { provider }, textIn(place))
    return [place, { list: [of], single: of, map: { type: Map, of } }[shape]] as const
  })
  const paths = { _id: Number, name: String, count: Number, ...Object.fromEntries(subdocuments) }
  const schema = new mongoose.Schema<any>(paths as never)
  schema.plugin(kmsEncrypted as any, {
    provider,
    fields: definitions,
    blindIndexes,
    ...generations(version, 'Tortured'),
  })
  const member = new mongoose.Schema<any>({ name: String })
  member.plugin(kmsEncrypted as any, { provider, fields: logins, ...generations(version) })
  const Tortured = connection.model<any>('Tortured', schema) as any
  return { connection, sent, Tortured, Member: connection.model<any>('Member', member) as any }
}

const definitions = { email: { type: String, blindIndex: true }, phone: String, note: String }
const blindIndexes = { contact: { fields: ['email', 'phone'], version: 2, previousVersions: { 1: {} } } }
const logins = { login: { type: String, unique: true } }
/** No index reaches what is below the keys of a map. */
const textIn = (place: Place) => ({ type: String, blindIndex: places[place].shape !== 'map' })

/** Says which index values of a stored record, and of the subdocuments in it, are not those of what it holds. */
export async function indexProblems({ secret }: Shared, raw: any, record: any): Promise<string[]> {
  const keys = await localIndexKeys(secret)
  const look = (index: BlindIndex, stored: any, open: any, model: string, within: string) =>
    indexProblem(index, stored, open, (values) => keys.valuesOf(model, `${within}${index.name}`, index, values)) ?? []
  const open = await record.decrypt()
  if (raw.login) return indexesIn(logins).flatMap((index) => look(index, raw, open, 'Member', ''))
  const problems = indexesIn(definitions, blindIndexes).flatMap((index) => look(index, raw, open, 'Tortured', ''))
  for (const place of placeNames) {
    const loaded = new Map(subdocumentsAt(record, place))
    for (const [path, note] of subdocumentsAt(raw, place)) {
      const text = await loaded.get(path).text
      problems.push(
        ...indexesIn({ text: textIn(place) }).flatMap((index) => look(index, note, { text }, 'Tortured', `${place}.`)),
      )
    }
  }
  return problems.map((problem) => `record ${raw._id}: ${problem}`)
}

/**
 * The two versions of data keys: some processes write one, some the other, and all read both.
 *
 * @param model of which records the encryption context is another in each
 */
export function generations(version: number, model?: string) {
  const contextOf = (of: number) =>
    model === undefined
      ? {}
      : { context: ({ _id }: { _id: unknown }) => ({ Record: `${model}/${_id}`, keys: `of version ${of}` }) }
  const other = 3 - version
  return { version, ...contextOf(version), previousVersions: { [other]: contextOf(other) } }
}

/** The KMS of a run. */
export function kmsOf({ secret }: Shared): KeyProvider {
  return localKms({ secret })
}

/** The same, far away: others come between; and a share of the calls fails. */
export function failingKms(shared: Shared, failing: number, random: Random, onFailure: () => void): KeyProvider {
  const local = kmsOf(shared)
  async function call<T>(operation: () => Promise<T>): Promise<T> {
    await new Promise((resolve) => setTimeout(resolve, random() * 20))
    if (random() >= failing) return operation()
    onFailure()
    throw new KeyProviderError('KMS_THROTTLED', 'the KMS of the torture test refuses a call')
  }
  return {
    keyId: local.keyId,
    generateDataKey: (request) => call(() => local.generateDataKey(request)),
    unwrapDataKey: (request) => call(() => local.unwrapDataKey(request)),
    rewrapDataKey: (request) => call(() => local.rewrapDataKey!(request)),
    deriveIndexKey: (request) => call(() => local.deriveIndexKey!(request)),
  }
}
