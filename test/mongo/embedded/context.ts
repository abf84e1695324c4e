import type { Cursors } from './cursors'
import { ServerError } from './errors'
import type { Store } from './store'
import type { Transaction } from './transaction'

/** What a command runs on. */
export class Context {
  constructor(
    readonly store: Store,
    readonly cursors: Cursors,
    readonly database: string,
    readonly transaction: Transaction | undefined,
  ) {}

  /** The full name of the collection a command names. */
  namespace(collection: unknown): string {
    if (typeof collection !== 'string' || collection === '' || collection.startsWith('.')) {
      throw new ServerError(73, `Invalid namespace specified '${this.database}.${collection}'`)
    }
    return `${this.database}.${collection}`
  }
}
