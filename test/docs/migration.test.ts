import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import mongoose from 'mongoose'
import type { KmsStandIn } from '../kms'
import { databaseName } from '../mongo/run'
import { mongoUri, startKmsForPrograms } from './kms'
import { blocksOf, readPage, root } from './page'
import { Project } from './program'

// The program of docs/migration.md does what the page says.
const project = new Project()
let kms: KmsStandIn
afterAll(async () => {
  project.remove()
  await kms.stop()
})

test('the program encrypts what was there, and drops the indexes of before', async () => {
  const started = await startKmsForPrograms()
  kms = started.kms
  const uri = mongoUri(databaseName('migration'))
  const connection = await mongoose.createConnection(uri).asPromise()
  try {
    const members = connection.collection('members')
    await members.createIndex({ email: 1 }, { unique: true })
    await members.insertMany([{ name: 'Ada', email: 'ada@example.org', dob: new Date(0) }, { name: 'Bob' }])
    const [{ text }] = blocksOf(readPage('docs/migration.md')).filter(({ language }) => language === 'ts') as any
    project.write('migrate.mts', text)
    expect(await project.check()).toEqual([])
    const { code, stdout, stderr } = await project.run('migrate.mts', { ...started.env, MONGODB_URI: uri })
    expect([code, stderr]).toEqual([0, expect.not.stringContaining('Error')])
    expect(stdout).toBe('1 encrypted, 0 failed, indexes of before: email_1\n')
    const [ada, bob] = await members.find().toArray()
    expect([ada!.email._bsontype, ada!.dob._bsontype, bob!.name]).toEqual(['Binary', 'Binary', 'Bob'])
    expect((await members.indexes()).map(({ name }) => name)).toEqual(['_id_', 'email_bidx_1'])
  } finally {
    await connection.dropDatabase()
    await connection.close()
  }
}, 120_000)

test('the recipes are those that are tried on what the other libraries have stored', () => {
  const tried = readFileSync(join(root, 'test/lifecycle/migration.from.test.ts'), 'utf8').replaceAll(/\s+/g, '')
  const recipes = blocksOf(readPage('docs/migration.md'))
    .filter(({ language }) => language === 'ts')
    .slice(1)
  expect(recipes).toHaveLength(2)
  for (const { text } of recipes) {
    const body = /names\.map\(\(name\) => \{.*?\n {4}\}\)|if \(!stored._ct\).*?return record/s.exec(text)?.[0] as string
    const plain = body
      .replaceAll(/ \/\/ .*$/gm, '')
      .replaceAll(/\s+/g, '')
      .replaceAll("'Member'", "'people'")
    expect(
      tried
        .replaceAll(';(reader.methodsasany)', 'reader.methods')
        .replaceAll('(reader.methodsasany)', 'reader.methods'),
    ).toContain(plain)
  }
})
