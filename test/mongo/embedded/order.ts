import { compare } from './compare'
import { isOperators, typesNamed } from './conditions'
import type { Doc } from './errors'
import { isNumeric, RANKS, rankOf, toNumber } from './values'

/** The documents of a collection in the order of `_id`, by which a `find` that is sorted so begins where its first one can be. */
export class IdOrder {
  readonly #rows: { readonly id: string; readonly value: unknown }[]

  constructor(docs: Iterable<[id: string, doc: Doc]>) {
    this.#rows = Array.from(docs, ([id, { _id }]) => ({ id, value: _id })).sort((a, b) => compare(a.value, b.value))
  }

  /** Adds a document that comes after all others. @returns whether it does */
  append(id: string, { _id: value }: Doc): boolean {
    const last = this.#rows.at(-1)
    if (last && compare(last.value, value) > 0) return false
    this.#rows.push({ id, value })
    return true
  }

  /** The ids in their order, without those that come before any that a filter may match. */
  *from(filter: Doc): Iterable<string> {
    let [low, high] = [0, this.#rows.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if (isBefore(this.#rows[middle]!.value, filter)) low = middle + 1
      else high = middle
    }
    for (let place = low; place < this.#rows.length; place++) yield this.#rows[place]!.id
  }
}

export function isIdOrder(sort: Doc | undefined): boolean {
  return sort !== undefined && Object.keys(sort).join() === '_id' && isNumeric(sort._id) && toNumber(sort._id) === 1
}

/** Whether a filter matches neither this `_id` nor any before it. */
function isBefore(id: unknown, filter: Doc): boolean {
  return Object.entries(filter).some(([name, condition]) => {
    if (name === '$and') return (condition as Doc[]).some((part) => isBefore(id, part))
    if (name === '$or') return (condition as Doc[]).every((part) => isBefore(id, part))
    return name === '_id' && isOperators(condition) && Object.entries(condition).some((test) => isBelow(id, ...test))
  })
}

function isBelow(id: unknown, operator: string, operand: unknown): boolean {
  if (operator === '$gt' || operator === '$gte') return compare(id, operand) < 0
  return operator === '$type' && typesNamed(operand).every((type) => rankOf(id) < rankNamed(type))
}

function rankNamed(type: string): number {
  return type === 'number' ? RANKS.int : ((RANKS as Record<string, number>)[type] ?? Number.POSITIVE_INFINITY)
}
