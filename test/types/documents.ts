// What a document has: fields under 'onAccess' and 'onLoad', and decrypt().
import {
  type HydratedDocument,
  type HydratedDocumentFromSchema,
  type InferSchemaType,
  model,
  Schema,
  type Types,
} from 'mongoose'
import { type Encrypted, kmsEncrypted } from 'mongoose-kms-encrypted'
import { expectAssignable, expectType } from './expect'

const userSchema = new Schema({ name: String }).plugin(kmsEncrypted, {
  keyId: 'k',
  fields: { email: { type: String, required: true, lowercase: true }, dob: Date, tags: [String] },
})
const User = model('User', userSchema)

export async function onAccess() {
  const user = await User.findOne({ name: 'Ada' }).orFail()
  expectType<string | Promise<string>>()(user.email)
  expectType<Date | null | undefined | Promise<Date | null | undefined>>()(user.dob)
  expectType<string[] | Promise<string[]>>()(user.tags)
  expectType<string>()(await user.email)
  expectType<string | null | undefined>()(user.name)
  expectType<Types.ObjectId>()(user._id)
  const id: string = user.id
  expectType<number>()(user.__v)
  console.log(id)

  user.email = 'new@example.org'
  user.dob = null
  user.dob = undefined
  user.tags = ['a']
  // @ts-expect-error
  user.email = 5
  // @ts-expect-error
  user.email = null
  // @ts-expect-error
  user.tags = 'a'
  // @ts-expect-error
  user.phone
  // @ts-expect-error it may be locked
  user.email.toUpperCase()

  const { email, dob, tags } = await user.decrypt()
  expectType<string>()(email)
  expectType<Date | null | undefined>()(dob)
  expectType<string[]>()(tags)
  // @ts-expect-error only encrypted fields are in it
  ;(await user.decrypt()).name

  const saved = await user.save()
  expectType<string | Promise<string>>()(saved.email)
  // @ts-expect-error toObject() leaves encrypted fields out, with virtuals too; its type has them, but no plain values
  const left: string = user.toObject({ virtuals: true }).email
  return left
}

export async function copies() {
  const schema = new Schema({ name: String }).plugin(kmsEncrypted, {
    fields: { visits: [{ at: Date }], home: { city: String, seen: [{ at: Date }] } },
  })
  const Model = model('Copies', schema)
  const user = await Model.findOne().orFail()
  ;(await user.visits).id('1')
  const opened = [
    await user.decrypt(),
    await Model.decrypt(user),
    await Model.decrypt(await Model.findOne().orFail().lean()),
  ]
  for (const { visits, home } of opened) {
    expectType<Date | null | undefined>()(visits[0]?.at)
    expectType<Types.ObjectId | undefined>()(visits[0]?._id)
    expectType<Date | null | undefined>()(home?.seen[0]?.at)
    expectType<string | null | undefined>()(home?.city)
    // @ts-expect-error it is an array of objects, as decrypt() copies them
    visits.id('1')
    // @ts-expect-error
    home?.seen[0]?.toObject()
  }
}

/** Of aggregations, of which nothing is known. */
export async function untyped() {
  const [first] = await User.decrypt(await User.aggregate([]))
  expectType<string | undefined>()(first?.email)
  expectType<any>()(first?.total)
}

export async function shown() {
  const user = await User.findOne().orFail()
  user.toJSON({ decrypted: true })
  user.toObject({ decrypted: true, virtuals: true })
  // @ts-expect-error
  user.toJSON({ decrypted: 'yes' })
}

export async function queries() {
  for await (const user of User.find()) expectType<string | Promise<string>>()(user.email)
  for (const user of await User.find({ name: 'Ada' }).sort('name').limit(2)) {
    expectType<string | Promise<string>>()(user.email)
  }
  const found = await User.findById('65f0c0ffee65f0c0ffee65f0')
  expectType<string | Promise<string> | undefined>()(found?.email)
  const updated = await User.findOneAndUpdate({ name: 'Ada' }, { $set: { name: 'Eve' } }, { new: true }).orFail()
  expectType<string | Promise<string>>()(updated.email)
}

export async function onLoad() {
  const schema = new Schema({ name: String }).plugin(kmsEncrypted, {
    decrypt: 'onLoad',
    fields: { email: { type: String, required: true }, dob: Date },
  })
  const user = await model('OnLoad', schema).findOne().orFail()
  expectType<string>()(user.email)
  expectType<Date | null | undefined>()(user.dob)
  expectType<{ email: string; dob?: Date | null }>()(await user.decrypt())
  user.email = 'x'
  // @ts-expect-error
  user.email = 5
}

