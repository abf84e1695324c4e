import type { ClientSession } from 'mongoose'
import { OperationError, type RecordError } from '../errors'
import { sameBytes } from '../format/bytes'
import { bytesOf } from '../format/entry'
import { markSaved } from '../mongoose/document'
import { isDocument, isStoredAlike, modelOf, ownerOf, type Plain, topOf } from '../mongoose/host'
import { isPlainObject } from '../mongoose/plain'
import { checkArrayFilters } from '../queries/arrayfilters'
import { allInOrder } from '../record/outcomes'
import { refreshFrom } from '../record/refreshing'
import type { Box } from '../schema/box'
import { askedOfFound, idOfFilter, matchingNothing, tiedFilter } from './conditions'
import { guardDependencies } from './dependencies'
import { Earlier } from './earlier'
import { fill, type Sealed } from './filling'
import type { Gate } from './gate'
import { partsLackedBy } from './indexing'
import { aimInsertion, insertedIn } from './insert'
import { readyFilter } from './lookup'
import { type Made, madeBy, madeByInsert, mayFind, pathsIn } from './made'
import type { Plan } from './plan'
import { BulkReader } from './reading'
import { type Request, sessionOnly, withoutUndefined } from './request'
import { type Aimed, type RawRings, ringName } from './targets'
import { settle } from './tie'
import {
  aimBound,
  aimFor,
  aimInserted,
  empty,
  fillInserted,
  planOf,
  recordNames,
  recordOvertaken,
  wholeOf,
  withKeys,
  withParts,
} from './update'

/** One operation of a bulk write, by the driver's name for it. */
export interface Prepared {
  readonly gate: Gate
  readonly operation: Plain
  readonly sealed: readonly Sealed[]
  /** The record that an update or replacement is tied to, and the filter as it was given. */
  readonly tied?: { readonly id: unknown; readonly filter: Plain; readonly isUpsert: boolean }
  /** The filter of an upsert that found nothing. */
  readonly inserting?: Plain
  /** How many records it is known to match; `undefined` where that is not known. */
  readonly matches: number | undefined
  /** It found nothing to write to, and is sent so that it writes nothing. */
  readonly isIdle?: true
}

/** What the operations of a bulk write know of those before them. */
export interface Bulk {
  readonly gate: Gate
  readonly options: Plain
  readonly raw: RawRings
  /** What those before the one at hand store: a later one may be to find it. */
  readonly made: Made[]
  readonly earlier: Earlier
  readonly reader: BulkReader
}

/** @param operations those for the collection of the gate */
export function newBulk(gate: Gate, operations: readonly Plain[], options: Plain): Bulk {
  return {
    gate,
    options,
    raw: new Map(),
    made: [],
    earlier: new Earlier(gate.host),
    reader: new BulkReader(gate, operations, options),
  }
}

/** Writes many operations, those with values for encrypted fields each tied to its record. */
export async function bulkWrite(gate: Gate, operations: readonly Plain[], options: Plain = {}): Promise<any> {
  const bulk = newBulk(gate, operations, options)
  const begun: Begun[] = []
  for (const [index, operation] of operations.entries()) begun.push(await begin(bulk, operation, index))
  const prepared = await allInOrder(begun.map((encrypt) => encrypt()))
  return sendBulk(prepared, options, (sent) => gate.native.bulkWrite(sent, options))
}

/** An operation whose record is known: what is left is to encrypt for it, which all do side by side that need nothing of each other. */
export type Begun = () => Promise<Prepared>

