import type { ClientSession } from 'mongoose'
import { type BulkOptions, newBulk, prepareOperation, writeBulk } from './bulk'
import { findOvertaken, overtakenBulkError, refresh } from './conflicts'
import { decryptRecord } from './contents'
import { storedShape } from './fields'
import { requests, settle, stageDocument } from './hooks'
import type { AnyModel, AnySchema, Doc } from './host'
import { layoutFor, reachesEncrypted, storedPathsOf } from './layout'
import { idOf, topOf } from './naming'
import { noticeChanges } from './noticing'
import { isPlainObject } from './plain'
import { recordsOf, touchedRecordsOf } from './records'
import { assigned, Sealed } from './sealed'
import { mergeErrors, validateFields } from './validation'
import { wasWritten } from './writing'

/** Gives models of a schema their `decrypt()`, and covers the static methods that run no save hooks. */
export function extendModels(schema: AnySchema): void {
  if (Object.hasOwn(schema.statics, 'decrypt')) return
  schema.static('decrypt', function decrypt(this: AnyModel, given: unknown) {
    return Array.isArray(given) ? Promise.all(given.map((one) => decryptOne(this, one))) : decryptOne(this, given)
  } as never)
  schema.static('insertMany', function insertMany(
    this: AnyModel,
    docs: unknown,
    options: InsertManyOptions | undefined,
  ) {
    return insertEncrypted(this, docs, options)
  } as never)
  schema.static('bulkWrite', function bulkWrite(this: AnyModel, operations: unknown, options: BulkOptions | undefined) {
    return bulkWriteEncrypted(this, operations, options)
  } as never)
  schema.static('bulkSave', function bulkSave(this: AnyModel, docs: unknown, options: BulkSaveOptions | undefined) {
    return bulkSaveEncrypted(this, docs, options)
  } as never)
}

type InsertManyOptions = { lean?: boolean } & Record<string, unknown>
type BulkSaveOptions = { skipValidation?: boolean; validateBeforeSave?: boolean; session?: ClientSession | null }

/** A document gives its decrypted fields; a lean object a copy of itself with them, in place of what is stored. */
async function decryptOne(model: AnyModel, given: unknown): Promise<unknown> {
  if (given === null || given === undefined) return given
  if (typeof given !== 'object') {
    throw new TypeError(`${model.modelName}.decrypt expects documents, lean objects or an array of them`)
  }
  return isDocumentOf(model, given) ? decryptRecord(given) : decryptLean(given, model.hydrate(given) as unknown as Doc)
}

/** Copies a lean object with its fields decrypted, and those of its subdocuments, which stand at the same places in `held`. */
async function decryptLean(lean: unknown, held: unknown): Promise<unknown> {
  if (held === null || typeof held !== 'object') return lean
  if (Array.isArray(lean)) return Promise.all(lean.map((item, i) => decryptLean(item, (held as unknown[])[i])))
  if (!isPlainObject(lean)) return lean
  const layout = 'schema' in held.constructor ? layoutFor(held as Doc) : undefined
  const at = (path: string) => (held instanceof Map ? held.get(path) : (held as Record<string, unknown>)[path])
  const entries = Object.entries(lean).filter(([path]) => !layout?.storedPaths.has(path))
  const isDeep = layout?.inSubdocuments ?? true
  const copied = entries.map(
    async ([path, value]) => [path, isDeep ? await decryptLean(value, at(path)) : value] as const,
  )
  return { ...Object.fromEntries(await Promise.all(copied)), ...(layout ? await decryptRecord(held as Doc) : {}) }
}

async function insertEncrypted(
  model: AnyModel,
  given: unknown,
  options: InsertManyOptions | undefined,
): Promise<unknown> {
  const original = model.base.Model.insertMany as unknown as (this: AnyModel, ...args: unknown[]) => Promise<unknown>
  // A list of its own, so that the caller's array and objects stay as they are.
  const list = Array.isArray(given) ? given : [given]
  const docs = list.map((one) => (isDocumentOf(model, one) || !isObject(one) || options?.lean ? one : new model(one)))
  const ours = docs.filter((one): one is Doc => isDocumentOf(model, one))
  try {
    if (options?.lean) {
      // Lean inserts run no validation hooks, so everything is encrypted first.
      await Promise.all(ours.map(stageDocument))
      const stored = docs.map((one) => (isDocumentOf(model, one) || !isObject(one) ? one : encryptLean(model, one)))
      return await original.call(model, await Promise.all(stored), options)
    }
    for (const doc of ours) requests.set(doc, { stageAfterValidation: true })
    return await original.call(model, docs, options)
  } finally {
    for (const doc of ours) {
      requests.delete(doc)
      settle(doc)
    }
  }
}

