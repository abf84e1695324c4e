import type { ClientSession } from 'mongoose'
import { OperationError, type RecordError } from '../errors'
import { sameBytes } from '../format/bytes'
import { type Doc, isDocument, type Plain, topOf } from '../mongoose/host'
import { valueAt } from '../mongoose/plain'
import { recordChanged } from '../record/changed'
import { idOf } from '../record/identity'
import { refreshFrom } from '../record/refreshing'
import { storedReference } from '../record/ring'
import type { Box } from '../schema/box'
import { encodeClear } from '../schema/type'
import { ownerUseOf } from '../schema/uses'
import { withAsked } from './asked'
import { askedOfFound, equalities, idOfFilter, matchingNothing, tiedFilter } from './conditions'
import { guardDependencies } from './dependencies'
import { fill, type Sealed } from './filling'
import type { Gate } from './gate'
import { partsLackedBy, referencesOf } from './indexing'
import { type Plan, type PlannedSlot, planReplacement, planUpdate } from './plan'
import { type Request, type Sending, sessionOnly, withoutUndefined } from './request'
import type { Slot } from './scan'
import { type Aimed, aim, boundDocuments, type RawRings, type Reached, slotSchema } from './targets'
import { settle, tie } from './tie'

/** How often a write starts anew when another comes between its reading and its writing. */
const maxAttempts = 5

/**
 * Updates or replaces one record: reads which one it is where no document says so, encrypts for it, and writes while it still has
 * the data key. What was overtaken is done again, as the database itself would.
 *
 * @throws {RecordError} RECORD_CHANGED when other writes came between every time, or overtook a document of the user's
 */
export async function updateOne(gate: Gate, request: Sending): Promise<any> {
  const { filter, options } = request
  const plan = planOf(gate, request)
  if (plan.slots.length === 0) {
    await guardDependencies(gate, request, plan)
    return request.send(filter, plan.update, options)
  }
  const bound = aimBound(gate, request, plan)
  if (bound) return updateDocument(gate, request, plan, await withParts(gate, request, plan, bound))
  for (let attempt = 1; attempt <= maxAttempts; attempt++) {
    // Every attempt fills slots of its own.
    const done = await attemptUpdate(gate, request, attempt === 1 ? plan : planOf(gate, request), attempt)
    if (done) return done.result
  }
  throw overtaken(`${gate.place(request.method)}`)
}

/** What a write is to do, with slots of its own to fill. */
export function planOf(gate: Gate, { method, filter, update, options }: Request): Plan {
  const place = gate.place(method)
  if (isReplacement(method)) return planReplacement(gate.root, update, place)
  return planUpdate(gate.root, options.upsert ? withAsked(gate.root, filter, update, place) : update, place)
}

function isReplacement(method: string): boolean {
  return method === 'replaceOne' || method === 'findOneAndReplace'
}

/** The slots of an update that a document of the user's sends, each for that document; `undefined` where it is anything else. */
export function aimBound(gate: Gate, { filter, options }: Request, plan: Plan): Aimed[] | undefined {
  if (plan.isReplacement || options.upsert || !plan.slots.every(({ box }) => isDocument(box.owner))) return undefined
  const id = idOfFilter(filter)
  if (id === undefined) return undefined
  const reached = { id, stored: undefined }
  const bound = boundDocuments(plan.slots, reached, gate.models)
  // What has a key of its own needs nothing of its record, unless its context or key id is asked of that.
  const needsNothing = ({ isWhole, box: { use } }: Slot) => isWhole && !use.byOwner && !use.isCustom
  const isKnown = plan.slots.every((slot, index) => bound[index] || needsNothing(slot))
  return isKnown ? aim(plan.slots, reached, new Map(), gate.models, bound) : undefined
}

/**
 * The same with what is stored beside it, where index values are made of that, too.
 *
 * @throws {RecordError} RECORD_CHANGED where it is under a data key that the document does not know
 */
export async function withParts(
  gate: Gate,
  request: Request,
  plan: Plan,
  bound: readonly Aimed[],
): Promise<readonly Aimed[]> {
  if (partsLackedBy(plan.slots.filter(updates)).length === 0) return bound
  // Where nothing is found there is nothing that the write could match either.
  const stored = (await findReached(gate, request, plan)) ?? {}
  const aimed = bound.map((each) => ({ ...each, stored }))
  const isKnown = referencesOf(aimed).every(
    ({ reference, aimed: each }) => isSamePart(each) && (each.target.ring.has(reference) || hasStoredKeys(each)),
  )
  if (isKnown) return aimed
  await refuseOvertaken(gate, request, aimed)
  // By now there is nothing that the write could match.
  return bound.map((each) => ({ ...each, stored: {} }))
}

