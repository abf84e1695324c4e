import type { Query } from 'mongoose'
import { pathsToValidateOf } from './arguments'
import type { Config } from './config'
import { findOvertaken, overtakenError, overtakenSubdocumentError, refresh } from './conflicts'
import { fetchStored } from './fetching'
import { type AnyModel, type AnySchema, always, type Doc } from './host'
import { layoutFor, layoutOf, partsOf } from './layout'
import { openFields, rememberContexts } from './opening'
import { addQueryHooks } from './queries'
import { recordOf } from './record'
import { recordsOf, touchedRecordsOf } from './records'
import { configsOf } from './sealed'
import { selectionOf } from './selection'
import { mergeErrors, type Selection, validateFields } from './validation'
import { commit, rollback, stage, wasWritten } from './writing'

/**
 * What a write in progress asks of the hooks of one document: `validate` before staging, where Mongoose itself does not
 * run the validation hooks, or `stage` right after validation, where it runs no save hooks.
 */
export const requests = new WeakMap<Doc, { validateFirst?: boolean; stageAfterValidation?: boolean }>()

const selections = new WeakMap<Doc, Selection>()

/** Validation errors that hold those of the encrypted fields: Mongoose 9 shows them to the error handlers as well. */
const complete = new WeakSet<Error>()

/** Hooks whose order among the user's own does not matter, or that are to run before those. */
export function addHooks(schema: AnySchema, config: Config): void {
  if (config.customContext) {
    schema.post(
      'init',
      always(function rememberEncryptionContexts(this: unknown) {
        rememberContexts(config, this as Doc)
      }),
    )
  }
  if (config.decrypt === 'onLoad') addLoadHooks(schema, (doc) => openOnLoad(config, doc))
  addSaveHooks(schema)
  // Only where the final hooks cannot be added: Mongoose compiles the schema of a discriminator without global plugins.
  if (configsOf(schema).length === 1) addFinalHooks(schema, (model) => !isFinalised(model))
}

const withSaveHooks = new WeakSet<AnySchema>()

/** Hooks that end a write, once for each schema. */
function addSaveHooks(schema: AnySchema): void {
  if (withSaveHooks.has(schema)) return
  withSaveHooks.add(schema)
  schema.pre(
    'validate',
    // Mongoose 8 passes `next`, paths and options, and only to hooks that declare parameters; 9 passes the options alone.
    always(async function noteValidationOptions(this: unknown, first: unknown, second: unknown, third: unknown) {
      note(this as Doc, [first, second, third])
    }) as never,
  )
  schema.post(
    'save',
    always(function commitEncryptedFields(this: unknown) {
      for (const part of partsOf(this as Doc)) for (const record of touchedRecordsOf(part)) commit(record)
    }) as never,
  )
  // Three parameters make it an error handler. Mongoose goes on when the promise does, without a call of the third.
  schema.post(
    'save',
    always(async function takeBackEncryptedFields(this: unknown, error: Error, _doc: unknown, _next: unknown) {
      throw await takeBack(this as Doc, error)
    }) as never,
  )
}

const finalised = new WeakSet<AnySchema>()

/** Adds the hooks that must be the last of their kind. Called when the schema is compiled to a model. */
export function finalise(schema: AnySchema): void {
  if (finalised.has(schema)) return
  finalised.add(schema)
  addSaveHooks(schema)
  addFinalHooks(schema, () => true)
  if (layoutOf(schema).inSubdocuments) addLoadHooks(schema, openSubdocumentsOnLoad)
}

/** Whether the final hooks are on a model's schema: its own, or that of the base model whose hooks it has too. */
function isFinalised(model: AnyModel): boolean {
  for (let each = model; each?.schema; each = Object.getPrototypeOf(each)) if (finalised.has(each.schema)) return true
  return false
}

/** Hooks that are to see what the user's own hooks did. `isActive` tells whether they are the ones to act for a model. */
function addFinalHooks(schema: AnySchema, isActive: (model: AnyModel) => boolean): void {
  const isFor = (doc: unknown) => isActive((doc as Doc).constructor as unknown as AnyModel)
  addQueryHooks(schema, isActive)
  schema.post(
    'validate',
    always(async function validateEncryptedFields(this: unknown) {
      if (!isFor(this)) return
      const doc = this as Doc
      const error = await validateDocument(doc, undefined)
      if (error) throw error
      if (requests.get(doc)?.stageAfterValidation) await stageDocument(doc)
    }) as never,
  )
  schema.post(
    'validate',
    always(async function addEncryptedFieldErrors(this: unknown, error: Error, _doc: unknown, _next: unknown) {
      const isPartial = error.name === 'ValidationError' && !complete.has(error)
      throw isPartial && isFor(this) ? await validateDocument(this as Doc, error) : error
    }) as never,
  )
  schema.pre(
    'save',
    always(async function encryptFields(this: unknown) {
      if (!isFor(this)) return
      const doc = this as Doc
      if (requests.get(doc)?.validateFirst) {
        const error = await validateDocument(doc, undefined)
        if (error) throw error
      }
      await stageDocument(doc)
    }) as never,
  )
}

