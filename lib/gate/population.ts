import { OperationError } from '../errors'
import { bytesOf } from '../format/entry'
import { envelopeOf } from '../format/envelope'
import { isDocument, type Plain, valuesOf } from '../mongoose/host'
import { isComparedInMemory, isTrusted, type QueryHere, withProjected } from '../mongoose/model'
import { askedFor } from '../queries/indexvalue'
import { translateFilter } from '../queries/translation'
import { openBox } from '../record/opening'
import { allInOrder } from '../record/outcomes'
import { Box } from '../schema/box'
import { type FieldHere, follow, type Place } from '../schema/layout'
import type { BlindIndex } from '../search/declaration'

/** Whether a query is one of a `populate()`. */
export function isOfPopulate(query: QueryHere): boolean {
  return isComparedInMemory(query) || Object.values(query.getFilter()).some(isPopulating)
}

/**
 * Virtuals that are populated by an indexed field. Mongoose tells the records found apart by what they have there, as text, and looks it up by the
 * text of what it asked for. Here that is an envelope, or a box of one, which is given the text of the value that its index value is of: nothing
 * is decrypted, and nobody learns what was not asked for.
 */
export function populated(layout: Place, query: QueryHere, exec: () => Promise<unknown>): Promise<unknown> {
  const filter = query.getFilter()
  if (isComparedInMemory(query)) refuseCompared(layout, query)
  const names = Object.keys(filter).filter((name) => isPopulating(filter[name]))
  return names.length === 0 ? exec() : populate(layout, query, names, exec)
}

/** What a record has is a ciphertext, or locked: in memory, no condition on it would be met. */
function refuseCompared(layout: Place, query: QueryHere): void {
  const place = `${query.model.modelName}.find()`
  // What it asks for by itself is of no concern: that MongoDB compares.
  const own = Object.entries(query.getFilter()).filter(([, condition]) => !isPopulating(condition))
  translateFilter(layout, Object.fromEntries(own), place, (_index, [here]) => {
    throw new OperationError(
      'QUERY_REFUSED',
      `${place}: the match of populate() is a function, whose conditions Mongoose compares in memory with what is stored, and ${here?.field.name} is stored ` +
        'encrypted. Give an object as match.',
    )
  })
}

/** Whether a condition is one that `populate()` makes. */
function isPopulating(condition: unknown): boolean {
  return Array.isArray((condition as Plain | null | undefined)?.$in) && isTrusted(condition)
}

async function populate(
  layout: Place,
  query: QueryHere,
  names: readonly string[],
  exec: () => Promise<unknown>,
): Promise<unknown> {
  const filter = query.getFilter()
  const place = `${query.model.modelName}.find()`
  const here = names.flatMap((name) => indexedAt(layout, name, place))
  if (here.length === 0) return exec()
  const texts = await allInOrder(here.map((each) => textsOf(each, filter[each.field.name], place)))
  const added = withProjected(query, here.map(indexPathOf))
  const result = await exec()
  for (const record of Array.isArray(result) ? result : []) {
    const stored: Plain = isDocument(record) ? valuesOf(record) : record
    here.forEach((each, index) => {
      const held = stored[each.field.name]
      const text = clearTextOf(each, held) ?? textOf(texts[index] as Texts, stored[indexPathOf(each)])
      if (text !== undefined) readsAs(held, text)
    })
    for (const path of added) delete stored[path]
  }
  return result
}

/** The texts of values, by their index values. */
type Texts = ReadonlyMap<string, string>

/** An indexed field that `populate()` asks for values of. */
function indexedAt(layout: Place, name: string, place: string): FieldHere[] {
  const [here] = follow(layout, name)?.place.fields ?? []
  if (!here?.field.index) return []
  if (here.within !== '') throw refusedWithin(place, name)
  return [here]
}

/** Has values asked for in the place of boxes of another field, and gives the texts of all. */
async function textsOf(here: FieldHere, condition: Plain, place: string): Promise<Texts> {
  const ids: readonly unknown[] = condition.$in
  // Mongoose populates what it finds before it calls the hook that opens it.
  const loaded = ids.filter((id): id is Box => id instanceof Box && !id.isOpen && id.use.decrypt === 'onLoad')
  await allInOrder(loaded.map(openBox))
  if (ids.some((id) => envelopeOf(id) || (id instanceof Box && !id.isOpen))) throw refusedLocked(place, here.field.name)
  const values = ids.map((id) => (id instanceof Box ? id.value() : id))
  condition.$in = values
  const texts = new Map<string, string>()
  const indexes = new Map<string, string>()
  for (const [position, id] of ids.entries()) {
    const asked = askedFor(here.field.index as BlindIndex, [here], [values[position]], place)
    if (!asked) continue
    await asked.ready()
    const [newest, ...older] = asked.values.map((value) => hexOf(value.toBSON())) as [string, ...string[]]
    // What a box holds stands in no text.
    if (id instanceof Box) readsAs(id, newest)
    const text = String(id)
    if ((texts.get(newest) ?? text) !== text || (indexes.get(text) ?? newest) !== newest)
      throw refusedAlike(place, here.field.name)
    for (const index of [newest, ...older]) texts.set(index, text)
    indexes.set(text, newest)
  }
  return texts
}

/** The text of what is stored in the clear, beside which index values may have stayed of what was there before. */
function clearTextOf({ use }: FieldHere, held: unknown): string | undefined {
  if (!use.migrating || (held ?? null) === null) return undefined
  if (held instanceof Box) return held.clear && String(held.value())
  return envelopeOf(held) ? undefined : String(held)
}

function textOf(texts: Texts, stored: unknown): string | undefined {
  const value = (stored as { toBSON?(): unknown } | undefined)?.toBSON?.() ?? stored
  const [found] = [value].flat().flatMap((each) => texts.get(hexOf(each)) ?? [])
  return found
}

function hexOf(value: unknown): string {
  return Buffer.from(bytesOf(value) ?? []).toString('hex')
}

function readsAs(value: unknown, text: string): void {
  if (typeof value !== 'object' || value === null) return
  Object.defineProperty(value, 'toString', { value: () => text, configurable: true })
}

function indexPathOf({ field }: FieldHere): string {
  return field.index?.path as string
}

function refusedLocked(place: string, path: string): OperationError {
  return new OperationError(
    'QUERY_REFUSED',
    `${place}: populate() asks for ${path} by a field that is locked. Have the records decrypted first, by decrypt() or decrypt: 'onLoad'.`,
  )
}

function refusedWithin(place: string, path: string): OperationError {
  return new OperationError(
    'QUERY_REFUSED',
    `${place}: populate() cannot tell which record belongs to which value of ${path}, for it is stored encrypted in subdocuments. Find the records by ` +
      '$or, and compare after decrypting.',
  )
}

function refusedAlike(place: string, path: string): OperationError {
  return new OperationError(
    'QUERY_REFUSED',
    `${place}: populate() asks for ${path} by values that differ as text and are found as one, or the other way round, so what is found cannot be told ` +
      'apart. Store them in one form, as by lowercase: true, or find the records by a query of their own.',
  )
}
