/** A call to the KMS that uses a data key, as CloudTrail tells it. */
export interface KeyUse {
  readonly id: string | undefined
  readonly requestId: string | undefined
  /** Milliseconds since 1970. */
  readonly time: number
  /** As CloudTrail has it: `Decrypt`, `GenerateDataKey`, `ReEncrypt`, … */
  readonly operation: string
  /** What the encryption context names; missing where the KMS refused before it looked at the parameters. */
  readonly record: string | undefined
  /** `ReEncrypt`: the record that the data key is for from then on, if it is another one. */
  readonly to: string | undefined
  /** ARN of the KMS key; of `ReEncrypt`, the one that had wrapped. */
  readonly key: string
  readonly principal: Principal
  readonly address: string
  readonly agent: string
  /** The KMS's error code. */
  readonly error: string | undefined
}

export interface Principal {
  /** Who called, down to the session of a role. */
  readonly session: string
  /** The role of the session, or the same as it. */
  readonly identity: string
}

const operations = /^(?:Decrypt|GenerateDataKey\w*|ReEncrypt)$/
const none = '-'

/** The events in a JSON value: itself, those of a `Records` file, those of an answer of `lookup-events`, those of Lake. */
export function eventsIn(value: unknown): unknown[] {
  if (Array.isArray(value)) return value.flatMap(eventsIn)
  if (!isObject(value)) return [value]
  if (Array.isArray(value.Records)) return value.Records.flatMap(eventsIn)
  if (Array.isArray(value.Events)) return value.Events.flatMap(eventsIn)
  if (Array.isArray(value.QueryResultRows)) {
    return value.QueryResultRows.flatMap((row) => eventsIn(Object.assign({}, ...(row as object[]))))
  }
  for (const wrapped of [value.CloudTrailEvent, value.eventJson, value.eventData]) {
    if (typeof wrapped === 'string') return eventsIn(JSON.parse(wrapped))
    if (isObject(wrapped)) return eventsIn(wrapped)
  }
  return [value]
}

/**
 * @returns `undefined` for an event of another service or of another operation
 * @throws {TypeError} where it is no event, or has no time
 */
export function parseKeyUse(event: unknown): KeyUse | undefined {
  if (!isObject(event)) throw new TypeError('is no object')
  if (event.eventSource !== 'kms.amazonaws.com' || !operations.test(text(event.eventName))) return undefined
  const time = parseTime(text(event.eventTime))
  if (Number.isNaN(time)) throw new TypeError('has no eventTime')
  const operation = text(event.eventName)
  const parameters = objectOf(event.requestParameters)
  const source = recordOf(parameters.sourceEncryptionContext)
  const target = recordOf(parameters.encryptionContext ?? parameters.destinationEncryptionContext)
  const record = source ?? target
  return {
    // An event of two accounts is in both their trails, under ids of their own.
    id: optional(event.sharedEventID) ?? optional(event.eventID),
    requestId: optional(event.requestID),
    time,
    operation,
    record,
    to: target === record ? undefined : target,
    key: keyOf(event.resources) ?? optional(parameters.sourceKeyId ?? parameters.keyId) ?? keyIn(event.errorMessage),
    principal: principalOf(objectOf(event.userIdentity)),
    address: optional(event.sourceIPAddress) ?? none,
    agent: optional(event.userAgent) ?? none,
    error: optional(event.errorCode),
  }
}

/** Lake writes `2026-11-30 12:00:00.000`, and means UTC too. */
function parseTime(time: string): number {
  return Date.parse(time.charAt(10) === ' ' ? `${time.replace(' ', 'T')}Z` : time)
}

function recordOf(context: unknown): string | undefined {
  return optional(objectOf(context).Record)
}

function keyOf(resources: unknown): string | undefined {
  if (!Array.isArray(resources)) return undefined
  const key = resources.find((resource) => isObject(resource) && resource.type === 'AWS::KMS::Key')
  return optional(key?.ARN)
}

/** A call that was denied may have neither parameters nor resources. */
function keyIn(errorMessage: unknown): string {
  return /\barn:[\w-]+:kms:[\w-]*:\d*:key\/[\w-]+/.exec(text(errorMessage))?.[0] ?? none
}

function principalOf(identity: Record<string, unknown>): Principal {
  const session =
    optional(identity.arn) ??
    optional(identity.invokedBy) ??
    optional(identity.userName) ??
    optional(identity.principalId) ??
    optional(identity.accountId) ??
    optional(identity.type) ??
    none
  const issuer = objectOf(objectOf(identity.sessionContext).sessionIssuer)
  return { session, identity: optional(issuer.arn) ?? session }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}

/** Lake gives objects in objects as JSON in strings. */
function objectOf(value: unknown): Record<string, unknown> {
  if (isObject(value)) return value
  if (typeof value !== 'string') return {}
  try {
    const parsed: unknown = JSON.parse(value)
    return isObject(parsed) ? parsed : {}
  } catch {
    return {}
  }
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

function optional(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}
