import { randomFillSync } from 'node:crypto'
import { copyBytes } from './bytes'

/** Random bytes for many, by `node:crypto`: a draw of thousands takes no longer than one of twelve. */
export class RandomBytes {
  /** In memory of its own, not a view into Node's shared pool. */
  readonly #drawn = Buffer.allocUnsafeSlow(4096)
  #given = this.#drawn.length

  /** Gives bytes that it gives nobody else: they are copied, and zeroed here. */
  next(length: number): Buffer {
    if (length > this.#drawn.length - this.#given) {
      randomFillSync(this.#drawn)
      this.#given = 0
    }
    const bytes = this.#drawn.subarray(this.#given, this.#given + length)
    this.#given += length
    const own = copyBytes(bytes)
    bytes.fill(0)
    return own
  }
}
