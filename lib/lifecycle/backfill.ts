import { ConfigurationError } from '../errors'
import { encodeEnvelope } from '../format/envelope'
import { inFieldTerms } from '../gate/duplicates'
import { gateOf } from '../gate/passes'
import { sessionOnly } from '../gate/request'
import {
  type AnyModel,
  type Doc,
  type Host,
  hostOf,
  modelOf,
  ownerOf,
  type Plain,
  schemaOf,
  valuesOf,
} from '../mongoose/host'
import { recordOf } from '../mongoose/model'
import { callsToOpen } from '../record/calls'
import { filterOf, sessionOf, storedOf } from '../record/fetching'
import { recordName } from '../record/identity'
import { indexValuesOf, prefixOf } from '../record/indexes'
import { placeOf, plaintextFound } from '../record/opening'
import { allInOrder, valuesOf as allOf } from '../record/outcomes'
import { partsWithin, requireWriting, rewrite } from '../record/rewriting'
import { encryptedPartsOf } from '../record/staging'
import type { Box } from '../schema/box'
import type { JobOptions, JobResult } from '../schema/jobs'
import { fieldsBelow, layoutOf, type Place } from '../schema/layout'
import type { Use } from '../schema/use'
import { indexKeyUseOf, usesOf } from '../schema/uses'
import type { BlindIndex } from '../search/declaration'
import { isStale, staleFilter, staleValues } from '../search/stale'
import { rewriteRead } from './attempts'
import { runJob } from './job'

/**
 * Makes the index values of records that were stored before their fields were indexed, or with other versions of the index. They
 * are written only while the values that they are of are stored, and no such index values: whoever writes meanwhile writes their own.
 *
 * @throws {ConfigurationError} OPTION_INVALID; {KeyProviderError} when the KMS does not open the index key
 */
export async function backfillBlindIndexes(model: AnyModel, options?: JobOptions): Promise<JobResult> {
  const name = `${model.modelName}.backfillBlindIndexes()`
  const layout = layoutOf([model])
  const conditions = requireIndexes(model, layout, name)
  return runJob(
    {
      model,
      name,
      condition: { $or: conditions },
      begin: () => openIndexKeys(layout),
      run: (stored) => rewriteRead(model, stored, deed, (fresh, now) => backfill(encryptedPartsOf(fresh), now, {})),
      calls: (stored) => callsToIndex(recordOf(model, stored), stored),
    },
    options,
  )
}

/** What is done, for messages. */
const deed = 'give it its index values'

/**
 * The same for one record, or for a subdocument of it.
 *
 * @throws {ConfigurationError} OPTION_INVALID; {KeyProviderError} when the KMS does not open the index key; {DecryptionError} when a value cannot be had;
 *   {RecordError} RECORD_CHANGED, ID_NOT_SELECTED; {DocumentNotFoundError} Mongoose's own, when the record is not stored
 */
export async function backfillDocument(doc: Doc): Promise<void> {
  const model = modelOf(ownerOf(doc))
  requireIndexes(model, layoutOf([model]), `${recordName(doc)}.backfillBlindIndexes()`)
  await rewrite(doc, deed, (owner, fresh, stored) =>
    backfill(partsWithin(fresh, doc), stored, sessionOnly({ session: sessionOf(owner) })),
  )
}

/**
 * @returns what finds records with stale index values
 * @throws {ConfigurationError} OPTION_INVALID where the model has no index
 */
function requireIndexes({ schema }: AnyModel, layout: Place, name: string): Plain[] {
  const conditions = staleIn(hostOf(schema), layout)
  if (conditions.length > 0) return conditions
  throw new ConfigurationError(
    'OPTION_INVALID',
    `${name}: no field of this model has a blind index. Ask the model that has the field, or give the field the option blindIndex.`,
  )
}

/** What finds records with stale index values. Of several discriminators with one field, each may be asked for the index of another. */
function staleIn(host: Host, place: Place, prefix = ''): Plain[] {
  const below = [...place.children].flatMap(([segment, child]) => {
    if (!child.isArray) return staleIn(host, child, `${prefix}${segment}.`)
    return staleIn(host, child).map((condition) => ({ [`${prefix}${segment}`]: { $elemMatch: condition } }))
  })
  return [...place.indexes.map((index) => staleFilter(index, prefix, host.binary)), ...below]
}

