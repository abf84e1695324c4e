import { readFile } from 'node:fs/promises'
import { countingKms } from '../counting'
import { useDatabase } from '../support'
import { codeOf, failureOf, isThere, isWrite, type Setting, seed } from './check'
import { conditions, filterings } from './filters'
import { makeModels } from './models'
import { pagePath, renderPage } from './page'
import { encrypted, isRefusal, type World } from './row'
import { testTable } from './transaction'

const { connection, commands, raw } = useDatabase()
const kms = countingKms()
const setting: Setting = { ...makeModels(connection, kms), connection, commands, kms }

beforeAll(async () => {
  // Collections are not to be made inside a transaction.
  await Promise.all([setting.User.init(), setting.Post.init()])
})

testTable(setting)

/** Conditions that would match nothing, or everything, were they sent. */
const refused = conditions.filter(({ encrypted }) => isRefusal(encrypted))

test('docs/operations.md is current', async () => {
  expect(await readFile(pagePath, 'utf8')).toBe(renderPage())
})

describe.each([true, false, 'throw'] as const)('strictQuery: %s', (strictQuery) => {
  const models = makeModels(connection, kms, { strictQuery, autoCreate: false, autoIndex: false })

  test.each(filterings.filter((operation) => isThere(operation)))(
    '$name refuses encrypted fields',
    async (operation) => {
      const world: World = { ...models, connection, options: {}, kind: 'encrypted' }
      await seed(world)
      const before = await raw(models.User.collection.name)
      commands.length = 0
      for (const { name, given } of refused) {
        const condition = given(encrypted)
        if (operation.onPaths && Object.keys(condition).some((path) => path.startsWith('$'))) continue
        if (operation.withoutCode && name === '$where') continue
        expect([name, codeOf(await failureOf(operation.run(world, condition)))]).toEqual([name, 'QUERY_REFUSED'])
      }
      expect(commands.filter(isWrite)).toEqual([])
      expect(await raw(models.User.collection.name)).toEqual(before)
    },
  )
})
