// Two keys on one schema: whoever may read the contact data need not be able to read the diagnosis.
//
//     npm run example two-keys
//
// KMS_KEY_ID and KMS_DIAGNOSIS_KEY_ID name two keys in AWS KMS. With only the first of them, both uses share it, and the
// encryption context alone tells them apart.
import { model, Schema } from 'mongoose'
import { kmsEncrypted, localKms } from 'mongoose-kms-encrypted'
import { logKeyOperations } from './audit'
import { keyId, provider, run } from './start'

const patientSchema = new Schema({ ward: Number })
  .plugin(kmsEncrypted, {
    keyId,
    provider,
    fields: { phone: { type: String, required: true } },
    context: () => ({ Purpose: 'contact' }),
  })
  .plugin(kmsEncrypted, {
    name: 'diagnosis',
    keyId: process.env.KMS_DIAGNOSIS_KEY_ID || keyId,
    provider: keyId ? provider : localKms({ secret: Buffer.alloc(32, 'another key') }),
    fields: { diagnosis: { type: String, required: true } },
    context: () => ({ Purpose: 'treatment' }),
  })
const Patient = model('Patient', patientSchema)

void run(async () => {
  logKeyOperations((line) => console.log(`  audit: ${line}`))

  console.log('\nA new patient gets two data keys:')
  await Patient.create({ ward: 3, phone: '+44 20 7946 0000', diagnosis: 'influenza' })

  console.log('\nEach is stored at a path of its own, under its KMS key:')
  const stored = await Patient.collection.findOne({ ward: 3 })
  for (const path of ['encrypted_kms_key', 'encrypted_kms_key_diagnosis']) console.log(path, stored?.[path][0].keyId)

  console.log('\nThe reception reads the phone number:')
  const patient = await Patient.findOne({ ward: 3 }).orFail()
  console.log(await patient.phone)

  console.log('\nThe doctor reads the diagnosis:')
  console.log(await patient.diagnosis)
})
