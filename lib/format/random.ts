import { randomFillSync } from 'node:crypto'

/** Random bytes for many, by `node:crypto`: a draw of thousands takes no longer than one of twelve. */
export class RandomBytes {
  /** In memory of its own, not a view into Node's shared pool. */
  readonly #drawn = Buffer.allocUnsafeSlow(4096)
  #given = this.#drawn.length

  /** Gives bytes that it gives nobody else, in memory of their own. */
  next(length: number): Buffer {
    const bytes = Buffer.alloc(length)
    this.drawInto(bytes)
    return bytes
  }

  /** Puts such bytes where they are wanted: they are copied, and zeroed here. */
  drawInto(target: Uint8Array): void {
    const { length } = target
    if (length > this.#drawn.length - this.#given) {
      randomFillSync(this.#drawn)
      this.#given = 0
    }
    const bytes = this.#drawn.subarray(this.#given, this.#given + length)
    this.#given += length
    target.set(bytes)
    bytes.fill(0)
  }
}
