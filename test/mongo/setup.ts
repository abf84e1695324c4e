import { type RunningMongo, startMongo } from './index'

/** Where `globalTeardown` finds the server: both run in Jest's own process. */
export const running: { mongo?: RunningMongo } = ((globalThis as { testMongo?: object }).testMongo ??= {})

/** Jest's `globalSetup`: one server per test run, told to the test files by their environment. */
export default async function setup(): Promise<void> {
  running.mongo = await startMongo()
  process.env.TEST_MONGO_URI = running.mongo.uri
  process.env.TEST_MONGO_KIND = running.mongo.kind
}
