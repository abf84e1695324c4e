import { model, Schema } from 'mongoose'
import { kmsEncrypted } from 'mongoose-kms-encrypted'
import { kms } from './kms'

const userSchema = new Schema({ name: { type: String, required: true } }).plugin(kmsEncrypted, {
  ...kms,
  fields: { email: { type: String, required: true, lowercase: true, match: /@/ } },
})

export const User = model('User', userSchema)

export async function register(name: string, email: string): Promise<string> {
  const user = await User.create({ name, email })
  return user.id
}

/** The address that a letter goes to: `Ada <ada@example.org>`. */
export async function addressOf(id: string): Promise<string> {
  const user = await User.findById(id).orFail()
  return `${user.name} <${await user.email}>`
}
