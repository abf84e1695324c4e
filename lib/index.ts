export { type AuditLine, type AuditLog, type AuditLogOptions, auditLog } from './audit/log'
export {
  AccessError,
  type AccessErrorCode,
  AuditError,
  type AuditErrorCode,
  ConfigurationError,
  type ConfigurationErrorCode,
  DecryptionError,
  type DecryptionErrorCode,
  type ErrorCode,
  JobError,
  type JobErrorCode,
  KeyProviderError,
  type KeyProviderErrorCode,
  KmsEncryptedError,
  OperationError,
  type OperationErrorCode,
  RecordError,
  type RecordErrorCode,
} from './errors'
export type { EncryptionContext } from './format/context'
export { type Audit, currentAudit, withAudit } from './kms/actor'
export { type AwsKmsOptions, awsKms } from './kms/aws'
export { type LocalKmsOptions, localKms } from './kms/local'
export type { CacheOptions } from './kms/manager'
export type { GeneratedDataKey, KeyProvider, OnRequestId } from './kms/provider'
export { channels, type KeyEvent } from './kms/tracing'
export { kmsEncrypted } from './plugin'
export type {
  JobFailure,
  JobOptions,
  JobProgress,
  JobResult,
  JobStart,
  KeyStatus,
  KmsStatus,
  MigrationOptions,
  MigrationResult,
  Partition,
  RecordKeyStatus,
  RotateOptions,
  StatusOptions,
  VerifyFailure,
  VerifyResult,
} from './schema/jobs'
export type {
  AccessOption,
  AllowKeyIdsOption,
  ContextOption,
  DataKeyOption,
  DecryptOption,
  FieldsOption,
  FromOption,
  KeyIdOption,
  KmsEncryptedOptions,
  MethodsOption,
  PreviousVersion,
} from './schema/options'
export type {
  Decrypted,
  Encrypted,
  EncryptedFields,
  EncryptedJobs,
  EncryptedMethods,
  EncryptedStatics,
  KmsEncryptedPlugin,
  PlainFields,
  Records,
} from './schema/types'
export { approximate } from './search/approximate'
export type { BlindIndexOptions, CompoundIndexOptions, IndexVersionOptions } from './search/declaration'
export { type CreateIndexKeyOptions, createIndexKey } from './search/indexkey'
