import { ConfigurationError } from '../errors'
import type { AnyModel, Plain } from '../mongoose/host'
import { recordOf } from '../mongoose/model'
import { callsForKeys } from '../record/calls'
import { eraseStored, deed as erasing } from '../record/erasure'
import { deed as rewrapping, rewrapStored } from '../record/rewrapping'
import type { Send } from '../record/rewriting'
import type { JobOptions, JobResult } from '../schema/jobs'
import { layoutOf, type Place } from '../schema/layout'
import type { Use } from '../schema/use'
import { rewriteRead } from './attempts'
import { runJob } from './job'

/**
 * Has the wrapped keys of many records wrapped anew, under the KMS key and encryption context of the current version: one call to the KMS
 * for each wrapped key that is not current, and none for the others.
 *
 * @throws {ConfigurationError} OPTION_INVALID
 */
export function rewrapKmsKey(model: AnyModel, options?: JobOptions): Promise<JobResult> {
  const job = {
    model,
    name: `${model.modelName}.rewrapKmsKey()`,
    condition: { $or: holdingKeys(layoutOf([model]), staleKeys) },
    begin: async () => {},
    run: (stored: Plain, _startedAt: Date, send: Send) =>
      rewriteRead(model, stored, rewrapping, (fresh, now) => rewrapStored(fresh, now, send)),
    calls: (stored: Plain) => callsForKeys(recordOf(model, stored), (ring, entry) => !ring.isCurrent(entry)),
  }
  return runJob(job, options)
}

/**
 * Erases the values of many records.
 *
 * @throws {ConfigurationError} OPTION_INVALID, also where the filter says nothing
 */
export async function eraseKmsKey(model: AnyModel, options: JobOptions = {}): Promise<JobResult> {
  const name = `${model.modelName}.eraseKmsKey()`
  const { filter } = options
  if (!saysAnything(filter)) {
    throw new ConfigurationError(
      'OPTION_INVALID',
      `${name}: filter: expected conditions. What is erased cannot be had again; to erase all, say { _id: { $exists: true } }.`,
    )
  }
  const job = {
    model,
    name,
    condition: { $or: holdingKeys(layoutOf([model]), anyKey) },
    begin: async () => {},
    run: (stored: Plain, _startedAt: Date, send: Send) =>
      rewriteRead(model, stored, erasing, (fresh, now, isAgain) => eraseStored(fresh, now, isAgain, send)),
    calls: () => 0,
  }
  return runJob(job, options)
}

/** Whether a filter has a condition: an object of none is met by every record, and so is a choice with such an object in it. */
function saysAnything(filter: unknown): boolean {
  return Object.entries(Object(filter) as Plain).some(([key, value]) => {
    if (key === '$and') return [value].flat().some(saysAnything)
    if (key === '$or') return [value].flat().every(saysAnything)
    return key !== '$comment'
  })
}

/**
 * What finds records that have wrapped keys of which something is to be asked, themselves or in subdocuments. MongoDB cannot ask for what is
 * below the keys of a map, or in arrays of arrays: there, all records that have such are looked at.
 */
function holdingKeys(place: Place, condition: (use: Use) => Plain, prefix = ''): Plain[] {
  return [...place.children].flatMap(([segment, child]) => {
    const path = `${prefix}${segment}`
    if (child.indexOf.length > 0) return []
    const own = child.keysOf.map((use) => ({ [path]: { $elemMatch: condition(use) } }))
    const inMap = child.any && holdsKeys(child.any) ? [{ [path]: { $ne: null } }] : []
    if (!child.isArray) return [...own, ...inMap, ...holdingKeys(child, condition, `${path}.`)]
    const inElements = holdingKeys(child, condition).map((each) => ({ [path]: { $elemMatch: each } }))
    const inArrays = holdsKeys(child) ? [{ [path]: { $elemMatch: { $type: 'array' } } }] : []
    return [...own, ...inMap, ...inElements, ...inArrays]
  })
}

function holdsKeys({ keysOf, indexOf, children, any }: Place): boolean {
  if (keysOf.length > 0 && indexOf.length === 0) return true
  return [...children.values(), ...(any ? [any] : [])].some(holdsKeys)
}

function anyKey(): Plain {
  return { wrapped: { $exists: true } }
}

/** Keys of another version, or under another KMS key as far as its name tells that: it may be an alias, or another for each record. */
function staleKeys({ version, generations }: Use): Plain {
  const { keyId } = generations.get(version) ?? {}
  const isName = typeof keyId === 'string' && /^arn:[^:]+:kms:[^:]+:\d+:key\//.test(keyId)
  return { ...anyKey(), ...(isName && { $or: [{ version: { $ne: version } }, { keyId: { $ne: keyId } }] }) }
}
