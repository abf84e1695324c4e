import type { Code } from './code'
import type { Random } from './random'

/**
 * The values that were drawn for encrypted fields. Each is like no other, so that it can be looked for: texts carry a
 * marker that survives `lowercase` and `trim`, numbers and dates are such as nobody else uses.
 */
export class Secrets {
  readonly #random: Random
  readonly texts: string[] = []
  /** Numbers, dates in milliseconds, decimals and big integers, by their digits. */
  readonly numbers = new Set<string>()

  constructor(random: Random) {
    this.#random = random
  }

  /** The text itself; {@link text} is its source code. */
  mark(): string {
    const marker = `zq${this.#random
      .below(36 ** 4)
      .toString(36)
      .padStart(4, '0')}${String(this.texts.length).padStart(3, '0')}x`
    this.texts.push(marker)
    return marker
  }

  text(): Code {
    const marker = this.mark()
    const shown = this.#random.weighted({ bare: 8, upper: 1, spaced: 1, long: 0.3 })
    if (shown === 'upper') return `' ${marker.toUpperCase()}@EXAMPLE.ORG'`
    if (shown === 'spaced') return `'  ${marker} and more  '`
    if (shown === 'long') return `'${marker}'.repeat(200)`
    return `'${marker}'`
  }

  number(): Code {
    const digits = String(70_000_000 + this.#random.below(9_000_000))
    this.numbers.add(digits)
    return digits
  }

  date(): Code {
    const milliseconds = String(911_000_000_000 + this.#random.below(88_000_000_000))
    this.numbers.add(milliseconds)
    return `new Date(${milliseconds})`
  }

  decimal(): Code {
    const digits = `${80_000_000 + this.#random.below(9_000_000)}.25`
    this.numbers.add(digits)
    return `Types.Decimal128.fromString('${digits}')`
  }

  big(): Code {
    const digits = String(1_000_000_000_000_000 + this.#random.below(9_000_000) * 7)
    this.numbers.add(digits)
    return `${digits}n`
  }

  objectId(): Code {
    const digits = `5ec5e7${this.#random
      .below(2 ** 32)
      .toString(16)
      .padStart(8, '0')}${this.#random
      .below(2 ** 32)
      .toString(16)
      .padStart(8, '0')}ab`
    this.numbers.add(digits)
    return `new Types.ObjectId('${digits}')`
  }
}

/** Finds texts in bytes: as they are, with their letters raised, in hexadecimal and in base64 at each of its three alignments. */
export class Needles {
  readonly #needles: { text: string; as: string; bytes: Buffer }[] = []

  constructor(texts: readonly string[]) {
    for (const text of texts) {
      this.#add(text, 'utf8', text)
      this.#add(text, 'utf8', text.toUpperCase())
      this.#add(text, 'hex', Buffer.from(text).toString('hex'))
      for (let offset = 0; offset < 3; offset++) {
        const base64 = Buffer.from('\0'.repeat(offset) + text).toString('base64')
        // What depends on the bytes before and after is cut off.
        this.#add(text, 'base64', base64.slice(offset === 0 ? 0 : 4, -4))
      }
    }
  }

  #add(text: string, as: string, needle: string): void {
    this.#needles.push({ text, as, bytes: Buffer.from(needle) })
  }

  /** Says which text was found, and how it was written, or nothing. */
  find(haystack: Buffer | string): { text: string; as: string } | undefined {
    const bytes = typeof haystack === 'string' ? Buffer.from(haystack) : haystack
    return this.#needles.find((needle) => bytes.includes(needle.bytes))
  }
}
