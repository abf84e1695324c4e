import type { ClientSession } from 'mongoose'
import type { AnyModel, Doc } from './host'
import { idOf, ownerOf } from './naming'

/** Options of a write that decide which record it reaches. */
export interface FindOptions {
  readonly sort?: unknown
  readonly collation?: unknown
  readonly hint?: unknown
  readonly session?: unknown
  readonly strictQuery?: unknown
}

/** Reads the record that a write would reach, in its session and order, and without the user's hooks. */
export async function findRaw(
  model: AnyModel,
  filter: object,
  projection: Record<string, 1> | undefined,
  options: FindOptions,
): Promise<Record<string, unknown> | null> {
  const { sort, collation, hint, session, strictQuery } = options
  const query = model.find()
  if (strictQuery !== undefined) query.setOptions({ strictQuery } as never)
  query.setQuery(structuredFilter(filter) as never)
  query.cast(model)
  const settings = { projection, sort, collation, hint, session: session ?? ambientSession(model) }
  const given = Object.entries(settings).filter(([, value]) => value !== undefined)
  return model.collection.findOne(withDiscriminator(model, query.getFilter()) as never, Object.fromEntries(given))
}

/** Whether what is done with these options is part of a transaction. */
export function isInTransaction(model: AnyModel, { session }: FindOptions): boolean {
  return ((session ?? ambientSession(model)) as ClientSession | undefined)?.inTransaction() ?? false
}

/** The session that a document is saved in: its own, or that of the transaction around. */
export function sessionOf(doc: Doc): ClientSession | undefined {
  const session = ownerOf(doc).$session() ?? ambientSession(ownerOf(doc).constructor as unknown as AnyModel)
  return (session as ClientSession | undefined) ?? undefined
}

/** Reads stored paths of a record as they are in the database now, in the session of the document. */
export async function fetchStored(doc: Doc, paths: readonly string[]): Promise<Record<string, unknown> | null> {
  const { collection } = doc.constructor as unknown as AnyModel
  const session = sessionOf(doc)
  const projection = Object.fromEntries(paths.map((path) => [path, 1]))
  return inTurn(session, () =>
    collection.findOne(filterOf(doc) as never, { projection, ...(session ? { session } : {}) }),
  )
}

/** Finds the record of a document. The shard key goes into the filter, as Mongoose does for its own. */
export function filterOf(doc: Doc): Record<string, unknown> {
  const { schema } = doc.constructor as unknown as AnyModel
  const paths = Object.keys((schema.get('shardKey' as never) as Record<string, unknown> | undefined) ?? {})
  const known = paths.map((path) => [path, doc.get(path)]).filter(([, value]) => value !== undefined)
  return { ...Object.fromEntries(known), _id: idOf(doc) }
}

const turns = new WeakMap<ClientSession, Promise<unknown>>()

/** A transaction takes one command at a time, and documents that are written together are prepared side by side. */
function inTurn<T>(session: ClientSession | undefined, read: () => Promise<T>): Promise<T> {
  if (!session) return read()
  const turn = (turns.get(session) ?? Promise.resolve()).then(read, read)
  turns.set(session, turn)
  return turn
}

/** Casting writes into the filter, which is still to be used as it was given. */
function structuredFilter(filter: unknown): unknown {
  if (Array.isArray(filter)) return filter.map(structuredFilter)
  if (filter === null || typeof filter !== 'object' || Object.getPrototypeOf(filter) !== Object.prototype) return filter
  return Object.fromEntries(Object.entries(filter).map(([key, value]) => [key, structuredFilter(value)]))
}

/** The session of `mongoose.transaction()`, where it is passed on by the asynchronous context. */
function ambientSession(model: AnyModel): unknown {
  const { transactionAsyncLocalStorage } = model.base as unknown as {
    transactionAsyncLocalStorage?: { getStore(): { session?: unknown } | undefined }
  }
  return transactionAsyncLocalStorage?.getStore()?.session
}

function withDiscriminator(model: AnyModel, filter: object): object {
  const { discriminatorMapping: mapping } = model.schema as unknown as {
    discriminatorMapping?: { isRoot: boolean; key: string; value: string }
  }
  return mapping && !mapping.isRoot ? { ...filter, [mapping.key]: mapping.value } : filter
}
