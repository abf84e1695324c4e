import type { ClientSession } from 'mongoose'
import { indexedPathOf } from '../mongoose/document'
import { type Doc, modelOf, ownerOf, type Plain, schemaOf } from '../mongoose/host'
import { ambientSession } from '../mongoose/model'
import { valueAt } from '../mongoose/plain'
import { idOf } from './identity'

/** The session that a document is saved in: its own, or that of the transaction around. */
export function sessionOf(doc: Doc): ClientSession | undefined {
  const owner = ownerOf(doc)
  return ((owner.$session() ?? ambientSession(modelOf(owner))) as ClientSession | undefined) ?? undefined
}

/** Reads paths of a record as they are in the database now, in the session of the document; all where none is named. */
export async function fetchStored(doc: Doc, paths: readonly string[]): Promise<Record<string, unknown> | null> {
  const { collection } = modelOf(doc)
  const session = sessionOf(doc)
  const projection = Object.fromEntries(paths.map((path) => [path, 1]))
  return inTurn(session, () =>
    collection.findOne(filterOf(doc) as never, { projection, ...(session ? { session } : {}) }),
  )
}

/** Finds the record of a document. The shard key goes into the filter, as Mongoose does for its own. */
export function filterOf(doc: Doc): Record<string, unknown> {
  const filter: Record<string, unknown> = {}
  const shardKey = schemaOf(doc).get('shardKey' as never) as Record<string, unknown> | undefined
  for (const path in shardKey) {
    const value = doc.get(path)
    if (value !== undefined) filter[path] = value
  }
  filter._id = idOf(doc)
  return filter
}

/** What a record has stored of a part of its document: of the document itself, or where a subdocument stands. */
export function storedOf(part: Doc, record: Plain): Plain | undefined {
  return valueAt(record, pathWithin(part))
}

/** The same, if it is still the subdocument that it was. */
export function storedPart(part: Doc, record: Plain): Plain | undefined {
  const found = storedOf(part, record)
  return !part.$isSubdocument || (found && String(found._id) === String(idOf(part))) ? found : undefined
}

/** The path of a part within its record: none for the document itself. */
export function pathWithin(part: Doc): readonly string[] {
  return part.$isSubdocument ? indexedPathOf(part).split('.') : []
}

const turns = new WeakMap<ClientSession, Promise<unknown>>()

/** A transaction takes one command at a time, and documents that are written together are prepared side by side. */
function inTurn<T>(session: ClientSession | undefined, read: () => Promise<T>): Promise<T> {
  if (!session) return read()
  const turn = (turns.get(session) ?? Promise.resolve()).then(read, read)
  turns.set(session, turn)
  return turn
}

/** Whether a session is in a transaction, and that. The driver has one object for each. */
export interface Transaction {
  readonly isActive: boolean
  readonly state: string
}

/** The transaction that a session is in. */
export function transactionOf(session: ClientSession | undefined): Transaction | undefined {
  return session?.inTransaction() ? (session as unknown as { transaction: Transaction }).transaction : undefined
}
