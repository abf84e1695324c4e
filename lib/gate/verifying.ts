import type { ClientSession } from 'mongoose'
import { DecryptionError } from '../errors'
import { sameBytes } from '../format/bytes'
import { type Plain, valuesOf } from '../mongoose/host'
import { recordOf } from '../mongoose/model'
import type { Asked } from '../queries/indexvalue'
import { readAhead, sourceOf } from '../record/cursors'
import { openBox } from '../record/opening'
import { valuesOf as allOf } from '../record/outcomes'
import { Box } from '../schema/box'
import type { IndexVersion } from '../search/declaration'
import type { Gate } from './gate'
import { sessionOnly, withoutUndefined } from './request'

/**
 * Finds out which records have what is asked for, of those that a shortened index finds: each is opened, which is one call to the KMS
 * as of any other opening, and its value compared.
 *
 * @param asked values of one index, whose index values are ready
 * @returns the `_id`s
 * @throws {KeyProviderError} when the KMS refuses; what cannot be decrypted has no value that could be compared
 */
export async function verify(gate: Gate, asked: readonly Asked[], session?: ClientSession): Promise<unknown[]> {
  const [{ index, here }] = asked as readonly [Asked]
  const [{ normalForm }] = index.versions as readonly [IndexVersion]
  const wanted = asked.map(({ boxes }) => normalForm(boxes.map((box) => box.stored())))
  const projection = gate.isCustom
    ? undefined
    : Object.fromEntries([here.use.keyPath, ...index.fields].map((path) => [path, 1]))
  const filter = { [index.path]: { $in: asked.flatMap(({ values }) => values) } }
  const cursor = gate.native.find(filter, withoutUndefined({ projection, ...sessionOnly({ session }) }))
  const look = async (stored: Plain): Promise<unknown[]> => {
    const values = await valuesIn(stored)
    return values && wanted.some((each) => sameBytes(each, normalForm(values))) ? [stored._id] : []
  }
  const valuesIn = async (stored: Plain): Promise<unknown[] | undefined> => {
    const doc = recordOf(here.model, stored)
    const boxes = index.fields.map((name) => valuesOf(doc)[name])
    if (!boxes.every((box) => box instanceof Box)) return undefined
    try {
      for (const box of boxes) await openBox(box)
    } catch (error) {
      if (error instanceof DecryptionError) return undefined
      throw error
    }
    return boxes.map((box) => box.stored())
  }
  const found: unknown[] = []
  // Twice what runs at once: while one record is waited for, those after it are not.
  for await (const outcome of readAhead(sourceOf<Plain>(cursor)!, 2 * here.use.keys.concurrency, look))
    found.push(...allOf([outcome]).flat())
  return found
}
