import { bytesOf, referenceOf } from '../format/entry'
import { type Doc, valuesOf } from '../mongoose/host'
import type { Box } from '../schema/box'
import { fetchStored, type Transaction } from './fetching'
import { type KeyRing, type OpenKey, storedReference } from './ring'

/** What was written in a transaction that may still be aborted. */
interface Uncommitted {
  readonly transaction: Transaction
  /** The boxes that were written, by their fields. */
  readonly boxes: Map<string, Box>
  /** The data keys that came to the record with it. */
  readonly keys: Map<KeyRing, OpenKey>
}

const uncommitted = new WeakMap<Doc, Uncommitted>()

/** Remembers what a write in a transaction has stored of a document. */
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
  known.boxes.set(box.field.name, box)
  if (added) known.keys.set(added.ring, added.key)
}

/** What an aborted transaction wrote is written again, by the save that runs when the transaction is tried anew. */
export async function restoreAborted(doc: Doc): Promise<void> {
  const known = uncommitted.get(doc)
  if (!known || known.transaction.isActive) return
  uncommitted.delete(doc)
  if (!doc.$isNew && (await wasCommitted(doc, known))) return
  for (const [ring, key] of known.keys) ring.undone(key)
  if (doc.$isNew) return
  for (const [name, box] of known.boxes) if (valuesOf(doc)[name] === box) doc.markModified(name)
}

/** Asks the database: the driver takes a transaction for committed also when its commit failed. */
async function wasCommitted(doc: Doc, { transaction, boxes, keys }: Uncommitted): Promise<boolean> {
  if (doc.$isSubdocument) return transaction.isCommitted
  const paths = [...boxes.keys(), ...[...keys.keys()].map(({ use }) => use.keyPath)]
  const stored = await fetchStored(doc, paths)
  if (!stored) return false
  for (const [{ use }, key] of keys) {
    // Another process may have written the fields since, but under a key that came with the transaction.
    const entries = stored[use.keyPath]
    return Array.isArray(entries) && entries.map(storedReference).includes(referenceOf(key.entry.commitment))
  }
  return [...boxes].some(([name, box]) => isSame(bytesOf(stored[name]), box.lastEnvelope))
}

function isSame(one: Uint8Array | undefined, other: Uint8Array | undefined): boolean {
  return one && other ? Buffer.compare(one, other) === 0 : one === other
}
