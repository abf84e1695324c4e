import { Module } from '@nestjs/common'
import { awsKms, localKms } from 'mongoose-kms-encrypted'

/** The options of the plugin that are not the schema's. */
export const KMS = Symbol('KMS')

/**
 * Jest sets NODE_ENV to `test`. Everywhere else the key is in AWS KMS, and without KMS_KEY_ID and INDEX_KEY, as `createIndexKey()` gave it,
 * the program does not start.
 */
const kms = () =>
  process.env.NODE_ENV === 'test'
    ? { provider: localKms() }
    : { provider: awsKms(), keyId: process.env.KMS_KEY_ID, indexKey: process.env.INDEX_KEY }

export type Kms = ReturnType<typeof kms>

@Module({ providers: [{ provide: KMS, useFactory: kms }], exports: [KMS] })
export class KmsModule {}
