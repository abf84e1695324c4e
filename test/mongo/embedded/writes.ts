import { ObjectId } from 'bson'
import type { Context } from './context'
import { type Doc, ServerError } from './errors'
import { compileFilter, type Match } from './match'
import { compileProjection } from './projection'
import { sortBy } from './sort'
import { whenFree } from './store'
import { compileUpdate, isReplacement, type Update, upsertBase } from './update'
import { field, identical, isDoc, isTrue, toNumber, typeOf } from './values'

type Updated = { n: number; nModified: number; upsertedId?: unknown; before?: Doc; after?: Doc }
type UpdateStatement = { q: Doc; u: unknown; multi: boolean; upsert: boolean; arrayFilters?: unknown; sort?: Doc }

export async function insert(context: Context, command: Doc): Promise<Doc> {
  const namespace = context.namespace(command.insert)
  return statements(context, command, command.documents as Doc[], async (doc) => {
    await insertOne(context, namespace, doc)
    return { n: 1 }
  })
}

export async function update(context: Context, command: Doc): Promise<Doc> {
  const namespace = context.namespace(command.update)
  const upserted: Doc[] = []
  const reply = await statements(context, command, command.updates as Doc[], async (statement, index) => {
    const result = await updateDocs(context, namespace, updateStatement(statement))
    if (result.upsertedId !== undefined) upserted.push({ index, _id: result.upsertedId })
    return { n: result.n, nModified: result.nModified }
  })
  return upserted.length > 0 ? { ...reply, upserted } : reply
}

export async function remove(context: Context, command: Doc): Promise<Doc> {
  const namespace = context.namespace(command.delete)
  return statements(context, command, command.deletes as Doc[], async (statement) => ({
    n: await deleteDocs(context, namespace, statement.q as Doc, toNumber(statement.limit) === 1),
  }))
}

/**
 * Runs the statements of one command in order and adds up their counts. An error is reported per statement and, in an
 * ordered command, ends it; in a transaction a write conflict fails the whole command.
 */
async function statements(
  context: Context,
  command: Doc,
  list: Doc[],
  run: (statement: Doc, index: number) => Promise<Record<string, number>>,
): Promise<Doc> {
  const reply: Record<string, number> = { n: 0, ...(command.update === undefined ? {} : { nModified: 0 }) }
  const writeErrors: Doc[] = []
  for (const [index, statement] of list.entries()) {
    try {
      const counts = await run(statement, index)
      for (const [name, count] of Object.entries(counts)) reply[name] = reply[name]! + count
    } catch (error) {
      if (!isStatementError(error, context)) throw error
      writeErrors.push({ index, code: error.code, errmsg: error.message, ...error.extra })
      if (stopsAtError(command, context)) break
    }
  }
  return writeErrors.length > 0 ? { ...reply, writeErrors } : reply
}

function isStatementError(error: unknown, { transaction }: Context): error is ServerError {
  return error instanceof ServerError && error.code !== 238 && !(transaction !== undefined && error.code === 112)
}

/** The first error aborts a transaction, whatever is said of order. */
function stopsAtError(command: Doc, { transaction }: Context): boolean {
  return transaction !== undefined || command.ordered === undefined || isTrue(command.ordered)
}

function updateStatement(statement: Doc): UpdateStatement {
  const { q, u, multi, upsert, arrayFilters, sort } = statement
  return { q: q as Doc, u, multi: isTrue(multi), upsert: isTrue(upsert), arrayFilters, sort: sort as Doc | undefined }
}

async function insertOne({ store, transaction }: Context, namespace: string, given: Doc): Promise<void> {
  const doc = withId(given)
  await whenFree(() => store.write(namespace, undefined, doc, transaction))
}

/** Every document has an `_id`, and has it first. */
function withId(doc: Doc): Doc {
  const id = field(doc, '_id')
  if (['array', 'regex'].includes(typeOf(id)) && id !== undefined) {
    throw new ServerError(53, `The '_id' value cannot be of type ${typeOf(id)}`)
  }
  if (Object.keys(doc)[0] === '_id' && id !== undefined) return doc
  const { _id, ...rest } = doc
  return { _id: id === undefined ? new ObjectId() : id, ...rest }
}

async function updateDocs(context: Context, namespace: string, statement: UpdateStatement): Promise<Updated> {
  const { store, transaction } = context
  const { q, u, multi, upsert, arrayFilters, sort } = statement
  const filter = compileFilter(q)
  const change = compileUpdate(u, arrayFilters)
  if (multi && isReplacement(u)) throw new ServerError(9, 'multi update is not supported for replacement-style update')
  const step = (doc: Doc, match: Match): Updated => {
    const after = change(doc, match, false)
    const same = identical(doc, after)
    if (!same) store.write(namespace, doc, after, transaction)
    return { n: 1, nModified: same ? 0 : 1, before: doc, after }
  }
  const one = (): Updated => {
    const found = first(context, namespace, q, sort)
    if (found !== undefined) return step(found.doc, found.match)
    return upsert ? insertNew(context, namespace, statement, change) : { n: 0, nModified: 0 }
  }
  if (!multi) return whenFree(one)
  const ids = [...store.candidates(namespace, q, transaction)].filter(([, doc]) => filter(doc)).map(([id]) => id)
  if (ids.length === 0) return whenFree(one)
  const total = { n: 0, nModified: 0 }
  for (const id of ids) {
    const result = await whenFree(() => {
      const doc = store.get(namespace, id, transaction)
      const match: Match = {}
      return doc !== undefined && filter(doc, match) ? step(doc, match) : { n: 0, nModified: 0 }
    })
    total.n += result.n
    total.nModified += result.nModified
  }
  return total
}