/** Encrypts what was modified. Where one data key fails, nothing stays on the document from the others. */
export async function stageDocument(doc: Doc): Promise<void> {
  const parts = partsOf(doc)
  try {
    await Promise.all(parts.flatMap(recordsOf).map(stage))
  } catch (error) {
    for (const record of parts.flatMap(touchedRecordsOf)) rollback(record)
    throw error
  }
}

/** Ends a write whose outcome the document itself shows. */
export function settle(doc: Doc): void {
  for (const record of partsOf(doc).flatMap(touchedRecordsOf)) (wasWritten(record) ? commit : rollback)(record)
}

/** After a failed save: the document as the user had it, and the error to throw. */
async function takeBack(doc: Doc, error: Error): Promise<Error> {
  const missed = error.name === 'DocumentNotFoundError' || error.name === 'VersionError'
  const overtaken = missed ? await findOvertaken(doc) : undefined
  const isGuarded =
    missed && partsOf(doc).some((part) => part !== doc && touchedRecordsOf(part).some(({ staged }) => staged?.guard))
  settle(doc)
  if (overtaken) {
    refresh(overtaken)
    return overtakenError(doc, overtaken, error)
  }
  return isGuarded && (await fetchStored(doc, [])) ? overtakenSubdocumentError(doc, error) : error
}

async function validateDocument(doc: Doc, error: Error | undefined): Promise<unknown> {
  const selection = selections.get(doc) ?? {}
  selections.delete(doc)
  const request = requests.get(doc)
  if (request) request.validateFirst = false
  let merged: unknown = error
  for (const record of recordsOf(doc)) {
    const { ValidationError } = record.config.host.mongoose.Error
    const errors = await validateFields(record, selection)
    // A subdocument's errors count for its owner only when they are reported to it.
    if (doc.$isSubdocument) for (const [path, fieldError] of Object.entries(errors)) doc.invalidate(path, fieldError)
    merged = mergeErrors(doc, merged, errors, ValidationError as never)
  }
  if (merged) complete.add(merged as Error)
  return merged
}

function note(doc: Doc, args: unknown[]): void {
  const options = args.find((arg) => typeof arg === 'object' && arg !== null && !Array.isArray(arg))
  const schemaDefault = (doc.constructor as unknown as { schema: AnySchema }).schema.get(
    'validateModifiedOnly' as never,
  )
  const selection = selectionOf(pathsToValidateOf(doc), options)
  selections.set(doc, { ...selection, validateModifiedOnly: selection.validateModifiedOnly || Boolean(schemaDefault) })
}

function addLoadHooks(schema: AnySchema, open: (doc: Doc) => Promise<unknown>): void {
  const operations = ['find', 'findOne', 'findOneAndUpdate', 'findOneAndReplace', 'findOneAndDelete'] as const
  for (const operation of operations) {
    schema.post(
      operation as never,
      async function openLoadedRecords(this: Query<unknown, unknown>, result: unknown) {
        await Promise.all(documentsOf(result).map(open))
      } as never,
    )
  }
}

/** The documents among what a query gives: an array, one document, raw metadata around one, null, or lean objects. */
function documentsOf(result: unknown): Doc[] {
  if (Array.isArray(result)) return result.filter(isDocument)
  if (isDocument(result)) return [result]
  const value = (result as { value?: unknown } | null | undefined)?.value
  return isDocument(value) ? [value] : []
}

function isDocument(value: unknown): value is Doc {
  return typeof value === 'object' && value !== null && '$isNew' in value && 'schema' in value.constructor
}

async function openSubdocumentsOnLoad(doc: Doc): Promise<void> {
  const opened = partsOf(doc)
    .filter((part) => part !== doc)
    .flatMap((part) => layoutFor(part).configs.map((config) => ({ part, config })))
    .filter(({ config }) => config.decrypt === 'onLoad')
  await Promise.all(opened.map(({ part, config }) => openOnLoad(config, part)))
}

/** A record that cannot be opened must not break the find: what was wrong is thrown on access to its fields. */
async function openOnLoad(config: Config, doc: Doc): Promise<void> {
  const record = recordOf(config, doc)
  const opened = await Promise.allSettled([...config.fields.byName.keys()].map((name) => openFields(record, [name])))
  record.failure = opened.find((result) => result.status === 'rejected')?.reason
}
