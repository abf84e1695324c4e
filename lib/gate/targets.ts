import { fullPathOf } from '../mongoose/document'
import {
  type AnyModel,
  type AnySchema,
  type Doc,
  type Host,
  isDocument,
  isStoredAlike,
  modelOf,
  ownerOf,
  type Plain,
} from '../mongoose/host'
import { recordOf } from '../mongoose/model'
import { isPlainObject, valueAt } from '../mongoose/plain'
import { defaultOf } from '../mongoose/schema'
import { idAsRead, identify, identityOf, idOf, modelNameOf, nameOf } from '../record/identity'
import { KeyRing } from '../record/ring'
import { currentTarget, type Target } from '../record/rings'
import type { Job } from '../record/sealing'
import { encryptedPartsOf } from '../record/staging'
import { Box } from '../schema/box'
import type { FieldHere, Place } from '../schema/layout'
import type { Use } from '../schema/use'
import { ownerUseOf } from '../schema/uses'
import type { Slot } from './scan'

/**
 * Finds out for each slot which record it is of. A value whose box stands in a document of
 * the user's is encrypted under that document's key ring; any other under a ring made of what is stored, or of nothing.
 */

/** The record that a write reaches, as far as it is known. */
export interface Reached {
  readonly id: unknown
  /** What is stored of it, where it was read. */
  readonly stored: Plain | undefined
  /** What is to be stored, where the whole record is sent. */
  readonly content?: Plain
}

/** A slot with what its value is encrypted for. */
export interface Aimed extends Job {
  readonly slot: Slot
  /** Whether the box stands in a document of the user's that is this record. */
  readonly isBound: boolean
  /** The path of the record in the stored document, where it is a subdocument. */
  readonly prefix: string
  /** What is stored of the record, where it was read. */
  readonly stored: Plain | undefined
}

/** Rings made for records that no document of the user's stands for, by their names: one for each record of an operation. */
export type RawRings = Map<string, KeyRing>

/** The document of the user's that each slot's box stands in, where that is this record: nothing where none stands in one. */
export function boundDocuments(
  slots: readonly Slot[],
  reached: Reached,
  models: ReadonlySet<AnyModel>,
): (Doc | undefined)[] {
  if (!slots.some(({ box }) => isDocument(box.owner))) return []
  const partsIn = remembered((owner: Doc) => new Set(encryptedPartsOf(owner)))
  const isReached = remembered(
    (owner: Doc) => isOf(owner, models) && isStoredAlike(slots[0]!.box.field.host, idOf(owner), reached.id),
  )
  return slots.map((slot) => boundDocument(slot, isReached, partsIn))
}

/** Aims slots at one record. */
export function aim(
  slots: readonly Slot[],
  reached: Reached,
  raw: RawRings,
  models: ReadonlySet<AnyModel>,
  bound = boundDocuments(slots, reached, models),
): Aimed[] {
  const targetsOf = remembered((doc: Doc) => remembered((use: Use) => currentTarget(doc, use)))
  const first = bound.find((doc) => doc !== undefined)
  const owner = first && ownerOf(first)
  return slots.map((slot, index) => {
    const prefix = slot.path.length === 1 ? '' : slot.path.slice(0, -1).join('.')
    const doc = bound[index]
    const target = doc ? targetsOf(doc)(slot.box.use) : rawTarget(slot, reached, raw, owner)
    // Of a record that is inserted, nothing is stored beside what is sent.
    const stored = reached.stored ?? (reached.content && {})
    return { slot, box: slot.box, target, isBound: doc !== undefined, prefix, stored }
  })
}

/** Remembers what it made last: the slots of one document follow each other. */
function remembered<K, V>(make: (key: K) => V): (key: K) => V {
  let last: { readonly key: K; readonly value: V } | undefined
  return (key) => {
    if (!last || last.key !== key) last = { key, value: make(key) }
    return last.value
  }
}

/** The document of the user's that a slot's box stands in, if that is the record which the write reaches. */
function boundDocument(
  slot: Slot,
  isReached: (owner: Doc) => boolean,
  partsIn: (owner: Doc) => ReadonlySet<Doc>,
): Doc | undefined {
  const { box } = slot
  if (!isDocument(box.owner)) return undefined
  let doc = box.owner
  const owner = ownerOf(doc)
  if (!isReached(owner)) return undefined
  if (doc === owner && slot.names.length > 1) {
    // It was set by a path of the owner, and is of the subdocument that it came to stand in.
    const part = [...partsIn(owner)].find((each) => each !== owner && standsAt(each, slot))
    if (!part) return undefined
    doc = part
    box.owner = part
  }
  if (doc === owner) return owner
  return standsAt(doc, slot) && partsIn(owner).has(doc) ? doc : undefined
}

/** Whether a subdocument is the one whose field a slot is: by its path, and by its `_id` where that is sent with it. */
function standsAt(doc: Doc, slot: Slot): boolean {
  if (fullPathOf(doc) !== slot.names.slice(0, -1).join('.')) return false
  return !slot.isWhole || isStoredAlike(slot.box.field.host, idOf(doc), slot.holder._id)
}

function isOf(doc: Doc, models: ReadonlySet<AnyModel>): boolean {
  for (let model = modelOf(doc); model?.schema; model = Object.getPrototypeOf(model)) if (models.has(model)) return true
  return false
}

