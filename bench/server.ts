import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import mongoose from 'mongoose'
import { type RunningMongo, startMongo } from '../test/mongo'
import { databaseName } from '../test/mongo/run'

/** Does something in a database of its own. */
export async function withDatabase(work: (server: RunningMongo) => Promise<void>): Promise<void> {
  const server = await startServer()
  try {
    await mongoose.connect(server.uri, { dbName: databaseName('bench') })
    await work(server)
    await mongoose.connection.dropDatabase()
  } finally {
    await mongoose.disconnect()
    await server.stop()
  }
}

/** The database that tests run on, as a process of its own: what it computes must not be counted for the client. */
async function startServer(): Promise<RunningMongo> {
  const mongo = await startMongo()
  if (mongo.kind !== 'embedded') return mongo
  await mongo.stop()
  const main = join(__dirname, '../test/mongo/embedded/main.ts')
  const server = spawn(process.execPath, ['--import', 'tsx', main], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [uri] = (await once(createInterface({ input: server.stdout }), 'line')) as [string]
  return {
    uri,
    kind: 'embedded',
    async stop() {
      server.kill('SIGTERM')
      await once(server, 'exit')
    },
  }
}
