import { dropDatabases, run } from './run'
import { running } from './setup'

/** Jest's `globalTeardown`. A server that goes on running keeps nothing of this run. */
export default async function teardown(): Promise<void> {
  const mongo = running.mongoOfTestRun
  if (mongo?.kind === 'uri') await dropDatabases(mongo.uri, run)
  await mongo?.stop()
}
