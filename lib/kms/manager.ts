import { setImmediate as loopTurn } from 'node:timers/promises'
import type { LRUCache } from 'lru-cache'
import { DecryptionError, KeyProviderError } from '../errors'
import { copyBytes, latin1 } from '../format/bytes'
import type { EncryptionContext } from '../format/context'
import { DataKey, dataKeyLength } from '../format/datakey'
import { currentAudit } from './actor'
import { type Asked, withHow } from './asked'
import { callProvider } from './calls'
import { Limiter } from './limiter'
import { defaultConcurrency, type KeyProvider } from './provider'
import { type KeyEvent, released, trace } from './tracing'

/** Bounds of the opt-in cache of open data keys. */
export interface CacheOptions {
  /** How long an opened key may be used again without asking the KMS, in milliseconds. */
  readonly maxAgeMs: number
  /** How many open keys to hold at most. */
  readonly maxEntries: number
}

/** Who asks for a key, for the trace. */
export type Requester = Pick<KeyEvent, 'model' | 'id' | 'fields' | 'read'>

/** A wrapped key with what it was wrapped under. */
interface Wrapped {
  readonly wrapped: Uint8Array
  readonly keyId: string
  readonly context: EncryptionContext
}

/** The same, with what tells one opening from another: the context by `encodeContext`. */
interface Identified extends Wrapped {
  readonly encoded: Uint8Array
}

/** An opening that is under way. */
interface Pending {
  readonly key: Promise<DataKey>
  readonly event: KeyEvent
}

/** What is known of an operation as it begins. All events have the same shape, whatever is asked. */
function eventOf(
  operation: KeyEvent['operation'],
  { model, id, fields, read }: Requester,
  { keyId, context }: Destination,
): KeyEvent {
  return { operation, model, id, fields, read, keyId, context, records: 1, audit: currentAudit() }
}

/** What a data key is to be wrapped under. */
interface Destination {
  readonly keyId: string
  readonly context: EncryptionContext
}

const defaultMaxWaiting = 100_000
const maxWrappedLength = 6144
const limiters = new WeakMap<KeyProvider, Limiter>()

/** The one way from records to a key provider: bounds, shares, traces and, where asked for, caches its calls. */
export class KeyManager {
  readonly #provider: KeyProvider
  readonly #limiter: Limiter
  readonly #pending = new Map<string, Pending>()
  readonly #cache: LRUCache<string, DataKey> | undefined
  /** The full names of configured key ids, as the KMS gave them. */
  readonly #names = new Map<string, string>()

  constructor(provider: KeyProvider, cache?: CacheOptions) {
    this.#provider = provider
    this.#limiter = limiterOf(provider)
    this.#cache = cache && makeCache(cache)
  }

  /** How many calls to the provider run at once. */
  get concurrency(): number {
    return this.#limiter.limit
  }

