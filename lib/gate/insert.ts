import type { ClientSession } from 'mongoose'
import type { Plain } from '../mongoose/host'
import { mostAtOnce } from '../record/decrypting'
import { keepingBusy, settleEach, valuesOf } from '../record/outcomes'
import { fill, type Sealed } from './filling'
import type { Gate } from './gate'
import { type Slot, scanDocument } from './scan'
import { type Aimed, aim, type RawRings } from './targets'
import { settle } from './tie'

/** A document that is ready to be inserted. */
interface Insertion {
  readonly content: Plain
  readonly sealed: readonly Sealed[]
}

/** Finds what is to be encrypted in a document that is to be inserted. One without anything to encrypt stays as it is. */
export function aimInsertion(
  gate: Gate,
  document: unknown,
  method: string,
  raw: RawRings,
): { readonly content: Plain; readonly aimed: readonly Aimed[] } {
  const slots: Slot[] = []
  const content = scanDocument(gate.root, document, gate.place(method), slots)
  if (content !== document) giveId(gate, document, content)
  const aimed = aim(slots, { id: content._id, stored: undefined, content }, raw, gate.models)
  return { content, aimed }
}

/** Encrypts a document that is to be inserted, under a data key of its own. */
async function prepareInsertion(gate: Gate, document: unknown, method: string): Promise<Insertion> {
  const { content, aimed } = aimInsertion(gate, document, method, new Map())
  return { content, sealed: await fill(aimed, content) }
}

/** As the driver does, what is inserted is told its `_id`: a copy is sent, and its `_id` would be nobody's. */
function giveId(gate: Gate, document: unknown, content: Plain): void {
  content._id ??= new gate.host.mongoose.mongo.BSON.ObjectId()
  if (typeof document === 'object') (document as Plain)._id ??= content._id
}

/** Inserts one document. */
export async function insertOne(gate: Gate, document: unknown, options: Plain = {}): Promise<unknown> {
  const { content, aimed } = aimInsertion(gate, document, 'insertOne', new Map())
  const sealed = await fill(aimed, content)
  const result = await gate.native.insertOne(content, options)
  settle(sealed, options.session as ClientSession | undefined)
  return result
}

/** Inserts many documents: none is sent before all are encrypted. */
export async function insertMany(gate: Gate, documents: readonly unknown[], options: Plain = {}): Promise<unknown> {
  // The next are looked through while the KMS is waited for; all of them first would take as long again.
  const outcomes = await settleEach(
    documents,
    keepingBusy(mostAtOnce(gate.uses)),
    (document) => prepareInsertion(gate, document, 'insertMany'),
    () => false,
  )
  const insertions = valuesOf(outcomes)
  const session = options.session as ClientSession | undefined
  try {
    const result = await gate.native.insertMany(
      insertions.map(({ content }) => content),
      options,
    )
    for (const { sealed } of insertions) settle(sealed, session)
    return result
  } catch (error) {
    for (const index of insertedIn(error, insertions.length, options.ordered !== false)) {
      settle(insertions[index]!.sealed, session)
    }
    throw error
  }
}

/** The positions of those that were written nevertheless, told by the error of a bulk write. */
export function insertedIn(error: unknown, count: number, isOrdered: boolean): number[] {
  const { name, writeErrors } = error as { name?: string; writeErrors?: { index: number }[] | { index: number } }
  if (name !== 'MongoBulkWriteError' || writeErrors === undefined) return []
  const failed = new Set([writeErrors].flat().map(({ index }) => index))
  if (failed.size === 0) return []
  const first = Math.min(...failed)
  return Array.from({ length: count }, (_none, index) => index).filter((index) =>
    isOrdered ? index < first : !failed.has(index),
  )
}