/** Asks the KMS for the index keys of all indexes once, before the first record is asked for. */
export function openIndexKeys(layout: Place): Promise<unknown> {
  const fields = fieldsBelow(layout).flatMap(({ place }) => place.fields)
  const uses = fields.filter(({ field, use }) => use.indexed.has(field.name))
  return allInOrder(uses.map(async ({ use, record }) => indexKeyUseOf(use, record).indexKey?.open()))
}

/** @returns whether index values were written; nothing where another write came between */
async function backfill(parts: readonly Doc[], stored: Plain, options: Plain): Promise<boolean | undefined> {
  const stale = staleOf(parts, stored)
  if (stale.length === 0) return false
  for (const { part, use } of stale) requireWriting([part], (each) => each === use)
  const settled = await Promise.allSettled(stale.map(makeValues))
  // What was erased has no value that it could be found by.
  const outcomes = settled.filter((each) => each.status === 'fulfilled' || each.reason?.code !== 'ERASED')
  if (outcomes.length === 0) return false
  const made = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []))
  const isWritten = made.length === 0 || (await write(ownerOf(parts[0] as Doc), stored._id, made, options))
  // A field that is damaged does not keep the others from being found.
  allOf(outcomes)
  return isWritten || undefined
}

function callsToIndex(doc: Doc, stored: Plain): number {
  const stale = staleOf(encryptedPartsOf(doc), stored)
  return callsToOpen(doc, ({ owner, field }) =>
    stale.some(({ part, index }) => part === owner && index.fields.includes(field.name)),
  )
}

/** An index of a record or of a subdocument in it. */
interface Stale {
  readonly part: Doc
  /** What is stored of it. */
  readonly raw: Plain
  readonly use: Use
  readonly index: BlindIndex
}

function staleOf(parts: readonly Doc[], stored: Plain): Stale[] {
  return parts.flatMap((part) => {
    const raw = storedOf(part, stored) ?? {}
    return usesOf(schemaOf(part)).flatMap((use) =>
      use.indexes.filter((index) => isStale(index, raw)).map((index) => ({ part, raw, use, index })),
    )
  })
}

/** Index values, and what must be stored still when they are written. */
interface Made {
  readonly path: string
  readonly values: unknown
  readonly conditions: readonly Plain[]
}

async function makeValues({ part, raw, use, index }: Stale): Promise<Made> {
  const { binary } = use.host
  const prefix = prefixOf(part)
  const values = await indexValuesOf(part, use, index, raw)
  for (const name of index.fields) {
    const box = valuesOf(part)[name] as Box
    if (box.clear) throw plaintextFound(placeOf(box))
  }
  const envelopes = index.fields.map((name) => {
    const { lastEnvelope } = valuesOf(part)[name] as Box
    return { [`${prefix}${name}`]: encodeEnvelope(lastEnvelope as Uint8Array, binary) }
  })
  return { path: `${prefix}${index.path}`, values, conditions: [...envelopes, staleValues(index, prefix, binary)] }
}

/** Past the gate: here envelopes are conditions, and neither fields nor hooks are touched. */
async function write(doc: Doc, _id: unknown, made: readonly Made[], options: Plain): Promise<boolean> {
  const gate = gateOf(modelOf(doc).collection)
  // The `_id` as it is stored, which need not be of the type that the schema says.
  const filter = { ...filterOf(doc), _id, $and: made.flatMap(({ conditions }) => conditions) }
  const $set = Object.fromEntries(made.map(({ path, values }) => [path, values]))
  try {
    const { matchedCount } = await gate.native.updateOne(filter, { $set }, options)
    return matchedCount === 1
  } catch (error) {
    if ((error as { code?: unknown }).code !== 11000 || made.length === 1) throw inFieldTerms([gate], error)
    // A value that another record has already does not keep the others from being found.
    const apart = await allInOrder(made.map((each) => write(doc, _id, [each], options)))
    return apart.every(Boolean)
  }
}
