import type { AddressInfo } from 'node:net'
import { KMSClient, type KMSClientConfig } from '@aws-sdk/client-kms'
import { ConfiguredRetryStrategy } from '@smithy/core/retry'
import type { Call } from './calls'
import { type FaultHandle, type FaultOptions, Faults } from './faults'
import type { Filter } from './filter'
import type { PolicyDocument } from './iam'
import { cancelDeletion, DEFAULT_REGION, Keys, regionOf, rotate, scheduleDeletion } from './keys'
import { type Denial, Policy } from './policy'
import { KmsServer } from './server'

export type { Call } from './calls'
export type { KmsErrorType } from './errors'
export type { Access, Conditions, Filter } from './filter'
export type { Denial, FaultHandle, FaultOptions }

export interface ClientOverrides extends KMSClientConfig {
  /** Access key id to call with, which the log shows as `principal`. */
  principal?: string
  /** Retry what and as often as the SDK always does, without its waits in between. */
  fastRetries?: boolean
}

/** Any way to name a key: key id, key ARN, alias name or alias ARN. Without a region in it, `us-east-1` is meant. */
export type KeyReference = string

/** A KMS on 127.0.0.1 that lives and dies with a test, and that the unmodified SDK cannot tell from the real one. */
export interface KmsStandIn {
  /** `http://127.0.0.1:<port>`; it serves every region, going by the one the request is signed for. */
  readonly endpoint: string
  /** A real client of this endpoint, closed by `stop()`. */
  client(overrides?: ClientOverrides): KMSClient
  /** Hangs up on whoever is still waiting. */
  stop(): Promise<void>

  createKey(options?: { alias?: string; region?: string; multiRegion?: boolean }): { keyId: string; arn: string }
  /** Gives a Multi-Region key a replica in another region. */
  replicateKey(key: KeyReference, region: string): { keyId: string; arn: string }
  /** Points `alias/<name>` at the key, in the key's region; creates the alias if need be. */
  updateAlias(alias: string, key: KeyReference): void
  disableKey(key: KeyReference): void
  enableKey(key: KeyReference): void
  scheduleKeyDeletion(key: KeyReference): void
  /** Leaves the key disabled, as KMS does. */
  cancelKeyDeletion(key: KeyReference): void
  /** New key material from now on; what the old has wrapped still decrypts. */
  rotateKey(key: KeyReference): void

  /** Refuses matching calls with `AccessDeniedException`, as a policy on `kms:EncryptionContext:*` does. */
  denyWhen(filter: Filter): Denial
  /** Limits a principal to what identity-based policies allow. */
  attach(principal: string, ...policies: readonly PolicyDocument[]): void
  /** Makes matching calls fail, wait, hang or lose their connection. */
  inject(options: FaultOptions): FaultHandle

  /** The log, in the order the calls came in. A call that is not answered yet is in it already. */
  readonly calls: readonly Call[]
  clearCalls(): void
  /** The most requests ever in progress at once, since the start or the last reset. */
  readonly maxConcurrent: number
  resetMaxConcurrent(): void
}

export async function startKms(): Promise<KmsStandIn> {
  const keys = new Keys()
  const policy = new Policy()
  const faults = new Faults()
  const kms = new KmsServer(keys, policy, faults)
  const server = await kms.listen()
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const clients: KMSClient[] = []
  const resolve = (reference: KeyReference) => keys.resolve(reference, regionOf(reference))

  return {
    endpoint,
    client({ principal = 'AKIDEXAMPLE', fastRetries = false, ...overrides } = {}) {
      const client = new KMSClient({
        endpoint,
        region: DEFAULT_REGION,
        credentials: { accessKeyId: principal, secretAccessKey: 'no-secret-at-all' },
        ...(fastRetries && { retryStrategy: new ConfiguredRetryStrategy(overrides.maxAttempts ?? 3, 0) }),
        ...overrides,
      })
      clients.push(client)
      return client
    },
    async stop() {
      faults.removeAll()
      for (const client of clients) client.destroy()
      server.closeAllConnections()
      await new Promise((closed) => server.close(closed))
    },

    createKey({ alias, region = DEFAULT_REGION, multiRegion = false } = {}) {
      const key = keys.create(region, multiRegion)
      if (alias !== undefined) keys.alias(alias, key)
      return { keyId: key.id, arn: key.arn }
    },
    replicateKey(key, region) {
      const { id, arn } = keys.replicate(resolve(key), region)
      return { keyId: id, arn }
    },
    updateAlias: (alias, key) => keys.alias(alias, resolve(key)),
    disableKey(key) {
      resolve(key).state = 'Disabled'
    },
    enableKey(key) {
      resolve(key).state = 'Enabled'
    },
    scheduleKeyDeletion: (key) => scheduleDeletion(resolve(key)),
    cancelKeyDeletion: (key) => cancelDeletion(resolve(key)),
    rotateKey: (key) => rotate(resolve(key)),

    denyWhen: (filter) => policy.deny(filter),
    attach: (principal, ...policies) => policy.attach(principal, policies),
    inject: (options) => faults.inject(options),

    calls: kms.calls,
    clearCalls() {
      kms.calls.length = 0
    },
    get maxConcurrent() {
      return kms.maxConcurrent
    },
    resetMaxConcurrent: () => kms.resetMaxConcurrent(),
  }
}
