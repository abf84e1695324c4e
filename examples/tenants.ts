// A key for each tenant: the key, and a pair of the encryption context beside the record, are functions of the record.
// Without its key, all records of a tenant are unreadable, and those of nobody else.
//
//     npm run example tenants
//
// The keys are made and disabled here, so this runs on the KMS of the tests: the AWS SDK talks to it over the wire.
import { model, Schema } from 'mongoose'
import { awsKms, type KeyProviderError, kmsEncrypted } from 'mongoose-kms-encrypted'
import { startKms } from '../test/kms'
import { logKeyOperations } from './audit'
import { run } from './start'

void (async () => {
  const kms = await startKms()
  const keys = {
    acme: kms.createKey({ alias: 'alias/tenant-acme' }),
    globex: kms.createKey({ alias: 'alias/tenant-globex' }),
  }

  const userSchema = new Schema({ tenant: { type: String, required: true, immutable: true } }).plugin(kmsEncrypted, {
    provider: awsKms({ client: kms.client() }),
    keyId: (user) => `alias/tenant-${user.tenant}`,
    context: (user) => ({ Tenant: user.tenant }),
    fields: { email: { type: String, required: true } },
  })
  const User = model('User', userSchema)

  await run(async () => {
    logKeyOperations((line) => console.log(`  audit: ${line}`))

    console.log('\nTwo tenants each store a user:')
    await User.create({ tenant: 'acme', email: 'ada@acme.example' })
    await User.create({ tenant: 'globex', email: 'grace@globex.example' })

    console.log('\nAcme leaves, and its key is disabled:')
    kms.disableKey(keys.acme.arn)
    for (const user of await User.find()) {
      const email = await Promise.resolve(user.email).catch((error: KeyProviderError) => error.code)
      console.log(`${user.tenant}: ${email}`)
    }
  }, 'the KMS of the tests, on 127.0.0.1, with a key for each tenant').finally(() => kms.stop())
})()
