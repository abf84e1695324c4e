import type { EncryptionContext } from '../format/context'

/** What a provider returns for a new data key. */
export interface GeneratedDataKey {
  /** The data key, 32 bytes. The caller copies and zeroes it, so it must not be used afterwards. */
  readonly plaintext: Uint8Array
  /** The same key encrypted by the KMS, at most 6144 bytes, opaque to this library. */
  readonly wrapped: Uint8Array
  /** The full name of the key that wrapped it, an ARN with AWS. It is stored and given back for unwrapping. */
  readonly keyId: string
}

/** How many calls are under way at once where a provider does not say. */
export const defaultConcurrency = 32

/** Is told what the KMS calls a request, for the trace: by a provider that knows it, of answers and refusals. */
export type OnRequestId = (requestId: string) => void

/**
 * The contract between this library and a KMS. Calls may come in parallel, up to `concurrency`. Each rejects with a
 * `KeyProviderError`; transient failures are retried by the provider, permanent ones are not.
 */
export interface KeyProvider {
  /** The key to use where the plugin has no `keyId` option. */
  readonly keyId?: string
  /** How many calls may be under way at once, over all models that share this provider. Default 32. */
  readonly concurrency?: number
  /** How many calls may wait for the others. One more is refused with `KMS_QUEUE_FULL`. Default 100,000. */
  readonly maxWaiting?: number
  /**
   * How long one call may take, all its tries together, in milliseconds. Then its caller gets `KMS_UNREACHABLE`, its place is free, and
   * its `signal` is aborted. Default 10,000.
   */
  readonly timeoutMs?: number
  /** Called once for each new data key: on the first save of a record, not again for its other fields. */
  generateDataKey(request: {
    keyId: string
    context: EncryptionContext
    signal?: AbortSignal
    onRequestId?: OnRequestId
  }): Promise<GeneratedDataKey>
  /**
   * Called once for each opening of a record, with the `keyId` that `generateDataKey` returned.
   *
   * @returns the data key, 32 bytes; the caller copies and zeroes it
   */
  unwrapDataKey(request: {
    wrapped: Uint8Array
    keyId: string
    context: EncryptionContext
    signal?: AbortSignal
    onRequestId?: OnRequestId
  }): Promise<Uint8Array>
  /**
   * Gives the index key of a deployment that has configured none: the same 32 bytes whenever it is asked. Only where the provider is
   * for tests and examples; with others, `indexKey` of the plugin's options is required for blind indexes.
   *
   * @returns 32 bytes; the caller copies and zeroes them
   */
  deriveIndexKey?(request: { context: EncryptionContext }): Promise<Uint8Array>
  /** Wraps a data key anew, under another key or context, without showing it to this process. */
  rewrapDataKey?(request: {
    wrapped: Uint8Array
    keyId: string
    context: EncryptionContext
    to: { keyId: string; context: EncryptionContext }
    signal?: AbortSignal
    onRequestId?: OnRequestId
  }): Promise<{ wrapped: Uint8Array; keyId: string }>
}
