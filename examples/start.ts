import mongoose from 'mongoose'
import { awsKms, localKms } from 'mongoose-kms-encrypted'
import { startMongo } from '../test/mongo'
import { databaseName } from '../test/mongo/run'

/** The key that examples use: that of `KMS_KEY_ID` in AWS KMS, or one in memory, which is not for production. */
export const keyId = process.env.KMS_KEY_ID || undefined
export const provider = keyId ? awsKms() : localKms()

const ownKey = keyId ? `${keyId} in AWS KMS` : 'localKms, in the memory of this process: not for production'

/**
 * Runs an example in a database of its own, which is dropped when it has ended, and says first what it runs on.
 *
 * @param key what the example takes for a KMS, where it is not that of {@link provider}
 */
export async function run(example: () => Promise<void>, key = ownKey): Promise<void> {
  const mongo = await startMongo()
  console.log(`Key: ${key}`)
  try {
    await mongoose.connect(mongo.uri, { dbName: databaseName('example'), serverSelectionTimeoutMS: 10_000 })
    await example().finally(() => mongoose.connection.dropDatabase())
  } finally {
    await mongoose.disconnect()
    await mongo.stop()
  }
}
