import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import mongoose from 'mongoose'
import type { KmsStandIn } from '../kms'
import { databaseName } from '../mongo/run'
import { mongoUri, startKmsForPrograms } from './kms'
import { blocksOf, readPage, root, sectionOf } from './page'
import { Project } from './program'

const readme = readPage('README.md')
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

describe('docs/typescript.md', () => {
  const [imported, ...typed] = blocksOf(readPage('docs/typescript.md')).filter(({ language }) => language === 'ts')
  const lines = (text: string) =>
    text
      .split('\n')
      .map((line) => line.replace(/ \/\/ .*$/, '').trim())
      .filter((line) => line !== '')
  const [, ...functions] = readPage('test/types/handwritten.ts').split(/^export async function /m)

  /** Whether lines stand in a text in their order. What the types are expected to be may stand between them. */
  function follows(text: string, block: readonly string[]): boolean {
    const rest = lines(text)
    return block.every((line) => {
      const index = rest.indexOf(line)
      if (index >= 0) rest.splice(0, index + 1)
      return index >= 0
    })
  }

  test('has one block for each function of test/types/handwritten.ts, which is compiled on every TypeScript', () => {
    expect(lines(imported!.text)).toEqual(expect.arrayContaining(['interface IUser {', 'name: string']))
    expect(typed.length).toBeGreaterThan(4)
    // The functions by which blocks are shown to hold, in the order of the blocks.
    const found = typed.map(({ line, text }) => [
      line,
      functions.filter((each) => follows(each, lines(text))).map((each) => /^\w+/.exec(each)?.[0]),
    ])
    expect(found).toEqual(typed.map(({ line }, index) => [line, [/^\w+/.exec(functions[index] ?? '')?.[0]]]))
    expect(functions).toHaveLength(typed.length)
  })
})

