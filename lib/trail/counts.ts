import type { KeyUse } from './event'

/** What was done, as often as it was: each call counts once, by what it was. */
export const kinds = ['opened', 'generated', 'rewrapped', 'failed'] as const
export type Kind = (typeof kinds)[number]

export type Counts = Record<Kind, number> & {
  /** Those of them which succeeded, and of which the application's log has no line. */
  unknown: number
}

export function kindOf({ operation, error }: KeyUse): Kind {
  if (error !== undefined) return 'failed'
  if (operation === 'Decrypt') return 'opened'
  return operation === 'ReEncrypt' ? 'rewrapped' : 'generated'
}

export function noCounts(): Counts {
  return { opened: 0, generated: 0, rewrapped: 0, failed: 0, unknown: 0 }
}

export function callsOf(counts: Counts): number {
  return counts.opened + counts.generated + counts.rewrapped + counts.failed
}

/** Counts, and from when to when in milliseconds. */
export type Span = Counts & { first: number; last: number }

export function noSpan(): Span {
  return { ...noCounts(), first: Number.POSITIVE_INFINITY, last: Number.NEGATIVE_INFINITY }
}

export function count(span: Span, kind: Kind, isUnknown: boolean, time: number): void {
  span[kind] += 1
  if (isUnknown) span.unknown += 1
  if (time < span.first) span.first = time
  if (time > span.last) span.last = time
}
