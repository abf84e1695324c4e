import { type IndexValue, indexValueOf } from '../queries/indexvalue'
import { checkPipeline, type RootOf } from '../queries/pipeline'
import { type Compare, translateFilter } from '../queries/translation'
import { allInOrder } from '../record/outcomes'
import type { Place } from '../schema/layout'

/** What is to be sent of a filter or pipeline, and the index values in it, which must be ready by then. */
export interface Lookup {
  readonly sent: unknown
  readonly values: readonly IndexValue[]
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
  const values: IndexValue[] = []
  const sent = translate((here, value, place) => {
    const made = indexValueOf(here, value, place)
    if (made) values.push(made)
    return made
  })
  return { sent, values }
}

/** A filter that can be sent. */
export async function readyFilter(root: Place, filter: unknown, place: string): Promise<unknown> {
  const { sent, values } = lookupOf(root, filter, place)
  if (values.length > 0) await allReady(values)
  return sent
}

export async function allReady(values: readonly IndexValue[]): Promise<void> {
  await allInOrder(values.map((value) => value.ready()))
}
