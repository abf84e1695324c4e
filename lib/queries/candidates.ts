import { inspect } from 'node:util'
import { OperationError } from '../errors'

/**
 * The `_id`s of the records that have a value, of those that a shortened index finds by it. Like an index value it is made at once and
 * ready later, and throws when it is serialised before.
 */
export class Candidates {
  readonly #place: string
  readonly #verify: () => Promise<readonly unknown[]>
  #ids: readonly unknown[] | undefined

  constructor(place: string, verify: () => Promise<readonly unknown[]>) {
    this.#place = place
    this.#verify = verify
  }

  /** @throws {KeyProviderError} when the KMS refuses to open a record that has to be looked at */
  async ready(): Promise<void> {
    this.#ids ??= await this.#verify()
  }

  toBSON(): unknown {
    // MongoDB takes a list of one for an equality, and an upsert would store that `_id`. No `_id` is an array.
    if (this.#ids !== undefined) return this.#ids.length === 1 ? [...this.#ids, []] : this.#ids
    throw new OperationError(
      'QUERY_REFUSED',
      `${this.#place}: a query was to be sent before it was looked at which records have the value, so nothing was sent. Use a method of the model.`,
    )
  }

  toJSON(): undefined {
    return undefined
  }

  [inspect.custom](): string {
    return '<candidates>'
  }
}
