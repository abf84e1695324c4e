import { model, Schema } from 'mongoose'
import { awsKms, kmsEncrypted, localKms } from 'mongoose-kms-encrypted'

/** Vitest sets NODE_ENV to `test`. Everywhere else the key is in AWS KMS. */
const kms =
  process.env.NODE_ENV === 'test'
    ? { provider: localKms() }
    : { provider: awsKms(), keyId: process.env.KMS_KEY_ID, indexKey: process.env.INDEX_KEY }

const personSchema = new Schema({ since: { type: Date, default: Date.now } }).plugin(kmsEncrypted, {
  ...kms,
  requireActor: true,
  fields: {
    name: { type: String, required: true },
    email: { type: String, required: true, lowercase: true, blindIndex: { unique: true } },
  },
})
export const Person = model('Person', personSchema)

// What the books need stays when the person is erased: it is in the clear, and tells nothing of anybody.
const orderSchema = new Schema({
  person: { type: Schema.Types.ObjectId, required: true, index: true },
  total: { type: Number, required: true },
}).plugin(kmsEncrypted, { ...kms, requireActor: true, fields: { address: { type: String, required: true } } })
export const Order = model('Order', orderSchema)

/** Whom has been erased: kept apart from the backups, for what is restored from one is to be erased again. */
const erasureSchema = new Schema({
  _id: Schema.Types.ObjectId,
  at: { type: Date, default: Date.now },
  by: { type: String, required: true },
})
export const Erasure = model('Erasure', erasureSchema)
