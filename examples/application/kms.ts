import { awsKms, localKms } from 'mongoose-kms-encrypted'

/** Jest sets NODE_ENV to `test`. Everywhere else the key is in AWS KMS, and without KMS_KEY_ID the program does not start. */
export const kms =
  process.env.NODE_ENV === 'test' ? { provider: localKms() } : { provider: awsKms(), keyId: process.env.KMS_KEY_ID }
