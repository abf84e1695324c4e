import { ConfigurationError, RecordError } from '../errors'
import { sameBytes } from '../format/bytes'
import { clearAt, isAsRead } from '../gate/conditions'
import { inFieldTerms } from '../gate/duplicates'
import { gateOf } from '../gate/passes'
import { sessionOnly } from '../gate/request'
import { updateOne } from '../gate/update'
import { type AnyModel, type Doc, isStoredAlike, modelOf, ownerOf, type Plain, schemaOf } from '../mongoose/host'
import { recordOf } from '../mongoose/model'
import { callsToWrite } from '../record/calls'
import { fetchStored, filterOf, pathWithin, sessionOf, storedOf } from '../record/fetching'
import { readForeign, uselessPaths } from '../record/foreign'
import { idOf, recordName } from '../record/identity'
import { prefixOf } from '../record/indexes'
import { boxesOf, openBox } from '../record/opening'
import { allInOrder } from '../record/outcomes'
import { refresh } from '../record/refreshing'
import { readToRewrite } from '../record/rewriting'
import { encryptedPartsOf } from '../record/staging'
import type { Box } from '../schema/box'
import type { JobResult, MigrationOptions, MigrationResult } from '../schema/jobs'
import { fieldsBelow, layoutOf, type Place } from '../schema/layout'
import { binaryTypes, encodeClear } from '../schema/type'
import { usesOf } from '../schema/uses'
import { rewriteRead } from './attempts'
import { openIndexKeys } from './backfill'
import { runJob } from './job'
import { dropIndexes, indexesOn } from './oldindexes'

/**
 * Encrypts what is stored in the clear at the fields of a model that migrates. A value is replaced only while it is what was read: whoever
 * writes meanwhile, in the clear or encrypted, is never overwritten.
 *
 * @throws {ConfigurationError} OPTION_INVALID, also where nothing migrates; {KeyProviderError} when the KMS does not open the index key
 */
export async function migrateToKms(model: AnyModel, options: MigrationOptions = {}): Promise<MigrationResult> {
  const name = `${model.modelName}.migrateToKms()`
  const layout = migratingLayout(model, name)
  const { dropIndexes: isDropping = false, ...others } = Object(options) as MigrationOptions
  if (typeof isDropping !== 'boolean')
    throw new ConfigurationError('OPTION_INVALID', `${name}: dropIndexes: expected true or false.`)
  const part = (['filter', 'partition', 'resume'] as const).find((option) => others[option] !== undefined)
  if (isDropping && part !== undefined) {
    throw new ConfigurationError(
      'OPTION_INVALID',
      `${name}: dropIndexes: with ${part}, not all records are looked at. Run it once more, with dropIndexes alone.`,
    )
  }
  const job = {
    model,
    name,
    condition: { $or: [...clearIn(layout), ...foreignIn(layout)] },
    begin: () => openIndexKeys(layout),
    run: (stored: Plain) => migrate(model, stored, {}),
    calls(stored: Plain) {
      const doc = recordOf(model, stored)
      readForeign(doc, stored)
      return callsToWrite(clearOf(doc).map(({ box }) => box))
    },
  }
  const result = await runJob(job, Object(options) === options ? others : options)
  return { ...result, ...(await oldIndexes(model, layout, isDropping && !others.dryRun && isComplete(result))) }
}

/** @throws {ConfigurationError} OPTION_INVALID where no field of a model migrates */
export function migratingLayout(model: AnyModel, name: string): Place {
  const layout = layoutOf([model])
  if (isMigrating(layout)) return layout
  throw new ConfigurationError(
    'OPTION_INVALID',
    `${name}: no field of this model migrates. Use the plugin with migrating: true, in every process that reads the records.`,
  )
}

/** Whether any field at or below a place migrates. */
export function isMigrating(place: Place): boolean {
  return fieldsBelow(place).some((each) => each.place.fields.some(({ use }) => use.migrating))
}

/** What finds records with something in the clear; where MongoDB cannot tell, all that have something there. */
function clearIn(place: Place, prefix = ''): Plain[] {
  return [...place.children].flatMap(([segment, child]) => {
    const path = `${prefix}${segment}`
    if (!isMigrating(child)) return []
    if (child.fields.length > 0) return clearField(path, child)
    // Of the keys of a map nothing can be asked.
    if (child.any) return [{ [path]: { $exists: true } }]
    if (!child.isArray) return clearIn(child, `${path}.`)
    return [{ [path]: { $elemMatch: { $or: clearIn(child) } } }, { [path]: { $elemMatch: { $type: 'array' } } }]
  })
}

function clearField(path: string, { fields }: Place): Plain[] {
  if (fields.some(({ field }) => binaryTypes.has(field.inner?.instance as string)))
    return [{ [path]: { $exists: true } }]
  // A condition on an array is asked of what is in it, too.
  return [{ [path]: { $ne: null, $not: { $type: 'binData' } } }, { [path]: { $type: 'array' } }]
}

function isComplete({ failed, interrupted }: JobResult): boolean {
  return failed === 0 && !interrupted
}

/** The indexes of MongoDB's that are of values in the clear. */
async function oldIndexes(model: AnyModel, layout: Place, isDropping: boolean) {
  const paths = fieldsBelow(layout)
    .filter(({ place }) => place.fields.some(({ use }) => use.migrating))
    .map(({ path }) => path.filter((segment) => segment !== '*').join('.'))
  const indexes = await indexesOn(model, paths)
  if (!isDropping) return { indexes, droppedIndexes: [] }
  await dropIndexes(model, indexes)
  return { indexes: [], droppedIndexes: indexes }
}

