import type { Binary, Long } from 'bson'
import { keyOf } from './compare'
import { type Doc, ServerError } from './errors'
import type { Store } from './store'
import type { Transaction } from './transaction'
import { isTrue } from './values'

const TRANSACTION_LIFETIME_MS = 60_000

type Session = {
  txnNumber: Long
  /** The answer to the retryable write of this number: a retry gets the same, also while the first try still runs. */
  answer?: Promise<Doc>
  transaction?: { state: 'open' | 'committed' | 'aborted'; open: Transaction; timer: NodeJS.Timeout }
}

/** The logical sessions: retryable writes are applied once, transactions opened, committed and aborted. */
export class Sessions {
  readonly #sessions = new Map<string, Session>()
  constructor(readonly store: Store) {}

  /** Runs a retryable write, or gives the answer it had when it ran before. */
  once(command: Doc, run: () => Promise<Doc>): Promise<Doc> {
    const session = this.#sessionOf(command)
    if (session.transaction !== undefined) throw new ServerError(50911, 'the txnNumber was used by a transaction')
    if (session.answer === undefined) {
      session.answer = run()
      // Only a write that was applied is remembered.
      session.answer.catch(() => {
        session.answer = undefined
      })
    }
    return session.answer
  }

  /** The transaction a command belongs to, begun by its first command. */
  transactionOf(command: Doc): Transaction {
    const session = this.#sessionOf(command)
    if (isTrue(command.startTransaction)) {
      if (session.transaction !== undefined)
        throw new ServerError(50911, `a transaction with this txnNumber was started before`)
      const timer = setTimeout(() => this.#abort(session), TRANSACTION_LIFETIME_MS).unref()
      session.transaction = {
        state: 'open',
        open: this.store.begin({ lsid: command.lsid as Doc, txnNumber: session.txnNumber }),
        timer,
      }
    }
    const { transaction } = session
    if (transaction?.state === 'committed')
      throw new ServerError(256, `Transaction with { txnNumber: ${session.txnNumber} } has been committed.`)
    if (transaction?.state !== 'open') throw noSuchTransaction(session)
    return transaction.open
  }

  /** Committing twice is the same as once, so that a client may retry. */
  commit(command: Doc): Doc {
    const session = this.#sessionOf(command)
    if (session.transaction?.state === 'committed') return {}
    const open = this.transactionOf(command)
    this.store.commit(open)
    this.#close(session, 'committed')
    return {}
  }

  abort(command: Doc): Doc {
    this.transactionOf(command)
    this.#abort(this.#sessionOf(command))
    return {}
  }

  /** Any error inside a transaction aborts it. */
  abortAfterError(command: Doc): void {
    this.#abort(this.#sessionOf(command))
  }

  end(ids: Doc[]): void {
    for (const { id } of ids) {
      const key = keyOf(id as Binary)
      const session = this.#sessions.get(key)
      if (session !== undefined) this.#abort(session)
      this.#sessions.delete(key)
    }
  }

  stop(): void {
    for (const session of this.#sessions.values()) this.#abort(session)
  }

  /** The session of a command; a higher transaction number gives up what the session was doing. */
  #sessionOf(command: Doc): Session {
    const key = keyOf((command.lsid as Doc).id)
    const txnNumber = command.txnNumber as Long
    const session = this.#sessions.get(key)
    if (session?.txnNumber.greaterThan(txnNumber)) {
      throw new ServerError(
        225,
        `Cannot start transaction ${txnNumber} on session because a newer transaction ${session.txnNumber} has already started`,
      )
    }
    if (session?.txnNumber.equals(txnNumber)) return session
    if (session !== undefined) this.#abort(session)
    const next = { txnNumber }
    this.#sessions.set(key, next)
    return next
  }

  #abort(session: Session): void {
    if (session.transaction?.state !== 'open') return
    this.store.abort(session.transaction.open)
    this.#close(session, 'aborted')
  }

  #close(session: Session, state: 'committed' | 'aborted'): void {
    clearTimeout(session.transaction!.timer)
    session.transaction!.state = state
  }
}

function noSuchTransaction(session: Session): ServerError {
  return new ServerError(
    251,
    `Given transaction number ${session.txnNumber} does not match any in-progress transactions.`,
  )
}
