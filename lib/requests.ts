import type { Config } from './config'
import { hasKey } from './conflicts'
import { RecordError } from './errors'
import { translateFilter } from './filters'
import type { AnyModel } from './host'
import type { UsedKey } from './record'

/** A filter as Mongoose takes it. */
export type Filter = Record<string, any>

/** One write as it was asked for. */
export interface Request {
  readonly model: AnyModel
  /** Names the operation for messages, such as `User.updateOne()`. */
  readonly place: string
  readonly filter: Filter
  /** Which elements of arrays an update reaches, if it says so. */
  readonly arrayFilters?: unknown
  readonly upsert: boolean
  readonly runValidators: boolean
  /** Whether defaults are written where a record is inserted. */
  readonly setDefaults: boolean
  readonly inTransaction: boolean
  /** Finds the record that the write would reach, with the paths given; `undefined` where there is none. */
  readonly find: (filter: Filter, projection: Record<string, 1> | undefined) => Promise<Record<string, unknown> | null>
}

/** The same write, with values encrypted for one record, and a filter that matches that record alone. */
export interface TiedWrite<Content> {
  readonly filter: Filter
  readonly content: Content
  readonly upsert: boolean
  /** The record that it is tied to; `undefined` where nothing that was encrypted depends on it. */
  readonly tie?: Tie
}

/** What ties a write to a record. */
export interface Tie {
  readonly id: unknown
  readonly keys: readonly { readonly config: Config; readonly used: UsedKey }[]
}

/**
 * Whether a tied write that matched nothing was overtaken: its record is still there, and its keys are other ones; or
 * it is gone, where the write was to insert it then.
 *
 * @throws {RecordError} RECORD_CHANGED
 */
export async function refuseOvertaken(request: Request, tie: Tie): Promise<void> {
  const found = await findAgain(request)
  if (!found && !request.upsert) return
  const isSame = found && String(found._id) === String(tie.id)
  if (isSame && tie.keys.every(({ config, used }) => hasKey(found[config.keyPath], used.commitment))) return
  throw overtaken(request)
}

/** The error for an upsert that found no record, and met one when it inserted; `undefined` for any other failure. */
export async function collisionOf(request: Request, error: unknown): Promise<RecordError | undefined> {
  // What is a duplicate in a transaction has ended it.
  if ((error as { code?: unknown }).code !== 11000 || request.inTransaction) return undefined
  return (await findAgain(request)) ? overtaken(request, error) : undefined
}

function findAgain(request: Request): Promise<Record<string, unknown> | null> {
  return request.find(translateFilter(request.model.schema, request.filter, request.place) as Filter, undefined)
}

function overtaken({ place }: Request, cause?: unknown): RecordError {
  return new RecordError(
    'RECORD_CHANGED',
    `${place}: the record or its data key changed while the update was being encrypted, and nothing was written. Try again.`,
    { cause },
  )
}