/** Whether what stands where a document has a part is still that part. */
function isSamePart({ box: { owner }, prefix, stored }: Aimed): boolean {
  return prefix === '' || String(valueAt(stored, prefix)?._id) === String(idOf(owner as Doc))
}

/** Whether a document knows all data keys that are stored: one that is not among them was brought by no other write. */
function hasStoredKeys({ box: { use }, prefix, target: { ring }, stored }: Aimed): boolean {
  const holder = use.byOwner || prefix === '' ? stored : valueAt(stored, prefix)
  const references = (entries: unknown) => [entries ?? []].flat().map(storedReference).join()
  return references(holder?.[ring.use.keyPath]) === references(ring.stored)
}

/** The update of a document of the user's. What nobody has set, and another process has changed meanwhile, is left to the next. */
async function updateDocument(gate: Gate, request: Sending, plan: Plan, aimed: readonly Aimed[]): Promise<any> {
  const { filter, options } = request
  const sealed = await fill(aimed)
  const { conditions, update } = withKeys(plan, sealed)
  const id = idOfFilter(filter)
  const result = await request.send(tiedFilter(filter, id, conditions), update, options)
  if (isHit(result)) settle(sealed, options.session)
  else if (Object.keys(conditions).length > 0) {
    const others = await withoutOvertaken(gate, request, sealed)
    if (others && Object.keys(others).length === 0) return request.send(filter, empty(gate, plan), options)
    if (others) return updateOne(gate, { ...request, update: others })
    await refuseOvertaken(gate, request, sealed)
  }
  return result
}

/** What is left of an update without the fields that nobody has set, and that are stored otherwise by now. */
async function withoutOvertaken(
  gate: Gate,
  { filter, options, update }: Request,
  sealed: readonly Sealed[],
): Promise<Plain | undefined> {
  const incidental = sealed.filter(({ box, slot }) => box.isIncidental && !slot.isWhole)
  const stored = incidental.length > 0 && (await gate.native.findOne(filter, sessionOnly(options)))
  if (!stored) return undefined
  const overtaken = incidental.filter(({ box, slot }) => {
    const record = valueAt(stored, slot.path.slice(0, -1))
    if (box.clear) return !sameBytes(box.clear, encodeClear(box, record))
    return (record?.[box.field.name] ?? null) !== null
  })
  if (overtaken.length === 0) return undefined
  const $set = { ...(update as Plain).$set }
  for (const { slot } of overtaken) delete $set[slot.path.join('.')]
  await refreshFrom(
    overtaken.map(({ box }) => box),
    stored,
  )
  // What they were read from stays with them.
  const $unset = { ...(update as Plain).$unset }
  for (const { box } of overtaken) for (const path of box.use.fromPaths) delete $unset[path]
  const { $set: _set, $unset: _unset, ...others } = update as Plain
  return {
    ...others,
    ...(Object.keys($set).length > 0 && { $set }),
    ...(Object.keys($unset).length > 0 && { $unset }),
  }
}

/** Tells a record that was overtaken from one that is gone, or that does not match what the user asked for. */
async function refuseOvertaken(
  gate: Gate,
  { filter, options, method }: Request,
  sealed: readonly Aimed[],
): Promise<void> {
  const stored = await gate.native.findOne(filter, sessionOnly(options))
  if (!stored) return
  const changed = await refreshFrom(
    sealed.map(({ box }) => box),
    stored,
  )
  throw overtaken(gate.place(method), sealed, changed)
}

/** One attempt; `undefined` when another write came between. */
async function attemptUpdate(
  gate: Gate,
  request: Sending,
  plan: Plan,
  attempt: number,
): Promise<{ result: any } | undefined> {
  const { filter, options } = request
  const found = await findReached(gate, request, plan)
  if (!found && !options.upsert)
    return { result: await request.send(matchingNothing(filter), empty(gate, plan), options) }
  if (!found) return upsert(gate, request, plan, attempt)
  const raw: RawRings = new Map()
  const sealed = await encryptFor(gate, plan, { id: found._id, stored: found }, raw)
  const { conditions, update } = withKeys(plan, sealed)
  await guardDependencies(gate, request, plan, found)
  // Were the record deleted meanwhile, an upsert would insert what belongs to it.
  const tied = tiedFilter(askedOfFound(filter), found._id, conditions)
  const result = await request.send(tied, update, { ...options, upsert: false })
  if (!isHit(result)) return undefined
  settle(sealed, options.session)
  return { result }
}

/** Encrypts the values of an update for a record that was read. What only an insert would store is left out. */
export function encryptFor(gate: Gate, plan: Plan, reached: Reached, raw: RawRings): ReturnType<typeof fill> {
  return fill(aimFor(gate, plan, reached, raw), wholeOf(plan))
}

