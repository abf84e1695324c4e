// Stores two users, shows what MongoDB has of them, and reads one back.
//
//     npm run quickstart
//
// MONGODB_URI names a server of your own, KMS_KEY_ID a key in AWS KMS (with region and credentials as the AWS SDK finds
// them). Without them, a database is started for the time of this program, and the key is one in memory.
import { model, Schema } from 'mongoose'
import { kmsEncrypted } from 'mongoose-kms-encrypted'
import { logKeyOperations } from './audit'
import { keyId, provider, run } from './start'

const userSchema = new Schema({ name: String }).plugin(kmsEncrypted, {
  keyId,
  provider,
  fields: { email: { type: String, required: true, lowercase: true }, dob: Date },
})
const User = model('User', userSchema)

void run(async () => {
  logKeyOperations((line) => console.log(`  audit: ${line}`))

  console.log('\nTwo users are created:')
  await User.create({ name: 'Ada', email: 'Ada@Example.org', dob: new Date('1815-12-10') })
  await User.create({ name: 'Grace', email: 'grace@example.org' })

  console.log("\nAda's document as MongoDB has it:")
  console.log(await User.collection.findOne({ name: 'Ada' }))

  console.log('\nAda is found. Nothing is decrypted yet:')
  const ada = await User.findOne({ name: 'Ada' }).orFail()
  console.log(ada)

  console.log('\nHer e-mail address is read, then her date of birth:')
  console.log(await ada.email)
  console.log(await ada.dob)

  console.log('\nThe address is changed and saved under the same key:')
  ada.email = 'countess@example.org'
  await ada.save()

  console.log('\nBoth users are read, each under her own key:')
  for (const user of await User.find()) console.log(await user.decrypt())
})
