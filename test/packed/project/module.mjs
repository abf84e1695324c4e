import mongoose from 'mongoose'
// By their names, which Node and bundlers have to find in what is CommonJS.
import {
  auditLog,
  awsKms,
  ConfigurationError,
  DecryptionError,
  KeyProviderError,
  KmsEncryptedError,
  kmsEncrypted,
  OperationError,
  withAudit,
} from 'mongoose-kms-encrypted'
import use from './use.cjs'

const errors = { ConfigurationError, DecryptionError, KeyProviderError, KmsEncryptedError, OperationError }
void use(mongoose, { auditLog, awsKms, kmsEncrypted, withAudit, ...errors })
