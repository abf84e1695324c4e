import type { Option } from 'commander'
import type { Output } from './output'
import type { Surroundings } from './surroundings'

/** A command of the program: one file each, listed in `commands.ts`. */
export interface Command {
  readonly name: string
  /** One line, for the list of commands. */
  readonly summary: string
  /** What its own help says beside. */
  readonly description: string
  readonly options: readonly Option[]
  /**
   * @param given the values of its options
   * @throws {Misuse} where they make no sense together
   */
  run(given: any, session: Session): Promise<Outcome>
}

/** What one call of the program has. */
export interface Session {
  readonly surroundings: Surroundings
  readonly output: Output
  /** Is aborted by the first signal. */
  readonly signal: AbortSignal
}

/** What came of a command: all that it was to do, with records that failed, or not to its end. */
export type Outcome = 'done' | 'failed' | 'interrupted'

/** The exit codes. */
export const exitCodes = Object.freeze({ done: 0, failed: 1, misuse: 2, error: 3, interrupted: 130 })

/** The program was called in a way that makes no sense. Nothing was done. */
export class Misuse extends Error {
  override readonly name = 'Misuse'
}

/** The worse of two outcomes. */
export function worse(one: Outcome, other: Outcome): Outcome {
  return exitCodes[one] > exitCodes[other] ? one : other
}
