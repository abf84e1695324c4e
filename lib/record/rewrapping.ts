import type { Doc, Plain } from '../mongoose/host'
import { prefixOf } from './indexes'
import { allInOrder } from './outcomes'
import { refresh } from './refreshing'
import { partsFor, rewrite, ringsWithKeys, type Send, sendUpdate, unchangedKeys, withWritten } from './rewriting'
import type { KeyRing } from './ring'

/**
 * Has the wrapped keys of a record wrapped anew by the KMS, under the KMS key and encryption context of the current version, those of its
 * subdocuments included. Neither data keys nor fields change, and no data key is seen here. Of a subdocument it is those of that alone.
 *
 * @returns whether anything was written: what is current stays as it is
 * @throws {RecordError} RECORD_CHANGED when other writes came between every time; ID_NOT_SELECTED
 * @throws {DocumentNotFoundError} Mongoose's own, when the record is not stored
 * @throws {KeyProviderError} when the KMS refuses; {DecryptionError} when a stored wrapped key is damaged
 */
export function rewrap(doc: Doc, send: Send): Promise<boolean> {
  return rewrite(doc, deed, async (owner, fresh, stored) => {
    const written = await rewrapParts(owner, partsFor(doc, fresh), stored._id, send)
    if (!written) return undefined
    refresh(owner, withWritten(stored, written))
    return Object.keys(written).length > 0
  })
}

/** What is done, for messages. */
export const deed = 'wrap its keys anew'

/**
 * The same for a record of which there is no document of the user's.
 *
 * @param fresh a document of what is stored
 * @returns whether anything was written; nothing where another write came between
 */
export async function rewrapStored(fresh: Doc, stored: Plain, send: Send): Promise<boolean | undefined> {
  const written = await rewrapParts(fresh, partsFor(fresh, fresh), stored._id, send)
  return written && Object.keys(written).length > 0
}

/** @returns what was written, or nothing where another write came between */
async function rewrapParts(owner: Doc, parts: readonly Doc[], _id: unknown, send: Send): Promise<Plain | undefined> {
  const written: Plain = {}
  const conditions: Plain = {}
  await allInOrder(
    parts.flatMap(ringsWithKeys).map(async (ring) => {
      const entries = await rewrapped(ring)
      if (!entries) return
      const prefix = prefixOf(ring.subject as Doc)
      written[`${prefix}${ring.use.keyPath}`] = entries
      Object.assign(conditions, unchangedKeys(ring, prefix))
    }),
  )
  if (Object.keys(written).length === 0) return written
  return (await sendUpdate(owner, { $set: written }, conditions, send, _id)) ? written : undefined
}

/** The entries of a ring as they are to be stored; `undefined` where all are current. */
async function rewrapped(ring: KeyRing): Promise<unknown[] | undefined> {
  const entries = await allInOrder(ring.stored.map((entry) => ring.rewrap(entry)))
  return entries.some((entry, index) => entry !== ring.stored[index]) ? entries : undefined
}
