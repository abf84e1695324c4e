import { KeyProviderError, type KeyProviderErrorCode } from '../errors'

/** What the errors of the AWS SDK mean for who called, by their names: those of KMS, of AWS, and of the SDK itself. */

type Failure = readonly [code: KeyProviderErrorCode, advice: string]

const unreachable: Failure = ['KMS_UNREACHABLE', 'got no answer from KMS. Try again; nothing was changed.']
const throttled: Failure = ['KMS_THROTTLED', 'was throttled. Try again later, or raise the request quota.']
const rejected: Failure = [
  'KMS_CREDENTIALS_REJECTED',
  'was refused because of the credentials. Renew them, and check the clock of this machine.',
]
const malformed: Failure = [
  'KMS_KEY_ID_INVALID',
  'was refused: the key id is malformed. Give a key id, an ARN, or an alias that begins with alias/.',
]
const noRegion: Failure = [
  'KMS_NO_REGION',
  'was not sent: no region is configured. Set AWS_REGION, or give awsKms({ client: new KMSClient({ region }) }).',
]
const untrusted: Failure = [
  'KMS_TLS_FAILED',
  'was not sent: the certificate of the endpoint could not be verified. Trying again does not help: look for a proxy that intercepts TLS, ' +
    'and give its authority by NODE_EXTRA_CA_CERTS.',
]

const failures: Readonly<Record<string, Failure>> = {
  AccessDeniedException: [
    'KMS_ACCESS_DENIED',
    'was denied. Check the IAM and key policies of this principal, and their conditions on kms:EncryptionContext.',
  ],
  DisabledException: ['KMS_KEY_DISABLED', 'failed because the key is disabled. Enable it and try again.'],
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
  InvalidKeyUsageException: [
    'KMS_KEY_TYPE_WRONG',
    'was refused: the key is of another type. It must be symmetric, with the usage ENCRYPT_DECRYPT.',
  ],
  UnsupportedOperationException: [
    'KMS_KEY_TYPE_WRONG',
    'was refused: the key cannot do this. It must be symmetric, with the usage ENCRYPT_DECRYPT.',
  ],
  CredentialsProviderError: [
    'KMS_NO_CREDENTIALS',
    'was not sent: the AWS SDK found no credentials. Give this process a role, or set AWS_PROFILE or AWS_ACCESS_KEY_ID.',
  ],
}

const groups: readonly (readonly [RegExp, Failure])[] = [
  [
    /throttl|^(TooManyRequests|LimitExceeded|RequestLimitExceeded|BandwidthLimitExceeded|SlowDown)|LimitExceededException$/i,
    throttled,
  ],
  [
    /^(UnrecognizedClient|ExpiredToken|InvalidSignature|SignatureDoesNotMatch|IncompleteSignature|InvalidClientTokenId|RequestExpired|MissingAuthenticationToken|NotAuthorized|OptInRequired|InvalidAccessKeyId|AuthFailure)/,
    rejected,
  ],
  [/^(ValidationException|ValidationError|InvalidArnException|InvalidAliasNameException)$/, malformed],
  [/^(TimeoutError|AbortError|KMSInternalException|DependencyTimeoutException|KeyUnavailableException)$/, unreachable],
]

/** Codes of Node for a certificate that is not trusted. */
const tls = /CERT|^UNABLE_TO_(VERIFY|GET_ISSUER)|^ERR_TLS_|^ERR_SSL_|^EPROTO$/

/** How the SDK wraps an error of Node that it does not take for one, since Jest runs it in a realm of its own. */
const foreign = /^AWS SDK error wrapper for /

interface Cause {
  readonly name?: string
  readonly message?: string
  readonly code?: unknown
  readonly $metadata?: { readonly httpStatusCode?: number }
}

/** The error of this library for one of the SDK. It says what the SDK said, unless that could hold part of a key. */
export function failureOf(operation: string, keyId: string, cause: unknown): KeyProviderError {
  const [code, advice] = meaningOf((cause ?? {}) as Cause)
  return new KeyProviderError(code, `${operation} under ${keyId} ${advice}${saidBy(cause)}`, causeOf(cause))
}

function meaningOf({ name = '', message = '', code, $metadata }: Cause): Failure {
  const known = failures[name] ?? groups.find(([names]) => names.test(name))?.[1]
  if (known) return known
  if (name === 'KMSInvalidStateException') return stateOf(message)
  if (/^Region is missing/.test(message)) return noRegion
  if (typeof code === 'string') return tls.test(code) ? untrusted : unreachable
  const status = $metadata?.httpStatusCode
  if (status === 429) return throttled
  if (foreign.test(message)) return tls.test(message.replace(foreign, '')) ? untrusted : unreachable
  if (status !== undefined && status >= 500) return unreachable
  return ['KMS_FAILED', 'failed. See the cause.']
}

/** KMS tells the state of a key in the message alone: `arn:… is pending deletion.` */
function stateOf(message: string): Failure {
  if (/pending (replica )?deletion/i.test(message)) {
    return [
      'KMS_KEY_PENDING_DELETION',
      'failed because the key is pending deletion. Cancel the deletion before it takes effect, or its records are lost.',
    ]
  }
  return ['KMS_KEY_UNAVAILABLE', 'failed because of the state of the key. Bring it to the state Enabled.']
}

/** Errors of the language itself quote what they choke on, and that may be a key. */
const quoting = /^(SyntaxError|TypeError|RangeError|URIError)$/

/** Whether an error is such a one, or has one within, as deep as `inspect` may show. */
function isQuoting(error: unknown, depth = 0): boolean {
  if (typeof error !== 'object' || error === null || depth > 8) return false
  const { name, cause, errors } = error as { name?: unknown; cause?: unknown; errors?: unknown }
  const within = [cause, ...(Array.isArray(errors) ? errors : [])]
  return (typeof name === 'string' && quoting.test(name)) || within.some((each) => isQuoting(each, depth + 1))
}

/** What an error says, to be added to a message. */
export function saidBy(cause: unknown): string {
  const { name, message } = (cause ?? {}) as Cause
  if (typeof name !== 'string' || typeof message !== 'string')
    return ` (It threw ${cause === null ? 'null' : typeof cause}.)`
  return isQuoting(cause) ? ` (${name})` : ` (${name}: ${message})`
}

/** The cause to keep: of an error that may quote a key, its name and where it was thrown. */
export function causeOf(cause: unknown): ErrorOptions {
  const { name, stack } = (cause ?? {}) as Cause & { stack?: unknown }
  if (typeof name !== 'string' || !isQuoting(cause)) return { cause }
  const frames = typeof stack === 'string' ? stack.split('\n').filter((line) => /^\s+at /.test(line)) : []
  const kept = new Error('what it said is left out, for it may quote a key')
  kept.name = name
  kept.stack = [`${name}: ${kept.message}`, ...frames].join('\n')
  return { cause: kept }
}
