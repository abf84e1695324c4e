import { hasKey } from './conflicts'
import { contentOf } from './contents'
import { OperationError, RecordError } from './errors'
import { type FindOptions, findRaw, isInTransaction } from './fetching'
import { translateFilter } from './filters'
import { requests, stageDocument } from './hooks'
import type { AnyModel, Doc } from './host'
import { layoutFor } from './layout'
import { idOf } from './naming'
import { recordsOf } from './records'
import type { Request, Tie, TiedWrite } from './requests'
import { assigned, Sealed } from './sealed'
import { tieReplacement, tieUpdate } from './tying'
import { mergeErrors, validateFields } from './validation'

/** One operation of a bulk write, without the name that says which it is. */
type Operation = Record<string, any>

/** Options of a bulk write that matter here. */
export interface BulkOptions extends FindOptions {
  readonly skipValidation?: boolean
}

/** A bulk write in preparation. */
export interface Bulk {
  readonly options: BulkOptions
  /** The updates that were tied to a record, to be looked at again after the write. */
  readonly ties: { readonly index: number; readonly request: Request; readonly tie: Tie; readonly inserts: boolean }[]
  /** Models that an operation of this bulk inserts into or updates, before the one at hand. */
  readonly written: Set<AnyModel>
  /** The `_id`s of records whose data keys an operation before the one at hand replaces. */
  readonly replaced: Set<string>
  /** How many updates and replacements of one record there are; infinite where one may reach many. */
  updates: number
}

/** Begins the preparation of a bulk write. */
export function newBulk(options: BulkOptions): Bulk {
  return { options, ties: [], written: new Set(), replaced: new Set(), updates: 0 }
}

/**
 * Encrypts one operation of a bulk write, each record under its own data key. The caller's objects stay as they are.
 *
 * @throws {OperationError} {RecordError} {KeyProviderError} before anything of the bulk is sent
 */
export async function prepareOperation(
  bulk: Bulk,
  model: AnyModel,
  name: string,
  operation: Operation,
  index: number,
): Promise<Operation> {
  const place = `${model.modelName}.bulkWrite() operation ${index}`
  const prepared = await prepare(bulk, model, name, operation, index, place)
  if (!name.startsWith('delete')) bulk.written.add(model)
  if (name === 'updateOne' || name === 'replaceOne') bulk.updates++
  if (name === 'updateMany') bulk.updates = Infinity
  return prepared
}

async function prepare(bulk: Bulk, model: AnyModel, name: string, operation: Operation, index: number, place: string) {
  if (name === 'insertOne') return { ...operation, document: await encryptDocument(model, operation.document, bulk) }
  const filter = (operation.filter ?? {}) as Record<string, unknown>
  if (name.startsWith('delete')) return { ...operation, filter: translateFilter(model.schema, filter, place) }
  const request: Request = {
    model,
    place,
    filter,
    arrayFilters: operation.arrayFilters,
    upsert: operation.upsert === true,
    runValidators: false,
    setDefaults: operation.setDefaultsOnInsert !== false,
    inTransaction: isInTransaction(model, bulk.options),
    find: async (wanted, projection) => {
      const found = await findRaw(model, wanted, projection, { ...bulk.options, ...operation, sort: operation.sort })
      if (!found && bulk.written.has(model)) throw undecided(place)
      return found
    },
  }
  if (name === 'replaceOne') {
    const tied = await tieReplacement(request, operation.replacement)
    if (tied.tie) bulk.replaced.add(String(tied.tie.id))
    return remember(bulk, index, request, { ...operation, replacement: tied.content }, tied)
  }
  const tied = await tieUpdate(request, operation.update, name === 'updateMany')
  if (tied.tie && bulk.replaced.has(String(tied.tie.id))) throw replacedBefore(place)
  return remember(bulk, index, request, { ...operation, update: tied.content }, tied)
}

function remember(
  bulk: Bulk,
  index: number,
  request: Request,
  operation: Operation,
  tied: TiedWrite<unknown>,
): Operation {
  if (tied.tie) bulk.ties.push({ index, request, tie: tied.tie, inserts: tied.upsert })
  return { ...operation, filter: tied.filter, ...(tied.upsert === request.upsert ? {} : { upsert: tied.upsert }) }
}

/** Sends a bulk write that was prepared, and finds out what of it was overtaken. */
export async function writeBulk(bulk: Bulk, write: () => Promise<unknown>): Promise<unknown> {
  let result: unknown
  try {
    result = await write()
  } catch (error) {
    throw await failureOf(bulk, error)
  }
  await refuseOvertakenOperations(bulk, result)
  return result
}

