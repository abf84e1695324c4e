import type { Doc } from './host'

/** The name of a record's model: of the base model where there are discriminators, so that both read the same records. */
export function modelNameOf(record: Doc): string {
  const { baseModelName, modelName } = ownerOf(record).constructor as { baseModelName?: string; modelName?: string }
  return baseModelName ?? modelName ?? 'Record'
}

/**
 * The name of a record in contexts, traces and messages: `User/65f0c0ffee…`. A subdocument is named by its owner, its
 * path and its own `_id`, where it has one: `User/65f0c0ffee…/contacts/65f0beef…`.
 */
export function recordName(record: Doc): string {
  const owner = ownerOf(record)
  const name = `${modelNameOf(record)}/${idText(owner._id)}`
  if (owner === record) return name
  const path = `${name}/${pathInOwner(record)}`
  return record._id === undefined ? path : `${path}/${idText(record._id)}`
}

/** The `_id` of a document as it is stored. Mongoose 8 has a getter on UUIDs that gives a string, 9 has not. */
export function idOf(doc: Doc): unknown {
  return doc.get('_id', null, { getters: false })
}

/** The document that a subdocument is stored in; a document is its own owner. */
export function ownerOf(record: Doc): Doc {
  const { ownerDocument } = record as unknown as { ownerDocument?: () => Doc }
  return record.$isSubdocument && ownerDocument ? ownerDocument.call(record) : record
}

/** The path of a subdocument in its owner, without positions in arrays: those change. */
export function pathInOwner(subdocument: Doc): string {
  const { $__fullPath } = subdocument as unknown as { $__fullPath(path: undefined, skipIndex: true): string }
  return $__fullPath.call(subdocument, undefined, true)
}

function idText(id: unknown): string {
  if (id === null || typeof id !== 'object') return String(id)
  if (id instanceof Date) return id.toISOString()
  if (id instanceof Uint8Array) return Buffer.from(id).toString('hex')
  const text = String(id)
  // An object `_id` has no text of its own; its keys keep the order in which they are stored.
  return text === '[object Object]' ? JSON.stringify(id) : text
}

/** The first segment of a path. */
export function topOf(path: string): string {
  const dot = path.indexOf('.')
  return dot === -1 ? path : path.slice(0, dot)
}
