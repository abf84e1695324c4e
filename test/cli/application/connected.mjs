import mongoose from 'mongoose'
import { kmsEncrypted } from 'mongoose-kms-encrypted'

// An application that connects by itself, and keeps running.
const connection = await mongoose.createConnection(process.env.DATABASE).asPromise()
const schema = new mongoose.Schema({ name: { type: String, index: true } })
schema.plugin(kmsEncrypted, { keyId: process.env.KMS_KEY_ID, fields: ['email'] })
export const User = connection.model('User', schema)
setInterval(() => {}, 60_000)
