// Filters, sorts and updates. Mongoose's types take in filters any value that a field reads as or is created with, and any
// name to sort by: what cannot work is refused when the program runs.
import { model, Schema } from 'mongoose'
import { kmsEncrypted } from 'mongoose-kms-encrypted'

const User = model(
  'User',
  new Schema({ name: String }).plugin(kmsEncrypted, {
    fields: { email: { type: String, required: true }, dob: Date, tags: [String] },
  }),
)

export async function filtersThatWork() {
  await User.find({ email: null, dob: { $exists: true } })
  await User.find({ email: { $ne: null }, $or: [{ dob: null }, { tags: { $exists: false } }] })
  await User.countDocuments({ email: { $type: 'binData' } })
  await User.countDocuments({ email: { $in: [null] } })
  await User.find({ email: { $not: { $eq: null } } })
  await User.find().where('email').exists(true)
  await User.exists({ email: null })
}

export async function filtersRefusedWhenTheProgramRuns() {
  await User.find({ email: 'ada@example.org' })
  await User.find({ email: { $gt: 'a' }, $or: [{ dob: new Date() }, { tags: 'a' }] })
  await User.countDocuments({ email: { $type: 'string' } })
  await User.find().where('email').equals('ada@example.org')
  await User.find().sort({ email: 1 })
  await User.find().sort('email')
  await User.distinct('email')
}

export async function writesThatWork() {
  await User.updateOne({ name: 'Ada' }, { email: 'a' })
  await User.updateMany({ name: 'Ada' }, { $set: { email: 'a', tags: ['b'] }, $unset: { dob: 1 } })
  await User.updateMany({ email: null }, { $set: { dob: new Date() } })
  await User.findOneAndUpdate(
    { name: 'Ada' },
    { $set: { email: 'a' }, $setOnInsert: { dob: new Date() } },
    { upsert: true },
  )
  await User.findOneAndReplace({ name: 'Ada' }, { name: 'Eve', email: 'a' })
  await User.replaceOne({ name: 'Ada' }, { name: 'Eve', email: 'a' })
  await User.bulkWrite([
    { insertOne: { document: { name: 'Ada', email: 'a' } } },
    { updateOne: { filter: { name: 'Ada' }, update: { $set: { email: 'a' } } } },
    { updateMany: { filter: { email: null }, update: { $set: { email: 'a' } } } },
    { replaceOne: { filter: { name: 'Ada' }, replacement: { name: 'Eve', email: 'a' } } },
  ])
}
