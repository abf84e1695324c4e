import type { ClientSession } from 'mongoose'
import type { Plain } from '../mongoose/host'
import { checkSort } from '../queries/filter'
import { translateProjection } from '../queries/projection'
import type { Gate } from './gate'
import { allReady, type Lookup, lookupOf, type Pending } from './lookup'

/**
 * The driver's cursors, as the gate gives them out: they are read once their index values are made, and whatever brings them another filter,
 * order or stage passes the gate as well. `test/queries/cursors.test` knows all their methods.
 */

const readers = ['next', 'tryNext', 'hasNext', 'toArray', 'forEach', 'explain', 'count'] as const

/** What `addQueryModifier()` does by a name, and what else does it. */
const modifiers: Readonly<Record<string, string>> = { $query: 'filter', $orderby: 'sort', $min: 'min', $max: 'max' }

/** The cursor of `find()`. */
export function gateFind(
  gate: Gate,
  given: Plain | undefined,
  pending: readonly Pending[],
  session?: ClientSession,
): Plain | undefined {
  return whenOpen(given, (cursor) => {
    const { filter, sort, project, min, max, addQueryModifier, clone } = cursor
    const place = gate.place('find')
    let asked = pending
    const ordering =
      (native: Plain['sort']) =>
      (order: unknown, ...rest: unknown[]) => {
        checkSort(gate.root, order, place)
        return native.call(cursor, order, ...rest)
      }
    const builders: Plain = {
      filter(another: unknown) {
        const { sent, pending: others } = lookupOf(gate, another, place, session)
        asked = others
        return readWhenReady(filter.call(cursor, sent), others)
      },
      sort: ordering(sort),
      min: ordering(min),
      max: ordering(max),
      project: (projection: unknown) =>
        project.call(cursor, translateProjection(gate.root, projection, place) ?? projection),
      addQueryModifier: (name: string, value: unknown) =>
        Object.hasOwn(modifiers, name)
          ? builders[modifiers[name] as string](value)
          : addQueryModifier.call(cursor, name, value),
      clone: () => gateFind(gate, clone.call(cursor), asked, session),
    }
    return Object.assign(readWhenReady(cursor, pending), builders)
  })
}

/** The cursor of `aggregate()`, by the stages that it was asked for, and what is to be sent of such. */
export function gateAggregation(
  given: Plain | undefined,
  stages: readonly unknown[],
  pending: readonly Pending[],
  look: (stages: readonly unknown[]) => Lookup,
): Plain | undefined {
  return whenOpen(given, (cursor) => {
    const { addStage, clone } = cursor
    let asked = { stages, pending }
    return Object.assign(readWhenReady(cursor, pending), {
      addStage(stage: unknown) {
        const all = [...asked.stages, stage]
        const { sent, pending: others } = look(all)
        asked = { stages: all, pending: others }
        // Those of the stages before are made again, and not sent.
        return readWhenReady(addStage.call(cursor, (sent as unknown[]).at(-1)), others)
      },
      clone: () => gateAggregation(clone.call(cursor), asked.stages, asked.pending, look),
    })
  })
}

function readWhenReady(cursor: Plain, pending: readonly Pending[]): Plain {
  if (pending.length > 0) beforeReading(cursor, () => allReady(pending))
  return cursor
}

/** A cursor that does something before anything is read of it: it is given at once, and reading is not. */
export function beforeReading(given: Plain | undefined, prepare: () => Promise<void>): Plain | undefined {
  return whenOpen(given, (cursor) => {
    for (const name of readers) {
      const read = cursor[name]
      if (!read) continue
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
  })
}

/** Until the connection is open, Mongoose gives a promise of a cursor, and Mongoose 8 nothing to its own call that keeps the promise. */
function whenOpen(given: Plain | undefined, use: (cursor: Plain) => Plain): Plain | undefined {
  return typeof given?.then === 'function' ? given.then(use) : given && use(given)
}
