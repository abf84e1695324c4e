import { RecordError } from '../errors'
import { isSaving, partsOf } from '../mongoose/document'
import { type Doc, isDocument, modelOf, ownerOf, schemaOf, valuesOf } from '../mongoose/host'
import { Box } from '../schema/box'
import { StoredKeys } from '../schema/kept'
import { fieldsBelow, layoutOf } from '../schema/layout'
import type { Use } from '../schema/use'
import { ownerUseOf, usesOf } from '../schema/uses'
import { fetchStored } from './fetching'
import { recordName } from './identity'
import { boxesOf } from './opening'
import { currentTarget, isSameTarget, loadedTarget, type Target, targetOf } from './rings'
import { type Job, prepare, seal, Writers } from './sealing'
import { settleTransactions } from './transactions'

/**
 * Encrypts what a save of a document is about to write, its subdocuments included, before Mongoose works out what that is: so a
 * KMS that refuses leaves everything as it was. The gate does the same for whatever is set after this.
 *
 * @throws {KeyProviderError} when the KMS refuses; {RecordError} CONTEXT_CHANGED and others
 */
export async function stage(doc: Doc): Promise<void> {
  const parts = encryptedPartsOf(doc)
  const settling = settleTransactions(doc, parts)
  if (settling) await settling
  for (const part of parts) noticeChanges(part)
  const migrates = doc.isModified()
  const jobs: Job[] = []
  for (const part of parts) {
    for (const use of usesOf(schemaOf(part))) {
      if (!isTouched(part, use, migrates)) continue
      if (lacksKeys(part, use)) await loadKeys(part, use)
      jobs.push(...jobsOf(part, use, migrates))
    }
  }
  // A bulk save validates after its hooks; the KMS is asked when it is sent.
  if (!isSaving(doc)) return
  const ready = prepare(jobs)
  const writers = ready instanceof Writers ? ready : await ready
  for (const job of jobs) seal(job, writers)
}

/**
 * Marks what was changed in place where Mongoose does not see it, a date, bytes, or what is in a Mixed; and what was set while a save
 * was under way that failed, for Mongoose takes the marks back with it.
 */
export function noticeChanges(part: Doc): void {
  if (part.$isNew) return
  for (const box of boxesOf(part)) {
    const { name } = box.field
    if (!box.isUnsaved || box.isIncidental || isChanged(part, name) || box.isEmpty) continue
    // Where Mongoose has taken back a mark, it still takes the path for marked, and does nothing.
    part.unmarkModified(name)
    box.isUnsaved = true
    part.markModified(name)
  }
}

/** A document and those of its subdocuments that have encrypted fields, each box with the document it stands in. */
export function encryptedPartsOf(doc: Doc): Doc[] {
  const parts = doc.$isSubdocument ? [doc] : partsOf(doc)
  const encrypted = parts.filter((part) => usesOf(schemaOf(part)).length > 0)
  for (const part of encrypted) for (const box of boxesOf(part)) settleOwner(part, box)
  return encrypted
}

/** What was set by a path of the owner, `contacts.0.phone`, is of the subdocument that it came to stand in. */
function settleOwner(part: Doc, box: Box): void {
  if (box.owner === part || !isDocument(box.owner)) return
  if (!box.lastEnvelope && !box.source) box.owner = part
  else valuesOf(part)[box.field.name] = Box.copy(box.field, box.use, part, box)
}

/** Whether a save writes any of the fields of a use, or has to look at what they are bound to. */
function isTouched(part: Doc, use: Use, migrates: boolean): boolean {
  const isGiven = (box: Box) => !(part.$isNew && box.isEmpty) || isChanged(part, box.field.name)
  return (
    boxesOf(part).some((box) => box.use === use && isWritten(part, box, migrates) && isGiven(box)) ||
    mayHaveMoved(part, use)
  )
}

function jobsOf(part: Doc, use: Use, migrates: boolean): Job[] {
  const target = currentTarget(part, use)
  const boxes = boxesOf(part).filter((box) => box.use === use)
  if (!part.$isNew) rebind(part, use, target, boxes)
  const written = boxes.filter((box) => isWritten(part, box, migrates))
  if (!part.$isNew) for (const box of written) box.renew()
  return written.map((box) => ({ box, target }))
}

/** @param migrates whether something is written, so that what is stored in the clear is encrypted with it */
function isWritten(part: Doc, box: Box, migrates: boolean): boolean {
  return Boolean(part.$isNew) || isChanged(part, box.field.name) || (migrates && box.isMigrating)
}

/** Whether a field of a document or subdocument is marked, or something in it: the marks of what is around do not count. */
export function isChanged(part: Doc, name: string): boolean {
  return part.isDirectModified(name) || part.directModifiedPaths().some((path) => path.startsWith(`${name}.`))
}

/** Whether something that context or ciphertext are bound to may be another than when the document was loaded. */
function mayHaveMoved(part: Doc, use: Use): boolean {
  if (part.$isNew) return false
  const owner = ownerOf(part)
  const { isCustom } = use.byOwner ? (ownerUseOf(schemaOf(owner), use) ?? use) : use
  return part.isDirectModified('_id') || (isCustom && owner.isModified())
}

/** What was encrypted for the record as it was is encrypted anew, all of it or nothing. */
function rebind(part: Doc, use: Use, target: Target, boxes: readonly Box[]): void {
  const moved = boxes.filter((box) => box.lastEnvelope && !isSameTarget(targetOf(box), target))
  if (moved.length === 0 && target.ring.replaces === undefined) return
  const isComplete = pathsUnder(part, use).every((path) => part.isSelected(path))
  if (moved.some((box) => !box.isOpen) || (target.ring.replaces && !isComplete)) throw contextChanged(part)
  for (const box of moved) part.markModified(box.field.name)
}

/** The paths of what is encrypted under the data key of a record or subdocument: of a record, those in subdocuments under its key, too. */
function pathsUnder(part: Doc, use: Use): string[] {
  const own = [...use.fields.keys()]
  if (part.$isSubdocument) return own
  const below = fieldsBelow(layoutOf([modelOf(part)])).flatMap(({ path, place }) =>
    place.fields.filter((each) => each.use.byOwner && ownerUseOf(schemaOf(part), each.use) === use).map(() => path),
  )
  // What is in a map has no path of its own.
  return own.concat(below.map((path) => (path.includes('*') ? path.slice(0, path.indexOf('*')) : path).join('.')))
}

/** The error for a change of what ciphertext is bound to. */
function contextChanged(part: Doc): RecordError {
  return new RecordError(
    'CONTEXT_CHANGED',
    `${recordName(part)}: what the encryption context depends on was changed since the record was loaded, and its fields are bound ` +
      'to the context they were written under. Open the whole record first, so that they can be encrypted anew, or set it back.',
  )
}

function lacksKeys(part: Doc, { byOwner, keyPath }: Use): boolean {
  return !(byOwner || part.$isNew || valuesOf(part)[keyPath] instanceof StoredKeys || part.isSelected(keyPath))
}

/** Fetches the wrapped keys of a record that was loaded without them. */
async function loadKeys(part: Doc, use: Use): Promise<void> {
  const { keyPath } = use
  if (part.$isSubdocument) {
    throw new RecordError(
      'KEY_NOT_SELECTED',
      `${recordName(part)}: ${keyPath} was not selected when the record was loaded. Select the subdocument whole.`,
    )
  }
  const stored = await fetchStored(part, [keyPath])
  const keys = stored?.[keyPath]
  // To the ring that knows under which context the record was loaded.
  if (keys !== undefined && keys !== null) loadedTarget(part, use).ring.takeOver([keys].flat())
}
