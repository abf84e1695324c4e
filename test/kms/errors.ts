/** Every error the stand-in can answer with, spelt as on the wire. */
export type KmsErrorType =
  | 'AccessDeniedException'
  | 'DependencyTimeoutException'
  | 'DisabledException'
  | 'IncompleteSignatureException'
  | 'IncorrectKeyException'
  | 'InvalidCiphertextException'
  | 'KMSInternalException'
  | 'KMSInvalidStateException'
  | 'KeyUnavailableException'
  | 'LimitExceededException'
  | 'MissingAuthenticationTokenException'
  | 'NotFoundException'
  | 'SerializationException'
  | 'ThrottlingException'
  | 'UnknownOperationException'
  | 'UnsupportedOperationException'
  | 'ValidationException'

/** What KMS answers with something other than 400; the SDK decides by the status alone whether to try these again. */
const STATUSES: { [type in KmsErrorType]?: number } = {
  DependencyTimeoutException: 503,
  KMSInternalException: 500,
  KeyUnavailableException: 500,
}

/** A refusal as KMS words it: `{"__type": type, "message": message}` under `status`. */
export class KmsError extends Error {
  readonly type: KmsErrorType
  readonly status: number

  constructor(type: KmsErrorType, message: string, status: number = STATUSES[type] ?? 400) {
    super(message)
    this.name = type
    this.type = type
    this.status = status
  }
}

/** One violated constraint in the wording of the AWS services. */
export function invalid(member: string, value: unknown, constraint: string): KmsError {
  const got = value === undefined ? 'null' : `'${value}'`
  return new KmsError(
    'ValidationException',
    `1 validation error detected: Value ${got} at '${lowerFirst(member)}' failed to satisfy constraint: Member must ${constraint}`,
  )
}

/** `KeyId` on the wire is `keyId` in validation messages and in CloudTrail. */
export function lowerFirst(name: string): string {
  return name.charAt(0).toLowerCase() + name.slice(1)
}
