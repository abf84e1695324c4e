import { DecryptionError } from '../errors'
import type { KeyReference } from '../format/datakey'
import { bytesOf, isTombstone } from '../format/entry'
import { envelopeOf, envelopeSubtype, parseReference } from '../format/envelope'
import { indexedPathOf } from '../mongoose/document'
import { type Doc, type Plain, schemaOf } from '../mongoose/host'
import { hasPositionLikeKey, noValue } from '../mongoose/plain'
import { perSchema, shapeOf } from '../mongoose/schema'
import { fieldsBelow, layoutOf } from '../schema/layout'
import type { Use } from '../schema/use'
import { ownerUseOf, usesOf } from '../schema/uses'
import type { BlindIndex } from '../search/declaration'
import { storedOf } from './fetching'
import { idOf, recordName } from './identity'
import { areSameIndexValues, indexValuesOf, prefixOf } from './indexes'
import { decryptFor, plaintextFound } from './opening'
import { allInOrder } from './outcomes'
import { refresh } from './refreshing'
import { partsFor, rewrite, type Send, sendUpdate, unchangedKeys, withWritten } from './rewriting'
import { type KeyRing, type OpenKey, storedReference } from './ring'
import { currentTarget, loadedTarget, type Target } from './rings'
import { encryptFor } from './sealing'
import { encryptedPartsOf } from './staging'

/**
 * Gives a record new data keys, its subdocuments included: every stored field is encrypted anew, and the keys before are dropped, in
 * one write that is made only if nothing encrypted has changed since it was read. So no field can be left behind under a key that is
 * gone. Index values that are not those of the stored values are made anew in the same write. What was erased stays as it is, and unsaved
 * changes of the document do. Of a subdocument it rotates the key of that alone.
 *
 * @throws {RecordError} RECORD_CHANGED when other writes came between every time, and for a subdocument that is not stored where it
 *   stands in the document; ID_NOT_SELECTED
 * @throws {DocumentNotFoundError} Mongoose's own, when the record is not stored
 * @throws {KeyProviderError} when the KMS refuses; {DecryptionError} when a stored field does not verify; a duplicate key error, code 11000, when
 *   another record has the value of a unique field: then all is done but for its index values
 */
export async function rotate(doc: Doc, send: Send): Promise<void> {
  const done = await rewrite(doc, deed, async (owner, fresh, stored) => {
    // What stands in a subdocument under the key of its owner is rotated with all else that is under it.
    const isMeant = (use: Use) => doc === owner || !use.byOwner
    const parts = partsFor(doc, fresh).map((part) => partAsStored(part, stored, isMeant))
    const replaced = await replaceKeys(owner, parts, stored, send)
    if (!replaced) return undefined
    for (const [ring, key] of replaced.drawn) learn(owner, fresh, ring, key)
    refresh(owner, withWritten(stored, replaced.written))
    return replaced
  })
  if (done.duplicate) throw done.duplicate
}

/** What is done, for messages. */
export const deed = 'rotate its data key'

/**
 * The same for a record of which there is no document of the user's.
 *
 * @param fresh a document of what is stored
 * @param isDue whether it is to be done for a record with these wrapped keys
 * @returns whether it was done; nothing where another write came between
 */
export async function rotateStored(
  fresh: Doc,
  stored: Plain,
  isDue: (wrappedKeys: readonly unknown[]) => boolean,
  send: Send,
): Promise<boolean | undefined> {
  const parts = encryptedPartsOf(fresh).map((part) => partAsStored(part, stored))
  if (!isDue(parts.flatMap(({ rings }) => rings.flatMap((ring) => ring.stored)))) return false
  for (const { targets } of parts) for (const { target } of targets) target.ring.requireWriting()
  const replaced = await replaceKeys(fresh, parts, stored, send)
  if (replaced?.duplicate) throw replaced.duplicate
  return replaced && true
}

/** A record or a subdocument of it, as it is stored. */
interface Part {
  readonly doc: Doc
  readonly raw: Plain
  /** Its path in the record, with a dot after it. */
  readonly prefix: string
  readonly targets: readonly { readonly use: Use; readonly target: Target }[]
  /** Its own data keys: not those of its owner. */
  readonly rings: readonly KeyRing[]
}

function partAsStored(doc: Doc, stored: Plain, isMeant: (use: Use) => boolean = () => true): Part {
  const uses = usesOf(schemaOf(doc)).filter(isMeant)
  const targets = uses.map((use) => ({ use, target: currentTarget(doc, use) }))
  const rings = targets.filter(({ use }) => !use.byOwner).map(({ target }) => target.ring)
  return { doc, raw: storedOf(doc, stored) ?? {}, prefix: prefixOf(doc), targets, rings }
}

