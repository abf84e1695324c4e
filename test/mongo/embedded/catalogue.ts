import { identical, keyOf } from './compare'
import type { Context } from './context'
import { type Doc, notImplemented, ServerError } from './errors'
import { Index } from './indexes'
import { compileFilter } from './match'
import type { Collection } from './store'
import { whenFree } from './transaction'
import { fromNumber, isDoc, isTrue } from './values'

const ID_INDEX = { v: fromNumber(2), key: { _id: fromNumber(1) }, name: '_id_' }

export function create(context: Context, command: Doc): Doc {
  const namespace = context.namespace(command.create)
  if (context.store.collections.has(namespace)) throw new ServerError(48, `Collection ${namespace} already exists.`)
  context.store.create(namespace)
  return {}
}

export async function drop(context: Context, command: Doc): Promise<Doc> {
  const namespace = context.namespace(command.drop)
  return whenFree(() => {
    context.store.assertUnused(namespace)
    const collection = context.store.drop(namespace)
    return collection === undefined ? {} : { nIndexesWas: collection.indexes.size + 1, ns: namespace }
  })
}

export async function dropDatabase(context: Context): Promise<Doc> {
  for (const { namespace } of collectionsOf(context)) {
    await drop(context, { drop: namespace.slice(context.database.length + 1) })
  }
  return { dropped: context.database }
}

function collectionsOf({ store, database }: Context): Collection[] {
  return [...store.collections.values()].filter(({ namespace }) => namespace.startsWith(`${database}.`))
}

export function listCollections(context: Context, command: Doc): Doc {
  const predicate = compileFilter((command.filter as Doc) ?? {})
  const docs = collectionsOf(context)
    .map(({ namespace, uuid }) => ({
      name: namespace.slice(context.database.length + 1),
      type: 'collection',
      options: {},
      info: { readOnly: false, uuid },
      idIndex: ID_INDEX,
    }))
    .filter((doc) => predicate(doc))
  const shown = isTrue(command.nameOnly) ? docs.map(({ name, type }) => ({ name, type })) : docs
  const batchSize = isDoc(command.cursor) ? command.cursor.batchSize : undefined
  return context.cursors.start(`${context.database}.$cmd.listCollections`, shown, { batchSize })
}

export function listDatabases({ store }: Context, command: Doc): Doc {
  const predicate = compileFilter((command.filter as Doc) ?? {})
  const names = new Set([...store.collections.keys()].map((namespace) => namespace.split('.')[0]!))
  return { databases: [...names].map((name) => ({ name, empty: false })).filter((doc) => predicate(doc)) }
}

export async function createIndexes(context: Context, command: Doc): Promise<Doc> {
  const namespace = context.namespace(command.createIndexes)
  const specs = command.indexes as Doc[]
  const existed = context.store.collections.has(namespace)
  const wanted = specs.map((spec) => new Index({ v: fromNumber(2), ...spec }))
  return whenFree(() => {
    const collection = context.store.collections.get(namespace)
    const before = (collection?.indexes.size ?? 0) + 1
    const missing = wanted.filter((index) => !isIdIndex(index) && !present(collection, index))
    if (missing.length > 0) context.store.assertUnused(namespace)
    const created = context.store.create(namespace)
    for (const index of missing) context.store.addIndex(created, index)
    return {
      numIndexesBefore: before,
      numIndexesAfter: before + missing.length,
      createdCollectionAutomatically: !existed,
      ...(missing.length === 0 ? { note: 'all indexes already exist' } : {}),
    }
  })
}

function isIdIndex(index: Index): boolean {
  return Object.keys(index.key).join() === '_id'
}

/** Whether the very same index exists. @throws {ServerError} 85 or 86 when one like it does */
function present(collection: Collection | undefined, index: Index): boolean {
  const sameName = collection?.indexes.get(index.name)
  if (sameName !== undefined) {
    if (keyOf(sameName.key) !== keyOf(index.key) || !sameOptions(sameName, index)) {
      throw new ServerError(
        86,
        `An existing index has the same name as the requested index. Requested index: ${index.name}`,
      )
    }
    return true
  }
  for (const other of collection?.indexes.values() ?? []) {
    if (keyOf(other.key) !== keyOf(index.key)) continue
    if (keyOf(other.spec.partialFilterExpression) !== keyOf(index.spec.partialFilterExpression)) continue
    throw new ServerError(85, `Index already exists with a different name: ${other.name}`)
  }
  return false
}

function sameOptions(a: Index, b: Index): boolean {
  const options = ({ spec }: Index) => [isTrue(spec.unique), isTrue(spec.sparse), spec.partialFilterExpression ?? null]
  return identical(options(a), options(b))
}

export function listIndexes(context: Context, command: Doc): Doc {
  const namespace = context.namespace(command.listIndexes)
  const collection = context.store.collections.get(namespace)
  if (collection === undefined) throw new ServerError(26, `ns does not exist: ${namespace}`)
  const specs = [...collection.indexes.values()].map(({ spec }) => {
    const { background, ns, ...shown } = spec
    return shown
  })
  const batchSize = isDoc(command.cursor) ? command.cursor.batchSize : undefined
  return context.cursors.start(namespace, [ID_INDEX, ...specs], { batchSize })
}

export async function dropIndexes(context: Context, command: Doc): Promise<Doc> {
  const namespace = context.namespace(command.dropIndexes)
  return whenFree(() => {
    const collection = context.store.collections.get(namespace)
    if (collection === undefined) throw new ServerError(26, `ns not found ${namespace}`)
    context.store.assertUnused(namespace)
    const nIndexesWas = collection.indexes.size + 1
    for (const name of namesToDrop(collection, command.index)) collection.indexes.delete(name)
    return { nIndexesWas }
  })
}

function namesToDrop({ indexes }: Collection, wanted: unknown): string[] {
  if (wanted === '*') return [...indexes.keys()]
  if (Array.isArray(wanted)) throw notImplemented('dropIndexes of a list')
  if (wanted === '_id_') throw new ServerError(72, 'cannot drop _id index')
  const found = [...indexes.values()].filter(
    ({ name, key }) => name === wanted || (isDoc(wanted) && keyOf(key) === keyOf(wanted)),
  )
  if (found.length === 0)
    throw new ServerError(27, `index not found with name [${isDoc(wanted) ? Object.keys(wanted) : wanted}]`)
  return found.map(({ name }) => name)
}
