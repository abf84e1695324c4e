import { RecordError } from '../errors'
import { encodeTombstone, isTombstone } from '../format/entry'
import { type Doc, ownerOf, type Plain, schemaOf } from '../mongoose/host'
import type { Box } from '../schema/box'
import { usesOf } from '../schema/uses'
import { fetchStored, storedOf } from './fetching'
import { idOf, recordName } from './identity'
import { prefixOf } from './indexes'
import { boxesOf, openOnLoad, referenceIn } from './opening'
import { refresh } from './refreshing'
import { maxAttempts, notFound, partsOf, type Send, sendUpdate } from './rewriting'
import { loadedTarget, requireId } from './rings'
import { encryptedPartsOf } from './staging'

/**
 * Erases the values of a record by taking away what opens them: its wrapped keys and those of its subdocuments, and the index values by
 * which it is found. A tombstone in their place says when. Ciphertexts stay, and nobody can read them any more, in no copy of the
 * record that is made from now on. Of a subdocument it is those of that alone.
 *
 * @returns whether anything was erased
 * @throws {RecordError} RECORD_CHANGED when other writes brought new keys every time; ID_NOT_SELECTED
 * @throws {DocumentNotFoundError} Mongoose's own, when the record is not stored
 */
export async function erase(doc: Doc, send: Send): Promise<boolean> {
  requireId(doc)
  const owner = ownerOf(doc)
  const erasedAt = new Date()
  for (let attempt = 0; attempt < maxAttempts; attempt++) {
    const stored = await fetchStored(owner, [])
    if (!stored) throw notFound(owner)
    const { $set, $unset, conditions } = erasureOf(doc, owner, stored, erasedAt)
    if (Object.keys($set).length === 0) {
      // What was found in the database now is what the document knows, too.
      await forget(owner, stored)
      return attempt > 0
    }
    await sendUpdate(owner, { $set, ...(Object.keys($unset).length > 0 && { $unset }) }, conditions, send)
  }
  throw new RecordError(
    'RECORD_CHANGED',
    `${recordName(doc)}: other writes brought new data keys during each of ${maxAttempts} attempts to erase it. Keep it from being written, ` +
      'and try again.',
  )
}

/** What takes away all that is there to be erased: nothing, where nothing is. */
function erasureOf(doc: Doc, owner: Doc, stored: Plain, erasedAt: Date) {
  const $set: Plain = {}
  const $unset: Plain = {}
  const conditions: Plain[] = []
  const { parts } = partsOf(doc, owner, stored)
  for (const part of parts) {
    const raw = (storedOf(part, stored) ?? {}) as Plain
    const prefix = prefixOf(part)
    // What is under the owner's key is erased with the owner alone.
    for (const use of usesOf(schemaOf(part)).filter(({ byOwner }) => !byOwner || doc === owner)) {
      const indexed = use.indexes.filter(({ path }) => raw[path] !== undefined)
      const keys = use.byOwner ? [] : [raw[use.keyPath] ?? []].flat()
      if (!use.byOwner && (indexed.length > 0 || keys.some((entry) => !isTombstone(entry)))) {
        $set[`${prefix}${use.keyPath}`] = [encodeTombstone(erasedAt)]
      }
      for (const { path } of indexed) $unset[`${prefix}${path}`] = ''
      if (indexed.length > 0 && use.byOwner) $set[ownerPath(owner, use.name)] ??= [encodeTombstone(erasedAt)]
    }
    if (prefix !== '' && idOf(part) !== undefined) conditions.push({ [`${prefix}_id`]: idOf(part) })
  }
  return { $set, $unset, conditions }
}

/** The path of the owner's wrapped keys under which a use of a subdocument has its fields. */
function ownerPath(owner: Doc, name: string | undefined): string {
  return String(usesOf(schemaOf(owner)).find((use) => !use.byOwner && use.name === name)?.keyPath)
}

/** The document of the user's cannot read them either; what it has under other keys stays open. */
async function forget(owner: Doc, stored: Plain): Promise<void> {
  refresh(owner, stored)
  for (const part of encryptedPartsOf(owner)) {
    const erased = boxesOf(part).filter((box) => !box.isUnsaved && isErased(part, box))
    for (const box of erased) {
      const target = loadedTarget(part, box.use)
      target.ring.forget()
      box.relock(box.lastEnvelope as Uint8Array, target)
    }
    // Those whose values are there without being awaited say why they are not, as they do when they are loaded.
    if (erased.length > 0) await openOnLoad(part)
  }
}

function isErased(part: Doc, box: Box): boolean {
  const { lastEnvelope, use } = box
  return lastEnvelope !== undefined && loadedTarget(part, use).ring.isErased(referenceIn(lastEnvelope, box))
}
