import type { Connection, ConnectOptions } from 'mongoose'
import { MongoProxy } from './mongo/proxy'
import { databaseName } from './mongo/run'

/**
 * Puts a proxy before the server of the test run, for one test file: connections by way of it, to a database that is
 * theirs alone. The faults of a test end with it.
 */
export function useProxy(connections: readonly Connection[], options: ConnectOptions = {}): MongoProxy {
  const proxy = new MongoProxy()
  // A server that a fault made unknown to the driver is known again at the next heartbeat.
  const settings = { dbName: databaseName(), heartbeatFrequencyMS: 500, ...options }

  beforeAll(async () => {
    const uri = await proxy.start()
    await Promise.all(connections.map((connection) => connection.openUri(uri, settings)))
  })
  afterEach(() => proxy.faults.clear())
  afterAll(async () => {
    await Promise.all(connections.map((connection) => connection.close()))
    await proxy.stop()
  })
  return proxy
}
