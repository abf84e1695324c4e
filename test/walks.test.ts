import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buildSync } from 'esbuild'
import { Schema } from 'mongoose'
import { type KmsStandIn, startKms } from './kms'
import { secret, useDatabase } from './support'

// The two walks of CONTRIBUTING.md are what a value really does, step by step.
const { connection } = useDatabase()
const root = join(__dirname, '..')
const folder = mkdtempSync(join(tmpdir(), 'walks-'))

interface Step {
  readonly file: string
  readonly name: string
}

/** The steps of a walk, from lines such as ``2. `record/staging.ts` `stage`: …``; some are one of two. */
function stepsOf(heading: string): Step[][] {
  const contributing = readFileSync(join(root, 'CONTRIBUTING.md'), 'utf8')
  const section = contributing.split(/^##+ /m).find((part) => part.startsWith(`${heading}\n`)) ?? ''
  return [...section.matchAll(/^\d+\. (.*)$/gm)].map(([, line]) =>
    [...(line as string).matchAll(/`([\w/]+\.ts)` `([\w.]+)`/g)].map(
      ([, file, name]) => ({ file, name }) as unknown as Step,
    ),
  )
}

/** The library, in which each function that a walk names says so when it is called. */
function tracedLibrary(steps: readonly Step[], called: (step: string) => void): typeof import('../lib') {
  const outfile = join(folder, 'library.cjs')
  buildSync({
    entryPoints: [join(root, 'lib/index.ts')],
    bundle: true,
    platform: 'node',
    format: 'cjs',
    external: ['mongoose'],
    absWorkingDir: root,
    outfile,
  })
  // What is of a file begins with its name; it may be in several parts.
  const parts = readFileSync(outfile, 'utf8').split(/^(?=\/\/ \S+\.\w+$)/m)
  for (const step of steps) {
    const [member, owner] = step.name.split('.').reverse() as [string, string?]
    const definition = new RegExp(
      // The bundler numbers names that several files have.
      `${owner ? `^var ${owner} = class .*?` : ''}(^ *(static |async |get )*|\\bfunction )${member}\\d*\\([^\\n]*\\) \\{$`,
      'ms',
    )
    const index = parts.findIndex((part) => part.startsWith(`// lib/${step.file}\n`) && definition.test(part))
    if (index === -1) throw new Error(`There is no function ${step.name} in lib/${step.file}.`)
    parts[index] = (parts[index] as string).replace(
      definition,
      (found) => `${found} called(${JSON.stringify(stepName(step))});`,
    )
  }
  writeFileSync(outfile, `${parts.join('')}\nfunction called(step) { module.exports.called?.(step) }\n`)
  const library = require(outfile)
  Object.defineProperty(library, 'called', { value: called, configurable: true })
  return library
}

const stepName = ({ file, name }: Step) => `${file} ${name}`

const walks = { save: stepsOf('Save'), access: stepsOf('Access') }
let seen: string[] = []
let kms: KmsStandIn
let User: any

beforeAll(async () => {
  kms = await startKms()
  kms.createKey({ alias: 'alias/users' })
  const library = tracedLibrary([...walks.save, ...walks.access].flat(), (step) => seen.push(step))
  const schema = new Schema<any>({ name: String }).plugin(library.kmsEncrypted as any, {
    provider: library.awsKms({ client: kms.client() }),
    keyId: 'alias/users',
    fields: { email: String },
  })
  User = connection.model('Walker', schema)
})
afterAll(async () => {
  await kms.stop()
  rmSync(folder, { recursive: true })
})

/** The steps of a walk in the order in which an act first comes to each; of a step that is one of two, the one it comes to. */
async function walk(steps: readonly Step[][], act: () => Promise<unknown>): Promise<string[]> {
  seen = []
  await act()
  const names = new Set(steps.flat().map(stepName))
  return [...new Set(seen)].filter((step) => names.has(step))
}

/** A walk as it is written; of a step that is one of two, the one that is asked for. */
function written(steps: readonly Step[][], choice: number): string[] {
  return steps.map((alternatives) => stepName(alternatives[Math.min(choice, alternatives.length - 1)] as Step))
}

test('the save of a new record goes as CONTRIBUTING.md says', async () => {
  const user = new User({ name: 'Ada' })
  const steps = await walk(walks.save, async () => {
    user.email = secret('ada@example.org')
    await user.save()
  })
  // There is nothing yet that an insert could be tied to.
  expect(steps).toEqual(written(walks.save, 0).filter((step) => step !== 'gate/tie.ts tie'))
})

test('so does that of a change', async () => {
  await connection.db!.collection(User.collection.name).insertOne({ name: 'Ada' })
  const user = await User.findOne()
  const steps = await walk(walks.save, async () => {
    user.email = secret('ada@example.org')
    await user.save()
  })
  expect(steps).toEqual(written(walks.save, 1))
})

test('so does the access to a value', async () => {
  await User.create({ name: 'Ada', email: secret('ada@example.org') })
  const steps = await walk(walks.access, async () => {
    const user = await User.findOne()
    expect(await user.email).toBe('ada@example.org')
  })
  expect(steps).toEqual(written(walks.access, 0))
})
