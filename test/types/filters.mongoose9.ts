// Mongoose 9 refuses values of another type in filters, of encrypted fields too.
import { model, Schema } from 'mongoose'
import { kmsEncrypted } from 'mongoose-kms-encrypted'

const User = model('User', new Schema({ name: String }).plugin(kmsEncrypted, { fields: { email: String, dob: Date } }))

export async function refused() {
  // @ts-expect-error
  await User.find({ email: 5 })
  // @ts-expect-error
  await User.find({ dob: true })
  // @ts-expect-error
  await User.find({ email: { $exists: 'x' } })
}
