import { DecryptionError } from '../errors'
import type { KeyReference } from '../format/datakey'
import { bytesOf, isTombstone } from '../format/entry'
import { envelopeOf, envelopeSubtype, parseReference } from '../format/envelope'
import { indexedPathOf } from '../mongoose/document'
import { type AnyModel, type Doc, type Plain, schemaOf } from '../mongoose/host'
import { recordOf } from '../mongoose/model'
import { hasPositionLikeKey, noValue } from '../mongoose/plain'
import { fieldsBelow, layoutOf } from '../schema/layout'
import { ownerUseOf, usesOf } from '../schema/uses'
import { storedOf } from './fetching'
import { idOf, recordName } from './identity'
import { areSameIndexValues, indexValuesOf, prefixOf } from './indexes'
import { decryptFor, plaintextFound } from './opening'
import { allInOrder } from './outcomes'
import { refresh } from './refreshing'
import {
  maxAttempts,
  outrun,
  partsOf,
  requireWriting,
  rewrite,
  ringsWithKeys,
  type Send,
  sendUpdate,
  unchangedKeys,
  withWritten,
} from './rewriting'
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
  const done = await rewrite(doc, async (owner, stored) => {
    const { fresh, parts } = partsOf(doc, owner, stored)
    const replaced = await replaceKeys(owner, fresh, parts, stored, send)
    if (!replaced) return undefined
    for (const [ring, key] of replaced.drawn) learn(owner, fresh, ring, key)
    refresh(owner, replaced.stored)
    return replaced
  })
  if (!done) throw outrun(doc, 'rotate its data key')
  if (done.duplicate) throw done.duplicate
}

/**
 * The same for a record that was read, of which there is no document: nothing of the application's is called.
 *
 * @param read all of the record
 * @param readAgain reads it as it is stored by then
 * @param isDue whether it is to be done for a record with these wrapped keys
 * @returns whether it was done
 */
export async function rotateStored(
  model: AnyModel,
  read: Plain,
  readAgain: () => Promise<Plain | null>,
  isDue: (wrappedKeys: readonly unknown[]) => boolean,
  send: Send,
): Promise<boolean> {
  let stored: Plain | null = read
  for (let attempt = 1; stored && attempt <= maxAttempts; attempt++) {
    const fresh = recordOf(model, stored)
    const parts = encryptedPartsOf(fresh)
    if (!isDue(parts.flatMap(ringsWithKeys).flatMap((ring) => ring.stored))) return false
    requireWriting(parts)
    const replaced = await replaceKeys(fresh, fresh, parts, stored, send)
    if (replaced?.duplicate) throw replaced.duplicate
    if (replaced) return true
    stored = await readAgain()
  }
  if (stored) throw outrun(recordOf(model, stored), 'rotate its data key')
  return false
}

/** One envelope as it is stored, with what it takes to encrypt it anew. */
interface Found {
  readonly path: string
  readonly field: string
  readonly envelope: Uint8Array
  readonly target: Target
}

/** What a rotation has stored. */
interface Replaced {
  readonly drawn: ReadonlyMap<KeyRing, OpenKey>
  readonly stored: Plain
  /** What MongoDB said of index values that another record has already, and which were left out. */
  readonly duplicate?: unknown
}