/**
 * The same of one record. Unsaved changes of the document stay as they are.
 *
 * @throws {DocumentNotFoundError} Mongoose's own, when the record is not stored; {RecordError} RECORD_CHANGED, ID_NOT_SELECTED
 */
export async function migrateDocumentToKms(doc: Doc): Promise<void> {
  const owner = ownerOf(doc)
  const model = modelOf(owner)
  migratingLayout(model, `${recordName(owner)}.migrateToKms()`)
  const options = sessionOnly({ session: sessionOf(owner) })
  const stored = await readToRewrite(owner)
  if (!(await migrate(model, stored, options))) return
  for (const part of encryptedPartsOf(owner)) for (const box of boxesOf(part)) forgetClear(box, storedOf(part, stored))
  refresh(owner, (await fetchStored(owner, [])) ?? stored)
}

/** What was changed since it was read in the clear may take the place of what that has become. */
function forgetClear(box: Box, stored: Plain | undefined): void {
  if (!box.isMigrating && sameBytes(box.clear, encodeClear(box, stored))) box.clear = undefined
}

/** @returns whether anything was encrypted */
function migrate(model: AnyModel, read: Plain, options: Plain): Promise<boolean> {
  return rewriteRead(model, read, 'encrypt it', (...given) => tryMigrating(...given, options), options)
}

async function tryMigrating(doc: Doc, stored: Plain, isAgain: boolean, options: Plain): Promise<boolean | undefined> {
  readForeign(doc, stored)
  const clear = clearOf(doc)
  const useless = uselessPaths(doc)
  if (clear.length > 0) await write(doc, stored._id, clear, options, useless)
  const isRemoved = clear.length > 0 || useless.length === 0 || (await remove(doc, stored, useless, options))
  if (!isRemoved || clear.some(({ box }) => box.clear !== undefined)) return undefined
  // What cannot be cast does not keep the other fields from being encrypted.
  await allInOrder(encryptedPartsOf(doc).flatMap(boxesOf).filter(isSpoilt).map(openBox))
  return clear.length > 0 || useless.length > 0 || isAgain
}

/** Takes away what another library has stored, which by now is encrypted, or was replaced. */
async function remove(doc: Doc, stored: Plain, paths: readonly string[], options: Plain): Promise<boolean> {
  // Whoever wrote with the other library meanwhile needs them again.
  const uses = usesOf(schemaOf(doc)).filter(({ from }) => from)
  const fields = uses.flatMap((use) => [...use.fields.keys()])
  const conditions = [...paths, ...fields].flatMap((path) => isAsRead(path, stored[path]))
  const $unset = Object.fromEntries(paths.map((path) => [path, '']))
  const filter = { ...filterOf(doc), _id: stored._id, $and: conditions }
  const { matchedCount } = await gateOf(modelOf(doc).collection).native.updateOne(filter, { $unset }, options)
  return matchedCount === 1
}

/** What finds records with something that another library has stored. */
function foreignIn(layout: Place): Plain[] {
  const uses = new Set([...layout.children.values()].flatMap(({ fields }) => fields.map(({ use }) => use)))
  return [...uses].flatMap(({ fromPaths }) => fromPaths.map((path) => ({ [path]: { $exists: true } })))
}

/** A value that is in the clear, and the path of its field. */
interface Clear {
  readonly path: string
  readonly box: Box
}

function clearOf(doc: Doc): Clear[] {
  const boxes = encryptedPartsOf(doc)
    .flatMap(boxesOf)
    .filter((box) => box.clear !== undefined)
  return boxes.map((box) => ({ path: `${prefixOf(box.owner as Doc)}${box.field.name}`, box }))
}

function isSpoilt(box: Box): boolean {
  return box.use.migrating && !box.isOpen && !box.lastEnvelope
}

/** Through the gate, below all hooks: it brings keys and index values, and ties the write to what was read. */
async function write(
  doc: Doc,
  _id: unknown,
  clear: readonly Clear[],
  options: Plain,
  useless: readonly string[] = [],
): Promise<void> {
  const gate = gateOf(modelOf(doc).collection)
  // Of an `_id` that is stored as another type than the schema says, the gate takes no document for the record.
  const isBound = isStoredAlike(gate.host, idOf(doc), _id)
  const conditions = isBound
    ? []
    : clear
        .flatMap(({ box }) => Object.entries(clearAt(box, pathWithin(box.owner as Doc).join('.'))))
        .flatMap(([path, value]) => isAsRead(path, value))
  const request = {
    method: 'updateOne',
    filter: { ...filterOf(doc), _id, ...(conditions.length > 0 && { $and: conditions }) },
    update: {
      $set: Object.fromEntries(clear.map(({ path, box }) => [path, box])),
      ...(useless.length > 0 && { $unset: Object.fromEntries(useless.map((path) => [path, ''])) }),
    },
    options,
    send: (filter: Plain, update: unknown, how: Plain) => gate.native.updateOne(filter, update, how),
  }
  try {
    const { matchedCount } = await updateOne(gate, request)
    if (!isBound && matchedCount === 1) for (const { box } of clear) box.settled()
  } catch (error) {
    if (error instanceof RecordError && error.code === 'RECORD_CHANGED') return
    if ((error as { code?: unknown }).code !== 11000 || clear.length === 1) throw inFieldTerms([gate], error)
    await apart(doc, _id, clear, options)
  }
}

/** A value that another record has already does not keep the others from being encrypted. */
async function apart(doc: Doc, _id: unknown, clear: readonly Clear[], options: Plain): Promise<void> {
  const outcomes: PromiseSettledResult<void>[] = []
  for (const each of clear) outcomes.push(...(await Promise.allSettled([write(doc, _id, [each], options)])))
  const failed = outcomes.find((outcome) => outcome.status === 'rejected')
  if (failed) throw failed.reason
}