  /** Generates a data key for one record. */
  async generate(request: Destination, requester: Requester) {
    const generated = await this.#ask(
      eventOf('generate', requester, request),
      'generateDataKey',
      { keyId: request.keyId, context: request.context },
      (asked) => this.#provider.generateDataKey(asked),
      (late) => wipe(late?.plaintext),
    )
    const { plaintext, wrapped: given, keyId } = generated ?? {}
    // Before the data key is zeroed: both may lie in the same memory.
    const wrapped = given instanceof Uint8Array ? copyBytes(given) : new Uint8Array(0)
    const key = derive(plaintext, request.keyId)
    if (wrapped.length === 0 || wrapped.length > maxWrappedLength)
      throw odd(`a wrapped key of 1 to ${maxWrappedLength} bytes`, given, request.keyId)
    if (typeof keyId !== 'string' || keyId === '') throw odd('a key id', keyId, request.keyId)
    return { key, wrapped, keyId }
  }

  /**
   * Opens the data key of one record. Requests for the same wrapped key, key id and context that come while one is
   * under way share its call, unless somebody else is said to act.
   *
   * @param request.commitment what the data key must match
   * @throws {DecryptionError} DATA_KEY_MISMATCH when the KMS returns another key than the one the record was sealed with
   */
  async unwrap(
    request: Identified & { readonly commitment: Uint8Array },
    requester: Requester,
    place: string,
  ): Promise<DataKey> {
    const identity = identityOf(request)
    const cached = this.#cache?.get(identity)
    if (cached) return confirm(cached, request.commitment, place)
    let pending = this.#pending.get(identity)
    if (pending && pending.event.audit === currentAudit()) {
      pending.event.records++
      pending.event.read = [...new Set([...pending.event.read, ...requester.read])]
    } else {
      pending = this.#unwrap(request, requester, identity)
      this.#pending.set(identity, pending)
    }
    try {
      return confirm(await pending.key, request.commitment, place)
    } finally {
      if (this.#pending.get(identity) === pending) this.#pending.delete(identity)
    }
  }

  #unwrap({ wrapped, keyId, context }: Wrapped, requester: Requester, identity: string): Pending {
    const event = eventOf('unwrap', requester, { keyId, context })
    const plaintext = this.#ask(
      event,
      'unwrapDataKey',
      { wrapped, keyId, context },
      (asked) => this.#provider.unwrapDataKey(asked),
      wipe,
    )
    const key = plaintext.then((plaintext) => {
      const opened = derive(plaintext, keyId)
      this.#cache?.set(identity, opened)
      return opened
    })
    return { key, event }
  }

  /**
   * Has the KMS wrap a data key anew, under another KMS key or context: this process does not see it.
   *
   * @throws {KeyProviderError} KMS_FAILED where the provider cannot; or when it refuses
   */
  async rewrap(request: Wrapped & { readonly to: Destination }, requester: Requester) {
    const { wrapped, keyId, context, to } = request
    const provider = this.#provider
    const answer = await this.#ask(
      eventOf('rewrap', requester, to),
      'rewrapDataKey',
      { wrapped, keyId, context, to },
      (asked) => {
        if (provider.rewrapDataKey) return provider.rewrapDataKey(asked)
        throw new KeyProviderError(
          'KMS_FAILED',
          'The key provider has no rewrapDataKey, so no data key can be wrapped anew. rotateKmsKey() gives records new ones instead.',
        )
      },
      () => {},
    )
    const given = answer?.wrapped
    if (!(given instanceof Uint8Array) || given.length === 0 || given.length > maxWrappedLength)
      throw odd(`a wrapped key of 1 to ${maxWrappedLength} bytes`, given, to.keyId)
    if (typeof answer.keyId !== 'string' || answer.keyId === '') throw odd('a key id', answer.keyId, to.keyId)
    this.#names.set(to.keyId, answer.keyId)
    return { wrapped: copyBytes(given), keyId: answer.keyId }
  }

  /** Whether a stored key id is that of a configured one, as far as is known: what an alias stands for, the KMS says when it is used. */
  isSameKey(stored: string, configured: string): boolean {
    return stored === configured || this.#names.get(configured) === stored
  }

  /** Lets go of a cached data key. */
  forget(request: Identified): void {
    this.#cache?.delete(identityOf(request))
  }

  /** The index key that the provider has of its own, if it has one: no KMS is asked, so nothing is traced. */
  async deriveIndexKey(context: EncryptionContext): Promise<DataKey> {
    const provider = this.#provider
    const derived = await callProvider(
      provider,
      'deriveIndexKey',
      async () => provider.deriveIndexKey?.({ context }),
      wipe,
    )
    return derive(derived, String(provider.keyId))
  }

  async #ask<R extends object, T>(
    event: KeyEvent,
    operation: string,
    request: R,
    call: (asked: Asked<R>) => Promise<T>,
    discard: (late: T) => void,
  ): Promise<T> {
    const turn = this.#limiter.enter()
    if (turn) await turn
    let answer: T
    let isTaken: boolean
    try {
      answer = await trace(event, () =>
        callProvider(
          this.#provider,
          `${operation} under ${event.keyId}`,
          (deadline) => call(withHow(request, deadline, event)),
          discard,
        ),
      )
    } finally {
      isTaken = this.#limiter.leave()
      const holds = released(event)
      if (holds) await holds
    }
    // What else has been answered hands its place on as well, before anybody works on an answer.
    if (isTaken) await loopTurn()
    return answer
  }
}

/** Who has none does not load what it is made by. What has expired is freed by itself: it is a key, and nobody may ask for it again. */
function makeCache({ maxAgeMs, maxEntries }: CacheOptions): LRUCache<string, DataKey> {
  const { LRUCache } = require('lru-cache') as typeof import('lru-cache')
  return new LRUCache({ max: maxEntries, ttl: maxAgeMs, ttlAutopurge: true })
}

/** Tells one opening from another: where each part ends is told by the lengths before them. */
function identityOf({ wrapped, keyId, encoded }: Identified): string {
  return `${keyId.length} ${wrapped.length} ${keyId}${latin1(wrapped)}${latin1(encoded)}`
}

/** Takes a data key out of the provider's memory, which may be a view into a shared pool, and zeroes it there. */
function derive(plaintext: unknown, keyId: string): DataKey {
  if (!(plaintext instanceof Uint8Array) || plaintext.length !== dataKeyLength) {
    wipe(plaintext)
    throw odd(`a data key of ${dataKeyLength} bytes`, plaintext, keyId)
  }
  // It was zeroed before, here or by whoever else had it: everybody knows this key.
  if (plaintext.every((byte) => byte === 0))
    throw new KeyProviderError('KMS_FAILED', `The key provider returned a data key of zeros alone, under ${keyId}`)
  return DataKey.derive(plaintext)
}

/** What a provider gives may hold a key: the message tells its size, or its type. */
function odd(expected: string, got: unknown, keyId: string): KeyProviderError {
  const given = got instanceof Uint8Array ? `${got.length} bytes` : got === null ? 'null' : typeof got
  return new KeyProviderError('KMS_FAILED', `The key provider must return ${expected}, got ${given} under ${keyId}`)
}

function wipe(plaintext: unknown): void {
  if (plaintext instanceof Uint8Array) plaintext.fill(0)
}

function confirm(key: DataKey, commitment: Uint8Array, place: string): DataKey {
  if (key.matches(commitment)) return key
  throw new DecryptionError(
    'DATA_KEY_MISMATCH',
    `${place}: the KMS returned another data key than the one this record was encrypted with. The stored commitment or ` +
      'the wrapped key was altered.',
  )
}

function limiterOf(provider: KeyProvider): Limiter {
  let limiter = limiters.get(provider)
  if (!limiter) {
    limiter = new Limiter(provider.concurrency ?? defaultConcurrency, provider.maxWaiting ?? defaultMaxWaiting)
    limiters.set(provider, limiter)
  }
  return limiter
}