function insertNew(
  { store, transaction }: Context,
  namespace: string,
  { q, u }: UpdateStatement,
  change: Update,
): Updated {
  const after = withId(change(upsertBase(q, isReplacement(u)), {}, true))
  store.write(namespace, undefined, after, transaction)
  return { n: 1, nModified: 0, upsertedId: after._id, after }
}

function first(context: Context, namespace: string, q: Doc, sort?: Doc): { doc: Doc; match: Match } | undefined {
  const filter = compileFilter(q)
  const found: { doc: Doc; match: Match }[] = []
  for (const [, doc] of context.store.candidates(namespace, q, context.transaction)) {
    const match: Match = {}
    if (!filter(doc, match)) continue
    if (sort === undefined) return { doc, match }
    found.push({ doc, match })
  }
  return sort === undefined ? undefined : sortBy(sort, found, ({ doc }) => doc)[0]
}

async function deleteDocs(context: Context, namespace: string, q: Doc, single: boolean): Promise<number> {
  const { store, transaction } = context
  const filter = compileFilter(q)
  const removeAt = (doc: Doc | undefined): number => {
    if (doc === undefined || !filter(doc)) return 0
    store.write(namespace, doc, undefined, transaction)
    return 1
  }
  if (single) return whenFree(() => removeAt(first(context, namespace, q)?.doc))
  const ids = [...store.candidates(namespace, q, transaction)].filter(([, doc]) => filter(doc)).map(([id]) => id)
  let n = 0
  for (const id of ids) n += await whenFree(() => removeAt(store.get(namespace, id, transaction)))
  return n
}

export async function findAndModify(context: Context, command: Doc): Promise<Doc> {
  const namespace = context.namespace(command.findAndModify)
  const q = (command.query as Doc) ?? {}
  const sort = command.sort as Doc | undefined
  const project = isDoc(command.fields) ? compileProjection(command.fields) : (doc: Doc) => doc
  const show = (doc: Doc | undefined) => (doc === undefined ? null : project(doc))
  if (isTrue(command.remove)) {
    if (command.update !== undefined) throw new ServerError(9, "Cannot specify both an 'update' and 'remove'=true")
    if (isTrue(command.upsert)) throw new ServerError(9, "Cannot specify both 'upsert'=true and 'remove'=true")
    if (isTrue(command.new))
      throw new ServerError(
        9,
        "Cannot specify both 'new'=true and 'remove'=true; 'remove' always returns the deleted document",
      )
    return whenFree(() => {
      const doc = first(context, namespace, q, sort)?.doc
      if (doc !== undefined) context.store.write(namespace, doc, undefined, context.transaction)
      return { lastErrorObject: { n: doc === undefined ? 0 : 1 }, value: show(doc) }
    })
  }
  if (command.update === undefined) throw new ServerError(9, "Either an 'update' or 'remove'=true must be specified")
  const statement = {
    q,
    u: command.update,
    multi: false,
    upsert: isTrue(command.upsert),
    arrayFilters: command.arrayFilters,
    sort,
  }
  const { n, upsertedId, before, after } = await updateDocs(context, namespace, statement)
  const upserted = upsertedId === undefined ? {} : { upserted: upsertedId }
  return {
    lastErrorObject: { n, updatedExisting: n === 1 && upsertedId === undefined, ...upserted },
    value: show(isTrue(command.new) ? after : before),
  }
}

const OPS: Record<string, (context: Context, namespace: string, op: Doc) => Promise<Doc>> = {
  insert: async (context, namespace, op) => {
    await insertOne(context, namespace, op.document as Doc)
    return { n: 1 }
  },
  update: async (context, namespace, { filter, updateMods, ...options }) => {
    const { n, nModified, upsertedId } = await updateDocs(
      context,
      namespace,
      updateStatement({ ...options, q: filter, u: updateMods }),
    )
    return { n, nModified, ...(upsertedId === undefined ? {} : { upserted: { _id: upsertedId } }) }
  },
  delete: async (context, namespace, { filter, multi }) => ({
    n: await deleteDocs(context, namespace, filter as Doc, !isTrue(multi)),
  }),
}

/** The `bulkWrite` command of MongoDB 8: writes to several collections, one result document each. */
export async function bulkWrite(context: Context, command: Doc): Promise<Doc> {
  const namespaces = (command.nsInfo as Doc[]).map(({ ns }) => String(ns))
  const totals = { nErrors: 0, nInserted: 0, nUpserted: 0, nMatched: 0, nModified: 0, nDeleted: 0 }
  const results: Doc[] = []
  for (const [idx, op] of (command.ops as Doc[]).entries()) {
    const kind = Object.keys(op)[0]!
    const namespace = namespaces[toNumber(op[kind])]
    if (OPS[kind] === undefined || namespace === undefined)
      throw new ServerError(2, `malformed bulkWrite operation ${idx}`)
    try {
      const result = await OPS[kind](context, namespace, op)
      count(totals, kind, result)
      if (!isTrue(command.errorsOnly)) results.push({ ok: 1, idx, ...result })
    } catch (error) {
      if (!isStatementError(error, context)) throw error
      totals.nErrors += 1
      results.push({ ok: 0, idx, code: error.code, errmsg: error.message, ...error.extra, n: 0 })
      if (stopsAtError(command, context)) break
    }
  }
  return { ...context.cursors.start('admin.$cmd.bulkWrite', results, { batchSize: results.length }), ...totals }
}

function count(totals: Record<string, number>, kind: string, { n, nModified, upserted }: Doc): void {
  const name = { insert: 'nInserted', update: upserted === undefined ? 'nMatched' : 'nUpserted', delete: 'nDeleted' }[
    kind
  ]!
  totals[name]! += n as number
  totals.nModified! += (nModified as number | undefined) ?? 0
}