/** @returns nothing where something encrypted has changed since it was read */
async function replaceKeys(
  owner: Doc,
  fresh: Doc,
  parts: readonly Doc[],
  stored: Plain,
  send: Send,
): Promise<Replaced | undefined> {
  const all = parts.flatMap((part) => envelopesOf(part, storedOf(part, stored)))
  const found = all.filter((each) => !isErased(each))
  const plaintexts = await Promise.all(found.map(open))
  const needed = new Set(found.map(({ target }) => target.ring))
  const rings = new Set([...needed, ...parts.flatMap(ringsWithKeys)])
  const drawn = new Map<KeyRing, OpenKey>()
  await Promise.all(Array.from(needed, async (ring) => void drawn.set(ring, await ring.draw())))
  const indexValues = await staleIndexValues(parts, stored)
  const written: Plain = {}
  // What was erased, too: somebody may give it a new value, under a key that is dropped.
  const conditions: Plain[] = all.map(({ path, envelope, target }) => ({
    [path]: target.ring.use.host.binary(envelope, envelopeSubtype),
  }))
  for (const [index, { path, field, target }] of found.entries()) {
    const plaintext = plaintexts[index] as Buffer
    const { binary } = target.ring.use.host
    written[path] = binary(encryptFor(target, field, plaintext, drawn.get(target.ring) as OpenKey), envelopeSubtype)
    plaintext.fill(0)
  }
  for (const ring of rings) {
    const key = drawn.get(ring)
    const part = ring.subject as Doc
    const prefix = prefixOf(part)
    const keyPath = `${prefix}${ring.use.keyPath}`
    const raw = storedOf(part, stored) as Plain
    const owned = part === fresh ? ownedPaths(ring, part) : []
    const mayMiss = owned.some((path) => hasPositionLikeKey(raw[path]))
    const kept = mayMiss ? ring.stored : keysInUse(ring, part, raw)
    if (!key && kept.length === ring.stored.length) continue
    // Where nothing is encrypted, the next value brings a key of its own.
    written[keyPath] = key ? [...kept, key.stored] : kept.length > 0 ? kept : undefined
    for (const path of owned) if (!mayMiss) conditions.push({ [path]: isAsRead(raw[path]) })
    conditions.push(...unchangedKeys(ring, prefix))
    for (const name of absentFields(ring, raw)) conditions.push({ [`${prefix}${name}`]: noValue })
  }
  const sendAll = async (changes: Plain): Promise<Replaced | undefined> => {
    const isSent =
      Object.keys(changes).length === 0 || (await sendUpdate(owner, updateOf(changes), conditions, send, stored._id))
    return isSent ? { drawn, stored: withWritten(stored, changes) } : undefined
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

function isErased({ path, envelope, target: { ring } }: Found): boolean {
  return ring.isErased(parseReference(envelope, `${ring.identity.name} ${path}`))
}

/** Index values that are not what they should be, as they should: each belongs to the envelopes that it is made of, and is written with them. */
async function staleIndexValues(parts: readonly Doc[], stored: Plain): Promise<Plain> {
  const changed = parts.map(async (part) => {
    const raw = storedOf(part, stored) ?? {}
    const indexes = usesOf(schemaOf(part)).flatMap((use) => use.indexes.map((index) => ({ use, index })))
    const values = await allInOrder(
      indexes.map(({ use, index }) =>
        indexValuesOf(part, use, index, raw).catch((error) => {
          // What was erased has no value that it could be found by.
          if (error instanceof DecryptionError && error.code === 'ERASED') return raw[index.path]
          throw error
        }),
      ),
    )
    const paths = indexes.map(({ index: { path } }, position) => [path, values[position]] as const)
    return paths
      .filter(
        ([path, value]) => !(value === undefined ? raw[path] === undefined : areSameIndexValues(value, raw[path])),
      )
      .map(([path, value]) => [`${prefixOf(part)}${path}`, value] as const)
  })
  return Object.fromEntries((await allInOrder(changed)).flat())
}

/** Fields without an envelope: one that comes up meanwhile would be under a key that is dropped. */
function absentFields({ use }: KeyRing, raw: Plain): string[] {
  return [...use.fields.keys()].filter((name) => (raw[name] ?? null) === null)
}

/** The top-level paths of a record below which subdocuments have fields under its key: one may come to be there meanwhile. */
function ownedPaths({ use }: KeyRing, owner: Doc): string[] {
  const schema = schemaOf(owner)
  return [...layoutOf([{ schema }]).children]
    .filter(([, place]) =>
      fieldsBelow(place).some(({ place: { fields } }) =>
        fields.some((each) => each.use.byOwner && ownerUseOf(schema, each.use) === use),
      ),
    )
    .map(([path]) => path)
}

function isAsRead(value: unknown): Plain {
  return value === undefined ? { $exists: false } : { $eq: value }
}

function envelopesOf(part: Doc, raw: unknown): Found[] {
  const stored = (raw ?? {}) as Plain
  const prefix = prefixOf(part)
  return usesOf(schemaOf(part)).flatMap((use) => {
    const names = [...use.fields.keys()].filter((name) => stored[name] !== undefined && stored[name] !== null)
    if (names.length === 0) return []
    const target = currentTarget(part, use)
    return names.map((name) => {
      const envelope = envelopeOf(stored[name])
      if (!envelope) throw plaintextFound(`${recordName(part)} ${name}`)
      return { path: `${prefix}${name}`, field: name, envelope, target }
    })
  })
}

async function open({ field, path, envelope, target }: Found): Promise<Buffer> {
  const place = `${target.ring.identity.name} ${path}`
  const key = await target.ring.open(parseReference(envelope, place), [field])
  return decryptFor(target, field, envelope, key, place)
}

/** The stored keys that must stay: those of envelopes in fields that this version of the schema does not know, and what says that others are gone. */
function keysInUse(ring: KeyRing, part: Doc, raw: Plain): readonly unknown[] {
  const known = new Set(usesOf(schemaOf(part)).flatMap(({ fields, keyPath }) => [keyPath, ...fields.keys()]))
  const references = new Set<KeyReference>()
  for (const [path, value] of Object.entries(raw)) {
    if (known.has(path) || (value as { sub_type?: unknown } | null)?.sub_type !== envelopeSubtype) continue
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
  const entries = Object.entries(written)
  const $set = Object.fromEntries(entries.filter(([, value]) => value !== undefined))
  const $unset = Object.fromEntries(entries.filter(([, value]) => value === undefined).map(([path]) => [path, '']))
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
