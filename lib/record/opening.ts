import { AccessError, DecryptionError, type PlaceName, RecordError } from '../errors'
import type { KeyReference } from '../format/datakey'
import { decryptEnvelope, encodeAad, parseReference } from '../format/envelope'
import { decodeText } from '../format/text'
import { type Doc, isDocument, ownerOf, schemaOf, valuesOf } from '../mongoose/host'
import { toPlain } from '../mongoose/plain'
import { Box } from '../schema/box'
import { instanceOf } from '../schema/fields'
import { fieldsOf } from '../schema/uses'
import { recordName } from './identity'
import { LockedValue } from './locked'
import type { KeyRing, OpenKey } from './ring'
import { type Target, targetOf } from './rings'
import { takeBackAborted } from './transactions'

/** Reads a field as its getter does: the value, or a lazy promise of it where the record is locked. */
export function readBox(box: Box, scope: unknown): unknown {
  if (box.isOpen) return shown(box, scope)
  if (isDocument(box.owner)) takeBackAborted(ownerOf(box.owner))
  const isEager = box.use.decrypt === 'onLoad'
  const place = () => placeOf(box)
  try {
    if (openNow(box)) return shown(box, scope)
  } catch (error) {
    if (isEager) throw error
    return new LockedValue(place, () => Promise.reject(error))
  }
  if (isEager) throw box.failure ?? locked(box)
  return new LockedValue(place, async () => {
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
      if (!box.isOpen) box.opened(source.copied(), undefined)
      return
    }
    const { envelope, target } = sealOf(box)
    const key = await target.ring.open(referenceIn(envelope, box), [box.field.name])
    // Another envelope may have been taken over meanwhile.
    if (!box.isOpen && box.lastEnvelope === envelope) decryptBox(box, envelope, target, key)
  }
}

/** Opens a box if its data key is open already. */
export function openNow(box: Box): boolean {
  if (box.isOpen) return true
  if (box.source) {
    if (!openNow(box.source)) return false
    box.opened(box.source.copied(), undefined)
    return true
  }
  const { envelope, target } = sealOf(box)
  const key = target.ring.opened(referenceIn(envelope, box))
  if (key) decryptBox(box, envelope, target, key)
  return key !== undefined
}

/** Opens all fields of a document; the error of the first that fails is thrown, after all were tried. */
export async function openDocument(doc: Doc): Promise<void> {
  takeBackAborted(ownerOf(doc))
  const boxes = boxesOf(doc)
  const failures = await openEach(boxes)
  for (const box of boxes) if (failures?.has(box)) throw failures.get(box)
}

/** The same where a record that cannot be opened must not break the find: its fields say why when they are read. */
export async function openOnLoad(doc: Doc): Promise<void> {
  const failures = await openEach(boxesOf(doc).filter((box) => box.use.decrypt === 'onLoad'))
  for (const [box, failure] of failures ?? []) box.failure ??= failure
}

/** A locked box with what it is opened by. */
interface Locked {
  readonly box: Box
  readonly envelope: Uint8Array
  readonly target: Target
}

/** Boxes under one data key that is not open yet. */
interface Together {
  readonly ring: KeyRing
  readonly reference: KeyReference
  readonly locked: Locked[]
}

/** Which boxes cannot be opened, and why; none of them, where nothing has failed. */
type Failures = Map<Box, unknown> | undefined

/** Opens boxes side by side, by one promise for each data key. Gives those that cannot be opened, and why. */
async function openEach(boxes: readonly Box[]): Promise<Failures> {
  let failures: Failures
  const fail = (box: Box, error: unknown) => {
    failures ??= new Map()
    failures.set(box, error)
  }
  const groups: Together[] = []
  const copies: Box[] = []
  for (const box of boxes) {
    try {
      if (box.isOpen) continue
      if (box.source) copies.push(box)
      else openOrGroup(groups, box)
    } catch (error) {
      fail(box, error)
    }
  }
  const opening = groups.map((each) => openTogether(each, fail))
  // Each is opened where it is copied from.
  for (const box of copies) opening.push(openBox(box).catch((error) => fail(box, error)))
  if (opening.length === 1) await opening[0]
  else if (opening.length > 0) await Promise.all(opening)
  return failures
}

function openOrGroup(groups: Together[], box: Box): void {
  const { envelope, target } = sealOf(box)
  const { ring } = target
  const reference = referenceIn(envelope, box)
  const key = ring.opened(reference)
  const known = key ? undefined : groups.find((each) => each.ring === ring && each.reference === reference)
  if (key) decryptBox(box, envelope, target, key)
  else if (known) known.locked.push({ box, envelope, target })
  else groups.push({ ring, reference, locked: [{ box, envelope, target }] })
}

/** The data key is asked for once, for all of them. What the KMS refuses is not asked for again. */
async function openTogether(
  { ring, reference, locked }: Together,
  fail: (box: Box, error: unknown) => void,
): Promise<void> {
  let key: OpenKey | undefined
  let refusal: unknown
  try {
    key = await ring.open(
      reference,
      locked.map(({ box }) => box.field.name),
    )
  } catch (error) {
    if (!namesFields(error)) refusal = error
  }
  for (const { box, envelope, target } of locked) {
    try {
      if (refusal) throw refusal
      // Another envelope may have been taken over meanwhile.
      if (!key || box.lastEnvelope !== envelope) await openBox(box)
      else if (!box.isOpen) decryptBox(box, envelope, target, key)
    } catch (error) {
      fail(box, error)
    }
  }
}

/** Errors that say which field they are of, and that come before the KMS is asked: each is to have its own. */
function namesFields(error: unknown): boolean {
  if (error instanceof AccessError) return true
  return error instanceof DecryptionError && (error.code === 'ERASED' || error.code === 'DATA_KEY_MISSING')
}

/** The boxes of a document's own fields. */
export function boxesOf(doc: Doc): Box[] {
  const values = valuesOf(doc)
  const boxes: Box[] = []
  for (const { field } of fieldsOf(schemaOf(doc))) {
    const value = values[field.name]
    if (value instanceof Box) boxes.push(value)
  }
  return boxes
}

/** The open values of a document, apart from it: what `decrypt()` gives. */
export function plainFieldsOf(doc: Doc): Record<string, unknown> {
  const plain: Record<string, unknown> = {}
  for (const {
    field: { name },
  } of fieldsOf(schemaOf(doc))) {
    const isThere = valuesOf(doc)[name] !== undefined || doc.$isNew || doc.isSelected(name)
    plain[name] = isThere ? toPlain(doc.get(name, null, whole)) : undefined
  }
  return plain
}

/** As Mongoose's own properties of documents ask: a name that has no dots need not be looked through for them. */
const whole = Object.freeze({ noDottedPath: true })

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
  place: PlaceName,
): Buffer {
  return decryptEnvelope(key, encodeAad(target.ring.prefix(context, target.place), field), envelope, place)
}

function decryptBox(box: Box, envelope: Uint8Array, target: Target, key: OpenKey): void {
  const plaintext = decryptFor(target, box.field.name, envelope, key, () => placeOf(box))
  const text = decodeText(plaintext)
  // Of anything else it is not zeroed: binary values are views into it.
  if (text !== undefined) plaintext.fill(0)
  box.opened(text ?? box.field.host.deserialize(plaintext).v, target)
}

/** The key reference in an envelope of a box. */
export function referenceIn(envelope: Uint8Array, box: Box): KeyReference {
  return parseReference(envelope, () => placeOf(box))
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