describe('the code blocks', () => {
  const project = new Project()
  const blocks = blocksOf(readme).filter(({ language }) => language === 'ts')
  const [first, ...others] = blocks.map(({ text }) => text) as [string, ...string[]]
  // A block that imports nothing goes on from the first one; a Jest test needs a database that may have to be downloaded.
  const imports = (text: string) => /^import /m.test(text)
  const isTest = (text: string) => /^test\(/m.test(text)
  const continued = others.filter((text) => !imports(text))
  const alone = others.filter((text) => imports(text) && !isTest(text))
  const audit = alone.find((text) => text.includes('channels')) as string
  const end = '  await mongoose.disconnect()\n'
  /** The first one, with more before its end. */
  const goingOn = (text: string) => first.replace(end, `${text}\n${end}`)
  const [required] = blocksOf(readme).filter(({ language }) => language === 'js')

  const uri = mongoUri(databaseName('readme'))
  let kms: KmsStandIn
  let env: Record<string, string>
  beforeAll(async () => {
    const started = await startKmsForPrograms()
    kms = started.kms
    env = { ...started.env, MONGODB_URI: uri }
    for (const file of ['first.mts', 'first.mjs']) project.write(file, first)
    project.write('first.cjs', first.replace(/^(import .*\n)+/, `${required!.text}\n`))
    project.write('continued.mts', goingOn(continued.map((text) => `{\n${text}\n}`).join('\n')))
    project.write('audited.mts', `${audit}\n${first}`)
    for (const [index, text] of alone.entries()) project.write(`alone${index}.mts`, text)
    for (const [index, text] of others.filter(isTest).entries()) project.write(`test${index}.mts`, text)
    const [imported, ...typed] = blocksOf(readPage('docs/typescript.md')).map(({ text }) => text)
    project.write('typescript.mts', [imported, ...typed.map((text) => `{\n${text}\n}`)].join('\n'))
  })
  afterEach(async () => {
    kms.clearCalls()
    const connection = await mongoose.createConnection(uri).asPromise()
    await connection.dropDatabase()
    await connection.close()
  })
  afterAll(async () => {
    project.remove()
    await kms.stop()
  })

  test('are there', () => {
    expect(first.split('\n').length).toBeLessThanOrEqual(22)
    expect(continued.length).toBeGreaterThanOrEqual(3)
    expect(alone.length).toBeGreaterThanOrEqual(3)
    expect(others.some(isTest)).toBe(true)
    expect(blocksOf(readPage('docs/typescript.md')).filter(({ language }) => language === 'ts').length).toBeGreaterThan(
      4,
    )
  })

  test('type-check, and those of docs/typescript.md', async () => {
    expect(await project.check()).toEqual([])
    // That TypeScript looked at all, and at the fields of the plugin, is told by what it refuses.
    project.write('wrong.mts', goingOn('user.email = 5'))
    expect(await project.check()).toEqual([expect.stringMatching(/wrong\.mts.*'number' is not assignable/)])
  }, 120_000)

  test('run on the Mongoose of this test run', async () => {
    project.write('version.mts', "import mongoose from 'mongoose'\nconsole.log(mongoose.version)")
    expect(await project.run('version.mts')).toMatchObject({ stdout: `${mongoose.version}\n` })
  })

  const kinds = ['first.mts', 'first.mjs', 'first.cjs']
  test.each(kinds)('the first one runs and calls KMS as its comments say, and ends: %s', async (file) => {
    const { code, stdout, stderr } = await project.run(file, env)
    expect([code, stderr]).toEqual([0, expect.not.stringContaining('Error')])
    expect(stdout).toBe('ada@example.org\n1815-12-10T00:00:00.000Z\n')
    const calls = kms.calls.map(({ eventName, requestParameters }) => [eventName, requestParameters.encryptionContext])
    const context = { Record: expect.stringMatching(/^User\/[0-9a-f]{24}$/) }
    expect(calls).toEqual([
      ['GenerateDataKey', context],
      ['Decrypt', context],
    ])
  })

  test('the first one runs without AWS as the text says', async () => {
    const imported = first.replace('{ kmsEncrypted }', '{ kmsEncrypted, localKms }')
    project.write('local.mts', imported.replace(/keyId: .*/, 'provider: localKms(),'))
    // The second time there is a record that a key of the first process has encrypted.
    for (const _time of [1, 2])
      expect((await project.run('local.mts', env)).stdout).toBe('ada@example.org\n1815-12-10T00:00:00.000Z\n')
    expect(kms.calls).toEqual([])
  })

  test('the others that go on from it run', async () => {
    const { code, stderr } = await project.run('continued.mts', env)
    expect([code, stderr]).toEqual([0, expect.not.stringContaining('Error')])
  })

  test('the subscriber prints what the text says', async () => {
    const { stdout } = await project.run('audited.mts', env)
    expect(stdout).toMatch(/^Decrypt Data Key \(\d+\.\d ms\) Record=User\/[0-9a-f]{24}$/m)
  })

  test.each(alone.map((_, index) => `alone${index}.mts`))('%s runs', async (file) => {
    const { code, stderr } = await project.run(file, env)
    expect([code, stderr]).toEqual([0, expect.not.stringContaining('Error')])
  })
})

describe('the tables', () => {
  const columns = (text: string, kind: RegExp) =>
    [...text.matchAll(/^\| `(\w+)` \|/gm)].map(([, name]) => name as string).filter((name) => kind.test(name))

  test('name every option, and no other', () => {
    const source = readPage('lib/schema/options.ts')
    const declaration = /export interface KmsEncryptedOptions[^{]*\{(.*?)\n\}/s.exec(source)?.[1] as string
    const options = [...declaration.matchAll(/^ {2}readonly (\w+)\??:/gm)].map(([, name]) => name)
    expect(options.length).toBeGreaterThan(8)
    expect(columns(sectionOf(readme, '## Options'), /./).sort()).toEqual(options.sort())
  })

  test('name every error code under its class, and no other', () => {
    const source = readPage('lib/errors.ts')
    const codes = new Map(
      [...source.matchAll(/export type (\w+Error)Code =((?:\s*\|? *'\w+')+)/g)].map(([, name, union]) => [
        name as string,
        [...(union as string).matchAll(/'(\w+)'/g)].map(([, code]) => code as string),
      ]),
    )
    expect(codes.size).toBe(source.match(/^export class \w+/gm)?.length)
    const parts = readPage('docs/errors.md').split(/^## /m).slice(1)
    const listed = new Map(parts.map((part) => [/^\w+/.exec(part)?.[0], columns(part, /^[A-Z_]+$/)]))
    expect(Object.fromEntries(listed)).toEqual(Object.fromEntries(codes))
    const errors = sectionOf(readme, '## Errors')
    expect(columns(errors, /Error$/)).toEqual([...codes.keys()])
    const named = [...errors.matchAll(/`([A-Z_]+)`/g)].map(([, code]) => code)
    expect([...codes.values()].flat()).toEqual(expect.arrayContaining(named))
  })
})

describe('what it names', () => {
  test('scripts are in package.json', () => {
    const scripts = [...readme.matchAll(/npm run ([\w:-]+)/g)].map(([, script]) => script as string)
    expect(scripts).toContain('quickstart')
    for (const script of [...scripts, 'test']) expect(manifest.scripts).toHaveProperty([script])
  })

  test('shell blocks hold nothing but npm commands, and those of the package', () => {
    const lines = blocksOf(readme).flatMap(({ language, text }) => (language === 'sh' ? text.split('\n') : []))
    expect(lines.slice(0, 2)).toEqual(['npm ci && npm run quickstart', 'npm ci && npm test'])
    const others = lines.filter((line) => !line.startsWith('npx mongoose-kms-encrypted '))
    for (const line of others) expect(line).toMatch(/^npm (ci && npm (run \w+|test)|install [\w -]+|run [\w:]+)$/)
  })

  test('files are there', () => {
    const links = [...readme.matchAll(/\]\((?!https?:|#)([^)#]+)/g)].map(([, path]) => path as string)
    const commands = [...readme.matchAll(/npx jest ([\w/]+)/g)].map(([, path]) => path as string)
    expect(links.length).toBeGreaterThan(5)
    for (const path of [...links, ...commands, '.ci/run'])
      expect([path, existsSync(join(root, path))]).toEqual([path, true])
  })

  test('examples are run by their names', () => {
    const runner = readPage('examples/run.ts')
    const named = [...readme.matchAll(/\]\(examples\/([\w-]+)\.ts\) `([\w-]+)`/g)]
    expect(named.length).toBeGreaterThanOrEqual(4)
    for (const [, file, name] of named) {
      expect(name).toBe(file)
      expect(runner).toContain(`'${name}'`)
    }
  })

  test('versions are those of package.json', () => {
    expect(manifest.engines.node).toBe('>=20.19')
    expect(readme).toContain('Node 20.19 or later')
    expect(manifest.peerDependencies.mongoose).toBe('^8.17.0 || ^9.4.0')
    expect(readme).toContain('Mongoose 8 from 8.17 on or 9 from 9.4 on')
    expect(readme).toContain('TypeScript 5.9, 6.0 and 7.0')
    const typescripts = ['typescript-5', 'typescript-6', 'typescript'].map((alias) => manifest.devDependencies[alias])
    expect(typescripts).toEqual(['npm:typescript@5.9', 'npm:typescript@6.0', expect.stringMatching(/^\^7\.0/)])
  })
})
