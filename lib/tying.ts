import { equalities, idOfFilter, matchingNothing, tiedFilter } from './conditions'
import type { Config } from './config'
import { contentOf } from './contents'
import { learnDependencies, projectionOf } from './dependencies'
import { encodeWrappedKey } from './format/entry'
import { OperationError } from './errors'
import type { Field } from './fields'
import { translateFilter } from './filters'
import { guard } from './guards'
import type { AnyModel, AnySchema, Doc } from './host'
import { layoutFor, layoutOf, locate } from './layout'
import { idOf } from './naming'
import { type EncryptedRecord, recordOf } from './record'
import { recordsOf } from './records'
import type { Filter, Request, Tie, TiedWrite } from './requests'
import { assigned, mint, Sealed } from './sealed'
import { refuseArrayFilters, refuseContextChange, refuseForeign, type SplitUpdate, splitUpdate } from './updates'
import { mergeErrors, validateFields } from './validation'
import { stage } from './writing'

/**
 * Encrypts the values of an update under the data key of the record that it reaches: one read, and one call to the KMS
 * at the most. The write is tied to that record and key, so a record that changed hands meanwhile is not reached.
 *
 * @throws {OperationError} {RecordError} when the update cannot be honoured; {KeyProviderError} when the KMS refuses
 */
export async function tieUpdate(request: Request, update: unknown, many: boolean): Promise<TiedWrite<unknown>> {
  const { model, place, upsert } = request
  const { schema } = model
  const { configs } = layoutOf(schema)
  const filter = translateFilter(schema, request.filter, place) as Filter
  learnDependencies(model, configs)
  refuseContextChange(configs, update, place)
  refuseArrayFilters(schema, update, request.arrayFilters, place)
  const split = withoutImmutable(schema, splitUpdate(schema, update, place))
  if (request.runValidators) await validateEmptied(model, split)
  const unencrypted = withoutValues(schema, split)
  if (unencrypted) return { filter, content: unencrypted, upsert }
  if (many) {
    throw new OperationError(
      'UPDATE_REFUSED',
      `${place}: every record has a data key of its own, so one value cannot be written to many. Update them one by one: ` +
        `for await (const record of ${model.modelName}.find(filter)) { … await record.save() }, or bulkWrite() with an updateOne each.`,
    )
  }
  const found = await request.find(filter, projectionOf(configs))
  if (found) return tieToFound(request, filter, split, model.hydrate(found) as unknown as Doc)
  if (!upsert) {
    // An update may not be empty; without an upsert this operator does nothing.
    const content = { ...split.clear, $setOnInsert: Object.fromEntries(configs.map(({ keyPath }) => [keyPath, null])) }
    return { filter: matchingNothing(filter), content, upsert }
  }
  return tieToInserted(request, filter, split)
}

/** The same for a replacement, which brings a data key of its own. */
export async function tieReplacement(request: Request, replacement: unknown): Promise<TiedWrite<unknown>> {
  const { model, place, upsert } = request
  const filter = translateFilter(model.schema, request.filter, place) as Filter
  const given = await contentOfReplacement(model, replacement)
  const found = await request.find(filter, { _id: 1 })
  const id = found?._id ?? idOfFilter(filter) ?? given._id
  // A discriminator where the replacement says so.
  const doc = new model({ ...given, ...(id === undefined ? {} : { _id: id }) }) as unknown as Doc
  const { byField } = layoutFor(doc)
  const content = Object.fromEntries(Object.entries(given).filter(([path]) => !byField.has(path)))
  for (const path of Object.keys(content)) refuseForeign(model.schema, path, place)
  if (!found && !upsert) return { filter: matchingNothing(filter), content, upsert }
  await stageAll(doc, request)
  for (const record of recordsOf(doc)) Object.assign(content, stagedValues(record))
  return {
    filter: tiedFilter(filter, idOf(doc)),
    content,
    upsert: upsert && !found,
    tie: { id: idOf(doc), keys: usedKeys(doc) },
  }
}

