import { copyFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { root, type Workshop } from './workshop'

/** What a check works with. */
export interface Bench {
  readonly workshop: Workshop
  readonly tarball: string
  /** Does a step of the check, and keeps its time. */
  step<T>(name: string, work: () => Promise<T>): Promise<T>
}

export type Check = (bench: Bench) => Promise<void>

/** Bytes. Raise it where what is new is worth that much to everybody who installs the package. */
const maxPackedSize = 950_000

const npmInstall = ['install', '--prefer-offline', '--ignore-scripts', '--no-audit', '--no-fund', '--silent']
const library = (tarball: string) => ({ mongoose: '^9.0.0', 'mongoose-kms-encrypted': `file:${tarball}` })
const typescript = (version: string) => ({ typescript: `~${version}.0`, '@types/node': '^20.19.0' })
const command = 'mongoose-kms-encrypted'
const smallProject = join(__dirname, 'project')

const size: Check = async ({ tarball }) => {
  const bytes = statSync(tarball).size
  console.log(`packed: ${bytes} bytes of at most ${maxPackedSize}`)
  if (bytes > maxPackedSize) throw new Error(`The package has ${bytes} bytes, more than ${maxPackedSize}`)
}

/** The examples have their test runners between them: Express has @swc/jest, NestJS ts-jest, and the others Vitest. */
function example(name: string): Check {
  return async ({ workshop, tarball, step }) => {
    const cwd = workshop.project(name, join(root, 'examples', name))
    await step('install', () => workshop.run('npm', [...npmInstall, tarball], { cwd }))
    await step('test', () => workshop.run('npm', ['test', '--silent'], { cwd }))
  }
}

/** Without a package that hoisting would put within reach, and without a peer that is not there. */
const pnpm: Check = async ({ workshop, tarball, step }) => {
  const cwd = workshop.project('pnpm/project', smallProject, {
    'package.json': JSON.stringify({ private: true, dependencies: library(tarball) }),
    '.npmrc': 'hoist=false\nstrict-peer-dependencies=true\n',
  })
  const bin = await step('get pnpm', () => tool(workshop, 'pnpm/tool', 'pnpm@^10', 'pnpm/bin/pnpm.cjs'))
  await step('install', () => workshop.run('node', [bin, 'install', '--prefer-offline', '--ignore-scripts'], { cwd }))
  for (const program of ['commonjs.cjs', 'module.mjs'])
    await step(program, () => workshop.run('node', [program], { cwd }))
  await step('command', () => workshop.run('node', [bin, command, '--help'], { cwd }))
}

/** Without node_modules: whatever a package has not declared is an error. */
const yarn: Check = async ({ workshop, tarball, step }) => {
  const cwd = workshop.project('yarn/project', smallProject, {
    'package.json': JSON.stringify({ private: true, dependencies: library(tarball) }),
    'yarn.lock': '',
    '.yarnrc.yml': 'nodeLinker: pnp\nenableTelemetry: false\nenableScripts: false\nenableImmutableInstalls: false\n',
  })
  const bin = await step('get yarn', () =>
    tool(workshop, 'yarn/tool', '@yarnpkg/cli-dist@^4', '@yarnpkg/cli-dist/bin/yarn.js'),
  )
  await step('install', () => workshop.run('node', [bin, 'install'], { cwd }))
  for (const program of ['commonjs.cjs', 'module.mjs'])
    await step(program, () => workshop.run('node', [bin, 'node', program], { cwd }))
  await step('command', () => workshop.run('node', [bin, command, '--help'], { cwd }))
}

/** @returns a file of a package that is installed by itself */
async function tool(workshop: Workshop, project: string, name: string, file: string): Promise<string> {
  const cwd = workshop.project(project, undefined, { 'package.json': '{}' })
  await workshop.run('npm', [...npmInstall, name], { cwd })
  return join(cwd, 'node_modules', file)
}

const npm: Check = async ({ workshop, tarball, step }) => {
  const dependencies = { ...library(tarball), ...typescript('6.0') }
  const cwd = workshop.project('npm', smallProject, { 'package.json': JSON.stringify({ private: true, dependencies }) })
  copyFileSync(join(cwd, 'types.ts'), join(cwd, 'types.mts'))
  await step('install', () => workshop.run('npm', npmInstall, { cwd }))
  for (const program of ['commonjs.cjs', 'module.mjs'])
    await step(program, () => workshop.run('node', [program], { cwd }))
  await step('command', () => workshop.run(join('node_modules/.bin', command), ['--help'], { cwd }))
  await step('types', () => compile(workshop, cwd, ['--module', 'nodenext', 'types.ts', 'types.mts']))
}

/** What is bundled runs without node_modules, and its errors have their names and codes though classes have lost theirs. */
const bundlers: Check = async ({ workshop, tarball, step }) => {
  const dependencies = { ...library(tarball), ...typescript('7.0'), esbuild: '^0.28.0', webpack: '^5.0.0' }
  const cwd = workshop.project('bundlers/project', smallProject, {
    'package.json': JSON.stringify({ private: true, dependencies }),
  })
  const bundled = workshop.project('bundlers/bundled')
  const bundle = {
    esbuild: [
      'node_modules/esbuild/bin/esbuild',
      'module.mjs',
      '--bundle',
      '--minify',
      '--platform=node',
      '--log-level=error',
      `--outfile=${join(bundled, 'esbuild.cjs')}`,
    ],
    webpack: ['webpack.cjs', './module.mjs', bundled],
  }
  await step('install', () => workshop.run('npm', npmInstall, { cwd }))
  for (const [name, args] of Object.entries(bundle)) {
    await step(name, async () => {
      await workshop.run('node', args, { cwd })
      await workshop.run('node', [`${name}.cjs`], { cwd: bundled })
    })
  }
  await step('types', () => compile(workshop, cwd, ['--module', 'esnext', '--moduleResolution', 'bundler', 'types.ts']))
}

/**
 * `npm run test:types` has the types themselves. Whether they are found in what is installed is checked here and by the examples, between them for
 * `nodenext` and `bundler` on each TypeScript: 5.9 NestJS, GDPR; 6.0 `npm`, GraphQL; 7.0 Express, the worker, `bundlers`.
 */
function compile(workshop: Workshop, cwd: string, args: readonly string[]): Promise<string> {
  const always = ['--strict', '--noEmit', '--skipLibCheck', '--target', 'ES2022', '--types', 'node']
  return workshop.run('node', ['node_modules/typescript/bin/tsc', ...always, ...args], { cwd })
}

/** Streams, crypto and async hooks differ between versions of Node. Whichever is not this one comes as a package. */
function node(major: string): Check {
  return async ({ workshop, step }) => {
    const binary = await step('get node', () => nodeBinary(workshop, major))
    const program = (args: string[]) => workshop.run(binary, args, { cwd: root, env: { KMS_KEY_ID: '' } })
    const version = await program(['--version'])
    if (!version.startsWith(`v${major}.`)) throw new Error(`Expected Node ${major}, got ${version}`)
    await step(`quickstart on ${version.trim()}`, () => program(['--import', 'tsx', 'examples/quickstart.ts']))
    const suites = ['audit', 'many', 'roundtrip'].map((suite) => `test/${suite}.test.ts`)
    await step('suites', () => program(['node_modules/jest/bin/jest.js', '--runInBand', '--runTestsByPath', ...suites]))
  }
}

async function nodeBinary(workshop: Workshop, major: string): Promise<string> {
  if (process.versions.node.startsWith(`${major}.`)) return process.execPath
  const name = `node-${process.platform}-${process.arch}`
  return tool(workshop, `node${major}`, `${name}@${major}`, `${name}/bin/node`)
}

export const checks: ReadonlyMap<string, Check> = new Map([
  ['size', size],
  ...['express', 'nest', 'worker', 'gdpr', 'graphql'].map((name) => [name, example(name)] as const),
  ['npm', npm],
  ['pnpm', pnpm],
  ['yarn', yarn],
  ['bundlers', bundlers],
  ...['20', '22', '24'].map((major) => [`node${major}`, node(major)] as const),
])
