import { sameBytes } from '../format/bytes'
import { bytesOf, referenceOf } from '../format/entry'
import { type Doc, ownerOf, type Plain, valuesOf } from '../mongoose/host'
import type { Box, Known } from '../schema/box'
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
  const { name } = box.field
  known.boxes.set(name, { box, before: known.boxes.get(name)?.before ?? box.known })
  if (added) known.keys.set(added.ring, added.key)
  const job = rewritten.get(ownerOf(doc))
  if (job?.transaction === transaction) job.savedSince.add(box)
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
    for (const [name, { box, before }] of known.boxes) {
      if (valuesOf(part)[name] !== box) continue
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
  /** What was written in the transaction after it: the next save writes that again. */
  readonly savedSince: Set<Box>
}

type TakeBack = (isKept: (box: Box) => boolean) => void

const rewritten = new WeakMap<Doc, Rewritten>()

/** Remembers, before a job writes the record of a document, how to take that back. */
export function noteRewriting(owner: Doc, takeBack: TakeBack): void {
  const transaction = transactionOf(sessionOf(owner))
  if (!transaction) rewritten.delete(owner)
  // Of several jobs in one, what was before the first counts.
  else if (rewritten.get(owner)?.transaction !== transaction)
    rewritten.set(owner, { transaction, takeBack, savedSince: new Set() })
}

/** What a job did in a transaction that was aborted, it did not do. */
export function takeBackAborted(owner: Doc): void {
  const known = rewritten.get(owner)
  if (!known || known.transaction.isActive) return
  rewritten.delete(owner)
  if (known.transaction.state === 'TRANSACTION_ABORTED') known.takeBack((box) => known.savedSince.has(box))
}
