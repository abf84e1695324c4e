// Packs the package, and uses it as its readers would: each example in a project of its own, by each package manager, loader, bundler and
// TypeScript, and on each Node. Run `npm run build` first.
//
//     npm run test:packed
//     npm run test:packed -- --only express,pnpm

import { rm } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { requireFreshBuild } from '../build'
import { checks } from './checks'
import { root, Workshop } from './workshop'

/** The Node that this runs on has all of `npm test`. */
const own = `node${process.versions.node.split('.')[0]}`

const removals: Promise<void>[] = []

const seconds = (from: number) => `${((performance.now() - from) / 1000).toFixed(1)} s`

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { only: { type: 'string' } } })
  const names = values.only?.split(',') ?? [...checks.keys()].filter((name) => name !== own)
  const unknown = names.filter((name) => !checks.has(name))
  if (unknown.length > 0)
    throw new Error(`There is no ${unknown.join(', ')}: there are ${[...checks.keys()].join(', ')}`)
  requireFreshBuild()
  if (!values.only) console.log(`Without ${own}, on which this runs: it is for \`npm test\``)

  const started = performance.now()
  const workshop = new Workshop()
  const failed: string[] = []
  try {
    await workshop.open()
    const tarball = await pack(workshop)
    const queue = [...names]
    const work = async () => {
      for (let name = queue.shift(); name; name = queue.shift()) {
        if (!(await check(name, workshop, tarball))) failed.push(name)
      }
    }
    await Promise.all(Array.from({ length: availableParallelism() }, work))
  } finally {
    await Promise.all(removals)
    await workshop.close()
  }
  const result = failed.length === 0 ? `${names.length} checks passed` : `failed: ${failed.join(', ')}`
  console.log(`${result}, in ${seconds(started)}`)
  if (failed.length > 0) process.exitCode = 1
}

async function pack(workshop: Workshop): Promise<string> {
  const args = ['pack', '--ignore-scripts', '--silent', '--pack-destination', workshop.folder]
  return join(workshop.folder, (await workshop.run('npm', args, { cwd: root })).trim())
}

/** Says how a check went, and how long each of its steps took. */
async function check(name: string, workshop: Workshop, tarball: string): Promise<boolean> {
  const started = performance.now()
  const steps: string[] = []
  const step = async <T>(title: string, work: () => Promise<T>) => {
    const begun = performance.now()
    const result = await work()
    steps.push(`${title} ${seconds(begun)}`)
    return result
  }
  let error: unknown
  await checks
    .get(name)?.({ workshop, tarball, step })
    .catch((reason) => {
      error = reason
    })
  // Beside the next check: it takes about as long as to install.
  removals.push(rm(join(workshop.folder, name), { recursive: true, force: true }))
  const details = steps.length > 0 ? ` (${steps.join(', ')})` : ''
  console.log(`${error === undefined ? 'ok    ' : 'failed'} ${name} ${seconds(started)}${details}`)
  if (error !== undefined) console.log(String(error).replaceAll(/^/gm, '  '))
  return error === undefined
}

void main()
