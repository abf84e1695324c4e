import { KeyProviderError } from '../errors'
import { causeOf, saidBy } from './failures'
import type { KeyProvider } from './provider'

/** How long a call may take where the provider does not say: 10 seconds, all tries together. */
export const defaultTimeoutMs = 10_000

/** When a call must have ended. The signal that tells a provider of it is made where the provider asks for it. */
export class Deadline {
  #controller: AbortController | undefined
  #isOver = false

  get signal(): AbortSignal {
    this.#controller ??= new AbortController()
    if (this.#isOver) this.#controller.abort()
    return this.#controller.signal
  }

  get isOver(): boolean {
    return this.#isOver
  }

  /** The time is over. */
  end(): void {
    this.#isOver = true
    this.#controller?.abort()
  }
}

/**
 * One call to a provider: it ends in time, whatever the provider does, and with an error of this library where it fails. What is
 * answered later is discarded.
 *
 * @param call is given a deadline, with a signal for a provider that can end what it waits for
 * @param discard gets an answer that came too late
 * @throws {KeyProviderError} KMS_UNREACHABLE when the time is over, KMS_FAILED for an error of another class
 */
export function callProvider<T>(
  provider: KeyProvider,
  operation: string,
  call: (deadline: Deadline) => Promise<T>,
  discard: (answer: T) => void,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const { timeoutMs = defaultTimeoutMs } = provider
    const deadline = new Deadline()
    const timer = setTimeout(() => {
      reject(
        new KeyProviderError(
          'KMS_UNREACHABLE',
          `${operation}: the key provider has not answered within ${timeoutMs} ms (timeoutMs). Try again; nothing was changed.`,
        ),
      )
      deadline.end()
    }, timeoutMs)
    const answered = (answer: T) => {
      clearTimeout(timer)
      if (deadline.isOver) attempt(discard, answer)
      else resolve(answer)
    }
    const failed = (cause: unknown) => {
      clearTimeout(timer)
      reject(failureFrom(operation, cause))
    }
    try {
      Promise.resolve(call(deadline)).then(answered, failed)
    } catch (cause) {
      // Some providers throw at once where a promise should fail.
      failed(cause)
    }
  })
}

/** Nobody waits for what could not be discarded. */
function attempt<T>(discard: (answer: T) => void, answer: T): void {
  try {
    discard(answer)
  } catch {}
}

function failureFrom(operation: string, cause: unknown): KeyProviderError {
  if (isKeyProviderError(cause)) return new KeyProviderError(cause.code, cause.message, causeOf(cause.cause))
  return new KeyProviderError('KMS_FAILED', `${operation}: the key provider failed.${saidBy(cause)}`, causeOf(cause))
}

/** By name as well: a provider may be of another copy of this library. */
function isKeyProviderError(error: unknown): error is KeyProviderError {
  if (error instanceof KeyProviderError) return true
  const { name, code } = (error ?? {}) as { name?: unknown; code?: unknown }
  return name === 'KeyProviderError' && typeof code === 'string'
}
