/** What came of a command: all that it was to do, with records that failed, not to its end, or calls that the application does not know. */
export type Outcome = 'done' | 'failed' | 'unknown' | 'interrupted'

/** The exit codes. */
export const exitCodes = Object.freeze({ done: 0, failed: 1, misuse: 2, error: 3, unknown: 3, interrupted: 130 })

/** The program was called in a way that makes no sense. Nothing was done. */
export class Misuse extends Error {
  override readonly name = 'Misuse'
}

/** The worse of two outcomes. */
export function worse(one: Outcome, other: Outcome): Outcome {
  return exitCodes[one] > exitCodes[other] ? one : other
}
