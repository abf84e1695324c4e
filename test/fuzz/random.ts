/** Random choices of a seed: the same seed gives the same choices, on every machine. */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  /** Mulberry32: 0 or more, less than 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let t = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1)
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }

  /** 0 or more, less than `end`. */
  below(end: number): number {
    return Math.floor(this.next() * end)
  }

  chance(probability: number): boolean {
    return this.next() < probability
  }

  pick<T>(list: readonly T[]): T {
    if (list.length === 0) throw new RangeError('nothing to pick from')
    return list[this.below(list.length)] as T
  }

  /** One of the names, as often as their weights say. */
  weighted(weights: Readonly<Record<string, number>>): string {
    let rest = this.next() * Object.values(weights).reduce((sum, weight) => sum + weight, 0)
    for (const [name, weight] of Object.entries(weights)) {
      rest -= weight
      if (rest < 0) return name
    }
    return Object.keys(weights).at(-1) as string
  }

  /** Some of a list, in its order, at least `least` and on average `share` of them. */
  some<T>(list: readonly T[], share = 0.5, least = 1): T[] {
    const chosen = list.filter(() => this.chance(share))
    while (chosen.length < Math.min(least, list.length)) {
      const one = this.pick(list)
      if (!chosen.includes(one)) chosen.push(one)
    }
    return chosen
  }
}

/** The seed of one sequence of a run, so that a sequence can be drawn without those before it. */
export function seedOf(seed: number, index: number): number {
  return Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(index + 1, 0xc2b2ae35)
}
