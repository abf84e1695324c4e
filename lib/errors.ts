/** Codes of {@link ConfigurationError}: what is wrong with the options of the plugin or of a key provider. */
export type ConfigurationErrorCode = 'OPTION_INVALID' | 'FIELD_INVALID' | 'CONTEXT_INVALID' | 'KEY_ID_INVALID'

/** Codes of {@link KeyProviderError}: why the KMS gave no data key. */
export type KeyProviderErrorCode =
  | 'KMS_ACCESS_DENIED'
  | 'KMS_KEY_DISABLED'
  | 'KMS_KEY_PENDING_DELETION'
  | 'KMS_KEY_UNAVAILABLE'
  | 'KMS_KEY_NOT_FOUND'
  | 'KMS_KEY_ID_INVALID'
  | 'KMS_KEY_TYPE_WRONG'
  | 'KMS_NO_REGION'
  | 'KMS_NO_CREDENTIALS'
  | 'KMS_CREDENTIALS_REJECTED'
  | 'KMS_TLS_FAILED'
  | 'KMS_THROTTLED'
  | 'KMS_UNREACHABLE'
  | 'KMS_QUEUE_FULL'
  | 'KMS_WRONG_CONTEXT'
  | 'KMS_WRONG_KEY'
  | 'KMS_KEY_NOT_ALLOWED'
  | 'KMS_FAILED'

/** Codes of {@link DecryptionError}: what is wrong with the stored bytes. */
export type DecryptionErrorCode =
  | 'WRAPPED_KEY_DAMAGED'
  | 'DATA_KEY_MISMATCH'
  | 'DATA_KEY_MISSING'
  | 'ERASED'
  | 'KEY_VERSION_UNKNOWN'
  | 'ENVELOPE_TRUNCATED'
  | 'ENVELOPE_UNKNOWN'
  | 'ENVELOPE_REJECTED'
  | 'PLAINTEXT_FOUND'
  | 'FROM_FAILED'
  | 'BLIND_INDEX_STALE'

/** Codes of {@link RecordError}: what the record at hand cannot do in the state it is in. */
export type RecordErrorCode =
  | 'RECORD_LOCKED'
  | 'RECORD_CHANGED'
  | 'CONTEXT_CHANGED'
  | 'CONTEXT_NOT_SELECTED'
  | 'ID_NOT_SELECTED'
  | 'KEY_NOT_SELECTED'
  | 'RECORD_FOREIGN'
  | 'VALUE_NOT_AWAITED'
  | 'STORED_PATH_ASSIGNED'

/** Codes of {@link OperationError}: what cannot be done with a field that is stored encrypted. */
export type OperationErrorCode = 'QUERY_REFUSED' | 'UPDATE_REFUSED' | 'WRITE_REFUSED' | 'UPDATE_INCOMPLETE'

/** Codes of {@link JobError}: why a part of a job over a collection is not done here. */
export type JobErrorCode = 'JOB_RUNNING' | 'LEASE_LOST'

/** Codes of {@link AccessError}: what this process is not to do with a record. */
export type AccessErrorCode = 'ACTOR_REQUIRED' | 'ACCESS_WRITE_ONLY' | 'ACCESS_READ_ONLY'

/** Codes of {@link AuditError}: why a line of the audit log was not written. */
export type AuditErrorCode = 'AUDIT_LOG_FULL'

/** Every code that an error of this library can carry. */
export type ErrorCode =
  | ConfigurationErrorCode
  | KeyProviderErrorCode
  | DecryptionErrorCode
  | RecordErrorCode
  | OperationErrorCode
  | JobErrorCode
  | AccessErrorCode
  | AuditErrorCode

/**
 * Base of every error that this library throws. Messages name the place, what was expected and what to do; they never
 * hold a field's value, a key or a value of the encryption context.
 */
export abstract class KmsEncryptedError<Code extends ErrorCode = ErrorCode> extends Error {
  /** Stable, for programs; the message is for people and may change. */
  readonly code: Code
  /** Given, for a minifier takes away the names of classes. */
  abstract override readonly name: string

  constructor(code: Code, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** The plugin or a key provider was set up wrongly. Thrown when the schema is built, or where a function option is called. */
export class ConfigurationError extends KmsEncryptedError<ConfigurationErrorCode> {
  override readonly name = 'ConfigurationError'
}

/** The KMS did not generate or unwrap a data key. `cause` is the error of the KMS client. */
export class KeyProviderError extends KmsEncryptedError<KeyProviderErrorCode> {
  override readonly name = 'KeyProviderError'
}

/** Stored bytes are damaged, foreign, or were written for another field, record or context. */
export class DecryptionError extends KmsEncryptedError<DecryptionErrorCode> {
  override readonly name = 'DecryptionError'
}

/** The record is not in a state for what was asked of it. */
export class RecordError extends KmsEncryptedError<RecordErrorCode> {
  override readonly name = 'RecordError'
  /**
   * Of `RECORD_CHANGED` alone: what helps. `'retry'`: the same call again, for the document knows by now what is stored. `'reload'`: to load
   * the record anew and do it there, for what was changed here was made of a value that is not stored any more.
   */
  declare readonly remedy?: 'retry' | 'reload'
}

/** A query or write names an encrypted field in a way that cannot be honoured. Nothing was written, unless `UPDATE_INCOMPLETE` says how much. */
export class OperationError extends KmsEncryptedError<OperationErrorCode> {
  override readonly name = 'OperationError'
  /** Of `UPDATE_INCOMPLETE` alone: the counts of what was written, as of an ordinary `updateMany()`. */
  declare readonly matchedCount?: number
  declare readonly modifiedCount?: number
  /** Of `UPDATE_INCOMPLETE` alone: the records that were not written, by `_id`, and why. */
  declare readonly failures?: readonly { readonly _id: unknown; readonly error: unknown }[]
}

/** Another worker does the part of a job. What was done of it is kept. */
export class JobError extends KmsEncryptedError<JobErrorCode> {
  override readonly name = 'JobError'
}

/** The options of the plugin do not allow this process what was asked for. Neither was the KMS asked, nor anything written. */
export class AccessError extends KmsEncryptedError<AccessErrorCode> {
  override readonly name = 'AccessError'
}

/** A line of the audit log was not written. It is given to `onError` with this. */
export class AuditError extends KmsEncryptedError<AuditErrorCode> {
  override readonly name = 'AuditError'
}

/** What names a place in messages: its name, or what makes it when there is an error. */
export type PlaceName = string | (() => string)

export function textOf(place: PlaceName): string {
  return typeof place === 'string' ? place : place()
}
