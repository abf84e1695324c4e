import { sameBytes } from '../format/bytes'
import { bytesOf, referenceOf } from '../format/entry'
import { type Doc, ownerOf, type Plain, valuesOf } from '../mongoose/host'
import { Box, type Known } from '../schema/box'
import { fetchStored, sessionOf, storedPart, type Transaction, transactionOf } from './fetching'
import { type KeyRing, type OpenKey, storedReference } from './ring'

interface Written {
  readonly box: Box
  readonly before: Known
}

/** What was written in a transaction that may still be aborted. */
interface Uncommitted {
  readonly transaction: Transaction
  /** The boxes that were written, by their fields, and what was stored there before the transaction, where that is known. */
  readonly boxes: Map<string, Written>
  /** The data keys that came to the record with it. */
  readonly keys: Map<KeyRing, OpenKey>
}

const uncommitted = new WeakMap<Doc, Uncommitted>()

/** Remembers what a write in a transaction has stored of a document; before the box takes it for stored. */
export function noteUncommitted(
  doc: Doc,
  transaction: Transaction,
  box: Box,
  added: { readonly ring: KeyRing; readonly key: OpenKey } | undefined,
): void {
  let known = uncommitted.get(doc)
  if (known?.transaction !== transaction) {
    known = { transaction, boxes: new Map(), keys: new Map() }
    uncommitted.set(doc, known)
  }
  if (added) known.keys.set(added.ring, added.key)
  const { name } = box.field
  const job = rewritten.get(ownerOf(doc))
  const isSince = job?.transaction === transaction
  if (isSince) job.savedSince.add(box)
  const now = box.known
  const { basis } = now
  const first = known.boxes.get(name)?.before ?? { ...now, ...(isSince && job.before.get(doc)?.get(name)), basis }
  // What was given as a whole to the last of several writes takes the place of anything, whatever those before it were made of.
  known.boxes.set(name, { box, before: basis.replaces === 'anything' ? { ...first, basis } : first })
}

/**
 * Has a document know what it knew before the transactions that were aborted since, but for what the user has set, which the next save writes. To be
 * called before anything is written of it.
 */
export function settleTransactions(owner: Doc, parts: readonly Doc[]): Promise<void> | undefined {
  takeBackAborted(owner)
  return parts.some(hasEndedTransaction) ? restoreAborted(owner, parts) : undefined
}

/** Whether the transaction that a document or subdocument was written in last has ended, one way or the other. */
function hasEndedTransaction(part: Doc): boolean {
  return uncommitted.get(part)?.transaction.isActive === false
}

/** What an aborted transaction wrote is written again, by the save that runs when the transaction is tried anew. */
async function restoreAborted(doc: Doc, parts: readonly Doc[]): Promise<void> {
  const ended = parts.filter(hasEndedTransaction)
  const record = doc.$isNew ? null : await fetchStored(ownerOf(doc), [])
  for (const part of ended) {
    const known = uncommitted.get(part) as Uncommitted
    uncommitted.delete(part)
    if (record && wasCommitted(part, record, known)) continue
    for (const [ring, key] of known.keys) ring.undone(key)
    // A subdocument that came with the transaction is written again as a whole, or not at all, by Mongoose.
    if (doc.$isNew || (record && !storedPart(part, record))) continue
    for (const [name, { box: written, before }] of known.boxes) {
      const box = valuesOf(part)[name]
      if (!(box instanceof Box) || (box !== written && !box.isUnsaved)) continue
      box.restored(before)
      part.markModified(name)
    }
  }
}

/** Told by what is stored, unless it was aborted: the driver takes a transaction for committed also when its commit failed. */
function wasCommitted(part: Doc, record: Plain, { transaction, boxes, keys }: Uncommitted): boolean {
  if (transaction.state === 'TRANSACTION_ABORTED') return false
  for (const [ring, key] of keys) {
    // Another process may have written the fields since, but under a key that came with the transaction.
    const entries = storedPart(ring.subject as Doc, record)?.[ring.use.keyPath]
    return Array.isArray(entries) && entries.map(storedReference).includes(referenceOf(key.entry.commitment))
  }
  const stored = storedPart(part, record)
  return [...boxes].some(([name, { box, before }]) => {
    const found = bytesOf(stored?.[name])
    return sameBytes(found, box.lastEnvelope) || (before.stored !== undefined && !sameBytes(found, before.stored))
  })
}

/** What takes back what a document knows of a job that has written its record in a transaction. */
interface Rewritten {
  readonly transaction: Transaction
  readonly takeBack: TakeBack
  /** What the boxes of documents and subdocuments knew before it, by their fields. */
  readonly before: KnownBefore
  /** What was written in the transaction after it: the next save writes that again. */
  readonly savedSince: Set<Box>
}

type TakeBack = (isKept: (box: Box) => boolean) => void
type KnownBefore = ReadonlyMap<Doc, ReadonlyMap<string, Known>>

const rewritten = new WeakMap<Doc, Rewritten>()

/** Remembers, before a job writes the record of a document, how to take that back. */
export function noteRewriting(owner: Doc, boxes: readonly Box[], takeBack: TakeBack): void {
  const transaction = transactionOf(sessionOf(owner))
  if (!transaction) rewritten.delete(owner)
  // Of several jobs in one, what was before the first counts.
  else if (rewritten.get(owner)?.transaction !== transaction)
    rewritten.set(owner, { transaction, takeBack, before: knownBy(boxes), savedSince: new Set() })
}

function knownBy(boxes: readonly Box[]): KnownBefore {
  const known = new Map<Doc, Map<string, Known>>()
  for (const box of boxes) {
    const part = box.owner as Doc
    known.set(part, (known.get(part) ?? new Map<string, Known>()).set(box.field.name, box.known))
  }
  return known
}

/** What a job did in a transaction that was aborted, it did not do. */
export function takeBackAborted(owner: Doc): void {
  const known = rewritten.get(owner)
  if (!known || known.transaction.isActive) return
  rewritten.delete(owner)
  if (known.transaction.state !== 'TRANSACTION_ABORTED') return
  known.takeBack((box) => known.savedSince.has(box))
  for (const [part, boxes] of known.before) {
    for (const [name, before] of boxes) {
      const box = valuesOf(part)[name]
      if (box instanceof Box) box.storedAgain(before)
    }
  }
}
