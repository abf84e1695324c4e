import { setTimeout as wait } from 'node:timers/promises'
import { KmsError, type KmsErrorType } from './errors'
import { type Access, type Conditions, matches } from './filter'

export interface FaultOptions extends Pick<Conditions, 'operation' | 'context' | 'principal'> {
  /** How many requests it hits; unlimited by default, until removed. */
  times?: number
  /** How many matching requests it lets pass first. */
  after?: number
  /** Answer with this error instead of the result, without handling the request. */
  error?: KmsErrorType
  /** HTTP status of that error; alone, an answer without a body, as from a proxy in between. */
  status?: number
  latencyMs?: number
  /**
   * Break the connection: `before` the request is handled, so that KMS has never seen it and its log has no line of it,
   * or `after`, so that it was carried out and only the answer is lost.
   */
  drop?: 'before' | 'after'
  /** Keep the request waiting until `release()`. */
  hold?: boolean
}

/** Answers a request that a fault with a `status` and no `error` has hit. */
export class BareStatus extends Error {
  readonly status: number

  constructor(status: number) {
    super(`HTTP ${status}`)
    this.status = status
  }
}

const MESSAGES: { [type in KmsErrorType]?: string } = {
  ThrottlingException:
    'You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls. Please see https://docs.aws.amazon.com/kms/latest/developerguide/throttling.html',
  DependencyTimeoutException: 'The system timed out while trying to fulfill the request.',
  KMSInternalException: 'An internal exception occurred. The request can be retried.',
  KeyUnavailableException: 'The key was not available. The request can be retried.',
}

/** A fault in place. */
export class Fault {
  readonly #options: FaultOptions
  readonly #released: Promise<void>
  #open: () => void = () => {}
  readonly #watchers: { count: number; resolve: () => void }[] = []
  readonly #discard: (fault: Fault) => void
  #seen = 0
  #hits = 0

  constructor(options: FaultOptions, discard: (fault: Fault) => void) {
    this.#options = options
    this.#discard = discard
    this.#released = new Promise((resolve) => {
      this.#open = resolve
    })
    if (!options.hold) this.release()
  }

  /** How many requests it has hit, those still held included. */
  get hits(): number {
    return this.#hits
  }

  get drop(): 'before' | 'after' | undefined {
    return this.#options.drop
  }

  /** Resolves once it has hit `count` requests; with `hold`, they are waiting then. */
  reached(count = 1): Promise<void> {
    if (this.#hits >= count) return Promise.resolve()
    return new Promise((resolve) => this.#watchers.push({ count, resolve }))
  }

  /** Lets the held requests go on, and holds none from now on. */
  release(): void {
    this.#open()
  }

  /** Ends the fault; held requests go on. */
  remove(): void {
    this.#discard(this)
    this.release()
  }

  /** Whether this request is to be hit, and if so counts it: synchronously, so that `times` is exact. */
  claims(access: Access): boolean {
    const { times = Number.POSITIVE_INFINITY, after = 0 } = this.#options
    if (!matches(this.#options, access)) return false
    this.#seen += 1
    if (this.#seen <= after || this.#hits >= times) return false
    this.#hits += 1
    for (const { count, resolve } of this.#watchers) if (this.#hits >= count) resolve()
    return true
  }

  /** @throws {KmsError | BareStatus} what to answer instead. */
  async apply(): Promise<void> {
    const { latencyMs, error, status } = this.#options
    await this.#released
    if (latencyMs !== undefined) await wait(latencyMs, undefined, { ref: false })
    if (error !== undefined) throw new KmsError(error, MESSAGES[error] ?? `Injected ${error}`, status)
    if (status !== undefined) throw new BareStatus(status)
  }
}

/** The part of a fault that is the test's. */
export type FaultHandle = Pick<Fault, 'hits' | 'reached' | 'release' | 'remove'>

/** The faults in place, in the order they were injected; a request is hit by all that match it. */
export class Faults {
  readonly #faults = new Set<Fault>()

  inject(options: FaultOptions): Fault {
    const fault = new Fault(options, (discarded) => this.#faults.delete(discarded))
    this.#faults.add(fault)
    return fault
  }

  claim(access: Access): Fault[] {
    return [...this.#faults].filter((fault) => fault.claims(access))
  }

  removeAll(): void {
    for (const fault of this.#faults) fault.remove()
  }
}
