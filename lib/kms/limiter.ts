/**
 * Bounds how many tasks run at once; the others wait in order. (The kept libraries for this are ES modules only, which
 * a CommonJS application's Jest cannot load.)
 */
export class Limiter {
  readonly #limit: number
  readonly #waiting: Array<() => void> = []
  #running = 0

  constructor(limit: number) {
    this.#limit = limit
  }

  async run<T>(task: () => Promise<T>): Promise<T> {
    if (this.#running >= this.#limit) await new Promise<void>((resume) => this.#waiting.push(resume))
    else this.#running++
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
