import { ObjectId } from 'bson'
import type { Manner, Touch } from './changes'
import { identical } from './compare'
import type { Context } from './context'
import { type Doc, ServerError } from './errors'
import { compileFilter, type Match } from './match'
import { naturalOrder, sortBy } from './sort'
import { whenFree } from './transaction'
import { compileUpdate, isReplacement, type Update } from './update'
import { upsertBase } from './upsert'
import { field, isTrue, typeOf } from './values'

type Updated = { n: number; nModified: number; upsertedId?: unknown; before?: Doc; after?: Doc }

type UpdateStatement = { q: Doc; u: unknown; multi: boolean; upsert: boolean; arrayFilters?: unknown; sort?: Doc }

export function updateStatement(statement: Doc): UpdateStatement {
  const { q, u, multi, upsert, arrayFilters, sort } = statement
  return { q: q as Doc, u, multi: isTrue(multi), upsert: isTrue(upsert), arrayFilters, sort: sort as Doc | undefined }
}

export async function insertOne({ store, transaction }: Context, namespace: string, given: Doc): Promise<void> {
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

export async function updateDocs(context: Context, namespace: string, statement: UpdateStatement): Promise<Updated> {
  const { store, transaction } = context
  const { q, u, multi, upsert, arrayFilters, sort } = statement
  const filter = compileFilter(q)
  const change = compileUpdate(u, arrayFilters)
  if (multi && isReplacement(u)) throw new ServerError(9, 'multi update is not supported for replacement-style update')
  const step = (doc: Doc, match: Match): Updated => {
    const touches: Touch[] = []
    const after = change(doc, match, false, touches)
    const same = identical(doc, after)
    if (!same) store.write(namespace, doc, after, transaction, mannerOf(u, touches))
    return { n: 1, nModified: same ? 0 : 1, before: doc, after }
  }
  const one = (): Updated => {
    const found = first(context, namespace, q, sort, filter)
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

function mannerOf(u: unknown, touches: Touch[]): Manner {
  if (isReplacement(u)) return 'replacement'
  return Array.isArray(u) ? 'pipeline' : touches
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

/** The first document of a filter, which may be given compiled too. */
export function first(
  context: Context,
  namespace: string,
  q: Doc,
  sort: Doc | undefined,
  filter = compileFilter(q),
): { doc: Doc; match: Match } | undefined {
  const natural = naturalOrder(sort)
  const found: { doc: Doc; match: Match }[] = []
  for (const [, doc] of context.store.candidates(namespace, natural === undefined ? q : {}, context.transaction)) {
    const match: Match = {}
    if (!filter(doc, match)) continue
    if (sort === undefined || natural === 1) return { doc, match }
    found.push({ doc, match })
  }
  if (sort === undefined || natural !== undefined) return found.at(-1)
  return sortBy(sort, found, ({ doc }) => doc)[0]
}

export async function deleteDocs(context: Context, namespace: string, q: Doc, single: boolean): Promise<number> {
  const { store, transaction } = context
  const filter = compileFilter(q)
  const removeAt = (doc: Doc | undefined): number => {
    if (doc === undefined || !filter(doc)) return 0
    store.write(namespace, doc, undefined, transaction)
    return 1
  }
  if (single) return whenFree(() => removeAt(first(context, namespace, q, undefined, filter)?.doc))
  const ids = [...store.candidates(namespace, q, transaction)].filter(([, doc]) => filter(doc)).map(([id]) => id)
  let n = 0
  for (const id of ids) n += await whenFree(() => removeAt(store.get(namespace, id, transaction)))
  return n
}
