import { ConfigurationError, RecordError } from '../errors'
import { envelopeOf, envelopeSubtype } from '../format/envelope'
import { inFieldTerms } from '../gate/duplicates'
import { gateOf } from '../gate/passes'
import { type AnyModel, type AnySchema, type Doc, modelOf, type Plain, schemaOf, valuesOf } from '../mongoose/host'
import { recordOf } from '../mongoose/model'
import { discriminatorOf, discriminatorsOf } from '../mongoose/schema'
import { filterOf } from '../record/fetching'
import { modelNameOf, recordName } from '../record/identity'
import { openBox } from '../record/opening'
import { allInOrder, valuesOf as allOf } from '../record/outcomes'
import { refresh } from '../record/refreshing'
import type { Box } from '../schema/box'
import type { JobOptions, JobResult } from '../schema/jobs'
import type { Use } from '../schema/use'
import { fieldsOf } from '../schema/uses'
import { isStale, staleFilter, staleIndex } from '../search/stale'
import type { BlindIndex, IndexKey } from '../search/value'
import { runJob } from './job'

/** How often a record is tried again when another write comes between its reading and its writing. */
const maxAttempts = 5

/**
 * Makes the index values of records that were stored before their fields were indexed. Each is written only while the value that it is of
 * is stored, and no index value is: whoever writes meanwhile writes one of their own.
 *
 * @throws {ConfigurationError} OPTION_INVALID; {KeyProviderError} when the KMS does not open the index key
 */
export async function backfillBlindIndexes(model: AnyModel, options?: JobOptions): Promise<JobResult> {
  const name = `${model.modelName}.backfillBlindIndexes()`
  const own = indexedOf(model.schema)
  const others = discriminatorsOf(model.schema).flatMap((schema) => {
    const { key, value } = discriminatorOf(schema) as { key: string; value: unknown }
    const added = indexedOf(schema).filter(({ index }) => own.every((each) => each.index !== index))
    return added.map((each) => ({ ...each, of: { [key]: value } }))
  })
  const all = [...own.map((each) => ({ ...each, of: {} })), ...others]
  if (all.length === 0) {
    throw new ConfigurationError(
      'OPTION_INVALID',
      `${name}: no field of this model has a blind index. Ask the model that has the field, or give the field the option blindIndex.`,
    )
  }
  const job = {
    model,
    name,
    condition: { $or: all.map(({ index, of }) => ({ ...of, ...staleFilter(index) })) },
    begin: () => allInOrder(all.map(({ use }) => indexKeyOf(use))),
    run: (stored: Plain) => backfill(recordOf(model, stored), stored),
  }
  return runJob(job, options)
}

interface Indexed {
  readonly index: BlindIndex
  readonly use: Use
}

/** The blind indexes of a schema. */
function indexedOf(schema: AnySchema): Indexed[] {
  return fieldsOf(schema).flatMap(({ field: { index }, use }) => (index ? [{ index, use }] : []))
}

function indexKeyOf({ indexKey }: Use): Promise<IndexKey> {
  return indexKey?.open() as Promise<IndexKey>
}

/** @returns whether an index value was written */
async function backfill(doc: Doc, read: Plain): Promise<boolean> {
  const { native } = gateOf(modelOf(doc).collection)
  let stored: Plain | null = read
  for (let attempt = 1; attempt <= maxAttempts; attempt++) {
    const stale = indexedOf(schemaOf(doc)).filter(({ index }) => isStale(index, stored as Plain))
    if (stale.length === 0) return false
    const outcomes = await Promise.allSettled(stale.map((each) => makeValue(doc, each)))
    const made = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []))
    const isWritten = made.length === 0 || (await write(doc, stored, made))
    // A field that is damaged does not keep the others from being found.
    allOf(outcomes)
    if (isWritten) return true
    stored = await native.findOne({ _id: stored._id })
    if (!stored) return false
    refresh(doc, stored)
  }
  throw new RecordError(
    'RECORD_CHANGED',
    `${recordName(doc)}: other writes changed the record during each of ${maxAttempts} attempts to give it its index values. Try again.`,
  )
}

/** An index value, and the envelope of the value that it was made of. */
interface Made {
  readonly index: BlindIndex
  readonly envelope: unknown
  readonly value: unknown
}

async function makeValue(doc: Doc, { index, use }: Indexed): Promise<Made> {
  const box = valuesOf(doc)[index.field] as Box
  const key = await indexKeyOf(use)
  await openBox(box)
  const { binary } = use.host
  return {
    index,
    envelope: binary(envelopeOf(box.lastEnvelope) as Uint8Array, envelopeSubtype),
    value: binary(key.valueOf(modelNameOf(doc), index, box.stored())),
  }
}

/** Past the gate: here envelopes are conditions, and neither fields nor hooks are touched. */
async function write(doc: Doc, { _id }: Plain, made: readonly Made[]): Promise<boolean> {
  const gate = gateOf(modelOf(doc).collection)
  const conditions = made.map(({ index, envelope }) => ({ [index.field]: envelope, ...staleIndex(index) }))
  const $set = Object.fromEntries(made.map(({ index, value }) => [index.path, value]))
  try {
    // The `_id` as it is stored, which need not be of the type that the schema says.
    const filter = { ...filterOf(doc), ...Object.assign({}, ...conditions), _id }
    const { matchedCount } = await gate.native.updateOne(filter, { $set })
    return matchedCount === 1
  } catch (error) {
    if ((error as { code?: unknown }).code !== 11000 || made.length === 1) throw inFieldTerms([gate], error)
    // A value that another record has already does not keep the others from being found.
    const apart = await allInOrder(made.map((each) => write(doc, { _id }, [each])))
    return apart.every(Boolean)
  }
}
