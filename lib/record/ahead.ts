import type { KeyReference } from '../format/datakey'
import { looksLikeEnvelope, parseReference } from '../format/envelope'
import type { AnyModel, Plain } from '../mongoose/host'
import { envelopeAt } from '../schema/type'
import type { Use } from '../schema/use'
import { usesOf } from '../schema/uses'
import { mostAtOnce } from './decrypting'
import { identify, nameOf } from './identity'
import { keepingBusy } from './outcomes'
import { KeyRing } from './ring'

/**
 * A cursor of Mongoose gives a record when its hooks have ended, and asks the driver for the next one then: under onLoad, one would be opened
 * after another. So of what the driver has received, some records are begun with before Mongoose has them; a document finds the data keys that it
 * needs open, or about to be.
 */

/** The cursor of the driver. */
export interface DriverCursor {
  next(): Promise<Plain | null>
  readBufferedDocuments(count: number): Plain[]
  rewind(): void
}

/** Has a cursor open ahead of its reader. Nothing is opened before the first record is asked for. */
export function openAhead(cursor: DriverCursor, model: AnyModel): void {
  const uses = usesOf(model.schema).filter(isKnownByRecord)
  if (uses.length === 0) return
  const limit = keepingBusy(mostAtOnce(uses))
  const { next, rewind } = cursor
  const begun: Plain[] = []
  const begin = (record: Plain) => {
    for (const use of uses) beginToOpen(use, model, record)
    return record
  }
  cursor.next = async () => {
    let record = begun.shift() ?? null
    if (!record) {
      record = await next.call(cursor)
      if (!record) return null
      begin(record)
    }
    // One of them is the reader's.
    begun.push(...cursor.readBufferedDocuments(limit - begun.length - 1).map(begin))
    return record
  }
  cursor.rewind = () => {
    begun.length = 0
    rewind.call(cursor)
  }
}

/** Whether what is stored of a record tells all that its data keys are opened with: functions of the options ask for the document. */
function isKnownByRecord({ decrypt, isCustom, byOwner }: Use): boolean {
  return decrypt === 'onLoad' && !isCustom && !byOwner
}

function beginToOpen(use: Use, model: AnyModel, record: Plain): void {
  const stored = record[use.keyPath]
  if (!Array.isArray(stored) || record._id === undefined) return
  const ring = new KeyRing(use, identify(use.host, nameOf(model), record._id), stored)
  const fields = new Map<KeyReference, string[]>()
  for (const field of use.fields.values()) {
    const envelope = envelopeAt({ field, use }, record[field.name])
    if (!envelope || !looksLikeEnvelope(envelope)) continue
    const reference = parseReference(envelope, field.name)
    fields.set(reference, [...(fields.get(reference) ?? []), field.name])
  }
  for (const [reference, names] of fields) ring.openAhead(reference, names)
}
