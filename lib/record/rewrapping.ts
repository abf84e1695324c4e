import { RecordError } from '../errors'
import type { Doc, Plain } from '../mongoose/host'
import { recordName } from './identity'
import { prefixOf } from './indexes'
import { allInOrder } from './outcomes'
import { refresh } from './refreshing'
import {
  maxAttempts,
  partsOf,
  rewrite,
  ringsWithKeys,
  type Send,
  sendUpdate,
  unchangedKeys,
  withWritten,
} from './rewriting'
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
export async function rewrap(doc: Doc, send: Send): Promise<boolean> {
  const isWritten = await rewrite(doc, async (owner, stored) => {
    const written = await tryRewrapping(doc, owner, stored, send)
    if (!written) return undefined
    refresh(owner, withWritten(stored, written))
    return Object.keys(written).length > 0
  })
  if (isWritten !== undefined) return isWritten
  throw new RecordError(
    'RECORD_CHANGED',
    `${recordName(doc)}: other writes changed its wrapped keys during each of ${maxAttempts} attempts to wrap them anew. Try again.`,
  )
}

/** @returns what was written, or `undefined` when another write came between */
async function tryRewrapping(doc: Doc, owner: Doc, stored: Plain, send: Send): Promise<Plain | undefined> {
  const { parts } = partsOf(doc, owner, stored)
  const written: Plain = {}
  const conditions: Plain[] = []
  await allInOrder(
    parts.flatMap(ringsWithKeys).map(async (ring) => {
      const entries = await rewrapped(ring)
      if (!entries) return
      const prefix = prefixOf(ring.subject as Doc)
      written[`${prefix}${ring.use.keyPath}`] = entries
      conditions.push(...unchangedKeys(ring, prefix))
    }),
  )
  if (Object.keys(written).length === 0) return written
  return (await sendUpdate(owner, { $set: written }, conditions, send)) ? written : undefined
}

/** The entries of a ring as they are to be stored; `undefined` where all are current. */
async function rewrapped(ring: KeyRing): Promise<unknown[] | undefined> {
  const entries = await allInOrder(ring.stored.map((entry) => ring.rewrap(entry)))
  return entries.some((entry, index) => entry !== ring.stored[index]) ? entries : undefined
}
