// Encrypted subdocuments, in documents whose schema knows nothing of encryption and in encrypted ones.
import { model, type mongo, Schema, type Types } from 'mongoose'
import { kmsEncrypted } from 'mongoose-kms-encrypted'
import { expectType } from './expect'

const noteSchema = new Schema({ at: { type: Date, required: true } }).plugin(kmsEncrypted, {
  dataKey: 'owner',
  fields: { text: { type: String, required: true }, score: Number },
})
interface Plain {
  text: string
  score?: number | null
}

const patientSchema = new Schema({
  name: String,
  notes: [noteSchema],
  history: { type: [noteSchema], default: [] },
  last: noteSchema,
  first: { type: noteSchema, required: true },
  byYear: { type: Map, of: noteSchema, required: true },
  ward: { number: Number, remarks: [noteSchema] },
})
const Patient = model('Patient', patientSchema)
const EncryptedPatient = model(
  'EncryptedPatient',
  patientSchema.plugin(kmsEncrypted, { fields: { ssn: { type: String, required: true } } }),
)
type Stored = mongo.Binary | null | undefined

export async function elementsOfArrays() {
  const patient = await Patient.findOne().orFail()
  const note = patient.notes[0]
  if (!note) return
  expectType<string | Promise<string>>()(note.text)
  expectType<number | null | undefined>()(await note.score)
  expectType<Date>()(note.at)
  const opened: Plain = await note.decrypt()
  expectType<string>()(opened.text)
  // @ts-expect-error only encrypted fields are in it
  opened.at
  await note.rotateKmsKey()
  note.text = 'x'
  // @ts-expect-error
  note.text = 5
  // @ts-expect-error
  note.tekst

  for (const each of patient.notes) expectType<string>()((await each.decrypt()).text)
  expectType<(string | Promise<string>)[]>()(patient.history.map((each) => each.text))
  expectType<string | undefined>()(await patient.notes.id('65f0c0ffee65f0c0ffee65f0')?.text)
  expectType<string | undefined>()((await patient.ward?.remarks[0]?.decrypt())?.text)
  patient.notes.push({ at: new Date(), text: 'x' })
}

// Mongoose's type of a single nested subdocument is that of the plain object that can be assigned to it.
export async function singleNestedAndMaps() {
  const patient = await Patient.findOne().orFail()
  expectType<string | Promise<string>>()(patient.first.text)
  expectType<string>()(await patient.first.text)
  expectType<string | undefined>()(await patient.last?.text)
  expectType<string | Promise<string> | undefined>()(patient.byYear.get('2026')?.text)

  const opened: Plain | undefined = await patient.first.decrypt?.()
  const ofMap: Plain | undefined = await patient.byYear.get('2026')?.decrypt?.()
  await patient.last?.rotateKmsKey?.()

  patient.first.text = 'x'
  patient.first = { at: new Date(), text: 'x' }
  // @ts-expect-error
  patient.first = { at: new Date(), text: 5 }
  // @ts-expect-error
  patient.first = { at: new Date() }
  patient.byYear.set('2026', { at: new Date(), text: 'x' })
  return [opened, ofMap]
}

export async function inAnEncryptedDocument() {
  const patient = await EncryptedPatient.findOne().orFail()
  expectType<string | Promise<string>>()(patient.ssn)
  expectType<string | undefined>()(await patient.notes[0]?.text)
  expectType<string>()(await patient.first.text)
  const opened: { ssn: string } = await patient.decrypt()
  // @ts-expect-error of the document's own fields
  opened.text
  const ofNote: Plain | undefined = await patient.notes[0]?.decrypt()
  return ofNote
}

export async function create() {
  const first = { at: new Date(), text: 'x' }
  const patient = await Patient.create({ name: 'Ada', notes: [first, { text: 'y', at: new Date() }], first })
  expectType<string | undefined>()(await patient.notes[0]?.text)
  await EncryptedPatient.create({ name: 'Ada', ssn: '1', notes: [first], first, last: first })
  await EncryptedPatient.insertMany([{ name: 'Ada', ssn: '1', notes: [first], first }])
  new EncryptedPatient({ name: 'Ada', ssn: '1', notes: [first], first })
  await Patient.updateOne({ name: 'Ada' }, { $push: { notes: first }, $set: { 'first.text': 'y' } })
}

export async function leanObjects() {
  const lean = await Patient.findOne().orFail().lean()
  expectType<Stored>()(lean.notes[0]?.text)
  expectType<Stored>()(lean.history[0]?.text)
  expectType<Stored>()(lean.first.text)
  expectType<Stored>()(lean.last?.score)
  expectType<Stored>()(lean.byYear['2026']?.text)
  expectType<Stored>()(lean.ward?.remarks[0]?.text)
  expectType<Date>()(lean.first.at)
  expectType<string | null | undefined>()(lean.name)
  expectType<Types.ObjectId>()(lean._id)
  // @ts-expect-error
  lean.first.decrypt()

  const encrypted = await EncryptedPatient.find().lean()
  expectType<Stored>()(encrypted[0]?.ssn)
  expectType<Stored>()(encrypted[0]?.notes[0]?.text)
}

export async function withTheirOwnKeys() {
  const address = new Schema({ city: String }).plugin(kmsEncrypted, {
    keyId: 'k',
    decrypt: 'onLoad',
    fields: ['street'],
  })
  const Person = model('Person', new Schema({ homes: [address], work: address }))
  const person = await Person.findOne().orFail()
  expectType<string | null | undefined>()(person.homes[0]?.street)
  expectType<string | null | undefined>()(person.work?.street)
  expectType<string | null | undefined>()((await person.homes[0]?.decrypt())?.street)
}
