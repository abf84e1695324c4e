// Values on load: find opens the records first, and then their fields are plain values, without `await`.
//
//     npm run example on-load
import { model, Schema } from 'mongoose'
import { kmsEncrypted } from 'mongoose-kms-encrypted'
import { logKeyOperations } from './audit'
import { keyId, provider, run } from './start'

const patientSchema = new Schema({ ward: Number }).plugin(kmsEncrypted, {
  keyId,
  provider,
  decrypt: 'onLoad',
  fields: { name: { type: String, required: true }, allergies: [String] },
})
const Patient = model('Patient', patientSchema)

void run(async () => {
  await Patient.create([
    { ward: 3, name: 'Ada', allergies: ['penicillin'] },
    { ward: 3, name: 'Grace', allergies: [] },
    { ward: 4, name: 'Mary', allergies: ['latex', 'nuts'] },
  ])
  logKeyOperations((line) => console.log(`  audit: ${line}`))

  console.log('\nA find opens each record that it loads, two of three:')
  const patients = await Patient.find({ ward: 3 })
  for (const { name, allergies } of patients) console.log(`${name}: ${allergies.join(', ') || 'no allergies'}`)

  console.log('\nRecords loaded without their encrypted fields are not opened:')
  console.log(await Patient.find({ ward: 3 }).select('ward'))
})
