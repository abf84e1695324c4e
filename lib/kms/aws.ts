import type {
  DecryptCommandOutput,
  GenerateDataKeyCommandOutput,
  KMSClient,
  ReEncryptCommandOutput,
} from '@aws-sdk/client-kms'
import { ConfigurationError, KeyProviderError } from '../errors'
import { dataKeyLength } from '../format/datakey'
import { currentAudit } from './actor'
import { defaultTimeoutMs } from './calls'
import { type Connection, connect, connectBy } from './client'
import { failureOf } from './failures'
import { defaultConcurrency, type KeyProvider, type OnRequestId } from './provider'

/** Options of {@link awsKms}. */
export interface AwsKmsOptions {
  /** Default: a client that finds region and credentials as the AWS SDK does. */
  readonly client?: KMSClient
  /** How many KMS calls may be under way at once. Default 32. */
  readonly concurrency?: number
  /** How long a call may take, all tries of the SDK together, in milliseconds. Default 10,000. */
  readonly timeoutMs?: number
  /**
   * Names the actor that `withAudit()` was told in the user agent of each request, shortened and with `-` for all but letters, digits and a few
   * signs, so that CloudTrail shows it. Nobody checks it: whoever may use the KMS key may claim any. Default false.
   */
  readonly actorInUserAgent?: boolean
}

/**
 * The key provider of AWS KMS: `GenerateDataKey`, `Decrypt` with the key's ARN given, `ReEncrypt`. Throttling and 5xx
 * answers are retried by the SDK, as often as the client's `maxAttempts` says; refusals are not.
 *
 * @throws {ConfigurationError} OPTION_INVALID when an option cannot be used, or there is none of that name
 */
