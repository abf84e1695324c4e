import { DecryptionError, RecordError } from '../errors'
import { decryptEnvelope, encodeAad, parseReference } from '../format/envelope'
import { type Doc, isDocument, schemaOf, valuesOf } from '../mongoose/host'
import { toPlain } from '../mongoose/plain'
import { Box } from '../schema/box'
import { instanceOf } from '../schema/fields'
import { fieldsOf } from '../schema/uses'
import { recordName } from './identity'
import { LockedValue } from './locked'
import { allInOrder } from './outcomes'
import type { OpenKey } from './ring'
import { type Target, targetOf } from './rings'

/** Reads a field as its getter does: the value, or a lazy promise of it where the record is locked. */
export function readBox(box: Box, scope: unknown): unknown {
  if (box.isOpen) return shown(box, scope)
  const isEager = box.use.decrypt === 'onLoad'
  try {
    if (openNow(box)) return shown(box, scope)
  } catch (error) {
    if (isEager) throw error
    return new LockedValue(placeOf(box), () => Promise.reject(error))
  }
  if (isEager) throw box.failure ?? locked(box)
  return new LockedValue(placeOf(box), async () => {
    // The box is looked up again when awaited: by then the document may have been loaded anew.
    const current = isDocument(box.owner) ? valuesOf(box.owner)[box.field.name] : box
    if (!(current instanceof Box)) return current
    await openBox(current)
    return shown(current, scope)
  })
}

/**
 * Opens a box: one call to the KMS where the record's data key is not open yet.
 *
 * @throws {KeyProviderError} when the KMS refuses; {DecryptionError} when stored bytes do not verify; {RecordError}
 */
export async function openBox(box: Box): Promise<void> {
  while (!box.isOpen) {
    const { source } = box
    if (source) {
      await openBox(source)
      // Somebody else may have opened it meanwhile.
      if (!box.isOpen) box.opened(source.stored(), undefined)
      return
    }
    const { envelope, target } = sealOf(box)
    const key = await target.ring.open(parseReference(envelope, placeOf(box)), [box.field.name])
    // Another envelope may have been taken over meanwhile.
    if (!box.isOpen && box.lastEnvelope === envelope) decryptBox(box, envelope, target, key)
  }
}

/** Opens a box if its data key is open already. */
export function openNow(box: Box): boolean {
  if (box.isOpen) return true
  if (box.source) {
    if (!openNow(box.source)) return false
    box.opened(box.source.stored(), undefined)
    return true
  }
  const { envelope, target } = sealOf(box)
  const key = target.ring.opened(parseReference(envelope, placeOf(box)))
  if (key) decryptBox(box, envelope, target, key)
  return key !== undefined
}

/** Opens all fields of a document; the error of the first that fails is thrown, after all were tried. */
export async function openDocument(doc: Doc): Promise<void> {
  await allInOrder(boxesOf(doc).map(openBox))
}

/** The same where a record that cannot be opened must not break the find: its fields say why when they are read. */
export async function openOnLoad(doc: Doc): Promise<void> {
  const boxes = boxesOf(doc).filter((box) => box.use.decrypt === 'onLoad')
  const outcomes = await Promise.allSettled(boxes.map(openBox))
  for (const [index, outcome] of outcomes.entries()) {
    const box = boxes[index] as Box
    if (outcome.status === 'rejected') box.failure ??= outcome.reason
  }
}

/** The boxes of a document's own fields. */
export function boxesOf(doc: Doc): Box[] {
  const values = valuesOf(doc)
  return fieldsOf(schemaOf(doc))
    .map(({ field }) => values[field.name])
    .filter((value): value is Box => value instanceof Box)
}

/** The open values of a document, apart from it: what `decrypt()` gives. */
export function plainFieldsOf(doc: Doc): Record<string, unknown> {
  return Object.fromEntries(
    fieldsOf(schemaOf(doc)).map(({ field: { name } }) => {
      const isThere = valuesOf(doc)[name] !== undefined || doc.$isNew || doc.isSelected(name)
      return [name, isThere ? toPlain(doc.get(name)) : undefined] as const
    }),
  )
}

/** Names a box in messages. */
export function placeOf(box: Box): string {
  return isDocument(box.owner) ? `${recordName(box.owner)} ${box.field.name}` : box.field.name
}

/** What decrypts to the plaintext of an envelope, as it is bound to where it stands. */
export function decryptFor(
  target: Target,
  field: string,
  envelope: Uint8Array,
  { key, context }: OpenKey,
  place: string,
): Buffer {
  return decryptEnvelope(key, encodeAad(target.ring.prefix(context, target.place), field), envelope, place)
}

function decryptBox(box: Box, envelope: Uint8Array, target: Target, key: OpenKey): void {
  // The plaintext is not zeroed: binary values are views into it.
  const plaintext = decryptFor(target, box.field.name, envelope, key, placeOf(box))
  box.opened(box.field.host.deserialize(plaintext).v, target)
}

function sealOf(box: Box): { envelope: Uint8Array; target: Target } {
  const envelope = box.lastEnvelope
  if (!envelope) throw box.failure ?? plaintextIn(box)
  return { envelope, target: targetOf(box) }
}

function plaintextIn(box: Box): DecryptionError {
  if (!box.use.migrating) return plaintextFound(placeOf(box))
  return new DecryptionError(
    'PLAINTEXT_FOUND',
    `${placeOf(box)}: what is stored there in the clear cannot be cast to ${instanceOf(box.field.inner)}. It is neither shown nor encrypted: ` +
      'set the field anew, or mend what is stored.',
  )
}

/** The error for a stored value that is no envelope. */
export function plaintextFound(place: string): DecryptionError {
  return new DecryptionError(
    'PLAINTEXT_FOUND',
    `${place}: what is stored there is not encrypted. It is neither shown nor written back: set the field anew, or encrypt what ` +
      'is stored.',
  )
}

/** Holders apply the getters of what they hold by themselves. */
function shown(box: Box, scope: unknown): unknown {
  const { inner, complex } = box.field
  return complex || !inner ? box.value() : inner.applyGetters(box.value(), scope)
}

function locked(box: Box): RecordError {
  return new RecordError(
    'RECORD_LOCKED',
    `${placeOf(box)}: the record is locked. Open it first with \`await record.${box.use.methods.decrypt}()\`.`,
  )
}
