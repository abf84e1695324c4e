import { calculateObjectSize, Long } from 'bson'
import type { Changes } from './changes'
import { type Doc, ServerError } from './errors'
import { exceeds } from './sizes'
import type { ChangeStream, StreamBatch } from './stream'
import { toNumber } from './values'

const FIRST_BATCH = 101
/** How long a `getMore` of a change stream waits for an event when it does not say. */
const AWAIT_MS = 1000
const MAX_BATCH_BYTES = 16 * 1024 * 1024

/** The results a client has not fetched yet. */
export class Cursors {
  readonly #open = new Map<string, { namespace: string; docs: Doc[] }>()
  readonly #streams = new Map<string, { namespace: string; stream: ChangeStream }>()
  readonly #changes: Changes
  #lastId = 1000

  constructor(changes: Changes) {
    this.#changes = changes
  }

  /** The answer that starts a cursor; its id is 0 when everything fits in the first batch. */
  start(namespace: string, docs: Doc[], { batchSize, single = false }: { batchSize?: unknown; single?: boolean }): Doc {
    const [firstBatch, rest] = cut(docs, batchSize === undefined ? FIRST_BATCH : toNumber(batchSize))
    let id = 0
    if (rest.length > 0 && !single) {
      id = ++this.#lastId
      this.#open.set(String(id), { namespace, docs: rest })
    }
    return { cursor: { firstBatch, id: Long.fromNumber(id), ns: namespace } }
  }

  /** The answer that starts the cursor of a change stream, which stays open with nothing to give. */
  follow(namespace: string, stream: ChangeStream, batchSize: unknown): Doc {
    const { docs, ...batch } = stream.read(batchSize === undefined ? FIRST_BATCH : toNumber(batchSize))
    const id = String(++this.#lastId)
    if (!stream.ended) this.#streams.set(id, { namespace, stream })
    return streamReply({ firstBatch: docs, id: stream.ended ? Long.ZERO : Long.fromString(id), ns: namespace }, batch)
  }

  more(id: Long, namespace: string, { batchSize, maxTimeMS }: Doc): Doc | Promise<Doc> {
    const following = this.#streams.get(id.toString())
    const cursor = following ?? this.#open.get(id.toString())
    if (cursor === undefined) throw new ServerError(43, `cursor id ${id} not found`)
    if (cursor.namespace !== namespace)
      throw new ServerError(
        13,
        `Requested getMore on namespace '${namespace}', but cursor belongs to a different namespace ${cursor.namespace}`,
      )
    const size = batchSize === undefined ? Number.POSITIVE_INFINITY : toNumber(batchSize)
    if ('stream' in cursor) return this.#await(id, cursor, size, toNumber(maxTimeMS ?? 0) || AWAIT_MS)
    const [nextBatch, rest] = cut(cursor.docs, size)
    cursor.docs = rest
    if (rest.length === 0) this.#open.delete(id.toString())
    return { cursor: { nextBatch, id: rest.length === 0 ? Long.ZERO : id, ns: namespace } }
  }

  /** Waits until there is an event to give, the time is over, or the cursor is killed. */
  async #await(
    id: Long,
    { namespace, stream }: { namespace: string; stream: ChangeStream },
    size: number,
    timeoutMs: number,
  ): Promise<Doc> {
    const end = performance.now() + timeoutMs
    for (;;) {
      if (!this.#streams.has(id.toString())) throw new ServerError(237, 'operation was interrupted: cursor killed')
      const { docs, ...batch } = this.#readOrClose(id, stream, size)
      const left = end - performance.now()
      if (docs.length > 0 || stream.ended || left <= 0) {
        return streamReply({ nextBatch: docs, id: stream.ended ? Long.ZERO : id, ns: namespace }, batch)
      }
      await this.#changes.next(left)
    }
  }

  /** An error of a stream is its end. */
  #readOrClose(id: Long, stream: ChangeStream, size: number): StreamBatch {
    try {
      const batch = stream.read(size)
      if (stream.ended) this.#streams.delete(id.toString())
      return batch
    } catch (error) {
      this.#streams.delete(id.toString())
      throw error
    }
  }

  /** Ends what still waits. */
  stop(): void {
    this.#streams.clear()
    this.#changes.wake()
  }

  kill(ids: Long[]): Doc {
    const cursorsKilled = ids.filter((id) => this.#open.delete(id.toString()) || this.#streams.delete(id.toString()))
    this.#changes.wake()
    const cursorsNotFound = ids.filter((id) => !cursorsKilled.includes(id))
    return { cursorsKilled, cursorsNotFound, cursorsAlive: [], cursorsUnknown: [] }
  }
}

function streamReply(cursor: Doc, { postBatchResumeToken, operationTime }: Omit<StreamBatch, 'docs'>): Doc {
  return { cursor: { ...cursor, postBatchResumeToken }, operationTime }
}

function cut(docs: Doc[], count: number): [batch: Doc[], rest: Doc[]] {
  let end = Math.min(count, docs.length)
  if (exceeds(docs.slice(0, end), MAX_BATCH_BYTES)) end = fitting(docs, end)
  return [docs.slice(0, end), docs.slice(end)]
}

/** How many of the documents fit in a batch: one does in any case. */
function fitting(docs: Doc[], count: number): number {
  let end = 0
  for (let bytes = 0; end < count; end++) {
    bytes += calculateObjectSize(docs[end]!)
    if (bytes > MAX_BATCH_BYTES && end > 0) break
  }
  return end
}