/** One envelope as it is stored, with what it takes to encrypt it anew. */
interface Found {
  readonly path: string
  readonly field: string
  readonly envelope: Uint8Array
  readonly reference: KeyReference
  readonly target: Target
}

/** What a rotation has stored. */
interface Replaced {
  readonly drawn: ReadonlyMap<KeyRing, OpenKey>
  readonly written: Plain
  /** What MongoDB said of index values that another record has already, and which were left out. */
  readonly duplicate?: unknown
}

/** @returns nothing where something encrypted has changed since it was read */
async function replaceKeys(
  owner: Doc,
  parts: readonly Part[],
  stored: Plain,
  send: Send,
): Promise<Replaced | undefined> {
  const all = parts.flatMap(envelopesOf)
  const found = all.filter(({ target, reference }) => !target.ring.isErased(reference))
  const drawn = await drawKeys(found)
  const indexValues = await staleIndexValues(parts)
  const written: Plain = {}
  const conditions: Plain = {}
  // What was erased, too: somebody may give it a new value, under a key that is dropped.
  for (const { path, envelope, target } of all)
    conditions[path] = target.ring.use.host.binary(envelope, envelopeSubtype)
  for (const each of found) {
    const { path, field, target } = each
    const { ring } = target
    const plaintext = decrypted(each)
    const envelope = encryptFor(target, field, plaintext, drawn.get(ring) as OpenKey)
    written[path] = ring.use.host.binary(envelope, envelopeSubtype)
    plaintext.fill(0)
  }
  for (const part of parts) {
    for (const ring of part.rings) {
      const key = drawn.get(ring)
      const owned = part.doc.$isSubdocument ? [] : (ownedPathsOf(schemaOf(part.doc)).get(ring.use) ?? [])
      const mayMiss = owned.some((path) => hasPositionLikeKey(part.raw[path]))
      const kept = mayMiss ? ring.stored : keysInUse(ring, part)
      if (!key && kept.length === ring.stored.length) continue
      // Where nothing is encrypted, the next value brings a key of its own.
      written[`${part.prefix}${ring.use.keyPath}`] = key ? [...kept, key.stored] : kept.length > 0 ? kept : undefined
      if (!mayMiss) for (const path of owned) conditions[path] = isAsRead(part.raw[path])
      Object.assign(conditions, unchangedKeys(ring, part.prefix))
      // One that comes up meanwhile would be under a key that is dropped.
      for (const name of ring.use.fields.keys())
        if ((part.raw[name] ?? null) === null) conditions[`${part.prefix}${name}`] = noValue
    }
  }
  const sendAll = async (changes: Plain): Promise<Replaced | undefined> => {
    const isSent =
      Object.keys(changes).length === 0 || (await sendUpdate(owner, updateOf(changes), conditions, send, stored._id))
    return isSent ? { drawn, written: changes } : undefined
  }
  try {
    return await sendAll({ ...written, ...indexValues })
  } catch (error) {
    if ((error as { code?: unknown }).code !== 11000 || Object.keys(indexValues).length === 0) throw error
    // What cannot be unique by now does not keep a record under its old keys.
    const replaced = await sendAll(written)
    return replaced && { ...replaced, duplicate: error }
  }
}

function envelopesOf({ doc, raw, prefix, targets }: Part): Found[] {
  const found: Found[] = []
  for (const { use, target } of targets) {
    for (const field of use.fields.keys()) {
      if ((raw[field] ?? null) === null) continue
      const envelope = envelopeOf(raw[field])
      if (!envelope) throw plaintextFound(`${recordName(doc)} ${field}`)
      const path = `${prefix}${field}`
      const reference = parseReference(envelope, () => placeOf(target, path))
      found.push({ path, field, envelope, reference, target })
    }
  }
  return found
}

/** Names a field in messages. */
function placeOf({ ring }: Target, path: string): string {
  return `${ring.identity.name} ${path}`
}

/**
 * Opens the data keys that envelopes are under, each for all of its fields, and draws new ones. Neither needs the other, so the KMS is
 * asked for both at once.
 */
