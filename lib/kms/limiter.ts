import { KeyProviderError } from '../errors'

/**
 * Bounds how many calls run at once; the others wait in order, and not more of them than may. (The kept libraries for this are ES
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

  /**
   * Takes a place: at once where there is one, and then there is nothing to wait for. Whoever takes one is to leave it.
   *
   * @throws {KeyProviderError} KMS_QUEUE_FULL when as many wait as may
   */
  enter(): Promise<void> | undefined {
    if (this.#running < this.limit) {
      this.#running++
      return undefined
    }
    if (this.#waiting.length < this.#most) return new Promise<void>((resume) => this.#waiting.push(resume))
    throw new KeyProviderError(
      'KMS_QUEUE_FULL',
      `${this.#running} calls to the key provider are under way, and ${this.#most} wait for them (maxWaiting). Open fewer records at once, ` +
        'or try again when the KMS answers.',
    )
  }

  /**
   * The place is handed over, not freed and taken again: a newcomer must not slip in between.
   *
   * @returns whether somebody has taken it
   */
  leave(): boolean {
    const next = this.#waiting.shift()
    if (next) next()
    else this.#running--
    return next !== undefined
  }
}