export function awsKms(options: AwsKmsOptions = {}): KeyProvider {
  const { client: given, concurrency, timeoutMs, actorInUserAgent = false, ...others } = options
  const unknown = Object.keys(others)[0]
  if (unknown !== undefined) {
    throw new ConfigurationError(
      'OPTION_INVALID',
      `awsKms: there is no option ${unknown}. Give a client that has its own: awsKms({ client: new KMSClient({ region }) })`,
    )
  }
  if (given !== undefined && typeof given?.send !== 'function') {
    throw new ConfigurationError('OPTION_INVALID', 'awsKms: client must be a KMSClient of @aws-sdk/client-kms')
  }
  for (const [name, value] of Object.entries({ concurrency, timeoutMs })) {
    if (value === undefined || (Number.isInteger(value) && value > 0 && value < 2 ** 31)) continue
    throw new ConfigurationError(
      'OPTION_INVALID',
      `awsKms: ${name} must be a positive integer, at most 2147483647, got ${value}`,
    )
  }
  if (typeof actorInUserAgent !== 'boolean')
    throw new ConfigurationError('OPTION_INVALID', 'awsKms: actorInUserAgent must be true or false')
  if (given && actorInUserAgent) nameActor(given)
  // Made on first use: a schema is often built before the environment is ready, and in tests KMS is never reached.
  let connection: Connection | undefined
  const connected = () => {
    if (connection) return connection
    if (given) connection = connectBy(given)
    else {
      connection = connect(timeoutMs ?? defaultTimeoutMs, concurrency ?? defaultConcurrency)
      if (actorInUserAgent) nameActor(connection.client)
    }
    return connection
  }

  return Object.freeze({
    ...(concurrency === undefined ? {} : { concurrency }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    async generateDataKey({ keyId, context, signal, onRequestId }) {
      const request = { KeyId: keyId, KeySpec: 'AES_256', EncryptionContext: { ...context } } as const
      const answer = await attempt('GenerateDataKey', keyId, onRequestId, async () => {
        const { send, sdk } = connected()
        return send<GenerateDataKeyCommandOutput>(new sdk.GenerateDataKeyCommand(request), signal)
      })
      return {
        plaintext: present(answer.Plaintext, 'GenerateDataKey', 'Plaintext'),
        wrapped: present(answer.CiphertextBlob, 'GenerateDataKey', 'CiphertextBlob'),
        keyId: present(answer.KeyId, 'GenerateDataKey', 'KeyId'),
      }
    },
    async unwrapDataKey({ wrapped, keyId, context, signal, onRequestId }) {
      const request = { CiphertextBlob: wrapped, EncryptionContext: { ...context } }
      const answer = await attempt('Decrypt', keyId, onRequestId, async () => {
        const { client, send, sdk } = connected()
        const command = new sdk.DecryptCommand({ ...request, KeyId: await nearest(client, keyId) })
        return send<DecryptCommandOutput>(command, signal)
      })
      const plaintext = present(answer.Plaintext, 'Decrypt', 'Plaintext')
      if (plaintext.length !== dataKeyLength) {
        throw new KeyProviderError(
          'KMS_FAILED',
          `Decrypt under ${keyId} gave ${plaintext.length} bytes, not ${dataKeyLength}`,
        )
      }
      return plaintext
    },
    async rewrapDataKey({ wrapped, keyId, context, to, signal, onRequestId }) {
      const request = {
        CiphertextBlob: wrapped,
        SourceEncryptionContext: { ...context },
        DestinationKeyId: to.keyId,
        DestinationEncryptionContext: { ...to.context },
      }
      const answer = await attempt('ReEncrypt', to.keyId, onRequestId, async () => {
        const { client, send, sdk } = connected()
        const command = new sdk.ReEncryptCommand({ ...request, SourceKeyId: await nearest(client, keyId) })
        return send<ReEncryptCommandOutput>(command, signal)
      })
      return {
        wrapped: present(answer.CiphertextBlob, 'ReEncrypt', 'CiphertextBlob'),
        keyId: present(answer.KeyId, 'ReEncrypt', 'KeyId'),
      }
    },
  } satisfies KeyProvider)
}

/** Of a Multi-Region key, the replica in the client's own region: what is stored names the region of who wrote it. */
async function nearest({ config }: KMSClient, keyId: string): Promise<string> {
  const parts = /^(arn:[\w-]+:kms:)[\w-]+(:\d+:key\/mrk-.+)$/.exec(keyId)
  const region = parts && (await config?.region?.())
  return region ? `${parts[1]}${region}${parts[2]}` : keyId
}

/** What the SDK tells of an answer or a refusal. */
interface Answered {
  readonly $metadata?: { readonly requestId?: string | undefined }
}

async function attempt<T extends Answered>(
  operation: string,
  keyId: string,
  onRequestId: OnRequestId = () => {},
  call: () => Promise<T>,
): Promise<T> {
  const tell = (answered: Answered | null | undefined) => {
    const requestId = answered?.$metadata?.requestId
    if (requestId !== undefined) onRequestId(requestId)
  }
  try {
    const answer = await call()
    tell(answer)
    return answer
  } catch (cause) {
    tell(cause as Answered)
    throw failureOf(operation, keyId, cause)
  }
}

/** Has a client put the actor behind what its SDK says in the user agent, which is not signed. */
function nameActor(client: KMSClient): void {
  client.middlewareStack.add(
    (next) => (args) => {
      const { headers } = args.request as { headers: Record<string, string> }
      const actor = currentAudit()?.actor
      if (actor !== undefined) headers['user-agent'] = `${headers['user-agent'] ?? ''} md/actor#${inUserAgent(actor)}`
      return next(args)
    },
    { step: 'finalizeRequest', priority: 'high', name: 'mongooseKmsEncryptedActor', override: true },
  )
}

/** What a token of a user agent may hold, RFC 9110, section 5.6.2, but for the signs that the SDK gives a meaning. */
function inUserAgent(actor: string): string {
  return actor.slice(0, 64).replaceAll(/[^\w.+~-]/g, '-')
}

function present<T>(value: T | undefined, operation: string, field: string): T {
  if (value === undefined) throw new KeyProviderError('KMS_FAILED', `${operation} answered without ${field}`)
  return value
}