/** @param owner the document of the user's that the record is, where some of the slots stand in it: it has one key ring */
function rawTarget(slot: Slot, reached: Reached, raw: RawRings, owner: Doc | undefined): Target {
  const { box, names, place } = slot
  const { use } = box
  const { host } = box.field
  const { model, schema, record } = slotSchema(place, box)
  const name = modelNameFor(box, model)
  const id = castId(host, model.schema, reached.id)
  const path = slot.path.slice(0, -1)
  const isWithin = path.length > 0
  const stored = slot.isWhole && isWithin ? slot.holder : valueAt(reached.stored ?? reached.content, path)
  if (slot.isWhole && isWithin) giveId(schema, slot.holder)
  const within = isWithin
    ? { path: names.slice(0, -1).join('.'), id: castId(host, schema, (stored as Plain | undefined)?._id) }
    : undefined
  const identity = identify(host, name, id, within)
  if (!use.byOwner) {
    const ring = rawRing(raw, use, identity.name, () => {
      // Mongoose leaves a subdocument that is put into another record with its owner; the keys that it has are bound there.
      const subject = isDocument(box.owner) && !ownerOf(box.owner).$isSubdocument ? box.owner : undefined
      const isMoved = subject !== undefined && identityOf(host, subject).name !== identity.name
      const keys = isMoved ? undefined : (stored as Plain | undefined)?.[use.keyPath]
      return new KeyRing(use, identity, Array.isArray(keys) ? keys : [], subjectFor(use, model, reached, path, slot))
    })
    return { ring, place: ring.identity.place }
  }
  // Looked for when the model was made.
  const ownerUse = ownerUseOf(record, use) as Use
  if (owner) return { ring: currentTarget(owner, ownerUse).ring, place: identity.place }
  const whole = identify(host, name, id)
  const ring = rawRing(raw, ownerUse, whole.name, () => {
    const keys = reached.stored?.[ownerUse.keyPath]
    return new KeyRing(ownerUse, whole, Array.isArray(keys) ? keys : [], subjectFor(ownerUse, model, reached, []))
  })
  return { ring, place: identity.place }
}

/** The schema that the field of a slot is declared in. */
export function slotSchema(place: Place, box: Box): Pick<FieldHere, 'model' | 'schema' | 'record'> {
  return place.fields.find(({ field }) => field === box.field)!
}

/** An `_id` as documents have it: the driver may give another type for what is stored than the schema says. */
function castId(host: Host, schema: AnySchema, id: unknown): unknown {
  const type = schema.path('_id') as unknown as
    | { cast(value: unknown, doc: undefined, init: true): unknown }
    | undefined
  if (id === undefined || id === null || !type) return id
  try {
    return idAsRead(host, schema, type.cast(id, undefined, true))
  } catch {
    return id
  }
}

/** Without an `_id`, siblings in an array could be exchanged unnoticed. */
function giveId(schema: AnySchema, holder: Plain): void {
  const type = schema.path('_id')
  if (!type || holder._id !== undefined) return
  holder._id = defaultOf(type)
}

/** The name of a ring among those of an operation. */
export function ringName({ use, identity }: KeyRing): string {
  return ringKey(use, identity.name)
}

function ringKey({ keyPath }: Use, name: string): string {
  return `${keyPath} ${name}`
}

function rawRing(raw: RawRings, use: Use, name: string, make: () => KeyRing): KeyRing {
  const key = ringKey(use, name)
  let ring = raw.get(key)
  if (!ring) {
    ring = make()
    raw.set(key, ring)
  }
  return ring
}

/** A subdocument that is sent whole, as it will stand in its record: what context and key id are asked of. */
function subjectWithin(owner: Doc, { path, holder }: Slot): Doc {
  const record = path.slice(0, -1)
  const values = withoutBoxes(holder)
  const array = record.at(-1)?.match(/^\d+$/) ? record.slice(0, -1) : record
  const target = owner.get(array.join('.'))
  if (!Array.isArray(target)) {
    owner.set(record.join('.'), values)
    return owner.get(record.join('.')) as Doc
  }
  target.push(values)
  return target.at(-1)
}

/** The document that the functions `context` and `keyId` are asked of: made of what is stored or sent, where there are any. */
function subjectFor(
  use: Use,
  model: AnyModel,
  { id, stored, content }: Reached,
  path: readonly string[],
  slot?: Slot,
): Doc | undefined {
  if (!use.isCustom) return undefined
  const values = { ...nested(withoutBoxes(content ?? stored) as Plain), _id: id }
  const doc = recordOf(model, values)
  if (slot?.isWhole && path.length > 0) return subjectWithin(doc, slot)
  return path.length === 0 ? doc : (doc.get(path.join('.')) as Doc)
}

/** The name that goes into the context: of the model whose query or document brought the box, else of one that has the field. */
function modelNameFor({ owner }: Box, model: AnyModel): string {
  if (isDocument(owner))
    return (modelOf(ownerOf(owner)) as { modelName?: string }).modelName ? modelNameOf(owner) : nameOf(model)
  const asked = typeof owner === 'function' ? owner : (owner as { model?: unknown } | null | undefined)?.model
  return nameOf((asked as object | undefined) ?? model)
}

/** Values with what is at dotted paths, as updates have them, put where the paths lead. */
function nested(values: Plain): Plain {
  const result: Plain = {}
  for (const [path, value] of Object.entries(values)) {
    const segments = path.split('.')
    let at = result
    for (const segment of segments.slice(0, -1)) {
      at[segment] = { ...at[segment] }
      at = at[segment]
    }
    at[segments.at(-1) as string] = value
  }
  return result
}

/** What is sent, without the values that nothing has encrypted yet: no option may read those. */
function withoutBoxes(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutBoxes)
  if (!isPlainObject(value)) return value
  const entries = Object.entries(value).filter(([, item]) => !(item instanceof Box))
  return Object.fromEntries(entries.map(([key, item]) => [key, withoutBoxes(item)]))
}
