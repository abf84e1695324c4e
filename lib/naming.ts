import type { Doc } from './host'

/** The name of a record's model: of the base model where there are discriminators, so that both read the same records. */
export function modelNameOf(record: Doc): string {
  const { baseModelName, modelName } = record.constructor as { baseModelName?: string; modelName?: string }
  return baseModelName ?? modelName ?? 'Record'
}

/** The name of a record in contexts, traces and messages: `User/65f0c0ffee…`. */
export function recordName(record: Doc): string {
  return `${modelNameOf(record)}/${idText(record._id)}`
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
