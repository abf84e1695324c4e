export type { EncryptionContext } from './context'
export {
  ConfigurationError,
  type ConfigurationErrorCode,
  DecryptionError,
  type DecryptionErrorCode,
  type ErrorCode,
  KeyProviderError,
  type KeyProviderErrorCode,
  KmsEncryptedError,
  OperationError,
  type OperationErrorCode,
  RecordError,
  type RecordErrorCode,
} from './errors'
export type { CacheOptions } from './keys'
export type {
  ContextOption,
  DecryptOption,
  FieldsOption,
  KeyIdOption,
  KmsEncryptedOptions,
  PreviousVersion,
} from './options'
export { kmsEncrypted } from './plugin'
export type { GeneratedDataKey, KeyProvider } from './provider'
export { type AwsKmsOptions, awsKms } from './providers/aws'
export { type LocalKmsOptions, localKms } from './providers/local'
export { channels, type KeyEvent } from './tracing'
export type {
  Decrypted,
  Encrypted,
  EncryptedFields,
  EncryptedMethods,
  EncryptedStatics,
  KmsEncryptedPlugin,
  PlainFields,
} from './types'
