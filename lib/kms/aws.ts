import { DecryptCommand, GenerateDataKeyCommand, KMSClient, ReEncryptCommand } from '@aws-sdk/client-kms'
import { ConfigurationError, KeyProviderError, type KeyProviderErrorCode } from '../errors'
import { dataKeyLength } from '../format/datakey'
import type { KeyProvider } from './provider'

/** Options of {@link awsKms}. */
export interface AwsKmsOptions {
  /** Default: a client that finds region and credentials as the AWS SDK does. */
  readonly client?: KMSClient
  /** How many KMS calls may be under way at once. Default 32. */
  readonly concurrency?: number
}

/**
 * The key provider of AWS KMS: `GenerateDataKey`, `Decrypt` with the key's ARN given, `ReEncrypt`. Throttling and 5xx
 * answers are retried by the SDK, as often as the client's `maxAttempts` says; refusals are not.
 *
 * @throws {ConfigurationError} OPTION_INVALID when `client` or `concurrency` cannot be used, or there is no such option
 */
export function awsKms(options: AwsKmsOptions = {}): KeyProvider {
  const { client: given, concurrency, ...others } = options
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
  if (concurrency !== undefined && !(Number.isInteger(concurrency) && concurrency > 0)) {
    throw new ConfigurationError('OPTION_INVALID', `awsKms: concurrency must be a positive integer, got ${concurrency}`)
  }
  // Made on first use: a schema is often built before the environment is ready, and in tests KMS is never reached.
  let client = given
  const connect = () => {
    client ??= new KMSClient()
    return client
  }

  return Object.freeze({
    ...(concurrency === undefined ? {} : { concurrency }),
    async generateDataKey({ keyId, context }) {
      const command = new GenerateDataKeyCommand({
        KeyId: keyId,
        KeySpec: 'AES_256',
        EncryptionContext: { ...context },
      })
      const answer = await attempt('GenerateDataKey', keyId, () => connect().send(command))
      return {
        plaintext: present(answer.Plaintext, 'GenerateDataKey', 'Plaintext'),
        wrapped: present(answer.CiphertextBlob, 'GenerateDataKey', 'CiphertextBlob'),
        keyId: present(answer.KeyId, 'GenerateDataKey', 'KeyId'),
      }
    },
    async unwrapDataKey({ wrapped, keyId, context }) {
      const command = new DecryptCommand({
        KeyId: keyId,
        CiphertextBlob: wrapped,
        EncryptionContext: { ...context },
      })
      const answer = await attempt('Decrypt', keyId, () => connect().send(command))
      const plaintext = present(answer.Plaintext, 'Decrypt', 'Plaintext')
      if (plaintext.length !== dataKeyLength) {
        throw new KeyProviderError(
          'KMS_FAILED',
          `Decrypt under ${keyId} gave ${plaintext.length} bytes, not ${dataKeyLength}`,
        )
      }
      return plaintext
    },
    async rewrapDataKey({ wrapped, keyId, context, to }) {
      const command = new ReEncryptCommand({
        SourceKeyId: keyId,
        CiphertextBlob: wrapped,
        SourceEncryptionContext: { ...context },
        DestinationKeyId: to.keyId,
        DestinationEncryptionContext: { ...to.context },
      })
      const answer = await attempt('ReEncrypt', to.keyId, () => connect().send(command))
      return {
        wrapped: present(answer.CiphertextBlob, 'ReEncrypt', 'CiphertextBlob'),
        keyId: present(answer.KeyId, 'ReEncrypt', 'KeyId'),
      }
    },
  } satisfies KeyProvider)
}

const failures: Record<string, readonly [KeyProviderErrorCode, string]> = {
  AccessDeniedException: [
    'KMS_ACCESS_DENIED',
    'was denied. Check the IAM and key policies of this principal, and their conditions on kms:EncryptionContext.',
  ],
  DisabledException: ['KMS_KEY_DISABLED', 'failed because the key is disabled. Enable it and try again.'],
  KMSInvalidStateException: [
    'KMS_KEY_PENDING_DELETION',
    'failed because of the key state: the key is pending deletion, or its material is not available. ' +
      'Cancel the deletion before it takes effect, or its records are lost.',
  ],
  NotFoundException: [
    'KMS_KEY_NOT_FOUND',
    'failed because there is no such key. Check the key id, and that the client has its region and account.',
  ],
  InvalidCiphertextException: [
    'KMS_WRONG_CONTEXT',
    'was refused: the encryption context is not the one the data key was wrapped under, or the wrapped key was ' +
      'altered. Compare the context option with the one the record was written with.',
  ],
  IncorrectKeyException: [
    'KMS_WRONG_KEY',
    'was refused: another key wrapped this data key. The stored key id is wrong.',
  ],
  ThrottlingException: ['KMS_THROTTLED', 'was throttled. Try again later, or raise the request quota.'],
  LimitExceededException: ['KMS_THROTTLED', 'exceeded a limit. Try again later, or raise the request quota.'],
}

/** Names of SDK errors that never reached KMS, or that KMS could not answer. */
const unreachable =
  /^(TimeoutError|AbortError|KMSInternalException|DependencyTimeoutException|KeyUnavailableException)$/

/** How the SDK wraps an error of Node that it does not take for one, since Jest runs it in a realm of its own. */
const foreign = /^AWS SDK error wrapper for /

async function attempt<T>(operation: string, keyId: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (cause) {
    const {
      name = '',
      message = '',
      $metadata,
      code,
    } = cause as { name?: string; message?: string; $metadata?: { httpStatusCode?: number }; code?: string }
    const known = failures[name]
    if (known) throw new KeyProviderError(known[0], `${operation} under ${keyId} ${known[1]}`, { cause })
    const status = $metadata?.httpStatusCode
    const isForeign = foreign.test(message)
    if (unreachable.test(name) || code !== undefined || isForeign || (status !== undefined && status >= 500)) {
      throw new KeyProviderError(
        'KMS_UNREACHABLE',
        `${operation} under ${keyId} got no answer from KMS (${code ?? (isForeign ? message : name)}). Try again; nothing was changed.`,
        { cause },
      )
    }
    throw new KeyProviderError('KMS_FAILED', `${operation} under ${keyId} failed: ${name}. See the cause.`, { cause })
  }
}

function present<T>(value: T | undefined, operation: string, field: string): T {
  if (value === undefined) throw new KeyProviderError('KMS_FAILED', `${operation} answered without ${field}`)
  return value
}
