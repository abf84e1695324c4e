import { bytesOf } from '../format/entry'
import { fullPathOf, indexedPathOf } from '../mongoose/document'
import { type Doc, type Plain, valuesOf } from '../mongoose/host'
import type { Box } from '../schema/box'
import type { Use } from '../schema/use'
import type { BlindIndex } from '../search/declaration'
import { encodeIndexValues, type IndexKeys } from '../search/value'
import { openBox } from './opening'
import { allInOrder } from './outcomes'
import { loadedTarget } from './rings'

/** The path of a document's own fields in its record: nothing, or where the subdocument stands, with a dot after it. */
export function prefixOf(part: Doc): string {
  return part.$isSubdocument ? `${indexedPathOf(part)}.` : ''
}

/**
 * Index values as they belong beside what is stored of a record or subdocument, made anew of the values themselves.
 *
 * @param stored what the document was loaded with
 * @returns what is to be stored; `undefined` where one of the index's fields has no value
 * @throws {KeyProviderError} when the KMS refuses; {DecryptionError} when a value cannot be had
 */
export async function indexValuesOf(part: Doc, use: Use, index: BlindIndex, stored: Plain): Promise<unknown> {
  // A default would pass for a value: it is not stored.
  if (index.fields.some((name) => (stored[name] ?? null) === null)) return undefined
  const boxes = index.fields.map((name) => valuesOf(part)[name] as Box)
  await allInOrder(boxes.map(openBox))
  const { ring } = loadedTarget(part, use)
  const keys = (await ring.use.indexKey?.open()) as IndexKeys
  const within = part.$isSubdocument ? `${fullPathOf(part)}.` : ''
  const values = boxes.map((box) => box.stored())
  return encodeIndexValues(
    index,
    keys.valuesOf(ring.identity.model, `${within}${index.name}`, index, values),
    use.host.binary,
  )
}

/** Whether index values that are stored are these. */
export function areSameIndexValues(one: unknown, other: unknown): boolean {
  const text = (values: unknown) => [values].flat().map((value) => Buffer.from(bytesOf(value) ?? []).toString('hex'))
  return String(text(one)) === String(text(other))
}
