import { sameBytes } from '../format/bytes'
import { envelopeOf } from '../format/envelope'
import { type Doc, isDocument, ownerOf, type Plain, schemaOf, valuesOf } from '../mongoose/host'
import { Box } from '../schema/box'
import type { Field } from '../schema/fields'
import { encodeClear, envelopeAt, load } from '../schema/type'
import type { Use } from '../schema/use'
import { usesOf } from '../schema/uses'
import { storedPart } from './fetching'
import { foreignBoxes } from './foreign'
import { decryptFor, placeOf, referenceIn } from './opening'
import { loadedTarget } from './rings'
import { encryptedPartsOf, isChanged } from './staging'

/**
 * Takes over what is stored now into the documents of these boxes, so that the same write can be tried again.
 *
 * @returns those that were changed from what they were, where another value is stored by now
 * @throws {KeyProviderError} when the KMS refuses; {DecryptionError} when what is stored does not verify
 */
export async function refreshFrom(boxes: readonly Box[], stored: Plain): Promise<Box[]> {
  const owners = boxes.map(({ owner }) => owner).filter(isDocument)
  for (const owner of new Set(owners.map(ownerOf))) refresh(owner, stored)
  const overtaken: Box[] = []
  for (const box of boxes) if (isDocument(box.owner) && (await isOvertaken(box, box.owner, stored))) overtaken.push(box)
  return overtaken
}

async function isOvertaken(box: Box, part: Doc, stored: Plain): Promise<boolean> {
  const { replaces, clear, isIncidental } = box
  const found = (replaces !== undefined || clear) && !isIncidental && storedPart(part, stored)
  if (!found) return false
  if (clear) return !sameBytes(clear, encodeClear(box, found))
  const value = found[box.field.name]
  if (replaces === null && (value ?? null) === null) return false
  const envelope = envelopeOf(value)
  if (replaces && sameBytes(envelope, replaces)) return false
  if (!envelope || (replaces === null && !box.hasSent(envelope))) return true
  const { ring } = loadedTarget(part, box.use)
  await ring.open(referenceIn(envelope, box), [box.field.name])
  return !rebase(box, part, envelope)
}

/** Has a box be one of what is stored now, where that is the value that it was changed from, encrypted anew, or what it has sent itself. */
function rebase(box: Box, part: Doc, envelope: Uint8Array): boolean {
  const { field, basis } = box
  const isOwn = box.hasSent(envelope)
  if (!isOwn && !basis.plaintext) return false
  const target = loadedTarget(part, box.use)
  const key = target.ring.opened(referenceIn(envelope, box))
  if (!key) return false
  const plaintext = decryptFor(target, field.name, envelope, key, () => placeOf(box))
  const isSame = isOwn || sameBytes(plaintext, basis.plaintext)
  if (isSame) box.rebased(envelope, plaintext)
  else plaintext.fill(0)
  return isSame
}

/**
 * Takes over wrapped keys and envelopes that were found in the database. What the user has set stays; a value that was read from
 * an envelope which is no longer stored is forgotten, so that no later save writes it back.
 *
 * @param isKept whether a value stays for another reason
 */
export function refresh(doc: Doc, stored: Plain, isKept: (box: Box) => boolean = () => false): void {
  for (const part of encryptedPartsOf(doc)) {
    const found = storedPart(part, stored)
    if (found) refreshPart(part, found, isKept)
  }
}

function refreshPart(part: Doc, stored: Plain, isKept: (box: Box) => boolean): void {
  const values = valuesOf(part)
  for (const use of usesOf(schemaOf(part))) {
    const target = loadedTarget(part, use)
    const keys = stored[use.keyPath]
    if (!use.byOwner) target.ring.takeOver(Array.isArray(keys) ? keys : [])
    for (const field of use.fields.values()) {
      const { name } = field
      const box = values[name]
      const isSet = box instanceof Box && ((box.isUnsaved && !box.isIncidental) || isKept(box))
      const found = stored[name]
      const envelope = envelopeAt({ field, use }, found)
      if (isChanged(part, name) || !part.isSelected(name) || isSet) {
        if (envelope && box instanceof Box) rebase(box, part, envelope)
        continue
      }
      const isDefault = box instanceof Box && box.isDefault
      if (envelope && box instanceof Box && !isDefault) {
        if (!sameBytes(box.lastEnvelope, envelope)) box.relock(envelope, target)
        continue
      }
      const read = readAnew(part, { field, use }, found, stored)
      // As long as nothing is stored, there is the default.
      if (read !== undefined || !isDefault) values[name] = read
    }
  }
}

function readAnew(part: Doc, { field, use }: { field: Field; use: Use }, found: unknown, stored: Plain): unknown {
  if (use.from && found !== null && !envelopeAt({ field, use }, found))
    return foreignBoxes(part, use, [field], stored).get(field.name)
  return found === undefined || found === null ? found : load({ field, use }, part, found)
}
