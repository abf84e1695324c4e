import mongoose from 'mongoose'
import { type Done, jobModel, type Task } from './jobs'
import { costOf } from './measure'

/** A process that rotates data keys: says when it is ready, begins when it is told to, and says what it took. */
async function main(): Promise<void> {
  const { uri, dbName, collection, latencyMs, concurrency, options }: Task = JSON.parse(process.argv[2]!)
  await mongoose.connect(uri, { dbName })
  const { Model, kms } = jobModel(collection, concurrency)
  kms.latencyMs = latencyMs
  process.once('message', async () => {
    let updated = 0
    const { cpuMs } = await costOf(async () => {
      ;({ updated } = await Model.rotateKmsKey(options))
    })
    const done: Done = { updated, cpuMs, maxRssMb: process.resourceUsage().maxRSS / 1024 }
    process.send!(done)
    await mongoose.disconnect()
    process.disconnect()
  })
  process.send!('ready')
}

void main()
