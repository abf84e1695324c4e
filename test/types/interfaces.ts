// Explicit document interfaces, as in applications older than the plugin.
import { type HydratedDocument, type Model, model, Schema } from 'mongoose'
import { type Encrypted, kmsEncrypted } from 'mongoose-kms-encrypted'
import { expectType } from './expect'

interface Person {
  name: string
}

const schema = new Schema<Person>({ name: { type: String, required: true } }).plugin(kmsEncrypted, {
  keyId: 'k',
  fields: { email: { type: String, required: true }, dob: Date },
  context: (doc) => ({ Record: `Person/${doc._id}`, name: doc.name }),
})
const PersonModel = model('Person', schema)

export async function inferred() {
  const person = await PersonModel.findOne({ name: 'Ada' }).orFail()
  expectType<string>()(person.name)
  expectType<string | Promise<string>>()(person.email)
  expectType<{ email: string; dob?: Date | null }>()(await person.decrypt())
  // @ts-expect-error
  person.phone

  expectType<string | Promise<string>>()((await PersonModel.create({ name: 'Ada', email: 'a' })).email)
  expectType<string | Promise<string>>()(new PersonModel({ name: 'Ada', email: 'a' }).email)
  const [inserted] = await PersonModel.insertMany([{ name: 'Ada', email: 'a' }])
  expectType<string | undefined>()(await inserted?.email)
  const lean = await PersonModel.decrypt(await PersonModel.findOne().orFail().lean())
  expectType<string>()(lean.name)
  expectType<string>()(lean.email)
}

interface Declaring {
  name: string
  email: string
  dob?: Date
}

// The interface has the fields already. The plugin's types win, but where the interface is given to `model()`, too.
export async function interfaceThatDeclaresTheFields() {
  const declaring = new Schema<Declaring>({ name: { type: String, required: true } }).plugin(kmsEncrypted, {
    fields: { email: { type: String, required: true }, dob: Date },
  })
  const DeclaringModel = model('Declaring', declaring)
  const found = await DeclaringModel.findOne().orFail()
  expectType<string | Promise<string>>()(found.email)
  expectType<string>()(await found.email)
  expectType<Date | null | undefined>()(await found.dob)
  expectType<string>()((await found.decrypt()).email)
  found.email = 'x'
  await found.save()

  await DeclaringModel.create({ name: 'Ada', email: 'a' })
  await DeclaringModel.insertMany([{ name: 'Ada', email: 'a' }])
  new DeclaringModel({ name: 'Ada', email: 'a' })

  const byInterface = model<Declaring>('ByInterface', declaring)
  expectType<string>()((await byInterface.findOne().orFail()).email)
}

interface PersonMethods {
  greet(): string
}
const fields = { email: { type: String, required: true } } as const
type PersonModelType = Model<Person, object, PersonMethods & Encrypted<typeof fields>>

export async function typesWrittenByHand() {
  const byHand = new Schema<Person, PersonModelType, PersonMethods>({ name: String }).plugin(kmsEncrypted, { fields })
  byHand.method('greet', function () {
    return this.name
  })
  const ByHand = model<Person, PersonModelType>('ByHand', byHand)
  const person = await ByHand.findOne().orFail()
  expectType<string | Promise<string>>()(person.email)
  expectType<string>()(person.greet())

  const inferredModel = model('InferredModel', byHand)
  const found = await inferredModel.findOne().orFail()
  expectType<string>()(found.greet())
  expectType<string>()(await found.email)

  const parameter = (doc: HydratedDocument<Person, Encrypted<typeof fields>>) => doc.email
  parameter(person)
}
