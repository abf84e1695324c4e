const assert = require('node:assert/strict')

/** Encrypts, reads, and is refused: what a package manager, a loader or a bundler may break. */
module.exports = async function use(mongoose, library) {
  const { auditLog, awsKms, KmsEncryptedError, kmsEncrypted, withAudit } = library
  const lines = []
  const log = auditLog({ write: (line) => lines.push(line) })
  const options = { provider: awsKms({ actorInUserAgent: true }), fields: ['email'] }
  const modelOf = (name, keyId) =>
    mongoose.model(name, new mongoose.Schema({}).plugin(kmsEncrypted, { ...options, keyId }))
  const User = modelOf('User', process.env.KMS_KEY_ID)
  const Lost = modelOf('Lost', 'alias/nobody')
  const refuses = (name, code) => (error) => {
    assert.deepEqual([error.name, error.code, error instanceof KmsEncryptedError], [name, code, true])
    assert(error instanceof library[name])
    return true
  }

  await mongoose.connect(process.env.MONGODB_URI)
  try {
    const { _id } = await User.create({ email: 'ada@example.org' })
    const users = mongoose.connection.db.collection('users')
    const stored = await users.findOne({ _id })
    assert.equal(stored.email._bsontype, 'Binary')
    assert(!stored.email.toString('latin1').includes('ada@'))

    const user = await User.findById(_id)
    assert.equal(await withAudit({ actor: 'grace' }, () => user.email), 'ada@example.org')
    for await (const { email } of User.decrypt(User.find({ _id }).cursor())) assert.equal(email, 'ada@example.org')

    const keyless = () => modelOf('Keyless', undefined)
    assert.throws(keyless, refuses('ConfigurationError', 'KEY_ID_INVALID'))
    await assert.rejects(User.findOne({ email: 'ada@example.org' }).exec(), refuses('OperationError', 'QUERY_REFUSED'))
    await users.updateOne({ _id }, { $set: { email: 'ada@example.org' } })
    const planted = await User.findById(_id)
    await assert.rejects(planted.decrypt(), refuses('DecryptionError', 'PLAINTEXT_FOUND'))
    await assert.rejects(Lost.create({ email: 'ada@example.org' }), refuses('KeyProviderError', 'KMS_KEY_NOT_FOUND'))

    await log.close()
    assert.deepEqual(
      lines.map(({ operation, actor, outcome }) => [operation, actor, outcome]),
      [
        ['generate', undefined, 'ok'],
        ['unwrap', 'grace', 'ok'],
        ['unwrap', undefined, 'ok'],
        ['generate', undefined, 'KMS_KEY_NOT_FOUND'],
      ],
    )
    assert(lines.every(({ requestId }) => requestId))
  } finally {
    await mongoose.connection.dropDatabase()
    await mongoose.disconnect()
  }
}
