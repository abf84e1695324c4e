import { RecordError } from '../errors'
import { bytesOf } from '../format/entry'
import { type AnyModel, type Doc, isDocument, type Plain, schemaOf } from '../mongoose/host'
import { withValueAt } from '../mongoose/plain'
import { usesOf } from '../schema/uses'
import { pathWithin, storedOf } from './fetching'
import { nameOf } from './identity'
import { openDocument, plainFieldsOf } from './opening'
import { allInOrder } from './outcomes'
import { encryptedPartsOf } from './staging'

/** What `decrypt()` of a document gives: the plain values of its fields. */
export async function decryptDocument(doc: Doc): Promise<Plain> {
  await openDocument(doc)
  return plainFieldsOf(doc)
}

/** What `Model.decrypt()` gives: of documents their fields, of lean objects copies with the values in place. */
export async function decryptRecords(model: AnyModel, records: unknown): Promise<unknown> {
  if (!Array.isArray(records)) return decryptRecord(model, records)
  return allInOrder(records.map((record) => decryptRecord(model, record)))
}

async function decryptRecord(model: AnyModel, record: unknown): Promise<unknown> {
  if (record === null || record === undefined) return record
  if (typeof record !== 'object') {
    throw new TypeError(`${nameOf(model)}.decrypt(): expected documents or lean objects, got ${typeof record}`)
  }
  return isDocument(record) ? decryptDocument(record) : decryptLean(model, record)
}

async function decryptLean(model: AnyModel, lean: Plain): Promise<Plain> {
  if (lean._id === undefined || lean._id === null) {
    throw new RecordError(
      'ID_NOT_SELECTED',
      `${nameOf(model)}.decrypt(): the lean object has no _id. Select it when loading.`,
    )
  }
  const doc = (model as unknown as { hydrate(values: Plain): Doc }).hydrate(lean)
  const parts = encryptedPartsOf(doc)
  for (const part of parts) checkKeys(model, part, storedOf(part, lean))
  await allInOrder(parts.map(openDocument))
  let result: any = lean
  for (const part of parts) result = withValueAt(result, pathWithin(part), opened(storedOf(part, result), part))
  return result
}

function checkKeys(model: AnyModel, part: Doc, stored: Plain | undefined): void {
  for (const use of usesOf(schemaOf(part))) {
    if (use.byOwner || !stored || stored[use.keyPath] !== undefined) continue
    if (![...use.fields.keys()].some((name) => bytesOf(stored[name]))) continue
    throw new RecordError(
      'KEY_NOT_SELECTED',
      `${nameOf(model)}.decrypt(): ${use.keyPath} was not selected. Select it, too.`,
    )
  }
}

/**
 * A copy of what is stored of a part, with its values in the place of envelopes and without its wrapped keys. What is not there was
 * not selected or is not stored: a default would pass for what is.
 */
function opened(stored: Plain | undefined, part: Doc): Plain {
  const copy = { ...stored }
  const plain = plainFieldsOf(part)
  for (const use of usesOf(schemaOf(part))) {
    delete copy[use.keyPath]
    for (const name of use.fields.keys()) if (name in copy) copy[name] = plain[name]
  }
  return copy
}
