import { hasKey } from './conflicts'
import { recordsOf } from './document'
import { OperationError, RecordError } from './errors'
import { type FindOptions, findRaw } from './fetching'
import { translateFilter } from './filters'
import { requests, stageDocument } from './hooks'
import type { AnyModel, Doc } from './host'
import { layoutOf } from './layout'
import { Sealed } from './sealed'
import { type Request, type Tie, type TiedWrite, tieReplacement, tieUpdate } from './tying'
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
  readonly ties: { readonly index: number; readonly request: Request; readonly tie: Tie }[]
  /** Models that an operation of this bulk inserts into or updates, before the one at hand. */
  readonly written: Set<AnyModel>
}

/** Begins the preparation of a bulk write. */
export function newBulk(options: BulkOptions): Bulk {
  return { options, ties: [], written: new Set() }
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
    upsert: operation.upsert === true,
    runValidators: false,
    setDefaults: operation.setDefaultsOnInsert !== false,
    find: async (wanted, projection) => {
      const found = await findRaw(model, wanted, projection, { ...bulk.options, ...operation, sort: operation.sort })
      if (!found && bulk.written.has(model)) throw undecided(place)
      return found
    },
  }
  if (name === 'replaceOne') {
    const tied = await tieReplacement(request, operation.replacement)
    return remember(bulk, index, request, { ...operation, replacement: tied.content }, tied)
  }
  const tied = await tieUpdate(request, operation.update, name === 'updateMany')
  return remember(bulk, index, request, { ...operation, update: tied.content }, tied)
}

function remember(
  bulk: Bulk,
  index: number,
  request: Request,
  operation: Operation,
  tied: TiedWrite<unknown>,
): Operation {
  if (tied.tie) bulk.ties.push({ index, request, tie: tied.tie })
  return { ...operation, filter: tied.filter, ...(tied.upsert === request.upsert ? {} : { upsert: tied.upsert }) }
}

/**
 * Looks whether an update was overtaken: its record is as the filter wants it, and does not have the key used.
 *
 * @throws {RecordError} RECORD_CHANGED naming the operations that were not applied
 */
export async function refuseOvertakenOperations(bulk: Bulk): Promise<void> {
  const overtaken: number[] = []
  for (const model of new Set(bulk.ties.map(({ request }) => request.model))) {
    const ties = bulk.ties.filter(({ request }) => request.model === model)
    const stored = await fetchKeys(
      model,
      ties.map(({ tie }) => tie),
      bulk.options,
    )
    for (const { index, request, tie } of ties) {
      const keys = stored.get(String(tie.id))
      if (!keys || tie.keys.every(({ config, used }) => hasKey(keys[config.keyPath], used.commitment))) continue
      const filter = translateFilter(model.schema, request.filter, request.place) as object
      if (await findRaw(model, { $and: [filter, { _id: tie.id }] }, { _id: 1 }, bulk.options)) overtaken.push(index)
    }
  }
  if (overtaken.length === 0) return
  throw new RecordError(
    'RECORD_CHANGED',
    `bulkWrite(): the data keys of records changed while the operations ${overtaken.join(', ')} were being encrypted, and those ` +
      'were not applied. Try them again; the others are written.',
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
  const source = given instanceof model ? await valuesOf(given as unknown as Doc) : (given as Record<string, unknown>)
  const doc = new model(source) as unknown as Doc
  if (!bulk.options.skipValidation) {
    for (const record of recordsOf(doc)) {
      const { ValidationError } = record.config.host.mongoose.Error
      const error = mergeErrors(doc, undefined, await validateFields(record, {}), ValidationError as never)
      if (error) throw error
    }
  }
  await stageDocument(doc)
  const { byField, storedPaths } = layoutOf(model.schema)
  const stored: Record<string, unknown> = { _id: doc._id }
  for (const [path, value] of Object.entries(source)) if (!byField.has(path)) stored[path] = value
  for (const path of storedPaths) if (doc[path] instanceof Sealed) stored[path] = doc[path]
  return stored
}

/** A document in the clear, its encrypted fields among the others. */
async function valuesOf(doc: Doc): Promise<Record<string, unknown>> {
  const values: Record<string, unknown> = { ...doc.toObject() }
  for (const record of recordsOf(doc)) {
    for (const name of record.config.fields.byName.keys()) {
      if (record.settle(name)) values[name] = record.values.get(name)
    }
  }
  return values
}

function undecided(place: string): OperationError {
  return new OperationError(
    'UPDATE_REFUSED',
    `${place}: no record matches the filter yet, and an earlier operation of the same bulk may change that. An encrypted value ` +
      'needs the key of its record beforehand: split the bulk before this operation.',
  )
}
