import { sameBytes } from '../format/bytes'
import { bytesOf } from '../format/entry'
import { type Doc, isDocument, ownerOf, type Plain, schemaOf, valuesOf } from '../mongoose/host'
import { Box } from '../schema/box'
import { usesOf } from '../schema/uses'
import { storedPart } from './fetching'
import { idOf } from './identity'
import { currentTarget } from './rings'
import { encryptedPartsOf, isChanged } from './staging'

/** Takes over what is stored now into the documents of these boxes, so that the same write can be tried again. */
export function refreshFrom(boxes: readonly Box[], stored: Plain): void {
  const owners = boxes.map(({ owner }) => owner).filter(isDocument)
  for (const owner of new Set(owners.map(ownerOf))) refresh(owner, stored)
}

/**
 * Takes over wrapped keys and envelopes that were found in the database. What the user has set stays; a value that was read from
 * an envelope which is no longer stored is forgotten, so that no later save writes it back.
 */
export function refresh(doc: Doc, stored: Plain): void {
  for (const part of encryptedPartsOf(doc)) {
    const found = storedPart(part, stored)
    if (found) refreshPart(part, found)
  }
}

function refreshPart(part: Doc, stored: Plain): void {
  const values = valuesOf(part)
  for (const use of usesOf(schemaOf(part))) {
    const target = currentTarget(part, use)
    const keys = stored[use.keyPath]
    if (!use.byOwner) target.ring.takeOver(Array.isArray(keys) ? keys : [])
    for (const field of use.fields.values()) {
      const { name } = field
      const box = values[name]
      if (isChanged(part, name) || !part.isSelected(name) || (box instanceof Box && box.isUnsaved)) continue
      const envelope = bytesOf(stored[name])
      if (envelope === undefined) values[name] = stored[name]
      else if (!(box instanceof Box)) values[name] = Box.locked(field, use, part, idOf(part), envelope)
      else if (!sameBytes(box.lastEnvelope, envelope)) box.relock(envelope, target)
    }
  }
}
