// Mongoose 9 refuses wrong types and unknown keys in create() and insertOne(), of encrypted fields too.
import { model, Schema } from 'mongoose'
import { kmsEncrypted } from 'mongoose-kms-encrypted'

const User = model(
  'User',
  new Schema({ name: String }).plugin(kmsEncrypted, { fields: { email: { type: String, required: true }, dob: Date } }),
)

export async function refused() {
  // @ts-expect-error
  await User.create({ name: 'Ada', email: 5 })
  // @ts-expect-error
  await User.create({ name: 5, email: 'a' })
  // @ts-expect-error
  await User.create({ name: 'Ada', email: 'a', phone: '5' })
  // @ts-expect-error
  await User.create([{ name: 'Ada', email: 'a' }, { email: 5 }])
  // @ts-expect-error
  await User.create([{ name: 'Ada', email: 'a', phone: '5' }])
  // @ts-expect-error
  await User.insertOne({ name: 'Ada', email: 5 })
  // @ts-expect-error
  await User.insertOne({ name: 'Ada', phone: '5' })
}

interface Person {
  name: string
}

const PersonModel = model('Person', new Schema<Person>({ name: String }).plugin(kmsEncrypted, { fields: ['email'] }))

export async function explicitInterface() {
  await PersonModel.create({ name: 'Ada', email: 'a' })
  // @ts-expect-error
  await PersonModel.create({ name: 'Ada', email: 5 })
  // @ts-expect-error
  await PersonModel.create({ name: 'Ada', phone: 'a' })
}

const Two = model(
  'Two',
  new Schema({ name: String })
    .plugin(kmsEncrypted, { fields: { email: String } })
    .plugin(kmsEncrypted, { name: 'phone', fields: { phone: String } }),
)

export async function twoKeys() {
  await Two.create({ name: 'Ada', email: 'a', phone: 'b' })
  // @ts-expect-error
  await Two.create({ name: 'Ada', email: 'a', phone: 5 })
  // @ts-expect-error
  await Two.create({ name: 'Ada', email: 5, phone: 'a' })
}
