import { bytesOf } from '../format/entry'
import { envelopeSubtype, looksLikeEnvelope } from '../format/envelope'
import { isAsRead } from '../gate/conditions'
import { gateOf } from '../gate/passes'
import { type AnyModel, type Doc, modelOf, ownerOf, type Plain, schemaOf } from '../mongoose/host'
import { recordOf } from '../mongoose/model'
import { holdsOthers } from '../mongoose/plain'
import { callsToOpen } from '../record/calls'
import { fetchStored, filterOf, sessionOf, storedOf } from '../record/fetching'
import { recordName } from '../record/identity'
import { prefixOf } from '../record/indexes'
import { boxesOf, openBox } from '../record/opening'
import { allInOrder } from '../record/outcomes'
import { refresh } from '../record/refreshing'
import { readToRewrite, requireWriting, withWritten } from '../record/rewriting'
import { encryptedPartsOf } from '../record/staging'
import type { JobOptions, JobResult } from '../schema/jobs'
import type { Place } from '../schema/layout'
import { usesOf } from '../schema/uses'
import { rewriteRead } from './attempts'
import { runJob } from './job'
import { isMigrating, migratingLayout } from './migrate'

/**
 * Undoes `migrateToKms()`: stores the values of fields in the clear again, and takes wrapped keys and index values away. A record is done
 * whole, and only while it is what was read.
 *
 * @throws {ConfigurationError} OPTION_INVALID, also where nothing migrates
 */
export function migrateFromKms(model: AnyModel, options?: JobOptions): Promise<JobResult> {
  const name = `${model.modelName}.migrateFromKms()`
  const layout = migratingLayout(model, name)
  const job = {
    model,
    name,
    condition: { $or: encryptedIn(layout) },
    begin: async () => {},
    run: (stored: Plain) => restore(model, stored, undefined),
    calls: (stored: Plain) => callsToOpen(recordOf(model, stored), ({ use }) => use.migrating),
  }
  return runJob(job, options)
}

/** What finds records with anything that the library has stored at fields that migrate, or beside them. */
function encryptedIn(place: Place, prefix = ''): Plain[] {
  return [...place.children].flatMap(([segment, child]) => {
    const path = `${prefix}${segment}`
    if (child.keysOf.some(({ migrating }) => migrating)) return [{ [path]: { $exists: true } }]
    if (!isMigrating(child)) return []
    if (child.fields.length > 0) return [{ [path]: { $type: 'binData' } }]
    if (child.any) return [{ [path]: { $exists: true } }]
    if (!child.isArray) return encryptedIn(child, `${path}.`)
    return [{ [path]: { $elemMatch: { $or: encryptedIn(child) } } }, { [path]: { $elemMatch: { $type: 'array' } } }]
  })
}

/**
 * The same of one record. Unsaved changes of the document stay as they are.
 *
 * @throws {DocumentNotFoundError} Mongoose's own, when the record is not stored; {RecordError} RECORD_CHANGED, ID_NOT_SELECTED
 */
export async function migrateDocumentFromKms(doc: Doc): Promise<void> {
  const owner = ownerOf(doc)
  migratingLayout(modelOf(owner), `${recordName(owner)}.migrateFromKms()`)
  const stored = await readToRewrite(owner)
  const session = sessionOf(owner)
  if (await restore(modelOf(owner), stored, session)) refresh(owner, (await fetchStored(owner, [])) ?? stored)
}

/** @returns whether anything was decrypted or taken away */
function restore(model: AnyModel, read: Plain, session: unknown): Promise<boolean> {
  const options = session ? { session } : {}
  return rewriteRead(model, read, 'decrypt it', (doc, stored) => tryRestoring(doc, stored, options), options)
}

async function tryRestoring(doc: Doc, stored: Plain, options: Plain): Promise<boolean | undefined> {
  const { $set, $unset, conditions } = await restorationOf(doc, stored)
  const update = { ...(Object.keys($set).length > 0 && { $set }), ...(Object.keys($unset).length > 0 && { $unset }) }
  if (Object.keys(update).length === 0) return false
  const filter = { ...filterOf(doc), _id: stored._id, $and: conditions }
  // Past the gate, which would encrypt it.
  const { matchedCount } = await gateOf(modelOf(doc).collection).native.updateOne(filter, update, options)
  return matchedCount === 1 || undefined
}

async function restorationOf(doc: Doc, stored: Plain) {
  const parts = encryptedPartsOf(doc)
  requireWriting(parts, ({ migrating }) => migrating)
  const boxes = parts.flatMap(boxesOf).filter(({ use, lastEnvelope }) => use.migrating && lastEnvelope)
  // All of a record or nothing: a key stays while anything may be under it.
  await allInOrder(boxes.map(openBox))
  const $set: Plain = {}
  const $unset: Plain = {}
  const kept: string[] = []
  const conditions: Plain[] = []
  for (const part of parts) {
    const raw = storedOf(part, stored) as Plain
    const prefix = prefixOf(part)
    if (prefix !== '' && raw._id !== undefined) conditions.push({ [`${prefix}_id`]: raw._id })
    for (const box of boxes.filter(({ owner }) => owner === part)) $set[`${prefix}${box.field.name}`] = box.stored()
    for (const use of usesOf(schemaOf(part))) {
      if (!use.migrating) continue
      for (const name of use.fields.keys()) conditions.push(...isUnchanged(`${prefix}${name}`, raw[name]))
      for (const { path } of use.indexes) if (raw[path] !== undefined) $unset[`${prefix}${path}`] = ''
      if (use.byOwner) continue
      conditions.push(...isUnchanged(`${prefix}${use.keyPath}`, raw[use.keyPath]))
      if (raw[use.keyPath] !== undefined) kept.push(`${prefix}${use.keyPath}`)
    }
  }
  if (!holdsEnvelope(withWritten(stored, $set))) for (const path of kept) $unset[path] = ''
  return { $set, $unset, conditions }
}

function isUnchanged(path: string, value: unknown): Plain[] {
  return value === undefined ? [{ [path]: { $exists: false } }] : isAsRead(path, value)
}

/** Whether something in a record is encrypted still, such as a field that this version of the schema does not know. */
function holdsEnvelope(value: unknown): boolean {
  const bytes = bytesOf(value)
  if (bytes) return (value as { sub_type?: number }).sub_type === envelopeSubtype && looksLikeEnvelope(bytes)
  return holdsOthers(value) && Object.values(value).some(holdsEnvelope)
}
