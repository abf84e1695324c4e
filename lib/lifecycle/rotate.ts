import { ConfigurationError } from '../errors'
import type { AnyModel, Doc } from '../mongoose/host'
import { recordOf } from '../mongoose/model'
import { callsForKeys, callsToRotate } from '../record/calls'
import { deed, rotate, rotateStored } from '../record/rotation'
import type { JobResult, RotateOptions } from '../schema/jobs'
import { keyPathsBelow, layoutOf } from '../schema/layout'
import { rewriteRead } from './attempts'
import { openIndexKeys } from './backfill'
import { runJob } from './job'
import { sendPast } from './sending'

/** Gives a record new data keys; see {@link rotate}. */
export function rotateDocument(doc: Doc): Promise<void> {
  return rotate(doc, sendPast)
}

/**
 * The same for all records of a model that have a data key from before the job began. What has been rotated since is told by the date of
 * its wrapped keys, so that who goes on with a job does not begin it again.
 *
 * @param method the name that the option `methods` gives it
 * @throws {ConfigurationError} OPTION_INVALID; {KeyProviderError} when the KMS does not open the index key
 */
export async function rotateKmsKeys(model: AnyModel, method: string, options?: RotateOptions): Promise<JobResult> {
  const name = `${model.modelName}.${method}()`
  const { olderThan, ...others } = { ...options }
  if (olderThan !== undefined && !(olderThan instanceof Date && !Number.isNaN(olderThan.getTime())))
    throw new ConfigurationError('OPTION_INVALID', `${name}: olderThan: expected a Date.`)
  const layout = layoutOf([model])
  const paths = keyPathsBelow(layout)
  const before = (startedAt: Date) => (olderThan && olderThan < startedAt ? olderThan : startedAt)
  const isOld = (key: unknown, startedAt: Date) => {
    const { createdAt } = (key ?? {}) as { createdAt?: unknown }
    return createdAt instanceof Date && createdAt <= before(startedAt)
  }
  return runJob(
    {
      model,
      name,
      scope: { ...(olderThan && { olderThan }) },
      // MongoDB looks below no key of a map without its name.
      condition: (startedAt) =>
        paths.some((path) => path.includes('*'))
          ? {}
          : { $or: paths.map((path) => ({ [`${path}.createdAt`]: { $lte: before(startedAt) } })) },
      begin: () => openIndexKeys(layout),
      run: (stored, startedAt, send) =>
        rewriteRead(model, stored, deed, (fresh, now) =>
          rotateStored(fresh, now, (keys) => keys.some((key) => isOld(key, startedAt)), send),
        ),
      calls(stored, startedAt) {
        const doc = recordOf(model, stored)
        const isDue = callsForKeys(doc, (_ring, key) => isOld(key, startedAt)) > 0
        return isDue ? callsToRotate(doc) : 0
      },
    },
    options && others,
  )
}
