import { bytesOf } from '../format/entry'
import { fullPathOf } from '../mongoose/document'
import { type AnySchema, type Doc, type Host, modelOf, ownerOf, schemaOf, valuesOf } from '../mongoose/host'

/** Which record it is: what key and ciphertext are bound to. */
export interface Identity {
  /** The name of the model, of the base model where there are discriminators. */
  readonly model: string
  /** The record in contexts, traces and messages: `User/65f0…`, or `User/65f0…/contacts/65f0…` for a subdocument. */
  readonly name: string
  /** The `_id` of the record, or of the subdocument. */
  readonly id: unknown
  /** What goes into the AAD of every envelope of the record: BSON of `{ v: _id }`, or of `{ v, at, id }`. */
  readonly place: Uint8Array
}

/** Where a subdocument stands: its path in the document that holds it, without positions in arrays, and its `_id`. */
export interface Within {
  readonly path: string
  readonly id: unknown
}

/** The identity of a record by its `_id`, or of a subdocument within it. */
export function identify(host: Host, model: string, id: unknown, within?: Within): Identity {
  const name = nameFor(model, id, within)
  if (!within) return { model, name, id, place: host.serialize({ v: id }) }
  return { model, name, id: within.id, place: host.serialize({ v: id, at: within.path, id: within.id }) }
}

function nameFor(model: string, id: unknown, within?: Within): string {
  const record = `${model}/${idText(id)}`
  if (!within) return record
  return `${record}/${within.path}${within.id === undefined ? '' : `/${idText(within.id)}`}`
}

/**
 * The identity of a document or subdocument, with the `_id` that it had when it was loaded, if that is given.
 *
 * @param known what it was when it was asked for before: given again where it still is that
 */
export function identityOf(host: Host, doc: Doc, loadedId: unknown = idOf(doc), known?: Identity): Identity {
  const owner = ownerOf(doc)
  if (owner === doc) {
    if (known && isStill(known, loadedId)) return known
    return identify(host, modelNameOf(doc), idAsRead(host, schemaOf(doc), loadedId))
  }
  const model = modelNameOf(owner)
  const id = idAsRead(host, schemaOf(doc), loadedId)
  return identify(host, model, idAsRead(host, schemaOf(owner), idOf(owner)), { path: fullPathOf(doc), id })
}

/** Whether a record is still the same. An `_id` of a type that may be changed in place, unlike these, is looked at anew. */
function isStill({ model, name, id }: Identity, now: unknown): boolean {
  if (id !== now) return false
  if (typeof id === 'object' && (id as { _bsontype?: unknown } | null)?._bsontype !== 'ObjectId') return false
  return name === `${model}/${String(id)}`
}

/** An `_id` as it will be read again: Mixed takes whatever is given, of which the driver gives some as something else. */
export function idAsRead(host: Host, schema: AnySchema, id: unknown): unknown {
  if (id === null || (typeof id !== 'object' && typeof id !== 'bigint')) return id
  return schema.path('_id')?.instance === 'Mixed' ? host.deserialize(host.serialize({ v: id })).v : id
}

/** The name of a record's model: of the base model where there are discriminators, so that both read the same records. */
export function modelNameOf(record: Doc): string {
  return nameOf(modelOf(ownerOf(record)))
}

/** The same of a model. */
export function nameOf(model: object): string {
  const { baseModelName, modelName } = model as { baseModelName?: string; modelName?: string }
  return baseModelName ?? modelName ?? 'Record'
}

/** The name of a document for messages, also where it has no `_id` yet. */
export function recordName(doc: Doc): string {
  const owner = ownerOf(doc)
  const within = owner === doc ? undefined : { path: fullPathOf(doc), id: idOf(doc) }
  return nameFor(modelNameOf(owner), idOf(owner), within)
}

/** The `_id` of a document as it is stored, past the getter on UUIDs that Mongoose 8 has. */
export function idOf(doc: Doc): unknown {
  return valuesOf(doc)._id
}

function idText(id: unknown): string {
  if (id === null || typeof id !== 'object') return String(id)
  if (id instanceof Date) return id.toISOString()
  const bytes = bytesOf(id)
  if (bytes) return bytesText(bytes, id as { sub_type?: number; _subtype?: number })
  const text = String(id)
  // An object `_id` has no text of its own; its keys keep the order in which they are stored.
  if (text !== '[object Object]') return text
  return JSON.stringify(id, (_key, value) => (typeof value === 'bigint' ? String(value) : value))
}

/** UUIDs with dashes, whatever class the version of Mongoose has for them; other bytes in hexadecimal. */
function bytesText(
  bytes: Uint8Array,
  { sub_type: subtype, _subtype: ofBuffer }: { sub_type?: number; _subtype?: number },
): string {
  const hex = Buffer.from(bytes).toString('hex')
  if ((subtype ?? ofBuffer) !== 4 || bytes.length !== 16) return hex
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}
