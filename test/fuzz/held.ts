import type { Forms } from './forms'
import { same } from './results'
import type { Subject } from './subject'

/** What a step did to the records of the twin, and what has to be known of it. */
interface Changes {
  readonly before: readonly any[]
  readonly after: readonly any[]
  readonly forms: Forms
  readonly hasSaveHook: boolean
}

/** Takes the documents that a step used from both twins: they are no longer alike. */
export function forgetUsed(twin: Subject, encrypted: Subject): void {
  const isUsed = twin.held.map(({ used }, index) => used || encrypted.held[index]?.used)
  for (const { held } of [twin, encrypted]) held.splice(0, held.length, ...held.filter((_, index) => !isUsed[index]))
}

/**
 * Notes which documents at hand are out of date: those that are not as their record is now. Where changes wait to be
 * saved, or a hook makes some, the twin would merge what this library replaces, and they are forgotten.
 */
export function markStale(twin: Subject, encrypted: Subject, { before, after, forms, hasSaveHook }: Changes): void {
  const [old, now] = [before, after].map((raws) => new Map(raws.map((raw) => [String(raw._id), forms.of(raw)])))
  for (let index = twin.held.length - 1; index >= 0; index--) {
    const { doc } = twin.held[index]!
    const record = now!.get(String(doc._id))
    if (same(old!.get(String(doc._id)), record)) continue
    const stale = !same(forms.of(doc.toObject({ depopulate: true, flattenMaps: true })), record)
    const isChanged = doc.modifiedPaths().length > 0 || hasSaveHook
    for (const { held } of [twin, encrypted]) {
      const one = held[index]
      if (stale && isChanged) held.splice(index, 1)
      else if (one) one.stale = stale
    }
  }
}
