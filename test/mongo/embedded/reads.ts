import type { Long } from 'bson'
import { keyOf } from './compare'
import type { Context } from './context'
import { type Doc, notImplemented, ServerError } from './errors'
import { plan } from './indexes'
import { compileFilter } from './match'
import { isIdOrder } from './order'
import { compilePipeline } from './pipeline'
import { compileProjection } from './projection'
import { show } from './show'
import { naturalOrder, sortBy } from './sort'
import { ChangeStream } from './stream'
import { field, fromNumber, isDoc, isNumeric, isTrue, toNumber } from './values'

export function find(context: Context, command: Doc): Doc {
  const namespace = context.namespace(command.find)
  notNegative(command, 'skip', 'limit', 'batchSize')
  const limit = toNumber(command.limit ?? 0)
  const docs = search(context, namespace, {
    filter: (command.filter as Doc) ?? {},
    sort: command.sort as Doc | undefined,
    skip: toNumber(command.skip ?? 0),
    limit,
  })
  const projection = command.projection as Doc | undefined
  const projected = projection && Object.keys(projection).length > 0 ? docs.map(compileProjection(projection)) : docs
  return context.cursors.start(namespace, projected, {
    batchSize: command.batchSize,
    single: isTrue(command.singleBatch),
  })
}

function search(
  { store, transaction }: Context,
  namespace: string,
  { filter, sort, skip, limit }: { filter: Doc; sort?: Doc; skip: number; limit: number },
): Doc[] {
  const predicate = compileFilter(filter)
  const natural = naturalOrder(sort)
  const sorts = sort !== undefined && Object.keys(sort).length > 0
  const inOrder = isIdOrder(sort) ? store.candidatesInOrder(namespace, filter, transaction) : undefined
  const enough = (sorts && !inOrder) || limit === 0 ? Number.POSITIVE_INFINITY : skip + limit
  const docs: Doc[] = []
  // An index would give the documents in its own order.
  const candidates = inOrder ?? store.candidates(namespace, natural === undefined ? filter : {}, transaction)
  for (const [, doc] of candidates) {
    if (!predicate(doc)) continue
    docs.push(doc)
    if (docs.length === enough) break
  }
  const sorted =
    !sorts || inOrder
      ? docs
      : natural === undefined
        ? sortBy(sort, docs, (doc) => doc)
        : natural < 0
          ? docs.reverse()
          : docs
  return limit === 0 ? sorted.slice(skip) : sorted.slice(skip, skip + limit)
}

/** @throws {ServerError} 51024 when one of these fields of a command is negative */
function notNegative(command: Doc, ...names: string[]): void {
  for (const name of names) {
    const value = command[name]
    if (isNumeric(value) && toNumber(value) < 0) {
      throw new ServerError(51024, `BSON field '${name}' value must be >= 0, actual value '${toNumber(value)}'`)
    }
  }
}

export function getMore(context: Context, command: Doc): Doc | Promise<Doc> {
  notNegative(command, 'batchSize')
  return context.cursors.more(command.getMore as Long, context.namespace(command.collection), command)
}

export function killCursors(context: Context, command: Doc): Doc {
  return context.cursors.kill(command.cursors as Long[])
}

export function aggregate(context: Context, command: Doc): Doc {
  if (command.aggregate === 1 || typeof command.aggregate !== 'string')
    throw notImplemented('aggregation of a whole database')
  const namespace = context.namespace(command.aggregate)
  if (isTrue(command.explain)) throw notImplemented('explain of an aggregation')
  if (!isDoc(command.cursor))
    throw new ServerError(9, "The 'cursor' option is required, except for aggregate with the explain argument")
  notNegative(command.cursor, 'batchSize')
  const stages = command.pipeline as Doc[]
  if (stages[0]?.$changeStream !== undefined) {
    const stream = new ChangeStream(context, namespace, stages)
    return context.cursors.follow(namespace, stream, command.cursor.batchSize)
  }
  const run = compilePipeline(stages, (name) => docsOf(context, context.namespace(name), {}))
  // A leading `$match` may use an index; it is run again as a stage, which changes nothing.
  const filter = isDoc(stages[0]?.$match) ? stages[0].$match : {}
  return context.cursors.start(namespace, run([...docsOf(context, namespace, filter)]), {
    batchSize: command.cursor.batchSize,
  })
}

