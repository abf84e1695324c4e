// One data key for a patient and all notes: `dataKey: 'owner'` on the schema of the notes.
//
//     npm run example notes
//
// Without it every note would have a data key of its own, and each would take a call to the KMS.
import { model, Schema } from 'mongoose'
import { kmsEncrypted } from 'mongoose-kms-encrypted'
import { logKeyOperations } from './audit'
import { keyId, provider, run } from './start'

const noteSchema = new Schema({ at: { type: Date, default: Date.now } }).plugin(kmsEncrypted, {
  dataKey: 'owner',
  fields: { text: { type: String, required: true } },
})
const patientSchema = new Schema({ ward: Number, notes: [noteSchema] }).plugin(kmsEncrypted, {
  keyId,
  provider,
  fields: { name: { type: String, required: true } },
})
const Patient = model('Patient', patientSchema)

void run(async () => {
  logKeyOperations((line) => console.log(`  audit: ${line}`))

  console.log('\nA patient with two notes gets one data key:')
  await Patient.create({ ward: 3, name: 'Ada', notes: [{ text: 'Admitted.' }, { text: 'Fever is down.' }] })

  console.log('\nA note as MongoDB has it:')
  const stored = await Patient.collection.findOne({ ward: 3 })
  console.log(stored?.notes[0])

  console.log('\nThe patient is found, and name and notes are read. That is one call:')
  const patient = await Patient.findOne({ ward: 3 }).orFail()
  console.log(await patient.name)
  for (const note of patient.notes) console.log(await note.text)

  console.log('\nAnother note is encrypted under the key that is open:')
  patient.notes.push({ text: 'Discharged.' })
  await patient.save()

  console.log('\nThe data key is replaced, and name and notes are encrypted anew:')
  await patient.rotateKmsKey()
  console.log(`wrapped keys: ${(await Patient.collection.findOne({ ward: 3 }))?.encrypted_kms_key.length}`)
})
