import { isTombstone } from '../format/entry'
import { parseReference } from '../format/envelope'
import type { Doc } from '../mongoose/host'
import type { Box } from '../schema/box'
import { boxesOf, placeOf } from './opening'
import { ringsWithKeys } from './rewriting'
import type { KeyRing } from './ring'
import { currentTarget, targetOf } from './rings'
import { encryptedPartsOf } from './staging'

/** How often the KMS is to be asked for what is done with a record, told without asking it. */

/** One `Decrypt` for each data key that some of its fields are under. */
export function callsToOpen(doc: Doc, isAmong: (box: Box) => boolean = () => true): number {
  return sum([...referencesOf(doc, isAmong).values()].map(({ size }) => size))
}

/** The same, and one `GenerateDataKey` for each new data key. */
export function callsToRotate(doc: Doc): number {
  return callsToOpen(doc) + referencesOf(doc, () => true).size
}

/** One `Decrypt` or `GenerateDataKey` for each key that fields of it are to be written under. */
export function callsToWrite(boxes: readonly Box[]): number {
  return new Set(boxes.map((box) => currentTarget(box.owner as Doc, box.use).ring)).size
}

/** One for each wrapped key, or for each of those that are asked for. */
export function callsForKeys(doc: Doc, isAsked: (ring: KeyRing, entry: unknown) => boolean = () => true): number {
  const rings = encryptedPartsOf(doc).flatMap(ringsWithKeys)
  return sum(rings.map((ring) => ring.stored.filter((entry) => !isTombstone(entry) && isAsked(ring, entry)).length))
}

/** By which references of each ring fields are encrypted. */
function referencesOf(doc: Doc, isAmong: (box: Box) => boolean): Map<KeyRing, Set<number>> {
  const references = new Map<KeyRing, Set<number>>()
  for (const box of encryptedPartsOf(doc).flatMap(boxesOf).filter(isAmong)) {
    if (!box.lastEnvelope) continue
    const { ring } = targetOf(box)
    references.set(ring, (references.get(ring) ?? new Set()).add(parseReference(box.lastEnvelope, placeOf(box))))
  }
  return references
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0)
}
