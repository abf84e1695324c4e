import { withClient } from './client'
import { databaseName, dropDatabases, run } from './run'

const uri = process.env.TEST_MONGO_URI!

test('the databases of a run are named by it, each otherwise', () => {
  expect(run).toBe(process.env.TEST_MONGO_RUN)
  expect(databaseName('races')).toMatch(new RegExp(`^${run}_races_[0-9a-f]{8}$`))
  expect(databaseName()).not.toBe(databaseName())
})

test('the databases of a run are dropped, and no others', async () => {
  const [mine, other] = [databaseName('mine'), databaseName('other')]
  await withClient(uri, async (client) => {
    for (const name of [`${mine}_1`, `${mine}_2`, other]) await client.db(name).collection('things').insertOne({})
    await dropDatabases(uri, mine)
    const { databases } = await client.db('admin').admin().listDatabases({ nameOnly: true })
    const names = databases.map(({ name }) => name).filter((name) => name.startsWith(mine) || name === other)
    expect(names).toEqual([other])
    await dropDatabases(uri, other)
  })
})
