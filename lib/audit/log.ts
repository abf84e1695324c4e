import type { Writable } from 'node:stream'
import { AuditError, ConfigurationError } from '../errors'
import type { EncryptionContext } from '../format/context'
import { channels, holdUntil, type KeyEvent } from '../kms/tracing'
import { type AnyModel, hostOf, type Plain } from '../mongoose/host'
import { isCount } from '../schema/use'

/**
 * The room of the application's own audit log. Comes in: the key operations that are traced; goes out: a line for each that has ended, in their
 * order. No line is lost without `onError` being told, and the application waits for none longer than it says.
 */

/** One line of the log: a key operation that has ended. */
export interface AuditLine {
  /** When it began. */
  readonly time: Date
  readonly operation: KeyEvent['operation']
  /** What the encryption context calls the record, as CloudTrail has it. */
  readonly record: string | undefined
  readonly model: string
  /** The record's `_id`. */
  readonly id: unknown
  /** The fields that the data key encrypts, and those for whose values it was opened. */
  readonly fields: readonly string[]
  readonly read: readonly string[]
  readonly keyId: string
  readonly context: EncryptionContext
  readonly durationMs: number
  /** `ok`, or the `code` of the error. */
  readonly outcome: string
  readonly actor: string | undefined
  readonly reason: string | undefined
  /** What else `withAudit()` was told. */
  readonly details: Readonly<Record<string, unknown>> | undefined
  /** What the KMS calls the request, `requestID` in CloudTrail; `undefined` where it gave no answer. */
  readonly requestId: string | undefined
}

/** Where {@link auditLog} writes, and how long it may take. */
export interface AuditLogOptions {
  /** A stream, which gets one line of JSON for each, or a function, which gets each line and is awaited. */
  readonly write?: Writable | ((line: AuditLine) => unknown)
  /** Or a Mongoose model, to whose collection each line is added as a document, past its schema. */
  readonly model?: unknown
  /** How many lines may wait to be written. One more goes to `onError` with AUDIT_LOG_FULL. Default 10 000. */
  readonly maxWaiting?: number
  /** For how long a key operation waits for its line to be written, in milliseconds, before it is answered all the same. Default 0: not at all. */
  readonly holdMs?: number
  /** Gets the lines that were not written, or may not have been, and why. Default: a warning of the process that says how many. */
  readonly onError?: (error: unknown, lines: readonly AuditLine[]) => void
}

/** A log that is being written. */
export interface AuditLog {
  /** Ends when all lines that there are by now are written, or given to `onError`. */
  flush(): Promise<void>
  /** Takes no more lines, and ends when all are written. The stream stays open. */
  close(): Promise<void>
}

/** How many lines are written at once. */
const batchSize = 500

/**
 * Writes a line for each call to the KMS that this process makes, with its actor and reason. Nothing of it is a value or a key; `details` are
 * what the application gives.
 *
 * @throws {ConfigurationError} OPTION_INVALID
 */
export function auditLog(options: AuditLogOptions): AuditLog {
  return new Log(checkOptions(options))
}

/** Where lines go: each is made ready at once, by which one that cannot be is found, and then written with others. */
interface Sink<T = unknown> {
  readonly batchSize: number
  ready(line: AuditLine): T
  write(batch: readonly T[]): Promise<unknown>
}

interface Checked {
  readonly sink: Sink
  readonly maxWaiting: number
  readonly holdMs: number
  readonly onError: (error: unknown, lines: readonly AuditLine[]) => void
}

/** A line until it is written, or given to `onError`. */
interface Entry {
  readonly line: AuditLine
  readonly ready: unknown
  readonly settled: Promise<void>
  settle(): void
}

class Log implements AuditLog {
  readonly #options: Checked
  readonly #waiting: Entry[] = []
  #isWriting = false
  readonly #subscriber = (message: unknown) => this.#take(message as KeyEvent)

  constructor(options: Checked) {
    this.#options = options
    // `asyncEnd` comes last, also after an error.
    for (const { asyncEnd } of Object.values(channels)) asyncEnd.subscribe(this.#subscriber)
  }

  async flush(): Promise<void> {
    await this.#waiting.at(-1)?.settled
  }

  async close(): Promise<void> {
    for (const { asyncEnd } of Object.values(channels)) asyncEnd.unsubscribe(this.#subscriber)
    await this.flush()
  }

  #take(event: KeyEvent): void {
    const { sink, maxWaiting, holdMs } = this.#options
    const line = lineOf(event)
    try {
      if (this.#waiting.length >= maxWaiting) throw full(maxWaiting)
      this.#waiting.push(entryOf(line, sink.ready(line)))
    } catch (error) {
      this.#fail(error, [line])
      return
    }
    if (holdMs > 0) holdUntil(event, within(holdMs, this.flush()))
    if (!this.#isWriting) void this.#write()
  }

  /** Ends when nothing waits. What comes meanwhile is written together. */
  async #write(): Promise<void> {
    const { sink } = this.#options
    this.#isWriting = true
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.slice(0, sink.batchSize)
      try {
        await sink.write(batch.map(({ ready }) => ready))
      } catch (error) {
        this.#fail(
          error,
          batch.map(({ line }) => line),
        )
      }
      this.#waiting.splice(0, batch.length)
      for (const { settle } of batch) settle()
    }
    this.#isWriting = false
  }

