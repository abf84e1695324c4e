import { RecordError } from '../errors'
import { encodeAad, encryptEnvelope } from '../format/envelope'
import { isDocument } from '../mongoose/host'
import type { Box } from '../schema/box'
import type { Use } from '../schema/use'
import type { BlindIndex } from '../search/declaration'
import type { IndexKeySource } from '../search/indexkey'
import type { IndexKeys } from '../search/value'
import { openBox, placeOf, referenceIn } from './opening'
import { allInOrder } from './outcomes'
import type { KeyRing, OpenKey } from './ring'
import { isSamePlace, isSameTarget, loadedTarget, type Target, targetOf } from './rings'

/** A box that is to be written, and what its value is encrypted for. */
export interface Job {
  readonly box: Box
  readonly target: Target
}

/** Whether the envelope that a box has is what may be stored for a target: made for it, of the value as it is now. */
function isSealedFor({ box, target }: Job): boolean {
  const { envelope } = box
  if (!envelope) return false
  const by =
    (box.sealedBy as Target | undefined) ?? (isDocument(box.owner) ? loadedTarget(box.owner, box.use) : undefined)
  if (by === undefined || !isSameTarget(by, target)) return false
  if (box.sealedBy === undefined) box.belongsTo(by)
  return target.ring.has(referenceIn(envelope, box))
}

/** What is open to seal with, taken once: the ring of a record may change before all else is open. */
export class Writers {
  readonly #keys = new Map<KeyRing, OpenKey>()
  readonly #indexKeys = new Map<Use, IndexKeys>()

  /** The data key to encrypt with, where it is open. */
  keyOf(ring: KeyRing): OpenKey | undefined {
    const key = this.#keys.get(ring) ?? ring.openWriter()
    if (key) this.#keys.set(ring, key)
    return key
  }

  /** The index key of a use, where it is open. */
  indexKeyOf(use: Use): IndexKeys | undefined {
    const key = this.#indexKeys.get(use) ?? use.indexKey?.opened
    if (key) this.#indexKeys.set(use, key)
    return key
  }

