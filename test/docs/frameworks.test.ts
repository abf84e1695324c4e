import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import mongoose, { Schema } from 'mongoose'
import { kmsEncrypted, localKms, withAudit } from '../../lib'
import { databaseName } from '../mongo/run'
import { blocksOf, readPage, root } from './page'

const projects = ['express', 'nest', 'worker', 'gdpr', 'graphql']
const page = readPage('docs/frameworks.md')

const linesOf = (text: string) => text.split('\n').map((line) => line.trim())

/** The files of the examples, each as its lines. What stands in them is compiled and run by `npm run test:packed`. */
const files = projects.flatMap((name) =>
  readdirSync(join(root, 'examples', name, 'src')).map((file) => linesOf(readPage(`examples/${name}/src/${file}`))),
)

test('every block of docs/frameworks.md stands in an example as it is', () => {
  const blocks = blocksOf(page).filter(({ language }) => language === 'ts')
  expect(blocks.length).toBeGreaterThan(5)
  const strange = blocks.filter(({ text }) => {
    const block = linesOf(text).join('\n')
    return !files.some((lines) => `\n${lines.join('\n')}\n`.includes(`\n${block}\n`))
  })
  expect(strange).toEqual([])
})

test.each(projects)('the example %s is in docs/frameworks.md and the README, and is checked', (name) => {
  expect(page).toContain(`(../examples/${name})`)
  expect(readPage('README.md')).toContain(`(examples/${name})`)
  expect(readPage('test/packed/checks.ts')).toContain(`'${name}'`)
  expect(JSON.parse(readPage(`examples/${name}/package.json`)).dependencies).toHaveProperty('mongoose-kms-encrypted')
})

test('a generator runs in the context of its reader', async () => {
  const connection = await mongoose
    .createConnection(process.env.TEST_MONGO_URI as string, { dbName: databaseName('frameworks') })
    .asPromise()
  const userSchema = new Schema({}).plugin(kmsEncrypted, {
    provider: localKms(),
    requireActor: true,
    fields: ['email'],
  })
  const User = connection.model('User', userSchema)
  await User.create({ email: 'ada@example.org' })
  const audit = { actor: 'grace' }
  const addressesOf = async (users: AsyncIterable<{ email?: string | null }>) => {
    const addresses: unknown[] = []
    for await (const { email } of users) addresses.push(email)
    return addresses
  }
  const made = withAudit(audit, () => User.decrypt(User.find().lean().cursor()))
  await expect(addressesOf(made)).rejects.toMatchObject({ code: 'ACTOR_REQUIRED' })
  const read = await withAudit(audit, () => addressesOf(User.decrypt(User.find().lean().cursor())))
  expect(read).toEqual(['ada@example.org'])
  await connection.dropDatabase()
  await connection.close()
})
