import type { Change, Origin } from './changes'
import type { Doc } from './errors'

/** Thrown by a write outside a transaction that has to wait for one: the caller awaits its end and tries again. */
export class Blocked extends Error {
  constructor(readonly transaction: Transaction) {
    super('blocked by an open transaction')
  }
}

/** Runs a synchronous step again each time a transaction that stood in its way has ended. */
export async function whenFree<T>(step: () => T): Promise<T> {
  for (;;) {
    try {
      return step()
    } catch (error) {
      if (!(error instanceof Blocked)) throw error
      await error.transaction.ended
    }
  }
}

/** An open transaction: what it has written, and the locks that make others conflict or wait. */
export class Transaction {
  readonly writes = new Map<string, Map<string, Doc | undefined>>()
  /** The unique keys its own writes hold, by lock name. */
  readonly owned = new Map<string, string>()
  readonly locks = new Set<string>()
  readonly namespaces = new Set<string>()
  /** Every write in its order, for the change streams, which see them when it commits. */
  readonly changes: Change[] = []
  readonly ended: Promise<void>
  end!: () => void

  constructor(
    readonly snapshot: number,
    readonly origin: Origin,
  ) {
    this.ended = new Promise((resolve) => {
      this.end = resolve
    })
  }
}
