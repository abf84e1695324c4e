import { encodeTombstone, isTombstone } from '../format/entry'
import { type Doc, type Plain, schemaOf } from '../mongoose/host'
import type { Box } from '../schema/box'
import { usesOf } from '../schema/uses'
import { storedOf } from './fetching'
import { idOf } from './identity'
import { prefixOf } from './indexes'
import { boxesOf, openOnLoad, referenceIn } from './opening'
import { partsFor, rewrite, type Send, sendUpdate } from './rewriting'
import { loadedTarget } from './rings'
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
export function erase(doc: Doc, send: Send): Promise<boolean> {
  const erasedAt = new Date()
  return rewrite(doc, deed, async (owner, fresh, stored, isAgain) => {
    if (await eraseParts(owner, partsFor(doc, fresh), stored, erasedAt, send)) return undefined
    // What was found in the database now is what the document knows, too.
    await forget(owner)
    return isAgain
  })
}

/** What is done, for messages. */
export const deed = 'erase it'

/**
 * The same for a record of which there is no document of the user's.
 *
 * @param fresh a document of what is stored
 * @param isAgain whether something of it was erased already
 * @returns whether anything was; nothing before it is known that nothing is left
 */
export async function eraseStored(
  fresh: Doc,
  stored: Plain,
  isAgain: boolean,
  send: Send,
): Promise<boolean | undefined> {
  const isErasing = await eraseParts(fresh, partsFor(fresh, fresh), stored, new Date(), send)
  return isErasing ? undefined : isAgain
}

/** @returns whether there was anything to erase: what others wrote meanwhile is not */
async function eraseParts(
  owner: Doc,
  parts: readonly Doc[],
  stored: Plain,
  erasedAt: Date,
  send: Send,
): Promise<boolean> {
  const { $set, $unset, conditions } = erasureOf(owner, parts, stored, erasedAt)
  if (Object.keys($set).length === 0) return false
  await sendUpdate(owner, { $set, ...(Object.keys($unset).length > 0 && { $unset }) }, conditions, send, stored._id)
  return true
}

/** What takes away all that is there to be erased: nothing, where nothing is. */
function erasureOf(owner: Doc, parts: readonly Doc[], stored: Plain, erasedAt: Date) {
  const $set: Plain = {}
  const $unset: Plain = {}
  const conditions: Plain = {}
  const isWhole = parts.some((part) => !part.$isSubdocument)
  for (const part of parts) {
    const raw = (storedOf(part, stored) ?? {}) as Plain
    const prefix = prefixOf(part)
    // What is under the owner's key is erased with the owner alone.
    for (const use of usesOf(schemaOf(part)).filter(({ byOwner }) => !byOwner || isWhole)) {
      const indexed = use.indexes.filter(({ path }) => raw[path] !== undefined)
      const keys = use.byOwner ? [] : [raw[use.keyPath] ?? []].flat()
      if (!use.byOwner && (indexed.length > 0 || keys.some((entry) => !isTombstone(entry)))) {
        $set[`${prefix}${use.keyPath}`] = [encodeTombstone(erasedAt)]
      }
      for (const { path } of indexed) $unset[`${prefix}${path}`] = ''
      if (indexed.length > 0 && use.byOwner) $set[ownerPath(owner, use.name)] ??= [encodeTombstone(erasedAt)]
    }
    if (prefix !== '' && idOf(part) !== undefined) conditions[`${prefix}_id`] = idOf(part)
  }
  return { $set, $unset, conditions }
}

/** The path of the owner's wrapped keys under which a use of a subdocument has its fields. */
function ownerPath(owner: Doc, name: string | undefined): string {
  return String(usesOf(schemaOf(owner)).find((use) => !use.byOwner && use.name === name)?.keyPath)
}

/** The document of the user's cannot read them either; what it has under other keys stays open. */
async function forget(owner: Doc): Promise<void> {
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