/** What to throw for a bulk write that failed: where upserts met records that others inserted meanwhile, it says so. */
async function failureOf(bulk: Bulk, error: unknown): Promise<unknown> {
  const { code, writeErrors } = error as { code?: unknown; writeErrors?: unknown }
  const inserting = bulk.ties.filter(({ inserts }) => inserts)
  const failed = writeErrors instanceof Map ? [...writeErrors.values()] : [writeErrors ?? []].flat()
  if (inserting.length === 0 || !(code === 11000 || failed.some((each) => each?.code === 11000))) return error
  const collided: number[] = []
  for (const { index, request, tie } of inserting) {
    if (request.inTransaction) return error
    const filter = translateFilter(request.model.schema, request.filter, request.place) as object
    const found = await findRaw(request.model, filter, { _id: 1 }, bulk.options)
    const stored = found && (await fetchKeys(request.model, [tie], bulk.options)).get(String(found._id))
    if (found && !(stored && holdsKeys(stored, tie))) collided.push(index)
  }
  return collided.length === 0 || collided.length < failed.length ? error : overtaken(collided, error)
}

/**
 * Looks whether an update was overtaken: its record is as the filter wants it, and does not have the key used.
 *
 * @throws {RecordError} RECORD_CHANGED naming the operations that were not applied
 */
async function refuseOvertakenOperations(bulk: Bulk, result: unknown): Promise<void> {
  const { acknowledged = true, matchedCount = 0, upsertedCount = 0 } = (result ?? {}) as Record<string, any>
  if (!acknowledged || matchedCount + upsertedCount === bulk.updates) return
  const missed: number[] = []
  for (const model of new Set(bulk.ties.map(({ request }) => request.model))) {
    const ties = bulk.ties.filter(({ request }) => request.model === model)
    const stored = await fetchKeys(
      model,
      ties.map(({ tie }) => tie),
      bulk.options,
    )
    for (const { index, request, tie, inserts } of ties) {
      const keys = stored.get(String(tie.id))
      if (inserts || (keys ? holdsKeys(keys, tie) : !request.upsert)) continue
      const filter = translateFilter(model.schema, request.filter, request.place) as object
      const isMissed = !keys || (await findRaw(model, { $and: [filter, { _id: tie.id }] }, { _id: 1 }, bulk.options))
      if (isMissed) missed.push(index)
    }
  }
  if (missed.length > 0) throw overtaken(missed)
}

function holdsKeys(stored: Record<string, unknown>, tie: Tie): boolean {
  return tie.keys.every(({ config, used }) => hasKey(stored[config.keyPath], used.commitment))
}

function overtaken(indexes: readonly number[], cause?: unknown): RecordError {
  return new RecordError(
    'RECORD_CHANGED',
    `bulkWrite(): records or their data keys changed while the operations ${indexes.join(', ')} were being encrypted, and those ` +
      `were not applied. Try them again; ${cause ? 'cause tells what was written of the others' : 'the others are written'}.`,
    { cause },
  )
}

/** The wrapped keys of the records that updates were tied to, by `_id`, in one read. */
async function fetchKeys(
  model: AnyModel,
  ties: readonly Tie[],
  options: BulkOptions,
): Promise<Map<string, Record<string, unknown>>> {
  const paths = ties.flatMap((tie) => tie.keys.map(({ config }) => config.keyPath))
  const projection = Object.fromEntries(paths.map((path) => [path, 1]))
  const { session } = options as { session?: never }
  const found = await model.collection
    .find({ _id: { $in: ties.map((tie) => tie.id) } } as never, { projection, ...(session ? { session } : {}) })
    .toArray()
  return new Map(found.map((stored) => [String(stored._id), stored]))
}

/** What to insert for a document: what was given, with ciphertext and wrapped keys in place of the fields. */
async function encryptDocument(model: AnyModel, given: unknown, bulk: Bulk): Promise<unknown> {
  // `bulkSave()` has encrypted its documents already.
  if (given instanceof model && requests.has(given as unknown as Doc)) return given
  if (given === null || typeof given !== 'object') return given
  const source = given instanceof model ? await contentOf(given as unknown as Doc) : (given as Record<string, unknown>)
  const doc = new model(source) as unknown as Doc
  if (!bulk.options.skipValidation) {
    for (const record of recordsOf(doc)) {
      const { ValidationError } = record.config.host.mongoose.Error
      const error = mergeErrors(doc, undefined, await validateFields(record, {}), ValidationError as never)
      if (error) throw error
    }
  }
  await stageDocument(doc)
  const { byField, storedPaths } = layoutFor(doc)
  const stored: Record<string, unknown> = { _id: idOf(doc) }
  for (const [path, value] of Object.entries(source)) if (!byField.has(path)) stored[path] = value
  for (const path of storedPaths) {
    if (path in stored) throw assigned(path)
    if (doc[path] instanceof Sealed) stored[path] = doc[path]
  }
  return stored
}

function replacedBefore(place: string): OperationError {
  return new OperationError(
    'UPDATE_REFUSED',
    `${place}: an earlier operation of the same bulk replaces the record and its data key. Put the values into the replacement, ` +
      'or split the bulk before this operation.',
  )
}

function undecided(place: string): OperationError {
  return new OperationError(
    'UPDATE_REFUSED',
    `${place}: no record matches the filter yet, and an earlier operation of the same bulk may change that. An encrypted value ` +
      'needs the key of its record beforehand: split the bulk before this operation.',
  )
}
