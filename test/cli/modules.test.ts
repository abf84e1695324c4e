import { chmodSync, readFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { useProgram } from './support'

// How the command line comes to the models of an application, and what it leaves alone.
const cli = useProgram()
const processed = (lines: any[]) => lines.at(-1)

test('CommonJS that connects to nothing is connected by --uri or MONGODB_URI', async () => {
  await cli.users(2)
  const verify = ['verify', '-r', 'models.cjs', '-m', 'User']
  expect(processed((await cli.run(verify)).lines)).toMatchObject({ processed: 2 })
  const byOption = await cli.run([...verify, '--uri', cli.uri], { MONGODB_URI: 'mongodb://127.0.0.1:9/none' })
  expect(processed(byOption.lines)).toMatchObject({ processed: 2 })
})

test('an ES module that connects by itself, and keeps running, is taken as it is', async () => {
  await cli.users(2)
  const verify = ['verify', '--require', './connected.mjs']
  const env = { DATABASE: cli.uri, MONGODB_URI: '' }
  expect(await cli.run(verify, env)).toMatchObject({
    code: 0,
    lines: expect.arrayContaining([expect.objectContaining({ processed: 2, outcome: 'done' })]),
  })
})

test('where a module connects by itself, --uri is refused: it would be another database', async () => {
  const other = ['--uri', 'mongodb://127.0.0.1:9/none']
  for (const modules of [
    [...cli.models, '--require', './connecting.cjs'],
    ['--require', './connected.mjs'],
  ]) {
    const { code, stderr } = await cli.run(['verify', ...modules, ...other], { DATABASE: cli.uri })
    expect([code, stderr]).toEqual([2, expect.stringContaining('leave --uri out')])
  }
})

test('a model on a connection that nobody opens is told of', async () => {
  const { code, stderr } = await cli.run(['verify', '--require', './unconnected.cjs'])
  expect([code, stderr]).toEqual([2, expect.stringContaining('User is on a connection of its own, which is not open')])
})

test.each([
  ['--import tsx', ['--import', 'tsx'], {}],
  ['NODE_OPTIONS', [], { NODE_OPTIONS: '--import tsx' }],
])('TypeScript is loaded by the loader of the application, by %s', async (_by, args, env) => {
  await cli.users(2)
  const { code, lines, stderr } = await cli.run(['verify', ...args, '--require', './models.ts'], env)
  expect([code, stderr, processed(lines)]).toEqual([0, '', expect.objectContaining({ model: 'User', processed: 2 })])
})

test('without a loader, TypeScript is refused with a hint', async () => {
  const { code, stderr } = await cli.run(['verify', '--require', './models.ts'])
  expect([code, stderr]).toEqual([2, expect.stringMatching(/models\.ts was not loaded: .*--import tsx/s)])
})

test('a module that fails is told of as Node does', async () => {
  const { code, stderr } = await cli.run(['verify', ...cli.models], { KMS_KEY_ID: '' })
  expect([code, stderr]).toEqual([2, expect.stringMatching(/^KEY_ID_INVALID: kmsEncrypted: keyId/)])
  const env = { DATABASE: 'mongodb://ada:sesame@127.0.0.1:9/test?serverSelectionTimeoutMS=50' }
  for (const [args, place] of [
    [['./broken.mjs'], /^TypeError: There is no mongodb:\/\/…@127.*\n +at .*broken\.mjs:2/],
    [['./broken.ts', '--import', 'tsx'], /^TypeError: There is no mongodb:\/\/…@127.*\n +at .*broken\.ts:2/],
    [['./connecting.cjs', ...cli.models], /ECONNREFUSED|Server selection timed out/],
  ] as [string[], RegExp][]) {
    const broken = await cli.run(['verify', '--require', ...args], env)
    expect([broken.code, broken.stderr]).toEqual([3, expect.stringMatching(place)])
    expect(broken.stdout + broken.stderr).not.toContain('sesame')
  }
})

test('no collection and no index is made by loading models, whatever their autoIndex says', async () => {
  await cli.users(1)
  const collections = await cli.collections()
  for (const [args, env] of [
    [cli.models, {}],
    [['--require', './connecting.cjs', ...cli.models], { DATABASE: cli.uri }],
  ] as [string[], Record<string, string>][]) {
    cli.proxy.clearCommands()
    expect(await cli.run(['verify', ...args], env)).toMatchObject({ code: 0 })
    expect(cli.sent().filter((name) => /create|drop/i.test(name))).toEqual([])
  }
  expect([await cli.collections(), await cli.collection().indexes()]).toEqual([
    [...new Set([...collections, 'kms_jobs'])].sort(),
    [expect.objectContaining({ name: '_id_' })],
  ])
})

test('the program is one that npm links, and runs by itself', async () => {
  const { program, folder } = cli.application
  expect(readFileSync(program, 'utf8')).toMatch(/^#!\/usr\/bin\/env node\n/)
  // As npm does.
  chmodSync(program, 0o755)
  symlinkSync(program, join(folder, 'linked'))
  const { code, stdout } = await cli.shell('./linked rotate --help | head -1').ended
  expect([code, stdout]).toEqual([0, 'Usage: mongoose-kms-encrypted rotate [options]\n'])
})

test('the library itself loads nothing of the command line', async () => {
  const script =
    "require('mongoose-kms-encrypted'); console.log(JSON.stringify(Object.keys(require.cache).filter((path) => /commander|cli/.test(path.replace(/.*node_modules/, '')))))"
  const { code, stdout } = await cli.node(['-e', script]).ended
  expect([code, stdout]).toEqual([0, expect.stringMatching(/^\[[^\]]*\]\n$/)])
  expect(stdout).not.toMatch(/commander|cli-progress|dist\/cli/)
})
