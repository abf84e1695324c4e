// What encryption costs, beside plain Mongoose and beside other libraries: see README.md.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'

const options = {
  only: { type: 'string' },
  rounds: { type: 'string', default: '9' },
  records: { type: 'string', default: '1000' },
  documents: { type: 'string', default: '200000' },
  results: { type: 'string', default: join(__dirname, 'results.md') },
} as const

async function main(): Promise<void> {
  const { values: args } = parseArgs({ options })
  const extent = { rounds: Number(args.rounds), records: Number(args.records), documents: Number(args.documents) }
  for (const [name, value] of Object.entries(extent))
    if (!Number.isInteger(value) || value < 1) throw new Error(`--${name}: expected a positive integer.`)
  if (!existsSync(join(__dirname, 'node_modules'))) install()
  // Loads Mongoose, which may have been installed just now.
  const { run } = await import('./run.js')
  // `npm --prefix` has changed the directory.
  await run(args.only?.split(','), extent, resolve(process.env.INIT_CWD ?? '.', args.results))
}

function install(): void {
  const { status } = spawnSync('npm', ['ci'], { cwd: __dirname, stdio: 'inherit', shell: process.platform === 'win32' })
  if (status !== 0) throw new Error('npm ci failed in bench/.')
}

void main()
