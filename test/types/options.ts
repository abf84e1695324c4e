// Options: contextual types of functions, and what does not compile.
import { model, Schema, type Types } from 'mongoose'
import {
  approximate,
  createIndexKey,
  type KeyProvider,
  type KmsEncryptedOptions,
  type KmsEncryptedPlugin,
  kmsEncrypted,
  localKms,
} from 'mongoose-kms-encrypted'
import { expectAssignable, expectType } from './expect'

const fields = { email: String }

export async function functionsGetTheRecord() {
  const schema = new Schema({ name: String, tenant: { type: String, required: true } }).plugin(kmsEncrypted, {
    keyId: (doc) => {
      expectType<string>()(doc.tenant)
      // @ts-expect-error
      doc.unknown
      return `alias/${doc.tenant}`
    },
    context: (doc) => {
      expectType<Types.ObjectId>()(doc._id)
      expectType<string | null | undefined>()(doc.name)
      return { Record: `User/${doc._id}`, Tenant: doc.tenant }
    },
    version: 2,
    previousVersions: {
      1: { keyId: (doc) => doc.tenant, context: (doc) => ({ Record: `users/${doc._id}` }) },
    },
    fields: {
      email: { type: String, required: true, lowercase: true, validate: (value: string) => value.includes('@') },
      dob: { type: Date, min: () => new Date(0), default: Date.now },
      phone: { type: String, required: [true, 'No phone'], match: [/^\d+$/, 'Only digits'] },
    },
  })
  const user = await model('User', schema).findOne().orFail()
  expectType<{ email: string; dob: Date; phone: string }>()(await user.decrypt())

  new Schema({ name: String }).plugin(kmsEncrypted, {
    context: (doc: { name?: string | null }) => ({ Record: `User/${doc.name}` }),
    fields,
  })
}

export async function indexedFieldsHaveTheirTypes() {
  const schema = new Schema({ name: String }).plugin(kmsEncrypted, {
    indexKey: process.env.INDEX_KEY,
    blindIndexes: { email_dob: { fields: ['email', 'dob'], unique: true, bits: 256 } },
    fields: {
      email: { type: String, required: true, unique: true },
      phone: { type: String, blindIndex: true },
      dob: { type: Date, blindIndex: { unique: false, normalize: (value: Date) => value } },
    },
  })
  const User = model('User', schema)
  const user = await User.findOne({ email: 'a', phone: { $in: ['1', null] }, dob: { $ne: new Date() } }).orFail()
  expectType<{ email: string; phone?: string | null; dob?: Date | null }>()(await user.decrypt())
  await User.updateOne({ email: 'a' }, { email: 'b' }, { upsert: true })
  await User.countDocuments({ phone: approximate('1'), dob: { $in: [approximate(new Date())] } })
  const key: string = await createIndexKey({ provider: localKms(), name: 'eu' })
  new Schema({ name: String }).plugin(kmsEncrypted, {
    indexKey: { 1: key, 2: key },
    fields: {
      phone: { type: String, blindIndex: { bits: 16, version: 2, previousVersions: { 1: { caseInsensitive: true } } } },
    },
  })
  return key
}

export function everyOption(provider: KeyProvider) {
  new Schema({}).plugin(kmsEncrypted, {
    provider: localKms({ secret: 'x'.repeat(32) }),
    fields,
    decrypt: 'onLoad',
    name: 'a',
    version: 1,
    keyPath: 'keys',
    cache: { maxAgeMs: 1, maxEntries: 1 },
    methods: { decrypt: 'open', rotateKmsKey: 'rotate' },
  })
  new Schema({}).plugin(kmsEncrypted, { fields, decrypt: 'onLoad', name: 'a', dataKey: 'owner' })
  new Schema({}).plugin(kmsEncrypted, { provider, keyId: 'alias/a', fields })
  const environment: { KMS_KEY_ID?: string } = {}
  new Schema({}).plugin(kmsEncrypted, { keyId: environment.KMS_KEY_ID, fields })
  const options: KmsEncryptedOptions = { fields: ['email'] }
  new Schema({ name: String }).plugin(kmsEncrypted, options)
}

/** Of what is refused, TypeScript 7 tells how it differs from this, the last that it tries: each option has to be in it. */
expectAssignable<KmsEncryptedOptions>(null! as Parameters<KmsEncryptedPlugin>[1])

export function refused() {
  const schema = new Schema({ name: String })
  // @ts-expect-error no options
  model('NoOptions', schema.plugin(kmsEncrypted))
  // @ts-expect-error no fields
  schema.plugin(kmsEncrypted, { keyId: 'k' })
  // @ts-expect-error unknown option
  schema.plugin(kmsEncrypted, { keyId: 'k', fields, field: ['email'] })
  // @ts-expect-error
  schema.plugin(kmsEncrypted, { keyId: 5, fields })
  // @ts-expect-error
  schema.plugin(kmsEncrypted, { keyId: () => 5, fields })
  // @ts-expect-error
  schema.plugin(kmsEncrypted, { fields, decrypt: 'sometimes' })
  // @ts-expect-error
  schema.plugin(kmsEncrypted, { fields, context: { Record: 'User' } })
  // @ts-expect-error
  schema.plugin(kmsEncrypted, { fields, context: () => ({ Record: 5 }) })
  // @ts-expect-error must be synchronous
  schema.plugin(kmsEncrypted, { fields, context: async () => ({ Record: 'User' }) })
  // @ts-expect-error
  schema.plugin(kmsEncrypted, { fields, context: (doc) => ({ Record: doc.unknown }) })
  // @ts-expect-error
  schema.plugin(kmsEncrypted, { fields, version: '1' })
  // @ts-expect-error it is stored at the field's own path
  schema.plugin(kmsEncrypted, { fields, ciphertextPath: (field: string) => field })
  // @ts-expect-error
  schema.plugin(kmsEncrypted, { fields, dataKey: 'parent' })
  schema.plugin(kmsEncrypted, {
    fields,
    migrating: true,
    from: ({ _ct }) => ({ email: String(_ct) }),
    fromPaths: ['_ct'],
  })
  // @ts-expect-error
  schema.plugin(kmsEncrypted, { fields, migrating: 'yes' })
  // @ts-expect-error
  schema.plugin(kmsEncrypted, { fields, methods: { encrypt: 'seal' } })
  // @ts-expect-error
  schema.plugin(kmsEncrypted, { fields, methods: { decrypt: () => 'open' } })
  // @ts-expect-error
  schema.plugin(kmsEncrypted, { fields, provider: localKms })
  // @ts-expect-error
  schema.plugin(kmsEncrypted, { fields: 'email' })
  // @ts-expect-error
  schema.plugin(kmsEncrypted, { fields: { email: 5 } })
  // @ts-expect-error
  schema.plugin(kmsEncrypted, { fields: [5] })
  // @ts-expect-error
  schema.plugin(kmsEncrypted, { fields, cache: { maxAgeMs: 1 } })
}