/** Begins to prepare one operation of any kind. One after another, for each must know what those before it write. */
export async function begin(bulk: Bulk, given: Plain, index: number): Promise<Begun> {
  const [name, body] = Object.entries(given ?? {})[0] ?? []
  const { gate } = bulk
  // Those of `connection.bulkWrite()` are let in here, for they pass no collection.
  const { layout } = gate
  const asItIs = (operation: Plain, matches: number | undefined) => async () => ({
    gate,
    operation,
    sealed: [],
    matches,
  })
  if (name === undefined || typeof body !== 'object' || body === null) return asItIs(given, undefined)
  const place = `${gate.place('bulkWrite')} operation ${index}`
  if (name === 'insertOne') {
    const document = body.document ?? body
    bulk.made.push(madeByInsert(document))
    const { content, aimed } = aimInsertion(gate, document, 'bulkWrite', bulk.raw)
    return async () => {
      const sealed = await fill(aimed, content)
      if (content === document) return { gate, operation: given, sealed, matches: 0 }
      return { gate, operation: { insertOne: { ...body, document: content } }, sealed, matches: 0 }
    }
  }
  const filter = await readyFilter(gate, body.filter, place, bulk.options.session, layout)
  const asked = filter === body.filter ? body : { ...body, filter }
  if (name === 'deleteOne' || name === 'deleteMany') return asItIs({ [name]: asked }, 0)
  const begun = await beginUpdate(bulk, name, asked, place)
  bulk.made.push(...madeBy(name, asked))
  return begun
}

async function beginUpdate(bulk: Bulk, name: string, body: Plain, place: string): Promise<Begun> {
  const { gate, options, raw, earlier, reader } = bulk
  const content = name === 'replaceOne' ? 'replacement' : 'update'
  const request: Request = {
    method: name,
    filter: body.filter,
    update: body[content],
    options: { ...body, session: options.session },
  }
  const plan = planOf(gate, request)
  checkArrayFilters(gate.root, plan.update, body.arrayFilters, place)
  if (plan.slots.length === 0) {
    await guardDependencies(gate, request, plan)
    const operation = { [name]: { ...body, [content]: plan.update } }
    return earlier.note(idOfFilter(body.filter), async () => ({ gate, operation, sealed: [], matches: undefined }))
  }
  if (name === 'updateMany') return refuseMany(place)
  const given: Given = { gate, name, body, content, plan }
  const bound = aimBound(gate, request, plan)
  if (bound) {
    const whole = await withParts(gate, request, plan, bound)
    const id = idOfFilter(body.filter)
    return earlier.note(id, async () => finishTied(given, await fill(whole), body.filter, id))
  }
  const found = await reader.find(request, plan)
  if (!found && mayFind(body.filter, bulk.made)) throw mayBeMade(place)
  if (!found && !body.upsert) {
    const nothing = { ...body, filter: matchingNothing(body.filter), [content]: empty(gate, plan) }
    return async () => ({ gate, operation: { [name]: nothing }, sealed: [], matches: 0, isIdle: true })
  }
  const rings: RawRings = plan.isReplacement ? new Map() : raw
  if (!found) {
    const { aimed, where } = aimInserted(gate, plan, body.filter, rings)
    shareRings(raw, plan, aimed)
    return async () => finishInserted(given, await fillInserted(gate, plan, aimed), where)
  }
  await guardDependencies(gate, request, plan, found)
  const stored = partsLackedBy(plan.slots).length > 0 ? await earlier.leave(found) : found
  const aimed = aimFor(gate, plan, { id: found._id, stored }, rings)
  shareRings(raw, plan, aimed)
  const encrypt = async () => finishTied(given, await fill(aimed, wholeOf(plan)), askedOfFound(body.filter), found._id)
  return earlier.note(found._id, encrypt)
}

/** A replacement has keys of its own, and what comes after it in the bulk finds those. */
function shareRings(raw: RawRings, { isReplacement }: Plan, aimed: readonly Aimed[]): void {
  if (isReplacement) for (const { target } of aimed) raw.set(ringName(target.ring), target.ring)
}

/** An update or replacement as it was given: the operation by its name, with what it writes under `content`. */
interface Given {
  readonly gate: Gate
  readonly name: string
  readonly body: Plain
  readonly content: 'update' | 'replacement'
  readonly plan: Plan
}

/** An operation that is tied to the record that it was encrypted for. */
function finishTied(
  { gate, name, body, content, plan }: Given,
  sealed: readonly Sealed[],
  asked: Plain,
  id: unknown,
): Prepared {
  const { conditions, update } = withKeys(plan, sealed)
  const filter = tiedFilter(asked, id, conditions)
  const operation = { [name]: { ...body, filter, [content]: update, ...(body.upsert ? { upsert: false } : {}) } }
  return { gate, operation, sealed, tied: { id, filter: body.filter, isUpsert: body.upsert === true }, matches: 1 }
}

