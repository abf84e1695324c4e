// Where the result of plugin() is not used, as with NestJS's SchemaFactory, or where the schema has no type.
import { type HydratedDocument, type Model, model, Schema } from 'mongoose'
import { type Encrypted, type KmsEncryptedOptions, kmsEncrypted } from 'mongoose-kms-encrypted'
import { expectType } from './expect'

class User {
  name!: string
}
declare const SchemaFactory: { createForClass<T>(target: new () => T): Schema<T> }

const fields = { email: { type: String, required: true } } as const
type UserDocument = HydratedDocument<User, Encrypted<typeof fields>>

export const UserSchema = SchemaFactory.createForClass(User)
UserSchema.plugin(kmsEncrypted, { keyId: 'k', fields, context: (doc) => ({ Record: `User/${doc._id}` }) })

export async function service(users: Model<UserDocument>) {
  const user = await users.findOne().orFail()
  expectType<string>()(user.name)
  expectType<string>()(await user.email)
  expectType<Promise<{ email: string }>>()(user.decrypt())
}

export function statement() {
  const schema = new Schema({ name: String })
  schema.plugin(kmsEncrypted, { keyId: 'k', fields: ['email'] })
  return model('User', schema)
}

export async function untyped(anySchema: Schema<any>, defaultSchema: Schema, options: KmsEncryptedOptions) {
  anySchema.plugin(kmsEncrypted, { fields: ['email'], context: (doc) => ({ Record: `User/${doc._id}` }) })
  defaultSchema.plugin(kmsEncrypted, { fields: ['email'] })
  defaultSchema.plugin(kmsEncrypted, options)
  const found = await model('Any', anySchema.plugin(kmsEncrypted, { fields: ['email'] })).findOne()
  found?.email
  const anything: any = options
  anySchema.plugin(kmsEncrypted, anything)
}
