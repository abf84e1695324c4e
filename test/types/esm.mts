// The README's example in an ES module.
import { model, Schema } from 'mongoose'
import { type ErrorCode, KmsEncryptedError, kmsEncrypted } from 'mongoose-kms-encrypted'

const userSchema = new Schema({ name: String }).plugin(kmsEncrypted, {
  keyId: process.env.KMS_KEY_ID,
  fields: { email: { type: String, required: true, lowercase: true }, dob: Date, tags: [String] },
  context: (doc) => ({ Record: `User/${doc._id}` }),
})
const User = model('User', userSchema)

const ada = await User.create({ name: 'Ada', email: 'ada@example.org' })
const user = await User.findOne({ name: 'Ada' }).orFail()
const email: string = await user.email
const opened: { email: string; dob?: Date | null; tags: string[] } = await user.decrypt()
user.email = 'new@example.org'
await user.save()

try {
  await ada.decrypt()
} catch (error) {
  if (error instanceof KmsEncryptedError) console.log(error.code satisfies ErrorCode)
}

export { email, opened }
