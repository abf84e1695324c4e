import type { Config } from './config'
import type { Doc } from './host'
import { idOf, ownerOf, pathInOwner } from './naming'
import type { EncryptedRecord, Staged, UsedKey } from './record'

/** Ties an update to the keys that the record had: a record whose keys changed meanwhile is not written to. */
export function guard({ keyPath, host: { binary } }: Config, used: UsedKey): Record<string, unknown> {
  const has = (commitment: Uint8Array) => ({ $elemMatch: { commitment: binary(commitment) } })
  if (!used.added) return { [keyPath]: has(used.commitment) }
  const exactly = (commitments: readonly Uint8Array[]) =>
    commitments.length === 0
      ? { [keyPath]: null }
      : {
          $and: [
            { [keyPath]: { $size: commitments.length } },
            ...commitments.map((commitment) => ({ [keyPath]: has(commitment) })),
          ],
        }
  // The keys as they were, or as this very write left them, should its acknowledgement have been lost.
  return { $or: [exactly(used.before), exactly([...used.before, used.commitment])] }
}

/** A condition on a subdocument, as a condition on the document that it is stored in. */
export function placed(doc: Doc, condition: Record<string, unknown>): Record<string, unknown> {
  const parent = (doc as unknown as { $parent?(): Doc | undefined }).$parent?.()
  if (!doc.$isSubdocument || !parent) return condition
  const path = pathInOwner(doc).slice(parent.$isSubdocument ? pathInOwner(parent).length + 1 : 0)
  if (!('parentArray' in doc)) {
    return placed(parent, prefixed(condition, path))
  }
  const element = idOf(doc) === undefined ? condition : { _id: idOf(doc), ...condition }
  return placed(parent, { [path]: { $elemMatch: element } })
}

/** A condition on what stands at a path, with the logical operators left on top. */
function prefixed(condition: Record<string, unknown>, path: string): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(condition).map(([key, value]) =>
      key.startsWith('$')
        ? [key, (value as Record<string, unknown>[]).map((each) => prefixed(each, path))]
        : [`${path}.${key}`, value],
    ),
  )
}

/** The conditions that writes under way put on a document, beside the user's own `$where`. */
const guarded = new WeakMap<Doc, { readonly own: unknown; readonly guards: Set<Record<string, unknown>> }>()

/** Adds or removes a condition; without any left, the user's own `$where` is back. */
export function changeGuards(owner: Doc, change: (guards: Set<Record<string, unknown>>) => void): void {
  const { own, guards } = guarded.get(owner) ?? { own: owner.$where, guards: new Set<Record<string, unknown>>() }
  change(guards)
  if (guards.size > 0) {
    guarded.set(owner, { own, guards })
    owner.$where = { $and: [...(own ? [own] : []), ...guards] } as never
  } else {
    guarded.delete(owner)
    owner.$where = own as never
  }
}

/** Removes the condition of a write that has ended. */
export function liftGuard(record: EncryptedRecord, staged: Staged): void {
  const { guard } = staged
  if (!guard) return
  staged.guard = undefined
  changeGuards(ownerOf(record.doc), (guards) => guards.delete(guard))
}
