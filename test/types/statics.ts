// What models have: decrypt() of documents, lean objects, and arrays and cursors of either; and jobs over their records.
import { type HydratedDocument, model, Schema, type Types } from 'mongoose'
import {
  type JobOptions,
  type JobProgress,
  type JobResult,
  type KmsStatus,
  kmsEncrypted,
  type MigrationResult,
  type RecordKeyStatus,
  type RotateOptions,
  type VerifyFailure,
  type VerifyResult,
} from 'mongoose-kms-encrypted'
import { expectType } from './expect'

const User = model(
  'User',
  new Schema({ name: { type: String, required: true } }).plugin(kmsEncrypted, {
    fields: { email: { type: String, required: true }, dob: Date },
  }),
)
interface Plain {
  email: string
  dob?: Date | null
}

export async function documents() {
  expectType<string>()((await User.decrypt(await User.findOne().orFail())).email)
  const one: Plain = await User.decrypt(await User.findOne().orFail())
  const many: Plain[] = await User.decrypt(await User.find())
  // @ts-expect-error only encrypted fields are in it
  one.name
  // @ts-expect-error
  many[0]?.name
  await User.decrypt(new User({ name: 'Ada' }))
  await User.decrypt(await User.create({ name: 'Ada', email: 'a' }))
}

export async function leanObjects() {
  const one = await User.decrypt(await User.findOne().orFail().lean())
  expectType<string>()(one.name)
  expectType<string>()(one.email)
  expectType<Date | null | undefined>()(one.dob)
  expectType<Types.ObjectId>()(one._id)
  // @ts-expect-error
  one.save()

  for (const each of await User.decrypt(await User.find().lean())) {
    expectType<string>()(each.name)
    expectType<string>()(each.email)
  }
  const readOnly: readonly { name: string }[] = []
  expectType<string | undefined>()((await User.decrypt(readOnly))[0]?.name)
}

export async function settled() {
  for (const outcome of await User.decrypt(await User.find().lean(), { settled: true })) {
    // @ts-expect-error it may have failed
    outcome.value.email
    if (outcome.status === 'rejected') expectType<any>()(outcome.reason)
    else expectType<string>()(outcome.value.email)
  }
  // @ts-expect-error one record succeeds or fails
  await User.decrypt(await User.findOne().orFail(), { settled: true })
  // @ts-expect-error
  await User.decrypt(await User.find(), { settle: true })
}

export async function cursors() {
  for await (const user of User.decrypt(User.find().lean().cursor())) {
    expectType<string>()(user.name)
    expectType<string>()(user.email)
  }
  for await (const fields of User.decrypt(User.find().cursor())) {
    const plain: Plain = fields
    // @ts-expect-error only encrypted fields are in it
    plain.name
  }
  for await (const user of User.decrypt(User.find().lean())) expectType<string>()(user.email)
  for await (const user of User.decrypt(User.aggregate<{ name: string }>())) expectType<string>()(user.email)
  User.decrypt(User.aggregate().cursor()).next()
  User.decrypt(User.collection.find({})).next()
  for await (const outcome of User.decrypt(User.find().lean().cursor(), { settled: true }))
    if (outcome.status === 'fulfilled') expectType<string>()(outcome.value.email)
}

export async function otherIds() {
  const Account = model(
    'Account',
    new Schema({ _id: { type: String, required: true } }).plugin(kmsEncrypted, { fields: ['iban'] }),
  )
  const account = await Account.findById('a').orFail()
  expectType<string>()(account._id)
  expectType<{ iban?: string | null }>()(await Account.decrypt(account))
  const byHand = null! as HydratedDocument<{ _id: number }>
  expectType<{ iban?: string | null }>()(await Account.decrypt(byHand))
}

