// What is stored is no plain value: lean objects have envelopes.
import { type Model, model, type mongo, Schema, type Types } from 'mongoose'
import { kmsEncrypted } from 'mongoose-kms-encrypted'
import { expectAssignable, expectType } from './expect'

const schema = new Schema({ name: { type: String, required: true }, seen: { type: Map, of: Date } }).plugin(
  kmsEncrypted,
  {
    fields: { email: { type: String, required: true }, dob: Date },
  },
)
const User = model('User', schema)
type Stored = mongo.Binary | null | undefined

export async function lean() {
  const user = await User.findOne().orFail().lean()
  expectType<Stored>()(user.email)
  expectType<Stored>()(user.dob)
  expectType<string>()(user.name)
  expectType<Record<string, Date> | null | undefined>()(user.seen)
  expectType<Types.ObjectId>()(user._id)
  expectType<number>()(user.__v)
  // @ts-expect-error
  const email: string = user.email
  // @ts-expect-error
  user.decrypt()
  // @ts-expect-error
  user.save()
  // @ts-expect-error
  user.phone

  // @ts-expect-error it may not have been found
  ;(await User.findOne().lean()).email
  expectType<Stored>()((await User.findOne().lean())?.email)
  expectType<Stored>()((await User.findById('65f0c0ffee65f0c0ffee65f0').lean().orFail()).email)
  expectType<Stored>()((await User.find().lean())[0]?.email)
  expectType<Stored>()((await User.find().sort('name').lean({ versionKey: false }).limit(1))[0]?.email)
  expectType<Stored>()((await User.findOneAndUpdate({ name: 'Ada' }, { name: 'Eve' }).lean().orFail()).email)
  for await (const each of User.find().lean()) expectType<Stored>()(each.email)
  expectType<string | Promise<string>>()((await User.findOne().lean(false).orFail()).email)
  expectType<number>()(await User.countDocuments().lean())
  expectType<{ only: string }>()(await User.findOne().orFail().lean<{ only: string }>())

  // Asked for by an option it is Mongoose's type, which does not know what is stored; it gives no plain value either.
  const [byOption] = await User.find({}, null, { lean: true })
  // @ts-expect-error
  const plain: string | undefined = byOption?.email
  return [email, plain]
}

interface Declaring {
  name: string
  email: string
}

export async function interfaces() {
  const Explicit = model(
    'Explicit',
    new Schema<{ name: string }>({ name: String }).plugin(kmsEncrypted, { fields: ['email'] }),
  )
  expectType<Stored>()((await Explicit.findOne().orFail().lean()).email)
  const declaring = new Schema<Declaring>({ name: String }).plugin(kmsEncrypted, {
    fields: { email: { type: String, required: true } },
  })
  expectType<Stored>()((await model('Declaring', declaring).findOne().orFail().lean()).email)
}

// Where nothing is encrypted all is as it was.
export async function others(untyped: Model<any>, generic: Model<{ name: string; nested?: { at: Date } }>) {
  await untyped.findOne().lean()
  expectType<string | undefined>()((await generic.findOne().lean())?.name)
  expectAssignable<Date | undefined>((await generic.find().lean())[0]?.nested?.at)
  const Plain = model('Plain', new Schema({ name: { type: String, required: true }, tags: [String] }))
  const plain = await Plain.findOne().orFail().lean()
  expectType<string>()(plain.name)
  expectType<string[]>()(plain.tags)
  // @ts-expect-error
  plain.email
}
