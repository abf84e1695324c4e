import { randomBytes } from 'node:crypto'
import { withClient } from './client'

const newName = () => randomBytes(4).toString('hex')

/**
 * What the names of all databases of this test run begin with. In the environment, so that test files and the programs
 * they start have it from Jest's `globalSetup`.
 */
process.env.TEST_MONGO_RUN ??= `kms_encrypted_test_${newName()}`
export const run: string = process.env.TEST_MONGO_RUN

/** The name of a new database: other runs may use the same server, and other files of this run do. */
export function databaseName(label = 'test'): string {
  return `${run}_${label}_${newName()}`
}

/** Drops all databases whose names begin so. */
export async function dropDatabases(uri: string, prefix: string): Promise<void> {
  await withClient(uri, async (client) => {
    const { databases } = await client.db('admin').admin().listDatabases({ nameOnly: true })
    const names = databases.map(({ name }) => name).filter((name) => name.startsWith(prefix))
    for (const name of names) await client.db(name).dropDatabase()
  })
}
