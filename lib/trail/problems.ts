export interface Problem {
  readonly file: string
  /** Where in the file, such as `line 17`; empty for the file as a whole. */
  readonly place: string
  readonly message: string
}

const maxListed = 100

/** What could not be read, told and passed over. */
export class Problems {
  readonly rows: Problem[] = []
  count = 0
  readonly #onProblem: ((problem: Problem) => void) | undefined

  constructor(onProblem?: (problem: Problem) => void) {
    this.#onProblem = onProblem
  }

  add(file: string, place: string, message: unknown): void {
    const problem = { file, place, message: message instanceof Error ? message.message : String(message) }
    this.count += 1
    if (this.rows.length >= maxListed) return
    this.rows.push(problem)
    this.#onProblem?.(problem)
  }
}
