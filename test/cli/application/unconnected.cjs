const mongoose = require('mongoose')
const { kmsEncrypted } = require('mongoose-kms-encrypted')

const schema = new mongoose.Schema({}).plugin(kmsEncrypted, { keyId: process.env.KMS_KEY_ID, fields: ['email'] })
exports.User = mongoose.createConnection().model('User', schema)
