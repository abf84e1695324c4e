import type { ClientSession } from 'mongoose'
import { OperationError } from '../errors'
import { sameBytes } from '../format/bytes'
import { bytesOf } from '../format/entry'
import type { Plain } from '../mongoose/host'
import { valueAt } from '../mongoose/plain'
import { allInOrder } from '../record/outcomes'
import { askedOfFound, tiedFilter } from './conditions'
import { guardDependencies } from './dependencies'
import type { Sealed } from './filling'
import type { Gate } from './gate'
import { type Request, type Sending, sessionOnly, withoutUndefined } from './request'
import { settle } from './tie'
import { encryptFor, planOf, projectionFor, updateOne, withKeys } from './update'

/** How many records are read, encrypted and written together. */
const batchSize = 100

/** What an update of many records has done so far. */
interface Progress {
  matchedCount: number
  modifiedCount: number
  readonly failures: { readonly _id: unknown; readonly error: unknown }[]
}

/**
 * Updates many records with a value for an encrypted field: every record has a data key of its own, so each is encrypted for and
 * written by itself, in bounded batches. Gives what an ordinary `updateMany()` gives.
 *
 * @throws {OperationError} UPDATE_INCOMPLETE with the counts, where some were written and one failed
 */
export async function updateMany(gate: Gate, request: Sending): Promise<unknown> {
  const { filter, options } = request
  const plan = planOf(gate, request)
  await guardDependencies(gate, request, plan)
  if (plan.slots.length === 0) return request.send(filter, plan.update, options)
  const progress: Progress = { matchedCount: 0, modifiedCount: 0, failures: [] }
  const { collation, hint, session } = options
  const projection = gate.isCustom ? undefined : projectionFor(plan)
  const settings = { projection, collation, hint, session, sort: { _id: 1 }, batchSize }
  const cursor = gate.native.find(filter, withoutUndefined(settings)) as AsyncIterable<Plain>
  let batch: Plain[] = []
  for await (const record of cursor) {
    batch.push(record)
    if (batch.length < batchSize) continue
    await updateBatch(gate, request, batch, progress)
    batch = []
  }
  if (batch.length > 0) await updateBatch(gate, request, batch, progress)
  if (progress.failures.length > 0) throw incomplete(gate, progress)
  if (progress.matchedCount === 0 && options.upsert) {
    // What matched nothing is inserted once, as an update of one record does it.
    return updateOne(gate, { ...request, method: 'updateOne' })
  }
  const { matchedCount, modifiedCount } = progress
  return { acknowledged: true, matchedCount, modifiedCount, upsertedCount: 0, upsertedId: null }
}

interface Prepared {
  readonly record: Plain
  readonly sealed: readonly Sealed[]
  readonly operation: Plain
}

async function updateBatch(gate: Gate, request: Request, records: readonly Plain[], progress: Progress): Promise<void> {
  const { options } = request
  let prepared: Prepared[]
  try {
    prepared = await allInOrder(records.map((record) => prepareRecord(gate, request, record)))
  } catch (error) {
    if (options.ordered !== false) return fail(gate, progress, undefined, error)
    // One that cannot be had must not keep back the others.
    for (const record of records) await updateAlone(gate, request, record, progress)
    return
  }
  await writeBatch(gate, request, prepared, progress)
}

async function writeBatch(
  gate: Gate,
  request: Request,
  prepared: readonly Prepared[],
  progress: Progress,
): Promise<void> {
  const { options } = request
  const session = options.session as ClientSession | undefined
  const isOrdered = options.ordered !== false || session?.inTransaction() === true
  let result: Plain
  let failures: Failure[] = []
  try {
    result = await gate.native.bulkWrite(
      prepared.map(({ operation }) => operation),
      withoutUndefined({ session, ordered: isOrdered, ...concerns(options) }),
    )
  } catch (error) {
    result = (error as { result?: Plain }).result ?? {}
    failures = failuresIn(gate, prepared, error)
  }
  const failed = new Set(failures.map(({ index }) => index))
  const end = isOrdered ? Math.min(...failed) : prepared.length
  const sent = prepared.filter((_each, index) => index < end && !failed.has(index))
  const { matchedCount = 0, modifiedCount = 0 } = result
  progress.modifiedCount += modifiedCount
  // An error has ended the transaction: nothing can be read in it, and nothing of it stays.
  const isWhole = matchedCount === sent.length || (failures.length > 0 && session?.inTransaction())
  for (const each of sent) {
    if (isWhole || (await isWritten(gate, each, session))) {
      progress.matchedCount++
      settle(each.sealed, session)
    } else await updateAlone(gate, request, each.record, progress)
  }
  for (const { index, error } of failures) fail(gate, progress, prepared[index]!.record._id, error, !isOrdered)
}

