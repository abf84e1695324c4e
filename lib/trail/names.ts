import { randomBytes } from 'node:crypto'

const segmentBytes = 1024 * 1024
const longest = 64 * 1024

/**
 * Gives names their numbers, from 0 on. A `Map` of a million strings takes some 150 MB, and the time to look through them all when memory is
 * collected; here a name takes its bytes and some 12 more.
 */
export class Names {
  /** The bytes of all names, the one after the other, none of them in two segments. */
  readonly #segments: Buffer[] = []
  #used = 0
  /** Of each name, where it starts in all segments, and how long it is. */
  #starts = new Float64Array(1024)
  #lengths = new Uint16Array(1024)
  /** The number of a name, and one more; 0 where there is none. */
  #slots = new Uint32Array(2048)
  #size = 0
  readonly #bytes = Buffer.alloc(longest)
  /** Whoever chooses the names must not know which of them have the same hash. */
  readonly #seed = randomBytes(4).readUInt32LE()

  get size(): number {
    return this.#size
  }

  /** The number of a name, a new one if need be. Of a name of more than 64 KB, the first of it counts. */
  numberOf(name: string): number {
    if (this.#size * 2 >= this.#slots.length) this.#grow()
    const length = Math.min(this.#bytes.write(name), longest - 1)
    const slot = this.#slotOf(this.#bytes, length)
    const known = this.#slots[slot]!
    if (known !== 0) return known - 1
    const number = this.#size
    this.#size += 1
    this.#slots[slot] = this.#size
    this.#keep(number, length)
    return number
  }

  nameOf(number: number): string {
    return this.#bytesOf(number).toString()
  }

  #bytesOf(number: number): Buffer {
    const start = this.#starts[number]!
    const within = start % segmentBytes
    return this.#segments[Math.floor(start / segmentBytes)]!.subarray(within, within + this.#lengths[number]!)
  }

  #keep(number: number, length: number): void {
    if (this.#segments.length === 0 || this.#used + length > segmentBytes) {
      this.#segments.push(Buffer.allocUnsafeSlow(segmentBytes))
      this.#used = 0
    }
    this.#bytes.copy(this.#segments.at(-1)!, this.#used, 0, length)
    this.#starts[number] = (this.#segments.length - 1) * segmentBytes + this.#used
    this.#lengths[number] = length
    this.#used += length
  }

  /** The slot of these bytes, or the empty one where they belong. */
  #slotOf(bytes: Buffer, length: number): number {
    const mask = this.#slots.length - 1
    let slot = hashOf(bytes, length, this.#seed) & mask
    for (let known = this.#slots[slot]!; known !== 0; known = this.#slots[slot]!) {
      if (this.#lengths[known - 1] === length && this.#bytesOf(known - 1).compare(bytes, 0, length) === 0) break
      slot = (slot + 1) & mask
    }
    return slot
  }

  #grow(): void {
    const larger = this.#slots.length * 2
    const starts = new Float64Array(larger / 2)
    starts.set(this.#starts)
    this.#starts = starts
    const lengths = new Uint16Array(larger / 2)
    lengths.set(this.#lengths)
    this.#lengths = lengths
    this.#slots = new Uint32Array(larger)
    for (let number = 0; number < this.#size; number++) {
      const bytes = this.#bytesOf(number)
      this.#slots[this.#slotOf(bytes, bytes.length)] = number + 1
    }
  }
}

/** MurmurHash3's mixing, byte by byte. */
function hashOf(bytes: Buffer, length: number, seed: number): number {
  let hash = seed
  for (let index = 0; index < length; index++) {
    hash = Math.imul(hash ^ bytes[index]!, 0xcc9e2d51)
    hash ^= hash >>> 15
  }
  hash = Math.imul(hash ^ length, 0x85ebca6b)
  return hash ^ (hash >>> 13)
}
