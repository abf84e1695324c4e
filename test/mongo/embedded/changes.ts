import { Binary, type Long, Timestamp } from 'bson'
import { identical } from './compare'
import { type Doc, notImplemented, ServerError } from './errors'
import { child } from './paths'
import { isDoc } from './values'

/** One path an update operator was applied to. */
export type Touch = { name: string; path: string[]; operand: unknown }

/** How an existing document was changed: by a replacement, by a pipeline, or by operators at these paths. */
export type Manner = 'replacement' | 'pipeline' | Touch[]

/** One change of the data: of a document, or the end of a whole collection. */
export type Change = { namespace: string } & (
  | { before: Doc | undefined; after: Doc | undefined; manner?: Manner }
  | { collection: 'drop' | 'invalidate' }
)

/** The transaction a change is part of. */
export type Origin = { lsid: Doc; txnNumber: Long }

type Entry = { change: Change; clusterTime: Timestamp; wallTime: Date; origin?: Origin }

/** As in an oplog, a reader that falls further behind than this has lost its place. */
const MAX_ENTRIES = 10_000

/** The user of a server without access control, as in the `lsid` of an event. */
const NOBODY = new Binary(Buffer.from('47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=', 'base64'))

/** The latest changes in their order. The position of a change is how many there have been with it. */
export class Changes {
  #entries: Entry[] = []
  #forgotten = 0
  #clusterTime = new Timestamp({ t: Math.floor(Date.now() / 1000), i: 1 })
  #ticks = 1
  readonly #waiting = new Set<() => void>()

  /** The position of the latest change. */
  get last(): number {
    return this.#forgotten + this.#entries.length
  }

  get clusterTime(): Timestamp {
    return this.#clusterTime
  }

  /** Adds changes that happen at once, and wakes those who wait for one. */
  record(changes: Change[], origin?: Origin): void {
    if (changes.length === 0) return
    const wallTime = new Date()
    this.#clusterTime = new Timestamp({ t: Math.floor(wallTime.getTime() / 1000), i: ++this.#ticks })
    for (const change of changes) this.#entries.push({ change, clusterTime: this.#clusterTime, wallTime, origin })
    if (this.#entries.length > MAX_ENTRIES) {
      const surplus = this.#entries.length - MAX_ENTRIES / 2
      this.#entries = this.#entries.slice(surplus)
      this.#forgotten += surplus
    }
    this.wake()
  }

  /** @throws {ServerError} 286 when the change is no longer, or not yet, known */
  at(position: number): Entry {
    const entry = this.#entries[position - this.#forgotten - 1]
    if (entry === undefined) {
      throw new ServerError(
        286,
        'Resume of change stream was not possible, as the resume point may no longer be in the oplog.',
      )
    }
    return entry
  }

  /** Resolves at the next change, at a `wake()`, or when the time is over. */
  next(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer)
        this.#waiting.delete(done)
        resolve()
      }
      const timer = setTimeout(done, timeoutMs).unref()
      this.#waiting.add(done)
    })
  }

  wake(): void {
    for (const done of this.#waiting) done()
  }
}

/** The event of a change of a document or collection, without its resume token and `fullDocument` of an update. */
export function eventOf({ change, clusterTime, wallTime, origin }: Entry): Doc {
  const dot = change.namespace.indexOf('.')
  const ns = { db: change.namespace.slice(0, dot), coll: change.namespace.slice(dot + 1) }
  const when = { clusterTime, wallTime }
  if ('collection' in change) {
    return { operationType: change.collection, ...when, ...(change.collection === 'drop' ? { ns } : {}) }
  }
  const { before, after, manner } = change
  const head = {
    ...when,
    ...(origin === undefined ? {} : { lsid: { id: origin.lsid.id, uid: NOBODY }, txnNumber: origin.txnNumber }),
  }
  const tail = { ns, documentKey: { _id: (after ?? before)!._id } }
  if (after === undefined) return { operationType: 'delete', ...head, ...tail }
  if (before === undefined) return { operationType: 'insert', ...head, fullDocument: after, ...tail }
  if (manner === 'replacement') return { operationType: 'replace', ...head, fullDocument: after, ...tail }
  // MongoDB computes a difference here, and logs the whole document instead when that is shorter.
  if (!Array.isArray(manner)) throw notImplemented('a change stream over updates by a pipeline')
  return { operationType: 'update', ...head, ...tail, updateDescription: describe(before, after, manner) }
}

/** What operators changed: the paths they name, or the first part of such a path that was not there before. */
function describe(before: Doc, after: Doc, touches: Touch[]): Doc {
  const updatedFields: Doc = {}
  const removedFields = new Set<string>()
  for (const { name, path, operand } of touches) {
    const end = existing(before, path)
    const shown = path.slice(0, end + 1)
    const [was, is] = [at(before, shown), at(after, shown)]
    if (identical(was, is)) continue
    const key = shown.join('.')
    if (is === undefined) {
      removedFields.add(key)
      continue
    }
    if (was === undefined && Array.isArray(at(before, shown.slice(0, -1))))
      throw notImplemented('a change stream over updates that set an item beyond the end of an array')
    if (was === undefined || !ARRAY_OPERATORS.includes(name)) {
      updatedFields[key] = is
      continue
    }
    if (name !== '$push' || !appends(operand)) throw notImplemented(`a change stream over the update operator ${name}`)
    for (const [index, item] of (is as unknown[]).entries()) {
      if (index >= (was as unknown[]).length) updatedFields[`${key}.${index}`] = item
    }
  }
  return { updatedFields, removedFields: [...removedFields], truncatedArrays: [] }
}

const ARRAY_OPERATORS = ['$push', '$pull', '$pullAll', '$addToSet', '$pop']

function appends(operand: unknown): boolean {
  return !isDoc(operand) || operand.$each === undefined || Object.keys(operand).length === 1
}

/** How many parts of the path lead to something. */
function existing(doc: Doc, path: string[]): number {
  const missing = path.findIndex((_, index) => at(doc, path.slice(0, index + 1)) === undefined)
  return missing === -1 ? path.length : missing
}

function at(doc: Doc, path: string[]): unknown {
  return path.reduce<unknown>((node, part) => child(node, part), doc)
}
