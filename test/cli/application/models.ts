import { model, Schema } from 'mongoose'
import { kmsEncrypted } from 'mongoose-kms-encrypted'

// What no Node understands by itself.
enum Collection {
  Users = 'users',
}

const schema = new Schema({ name: String }).plugin(kmsEncrypted, {
  keyId: process.env.KMS_KEY_ID,
  fields: { email: { type: String, required: true } },
})

export const User = model('User', schema, Collection.Users)