/** As for any path, an update does not empty what is immutable. Values for it are left out when they are assigned. */
function withoutImmutable(schema: AnySchema, split: SplitUpdate): SplitUpdate {
  const isMutable = (name: string) => !fieldOf(schema, name).immutable
  const set = new Map([...split.set].filter(([name, value]) => value !== null || isMutable(name)))
  return { ...split, set, unset: new Set([...split.unset].filter(isMutable)) }
}

/** Validates the fields that an update empties; those that it gives values are validated when they are assigned. */
async function validateEmptied(model: AnyModel, { set, unset }: SplitUpdate): Promise<void> {
  const emptied = new Map<string, unknown>([...set].filter(([, value]) => value === null))
  for (const name of unset) emptied.set(name, undefined)
  if (emptied.size === 0) return
  const doc = model.hydrate({}) as unknown as Doc
  const { byField } = layoutOf(model.schema)
  for (const [name, value] of emptied) recordOf(byField.get(name) as Config, doc).set(name, value)
  for (const record of recordsOf(doc)) {
    const { ValidationError } = record.config.host.mongoose.Error
    const errors = await validateFields(record, { paths: [...emptied.keys()] })
    const error = mergeErrors(doc, undefined, errors, ValidationError as never)
    if (error) throw error
  }
}

/** An update without a value to encrypt needs no key: `null` is stored as it is, and a field is removed by its path. */
function withoutValues(schema: AnySchema, split: SplitUpdate): unknown {
  const { clear, set, setOnInsert, unset } = split
  if (Array.isArray(clear)) return clear
  const isEmpty = ([, value]: [string, unknown]) => value === null || value === undefined
  if (![...set, ...setOnInsert].every(isEmpty)) return undefined
  const update: Record<string, any> = { ...clear }
  for (const [operator, values] of [
    ['$set', set],
    ['$setOnInsert', setOnInsert],
  ] as const) {
    // As for any path, `undefined` leaves what is stored.
    const nulls = [...values].filter(([, value]) => value === null).map(([name]) => [storedPath(schema, name), null])
    if (nulls.length > 0) update[operator] = { ...update[operator], ...Object.fromEntries(nulls) }
  }
  if (unset.size > 0) update.$unset = { ...update.$unset, ...unsetPaths(schema, unset) }
  return update
}

async function tieToFound(request: Request, filter: Filter, split: SplitUpdate, doc: Doc): Promise<TiedWrite<unknown>> {
  assign(doc, split.set)
  await stageAll(doc, request)
  const update: Record<string, any> = { ...(split.clear as Record<string, any>) }
  const conditions: Filter[] = []
  for (const record of recordsOf(doc)) {
    const { config, staged } = record
    const values = stagedFields(record)
    if (Object.keys(values).length > 0) update.$set = { ...update.$set, ...values }
    const used = staged?.used
    if (used?.added) {
      // Pushed, not set: another first writer's key stays beside it.
      update.$push = { ...update.$push, [config.keyPath]: mint(encodeWrappedKey(used.added, config.host.binary)) }
    } else if (used) conditions.push(guard(config, used))
  }
  if (split.unset.size > 0) update.$unset = { ...update.$unset, ...unsetPaths(request.model.schema, split.unset) }
  const tied = tiedFilter(filter, idOf(doc))
  return {
    filter: conditions.length > 0 ? { $and: [tied, ...conditions] } : tied,
    content: update,
    // Were the record deleted meanwhile, an upsert would insert ciphertext without its key.
    upsert: false,
    tie: { id: idOf(doc), keys: usedKeys(doc) },
  }
}

