// An audit log: one line for each call to the KMS, with the record that was opened and how long the KMS took.
//
//     npm run example audit-log
//
// The subscriber is in audit.ts. What it prints is also what CloudTrail has of these calls, under `encryptionContext`.
import { model, Schema } from 'mongoose'
import { kmsEncrypted } from 'mongoose-kms-encrypted'
import { logKeyOperations } from './audit'
import { keyId, provider, run } from './start'

const userSchema = new Schema({ name: String }).plugin(kmsEncrypted, {
  keyId,
  provider,
  fields: { email: String, phone: String },
})
const User = model('User', userSchema)

void run(async () => {
  logKeyOperations()

  console.log('\nThree users are created:')
  await User.create(['Ada', 'Grace', 'Mary'].map((name) => ({ name, email: `${name}@example.org`, phone: '555-0100' })))

  console.log('\nOne is read, two fields at once. That is one call:')
  const ada = await User.findOne({ name: 'Ada' }).orFail()
  console.log(await Promise.all([ada.email, ada.phone]))

  console.log(
    '\nThe ciphertext and wrapped key of another are copied to this record. The KMS refuses, and that is a line too:',
  )
  const grace = (await User.collection.findOne({ name: 'Grace' }))!
  const { email, encrypted_kms_key } = grace
  await User.collection.updateOne({ name: 'Mary' }, { $set: { email, encrypted_kms_key } })
  const mary = await User.findOne({ name: 'Mary' }).orFail()
  try {
    await mary.email
  } catch (error) {
    console.log(String(error))
  }
})
