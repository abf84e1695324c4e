import { UUID } from 'bson'
import { type Change, Changes, type Manner, type Origin } from './changes'
import { keyOf } from './compare'
import { type Doc, ServerError } from './errors'
import { duplicateKey, type Index, type IndexKey, plan } from './indexes'
import { IdOrder } from './order'
import { exceeds } from './sizes'
import { Blocked, Transaction } from './transaction'
import { fromNumber } from './values'

/** One state of a document, with the ones before it as long as an open transaction may read them. */
type Version = { doc: Doc | undefined; since: number; older?: Version }

const MAX_DOCUMENT_BYTES = 16 * 1024 * 1024

export class Collection {
  readonly uuid = new UUID()
  readonly records = new Map<string, Version>()
  readonly indexes = new Map<string, Index>()
  #byId: IdOrder | undefined
  constructor(readonly namespace: string) {}

  /** Its documents in the order of `_id`, sorted when it is first asked for. */
  get byId(): IdOrder {
    this.#byId ??= new IdOrder(this.#docs())
    return this.#byId
  }

  *#docs(): Iterable<[string, Doc]> {
    for (const [id, { doc }] of this.records) if (doc !== undefined) yield [id, doc]
  }

  /** Is told of a document that came to be or is gone. */
  changed(id: string, doc: Doc | undefined): void {
    if (doc === undefined || !this.#byId?.append(id, doc)) this.#byId = undefined
  }
}

/** All data of a server: documents are never changed in place, so that a snapshot is a moment of the clock. */
export class Store {
  readonly collections = new Map<string, Collection>()
  readonly changes = new Changes()
  readonly #open = new Set<Transaction>()
  readonly #locks = new Map<string, Transaction>()
  #outdated: [Collection, string][] = []
  #clock = 0

  begin(origin: Origin): Transaction {
    const transaction = new Transaction(this.#clock, origin)
    this.#open.add(transaction)
    return transaction
  }

  commit(transaction: Transaction): void {
    const since = ++this.#clock
    for (const [namespace, writes] of transaction.writes) {
      const collection = this.create(namespace)
      for (const [id, doc] of writes) this.#apply(collection, id, doc, since)
    }
    this.abort(transaction)
    this.changes.record(transaction.changes, transaction.origin)
  }

  /** Forgets a transaction and lets those go on who wait for it. */
  abort(transaction: Transaction): void {
    this.#open.delete(transaction)
    for (const lock of transaction.locks) this.#locks.delete(lock)
    if (this.#open.size === 0) this.#prune()
    transaction.end()
  }

  /** Removes a collection with all it holds, and gives what it was. */
  drop(namespace: string): Collection | undefined {
    const collection = this.collections.get(namespace)
    if (this.collections.delete(namespace)) {
      this.changes.record([
        { namespace, collection: 'drop' },
        { namespace, collection: 'invalidate' },
      ])
    }
    return collection
  }

  create(namespace: string): Collection {
    const existing = this.collections.get(namespace)
    if (existing !== undefined) return existing
    const collection = new Collection(namespace)
    this.collections.set(namespace, collection)
    return collection
  }

  /** Changes of the catalogue wait for the transactions that use the collection. */
  assertUnused(namespace: string): void {
    for (const transaction of this.#open) {
      if (transaction.namespaces.has(namespace)) throw new Blocked(transaction)
    }
  }

  /** Adds an index and fills it. @throws {ServerError} 11000 when it is unique and the documents are not */
  addIndex(collection: Collection, index: Index): void {
    for (const [id, { doc }] of collection.records) {
      const keys = index.keysOf(doc)
      const taken = index.unique ? keys.find(({ text }) => index.entries.has(text)) : undefined
      if (taken !== undefined) throw duplicateKey(collection.namespace, index.name, index.key, taken.values)
      index.add(keys, id)
    }
    collection.indexes.set(index.name, index)
  }

  /** The documents a filter may match, in natural order, as the transaction (or everyone) sees them. */
  candidates(namespace: string, filter: Doc, transaction: Transaction | undefined): Iterable<[string, Doc]> {
    transaction?.namespaces.add(namespace)
    const collection = this.collections.get(namespace)
    const { index, ids } = plan(filter, collection?.indexes.values() ?? [])
    // An index shows the latest state, which is not what a transaction sees: it scans.
    if (ids !== undefined && (index === undefined || transaction === undefined))
      return this.#pick(namespace, ids, transaction)
    return this.#scan(namespace, transaction)
  }

  /** The same in the order of `_id`; nothing where that would be no faster. */
  candidatesInOrder(namespace: string, filter: Doc, transaction: Transaction | undefined) {
    const collection = this.collections.get(namespace)
    if (!collection || transaction || plan(filter, collection.indexes.values()).ids !== undefined) return undefined
    return this.#pick(namespace, collection.byId.from(filter), undefined)
  }

  *#pick(namespace: string, ids: Iterable<string>, transaction: Transaction | undefined): Iterable<[string, Doc]> {
    for (const id of ids) {
      const doc = this.get(namespace, id, transaction)
      if (doc !== undefined) yield [id, doc]
    }
  }

  *#scan(namespace: string, transaction: Transaction | undefined): Iterable<[string, Doc]> {
    const records = this.collections.get(namespace)?.records
    const own = transaction?.writes.get(namespace)
    yield* this.#pick(namespace, records?.keys() ?? [], transaction)
    for (const [id, doc] of own ?? []) {
      if (doc !== undefined && !records?.has(id)) yield [id, doc]
    }
  }

