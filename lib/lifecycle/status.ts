import { ConfigurationError } from '../errors'
import { erasedAtOf, parseWrappedKey } from '../format/entry'
import { readyFilter } from '../gate/lookup'
import { gateOf } from '../gate/passes'
import { type AnyModel, type Doc, modelOf, ownerOf, type Plain } from '../mongoose/host'
import { castFilter, recordOf } from '../mongoose/model'
import { isPlainObject } from '../mongoose/plain'
import { prefixOf } from '../record/indexes'
import { partsWithin, requireStored, ringsWithKeys } from '../record/rewriting'
import type { KeyRing } from '../record/ring'
import type { KeyStatus, KmsStatus, RecordKeyStatus, StatusOptions } from '../schema/jobs'
import { keyPathsBelow, layoutOf } from '../schema/layout'

const ages = [30, 90, 365]
const dayMs = 24 * 60 * 60 * 1000

/**
 * Counts the records of a model by their wrapped keys. By counts for each key id, version and age, and not by one aggregation over all: no index
 * covers what reads elements of arrays, and each of these counts an index answers alone.
 *
 * @throws {ConfigurationError} OPTION_INVALID
 */
export async function kmsStatus(model: AnyModel, options: StatusOptions = {}): Promise<KmsStatus> {
  const name = `${model.modelName}.kmsStatus()`
  const { filter = {}, ...others } = Object(options) as StatusOptions
  const [unknown] = Object.keys(others)
  if (unknown !== undefined || !isPlainObject(filter)) {
    const fault = unknown === undefined ? 'filter: expected an object of conditions' : `there is no option ${unknown}`
    throw new ConfigurationError('OPTION_INVALID', `${name}: ${fault}.`)
  }
  const gate = gateOf(model.collection)
  const asked = (await readyFilter(gate, castFilter(model, filter), name, undefined, gate.layout)) as Plain
  const isAll = Object.keys(asked).length === 0
  const among = (condition: Plain): Plain => (isAll ? condition : { $and: [asked, condition] })
  const count = (condition: Plain): Promise<number> => gate.native.countDocuments(among(condition))
  // Of a whole collection MongoDB knows it, and would else read all.
  const records: number = await (isAll ? model.collection.estimatedDocumentCount() : gate.native.countDocuments(asked))
  const keys: KeyStatus[] = []
  // MongoDB looks below no key of a map without its name.
  for (const path of keyPathsBelow(layoutOf([model])).filter((each) => !each.includes('*'))) {
    const countBy = async <T>(part: string): Promise<(readonly [T, number])[]> => {
      const values: T[] = await gate.native.distinct(`${path}.${part}`, among({ [`${path}.${part}`]: { $ne: null } }))
      const counted: (readonly [T, number])[] = []
      for (const value of values) counted.push([value, await count({ [`${path}.${part}`]: value })])
      return counted.sort(([, one], [, other]) => other - one)
    }
    const withKeys = await count({ [`${path}.createdAt`]: { $gte: new Date(0) } })
    const olderThanDays: Record<number, number> = {}
    for (const days of ages)
      olderThanDays[days] = await count({ [`${path}.createdAt`]: { $lt: new Date(Date.now() - days * dayMs) } })
    keys.push({
      path,
      withKeys,
      withoutKeys: Math.max(0, records - withKeys),
      keyIds: (await countBy<string>('keyId')).map(([keyId, counted]) => ({ keyId, records: counted })),
      versions: (await countBy<number>('version')).map(([version, counted]) => ({ version, records: counted })),
      olderThanDays,
    })
  }
  return { records, keys }
}

/**
 * Tells of the wrapped keys of one record as they are stored now, or of those of a subdocument. The KMS is not asked.
 *
 * @throws {DocumentNotFoundError} Mongoose's own, when the record is not stored; {DecryptionError} WRAPPED_KEY_DAMAGED; {RecordError} ID_NOT_SELECTED
 */
export async function statusOfDocument(doc: Doc): Promise<RecordKeyStatus[]> {
  const stored = await requireStored(doc)
  return partsWithin(recordOf(modelOf(ownerOf(doc)), stored), doc).flatMap((part) =>
    ringsWithKeys(part).flatMap((ring) => {
      const path = `${prefixOf(part)}${ring.use.keyPath}`
      return ring.stored.map((entry) => ({ path, ...statusOf(ring, entry) }))
    }),
  )
}

function statusOf(ring: KeyRing, entry: unknown): Omit<RecordKeyStatus, 'path'> {
  const erasedAt = erasedAtOf(entry)
  if (erasedAt) return { erasedAt }
  const { keyId, version, createdAt } = parseWrappedKey(entry, ring.identity.name)
  return { keyId, version, createdAt, isCurrent: ring.isCurrent(entry) }
}
