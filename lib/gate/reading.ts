import type { Plain } from '../mongoose/host'
import { isPlainObject } from '../mongoose/plain'
import { follow, type Place } from '../schema/layout'
import { isScalar } from './conditions'
import type { Gate } from './gate'
import type { Plan } from './plan'
import { type Request, sessionOnly, withoutUndefined } from './request'
import { findReached, projectionFor } from './update'

/** How many records are read together. */
const batchSize = 100

/** A record with the paths that were read of it; all, where none are said. */
interface Read {
  readonly record?: Plain
  readonly projection?: Plain | undefined
}

const nothing: Read = {}

/**
 * Reads the records that the operations of a bulk write reach. Nothing is sent before all of them are read, so those that are asked for by
 * their `_id` alone are read with what comes after them: a round trip for a hundred, and not for each.
 */
export class BulkReader {
  readonly #gate: Gate
  readonly #operations: readonly Plain[]
  readonly #options: Plain
  /** What is still to be read with others, in order: `_id`s by what tells one from another. */
  #waiting: Map<string, unknown> | undefined
  readonly #read = new Map<string, Read>()

  /** @param operations those for the collection of the gate, by the driver's names */
  constructor(gate: Gate, operations: readonly Plain[], options: Plain) {
    this.#gate = gate
    this.#operations = operations
    this.#options = options
  }

  /** Reads the record that an operation reaches, as far as it must be known to encrypt for it. */
  async find(request: Request, plan: Plan): Promise<Plain | null> {
    const id = idAlone(request.options)
    if (id !== undefined) {
      const key = this.#keyOf(id)
      if (this.#waitingIds().has(key)) await this.#readFrom(key, plan)
      const { record, projection } = this.#read.get(key) ?? nothing
      this.#read.delete(key)
      if (record && isReadAsFar(projection, plan)) return record
    }
    // What is not there by this `_id` may be found by the collation of the collection.
    return findReached(this.#gate, request, plan)
  }

  #waitingIds(): Map<string, unknown> {
    if (this.#waiting) return this.#waiting
    this.#waiting = new Map()
    for (const { updateOne } of this.#operations) {
      const id = updateOne && mayEncrypt(this.#gate.root, updateOne.update) ? idAlone(updateOne) : undefined
      if (id !== undefined) this.#waiting.set(this.#keyOf(id), id)
    }
    return this.#waiting
  }

  async #readFrom(key: string, plan: Plan): Promise<void> {
    const waiting = this.#waitingIds()
    const ids: unknown[] = []
    for (const [each, id] of waiting) {
      waiting.delete(each)
      // Whatever stands before it was in no need of being read.
      if (ids.length > 0 || each === key) ids.push(id)
      if (ids.length === batchSize) break
    }
    const { native, isCustom } = this.#gate
    const projection = isCustom ? undefined : projectionFor(plan)
    const settings = withoutUndefined({ projection, ...sessionOnly(this.#options) })
    const cursor = await native.find({ _id: { $in: ids } }, settings)
    for (const record of (await cursor.toArray()) as Plain[])
      this.#read.set(this.#keyOf(record._id), { record, projection })
  }

  #keyOf(id: unknown): string {
    return Buffer.from(this.#gate.host.serialize({ v: id })).toString('latin1')
  }
}

/** Whether a record was read as far as it must be known. */
function isReadAsFar(projection: Plain | undefined, plan: Plan): boolean {
  return !projection || Object.keys(projectionFor(plan)).every((path) => path in projection)
}

/** The `_id` that an operation asks for, where it asks for nothing else, and in no way of its own. */
function idAlone({ filter, collation, hint, sort }: Plain): unknown {
  if (!isPlainObject(filter) || collation !== undefined || hint !== undefined || sort !== undefined) return undefined
  const { _id } = filter
  const isAlone = Object.keys(filter).length === 1 && _id !== undefined && _id !== null && isScalar(_id)
  return isAlone ? _id : undefined
}

/** Whether an update names anything that is encrypted, or holds what is. */
function mayEncrypt(root: Place, update: unknown): boolean {
  if (!isPlainObject(update)) return false
  return Object.values(update).some(
    (operand) => isPlainObject(operand) && Object.keys(operand).some((path) => follow(root, path)),
  )
}