export async function names() {
  const schema = new Schema({ name: String }).plugin(kmsEncrypted, { fields: ['email', 'phone'] })
  const user = await model('Names', schema).findOne().orFail()
  type Optional = string | null | undefined
  expectType<Optional | Promise<Optional>>()(user.email)
  expectType<Optional>()(await user.phone)
  expectType<{ email?: string | null; phone?: string | null }>()(await user.decrypt())
  // @ts-expect-error
  user.mail

  const constant = ['email', 'phone'] as const
  const other = await model('Constant', new Schema({}).plugin(kmsEncrypted, { fields: constant }))
    .findOne()
    .orFail()
  expectType<{ email?: string | null; phone?: string | null }>()(await other.decrypt())

  // Names that are only known when the program runs give no types, and do not get in the way.
  const computed = await model(
    'Computed',
    new Schema({ name: String }).plugin(kmsEncrypted, { fields: constant.map(String) }),
  )
    .findOne()
    .orFail()
  expectType<string | null | undefined>()(computed.name)
  // @ts-expect-error
  computed.email
}

export async function everyType() {
  const definition = {
    number: { type: Number, required: true },
    boolean: { type: Boolean, default: false },
    role: { type: String, enum: ['admin', 'user'] as const, required: true },
    decimal: Schema.Types.Decimal128,
    big: { type: BigInt, required: true },
    bytes: { type: Buffer, required: true },
    friend: { type: Schema.Types.ObjectId, required: true },
    uuid: { type: Schema.Types.UUID, required: true },
    anything: Schema.Types.Mixed,
    scores: { type: Map, of: Number, required: true },
    address: { street: String, zip: { type: String, required: true } },
    numbers: [Number],
    visits: [{ at: { type: Date, required: true } }],
    match: {
      type: String,
      match: /x/,
      validate: (value: string) => value.length > 1,
      set: (value: string) => value.trim(),
    },
  } as const
  const plain = new Schema(definition)
  const schema = new Schema({ name: String }).plugin(kmsEncrypted, { fields: definition })
  const user = await model('Every', schema).findOne().orFail()
  const opened = await user.decrypt()

  expectType<'admin' | 'user'>()(opened.role)
  expectType<number[]>()(opened.numbers)
  expectType<Date | undefined>()(opened.visits[0]?.at)
  expectType<string | null | undefined>()(opened.address?.street)
  expectType<string | undefined>()(opened.address?.zip)
  expectType<bigint>()(opened.big)
  expectType<any>()(opened.anything)

  // As Mongoose itself infers the same definition, but for arrays made read-only by `as const`.
  type Ordinary = InferSchemaType<typeof plain>
  type Read = 'numbers' | 'visits'
  expectAssignable<Omit<Ordinary, Read>>(opened)
  expectAssignable<Omit<typeof opened, Read>>(null! as Ordinary)
}

export function derivedTypes() {
  const byHelper = null! as HydratedDocumentFromSchema<typeof userSchema>
  expectType<string | Promise<string>>()(byHelper.email)
  expectType<Promise<{ email: string; dob?: Date | null; tags: string[] }>>()(byHelper.decrypt())

  // The schema's type is what a document is made of, and what it reads as.
  const given: InferSchemaType<typeof userSchema> = { name: 'Ada', email: 'ada@example.org', tags: [] }
  // @ts-expect-error
  const wrong: InferSchemaType<typeof userSchema> = { name: 'Ada', email: 5, tags: [] }
  const byType = null! as HydratedDocument<InferSchemaType<typeof userSchema>>
  expectType<string | null | undefined>()(byType.name)
  expectType<string | Promise<string>>()(byType.email)

  const fields = { email: { type: String, required: true }, tags: [String] } as const
  const byHand = null! as HydratedDocument<{ name: string }, Encrypted<typeof fields>>
  expectType<string | Promise<string>>()(byHand.email)
  expectType<string[] | Promise<string[]>>()(byHand.tags)
  expectType<Promise<{ email: string; tags: string[] }>>()(byHand.decrypt())
  expectType<string>()((null! as Encrypted<typeof fields, 'onLoad'>).email)
  const renamed = null! as HydratedDocument<{ name: string }, Encrypted<typeof fields, 'onAccess', { decrypt: 'open' }>>
  expectType<Promise<{ email: string; tags: string[] }>>()(renamed.open())
  expectType<Promise<void>>()(renamed.rotateKmsKey())
  return [given, wrong]
}
