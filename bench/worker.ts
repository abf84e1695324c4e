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
    // By samples: the maximum that Linux tells of begins with the memory of the process that forked this one.
    let maxRss = 0
    const onProgress = () => {
      maxRss = Math.max(maxRss, process.memoryUsage.rss())
    }
    const { cpuMs } = await costOf(async () => {
      ;({ updated } = await Model.rotateKmsKey({ ...options, onProgress }))
    })
    const done: Done = { updated, cpuMs, maxRssMb: maxRss / 2 ** 20 }
    process.send!(done)
    await mongoose.disconnect()
    process.disconnect()
  })
  process.send!('ready')
}

void main()