  get(namespace: string, id: string, transaction: Transaction | undefined): Doc | undefined {
    let version = this.collections.get(namespace)?.records.get(id)
    if (transaction === undefined) return version?.doc
    const own = transaction.writes.get(namespace)
    if (own?.has(id)) return own.get(id)
    while (version !== undefined && version.since > transaction.snapshot) version = version.older
    return version?.doc
  }

  /**
   * Writes one document, or removes it when `after` is undefined: wholly or, when it throws, not at all.
   * `manner` tells of an update how it came about.
   *
   * @throws {ServerError} 11000 for a duplicate key, 112 when a transaction conflicts with another write
   * @throws {Blocked} when a write outside a transaction has to wait for one
   */
  write(
    namespace: string,
    before: Doc | undefined,
    after: Doc | undefined,
    transaction: Transaction | undefined,
    manner?: Manner,
  ): void {
    if (after !== undefined && exceeds(after, MAX_DOCUMENT_BYTES)) {
      throw new ServerError(10334, `BSONObj size is invalid: it must be at most ${MAX_DOCUMENT_BYTES} bytes`)
    }
    const id = keyOf((before ?? after)!._id)
    const existing = this.collections.get(namespace)
    const locks = [this.#claim(`${namespace}\0${id}`, transaction)]
    this.#assertCurrent(existing?.records.get(id), transaction)
    if (before === undefined && this.get(namespace, id, transaction) !== undefined) {
      throw duplicateKey(namespace, '_id_', { _id: fromNumber(1) }, [after!._id])
    }
    const taken: string[] = []
    const freed: string[] = []
    for (const index of existing?.indexes.values() ?? []) {
      if (!index.unique) {
        if (after !== undefined) index.keysOf(after)
        continue
      }
      const [gone, added] = difference(index.keysOf(before), index.keysOf(after))
      for (const { text, values } of added) {
        const lock = this.#claim(`${namespace}\0${index.name}\0${text}`, transaction)
        this.#assertFree(existing!, index, text, values, id, lock, transaction)
        taken.push(lock)
      }
      if (transaction !== undefined) {
        freed.push(...gone.map(({ text }) => this.#claim(`${namespace}\0${index.name}\0${text}`, transaction)))
      }
    }
    const change: Change = { namespace, before, after, manner }
    if (transaction === undefined) {
      this.#apply(existing ?? this.create(namespace), id, after, ++this.#clock)
      this.changes.record([change])
      return
    }
    for (const lock of [...locks, ...taken, ...freed]) {
      this.#locks.set(lock, transaction)
      transaction.locks.add(lock)
    }
    for (const lock of freed) transaction.owned.delete(lock)
    for (const lock of taken) transaction.owned.set(lock, id)
    transaction.namespaces.add(namespace)
    if (!transaction.writes.has(namespace)) transaction.writes.set(namespace, new Map())
    transaction.writes.get(namespace)!.set(id, after)
    transaction.changes.push(change)
  }

  #claim(lock: string, transaction: Transaction | undefined): string {
    const holder = this.#locks.get(lock)
    if (holder === undefined || holder === transaction) return lock
    throw transaction === undefined ? new Blocked(holder) : writeConflict()
  }

  #assertCurrent(version: Version | undefined, transaction: Transaction | undefined): void {
    if (transaction !== undefined && version !== undefined && version.since > transaction.snapshot)
      throw writeConflict()
  }

  #assertFree(
    collection: Collection,
    index: Index,
    text: string,
    values: unknown[],
    id: string,
    lock: string,
    transaction: Transaction | undefined,
  ): void {
    const own = transaction?.writes.get(collection.namespace)
    const ownOwner = transaction?.owned.get(lock)
    const owners = [...(index.entries.get(text) ?? [])].filter((owner) => !own?.has(owner))
    if (ownOwner !== undefined) owners.push(ownOwner)
    for (const owner of owners) {
      if (owner === id) continue
      this.#assertCurrent(collection.records.get(owner), transaction)
      throw duplicateKey(collection.namespace, index.name, index.key, values)
    }
  }

  #apply(collection: Collection, id: string, doc: Doc | undefined, since: number): void {
    const previous = collection.records.get(id)
    for (const index of collection.indexes.values()) {
      index.remove(index.keysOf(previous?.doc), id)
      index.add(index.keysOf(doc), id)
    }
    if ((previous?.doc === undefined) !== (doc === undefined)) collection.changed(id, doc)
    if (this.#open.size > 0) {
      collection.records.set(id, { doc, since, older: previous })
      this.#outdated.push([collection, id])
    } else if (doc === undefined) collection.records.delete(id)
    else collection.records.set(id, { doc, since })
  }

  /** With no transaction open, only the latest state of a document is of use. */
  #prune(): void {
    for (const [{ records }, id] of this.#outdated) {
      const version = records.get(id)
      if (version?.doc === undefined) records.delete(id)
      else version.older = undefined
    }
    this.#outdated = []
  }
}

function difference(before: IndexKey[], after: IndexKey[]): [gone: IndexKey[], added: IndexKey[]] {
  const [old, next] = [new Set(before.map(({ text }) => text)), new Set(after.map(({ text }) => text))]
  return [before.filter(({ text }) => !next.has(text)), after.filter(({ text }) => !old.has(text))]
}

function writeConflict(): ServerError {
  return new ServerError(
    112,
    'Caused by :: Write conflict during plan execution and yielding is disabled. :: Please retry your operation or multi-document transaction.',
  )
}
