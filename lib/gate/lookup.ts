import type { Plain } from '../mongoose/host'
import { type Asked, askedFor } from '../queries/indexvalue'
import { checkPipeline, type RootOf } from '../queries/pipeline'
import { type Compare, translateFilter } from '../queries/translation'
import { allInOrder } from '../record/outcomes'
import type { Place } from '../schema/layout'

/** What is to be sent of a filter or pipeline, and what is asked for in it, which must be ready by then. */
export interface Lookup {
  readonly sent: unknown
  readonly asked: readonly Asked[]
}

/** @throws {OperationError} QUERY_REFUSED when a filter asks for more than can be answered */
export function lookupOf(root: Place, filter: unknown, place: string): Lookup {
  return collecting((compare) => translateFilter(root, filter, place, compare))
}

/** The same of a pipeline, and all filters in it. */
export function lookupOfPipeline(root: Place, pipeline: unknown, rootOf: RootOf, place: string): Lookup {
  return collecting((compare) => checkPipeline(root, pipeline, rootOf, place, compare))
}

function collecting(translate: (compare: Compare) => unknown): Lookup {
  const asked: Asked[] = []
  const sent = translate((index, heres, values, place) => {
    const made = askedFor(index, heres, values, place)
    if (made) asked.push(made)
    return made?.values ?? null
  })
  return { sent, asked }
}

/** A filter that can be sent. */
export async function readyFilter(root: Place, filter: unknown, place: string): Promise<unknown> {
  const { sent, asked } = lookupOf(root, filter, place)
  if (asked.length > 0) await allReady(asked)
  return sent
}

async function allReady(asked: readonly Asked[]): Promise<void> {
  await allInOrder(asked.map((each) => each.ready()))
}

const readers = ['next', 'tryNext', 'hasNext', 'toArray', 'forEach', 'explain'] as const

/** Has a cursor wait for the index values of its filter before it is read. */
export function readWhenReady(cursor: Plain, asked: readonly Asked[]): Plain {
  if (asked.length === 0) return cursor
  return beforeReading(cursor, () => allReady(asked))
}

/** A cursor that does something before anything is read of it: it is given at once, and reading is not. */
export function beforeReading(cursor: Plain, prepare: () => Promise<void>): Plain {
  // Until the connection is open, Mongoose gives a promise of one.
  if (typeof cursor.then === 'function') return cursor.then((opened: Plain) => beforeReading(opened, prepare))
  for (const name of readers) {
    const read = cursor[name]
    cursor[name] = async (...args: unknown[]) => {
      await prepare()
      return read.apply(cursor, args)
    }
  }
  const iterate = (cursor as AsyncIterable<unknown>)[Symbol.asyncIterator]
  return Object.assign(cursor, {
    async *[Symbol.asyncIterator]() {
      await prepare()
      yield* { [Symbol.asyncIterator]: () => iterate.call(cursor) }
    },
  })
}
