import { randomFillSync } from 'node:crypto'
import { copyBytes } from './bytes'

/** Random bytes that were drawn and not given yet: to draw as many at once takes no longer than to draw twelve. */
class RandomPool {
  /** Its own memory, not a view into Node's. */
  readonly #bytes = Buffer.allocUnsafeSlow(4096)
  #used = this.#bytes.length

  /** None is given twice: what is given is taken out. */
  take(length: number): Buffer {
    if (length > this.#bytes.length - this.#used) {
      randomFillSync(this.#bytes)
      this.#used = 0
    }
    const start = this.#used
    this.#used += length
    const bytes = copyBytes(this.#bytes.subarray(start, this.#used))
    this.#bytes.fill(0, start, this.#used)
    return bytes
  }
}

const pool = new RandomPool()

/** Random bytes, by `node:crypto`; at most 4096. */
export function randomBytes(length: number): Buffer {
  return pool.take(length)
}
