import { type RunningMongo, startMongo } from './index'
import './run'

/** Jest loads setup and teardown apart, so the server of the run is kept where both can find it. */
export const running = globalThis as { mongoOfTestRun?: RunningMongo }

/** Jest's `globalSetup`: one server per test run, told to the test files by their environment, as `./run` tells the names of databases. */
export default async function setup(): Promise<void> {
  const mongo = await startMongo()
  running.mongoOfTestRun = mongo
  process.env.TEST_MONGO_URI = mongo.uri
  process.env.TEST_MONGO_KIND = mongo.kind
}
