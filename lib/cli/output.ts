import { clean, cleanLines, printable } from '../trail/outside'
import { Bar } from './bar'
import { Misuse } from './outcome'
import type { Surroundings } from './surroundings'

/** Names of the errors whose messages hold no value of a field. */
const own = new Set([
  'ConfigurationError',
  'KeyProviderError',
  'DecryptionError',
  'RecordError',
  'OperationError',
  'JobError',
  'AccessError',
  'AuditError',
])

/**
 * What is written: results to stdout, for people on a terminal and as lines of JSON elsewhere; the bar and messages to stderr. Plain text
 * without colours.
 */
export class Output {
  /** Whether results are lines of JSON. */
  json: boolean
  readonly #stdout: NodeJS.WriteStream
  readonly #stderr: NodeJS.WriteStream
  #bar: Bar | undefined

  constructor({ stdout, stderr }: Pick<Surroundings, 'stdout' | 'stderr'>) {
    this.#stdout = stdout
    this.#stderr = stderr
    this.json = !stdout.isTTY
  }

  /** A step or result, as JSON. */
  line(value: object, stringify: (value: object) => string = JSON.stringify): void {
    if (this.json) this.#stdout.write(`${printable(stringify(value))}\n`)
  }

  /** A result, for people. */
  text(text: string): void {
    if (this.json) return
    this.stopBar()
    this.#stdout.write(`${cleanLines(text)}\n`)
  }

  /** A result that is text itself, such as a key. */
  raw(text: string): void {
    this.stopBar()
    this.#stdout.write(`${text}\n`)
  }

  /** What is to be known, and is no result. */
  message(text: string): void {
    this.stopBar()
    this.#stderr.write(`${withoutPasswords(cleanLines(text))}\n`)
  }

  /** Why nothing came of it. */
  error(error: unknown): void {
    const { code, message, stack } = describe(error)
    this.line({ type: 'error', code, message: withoutPasswords(message) })
    this.message(code === undefined ? (stack ?? message) : `${code}: ${message}`)
  }

  /** Lines of JSON and a bar do not go onto the same terminal. */
  startBar(label: string, total: number): void {
    if (this.#stderr.isTTY && !(this.json && this.#stdout.isTTY) && total > 0)
      this.#bar = new Bar(this.#stderr, label, total)
  }

  updateBar(processed: number, failed: number): void {
    this.#bar?.update(processed, failed)
  }

  stopBar(): void {
    this.#bar?.stop()
    this.#bar = undefined
  }
}

/** Those of connection strings, wherever they stand. */
export function withoutPasswords(text: string): string {
  return text.replaceAll(/\/\/[^\s/]*@/g, '//…@')
}

/** An error as it ends the program. */
function describe(error: unknown): { code: string | undefined; message: string; stack: string | undefined } {
  const { code, message } = Object(error) as { code?: unknown; message?: unknown }
  return {
    code: typeof code === 'string' ? code : undefined,
    message: String(message ?? error),
    // Where a module of the application has failed is for who reads it; what was said wrongly explains itself.
    stack: error instanceof Error && !(error instanceof Misuse || /^Mongo/.test(error.name)) ? error.stack : undefined,
  }
}

/** What is told of the error of a record: messages of others than this library may hold a value. */
export function describeFailure(error: unknown): { code: string | number | undefined; message: string } {
  const { code, name, message } = (error ?? {}) as { code?: string | number; name?: unknown; message?: unknown }
  return { code, message: clean(own.has(String(name)) ? String(message) : String(name ?? 'Error')) }
}