/** Whether a slot concerns an existing record. */
function updates({ operator }: PlannedSlot): boolean {
  return operator !== '$setOnInsert'
}

/** The slots of an update that concern an existing record, each aimed at it. */
export function aimFor(gate: Gate, plan: Plan, reached: Reached, raw: RawRings): Aimed[] {
  const slots = plan.slots.filter(updates)
  for (const slot of plan.slots) if (slot.operator === '$setOnInsert') delete slot.holder[slot.key]
  refuseMissing(gate, slots, reached)
  const content = plan.isReplacement ? { content: plan.update as Plain } : {}
  const own = plan.isReplacement
    ? { id: (plan.update as Plain)._id ?? reached.id, stored: undefined, ...content }
    : reached
  return aim(slots, own, raw, gate.models)
}

/** A subdocument that is not there has no data key; MongoDB would make one up without an `_id`. */
function refuseMissing(gate: Gate, slots: readonly PlannedSlot[], { stored }: Reached): void {
  for (const { path, isWhole, operator, place, box } of slots) {
    const record = path.slice(0, -1)
    if (isWhole || record.length === 0 || operator === 'replace') continue
    const positional = record.find((segment) => segment.startsWith('$'))
    if (positional !== undefined) {
      throw new OperationError(
        'UPDATE_REFUSED',
        `${gate.place('updateOne')}: ${path.join('.')} is encrypted under a key of the element, and ${positional} does not say which ` +
          'it is. Name it by its position, or load the record and save it.',
      )
    }
    const { schema } = slotSchema(place, box)
    if ((valueAt(stored, record) ?? null) !== null) continue
    // Without an `_id` of its own there is nothing that it would lack.
    if (!schema.path('_id') && !/^\d+$/.test(record.at(-1) as string)) continue
    throw new OperationError(
      'UPDATE_REFUSED',
      `${gate.place('updateOne')}: the record has no ${record.join('.')}. Set it as a whole, or load the record and save it.`,
    )
  }
}

async function upsert(gate: Gate, request: Sending, plan: Plan, attempt: number): Promise<{ result: any } | undefined> {
  const { filter, options } = request
  const { aimed, where } = aimInserted(gate, plan, filter, new Map())
  const sealed = await fillInserted(gate, plan, aimed)
  const tied = withKeys(plan, sealed)
  try {
    const result = await request.send(where, tied.update, options)
    settle(sealed, options.session)
    return { result }
  } catch (error) {
    // Another upsert was first: by now there is a record to update.
    const isDuplicate = (error as { code?: unknown }).code === 11000
    const session = options.session as ClientSession | undefined
    if (!isDuplicate || attempt >= maxAttempts || session?.inTransaction()) throw error
    if (await gate.native.findOne(filter, { projection: { _id: 1 }, ...sessionOnly(options) })) return undefined
    throw error
  }
}

/** The slots of an upsert that found nothing, aimed at the record that it inserts, and the filter that gives this its `_id`. */
export function aimInserted(gate: Gate, plan: Plan, filter: Plain, raw: RawRings): { aimed: Aimed[]; where: Plain } {
  refuseMissing(gate, plan.slots, { id: undefined, stored: undefined })
  const update = plan.update as Plain
  const set = plan.isReplacement ? update : { ...update.$setOnInsert, ...update.$set }
  const inserted = { ...equalities(filter), ...set }
  const id = inserted._id ?? new gate.host.mongoose.mongo.BSON.ObjectId()
  const content = plan.isReplacement ? update : inserted
  const aimed = aim(plan.slots, { id, stored: undefined, content }, raw, gate.models)
  return { aimed, where: filter._id === undefined ? { ...filter, _id: id } : insertingFilter(filter, plan) }
}

/**
 * The filter of an upsert that found nothing, where it asks for an `_id`: a record that has it by then must not be matched if it may have
 * values that belong to those of the update in an index. Instead, the insert fails for the `_id` that is taken.
 */
function insertingFilter(filter: Plain, { slots, isReplacement }: Plan): Plain {
  if (isReplacement) return filter
  const together = slots.flatMap(({ box, names: [name, ...below] }) =>
    box.use.indexes
      .filter(({ fields }) => below.length === 0 && fields.length > 1 && fields.includes(name as string))
      .flatMap(({ fields }) => fields),
  )
  if (together.length === 0) return filter
  // An upsert would store what it asks for by equality.
  const stored = [...new Set(together)].map((name) => ({ [name]: { $ne: null } }))
  return { ...filter, $nor: [...(filter.$nor ?? []), ...stored] }
}

/** What it computes is only known to matter when the contexts have been read. */
export async function fillInserted(gate: Gate, plan: Plan, aimed: readonly Aimed[]): Promise<Sealed[]> {
  const sealed = await fill(aimed, wholeOf(plan))
  refuseComputed(gate, plan)
  return sealed
}

