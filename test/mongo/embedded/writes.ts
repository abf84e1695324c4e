import type { Context } from './context'
import { deleteDocs, first, insertOne, updateDocs, updateStatement } from './documents'
import { type Doc, ServerError } from './errors'
import { compileProjection } from './projection'
import { whenFree } from './transaction'
import { isDoc, isTrue, toNumber } from './values'

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
  for (const { limit } of command.deletes as Doc[]) checkDeleteLimit(limit)
  return statements(context, command, command.deletes as Doc[], async (statement) => ({
    n: await deleteDocs(context, namespace, statement.q as Doc, toNumber(statement.limit) === 1),
  }))
}

/** How many documents a statement deletes: one, or with 0 all. */
function checkDeleteLimit(limit: unknown): void {
  if (limit === undefined)
    throw new ServerError(40414, "BSON field 'delete.deletes.limit' is missing but a required field")
  if (![0, 1].includes(toNumber(limit))) {
    throw new ServerError(9, `The limit field in delete objects must be 0 or 1. Got ${toNumber(limit)}`)
  }
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

export function isStatementError(error: unknown, { transaction }: Context): error is ServerError {
  return error instanceof ServerError && error.code !== 238 && !(transaction !== undefined && error.code === 112)
}

/** The first error aborts a transaction, whatever is said of order. */
export function stopsAtError(command: Doc, { transaction }: Context): boolean {
  return transaction !== undefined || command.ordered === undefined || isTrue(command.ordered)
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
