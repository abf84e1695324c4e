import { type Counts, type Kind, kinds, noCounts } from './counts'
import { medianOf } from './median'
import { Names } from './names'

const columnNames = [...kinds, 'unknown', 'first', 'last'] as const
type Column = (typeof columnNames)[number]

/** So that calls and a row are in one number. */
const maxRecords = 2 ** 24 - 1

export type RecordCounts = Counts & {
  readonly record: string
  /** Milliseconds since 1970, in whole seconds as CloudTrail has them. */
  readonly first: number
  readonly last: number
}

/**
 * What was done with each record. There may be millions of them: numbers are in columns, 28 bytes for each record, beside its name. With
 * what is kept in reserve, some 100 bytes.
 */
export class Records {
  readonly #names = new Names()
  readonly #columns = Object.fromEntries(columnNames.map((name) => [name, new Uint32Array(1024)])) as Record<
    Column,
    Uint32Array
  >
  /** Calls for records beyond those that there is room for. */
  left = 0

  get size(): number {
    return Math.min(this.#names.size, maxRecords)
  }

  count(record: string, kind: Kind, isUnknown: boolean, time: number): void {
    const row = this.#names.numberOf(record)
    if (row >= maxRecords) {
      this.left += 1
      return
    }
    if (row === this.#columns.first.length) this.#grow()
    const { first, last } = this.#columns
    const seconds = Math.floor(time / 1000)
    this.#columns[kind][row]! += 1
    if (isUnknown) this.#columns.unknown[row]! += 1
    if (first[row] === 0 || seconds < first[row]!) first[row] = seconds
    if (seconds > last[row]!) last[row] = seconds
  }

  /** The records with the most calls, those with the most first. */
  top(max: number): RecordCounts[] {
    // Calls and row in one number: 32 bits of the one, 21 or more of the other.
    const order = new Float64Array(this.size)
    for (let row = 0; row < order.length; row++) order[row] = this.#callsOf(row) * 2 ** 24 + (2 ** 24 - 1 - row)
    const rows = [...order.sort().subarray(-max)].reverse().map((number) => 2 ** 24 - 1 - (number % 2 ** 24))
    return this.#read(rows)
  }

  /** For each model, the median of how often its records were opened that were. */
  medians(): Map<string, number> {
    const timesByModel = new Map<string, Map<number, number>>()
    for (let row = 0; row < this.size; row++) {
      const opened = this.#columns.opened[row]!
      if (opened === 0) continue
      const model = modelOf(this.#names.nameOf(row))
      const times = timesByModel.get(model) ?? new Map<number, number>()
      timesByModel.set(model, times.set(opened, (times.get(opened) ?? 0) + 1))
    }
    return new Map([...timesByModel].map(([model, times]) => [model, medianOf(times)]))
  }

  /** The records that were opened at least so often, which the model says; those with the most first. */
  openedAtLeast(leastOf: (model: string) => number, max: number): { count: number; rows: RecordCounts[] } {
    const rows: number[] = []
    for (let row = 0; row < this.size; row++) {
      if (this.#columns.opened[row]! >= leastOf(modelOf(this.#names.nameOf(row)))) rows.push(row)
    }
    rows.sort((a, b) => this.#columns.opened[b]! - this.#columns.opened[a]!)
    return { count: rows.length, rows: this.#read(rows.slice(0, max)) }
  }

  #read(rows: readonly number[]): RecordCounts[] {
    return rows.map((row) => {
      const counts = noCounts()
      for (const name of [...kinds, 'unknown'] as const) counts[name] = this.#columns[name][row]!
      const { first, last } = this.#columns
      return { record: this.#names.nameOf(row), ...counts, first: first[row]! * 1000, last: last[row]! * 1000 }
    })
  }

  #callsOf(row: number): number {
    let calls = 0
    for (const kind of kinds) calls += this.#columns[kind][row]!
    return calls
  }

  #grow(): void {
    for (const name of columnNames) {
      const larger = new Uint32Array(this.#columns[name].length * 2)
      larger.set(this.#columns[name])
      this.#columns[name] = larger
    }
  }
}

/** `User` of `User/65f0c0ffee65f0c0ffee65f0`. */
export function modelOf(record: string): string {
  const slash = record.indexOf('/')
  return slash === -1 ? record : record.slice(0, slash)
}
