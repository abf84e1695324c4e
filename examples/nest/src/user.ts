import { Prop, Schema, SchemaFactory } from '@nestjs/mongoose'
import type { HydratedDocument } from 'mongoose'
import { type Encrypted, kmsEncrypted } from 'mongoose-kms-encrypted'
import type { Kms } from './kms.js'

/** What a user has in the clear. */
@Schema()
export class User {
  @Prop({ required: true })
  plan!: string
}

const fields = {
  name: { type: String, required: true },
  email: { type: String, required: true, match: /^\S+@\S+$/, blindIndex: { unique: true, caseInsensitive: true } },
} as const

export type UserDocument = HydratedDocument<User, Encrypted<typeof fields>>

export function userSchema(kms: Kms) {
  const schema = SchemaFactory.createForClass(User)
  schema.plugin(kmsEncrypted, { ...kms, fields, requireActor: true })
  return schema
}