async function tieToInserted(request: Request, filter: Filter, split: SplitUpdate): Promise<TiedWrite<unknown>> {
  const { model } = request
  const clear = split.clear as Record<string, any>
  const inserted = { ...equalities(filter), ...clear.$setOnInsert, ...clear.$set, ...withoutOperators(clear) }
  const id = inserted._id
  const doc = new model({ ...inserted, ...(id === undefined ? {} : { _id: id }) }) as unknown as Doc
  assign(doc, split.setOnInsert)
  assign(doc, split.set)
  if (!request.setDefaults) for (const record of recordsOf(doc)) skipDefaults(record)
  await stageAll(doc, request)
  const update: Record<string, any> = { ...clear }
  const conditions: Filter = {}
  const paths = new Set([...split.set.keys()].map((name) => storedPath(model.schema, name)))
  for (const record of recordsOf(doc)) {
    const values = stagedValues(record)
    if (Object.keys(values).length === 0) continue
    // Should a record with this `_id` have come up meanwhile, its keys must not be written over, nor its other fields.
    conditions[record.config.keyPath] = null
    const isSet = ([path]: [string, unknown]) => path === record.config.keyPath || paths.has(path)
    update.$set = { ...update.$set, ...Object.fromEntries(Object.entries(values).filter(isSet)) }
    const others = Object.entries(values).filter((entry) => !isSet(entry))
    if (others.length > 0) update.$setOnInsert = { ...update.$setOnInsert, ...Object.fromEntries(others) }
  }
  return {
    filter: { ...tiedFilter(filter, idOf(doc)), ...conditions },
    content: update,
    upsert: true,
    tie: { id: idOf(doc), keys: usedKeys(doc) },
  }
}

function assign(doc: Doc, values: ReadonlyMap<string, unknown>): void {
  const { byField } = layoutOf((doc.constructor as unknown as AnyModel).schema)
  for (const [name, value] of values) {
    if (value !== undefined) recordOf(byField.get(name) as Config, doc).set(name, value)
  }
}

/** Encrypts what was assigned. What cannot be cast is refused, and what is not valid where validators are to run. */
async function stageAll(doc: Doc, request: Request): Promise<void> {
  for (const record of recordsOf(doc)) {
    const selection = { paths: [...record.assigned] }
    const errors = Object.entries(await validateFields(record, selection))
    const castError = errors.find(([, error]) => error.name === 'CastError')?.[1]
    if (castError) throw castError
    const { ValidationError } = record.config.host.mongoose.Error
    if (request.runValidators && errors.length > 0) {
      throw mergeErrors(doc, undefined, Object.fromEntries(errors), ValidationError as never)
    }
    await stage(record)
  }
}

function skipDefaults(record: EncryptedRecord): void {
  const names = [...record.config.fields.byName.keys()].filter((name) => !record.known.has(name))
  record.learn(Object.fromEntries(names.map((name) => [name, undefined])))
}

/** The envelopes that were staged, by their stored paths. */
function stagedFields(record: EncryptedRecord): Record<string, Sealed | null> {
  const paths = [...(record.staged?.fields.keys() ?? [])].map((name) => record.field(name).storedPath)
  return Object.fromEntries(paths.map((path) => [path, (record.doc[path] ?? null) as Sealed | null]))
}

/** The same with the wrapped keys. */
function stagedValues(record: EncryptedRecord): Record<string, unknown> {
  const fields = stagedFields(record)
  const { keyPath } = record.config
  // A null would be refused as an assignment by whoever replaces a record; sealed, it is ours.
  const values = Object.fromEntries(Object.entries(fields).map(([path, value]) => [path, value ?? mint(null)]))
  return record.staged?.used ? { ...values, [keyPath]: record.doc[keyPath] } : values
}

function usedKeys(doc: Doc): Tie['keys'] {
  return recordsOf(doc).flatMap(({ config, staged }) => (staged?.used ? [{ config, used: staged.used }] : []))
}

function withoutOperators(update: Record<string, any>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(update).filter(([key]) => !key.startsWith('$')))
}

/** A replacement as the user means it, with its fields in the clear. */
async function contentOfReplacement(model: AnyModel, replacement: unknown): Promise<Record<string, unknown>> {
  if (replacement instanceof model) return contentOf(replacement as unknown as Doc)
  const given = { ...(replacement as Record<string, unknown> | null | undefined) }
  for (const [path, value] of Object.entries(given)) {
    if (locate(model.schema, path)?.stored && !(value instanceof Sealed)) throw assigned(path)
  }
  return given
}

function storedPath(schema: AnySchema, name: string): string {
  return fieldOf(schema, name).storedPath
}

function fieldOf(schema: AnySchema, name: string): Field {
  return layoutOf(schema).byField.get(name)!.fields.byName.get(name)!
}

function unsetPaths(schema: AnySchema, names: ReadonlySet<string>): Record<string, 1> {
  return Object.fromEntries([...names].map((name) => [storedPath(schema, name), 1]))
}
