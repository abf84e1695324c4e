import type { Config } from './config'
import type { Doc } from './host'
import { layoutFor } from './layout'
import { topOf } from './naming'
import { type EncryptedRecord, peekRecord, recordOf } from './record'

/** The use of the plugin that a path of a document belongs to, if it is an encrypted field or below one. */
export function configFor(doc: Doc, path: unknown): Config | undefined {
  return typeof path === 'string' ? layoutFor(doc).byField.get(topOf(path)) : undefined
}

/** The state of every use of the plugin on a document's schema. */
export function recordsOf(doc: Doc): EncryptedRecord[] {
  return layoutFor(doc).configs.map((config) => recordOf(config, doc))
}

/** The same where there is any: an untouched document has none. */
export function touchedRecordsOf(doc: Doc): EncryptedRecord[] {
  return layoutFor(doc).configs.flatMap((config) => peekRecord(config, doc) ?? [])
}