async function drawKeys(found: readonly Found[]): Promise<ReadonlyMap<KeyRing, OpenKey>> {
  const keys: { readonly ring: KeyRing; readonly reference: KeyReference; readonly fields: string[] }[] = []
  for (const { field, reference, target } of found) {
    target.ring.requireReading([field])
    const known = keys.find((key) => key.ring === target.ring && key.reference === reference)
    if (known) known.fields.push(field)
    else keys.push({ ring: target.ring, reference, fields: [field] })
  }
  const drawn = new Map<KeyRing, OpenKey>()
  const asked = keys.map(({ ring, reference, fields }): Promise<unknown> => ring.open(reference, fields))
  for (const ring of new Set(keys.map((key) => key.ring)))
    asked.push(ring.draw().then((key) => void drawn.set(ring, key)))
  await allInOrder(asked)
  return drawn
}

/** The plaintext of an envelope whose data key is open. */
function decrypted({ path, field, envelope, reference, target }: Found): Buffer {
  const key = target.ring.opened(reference) as OpenKey
  return decryptFor(target, field, envelope, key, () => placeOf(target, path))
}

/** Index values that are not what they should be, as they should: each belongs to the envelopes that it is made of, and is written with them. */
async function staleIndexValues(parts: readonly Part[]): Promise<Plain> {
  const stale: Plain = {}
  const making: Promise<void>[] = []
  for (const part of parts)
    for (const { use } of part.targets)
      for (const index of use.indexes) making.push(noteIfStale(part, use, index, stale))
  if (making.length > 0) await allInOrder(making)
  return stale
}

async function noteIfStale({ doc, raw, prefix }: Part, use: Use, index: BlindIndex, stale: Plain): Promise<void> {
  const stored: unknown = raw[index.path]
  const value = await indexValuesOf(doc, use, index, raw).catch((error) => {
    // What was erased has no value that it could be found by.
    if (error instanceof DecryptionError && error.code === 'ERASED') return stored
    throw error
  })
  const isCurrent = value === undefined ? stored === undefined : areSameIndexValues(value, stored)
  if (!isCurrent) stale[`${prefix}${index.path}`] = value
}

/** The top-level paths of a record below which subdocuments have fields under its key, by the use: one may come to be there meanwhile. */
const ownedPathsOf = perSchema((schema) => {
  const owned = new Map<Use, string[]>()
  for (const [path, place] of layoutOf([{ schema }]).children) {
    const fields = fieldsBelow(place).flatMap((below) => below.place.fields)
    const owners = fields.map(({ use }) => (use.byOwner ? ownerUseOf(schema, use) : undefined))
    for (const use of new Set(owners)) if (use) owned.set(use, [...(owned.get(use) ?? []), path])
  }
  return owned
}, shapeOf)

function isAsRead(value: unknown): Plain {
  return value === undefined ? { $exists: false } : { $eq: value }
}

/** What of a record is known to be encrypted, or wrapped keys. */
const knownPathsOf = perSchema(
  (schema) => new Set(usesOf(schema).flatMap(({ fields, keyPath }) => [keyPath, ...fields.keys()])),
)

/** The stored keys that must stay: those of envelopes in fields that this version of the schema does not know, and what says that others are gone. */
function keysInUse(ring: KeyRing, { doc, raw }: Part): readonly unknown[] {
  const known = knownPathsOf(schemaOf(doc))
  const references = new Set<KeyReference>()
  for (const path of Object.keys(raw)) {
    const value: unknown = raw[path]
    if ((value as { sub_type?: unknown } | null)?.sub_type !== envelopeSubtype || known.has(path)) continue
    try {
      references.add(parseReference(bytesOf(value) as Uint8Array, path))
    } catch {
      // Whatever it is, it may need any of them.
      return ring.stored
    }
  }
  return ring.stored.filter((entry) => isTombstone(entry) || references.has(storedReference(entry) as KeyReference))
}

function updateOf(written: Plain): Plain {
  const $set: Plain = {}
  const $unset: Plain = {}
  for (const [path, value] of Object.entries(written)) {
    if (value === undefined) $unset[path] = ''
    else $set[path] = value
  }
  return { ...(Object.keys($set).length > 0 && { $set }), ...(Object.keys($unset).length > 0 && { $unset }) }
}

/** The user's document knows the new key as well, so that its values stay within reach. */
function learn(owner: Doc, fresh: Doc, ring: KeyRing, key: OpenKey): void {
  const part = ring.subject as Doc
  const own =
    part === fresh
      ? owner
      : encryptedPartsOf(owner).find((each) => each !== owner && indexedPathOf(each) === indexedPathOf(part))
  if (own && String(idOf(own)) === String(idOf(part))) loadedTarget(own, ring.use).ring.learn(key)
}
