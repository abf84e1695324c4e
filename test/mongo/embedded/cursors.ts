import { calculateObjectSize, Long } from 'bson'
import { type Doc, ServerError } from './errors'
import { toNumber } from './values'

const FIRST_BATCH = 101
const MAX_BATCH_BYTES = 16 * 1024 * 1024

/** The results a client has not fetched yet. */
export class Cursors {
  readonly #open = new Map<string, { namespace: string; docs: Doc[] }>()
  #lastId = 1000

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

  more(id: Long, namespace: string, batchSize: unknown): Doc {
    const cursor = this.#open.get(id.toString())
    if (cursor === undefined) throw new ServerError(43, `cursor id ${id} not found`)
    if (cursor.namespace !== namespace)
      throw new ServerError(
        13,
        `Requested getMore on namespace '${namespace}', but cursor belongs to a different namespace ${cursor.namespace}`,
      )
    const [nextBatch, rest] = cut(cursor.docs, batchSize === undefined ? Number.POSITIVE_INFINITY : toNumber(batchSize))
    cursor.docs = rest
    if (rest.length === 0) this.#open.delete(id.toString())
    return { cursor: { nextBatch, id: rest.length === 0 ? Long.ZERO : id, ns: namespace } }
  }

  kill(ids: Long[]): Doc {
    const cursorsKilled = ids.filter((id) => this.#open.delete(id.toString()))
    const cursorsNotFound = ids.filter((id) => !cursorsKilled.includes(id))
    return { cursorsKilled, cursorsNotFound, cursorsAlive: [], cursorsUnknown: [] }
  }
}

function cut(docs: Doc[], count: number): [batch: Doc[], rest: Doc[]] {
  let end = 0
  for (let bytes = 0; end < docs.length && end < count; end++) {
    if (docs.length > 1) bytes += calculateObjectSize(docs[end]!)
    if (bytes > MAX_BATCH_BYTES && end > 0) break
  }
  return [docs.slice(0, end), docs.slice(end)]
}
