import mongoose from 'mongoose'
import { jobModel, type Task } from './jobs'

/** A process that rotates data keys: says when it is ready, begins when it is told to, and says what it took. */
async function main(): Promise<void> {
  const { uri, dbName, collection, latencyMs, options }: Task = JSON.parse(process.argv[2]!)
  await mongoose.connect(uri, { dbName })
  const { Model, kms } = jobModel(collection)
  kms.latencyMs = latencyMs
  process.once('message', async () => {
    const { processed, updated } = await Model.rotateKmsKey(options)
    const maxRssMb = process.resourceUsage().maxRSS / 1024
    process.send!({ processed, updated, maxRssMb })
    await mongoose.disconnect()
    process.disconnect()
  })
  process.send!('ready')
}

void main()