  /** Begins to open what jobs lack, side by side. */
  open(jobs: readonly Job[]): Promise<void>[] {
    const rings = new Set<KeyRing>()
    const uses = new Set<Use>()
    for (const job of jobs) {
      const { box, target } = job
      refuseLocked(box, target)
      if (!isSealedFor(job)) {
        target.ring.requireWriting()
        rings.add(target.ring)
      }
      if (isIndexed(job)) uses.add(keyUseOf(job))
    }
    const opening = jobs.filter(({ box }) => !box.isOpen).map(({ box }) => openBox(box))
    for (const ring of rings) opening.push(ring.writer().then((key) => void this.#keys.set(ring, key)))
    for (const use of uses)
      opening.push((use.indexKey as IndexKeySource).open().then((key) => void this.#indexKeys.set(use, key)))
    return opening
  }
}

/**
 * Does what takes a call to the KMS, so that {@link seal} takes none: opens values that are to be encrypted anew, and the data
 * keys to encrypt them with. Where all is sealed or open already, there is nothing to wait for.
 *
 * @throws {KeyProviderError} when the KMS refuses; {DecryptionError} {RecordError} when a value cannot be had
 */
export function prepare(jobs: readonly Job[]): Writers | Promise<Writers> {
  const writers = new Writers()
  const lacking = lackingOf(jobs, writers)
  return lacking.length === 0 ? writers : openAll(jobs, lacking, writers)
}

async function openAll(jobs: readonly Job[], first: readonly Job[], writers: Writers): Promise<Writers> {
  // Whoever has a document may change it while the KMS is asked.
  for (let lacking = first; lacking.length > 0; lacking = lackingOf(jobs, writers))
    await allInOrder(writers.open(lacking))
  return writers
}

function lackingOf(jobs: readonly Job[], writers: Writers): Job[] {
  return jobs.filter((job) => !canWrite(job, writers))
}

/** Whether a job can be done without asking the KMS. */
function canWrite(job: Job, writers: Writers): boolean {
  // What was erased is not found any more, and is written as it is, with what else there is in its array.
  if (isErased(job)) return true
  const { box, target } = job
  if (isIndexed(job) && !(box.isOpen && writers.indexKeyOf(keyUseOf(job)))) return false
  if (isSealedFor(job)) return true
  return box.isOpen && target.ring.use.duty !== 'read-only' && writers.keyOf(target.ring) !== undefined
}

/**
 * Whether what a box was loaded with was erased, and is to stand where it stood: in the same document, or in the copy of a subdocument that
 * Mongoose makes where it is given another position.
 */
export function isErased(job: Job): boolean {
  return erasedOf(job) !== undefined
}

/** The envelope that is left of an erased value, and the data keys that say so. */
function erasedOf({ box, target }: Job): { envelope: Uint8Array; ring: KeyRing } | undefined {
  const origin = box.source ?? box
  const { lastEnvelope: envelope, owner, use } = origin
  if (box.isOpen || origin.source || !envelope || !isDocument(owner)) return undefined
  const by = (origin.sealedBy as Target | undefined) ?? loadedTarget(owner, use)
  const isThere = isSamePlace(by, target) && by.ring.isErased(referenceIn(envelope, origin))
  return isThere ? { envelope, ring: by.ring } : undefined
}

/** Whether a blind index is of the field of a box. */
function isIndexed({ box }: Job): boolean {
  return box.use.indexed.has(box.field.name)
}

/** The use that the index key comes from: that of the record whose data key it is. */
function keyUseOf({ target }: Job): Use {
  return target.ring.use
}

/**
 * Gives the envelope of a value, unless it has one for this target. Takes no turn of the event loop: the value that is encrypted is
 * the one that is there when the write is sent.
 *
 * @param writers by {@link prepare}
 */
export function seal(job: Job, writers: Writers): Uint8Array {
  const { box, target } = job
  if (isSealedFor(job)) return box.envelope as Uint8Array
  const erased = erasedOf(job)
  if (erased) {
    target.ring.keepTombstones(erased.ring)
    return erased.envelope
  }
  const plaintext = box.encode()
  const envelope = encryptFor(target, box.field.name, plaintext, writers.keyOf(target.ring) as OpenKey)
  // A box that stands in another document, or in an update for many records, is not what is stored here.
  if (isDocument(box.owner) && target.ring.subject !== undefined && ownsTarget(box, target))
    box.sealed(envelope, target, plaintext)
  else plaintext.fill(0)
  return envelope
}

/**
 * Gives the index values of a record's index, of all live versions. Like {@link seal}, it takes no turn of the event loop.
 *
 * @param within the path of the subdocument that the index is of, with a dot after it; empty for the record itself
 * @param values those of the index's fields, in order
 */
export function indexValuesFor(
  job: Job,
  writers: Writers,
  index: BlindIndex,
  within: string,
  values: readonly unknown[],
): Buffer[] {
  const key = writers.indexKeyOf(keyUseOf(job)) as IndexKeys
  return key.valuesOf(job.target.ring.identity.model, `${within}${index.name}`, index, values)
}

/** The envelope of a plaintext, bound to where it is to stand. The mirror of `decryptFor`. */
export function encryptFor(
  { ring, place }: Target,
  field: string,
  plaintext: Uint8Array,
  { key, context }: OpenKey,
): Uint8Array {
  return encryptEnvelope(key, encodeAad(ring.prefix(context, place), field), plaintext)
}

/** What was encrypted for the record as it was before somebody made it another one. A copy of another's value is opened there. */
function refuseLocked(box: Box, target: Target): void {
  if (box.isOpen || box.source || !box.lastEnvelope || !isDocument(box.owner)) return
  if (isSameTarget(targetOf(box), target)) return
  throw new RecordError(
    'RECORD_LOCKED',
    `${placeOf(box)}: it is encrypted for the record as it was loaded. Open the record with \`await record.${box.use.methods.decrypt}()\` ` +
      'before you make it another one.',
  )
}

function ownsTarget({ owner, use }: Box, { ring }: Target): boolean {
  return use.byOwner ? true : ring.subject === owner
}
