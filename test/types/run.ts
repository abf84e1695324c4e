// Compiles the files of this folder as users would: on every supported TypeScript and Mongoose, as CommonJS and ES modules
// and for bundlers; without skipLibCheck, with which less would be checked. Run `npm run build` first: it is dist/ that is checked.
import { spawn } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join, resolve } from 'node:path'
import { declarations, requireFreshBuild } from '../build'

interface Cell {
  readonly typescript: string
  readonly mongoose: string
  readonly setting: keyof typeof settings
}

const root = resolve(__dirname, '../..')
const cache = join(root, 'node_modules/.cache/mongoose-kms-encrypted-types')

const typescripts = ['typescript-5', 'typescript-6', 'typescript']
const mongooses = ['mongoose-8.17', 'mongoose-8', 'mongoose-9.4', 'mongoose']
const settings = {
  nodenext: { module: 'nodenext' },
  bundler: { module: 'esnext', moduleResolution: 'bundler' },
  // As NestJS sets up its projects.
  loose: { module: 'nodenext', strict: false },
} as const
// Resolution decides for bundlers, and so few files do; what must not compile is another matter where TypeScript is loose.
const only: { readonly [setting in Cell['setting']]?: readonly string[] } = {
  bundler: ['documents.ts', 'esm.mts'],
  loose: ['unchained.ts'],
}

function versionOf(alias: string): string {
  return JSON.parse(readFileSync(join(root, 'node_modules', alias, 'package.json'), 'utf8')).version
}

/** The consumer files that hold on this Mongoose; `.mongoose9.` in a name limits it to that major version. */
function consumers({ mongoose, setting }: Cell): string[] {
  const major = versionOf(mongoose).split('.')[0]
  return readdirSync(__dirname)
    .filter((name) => /\.m?ts$/.test(name) && name !== 'run.ts' && name !== 'baseline.ts')
    .filter((name) => only[setting]?.includes(name) ?? true)
    .filter((name) => (/\.mongoose(\d+)\./.exec(name)?.[1] ?? major) === major)
    .map((name) => join(__dirname, name))
}

/** Runs one TypeScript over files and returns the first line of each error, with paths from the root. */
async function compile(cell: Cell, files: string[]): Promise<string[]> {
  const name = Object.values({ ...cell, files: files.length }).join('-')
  const config = join(cache, `tsconfig.${name}.json`)
  const compilerOptions = {
    strict: true,
    ...settings[cell.setting],
    target: 'ES2022',
    lib: ['ES2022'],
    types: ['node'],
    noUncheckedIndexedAccess: true,
    noEmit: true,
    // Applications that emit declarations must be able to name, or write out, all that is inferred.
    declaration: true,
    paths: {
      // The file, not the folder: resolution of ES modules would silently pass over a folder.
      mongoose: [join(root, 'node_modules', cell.mongoose, 'types/index.d.ts')],
      'mongoose-kms-encrypted': [declarations],
    },
  }
  writeFileSync(config, JSON.stringify({ compilerOptions, files }, null, 2))
  const compiler = join(root, 'node_modules', cell.typescript, 'bin/tsc')
  const { code, output } = await run(process.execPath, [compiler, '-p', config, '--pretty', 'false'])
  const errors = output.split('\n').filter((line) => /\berror TS\d+:/.test(line))
  if (code !== 0 && errors.length === 0) throw new Error(`${cell.typescript} failed without an error: ${output}`)
  return errors
}

function run(command: string, args: string[]): Promise<{ code: number | null; output: string }> {
  return new Promise((done, failed) => {
    const child = spawn(command, args, { cwd: root })
    let output = ''
    child.stdout.on('data', (chunk) => (output += chunk))
    child.stderr.on('data', (chunk) => (output += chunk))
    child.on('error', failed)
    child.on('close', (code) => done({ code, output }))
  })
}

/** Whether an error lies in the declarations of another package. */
function isForeign(error: string): boolean {
  return /^(\.\.\/)*node_modules\//.test(error)
}

/**
 * Errors of a cell that are ours. Those in other packages' declarations count too, unless they are there just the same
 * when this library is not imported: an augmentation that does not fit would be reported there.
 */
async function check(cell: Cell): Promise<string[]> {
  const errors = await compile(cell, consumers(cell))
  if (!errors.some(isForeign)) return errors
  const known = new Set(await compile(cell, [join(__dirname, 'baseline.ts')]))
  return errors.filter((error) => !known.has(error))
}

async function main(): Promise<void> {
  requireFreshBuild()
  mkdirSync(cache, { recursive: true })
  const cells: Cell[] = typescripts.flatMap((typescript) =>
    mongooses.flatMap((mongoose) =>
      (Object.keys(settings) as Cell['setting'][]).map((setting) => ({ typescript, mongoose, setting })),
    ),
  )
  const queue = [...cells]
  let failures = 0
  const work = async () => {
    for (let cell = queue.shift(); cell; cell = queue.shift()) {
      const started = Date.now()
      const errors = await check(cell)
      if (errors.length > 0) failures++
      console.log(
        [
          errors.length === 0 ? 'ok    ' : 'failed',
          `TypeScript ${versionOf(cell.typescript)}`,
          `Mongoose ${versionOf(cell.mongoose)}`.padEnd(17),
          cell.setting.padEnd(8),
          `${((Date.now() - started) / 1000).toFixed(1)} s`,
          ...errors.slice(0, 20).map((error) => `\n  ${error}`),
        ].join('  '),
      )
    }
  }
  await Promise.all(Array.from({ length: availableParallelism() }, work))
  console.log(failures === 0 ? `${cells.length} combinations compile` : `${failures} of ${cells.length} failed`)
  process.exitCode = failures === 0 ? 0 : 1
}

void main()
