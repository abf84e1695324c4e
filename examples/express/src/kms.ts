import { awsKms, localKms } from 'mongoose-kms-encrypted'

/**
 * Jest sets NODE_ENV to `test`. Everywhere else the key is in AWS KMS, and without KMS_KEY_ID and INDEX_KEY, as `createIndexKey()` gave it,
 * the program does not start.
 */
export const kms =
  process.env.NODE_ENV === 'test'
    ? { provider: localKms() }
    : { provider: awsKms(), keyId: process.env.KMS_KEY_ID, indexKey: process.env.INDEX_KEY }
