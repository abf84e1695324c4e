/**
 * Rotates the data keys of the model below, and goes on where an earlier one was killed: a program of its own, to be killed. Its argument
 * names the database; `TEST_MONGO_URI`, KMS_KEY_ID and MONGOOSE are as for the test that starts it.
 */
import { setTimeout as wait } from 'node:timers/promises'
import type { Connection } from 'mongoose'
import { kmsEncrypted } from '../../lib'
import { mongooseName } from '../mongooseName'

export const concurrency = 4
const leaseMs = 400

/** The model as of one version of its keys. */
export function rotatedModel(
  { Schema }: typeof import('mongoose'),
  connection: Connection,
  version: number,
  options = {},
) {
  const schema = new Schema<any>({ name: String }, { autoIndex: false, autoCreate: false })
  schema.plugin(kmsEncrypted as any, {
    keyId: process.env.KMS_KEY_ID,
    fields: { email: String, note: String },
    version,
    previousVersions: version === 1 ? {} : { 1: {} },
    ...options,
  })
  return connection.model<any>('Rotated', schema) as any
}

async function main(): Promise<void> {
  const mongoose = require(mongooseName) as typeof import('mongoose')
  const connection = mongoose.createConnection(process.env.TEST_MONGO_URI as string, {
    dbName: process.argv[2] as string,
  })
  const Rotated = rotatedModel(mongoose, connection, 2)
  const rotate = () => Rotated.rotateKmsKey({ resume: true, concurrency, batchSize: 25, leaseMs })
  const isRunning = ({ code }: { code?: string }) => code === 'JOB_RUNNING'
  let result = await rotate().catch((error: Error) => error)
  while (isRunning(result)) {
    // The lease of the one that was killed has not ended.
    await wait(leaseMs / 10)
    result = await rotate().catch((error: Error) => error)
  }
  await connection.close()
  if (result instanceof Error || result.failed > 0) throw result
}

if (require.main === module) void main()
