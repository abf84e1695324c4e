import { wait } from './waiting'

const firstDelayMs = 500
const longestDelayMs = 30_000

/**
 * How much of a job runs at once, in order: as much as may, and where the KMS throttles half of it, after a while in which nothing is begun; with
 * each task that ends well it comes up again. What was throttled is tried until it is not.
 */
export class Pace {
  readonly #most: number
  readonly #signal: AbortSignal | undefined
  readonly #waiting: Array<() => void> = []
  #limit: number
  #running = 0
  #delayMs = firstDelayMs
  #pause: Promise<void> | undefined

  /** @param signal ends the waiting; then what is throttled fails */
  constructor(most: number, signal: AbortSignal | undefined) {
    this.#most = most
    this.#limit = most
    this.#signal = signal
  }

  async run<T>(task: () => Promise<T>): Promise<T> {
    for (let isAgain = false; ; isAgain = true) {
      await this.#turn(isAgain)
      try {
        const result = await task()
        this.#delayMs = firstDelayMs
        this.#limit = Math.min(this.#most, this.#limit + 1 / this.#limit)
        return result
      } catch (error) {
        if (!isThrottled(error) || this.#signal?.aborted) throw error
        // Many are throttled at once: they wait together.
        this.#pause ??= this.#holdBack()
      } finally {
        this.#running--
        this.#admit()
      }
      await this.#pause
    }
  }

  /** What is tried again was there before those that wait. */
  #turn(isAgain: boolean): Promise<void> {
    return new Promise((resolve) => {
      if (isAgain) this.#waiting.unshift(resolve)
      else this.#waiting.push(resolve)
      this.#admit()
    })
  }

  #admit(): void {
    while (!this.#pause && this.#running < Math.floor(this.#limit)) {
      const next = this.#waiting.shift()
      if (!next) return
      this.#running++
      next()
    }
  }

  async #holdBack(): Promise<void> {
    this.#limit = Math.max(1, Math.floor(this.#limit / 2))
    const delayMs = this.#delayMs
    this.#delayMs = Math.min(2 * delayMs, longestDelayMs)
    await wait(delayMs, this.#signal)
    this.#pause = undefined
    this.#admit()
  }
}

/** Whether the KMS refused because too much was asked of it. */
export function isThrottled(error: unknown): boolean {
  return (error as { code?: unknown } | null)?.code === 'KMS_THROTTLED'
}
