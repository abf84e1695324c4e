import { KeyProviderError } from '../errors'
import { causeOf, saidBy } from './failures'
import type { KeyProvider } from './provider'

/** How long a call may take where the provider does not say: 10 seconds, all tries together. */
export const defaultTimeoutMs = 10_000

/**
 * One call to a provider: it ends in time, whatever the provider does, and with an error of this library where it fails. What is
 * answered later is discarded.
 *
 * @param call is given a signal that is aborted when the time is over, for a provider that can end what it waits for
 * @param discard gets an answer that came too late
 * @throws {KeyProviderError} KMS_UNREACHABLE when the time is over, KMS_FAILED for an error of another class
 */
export async function callProvider<T>(
  provider: KeyProvider,
  operation: string,
  call: (signal: AbortSignal) => Promise<T>,
  discard: (answer: T) => void,
): Promise<T> {
  const { timeoutMs = defaultTimeoutMs } = provider
  const controller = new AbortController()
  // Some providers throw at once where a promise should fail.
  const answer = (async () => call(controller.signal))()
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      reject(
        new KeyProviderError(
          'KMS_UNREACHABLE',
          `${operation}: the key provider has not answered within ${timeoutMs} ms (timeoutMs). Try again; nothing was changed.`,
        ),
      )
      answer.then(discard).catch(() => {})
      controller.abort()
    }, timeoutMs)
  })
  try {
    return await Promise.race([answer, timeout])
  } catch (cause) {
    if (isKeyProviderError(cause)) throw new KeyProviderError(cause.code, cause.message, causeOf(cause.cause))
    throw new KeyProviderError('KMS_FAILED', `${operation}: the key provider failed.${saidBy(cause)}`, causeOf(cause))
  } finally {
    clearTimeout(timer)
  }
}

/** By name as well: a provider may be of another copy of this library. */
function isKeyProviderError(error: unknown): error is KeyProviderError {
  if (error instanceof KeyProviderError) return true
  const { name, code } = (error ?? {}) as { name?: unknown; code?: unknown }
  return name === 'KeyProviderError' && typeof code === 'string'
}
