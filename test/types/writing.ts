// What can be written with encrypted fields, and what comes back.
import { type HydratedDocumentFromSchema, model, Schema } from 'mongoose'
import { kmsEncrypted, OperationError } from 'mongoose-kms-encrypted'
import { expectAssignable, expectType } from './expect'

const userSchema = new Schema({ name: String, visits: { type: Number, default: 0 } }).plugin(kmsEncrypted, {
  keyId: 'k',
  fields: { email: { type: String, required: true }, dob: Date, scores: { type: Map, of: Number } },
})
const User = model('User', userSchema)
type UserDocument = HydratedDocumentFromSchema<typeof userSchema>

export async function create() {
  const one = await User.create({ name: 'Ada', email: 'ada@example.org', dob: new Date(), scores: { a: 1 } })
  expectType<string | Promise<string>>()(one.email)
  expectType<string | null | undefined>()(one.name)
  expectType<number>()(one.visits)
  expectType<string>()((await one.decrypt()).email)
  expectAssignable<UserDocument>(one)
  await one.save()

  const array = await User.create([{ name: 'Ada', email: 'a' }, { name: 'Eve' }])
  expectType<string | Promise<string> | undefined>()(array[0]?.email)
  expectAssignable<UserDocument[]>(array)

  const [first] = await User.create({ email: 'a' }, { email: 'b' })
  expectType<string | Promise<string> | undefined>()(first?.email)

  const ordered = await User.create([{ name: 'Ada', email: 'a' }], { ordered: true })
  expectAssignable<UserDocument[]>(ordered)

  const mixed = await User.create([{ name: 'Ada', email: 'a' }], { aggregateErrors: true })
  for (const each of mixed) if (!(each instanceof Error)) expectType<string | Promise<string>>()(each.email)

  // Without encrypted fields it is as before.
  expectAssignable<UserDocument>(await User.create({ name: 'Ada' }))

  const inserted = await User.insertOne({ name: 'Ada', email: 'a' })
  expectAssignable<UserDocument>(inserted)
}

export async function insertMany() {
  const many = await User.insertMany([
    { name: 'Ada', email: 'a' },
    { name: 'Eve', email: 'b', dob: new Date() },
  ])
  for (const user of many) {
    expectType<string>()(await user.email)
    expectType<string>()((await user.decrypt()).email)
    await user.save()
  }
  const [one] = await User.insertMany({ name: 'Ada', email: 'a' })
  expectType<string | undefined>()((await one?.decrypt())?.email)
  await User.insertMany([{ name: 'Ada', email: 'a' }], { lean: true })
  await User.insertMany([{ name: 'Ada', email: 'a' }], { ordered: false })
  await User.insertMany([{ name: 'Ada', email: 'a' }], { ordered: false, rawResult: true })
  await User.insertMany([new User({ name: 'Ada', email: 'a' })])
}

export async function construct() {
  const user = new User({ name: 'Ada', email: 'ada@example.org' })
  expectType<string | Promise<string>>()(user.email)
  expectAssignable<UserDocument>(user)
  user.email = 'other'
  user.set('email', 'other')
  user.set({ email: 'other' })
  user.isModified('email')
  user.markModified('email')
  user.get('email')
  await User.bulkSave([user])

  const hydrated = User.hydrate({ _id: user._id, name: 'Ada' })
  expectType<string | Promise<string>>()(hydrated.email)
}

export async function updateMany() {
  try {
    await User.updateMany({}, { email: 'a' })
  } catch (error) {
    if (!(error instanceof OperationError && error.code === 'UPDATE_INCOMPLETE')) throw error
    expectType<number | undefined>()(error.matchedCount)
    expectType<number | undefined>()(error.modifiedCount)
    for (const { _id, error: cause } of error.failures ?? []) console.log(_id, cause)
  }
}
