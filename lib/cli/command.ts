import type { Argument, Option } from 'commander'
import type { Outcome } from './outcome'
import type { Output } from './output'
import type { Surroundings } from './surroundings'

/** A command of the program: one file each, listed in `commands.ts`. */
export interface Command {
  readonly name: string
  /** One line, for the list of commands. */
  readonly summary: string
  /** What its own help says beside. */
  readonly description: string
  /** What stands without the name of an option; they are given as `paths`. */
  readonly arguments?: readonly Argument[]
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
