import { bytesOf } from './format/entry'
import { fetchStored, sessionOf } from './fetching'
import { storedCommitment } from './opening'
import type { EncryptedRecord, Staged, Uncommitted } from './record'
import { assignSealed, restore, Sealed } from './sealed'

/** What to remember of a write that has just succeeded: nothing, unless a transaction can still undo it. */
export function uncommittedOf(record: EncryptedRecord, staged: Staged): Uncommitted | undefined {
  const session = sessionOf(record.doc)
  if (!session?.inTransaction()) return undefined
  const { transaction } = session as unknown as Uncommitted
  const earlier = record.uncommitted?.transaction === transaction ? record.uncommitted.staged : undefined
  return { transaction, staged: earlier ? joined(earlier, staged) : staged }
}

/** Two writes of one transaction, which take effect together or not at all. */
function joined(earlier: Staged, later: Staged): Staged {
  const keysBefore = earlier.keysBefore ?? later.keysBefore
  const used = earlier.used?.added ? earlier.used : (later.used ?? earlier.used)
  return {
    fields: new Map([...later.fields, ...earlier.fields]),
    modified: new Set([...earlier.modified, ...later.modified]),
    ...(keysBefore ? { keysBefore } : {}),
    ...(used ? { used } : {}),
  }
}

/** What an aborted transaction wrote is written again, by the save that runs when the transaction is tried anew. */
export async function restoreAborted(record: EncryptedRecord): Promise<void> {
  const { uncommitted, doc, config } = record
  if (!uncommitted || uncommitted.transaction.isActive) return
  record.uncommitted = undefined
  const { staged } = uncommitted
  if (!doc.$isNew && (await wasCommitted(record, uncommitted))) return
  if (staged.keysBefore) {
    const { value } = staged.keysBefore
    assignSealed(() => restore(doc, config.keyPath, value))
    record.unsaved = staged.used?.added
  }
  for (const path of staged.modified) record.values.markModified(path)
}

/** Asks the database: the driver takes a transaction for committed also when its commit failed. */
async function wasCommitted(record: EncryptedRecord, { transaction, staged }: Uncommitted): Promise<boolean> {
  const { doc, config } = record
  if (doc.$isSubdocument) return transaction.isCommitted
  const paths = [...staged.fields.keys()].map((name) => record.field(name).storedPath)
  const stored = await fetchStored(doc, [config.keyPath, ...paths])
  if (!stored) return false
  const keys = stored[config.keyPath]
  const { used } = staged
  // Another process may have written the fields since, but under a key that came with the transaction.
  if (used?.added && Array.isArray(keys)) {
    return keys.map(storedCommitment).some((commitment) => commitment && used.opened.key.matches(commitment))
  }
  return paths.some((path) => isSameEnvelope(stored[path], doc[path]))
}

function isSameEnvelope(stored: unknown, held: unknown): boolean {
  const [one, other] = [bytesOf(stored), bytesOf(held instanceof Sealed ? held.toBSON() : undefined)]
  return one && other ? Buffer.compare(one, other) === 0 : one === other
}
