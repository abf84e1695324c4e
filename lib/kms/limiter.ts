import { KeyProviderError } from '../errors'

/**
 * Bounds how many tasks run at once; the others wait in order, and not more of them than may. (The kept libraries for this are ES
 * modules only, which a CommonJS application's Jest cannot load.)
 */
export class Limiter {
  readonly limit: number
  readonly #most: number
  readonly #waiting: Array<() => void> = []
  #running = 0

  constructor(limit: number, most: number) {
    this.limit = limit
    this.#most = most
  }

  /** @throws {KeyProviderError} KMS_QUEUE_FULL when as many wait as may */
  async run<T>(task: () => Promise<T>): Promise<T> {
    if (this.#running < this.limit) this.#running++
    else if (this.#waiting.length < this.#most) await new Promise<void>((resume) => this.#waiting.push(resume))
    else {
      throw new KeyProviderError(
        'KMS_QUEUE_FULL',
        `${this.#running} calls to the key provider are under way, and ${this.#most} wait for them (maxWaiting). Open fewer records at once, ` +
          'or try again when the KMS answers.',
      )
    }
    try {
      return await task()
    } finally {
      // The place is handed over, not freed and taken again: a newcomer must not slip in between.
      const next = this.#waiting.shift()
      if (next) next()
      else this.#running--
    }
  }
}
