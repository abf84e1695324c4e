import type { Context } from './context'
import { deleteDocs, insertOne, updateDocs, updateStatement } from './documents'
import { type Doc, ServerError } from './errors'
import { isTrue, toNumber } from './values'
import { isStatementError, stopsAtError } from './writes'

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

export function count(totals: Record<string, number>, kind: string, { n, nModified, upserted }: Doc): void {
  const name = { insert: 'nInserted', update: upserted === undefined ? 'nMatched' : 'nUpserted', delete: 'nDeleted' }[
    kind
  ]!
  totals[name]! += n as number
  totals.nModified! += (nModified as number | undefined) ?? 0
}
