import { ConfigurationError } from '../errors'
import type { AnyModel, Plain } from '../mongoose/host'
import { castFilter, recordOf } from '../mongoose/model'
import { erase } from '../record/erasure'
import { rewrap } from '../record/rewrapping'
import type { Send } from '../record/rewriting'
import type { JobOptions, JobResult } from '../schema/jobs'
import { layoutOf, type Place } from '../schema/layout'
import type { Use } from '../schema/use'
import { runJob } from './job'

/**
 * Has the wrapped keys of many records wrapped anew, under the KMS key and encryption context of the current version: one call to the KMS
 * for each wrapped key that is not current, and none for the others.
 *
 * @throws {ConfigurationError} OPTION_INVALID
 */
export function rewrapKmsKey(model: AnyModel, send: Send, options?: JobOptions): Promise<JobResult> {
  const job = {
    model,
    name: `${model.modelName}.rewrapKmsKey()`,
    condition: { $or: holdingKeys(layoutOf([model]), staleKeys) },
    begin: async () => {},
    run: (stored: Plain) => rewrap(recordOf(model, stored), send),
  }
  return runJob(job, options)
}

/**
 * Erases the values of many records.
 *
 * @throws {ConfigurationError} OPTION_INVALID, also where the filter says nothing, or names paths that the schema does not have
 */
export async function eraseKmsKey(model: AnyModel, send: Send, options: JobOptions = {}): Promise<JobResult> {
  const name = `${model.modelName}.eraseKmsKey()`
  const { filter } = options
  const asked = Object.keys(Object(filter))
  if (asked.length === 0) {
    throw new ConfigurationError(
      'OPTION_INVALID',
      `${name}: filter: expected conditions. What is erased cannot be had again; to erase all, say { _id: { $exists: true } }.`,
    )
  }
  // Mongoose leaves out of a filter what the schema does not know, and more would be erased.
  const kept = new Set(Object.keys(castFilter(model, filter as Plain)))
  const unknown = asked.find((path) => !kept.has(path))
  if (unknown !== undefined)
    throw new ConfigurationError('OPTION_INVALID', `${name}: filter: the schema has no path ${unknown}.`)
  const job = {
    model,
    name,
    condition: { $or: holdingKeys(layoutOf([model]), anyKey) },
    begin: async () => {},
    run: (stored: Plain) => erase(recordOf(model, stored), send),
  }
  return runJob(job, options)
}

/** What finds records that have wrapped keys of which something is to be asked, themselves or in subdocuments. */
function holdingKeys(place: Place, condition: (use: Use) => Plain, prefix = ''): Plain[] {
  return [...place.children].flatMap(([segment, child]) => {
    const path = `${prefix}${segment}`
    if (child.indexOf.length > 0) return []
    const own = child.keysOf.map((use) => ({ [path]: { $elemMatch: condition(use) } }))
    if (!child.isArray) return [...own, ...holdingKeys(child, condition, `${path}.`)]
    return [...own, ...holdingKeys(child, condition).map((each) => ({ [path]: { $elemMatch: each } }))]
  })
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
