import { filesOf, readValues } from './files'
import { Listed } from './groups'
import { Ids } from './ids'
import type { Problems } from './problems'

/** What the application says of one call to the KMS, as far as it is needed here. */
export interface LogLine {
  readonly time: string
  readonly operation: string
  readonly record: string | undefined
  readonly requestId: string | undefined
  readonly outcome: string | undefined
  readonly actor: string | undefined
  readonly reason: string | undefined
  /** The fields that were read or written. */
  readonly fields: string | undefined
}

const operations = new Set(['generate', 'unwrap', 'rewrap'])
const maxDetails = 100_000

/** The application's own log of its calls: which requests it knows, 22 to 45 bytes for each, and a second reading for those that nobody else does. */
export class ApplicationLog {
  readonly #paths: readonly string[]
  readonly #signal: AbortSignal | undefined
  readonly #requests = new Ids()
  readonly #details = new Map<string, LogLine>()
  lines = 0
  /** Lines without a request id: no answer came. */
  unanswered = 0

  constructor(paths: readonly string[], signal?: AbortSignal) {
    this.#paths = paths
    this.#signal = signal
  }

  /** @param details which record's lines are kept as a whole */
  async read(problems: Problems, details?: string): Promise<void> {
    await this.#each(problems, (line) => {
      this.lines += 1
      if (line.requestId === undefined) {
        this.unanswered += 1
        return
      }
      this.#requests.add(line.requestId)
      const isAsked = details !== undefined && line.record === details
      if (isAsked && this.#details.size < maxDetails) this.#details.set(line.requestId, line)
    })
  }

  /** Whether the application made this request; from now on it is one that CloudTrail has. */
  knows(requestId: string | undefined): boolean {
    return requestId !== undefined && this.#requests.mark(requestId)
  }

  detailsOf(requestId: string | undefined): LogLine | undefined {
    return requestId === undefined ? undefined : this.#details.get(requestId)
  }

  /** Lines of successful calls that CloudTrail has not: of failed ones it need not have all. */
  async missing(isWanted: (line: LogLine) => boolean, max: number): Promise<Listed<LogLine>> {
    const missing = new Listed<LogLine>(max)
    if (this.#requests.marked === this.#requests.size) return missing
    await this.#each(undefined, (line) => {
      if (line.requestId === undefined || line.outcome !== 'ok' || this.#requests.isMarked(line.requestId)) return
      if (isWanted(line)) missing.add(() => line)
    })
    return missing
  }

  async #each(problems: Problems | undefined, take: (line: LogLine) => void): Promise<void> {
    for (const { path, error } of await filesOf(this.#paths)) {
      if (error) {
        problems?.add(path, '', error)
        continue
      }
      const bad = (place: string, message: unknown) => problems?.add(path, place, message)
      const value = (bytes: Buffer, place: string) => {
        try {
          const line = parseLine(JSON.parse(bytes.toString()))
          if (line) take(line)
        } catch (error) {
          bad(place, error)
        }
      }
      try {
        await readValues(path, { value, bad }, { signal: this.#signal })
      } catch (error) {
        this.#signal?.throwIfAborted()
        bad('', error)
      }
    }
  }
}

/** @returns `undefined` for a line that tells of something else */
function parseLine(value: unknown): LogLine | undefined {
  if (typeof value !== 'object' || value === null) throw new TypeError('is no object')
  const line = value as Record<string, unknown>
  if (!operations.has(String(line.operation))) return undefined
  const text = (name: string) => (typeof line[name] === 'string' && line[name] !== '' ? line[name] : undefined)
  const fields = [line.read, line.fields].find(Array.isArray)
  return {
    time: text('time') ?? '',
    operation: String(line.operation),
    record: text('record'),
    requestId: text('requestId'),
    outcome: text('outcome'),
    actor: text('actor'),
    reason: text('reason'),
    fields: fields?.join(', '),
  }
}
