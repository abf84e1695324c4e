import { running } from './setup'

/** Jest's `globalTeardown`. */
export default async function teardown(): Promise<void> {
  await running.mongoOfTestRun?.stop()
}
