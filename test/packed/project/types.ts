import { model, Schema } from 'mongoose'
import { type AuditLine, kmsEncrypted, localKms, withAudit } from 'mongoose-kms-encrypted'

const userSchema = new Schema({ name: String }).plugin(kmsEncrypted, {
  provider: localKms(),
  fields: { email: { type: String, required: true } },
})
const User = model('User', userSchema)

export async function addressOf(id: string): Promise<string> {
  const user = await User.findById(id).orFail()
  // @ts-expect-error It is a promise, or the value.
  const email: string = user.email
  return withAudit({ actor: 'grace' }, async () => (await user.email) ?? email)
}

// @ts-expect-error There is no such option.
new Schema({}).plugin(kmsEncrypted, { provider: localKms(), felds: ['email'] })

// @ts-expect-error There is no such operation.
export const operation: AuditLine['operation'] = 'read'
