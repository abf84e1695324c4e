import { sameBytes } from '../format/bytes'
import { type Doc, isDocument, ownerOf, type Plain, schemaOf, valuesOf } from '../mongoose/host'
import { Box } from '../schema/box'
import { envelopeAt, load } from '../schema/type'
import { usesOf } from '../schema/uses'
import { storedPart } from './fetching'
import { foreignBoxes } from './foreign'
import { loadedTarget } from './rings'
import { encryptedPartsOf, isChanged } from './staging'

/** Takes over what is stored now into the documents of these boxes, so that the same write can be tried again. */
export function refreshFrom(boxes: readonly Box[], stored: Plain): void {
  const owners = boxes.map(({ owner }) => owner).filter(isDocument)
  for (const owner of new Set(owners.map(ownerOf))) refresh(owner, stored)
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
      const isSet = box instanceof Box && ((box.isUnsaved && !box.isMigrating) || isKept(box))
      if (isChanged(part, name) || !part.isSelected(name) || isSet) continue
      const found = stored[name]
      const envelope = envelopeAt({ field, use }, found)
      if (use.from && !envelope && found !== null) {
        values[name] = foreignBoxes(part, use, [field], stored).get(name)
      } else if (found === undefined || found === null) values[name] = found
      else if (!envelope || !(box instanceof Box)) values[name] = load({ field, use }, part, found)
      else if (!sameBytes(box.lastEnvelope, envelope)) box.relock(envelope, target)
    }
  }
}
