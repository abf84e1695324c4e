// Stores two users, shows what MongoDB has of them, and reads them back.
//
//     npm run quickstart
//
// `npm run quickstart -- --help` lists the variables that it looks at.
import { parseArgs } from 'node:util'
import { model, Schema } from 'mongoose'
import { channels, kmsEncrypted } from 'mongoose-kms-encrypted'
import { logKeyOperations } from './audit'
import { keyId, provider, run } from './start'

const help = `npm run quickstart

Stores two users with encrypted fields, shows what MongoDB has of them, and reads them back.

  MONGODB_URI   a MongoDB server of your own, in which a database is made and dropped.
                Default: one is started for the time of this program.
  KMS_KEY_ID    a key in AWS KMS: key id, ARN or alias. Default: a key in memory, which needs no AWS.
  AWS_REGION, AWS_PROFILE, AWS_ACCESS_KEY_ID, …
                with KMS_KEY_ID: region and credentials, as the AWS SDK finds them.`

/** US dollars for a request of a symmetric key, as in most regions. The key itself costs 1 a month. */
const dollarsPerRequest = 0.03 / 10_000

const userSchema = new Schema({ name: String }).plugin(kmsEncrypted, {
  keyId,
  provider,
  fields: { email: { type: String, required: true, lowercase: true }, dob: Date },
})
const User = model('User', userSchema)

async function quickstart(): Promise<void> {
  let requests = 0
  for (const { start } of Object.values(channels)) start.subscribe(() => requests++)
  logKeyOperations((line) => console.log(`  audit: ${line}`))

  console.log('\nTwo users are created, each with a data key of her own, by one call to KMS:')
  await User.create({ name: 'Ada', email: 'Ada@Example.org', dob: new Date('1815-12-10') })
  await User.create({ name: 'Grace', email: 'grace@example.org' })

  console.log("\nAda's document as MongoDB has it. Both fields are ciphertext, and the wrapped key is beside them:")
  console.log(await User.collection.findOne({ name: 'Ada' }))

  console.log('\nAda is found. Nothing is decrypted yet, and KMS was not asked:')
  const ada = await User.findOne({ name: 'Ada' }).orFail()
  console.log(ada)

  console.log(
    '\nHer e-mail address is read, by one call to KMS that names her record, then her date of birth, by none:',
  )
  console.log(await ada.email)
  console.log(await ada.dob)

  console.log('\nThe address is changed and saved under the same key, by no call:')
  ada.email = 'countess@example.org'
  await ada.save()

  console.log('\nBoth users are read, each by a call of her own:')
  for (const user of await User.find()) console.log(await user.decrypt())

  const dollars = (requests * dollarsPerRequest).toFixed(6)
  console.log(`\n${requests} calls to KMS, which on AWS cost ${dollars} US dollars, beside 1 a month for the key.`)
}

const { values } = parseArgs({ options: { help: { type: 'boolean', short: 'h' } } })
if (values.help) console.log(help)
else void run(quickstart)
