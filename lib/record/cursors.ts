import { outcomeOf } from './outcomes'

/** What records are read from, one after another. */
export interface Source<T> {
  next(): Promise<IteratorResult<T, unknown>>
  close(): Promise<unknown>
}

/** A cursor of Mongoose or the driver: it gives `null` at its end. */
interface Cursor<T> {
  next(): Promise<T | null>
  close(): Promise<unknown>
}

/** What can be read from: a cursor, or whatever is async iterable, such as a query that was not awaited. */
export function sourceOf<T>(records: unknown): Source<T> | undefined {
  const { next, close } = records as Partial<Cursor<T>>
  // Before the iteration: that of an aggregation cursor is refused by Mongoose.
  if (typeof next === 'function' && typeof close === 'function') return ofCursor(records as Cursor<T>)
  return Symbol.asyncIterator in (records as object) ? ofIterable(records as AsyncIterable<T>) : undefined
}

/**
 * Runs a task for each record of a source, for up to `ahead` of them before they are asked for, and gives how each ends,
 * in the order of the source. Nothing is read before the first is asked for. The source is closed when the reader stops.
 */
export async function* readAhead<T, R>(
  source: Source<T>,
  ahead: number,
  task: (record: T) => Promise<R>,
): AsyncGenerator<PromiseSettledResult<R>, void, undefined> {
  const underWay: Promise<PromiseSettledResult<R>>[] = []
  let end: { readonly failure?: unknown } | undefined
  let reading: Promise<void> | undefined

  /** Reads one record, and goes on by itself while there is room: a slow source holds up nobody who has what to read. */
  const read = () => {
    reading ??= readOne().then(() => {
      reading = undefined
      if (!end && underWay.length < ahead) read()
    })
    return reading
  }
  const readOne = async () => {
    try {
      const { done, value } = await source.next()
      if (done) end ??= {}
      else if (!end) underWay.push(outcomeOf(task(value)))
    } catch (failure) {
      end ??= { failure }
    }
  }

  try {
    while (true) {
      while (!end && underWay.length === 0) await read()
      const first = underWay.shift()
      if (first) {
        if (!end) read()
        yield await first
      } else if (end && 'failure' in end) throw end.failure
      else return
    }
  } finally {
    if (!end) {
      end = {}
      const closing = source.close()
      // A source that is waited for may not close before it has given what comes next, if anything ever does.
      if (reading) closing.catch(() => {})
      else await closing
    }
    await Promise.all(underWay)
  }
}

function ofCursor<T>(cursor: Cursor<T>): Source<T> {
  return {
    async next() {
      const value = await cursor.next()
      return value === null ? { done: true, value } : { done: false, value }
    },
    close: () => cursor.close(),
  }
}

/** The iteration of a query is a cursor of Mongoose, which has `close()` instead of `return()`. */
function ofIterable<T>(records: AsyncIterable<T>): Source<T> {
  const iterator = records[Symbol.asyncIterator]() as AsyncIterator<T> & Partial<Pick<Cursor<T>, 'close'>>
  return {
    next: () => iterator.next(),
    close: async () => (iterator.return ? iterator.return() : iterator.close?.()),
  }
}
