import { randomUUID } from 'node:crypto'
import type { Call } from './calls'
import { ACCOUNT } from './keys'

/** What CloudTrail knows of a caller, and a test may choose: by default, an IAM user by the name of the access key. */
export interface Caller {
  readonly userIdentity?: Readonly<Record<string, unknown>>
  readonly sourceIPAddress?: string
  readonly userAgent?: string
  /** When the call is said to have been. */
  readonly eventTime?: string
}

/** The session of a role, as an application on a container has. */
export function assumedRole(role: string, session: string): Readonly<Record<string, unknown>> {
  return {
    type: 'AssumedRole',
    principalId: `AROAEXAMPLE${role.toUpperCase()}:${session}`,
    arn: `arn:aws:sts::${ACCOUNT}:assumed-role/${role}/${session}`,
    accountId: ACCOUNT,
    accessKeyId: 'ASIAEXAMPLE',
    sessionContext: {
      sessionIssuer: {
        type: 'Role',
        principalId: `AROAEXAMPLE${role.toUpperCase()}`,
        arn: `arn:aws:iam::${ACCOUNT}:role/${role}`,
        accountId: ACCOUNT,
        userName: role,
      },
      attributes: { creationDate: '2026-11-30T00:00:00Z', mfaAuthenticated: 'false' },
    },
  }
}

/** Whether CloudTrail has an event of a call: not of what never reached the KMS. */
export function isInTrail({ errorCode }: Call): boolean {
  return !errorCode?.startsWith('HTTP ')
}

/**
 * The event that CloudTrail writes of a call to the KMS, record version 1.11. Its request id is that of the answer. A call that was
 * denied has no parameters, and its error another name than the answer's.
 *
 * @see https://docs.aws.amazon.com/kms/latest/developerguide/understanding-kms-entries.html
 */
export function cloudTrailEvent(call: Call, caller: Caller = {}): Record<string, unknown> {
  const { errorCode, errorMessage, keyId, sourceKeyId } = call
  const isDenied = errorCode === 'AccessDeniedException'
  const keys = [sourceKeyId, keyId].filter((arn) => arn !== undefined)
  return {
    eventVersion: '1.11',
    userIdentity: caller.userIdentity ?? {
      type: 'IAMUser',
      principalId: `AIDA${call.principal}`,
      arn: `arn:aws:iam::${ACCOUNT}:user/${call.principal}`,
      accountId: ACCOUNT,
      accessKeyId: call.principal,
      userName: call.principal,
    },
    eventTime: caller.eventTime ?? `${call.eventTime.slice(0, 19)}Z`,
    eventSource: 'kms.amazonaws.com',
    eventName: call.eventName,
    awsRegion: call.awsRegion,
    sourceIPAddress: caller.sourceIPAddress ?? '127.0.0.1',
    userAgent: caller.userAgent ?? call.userAgent,
    ...(errorCode !== undefined && { errorCode: isDenied ? 'AccessDenied' : errorCode }),
    ...(errorMessage && { errorMessage }),
    requestParameters: isDenied ? null : parametersOf(call),
    responseElements: null,
    ...(errorCode === undefined && { additionalEventData: { keyMaterialId: 'a'.repeat(64) } }),
    requestID: call.requestId,
    eventID: randomUUID(),
    readOnly: true,
    ...(keys.length > 0 && { resources: keys.map((ARN) => ({ accountId: ACCOUNT, type: 'AWS::KMS::Key', ARN })) }),
    eventType: 'AwsApiCall',
    managementEvent: true,
    recipientAccountId: ACCOUNT,
    eventCategory: 'Management',
    tlsDetails: {
      tlsVersion: 'TLSv1.3',
      cipherSuite: 'TLS_AES_256_GCM_SHA384',
      clientProvidedHostHeader: `kms.${call.awsRegion}.amazonaws.com`,
    },
  }
}

/** The algorithm is in the event even where it was not in the request. */
function parametersOf({ eventName, requestParameters }: Call): Record<string, unknown> {
  const algorithm = 'SYMMETRIC_DEFAULT'
  if (eventName === 'Decrypt') return { encryptionAlgorithm: algorithm, ...requestParameters }
  if (eventName !== 'ReEncrypt') return { ...requestParameters }
  return { sourceEncryptionAlgorithm: algorithm, destinationEncryptionAlgorithm: algorithm, ...requestParameters }
}
