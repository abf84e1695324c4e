import { ConfigurationError, RecordError } from '../errors'
import { envelopeOf, looksLikeEnvelope } from '../format/envelope'
import { type AnyModel, type Doc, isDocument, ownerOf, type Plain, schemaOf } from '../mongoose/host'
import { withValueAt } from '../mongoose/plain'
import { perSchema, shapeOf } from '../mongoose/schema'
import { fieldsBelow, layoutOf } from '../schema/layout'
import { envelopeAt } from '../schema/type'
import type { Use } from '../schema/use'
import { ownerUseOf, usesOf } from '../schema/uses'
import { readAhead, sourceOf } from './cursors'
import { pathWithin, storedOf } from './fetching'
import { nameOf } from './identity'
import { openDocument, openOnLoad, plainFieldsOf } from './opening'
import { allInOrder, keepingBusy, settleEach, valuesOf } from './outcomes'
import { encryptedPartsOf } from './staging'

/** What `decrypt()` of a document gives: the plain values of its fields. */
export async function decryptDocument(doc: Doc): Promise<Plain> {
  await openDocument(doc)
  return plainFieldsOf(doc)
}

/** How `Model.decrypt()` opens many records. */
export interface DecryptManyOptions {
  /** Gives for each record its values or its error, as `Promise.allSettled()` does, instead of failing by the first. */
  readonly settled?: boolean
}

/**
 * What `Model.decrypt()` gives: of documents their fields, of lean objects copies with the values in place; of an array
 * a promise of theirs, of a cursor an iteration.
 */
export function decryptRecords(
  model: AnyModel,
  records: unknown,
  options: DecryptManyOptions = {},
): Promise<unknown> | AsyncIterable<unknown> {
  const source = Object(records) === records && !isDocument(records) ? sourceOf(records) : undefined
  if (!source) return decryptAll(model, records, options)
  const isSettled = checkOptions(model, options)
  const { op = 'find' } = records as { op?: string }
  if (op !== 'find') throw invalid(model, `a query of ${op}() gives no cursor. Await it first`)
  const outcomes = readAhead(source, keepingBusy(concurrencyOf(model)), (record) => decryptRecord(model, record))
  return isSettled ? outcomes : values(outcomes)
}

/** Opens what a query gave, where it is to be open before the application has it. */
export async function openAllOnLoad(docs: readonly Doc[], concurrency: number): Promise<void> {
  const open = (doc: Doc) => Promise.all(encryptedPartsOf(doc).map(openOnLoad))
  await settleEach(docs, keepingBusy(concurrency), open, () => false)
}

async function decryptAll(model: AnyModel, records: unknown, options: DecryptManyOptions): Promise<unknown> {
  const isSettled = checkOptions(model, options)
  if (Array.isArray(records)) {
    const outcomes = await settleEach(
      records,
      keepingBusy(concurrencyOf(model)),
      (record) => decryptRecord(model, record),
      ({ status }) => status === 'rejected' && !isSettled,
    )
    return isSettled ? outcomes : valuesOf(outcomes)
  }
  if (isSettled) throw invalid(model, 'settled: expected an array or a cursor')
  return decryptRecord(model, records)
}

async function* values<T>(outcomes: AsyncIterable<PromiseSettledResult<T>>): AsyncGenerator<T, void, undefined> {
  for await (const outcome of outcomes) yield* valuesOf([outcome])
}

function checkOptions(model: AnyModel, options: unknown): boolean {
  if (Object(options) !== options) throw invalid(model, 'expected an object of options')
  const { settled = false, ...others } = options as DecryptManyOptions
  if (typeof settled !== 'boolean') throw invalid(model, 'settled: expected true or false')
  const [unknown] = Object.keys(others)
  if (unknown !== undefined) throw invalid(model, `there is no option ${unknown}`)
  return settled
}

function invalid(model: AnyModel, fault: string): ConfigurationError {
  return new ConfigurationError('OPTION_INVALID', `${nameOf(model)}.decrypt(): ${fault}.`)
}

/** How many data keys of records the providers of a model open at once: more records at a time would only wait. */
export function concurrencyOf(model: AnyModel): number {
  return mostAtOnce(usesBelow(model.schema))
}

const usesBelow = perSchema(
  (schema) => new Set(fieldsBelow(layoutOf([{ schema }])).flatMap(({ place }) => place.fields.map(({ use }) => use))),
  shapeOf,
)

/** The same of uses of the plugin. */
export function mostAtOnce(uses: Iterable<Use>): number {
  return Math.max(1, ...Array.from(uses, ({ keys }) => keys.concurrency))
}

async function decryptRecord(model: AnyModel, record: unknown): Promise<unknown> {
  if (record === null || record === undefined) return record
  if (typeof record !== 'object') {
    throw new TypeError(`${nameOf(model)}.decrypt(): expected documents or lean objects, got ${typeof record}`)
  }
  return isDocument(record) ? decryptDocument(record) : decryptLean(model, record)
}

async function decryptLean(model: AnyModel, lean: Plain): Promise<Plain> {
  if (lean._id === undefined || lean._id === null) {
    throw new RecordError(
      'ID_NOT_SELECTED',
      `${nameOf(model)}.decrypt(): the lean object has no _id. Select it when loading.`,
    )
  }
  const doc = (model as unknown as { hydrate(values: Plain): Doc }).hydrate(lean)
  const parts = encryptedPartsOf(doc)
  for (const part of parts) checkKeys(model, part, lean)
  await allInOrder(parts.map(openDocument))
  let result: any = lean
  for (const part of parts) result = withValueAt(result, pathWithin(part), opened(storedOf(part, result), part))
  refuseForeign(model, doc, result)
  return result
}

function checkKeys(model: AnyModel, part: Doc, lean: Plain): void {
  const stored = storedOf(part, lean)
  for (const use of usesOf(schemaOf(part))) {
    const keys = use.byOwner ? ownerUseOf(schemaOf(ownerOf(part)), use) : use
    const holder = use.byOwner ? lean : stored
    if (!stored || !keys || holder?.[keys.keyPath] !== undefined) continue
    if (![...use.fields.values()].some((field) => envelopeAt({ field, use }, stored[field.name]))) continue
    throw new RecordError(
      'KEY_NOT_SELECTED',
      `${nameOf(model)}.decrypt(): ${keys.keyPath} was not selected. Select it, too.`,
    )
  }
}

/** What is still encrypted by now would pass for a value. */
function refuseForeign(model: AnyModel, doc: Doc, result: Plain): void {
  const path = Object.keys(result).find((key) => {
    const bytes = schemaOf(doc).path(key) ? undefined : envelopeOf(result[key])
    return bytes && looksLikeEnvelope(bytes)
  })
  if (path === undefined) return
  throw new RecordError(
    'RECORD_FOREIGN',
    `${nameOf(model)}.decrypt(): ${path} is encrypted, and is no field of this model. Decrypt the object by the model that it is of, and select ` +
      'its discriminator key.',
  )
}

/**
 * A copy of what is stored of a part, with its values in the place of envelopes and without its wrapped keys. What is not there was
 * not selected or is not stored: a default would pass for what is.
 */
function opened(stored: Plain | undefined, part: Doc): Plain {
  const copy = { ...stored }
  const plain = plainFieldsOf(part)
  for (const use of usesOf(schemaOf(part))) {
    delete copy[use.keyPath]
    for (const name of use.fields.keys())
      if (name in copy || (use.from && plain[name] !== undefined)) copy[name] = plain[name]
    for (const path of use.fromPaths) delete copy[path]
    for (const { path } of use.indexes) delete copy[path]
  }
  return copy
}
