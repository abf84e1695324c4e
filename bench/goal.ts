import { type Summary, summaryOf } from './statistics'

/** What is to be reached: a ratio of things that were measured in the same round. */
export interface Goal {
  readonly what: string
  readonly limit: number
  /** Whether more is better. */
  readonly isLeast?: boolean
}

/** A goal with what became of it. */
export interface Outcome extends Goal {
  readonly measured: Summary
  readonly isMet: boolean
}

/** Whether a goal was met is for the median to say. */
export function outcomeOf(goal: Goal, ratios: readonly number[]): Outcome {
  const measured = summaryOf(ratios)
  const { limit, isLeast } = goal
  return { ...goal, measured, isMet: isLeast ? measured.median >= limit : measured.median <= limit }
}

/** How often the least that a work needs is in what it takes beyond the same work without encryption. */
export function beyondInFloors(ours: number, plain: number, floor: number): number {
  return (ours - plain) / floor
}

export function limitOf({ limit, isLeast }: Goal): string {
  return `${isLeast ? '≥' : '≤'} ${limit}`
}
