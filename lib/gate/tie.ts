import type { ClientSession } from 'mongoose'
import type { KeyReference } from '../format/datakey'
import { referenceOf } from '../format/entry'
import { encodeEnvelope } from '../format/envelope'
import { type Doc, isDocument, ownerOf, type Plain, valuesOf } from '../mongoose/host'
import { isPlainObject, noValue, valueAt } from '../mongoose/plain'
import { transactionOf } from '../record/fetching'
import { idOf } from '../record/identity'
import { type KeyRing, type OpenKey, storedCommitment } from '../record/ring'
import { ringStored } from '../record/rings'
import { isErased } from '../record/sealing'
import { noticeChanges } from '../record/staging'
import { noteUncommitted } from '../record/transactions'
import { clearAt, isAsRead, isScalar, noRecord } from './conditions'
import type { Sealed } from './filling'

/**
 * The one way in which a write of an envelope is tied to the record and the data key that it was made under: an update brings the
 * key along where the record may not have it yet, and is made only while the record has it where it is one of the stored ones.
 */

/** What ties a write to its record. */
export interface Tie {
  /** Conditions on the record as it is stored. */
  readonly conditions: Plain
  /** Wrapped keys that come to the record, by their paths: added beside those that it has. */
  readonly added: Plain
  /** Wrapped keys that replace those of a record whose context has changed, by their paths. */
  readonly replaced: Plain
}

/**
 * Ties an update to the data keys of its envelopes, and to what their encryption contexts were made of.
 *
 * @param touched the paths that the update itself changes
 */
export function tie(sealed: readonly Sealed[], touched: readonly string[]): Tie {
  const conditions: Plain = {}
  const added: Plain = {}
  const replaced: Plain = {}
  const clear: Plain = {}
  for (const each of sealed) {
    const { slot, target, reference, prefix, box } = each
    const { ring } = target
    Object.assign(conditions, each.conditions)
    if (each.isBound && !slot.isWhole) {
      if (box.clear) Object.assign(clear, clearAt(box, prefix))
      const { replaces } = box
      if (replaces === null) conditions[slot.path.join('.')] = noValue
      else if (replaces) conditions[slot.path.join('.')] = encodeEnvelope(replaces, box.field.host.binary)
    }
    if (slot.isWhole && !box.use.byOwner) continue
    const at = box.use.byOwner || prefix === '' ? '' : `${prefix}.`
    const keyPath = `${at}${ring.use.keyPath}`
    if (at !== '' && ring.identity.id !== undefined) conditions[`${at}_id`] = ring.identity.id
    if (box.use.byOwner && !slot.isWhole && prefix !== '' && subdocumentId(each) !== undefined) {
      conditions[`${prefix}._id`] = subdocumentId(each)
    }
    Object.assign(conditions, unchangedContext(ring, at, touched))
    const pending = pendingOf(ring, reference)
    // Its key is gone for good: not one that was taken away after something was encrypted under it.
    if (isErased(each)) continue
    if (!pending) Object.assign(conditions, hasKey(ring, keyPath, ring.indexOf(reference)))
    else if (ring.replaces) {
      Object.assign(conditions, hasExactly(ring.replaces, keyPath))
      replaced[keyPath] = [pending.stored]
    } else if (ring.isNull || isNullAt(each, keyPath)) {
      conditions[keyPath] = noValue
      replaced[keyPath] = [pending.stored]
    } else added[keyPath] = pending.stored
  }
  const asRead = Object.entries(clear).flatMap(([path, value]) => isAsRead(path, value))
  if (asRead.length > 0) conditions.$and = asRead
  return { conditions, added, replaced }
}

/** The rings and keys that a write has brought into the database, once it is known to be made. */
export function settle(sealed: readonly Sealed[], session: ClientSession | undefined): void {
  const transaction = transactionOf(session)
  const added = new Map<KeyRing, OpenKey>()
  for (const { target, reference } of sealed) {
    const pending = pendingOf(target.ring, reference)
    if (pending) added.set(target.ring, pending)
  }
  for (const [ring, key] of added) ring.committed(key)
  for (const { box, target, isBound } of sealed) {
    if (!isBound) continue
    ringStored(target.ring)
    if (transaction && isDocument(box.owner)) {
      const key = added.get(target.ring)
      noteUncommitted(box.owner as Doc, transaction, box, key && { ring: target.ring, key })
    }
    box.settled()
  }
  // Mongoose 8 takes all for saved where only some paths were to be.
  for (const owner of new Set(sealed.map(({ box }) => box.owner))) if (isDocument(owner)) noticeChanges(owner)
}

/** What the context was read from must still be stored so: a document may have been made without it, or another process changed it. */
function unchangedContext({ use, subject }: KeyRing, at: string, touched: readonly string[]): Plain {
  const conditions: Plain = {}
  if (!use.isCustom || !subject) return conditions
  for (const dependency of use.contextDependencies) {
    const path = `${at}${dependency}`
    if (!isTouched(touched, path)) addScalars(conditions, path, valuesOf(subject)[dependency])
  }
  for (const path of use.ownerDependencies) {
    if (!isTouched(touched, path)) addScalars(conditions, path, valuesOf(ownerOf(subject))[path])
  }
  return conditions
}

function isTouched(touched: readonly string[], path: string): boolean {
  return touched.some((each) => each === path || each.startsWith(`${path}.`) || path.startsWith(`${each}.`))
}

/** Conditions on all that has no parts in a value: an object as a whole would depend on the order of its keys. */
function addScalars(conditions: Plain, path: string, value: unknown): void {
  if (Array.isArray(value)) {
    for (const [index, item] of Array.from(value).entries()) addScalars(conditions, `${path}.${index}`, item)
  } else if (isPlainObject(value)) {
    for (const [key, item] of Object.entries(value)) addScalars(conditions, `${path}.${key}`, item)
  } else if (isScalar(value)) conditions[path] = value ?? noValue
}

/** The `_id` of the subdocument that a value under its owner's key is written to: it is bound to that, not to the position. */
function subdocumentId({ box, isBound, prefix, stored }: Sealed): unknown {
  if (isBound) return idOf(box.owner as Doc)
  return valueAt(stored, prefix)?._id
}

function isNullAt({ stored }: Sealed, keyPath: string): boolean {
  return valueAt(stored, keyPath) === null
}

function pendingOf({ pending }: KeyRing, reference: KeyReference): OpenKey | undefined {
  return pending && referenceOf(pending.entry.commitment) === reference ? pending : undefined
}

/**
 * By its position, for a condition on any of several would make the positional operator `$` of the user's own update name another
 * element: MongoDB lets one array alone decide it.
 */
function hasKey(ring: KeyRing, keyPath: string, index: number): Plain {
  // It was taken away since.
  if (index === -1) return noRecord
  return {
    [`${keyPath}.${index}.commitment`]: ring.use.host.binary(storedCommitment(ring.stored[index]) as Uint8Array),
  }
}

function hasExactly(ring: KeyRing, keyPath: string): Plain {
  const { stored } = ring
  if (stored.length === 0) return { [`${keyPath}.0`]: { $exists: false } }
  const each = stored.map((_entry, index) => hasKey(ring, keyPath, index))
  return Object.assign({ [`${keyPath}.${stored.length}`]: { $exists: false } }, ...each)
}