/** An upsert that found nothing. */
function finishInserted({ gate, name, body, content, plan }: Given, sealed: readonly Sealed[], where: Plain): Prepared {
  const { update } = withKeys(plan, sealed)
  const operation = { [name]: { ...body, filter: where, [content]: update } }
  return { gate, operation, sealed, inserting: body.filter, matches: undefined }
}

/** Sends a bulk write, and looks whether what was tied to its records has reached them. */
export async function sendBulk(
  prepared: readonly Prepared[],
  options: Plain,
  send: (operations: Plain[]) => Promise<any>,
): Promise<any> {
  const session = options.session as ClientSession | undefined
  let result: any
  try {
    result = await send(prepared.map(({ operation }) => operation))
  } catch (error) {
    for (const index of insertedIn(error, prepared.length, options.ordered !== false))
      settle(prepared[index]!.sealed, session)
    throw await failureOf(prepared, error, session)
  }
  const expected = prepared.reduce<number | undefined>(
    (sum, { matches }) => (sum === undefined || matches === undefined ? undefined : sum + matches),
    0,
  )
  const missed = expected === result?.matchedCount ? [] : await findMissed(prepared, session)
  for (const each of prepared) if (!missed.includes(each)) settle(each.sealed, session)
  if (missed.length === 0) return result
  // Mongoose takes none for saved where a bulk fails; those that were would be inserted again.
  for (const { sealed, tied } of prepared)
    if (!tied) for (const { box, isBound } of sealed) if (isBound) noteSaved(box.owner)
  const changed: Box[] = []
  for (const { gate, sealed, tied } of missed) {
    const stored = await gate.native.findOne({ _id: tied?.id }, sessionOnly({ session }))
    const boxes = sealed.filter(({ isBound }) => isBound).map(({ box }) => box)
    if (stored) changed.push(...(await refreshFrom(boxes, stored)))
  }
  const indexes = missed.map((each) => prepared.indexOf(each))
  throw overtakenIn(prepared, indexes, changed)
}

/** The error for operations of a bulk write that were overtaken. */
function overtakenIn(
  prepared: readonly Prepared[],
  indexes: readonly number[],
  changed: readonly Box[],
  cause?: unknown,
): RecordError {
  const own = indexes.map((index) => prepared[index] as Prepared)
  const names = recordNames(own.flatMap(({ sealed }) => sealed))
  const whose = names ? ` (${names})` : ''
  return recordOvertaken(
    `${own[0]!.gate.place('bulkWrite')}: records or their data keys changed meanwhile, and so the operations ${indexes.join(', ')} were not made${whose}.`,
    changed,
    { cause },
  )
}

/** The error to throw for a bulk write that failed. */
async function failureOf(
  prepared: readonly Prepared[],
  error: unknown,
  session: ClientSession | undefined,
): Promise<unknown> {
  const { writeErrors, errorResponse, code } = error as { writeErrors?: unknown; errorResponse?: any; code?: unknown }
  const failed = indexesOf(writeErrors)
  if (failed.length === 0) {
    // Mongoose would take a command that failed as a whole for one in which no operation failed.
    if (errorResponse instanceof Error) return errorResponse
    const { MongoServerError } = prepared[0]?.gate.host.mongoose.mongo ?? {}
    return errorResponse?.ok === 0 && MongoServerError ? new MongoServerError(errorResponse) : error
  }
  // Another upsert was first: by now there is a record to update.
  const first = failed[0] as number
  const { inserting, gate } = prepared[first] ?? {}
  if (!inserting || !gate || !isDuplicate(writeErrors, first, code) || session?.inTransaction()) return error
  return (await gate.native.findOne(inserting, { projection: { _id: 1 } }))
    ? overtakenIn(prepared, [first], [], error)
    : error
}

