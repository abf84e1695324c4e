import { createHash } from 'node:crypto'

const words = 4
const empty = 0
const present = 1
const marked = 2

/**
 * A set of ids, such as UUIDs, of which each can be marked. It keeps 16 bytes of each, in a table that is three eighths to three quarters
 * full: 22 to 45 bytes for each id, where a set of strings takes 100. UUIDs are kept whole, others as a hash of 128 bits.
 */
export class Ids {
  #ids = new Uint32Array(words * 1024)
  #states = new Uint8Array(1024)
  #count = 0
  #marks = 0
  readonly #id = new Uint32Array(words)

  get size(): number {
    return this.#count
  }

  get marked(): number {
    return this.#marks
  }

  /** @returns whether it is new */
  add(id: string): boolean {
    if (this.#count >= this.#states.length * 0.75) this.#grow()
    this.#take(id)
    const slot = this.#slotOf(this.#id, 0)
    if (this.#states[slot] !== empty) return false
    this.#ids.set(this.#id, slot * words)
    this.#states[slot] = present
    this.#count += 1
    return true
  }

  /** @returns whether it is in the set */
  mark(id: string): boolean {
    this.#take(id)
    const slot = this.#slotOf(this.#id, 0)
    if (this.#states[slot] === empty) return false
    if (this.#states[slot] === present) this.#marks += 1
    this.#states[slot] = marked
    return true
  }

  isMarked(id: string): boolean {
    this.#take(id)
    return this.#states[this.#slotOf(this.#id, 0)] === marked
  }

  /** Reads an id into the four words that are looked for. */
  #take(id: string): void {
    if (readUuid(id, this.#id)) return
    const hash = createHash('sha256').update(id).digest()
    for (let word = 0; word < words; word++) this.#id[word] = hash.readUInt32LE(word * 4)
  }

  /** The slot that has these four words, or the empty one where they belong. */
  #slotOf(ids: Uint32Array, at: number): number {
    const mask = this.#states.length - 1
    const hash = Math.imul(ids[at]! ^ ids[at + 3]!, 0x9e3779b1)
    let slot = (hash ^ (hash >>> 15)) & mask
    while (this.#states[slot] !== empty && !this.#holds(slot * words, ids, at)) slot = (slot + 1) & mask
    return slot
  }

  #holds(start: number, ids: Uint32Array, at: number): boolean {
    for (let word = 0; word < words; word++) if (this.#ids[start + word] !== ids[at + word]) return false
    return true
  }

  #grow(): void {
    const [ids, states] = [this.#ids, this.#states]
    this.#ids = new Uint32Array(ids.length * 2)
    this.#states = new Uint8Array(states.length * 2)
    for (let old = 0; old < states.length; old++) {
      if (states[old] === empty) continue
      const slot = this.#slotOf(ids, old * words)
      this.#ids.set(ids.subarray(old * words, (old + 1) * words), slot * words)
      this.#states[slot] = states[old]!
    }
  }
}

/** @returns `false` where it is none: 32 hex digits, with hyphens in between. */
function readUuid(text: string, into: Uint32Array): boolean {
  if (text.length !== 36) return false
  let digits = 0
  let word = 0
  for (let index = 0; index < 36; index++) {
    const code = text.charCodeAt(index)
    if (index === 8 || index === 13 || index === 18 || index === 23) {
      if (code !== 0x2d) return false
      continue
    }
    const digit = code >= 0x30 && code <= 0x39 ? code - 0x30 : (code | 0x20) - 0x57
    if (digit < 0 || digit > 15 || (code > 0x39 && digit < 10)) return false
    word = (word << 4) | digit
    digits += 1
    if (digits % 8 === 0) into[digits / 8 - 1] = word
  }
  return true
}