/** What a lean insert stores for an object: the object itself, with ciphertext and wrapped keys in place of the fields. */
async function encryptLean(model: AnyModel, given: Record<string, unknown>): Promise<Record<string, unknown>> {
  const doc = new model(given) as unknown as Doc
  const records = recordsOf(doc)
  for (const record of records) {
    // Lean inserts apply no defaults and do not validate, but what cannot be cast cannot be stored either.
    const names = [...record.config.fields.byName.keys()]
    record.learn(Object.fromEntries(names.filter((name) => !record.known.has(name)).map((name) => [name, undefined])))
    const errors = Object.entries(await validateFields(record, {})).filter(([, error]) => error.name === 'CastError')
    const { ValidationError } = record.config.host.mongoose.Error
    if (errors.length > 0) throw mergeErrors(doc, undefined, Object.fromEntries(errors), ValidationError as never)
  }
  await stageDocument(doc)
  const fields = new Set(records.flatMap((record) => [...record.config.fields.byName.keys()]))
  const stored: Record<string, unknown> = { _id: idOf(doc) }
  for (const [path, value] of Object.entries(given)) {
    if (!fields.has(path)) stored[path] = value
  }
  for (const path of records.flatMap((record) => storedPathsOf(record.config))) {
    if (path in stored) throw assigned(path)
    const value = doc[path]
    if (value !== undefined) stored[path] = value instanceof Sealed ? value.toBSON() : value
  }
  // Encrypted fields of subdocuments stand somewhere inside: those paths are taken from the document as it is stored.
  const asStored = doc.toObject(storedShape as never) as Record<string, unknown>
  for (const path of Object.keys(stored)) if (holdsEncrypted(model.schema, path)) stored[path] = asStored[path]
  return stored
}

/** Marks the bulk writes that `bulkSave()` makes of documents which the save hooks have encrypted. */
const fromBulkSave = Symbol('from bulkSave')

async function bulkWriteEncrypted(
  model: AnyModel,
  given: unknown,
  options: (BulkOptions & { [fromBulkSave]?: boolean }) | undefined,
): Promise<unknown> {
  const original = model.base.Model.bulkWrite as unknown as (this: AnyModel, ...args: unknown[]) => Promise<unknown>
  if (!Array.isArray(given)) return original.call(model, given, options)
  if (options?.[fromBulkSave]) {
    const { [fromBulkSave]: _mark, ...rest } = options
    return original.call(model, given.map(asStored), rest).catch((error) => failWhole(model, error))
  }
  const bulk = newBulk(options ?? {})
  const operations: unknown[] = []
  for (const [index, operation] of given.entries()) {
    const [name] = Object.keys(operation ?? {})
    // What is no operation is for Mongoose to complain of.
    if (name === undefined || !isObject(operation[name])) operations.push(operation)
    else operations.push({ [name]: await prepareOperation(bulk, model, name, operation[name], index) })
  }
  return writeBulk(bulk, () => original.call(model, operations, options))
}

/** An insert of a document that is encrypted, as what is stored: early versions of Mongoose 8 insert a copy of it. */
function asStored(operation: { insertOne?: { document: unknown } }): unknown {
  const document = operation.insertOne?.document as { toBSON?: () => unknown } | undefined
  return document?.toBSON
    ? { ...operation, insertOne: { ...operation.insertOne, document: document.toBSON() } }
    : operation
}

/**
 * A failure of the connection or the whole command comes without errors of single operations, which `bulkSave()` would
 * take for a success of all of them. The driver keeps the error itself in `errorResponse`, or the server's answer.
 */
function failWhole(model: AnyModel, error: unknown): never {
  const { errorResponse } = error as { errorResponse?: { ok?: unknown; message: string } }
  if (errorResponse instanceof Error) throw errorResponse
  throw errorResponse?.ok === 0 ? new model.base.mongo.MongoServerError(errorResponse) : error
}

async function bulkSaveEncrypted(
  model: AnyModel,
  given: unknown,
  options: BulkSaveOptions | undefined,
): Promise<unknown> {
  const original = model.base.Model.bulkSave as unknown as (this: AnyModel, ...args: unknown[]) => Promise<unknown>
  const docs = Array.isArray(given) ? given.filter((one): one is Doc => isDocumentOf(model, one)) : []
  // Mongoose validates after the save hooks here, too late for a key to be asked for.
  const validateFirst = options?.skipValidation !== true && options?.validateBeforeSave !== false
  for (const doc of docs) {
    requests.set(doc, { validateFirst })
    noticeChanges(doc)
    // As Mongoose 9 does, and `save()` in both: what was written in a transaction may have to be written again.
    if (options && Object.hasOwn(options, 'session')) doc.$session(options.session)
  }
  try {
    return await original.call(model, given, { ...options, [fromBulkSave]: true })
  } catch (error) {
    // Which documents were overtaken is found out before their staging is taken back.
    const pending = docs.filter((doc) => !isSettled(doc))
    const found = await Promise.all(pending.map(findOvertaken))
    const isIncomplete = (error as Error).name === 'MongooseBulkSaveIncompleteError'
    for (const doc of docs) {
      // Had an insert failed, the error would be another one.
      if (isIncomplete && doc.$isNew) markSaved(doc)
      settle(doc)
    }
    const overtaken = found.filter((each) => each !== undefined)
    for (const each of overtaken) refresh(each)
    throw isIncomplete && overtaken.length > 0 ? overtakenBulkError(model, overtaken, error) : error
  } finally {
    for (const doc of docs) {
      requests.delete(doc)
      settle(doc)
    }
  }
}

/** Does what Mongoose does for the documents of a `bulkSave()` which it knows to be written. */
function markSaved(doc: Doc): void {
  doc.$isNew = false
  ;(doc as unknown as { $__reset(): void }).$__reset()
}

function isSettled(doc: Doc): boolean {
  return touchedRecordsOf(doc).every((record) => !record.staged || wasWritten(record))
}

/** Whether subdocuments at or below a top-level path hold encrypted fields. */
function holdsEncrypted(schema: AnySchema, path: string): boolean {
  return schema.childSchemas.some((child) => {
    const { path: at } = child.model as unknown as { path?: string }
    return reachesEncrypted(child.schema as AnySchema) && (at === undefined || topOf(at) === path)
  })
}

function isDocumentOf(model: AnyModel, value: unknown): value is Doc {
  return value instanceof model
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}
