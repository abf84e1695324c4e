import { type KeyProvider, localKms } from '../lib'

/** `localKms`, counted: what a test needs to know of the calls to a KMS. */
export interface CountingKms extends KeyProvider {
  /** `generate`, `unwrap` and `rewrap`, in the order of the calls. */
  readonly calls: readonly string[]
  /** The most calls that were under way at once. */
  readonly most: number
  /** Forgets the calls up to now. */
  clear(): void
  /** Makes every call fail with this, until `undefined` is given. */
  failWith(error: Error | undefined): void
}

/** Each call takes a turn of the event loop, so that calls can be under way at once. */
export function countingKms({ concurrency }: { concurrency?: number } = {}): CountingKms {
  const local = localKms()
  const calls: string[] = []
  let running = 0
  let most = 0
  let failure: Error | undefined

  async function counted<T>(name: string, call: () => Promise<T>): Promise<T> {
    calls.push(name)
    running++
    most = Math.max(most, running)
    await new Promise((resume) => setImmediate(resume))
    running--
    if (failure) throw failure
    return call()
  }

  return {
    keyId: local.keyId,
    ...(concurrency === undefined ? {} : { concurrency }),
    generateDataKey: (request) => counted('generate', () => local.generateDataKey(request)),
    unwrapDataKey: (request) => counted('unwrap', () => local.unwrapDataKey(request)),
    rewrapDataKey: (request) => counted('rewrap', () => local.rewrapDataKey!(request)),
    calls,
    get most() {
      return most
    },
    clear() {
      calls.length = 0
      most = 0
    },
    failWith(error) {
      failure = error
    },
  }
}
