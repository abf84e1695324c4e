import type { Doc, Host } from './host'
import { layoutFor, partsOf } from './layout'
import { readStored } from './opening'
import { EncryptedRecord, peekRecord } from './record'

/**
 * Marks the fields of a document that were changed in place where Mongoose does not see it: a date, bytes, or what is
 * in a Mixed. They are compared with what is stored, for which their data key is open already.
 */
export function noticeChanges(doc: Doc): void {
  for (const part of partsOf(doc)) {
    for (const config of layoutFor(part).configs) {
      const record = peekRecord(config, part)
      if (record) noticeRecord(record)
    }
  }
}

/** The same for what one use of the plugin has of a document. */
export function noticeRecord(record: EncryptedRecord): void {
  if (record.doc.$isNew) return
  for (const { name, mutable } of record.config.fields.byName.values()) {
    if (mutable && record.isHandedOut(name) && !record.isModified(name) && differs(record, name)) {
      record.values.markModified(name)
    }
  }
}

function differs(record: EncryptedRecord, name: string): boolean {
  const value = readStored(record, name)
  if (value === undefined) return false
  // Compared as it would be if it were opened now, since casting and defaults may have changed it.
  const opened = new EncryptedRecord(record.config, record.doc)
  opened.learn({ [name]: value })
  if (record.field(name).nested) opened.fillDefaults(name)
  const { host } = record.config
  return Buffer.compare(bytesOf(host, opened, name), bytesOf(host, record, name)) !== 0
}

function bytesOf(host: Host, record: EncryptedRecord, name: string): Uint8Array {
  return host.serialize({ v: record.shape()[name] })
}