/** What an upsert computes is not known before it is stored, and contexts may have been made of it. */
function refuseComputed(gate: Gate, { update, isReplacement: isWhole }: Plan): void {
  if (isWhole) return
  const dependencies = [...gate.uses].flatMap((use) => [...use.contextDependencies])
  for (const [operator, operand] of Object.entries(update as Plain)) {
    if (operator === '$set' || operator === '$setOnInsert' || operator === '$unset') continue
    const path = Object.keys(operand ?? {}).find((each) => dependencies.includes(topOf(each)))
    if (path === undefined) continue
    throw new OperationError(
      'UPDATE_REFUSED',
      `${gate.place('updateOne')}: the encryption context depends on ${path}, and an upsert must say what it is to be. Use $set.`,
    )
  }
}

/** Reads the record that a write would reach, in its session and order, as far as it must be known to encrypt for it. */
export function findReached(gate: Gate, { filter, options }: Request, plan: Plan): Promise<Plain | null> {
  const { sort, collation, hint, session } = options
  const projection = plan.isReplacement ? { _id: 1 } : gate.isCustom ? undefined : projectionFor(plan)
  return gate.native.findOne(filter, withoutUndefined({ projection, sort, collation, hint, session }))
}

/** The `_id`s and wrapped keys of the record, and of the subdocuments that are written to. */
export function projectionFor({ slots }: Plan): Record<string, 1> {
  const projection: Record<string, 1> = { _id: 1 }
  for (const { box, names, path, place } of slots) {
    const { use } = box
    const record = names.slice(0, -1)
    const owner = use.byOwner ? ownerUseOf(slotSchema(place, box).record, use) : undefined
    if (owner) projection[owner.keyPath] = 1
    if (record.length > 0 && path.length > 1) projection[record[0] as string] = 1
    else if (!use.byOwner) projection[use.keyPath] = 1
  }
  for (const path of partsLackedBy(slots.filter(updates))) projection[topOf(path)] = 1
  return projection
}

/** The record that a replacement sends whole, its wrapped keys included. */
export function wholeOf(plan: Plan): Plain | undefined {
  return plan.isReplacement ? (plan.update as Plain) : undefined
}

/** An update with the wrapped keys that it brings, and the conditions that tie it to the record. */
export function withKeys(plan: Plan, sealed: readonly Sealed[]): { update: Plain; conditions: Plain } {
  const given = plan.update as Plain
  if (plan.isReplacement) return { update: given, conditions: {} }
  const { conditions, added, replaced } = tie(sealed, plan.touched)
  const update: Plain = { ...given }
  if (Object.keys(added).length > 0) update.$addToSet = { ...update.$addToSet, ...added }
  if (Object.keys(replaced).length > 0) update.$set = { ...update.$set, ...replaced }
  return { update, conditions }
}

/** An update of nothing, in the form of one: MongoDB accepts none that is empty, and nothing of the values may be sent. */
export function empty(gate: Gate, plan: Plan): Plain {
  if (plan.isReplacement) return {}
  const [use] = [...gate.uses]
  return { $setOnInsert: { [use?.keyPath ?? '_id']: null } }
}

/** Whether a write reached a record, told by what the driver gives. */
export function isHit(result: any): boolean {
  if (result === null || result === undefined) return false
  const { matchedCount, upsertedCount, acknowledged, lastErrorObject, value } = result
  if (acknowledged === false) return true
  if (lastErrorObject !== undefined) return lastErrorObject.n > 0 || value !== null
  return matchedCount === undefined || matchedCount > 0 || upsertedCount > 0
}

/** Names the records that values were encrypted for. */
export function recordNames(sealed: readonly Aimed[]): string {
  return [...new Set(sealed.map(({ target }) => target.ring.identity.name))].join(', ')
}

/** The error for a write that was overtaken. */
function overtaken(place: string, sealed: readonly Aimed[] = [], changed: readonly Box[] = []): RecordError {
  const names = recordNames(sealed)
  return recordOvertaken(
    `${place}${names ? `: ${names}` : ''}: another process changed the record or its data key meanwhile, and nothing was written.`,
    changed,
  )
}

/**
 * The same, with what to do about it.
 *
 * @param changed what was changed from a value that is not stored any more
 */
export function recordOvertaken(message: string, changed: readonly Box[], options?: ErrorOptions): RecordError {
  if (changed.length === 0) {
    return recordChanged(
      `${message} Do the same again: a document that was to be saved has the new key now.`,
      'retry',
      options,
    )
  }
  const names = [...new Set(changed.map(({ field }) => field.name))].join(', ')
  return recordChanged(
    `${message} Another process has written ${names}, which was changed here from what it was before: load the record anew, and change that.`,
    'reload',
    options,
  )
}
