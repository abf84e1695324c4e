import { latin1 } from '../format/bytes'
import type { Host, Plain } from '../mongoose/host'
import { isPlainObject } from '../mongoose/plain'
import { withWritten } from '../record/rewriting'

/** An operation as it is sent, by the driver's name for it. */
interface Encrypted {
  readonly operation: Plain
}

/**
 * What the operations of a bulk write leave of the records that they write. An index over several fields is made of what stands beside a value,
 * and by the time of an operation that is what those before it have written.
 */
export class Earlier {
  readonly #host: Host
  readonly #noted: { readonly id: unknown; readonly encrypt: () => Promise<Encrypted> }[] = []
  /** Those that were noted, by what tells one `_id` from another. Of most bulk writes, nobody asks. */
  readonly #byRecord = new Map<string, (() => Promise<Encrypted>)[]>()

  constructor(host: Host) {
    this.#host = host
  }

  /** Notes an operation for the record with this `_id`, by what encrypts for it: that is done once, however often it is asked for. */
  note<T extends Encrypted>(id: unknown, encrypt: () => Promise<T>): () => Promise<T> {
    let encrypted: Promise<T> | undefined
    const once = () => {
      encrypted ??= encrypt()
      return encrypted
    }
    this.#noted.push({ id, encrypt: once })
    return once
  }

  /** A record as the operations so far leave it. */
  async leave(record: Plain): Promise<Plain> {
    for (const { id, encrypt } of this.#noted.splice(0)) this.#of(id).push(encrypt)
    let left = record
    for (const encrypt of this.#of(record._id)) {
      const { operation } = await encrypt()
      left = afterwards(left, Object.values(operation)[0])
    }
    return left
  }

  #of(id: unknown): (() => Promise<Encrypted>)[] {
    const key = latin1(this.#host.serialize({ v: id }))
    const known = this.#byRecord.get(key) ?? []
    this.#byRecord.set(key, known)
    return known
  }
}

function afterwards(record: Plain, { update, replacement }: Plain): Plain {
  if (replacement) return { ...replacement, _id: record._id }
  if (!isPlainObject(update)) return record
  const { $set, $unset } = update as Plain
  const removed = Object.keys($unset ?? {}).map((path) => [path, undefined])
  return withWritten(record, { ...$set, ...Object.fromEntries(removed) })
}