/** An operation of a batch that was not made. */
interface Failure {
  readonly index: number
  readonly error: unknown
}

/** What failed in a batch: the operations that the server refused, or all of them where it was not reached, or did not acknowledge. */
function failuresIn(gate: Gate, prepared: readonly Prepared[], error: unknown): Failure[] {
  const refused = [(error as { writeErrors?: unknown }).writeErrors ?? []].flat() as (Plain & { index: number })[]
  if (refused.length === 0) return prepared.map((_each, index) => ({ index, error }))
  const { MongoServerError } = gate.host.mongoose.mongo
  return refused.map(({ index, code, errmsg, errInfo }) => ({
    index,
    error: new MongoServerError(withoutUndefined({ errmsg, code, errInfo })),
  }))
}

async function prepareRecord(gate: Gate, request: Request, record: Plain): Promise<Prepared> {
  const { filter, options } = request
  const plan = planOf(gate, request)
  const sealed = await encryptFor(gate, plan, { id: record._id, stored: record }, new Map())
  const { conditions, update } = withKeys(plan, sealed)
  const { arrayFilters, collation, hint } = options
  const settings = withoutUndefined({ arrayFilters, collation, hint })
  return {
    record,
    sealed,
    operation: {
      updateOne: { filter: tiedFilter(askedOfFound(filter), record._id, conditions), update, ...settings },
    },
  }
}

/** Whether an update was made, told by the envelopes that are stored now. */
async function isWritten(
  gate: Gate,
  { record, sealed }: Prepared,
  session: ClientSession | undefined,
): Promise<boolean> {
  const stored = await gate.native.findOne({ _id: record._id }, sessionOnly({ session }))
  return sealed.some(({ slot }) => {
    const found = bytesOf(valueAt(stored, slot.path))
    return found !== undefined && sameBytes(found, bytesOf(slot.holder[slot.key]))
  })
}

/** Another write came between: what still matches is updated as one record is. */
async function updateAlone(gate: Gate, request: Request, record: Plain, progress: Progress): Promise<void> {
  const { filter, options } = request
  try {
    const result = await updateOne(gate, {
      ...request,
      method: 'updateOne',
      filter: tiedFilter(askedOfFound(filter), record._id, {}),
      options: { ...options, upsert: false },
      send: (where, update, given) => gate.native.updateOne(where, update, given),
    })
    progress.matchedCount += result.matchedCount
    progress.modifiedCount += result.modifiedCount
  } catch (error) {
    fail(gate, progress, record._id, error, options.ordered === false)
  }
}

function fail(gate: Gate, progress: Progress, id: unknown, error: unknown, isContinued = false): void {
  progress.failures.push({ _id: id, error })
  if (isContinued) return
  // Nothing was written, so it is an error like any other.
  throw progress.matchedCount === 0 ? error : incomplete(gate, progress)
}

function incomplete(gate: Gate, progress: Progress): OperationError {
  const { matchedCount, modifiedCount, failures } = progress
  const cause = failures[0]?.error
  const error = new OperationError(
    'UPDATE_INCOMPLETE',
    `${gate.place('updateMany')}: ${matchedCount} records were updated, and then ${failures.length} could not be. Do the same again when ` +
      'the cause is mended: what is written already is written once more. With { ordered: false } all others are tried.',
    { cause },
  )
  return Object.assign(error, { matchedCount, modifiedCount, failures })
}

/** What a write is to be acknowledged by. */
function concerns({ writeConcern, comment, bypassDocumentValidation }: Plain): Plain {
  return { writeConcern, comment, bypassDocumentValidation }
}
