import type { Doc } from '../embedded/errors'

/** Which command a fault is for: the `nth` one (from 1, the default) since the fault was set that has all of these. */
export type FaultMatch = {
  command?: string | string[]
  collection?: string
  where?: (command: Doc) => boolean
  nth?: number
  /** How many commands in a row, from the nth on, are hit. One by default. */
  times?: number
}

export type FailAnswer = {
  code: number
  message?: string
  errorLabels?: string[]
  /** Whether the command is applied before its answer is replaced. Not by default. */
  applied?: boolean
}

/** A command that waits: `reached` resolves once it has arrived, and it goes on when released. */
export type Hold = { readonly reached: Promise<void>; release(): void }

/** What happens to one received command, in the order of its life. */
export type Action = {
  before?: () => Promise<void>
  drop?: 'before' | 'after'
  fail?: { reply: Doc; applied: boolean }
}

/** A command as it was received. */
export type ReceivedCommand = {
  readonly name: string
  readonly database: string
  /** The collection it names, or '' (also for `bulkWrite`, which names several in `nsInfo`). */
  readonly collection: string
  /** The whole command, with numbers as JavaScript numbers, and the documents that were sent apart in their list. */
  readonly command: Doc
}

type Fault = { match: FaultMatch; seen: number; action: Action }

/** Faults to come, set by a test. */
export class Faults {
  #faults: Fault[] = []
  readonly #holds = new Set<() => void>()

  /** The connection is dropped instead of applying the command. */
  dropBefore(match: FaultMatch): void {
    this.#add(match, { drop: 'before' })
  }

  /** The command is applied, and the connection dropped instead of answering. */
  dropAfter(match: FaultMatch): void {
    this.#add(match, { drop: 'after' })
  }

  fail(match: FaultMatch, { code, message, errorLabels, applied = false }: FailAnswer): void {
    const reply = {
      ok: 0,
      code,
      errmsg: message ?? 'failed by a test',
      ...(errorLabels === undefined ? {} : { errorLabels }),
    }
    this.#add(match, { fail: { reply, applied } })
  }

  delay(match: FaultMatch, delayMs: number): void {
    this.#add(match, { before: () => new Promise((resolve) => setTimeout(resolve, delayMs)) })
  }

  /** Holds the command, before it is applied, until it is released. */
  hold(match: FaultMatch): Hold {
    let arrive!: () => void
    let release!: () => void
    const reached = new Promise<void>((resolve) => {
      arrive = resolve
    })
    const released = new Promise<void>((resolve) => {
      release = resolve
    })
    this.#holds.add(release)
    const before = () => {
      arrive()
      return released
    }
    this.#add(match, { before })
    return { reached, release }
  }

  /** Forgets all faults and releases what is held. */
  clear(): void {
    this.#faults = []
    for (const release of this.#holds) release()
    this.#holds.clear()
  }

  /** The actions that hit this command. Counts it, so it is to be asked once per command. */
  take(received: ReceivedCommand): Action[] {
    return this.#faults
      .filter(({ match }) => matches(match, received))
      .filter((fault) => {
        fault.seen += 1
        const { nth = 1, times = 1 } = fault.match
        return fault.seen >= nth && fault.seen < nth + times
      })
      .map(({ action }) => action)
  }

  #add(match: FaultMatch, action: Action): void {
    this.#faults.push({ match, seen: 0, action })
  }
}

function matches({ command, collection, where }: FaultMatch, received: ReceivedCommand): boolean {
  if (command !== undefined && ![command].flat().includes(received.name)) return false
  if (collection !== undefined && collection !== received.collection) return false
  return where === undefined || where(received.command)
}