/** The positions of operations that failed: the driver gives a list, or one, and the client a map. */
function indexesOf(writeErrors: unknown): number[] {
  if (writeErrors instanceof Map) return [...writeErrors.keys()].map(Number)
  return [writeErrors ?? []].flat().map((each) => (each as { index: number }).index)
}

function isDuplicate(writeErrors: unknown, index: number, code: unknown): boolean {
  const own = writeErrors instanceof Map ? writeErrors.get(index) : [writeErrors].flat()[0]
  return (own as { code?: unknown } | undefined)?.code === 11000 || code === 11000
}

function noteSaved(owner: unknown): void {
  if (isDocument(owner) && modelOf(owner)) markSaved(ownerOf(owner))
}

/** The tied operations that were to write something, and have not: their record is as it was, or is not what they were to find. */
async function findMissed(prepared: readonly Prepared[], session: ClientSession | undefined): Promise<Prepared[]> {
  const missed: Prepared[] = []
  for (const [index, each] of prepared.entries()) {
    if (!each.tied) continue
    const { native } = each.gate
    const stored = await native.findOne({ _id: each.tied.id }, sessionOnly({ session }))
    if ((await isMade(each, stored, session)) || mayBeWrittenOver(each, prepared.slice(index + 1))) continue
    // Nothing is there to match; an upsert was to store its values all the same.
    const matches = await native.findOne(each.tied.filter, { projection: { _id: 1 }, ...sessionOnly({ session }) })
    if (matches || each.tied.isUpsert) missed.push(each)
  }
  return missed
}

/** Whether an operation has written what it was to, as far as its record tells. */
async function isMade(each: Prepared, stored: Plain | null, session: ClientSession | undefined): Promise<boolean> {
  if (each.sealed.length > 0) return holdsOne(stored, each.sealed)
  if (!stored) return false
  // An upsert that had values for a new record alone: its filter fits still, unless it changes what that asks for.
  const { filter, collation } = bodyOf(each)
  const options = withoutUndefined({ projection: { _id: 1 }, session, collation })
  return mayBeWrittenOver(each, [each]) || (await each.gate.native.findOne(filter, options)) !== null
}

/** Whether any of these envelopes stands in a record, wherever other operations have moved it. */
function holdsOne(stored: unknown, sealed: readonly Sealed[]): boolean {
  const sent = sealed.map(({ slot }) => bytesOf(slot.holder[slot.key]))
  const isSent = (value: unknown): boolean => {
    const bytes = bytesOf(value)
    if (bytes) return sent.some((each) => sameBytes(each, bytes))
    return (Array.isArray(value) || isPlainObject(value)) && Object.values(value).some(isSent)
  }
  return isSent(stored)
}

/** What an operation says, which stands by its name, but for one that is sent by the client. */
function bodyOf({ operation }: Prepared): Plain {
  return operation.filter ? operation : (Object.values(operation)[0] as Plain)
}

/** Whether some operations of the bulk may have written over what this one was to write, or to find where it had nothing to encrypt. */
function mayBeWrittenOver({ gate: { host }, sealed, tied }: Prepared, others: readonly Prepared[]): boolean {
  const paths = sealed.length > 0 ? sealed.map(({ slot }) => slot.names[0]) : pathsIn(tied?.filter ?? {})
  if (!paths) return true
  const tops = new Set(paths)
  return others.some((other) => {
    const body = bodyOf(other)
    if (!body?.filter || other.isIdle) return false
    const id = idOfFilter(body.filter)
    if (id !== undefined && !isStoredAlike(host, id, tied?.id)) return false
    if (!isPlainObject(body.update)) return true
    return Object.values(body.update).some((operand) =>
      Object.keys(operand ?? {}).some((path) => tops.has(topOf(path))),
    )
  })
}

function mayBeMade(place: string): OperationError {
  return new OperationError(
    'UPDATE_REFUSED',
    `${place}: it finds no record to encrypt for, and an operation before it may make one. Send it in a bulk write of its own.`,
  )
}

function refuseMany(place: string): never {
  throw new OperationError(
    'UPDATE_REFUSED',
    `${place}: every record has a data key of its own, so one value cannot be written to many in a bulk. Use updateMany() of the model, or ` +
      'an updateOne for each.',
  )
}
