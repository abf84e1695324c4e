import { inspect } from 'node:util'

/** A value to look for, where it is enough to find what has its index value. */
export class Approximate {
  readonly #value: unknown

  constructor(value: unknown) {
    this.#value = value
  }

  get value(): unknown {
    return this.#value
  }

  toJSON(): undefined {
    return undefined
  }

  [inspect.custom](): string {
    return '<approximate>'
  }
}

/**
 * Says of a value in a filter that other records may be found, too: an index of few `bits` cannot tell them apart, and no data key is
 * opened to look. Where the comparison is negated, fewer are found.
 *
 * @example User.countDocuments({ ssn: approximate('078-05-1120') })
 */
export function approximate<T>(value: T): T {
  return new Approximate(value) as T
}