export async function jobs() {
  const options: JobOptions = {
    filter: { name: 'Ada', dob: { $ne: null } },
    concurrency: 8,
    batchSize: 50,
    signal: AbortSignal.timeout(1000),
    onProgress: async ({ processed, updated, unchanged, failed, checkpoint }) => {
      expectType<number>()(processed + updated + unchanged + failed)
      expectType<unknown>()(checkpoint)
    },
  }
  const result = await User.backfillBlindIndexes(options)
  expectType<JobResult>()(result)
  const progress: JobProgress = result
  expectType<boolean>()(result.interrupted)
  for (const { id, error } of result.failures) expectType<unknown[]>()([id, error])
  await User.backfillBlindIndexes({ resume: progress.checkpoint })
  await User.backfillBlindIndexes({ partition: { index: 0, of: 4 }, leaseMs: 5000 })
  await User.backfillBlindIndexes({ resume: true })
  const told = await User.verifyKms({
    dryRun: true,
    onBegin: ({ total, checkpoint }) => {
      expectType<number>()(total)
      expectType<unknown>()(checkpoint)
    },
    onFailure: ({ id, error }) => expectType<unknown[]>()([id, error]),
  })
  expectType<number | undefined>()(told.kmsCalls)
  await User.backfillBlindIndexes()
  // @ts-expect-error
  User.backfillBlindIndexes({ partition: { index: 0 } })
  const Renamed = model('Renamed', new Schema({}).plugin(kmsEncrypted, { fields: ['a'], methods: { decrypt: 'open' } }))
  expectType<JobResult>()(await Renamed.backfillBlindIndexes())
  expectType<JobResult>()(await User.discriminator('Admin', new Schema({ level: Number })).backfillBlindIndexes())
  const migrated = await User.migrateToKms({ ...options, dropIndexes: true })
  expectType<MigrationResult>()(migrated)
  expectType<readonly string[]>()(migrated.indexes)
  expectType<JobResult>()(await User.migrateFromKms(options))
  // @ts-expect-error
  User.migrateFromKms({ dropIndexes: true })
  const verified: VerifyResult = await Renamed.verifyKms(options)
  for (const { id, path, code, error } of verified.failures) {
    expectType<string>()(path)
    expectType<string | undefined>()(code)
    expectType<unknown[]>()([id, error])
  }
  expectType<readonly VerifyFailure[]>()(await (await Renamed.findOne().orFail()).verifyKms())
  expectType<readonly VerifyFailure[]>()(await (await User.findOne().orFail()).verifyKms())
  const { records, keys }: KmsStatus = await User.kmsStatus({ filter: { name: 'Ada' } })
  for (const { keyIds, versions, olderThanDays } of keys)
    expectType<(number | undefined)[]>()([records, keyIds[0]?.records, versions[0]?.version, olderThanDays[30]])
  for (const user of [await User.findOne().orFail(), await Renamed.findOne().orFail()]) {
    expectType<readonly RecordKeyStatus[]>()(await user.kmsStatus())
    expectType<void>()(await user.backfillBlindIndexes())
  }
  const rotation: RotateOptions = { ...options, olderThan: new Date() }
  expectType<JobResult>()(await User.rotateKmsKey(rotation))
  expectType<JobResult>()(await Renamed.rotateKmsKey())
  const Renewed = model(
    'Renewed',
    new Schema({}).plugin(kmsEncrypted, { fields: ['a'], methods: { rotateKmsKey: 'renew' } }),
  )
  expectType<JobResult>()(await Renewed.renew())
  // @ts-expect-error
  Renewed.rotateKmsKey
  // @ts-expect-error
  User.rotateKmsKey({ olderThan: 5 })
  // @ts-expect-error
  User.backfillBlindIndexes({ batchsize: 5 })
  // @ts-expect-error
  User.backfillBlindIndexes({ concurrency: '5' })
  // @ts-expect-error
  User.backfillBlindIndexes({ signal: new AbortController() })
}

export function refused() {
  // @ts-expect-error
  User.decrypt(null)
  // @ts-expect-error
  User.decrypt('65f0c0ffee65f0c0ffee65f0')
  // @ts-expect-error a query must be awaited
  User.decrypt()
}
