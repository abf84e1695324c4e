import { model, Schema } from 'mongoose'
import { awsKms, kmsEncrypted, localKms } from 'mongoose-kms-encrypted'

/** Vitest sets NODE_ENV to `test`. Everywhere else the key is in AWS KMS. */
const kms =
  process.env.NODE_ENV === 'test' ? { provider: localKms() } : { provider: awsKms(), keyId: process.env.KMS_KEY_ID }

const userSchema = new Schema({ plan: { type: String, required: true } }).plugin(kmsEncrypted, {
  ...kms,
  requireActor: true,
  fields: { name: { type: String, required: true }, email: { type: String, required: true } },
})
export const User = model('User', userSchema)