  #fail(error: unknown, lines: readonly AuditLine[]): void {
    try {
      this.#options.onError(error, lines)
    } catch (failure) {
      warn(failure, lines)
    }
  }
}

function entryOf(line: AuditLine, ready: unknown): Entry {
  let settle = () => {}
  const settled = new Promise<void>((resolve) => {
    settle = resolve
  })
  return { line, ready, settled, settle }
}

function full(maxWaiting: number): AuditError {
  return new AuditError(
    'AUDIT_LOG_FULL',
    `auditLog: ${maxWaiting} lines wait to be written (maxWaiting). Write them faster, or let the application wait for them by holdMs.`,
  )
}

function lineOf(event: KeyEvent): AuditLine {
  const { operation, model, id, fields, read, keyId, context, durationMs = 0, requestId, audit, error } = event
  const { actor, reason, ...details } = audit ?? {}
  return {
    time: new Date(Date.now() - durationMs),
    operation,
    record: context.Record,
    model,
    id,
    fields,
    read,
    keyId,
    context,
    durationMs,
    outcome: error === undefined ? 'ok' : codeOf(error),
    actor,
    reason,
    details: Object.keys(details).length > 0 ? details : undefined,
    requestId,
  }
}

function codeOf(error: unknown): string {
  const { code, name } = Object(error) as { code?: unknown; name?: unknown }
  return String(code ?? name ?? 'Error')
}

/** Ends with a promise, or when the time is over. */
async function within(ms: number, settled: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise((resolve) => {
    timer = setTimeout(resolve, ms)
  })
  await Promise.race([settled, timeout])
  clearTimeout(timer)
}

function warn(error: unknown, lines: readonly AuditLine[]): void {
  const said = error instanceof Error ? error.message : typeof error
  process.emitWarning(`auditLog: ${lines.length} lines were not written: ${said}`, { code: 'AUDIT_LOG_FAILED' })
}

function checkOptions(options: AuditLogOptions): Checked {
  const {
    write,
    model,
    maxWaiting = 10_000,
    holdMs = 0,
    onError = warn,
    ...others
  } = Object(options) as AuditLogOptions
  const [unknown] = Object.keys(others)
  if (unknown !== undefined) throw invalid(`there is no option ${unknown}`)
  if ((write === undefined) === (model === undefined)) throw invalid('expected either write or model')
  if (!isCount(maxWaiting)) throw invalid('maxWaiting: expected a positive integer')
  if (holdMs !== 0 && !isCount(holdMs)) throw invalid('holdMs: expected milliseconds, or 0')
  if (typeof onError !== 'function') throw invalid('onError: expected a function')
  return { sink: model === undefined ? sinkOf(write) : collectionOf(model), maxWaiting, holdMs, onError }
}

function sinkOf(write: AuditLogOptions['write']): Sink {
  if (typeof write === 'function')
    return { batchSize: 1, ready: (line) => line, write: async ([line]) => write(line as AuditLine) }
  if (typeof write?.write !== 'function') throw invalid('write: expected a stream or a function')
  // What fails is told to the callbacks of what was to be written; without a listener, it would end the process besides.
  write.on('error', () => {})
  const sink: Sink<string> = {
    batchSize,
    ready: (line) => `${JSON.stringify(line, withText)}\n`,
    write: (texts) =>
      new Promise<void>((resolve, reject) => {
        write.write(texts.join(''), (error) => (error ? reject(error) : resolve()))
      }),
  }
  return sink as Sink
}

/** JSON has no numbers as long as the `_id` of a record may be. */
function withText(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value
}

/** What MongoDB takes of a document, with room for the `_id`. */
const maxBytes = 16 * 1024 * 1024 - 64

function collectionOf(model: unknown): Sink {
  const { collection, schema } = Object(model) as Partial<AnyModel>
  if (typeof collection?.insertMany !== 'function' || !schema) throw invalid('model: expected a Mongoose model')
  const { serialize } = hostOf(schema)
  return {
    batchSize,
    ready(line): Plain {
      // Of those that are sent together, one that cannot be would keep back all.
      const { length } = serialize({ ...line })
      if (length > maxBytes) throw new RangeError(`a line of ${length} bytes is more than a document of MongoDB holds`)
      return { ...line }
    },
    write: (lines) => collection.insertMany(lines as never, { ordered: false }),
  }
}

function invalid(fault: string): ConfigurationError {
  return new ConfigurationError('OPTION_INVALID', `auditLog: ${fault}.`)
}
