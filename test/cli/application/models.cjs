const mongoose = require('mongoose')
const { kmsEncrypted } = require('mongoose-kms-encrypted')

const indexKey = process.env.INDEX_KEY
const userSchema = new mongoose.Schema({ name: { type: String, index: true }, at: Date }, { timestamps: true })
userSchema.plugin(kmsEncrypted, {
  keyId: process.env.KMS_KEY_ID,
  fields: { email: indexKey ? { type: String, blindIndex: true } : String, dob: Date },
  ...(indexKey && { indexKey }),
  migrating: process.env.MIGRATING === 'true',
})
mongoose.model('User', userSchema)

const noteSchema = new mongoose.Schema({ title: String }, { autoIndex: true })
noteSchema.plugin(kmsEncrypted, {
  keyId: process.env.KMS_KEY_ID,
  fields: ['text'],
  indexKeys: true,
  requireActor: process.env.REQUIRE_ACTOR === 'true',
  methods: { rotateKmsKey: 'rotate', decrypt: 'open' },
})
const Note = mongoose.model('Note', noteSchema)
Note.discriminator('Memo', new mongoose.Schema({ to: String }))

mongoose.model('Setting', new mongoose.Schema({ key: { type: String, unique: true } }))
