/** Rows by their keys, at most so many: what comes from outside must not decide how much memory is used. */
export class Groups<Row> {
  readonly #rows = new Map<string | number, Row>()
  readonly #max: number
  #left = 0

  constructor(max: number) {
    this.#max = max
  }

  /** How often there was no row for a key, since all were in use. */
  get left(): number {
    return this.#left
  }

  /** @returns `undefined` where there is no room for another */
  of(key: string | number, make: () => Row): Row | undefined {
    const known = this.#rows.get(key)
    if (known !== undefined) return known
    if (this.#rows.size >= this.#max) {
      this.#left += 1
      return undefined
    }
    const made = make()
    this.#rows.set(key, made)
    return made
  }

  has(key: string | number): boolean {
    return this.#rows.has(key)
  }

  rows(): Row[] {
    return [...this.#rows.values()]
  }
}

/** A list that counts all that is put into it and keeps the first so many. */
export class Listed<Row> {
  readonly rows: Row[] = []
  readonly #max: number
  count = 0

  constructor(max: number) {
    this.#max = max
  }

  add(make: () => Row): void {
    this.count += 1
    if (this.rows.length < this.#max) this.rows.push(make())
  }
}
