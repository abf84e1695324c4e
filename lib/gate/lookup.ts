import type { ClientSession } from 'mongoose'
import { Candidates } from '../queries/candidates'
import { type Asked, askedFor, type IndexValue } from '../queries/indexvalue'
import { checkPipeline, type RootOf } from '../queries/pipeline'
import { refusedShortened } from '../queries/refusals'
import { type Compare, translateFilter, type Verify } from '../queries/translation'
import { allInOrder } from '../record/outcomes'
import type { Place } from '../schema/layout'
import type { Gate } from './gate'
import { verify } from './verifying'

/** What is to be sent of a filter or pipeline, and what in it must be ready by then. */
export interface Lookup {
  readonly sent: unknown
  readonly pending: readonly Pending[]
}

/** What stands in a query before it is known. */
export interface Pending {
  ready(): Promise<void>
}

/** @throws {OperationError} QUERY_REFUSED when a filter asks for more than can be answered */
export function lookupOf(
  gate: Gate,
  filter: unknown,
  place: string,
  session?: ClientSession,
  root: Place = gate.root,
): Lookup {
  const pending: Pending[] = []
  const verifying: Verify = (values) => {
    const asked = [...new Set((values as readonly IndexValue[]).map((value) => value.asked))]
    if (asked.some(({ isApproximate }) => isApproximate)) return undefined
    const among = new Candidates(place, async () => {
      await allReady(asked)
      return verify(gate, asked, session)
    })
    pending.push(among)
    return among
  }
  const compare = comparing(pending, ({ isWithin }) => !isWithin)
  return { sent: translateFilter(root, filter, place, compare, undefined, verifying), pending }
}

/** The same of a pipeline, and all filters in it. */
export function lookupOfPipeline(root: Place, pipeline: unknown, rootOf: RootOf, place: string): Lookup {
  const pending: Pending[] = []
  const compare = comparing(pending, () => false)
  return { sent: checkPipeline(root, pipeline, rootOf, place, compare), pending }
}

/**
 * Has index values asked for.
 *
 * @param pending what is to be waited for is added to it
 * @param canVerify whether it can be looked at which records have what is asked for, where an index is shortened
 */
function comparing(pending: Pending[], canVerify: (asked: Asked) => boolean): Compare {
  return (index, heres, values, place) => {
    const asked = askedFor(index, heres, values, place)
    if (!asked) return null
    if (index.isShortened && !asked.isApproximate && !canVerify(asked)) throw refusedShortened(place, index.name)
    if (!asked.isReady()) pending.push(asked)
    return asked.values
  }
}

/** Does something with what is to be sent of a filter: at once, unless something in it has to be waited for. */
export function whenReady<T>({ sent, pending }: Lookup, send: (sent: unknown) => T): T | Promise<Awaited<T>> {
  return pending.length === 0 ? send(sent) : waitFor(pending, () => send(sent))
}

/** A filter that can be sent. */
export async function readyFilter(...asked: Parameters<typeof lookupOf>): Promise<unknown> {
  return whenReady(lookupOf(...asked), (sent) => sent)
}

async function waitFor<T>(pending: readonly Pending[], send: () => T): Promise<Awaited<T>> {
  await allReady(pending)
  return await send()
}

export async function allReady(pending: readonly Pending[]): Promise<void> {
  await allInOrder(pending.map((each) => each.ready()))
}
