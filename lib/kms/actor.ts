import { AsyncLocalStorage } from 'node:async_hooks'
import { ConfigurationError } from '../errors'

/** Who acts and why, for the trace of each key operation. Told by the application, which nobody checks. */
export interface Audit {
  /** Who the application acts for, such as the id of a user. */
  readonly actor?: string
  /** Why, such as the number of a case. */
  readonly reason?: string
  /** Whatever else is to be told: values that JSON has. */
  readonly [detail: string]: unknown
}

const audits = new AsyncLocalStorage<Audit>()

/**
 * Runs a function, and tells every key operation that it causes who acts and why. What is told further out stays, where it is not told anew:
 * a middleware may give the actor, and the code below it the reason.
 *
 * @returns what the function does; of what can be awaited, such as a query, a promise, for that begins here
 * @throws {ConfigurationError} OPTION_INVALID when `audit` cannot be used
 */
export function withAudit<T>(audit: Audit, fn: () => PromiseLike<T>): Promise<T>
export function withAudit<T>(audit: Audit, fn: () => T): T
export function withAudit<T>(audit: Audit, fn: () => T): T | Promise<Awaited<T>> {
  checkAudit(audit)
  return audits.run(Object.freeze({ ...audits.getStore(), ...audit }), () => {
    const result = fn()
    if (typeof (result as PromiseLike<unknown> | null)?.then !== 'function' || result instanceof Promise) return result
    // A query runs when it is awaited, which its caller does too late.
    return new Promise<Awaited<T>>((resolve, reject) => {
      ;(result as PromiseLike<Awaited<T>>).then(resolve, reject)
    })
  })
}

/** What {@link withAudit} was told where this is asked, for key providers and subscribers of the application's own. */
export function currentAudit(): Audit | undefined {
  return audits.getStore()
}

function checkAudit(audit: unknown): void {
  const { actor, reason } = Object(audit) as Audit
  const isText = (value: unknown) => value === undefined || (typeof value === 'string' && value !== '')
  if (audit === Object(audit) && typeof audit !== 'function' && isText(actor) && isText(reason)) return
  throw new ConfigurationError(
    'OPTION_INVALID',
    'withAudit: expected an object such as { actor, reason }, each a text that is not empty. Is the user logged in by now?',
  )
}
