import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import mongoose from 'mongoose'
import { awsKms, createIndexKey } from '../../lib'
import type { KmsStandIn } from '../kms'
import { databaseName, run } from '../mongo/run'
import { mongoUri, startKmsForPrograms } from './kms'
import { readPage, root } from './page'
import { Project } from './program'

const project = new Project()
const onThisServer = { MONGODB_URI: process.env.TEST_MONGO_URI as string, TEST_MONGO: '', KMS_KEY_ID: '' }
let kms: KmsStandIn
let withKms: Record<string, string>

beforeAll(async () => {
  const started = await startKmsForPrograms()
  kms = started.kms
  withKms = { ...onThisServer, ...started.env }
})
afterAll(async () => {
  project.remove()
  await kms.stop()
})

const auditLine = /(Generate|Decrypt) Data Key \(\d+\.\d ms\) Record=User\/[0-9a-f]{24}$/gm

test('the quickstart runs on a key in memory, and says so', async () => {
  const { code, stdout, stderr } = await project.run('examples/quickstart.ts', onThisServer)
  expect([code, stderr]).toEqual([0, expect.stringMatching(/^MongoDB for tests: uri /)])
  expect(stdout).toContain('Key: localKms, in the memory of this process: not for production')
  const [before, after] = stdout.split('Nothing is decrypted yet') as [string, string]
  expect(before.match(auditLine)).toHaveLength(2)
  expect(before).toContain('email: Binary')
  expect(before).not.toContain('ada@')
  expect(after.match(auditLine)).toHaveLength(3)
  expect(after).toContain('ada@example.org')
  expect(after).toContain("email: 'countess@example.org'")
  expect(after).toContain('email: <encrypted, locked>')
  // 0.03 dollars for 10,000 of them.
  expect(after).toContain('5 calls to KMS, which on AWS cost 0.000015 US dollars')
})

test('the quickstart lists its variables when it is asked for help, and starts nothing', async () => {
  const { code, stdout, stderr } = await project.run('examples/quickstart.ts', {}, ['--help'])
  expect([code, stderr]).toEqual([0, ''])
  for (const name of ['KMS_KEY_ID', 'MONGODB_URI']) {
    expect(stdout).toMatch(new RegExp(`^  ${name} `, 'm'))
  }
})

test('the quickstart runs on the key of KMS_KEY_ID', async () => {
  const { code, stdout } = await project.run('examples/quickstart.ts', withKms)
  expect(code).toBe(0)
  expect(stdout).toContain('Key: alias/programs in AWS KMS')
  expect(kms.calls.map(({ eventName }) => eventName)).toEqual([
    'GenerateDataKey',
    'GenerateDataKey',
    'Decrypt',
    'Decrypt',
    'Decrypt',
  ])
})

const names = [...readPage('examples/run.ts').matchAll(/'([\w-]+)'/g)]
  .map(([, name]) => name as string)
  .filter((name) => readdirSync(join(root, 'examples')).includes(`${name}.ts`))

test('every example has a name to run it by', () => {
  const programs = readdirSync(join(root, 'examples'))
    .filter((file) => file.endsWith('.ts'))
    .map((file) => file.replace('.ts', ''))
    .filter((name) => readPage(`examples/${name}.ts`).includes('npm run '))
  expect([...names, 'run'].sort()).toEqual(programs.sort())
})

test.each(names.filter((name) => name !== 'quickstart'))(
  'the example %s runs, on a key in memory and on AWS KMS',
  async (name) => {
    for (const env of [onThisServer, withKms]) {
      const { code, stdout, stderr } = await project.run('examples/run.ts', env, [name])
      expect([code, stderr]).toEqual([0, expect.not.stringContaining('    at ')])
      expect(stdout).toMatch(/(Generate|Decrypt) Data Key \(\d+\.\d ms\) /)
    }
  },
)

describe('the application, outside of its tests', () => {
  const uri = mongoUri(databaseName('application'))
  const program = `
    import mongoose from 'mongoose'
    import { logIn, signUp } from '${root}/examples/application/account.ts'
    await mongoose.connect(process.env.MONGODB_URI)
    const id = await signUp('Ada@Example.org', 'enchantress')
    console.log(id === (await logIn('ada@example.org', 'enchantress')), await logIn('ada@example.org', 'countess'))
    await mongoose.connection.dropDatabase()
    await mongoose.disconnect()`
  let env: Record<string, string>
  beforeAll(async () => {
    project.write('application.mts', program)
    const provider = awsKms({ client: kms.client() })
    env = { ...withKms, MONGODB_URI: uri, INDEX_KEY: await createIndexKey({ provider, keyId: 'alias/programs' }) }
  })
  beforeEach(() => kms.clearCalls())

  test('is on AWS KMS, of which a log-in asks nothing', async () => {
    const { code, stdout } = await project.run('application.mts', env)
    expect([code, stdout]).toEqual([0, 'true undefined\n'])
    expect(kms.calls.map(({ eventName }) => eventName).sort()).toEqual(['Decrypt', 'GenerateDataKey'])
  })

  test.each([
    ['INDEX_KEY', 'kmsEncrypted: indexKey is'],
    ['KMS_KEY_ID', 'KEY_ID_INVALID'],
  ])('does not start without %s', async (name, message) => {
    const { code, stderr } = await project.run('application.mts', { ...env, [name]: '' })
    expect([code, stderr]).toEqual([1, expect.stringContaining(message)])
    expect(kms.calls).toEqual([])
  })
})

test('examples leave no database behind', async () => {
  const connection = await mongoose.createConnection(onThisServer.MONGODB_URI).asPromise()
  const { databases } = await connection.listDatabases()
  await connection.close()
  expect(databases.map(({ name }) => name).filter((name) => name.startsWith(`${run}_example_`))).toEqual([])
})
