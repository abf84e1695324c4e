import { ConfigurationError, RecordError } from '../errors'
import { sameBytes } from '../format/bytes'
import { type Doc, ownerOf, schemaOf, valuesOf } from '../mongoose/host'
import { Box } from '../schema/box'
import { StoredKeys } from '../schema/kept'
import type { Use } from '../schema/use'
import { ownerUseOf, usesOf } from '../schema/uses'
import { identityOf, idOf, recordName } from './identity'
import { KeyRing } from './ring'

/** What a value is encrypted under, and bound to. */
export interface Target {
  readonly ring: KeyRing
  /** What goes into the AAD beside context and field; for a field under the owner's key, that of the subdocument. */
  readonly place: Uint8Array
}

/** Whether what is encrypted for one may stand where the other is written: the same keys, and bound to the same place. */
export function isSameTarget(one: Target, other: Target): boolean {
  return one.ring === other.ring && sameBytes(one.place, other.place)
}

/** Whether both are of one place in one record, be it by documents of their own. */
export function isSamePlace(one: Target, other: Target): boolean {
  const [{ use, identity }, { identity: another }] = [one.ring, other.ring]
  return use === other.ring.use && identity.name === another.name && sameBytes(one.place, other.place)
}

/** The rings of one document under one use: as it was loaded, and as it is now. They are the same unless it has moved. */
interface Rings {
  loaded: KeyRing
  current: KeyRing
}

const rings = new WeakMap<Doc, Map<Use, Rings>>()

/** What the value of a field of a document is encrypted for when it is written now. */
export function currentTarget(doc: Doc, use: Use): Target {
  requireId(doc)
  if (use.byOwner) {
    const { ring } = currentTarget(ownerOf(doc), requireOwnerUse(doc, use))
    return { ring, place: identityOf(use.host, doc).place }
  }
  const known = ringsOf(doc, use)
  const identity = identityOf(use.host, doc, idOf(doc), known.loaded.identity)
  if (known.loaded.standsFor(identity)) known.current = known.loaded
  else if (known.current === known.loaded || !known.current.standsFor(identity)) {
    known.current = new KeyRing(use, identity, [], doc, known.loaded)
    if (use.isCustom) known.current.context(use.version)
  }
  return { ring: known.current, place: known.current.identity.place }
}

/** What the stored envelopes of a document were encrypted for: it may have been changed since it was loaded. */
export function loadedTarget(doc: Doc, use: Use): Target {
  requireId(doc)
  if (use.byOwner) {
    const { loaded } = ringsOf(ownerOf(doc), requireOwnerUse(doc, use))
    return { ring: loaded, place: identityOf(use.host, doc, loadedIdOf(doc, use)).place }
  }
  const { loaded } = ringsOf(doc, use)
  return { ring: loaded, place: loaded.identity.place }
}

/** The target that made the envelope of a box, or that it was loaded with. */
export function targetOf(box: Box): Target {
  return (box.sealedBy as Target | undefined) ?? loadedTarget(box.owner as Doc, box.use)
}

/** Notes that the current ring of a document is what is stored now. */
export function ringStored(ring: KeyRing): void {
  const known = ring.subject && rings.get(ring.subject)?.get(ring.use)
  if (known && known.current === ring) known.loaded = ring
}

/** Remembers the encryption contexts of a record that was just loaded, to notice when a change of it alters one. */
export function rememberContexts(doc: Doc): void {
  for (const use of usesOf(schemaOf(doc))) {
    if (!use.isCustom || idOf(doc) === undefined || idOf(ownerOf(doc)) === undefined) continue
    ringsOf(doc, use).loaded.rememberContexts()
  }
}

/** Remembers the rings of a document as it is now: it may be given another `_id`. */
export function rememberRings(doc: Doc): void {
  if (idOf(doc) === undefined && !doc.$isSubdocument) return
  for (const use of usesOf(schemaOf(doc))) if (!use.byOwner) ringsOf(doc, use)
}

function ringsOf(doc: Doc, use: Use): Rings {
  let byUse = rings.get(doc)
  if (!byUse) {
    byUse = new Map()
    rings.set(doc, byUse)
  }
  let known = byUse.get(use)
  // A document that was loaded anew has other wrapped keys than the ring knows.
  if (!known || !isStoredAs(known, valuesOf(doc)[use.keyPath])) {
    const loaded = new KeyRing(use, identityOf(use.host, doc, loadedIdOf(doc, use)), storedKeysOf(doc, use), doc)
    known = { loaded, current: loaded }
    byUse.set(use, known)
  }
  return known
}

/** The `_id` that a document was loaded with, which the boxes of its fields remember where it was set to another. */
function loadedIdOf(doc: Doc, use: Use): unknown {
  if (!doc.isDirectModified('_id')) return idOf(doc)
  const values = valuesOf(doc)
  for (const name of use.fields.keys()) {
    const box = values[name]
    if (box instanceof Box && box.owner === doc && box.loadedId !== undefined) return box.loadedId
  }
  return idOf(doc)
}

function isStoredAs({ loaded, current }: Rings, keys: unknown): boolean {
  return loaded.storedAs === keys || current.storedAs === keys
}

function storedKeysOf(doc: Doc, use: Use): readonly unknown[] {
  const stored = valuesOf(doc)[use.keyPath]
  return stored instanceof StoredKeys ? stored.entries : []
}

function requireOwnerUse(doc: Doc, use: Use): Use {
  const owner = ownerUseOf(schemaOf(ownerOf(doc)), use)
  if (owner) return owner
  throw new ConfigurationError(
    'OPTION_INVALID',
    `${recordName(doc)}: dataKey: 'owner' needs a use of the plugin${use.name === undefined ? '' : ` with the name ${use.name}`} on the ` +
      'record that holds the subdocument.',
  )
}

/** @throws {RecordError} ID_NOT_SELECTED where a record or subdocument was loaded without */
export function requireId(doc: Doc): void {
  const owner = ownerOf(doc)
  if (owner === undefined || idOf(owner) === undefined || idOf(owner) === null) throw idMissing(doc)
  if (owner === doc || idOf(doc) !== undefined || !schemaOf(doc).path('_id')) return
  throw idMissing(doc)
}

function idMissing(doc: Doc): RecordError {
  return new RecordError(
    'ID_NOT_SELECTED',
    `${recordName(doc)}: the record has no _id, which key and ciphertext are bound to. Select it when loading.`,
  )
}