function* docsOf({ store, transaction }: Context, namespace: string, filter: Doc): Iterable<Doc> {
  for (const [, doc] of store.candidates(namespace, filter, transaction)) yield doc
}

export function count(context: Context, command: Doc): Doc {
  notNegative(command, 'skip')
  const docs = search(context, context.namespace(command.count), {
    filter: (command.query as Doc) ?? {},
    skip: toNumber(command.skip ?? 0),
    limit: Math.abs(toNumber(command.limit ?? 0)),
  })
  return { n: docs.length }
}

export function distinct(context: Context, command: Doc): Doc {
  const docs = search(context, context.namespace(command.distinct), {
    filter: (command.query as Doc) ?? {},
    skip: 0,
    limit: 0,
  })
  const values = docs.flatMap((doc) => valuesAt(doc, String(command.key).split('.')))
  return { values: [...new Map(values.map((value) => [keyOf(value), value])).values()] }
}

/** The values of a path that exist, those of an array at its end one by one. */
function valuesAt(node: unknown, path: string[]): unknown[] {
  const [name, ...rest] = path
  if (name === undefined) return Array.isArray(node) ? node : [node]
  if (Array.isArray(node)) {
    if (/^\d+$/.test(name)) return Number(name) < node.length ? valuesAt(node[Number(name)], rest) : []
    return node.filter(isDoc).flatMap((item) => valuesAt(item, path))
  }
  const value = isDoc(node) ? field(node, name) : undefined
  return value === undefined ? [] : valuesAt(value, rest)
}

/** The plan of a `find` or `count`: by `_id`, by an index, or by a scan of the collection. */
export function explain(context: Context, command: Doc): Doc {
  const inner = command.explain as Doc
  const [name, collection] = Object.entries(inner)[0]!
  if (name !== 'find' && name !== 'count') throw notImplemented(`explain of ${name}`)
  if (inner.sort !== undefined) throw notImplemented('explain with a sort')
  const namespace = context.namespace(collection)
  const filter = ((name === 'find' ? inner.filter : inner.query) as Doc) ?? {}
  const { index, ids } = plan(filter, context.store.collections.get(namespace)?.indexes.values() ?? [])
  const examined = [...context.store.candidates(namespace, filter, undefined)].map(([, doc]) => doc)
  const predicate = compileFilter(filter)
  const matched = examined.filter((doc) => predicate(doc)).length
  // The documents of a range are found by a scan here, where MongoDB would read just those in its bounds.
  const totalDocsExamined = index !== undefined && ids === undefined ? matched : examined.length
  const keys = index === undefined && ids === undefined ? 0 : totalDocsExamined
  return {
    explainVersion: '1',
    queryPlanner: { namespace, parsedQuery: filter, winningPlan: winningPlan(filter, index, ids), rejectedPlans: [] },
    ...(command.verbosity === 'queryPlanner'
      ? {}
      : { executionStats: { executionSuccess: true, nReturned: matched, totalKeysExamined: keys, totalDocsExamined } }),
  }
}

function winningPlan(filter: Doc, index: ReturnType<typeof plan>['index'], ids: ReturnType<typeof plan>['ids']): Doc {
  if (index !== undefined) {
    return {
      stage: 'FETCH',
      inputStage: {
        stage: 'IXSCAN',
        keyPattern: index.key,
        indexName: index.name,
        isUnique: index.unique,
        isSparse: isTrue(index.spec.sparse),
        isPartial: index.spec.partialFilterExpression !== undefined,
        indexVersion: index.spec.v,
        direction: 'forward',
      },
    }
  }
  if (ids !== undefined) return { stage: 'EXPRESS_IXSCAN', keyPattern: show({ _id: fromNumber(1) }), indexName: '_id_' }
  return { stage: 'COLLSCAN', filter, direction: 'forward' }
}
