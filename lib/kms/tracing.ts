import { tracingChannel } from 'node:diagnostics_channel'
import type { EncryptionContext } from '../format/context'
import type { Audit } from './actor'

/** What is known of a key operation: never plaintext, a data key or a wrapped key. */
export interface KeyEvent {
  /** `generate` a data key, `unwrap` one, or `rewrap` one under another key or context. */
  readonly operation: 'generate' | 'unwrap' | 'rewrap'
  /** The name of the model, of the base model where there are discriminators. */
  readonly model: string
  /** The record's `_id`. */
  readonly id: unknown
  /** Names of the fields that the data key encrypts. */
  readonly fields: readonly string[]
  /** Those for whose values the key was opened, as far as they are known: what is read afterwards needs no key operation. */
  read: readonly string[]
  /** The KMS key: as configured when generating, as stored when unwrapping. */
  readonly keyId: string
  readonly context: EncryptionContext
  /** How many records this call serves: 1, and one more for each that shared the call while it was under way. */
  records: number
  /** Who acted and why, as the application has told `withAudit()`, and whatever else it has. */
  readonly audit: Audit | undefined
  /** What the KMS calls the request: CloudTrail has it as `requestID`. Set when it has answered, well or not. */
  requestId?: string
  /** Milliseconds that the provider took; set when the operation has ended, well or not. */
  durationMs?: number
  /** Set by Node when the operation failed. */
  error?: unknown
}

/**
 * Tracing channels (`node:diagnostics_channel`) of the key operations. Each publishes `start`, `end`, `asyncStart`,
 * `asyncEnd` and `error` with one {@link KeyEvent} per call to the KMS.
 */
export const channels = Object.freeze({
  generate: tracingChannel<unknown, KeyEvent>('mongoose-kms-encrypted:generate'),
  unwrap: tracingChannel<unknown, KeyEvent>('mongoose-kms-encrypted:unwrap'),
  rewrap: tracingChannel<unknown, KeyEvent>('mongoose-kms-encrypted:rewrap'),
})

const held = new WeakMap<KeyEvent, PromiseLike<unknown>[]>()

/** Keeps a key operation that has ended from being answered, for as long as a subscriber needs. */
export function holdUntil(event: KeyEvent, settled: PromiseLike<unknown>): void {
  held.set(event, [...(held.get(event) ?? []), settled])
}

/** What to wait for, where somebody holds a key operation. */
export function released(event: KeyEvent): Promise<unknown> | undefined {
  const holds = held.get(event)
  return holds && Promise.allSettled(holds)
}

/** Runs a key operation as one traced call. Where nobody listens when it begins, nothing is published of it. */
export function trace<T>(event: KeyEvent, call: () => Promise<T>): Promise<T> {
  return channels[event.operation].hasSubscribers ? traced(event, call) : call()
}

async function traced<T>(event: KeyEvent, call: () => Promise<T>): Promise<T> {
  let result: T | undefined
  // The result is kept out of what is traced: Node publishes what the traced promise resolves to, and here that
  // would be a data key.
  await channels[event.operation].tracePromise(async () => {
    const start = performance.now()
    try {
      result = await call()
    } finally {
      event.durationMs = performance.now() - start
    }
  }, event)
  return result as T
}
