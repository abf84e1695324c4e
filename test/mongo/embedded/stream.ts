import { calculateObjectSize } from 'bson'
import { eventOf } from './changes'
import { identical, keyOf } from './compare'
import type { Context } from './context'
import { type Doc, notImplemented, ServerError } from './errors'
import { compilePipeline } from './pipeline'
import type { Store } from './store'
import { isDoc } from './values'

const OPTIONS = ['fullDocument', 'resumeAfter', 'startAfter']
const STAGES = ['$match', '$project']
const MAX_BATCH_BYTES = 16 * 1024 * 1024

export type StreamBatch = { docs: Doc[]; postBatchResumeToken: Doc; operationTime: unknown }

/** The `$changeStream` of one collection: reads on from its position in the log of changes. */
export class ChangeStream {
  readonly #store: Store
  readonly #namespace: string
  readonly #lookup: boolean
  readonly #run: (docs: Doc[]) => Doc[]
  #position: number
  /** Whether the collection was dropped, after which nothing follows. */
  ended = false

  /** @throws {ServerError} 238 for what is not done here, 260 or 286 when it cannot start at the token given */
  constructor({ store, transaction }: Context, namespace: string, [first, ...stages]: Doc[]) {
    if (transaction !== undefined)
      throw new ServerError(263, '$changeStream cannot be used in a multi-document transaction')
    const options = first!.$changeStream
    if (!isDoc(options)) throw new ServerError(6188500, '$changeStream must take a nested object')
    const unknown = Object.keys(options).find((name) => !OPTIONS.includes(name))
    if (unknown !== undefined) throw notImplemented(`${unknown} in $changeStream`)
    const { fullDocument = 'default', resumeAfter, startAfter } = options
    if (fullDocument !== 'default' && fullDocument !== 'updateLookup')
      throw notImplemented(`fullDocument ${fullDocument} in $changeStream`)
    const stage = stages.flatMap(Object.keys).find((name) => !STAGES.includes(name))
    if (stage !== undefined) throw notImplemented(`${stage} after $changeStream`)
    if (resumeAfter !== undefined && startAfter !== undefined)
      throw new ServerError(50674, "Do not specify both 'resumeAfter' and 'startAfter' in a $changeStream stage")
    this.#store = store
    this.#namespace = namespace
    this.#lookup = fullDocument === 'updateLookup'
    this.#run = compilePipeline(stages, () => [])
    const token = resumeAfter ?? startAfter
    this.#position = token === undefined ? store.changes.last : this.#positionOf(token, startAfter === undefined)
  }

  /** The events there are since the last batch, as many as it may hold. */
  read(limit: number): StreamBatch {
    const { changes } = this.#store
    const docs: Doc[] = []
    for (let bytes = 0; docs.length < limit && !this.ended && this.#position < changes.last; ) {
      const event = this.#event(this.#position + 1)
      if (event !== undefined) {
        bytes += calculateObjectSize(event)
        if (bytes > MAX_BATCH_BYTES && docs.length > 0) break
        docs.push(event)
      }
      this.#position += 1
      this.ended = this.#isEnd(this.#position)
    }
    return { docs, postBatchResumeToken: tokenOf(this.#position, this.ended), operationTime: changes.clusterTime }
  }

  #event(position: number): Doc | undefined {
    const entry = this.#store.changes.at(position)
    if (entry.change.namespace !== this.#namespace) return undefined
    const _id = tokenOf(position, this.#isEnd(position))
    const event: Doc = { _id, ...eventOf(entry) }
    if (this.#lookup && event.operationType === 'update') {
      const id = keyOf((event.documentKey as Doc)._id)
      event.fullDocument = this.#store.get(this.#namespace, id, undefined) ?? null
    }
    const [shown] = this.#run([event])
    if (shown !== undefined && !identical(shown._id, _id)) {
      throw new ServerError(
        280,
        'Encountered an event whose _id field, which contains the resume token, was modified by the pipeline.',
      )
    }
    return shown
  }

  #isEnd(position: number): boolean {
    const { change } = this.#store.changes.at(position)
    return change.namespace === this.#namespace && 'collection' in change && change.collection === 'invalidate'
  }

  #positionOf(token: unknown, resuming: boolean): number {
    const data = isDoc(token) ? token._data : undefined
    if (typeof data !== 'string' || !/^[0-9a-f]{16}$/.test(data))
      throw new ServerError(260, 'Invalid resume token: this server did not give it')
    const number = Number.parseInt(data, 16)
    const position = Math.floor(number / 2)
    // The change itself must still be known; before the first there is none.
    if (position > 0) this.#store.changes.at(position)
    if (resuming && number % 2 === 1) {
      throw new ServerError(
        260,
        "Attempting to resume a change stream using 'resumeAfter' is not allowed from an invalidate notification.",
      )
    }
    return position
  }
}

/** A token that ends a stream is not the one of a stream that starts at the same position. */
function tokenOf(position: number, ended: boolean): Doc {
  return { _data: (position * 2 + Number(ended)).toString(16).padStart(16, '0') }
}
