import type { Shared } from './record'

/** What a process of a run is started with, as JSON. */
export interface Start {
  readonly shared: Shared
  readonly number: number
  readonly seed: number
}

/** What it tells the program that started it: counts since the last message, or what must not have happened. */
export interface Message {
  readonly counts: Readonly<Record<string, number>>
  readonly failure?: string
}

/** Errors that a user has to expect, by name or code, and how they are counted. */
const expected: Readonly<Record<string, string>> = {
  RECORD_CHANGED: 'refused as changed, for good',
  KMS_THROTTLED: 'failed for the KMS',
  11000: 'refused as a duplicate',
  DocumentNotFoundError: 'found the record deleted',
  VersionError: 'refused as of an older version',
  MongooseBulkSaveIncompleteError: 'found a record of several deleted',
  UPDATE_REFUSED: 'refused as undecided',
  UPDATE_INCOMPLETE: 'stopped after some records',
  JOB_RUNNING: 'left to another worker',
  LEASE_LOST: 'lost to another worker',
}

/** A process of a run: it works until it is told to stop, or killed. */
export class Program {
  readonly #stop = new AbortController()
  #counts: Record<string, number> = {}

  get signal(): AbortSignal {
    return this.#stop.signal
  }

  count(what: string, by = 1): void {
    this.#counts[what] = (this.#counts[what] ?? 0) + by
  }

  tell(failure?: string): void {
    process.send?.({ counts: this.#counts, ...(failure === undefined ? {} : { failure }) } satisfies Message)
    this.#counts = {}
  }

  /** Does something, and counts it, or the error that it ends with. */
  async attempt(kind: string, operation: () => Promise<void>): Promise<void> {
    try {
      await operation()
      this.count(kind)
    } catch (error) {
      this.failed(kind, error)
    }
  }

  failed(kind: string, error: unknown): void {
    const { code, name, stack } = error as Error & { code?: unknown }
    const outcome = expected[String(code)] ?? expected[name]
    if (outcome) this.count(outcome)
    else this.tell(`${kind}: ${stack}`)
  }

  /** Runs a turn again and again, so many times side by side. */
  async work(strands: number, turn: () => Promise<void>): Promise<void> {
    process.once('message', () => this.#stop.abort())
    // It is there.
    this.tell()
    const strand = async () => {
      while (!this.signal.aborted) {
        await turn()
        this.tell()
      }
    }
    await Promise.all(Array.from({ length: strands }, strand))
  }
}

/** Runs a process as it was started. */
export function run(main: (program: Program, start: Start) => Promise<void>): void {
  const program = new Program()
  main(program, JSON.parse(process.argv[2] as string)).then(
    () => {
      program.tell()
      process.disconnect?.()
    },
    (error) => {
      program.tell(`${process.argv[1]}: ${error.stack}`)
      process.exitCode = 1
    },
  )
}
