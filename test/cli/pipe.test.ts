import { emailOf, useProgram } from './support'

// The command line as a program uses it: lines of JSON, exit codes.
const cli = useProgram()
const { models, raw, sent } = cli
const reading = [
  'aggregate',
  'count',
  'distinct',
  'find',
  'getMore',
  'hello',
  'isMaster',
  'ismaster',
  'listIndexes',
  'saslStart',
]
const writing = () => sent().filter((name) => !reading.includes(name))
const calls = () => cli.kms.calls.map(({ eventName }) => eventName)
const datesOf = async () => (await raw()).map(({ encrypted_kms_key }) => encrypted_kms_key?.[0].createdAt?.getTime())

test('status counts the records of all models, and calls KMS for nothing', async () => {
  await cli.users(3)
  await cli.Note.create([{ title: 'a', text: 'b' }, { title: 'c' }])
  cli.kms.clearCalls()
  const { code, lines, stderr } = await cli.run(['status', ...models])
  expect([code, stderr]).toEqual([0, ''])
  const key = cli.kms.calls
  expect(lines).toEqual([
    { type: 'status', model: 'User', records: 3, keys: [expect.objectContaining({ withKeys: 3, withoutKeys: 0 })] },
    { type: 'status', model: 'Note', records: 2, keys: [expect.objectContaining({ withKeys: 1, withoutKeys: 1 })] },
  ])
  expect(lines[0].keys[0].keyIds).toEqual([{ keyId: expect.stringMatching(/^arn:aws:kms:/), records: 3 }])
  expect([key, writing()]).toEqual([[], []])
})

test('rotate tells its steps, and gives each record a new data key', async () => {
  const users = await cli.users(5)
  const before = await datesOf()
  const { code, lines, stderr } = await cli.run([
    'rotate',
    ...models,
    '--model',
    'User',
    '--batch-size',
    '2',
    '--concurrency',
    '1',
  ])
  expect([code, stderr]).toEqual([0, ''])
  const last = { startedAt: { $date: expect.any(String) }, id: { $oid: String(users[4]._id) } }
  const all = { updated: 5, unchanged: 0, failed: 0, checkpoint: last }
  expect(lines).toEqual([
    { type: 'start', model: 'User', command: 'rotate', records: 5 },
    expect.objectContaining({ type: 'progress', model: 'User', processed: 2 }),
    expect.objectContaining({ type: 'progress', model: 'User', processed: 4 }),
    { type: 'progress', model: 'User', processed: 5, ...all },
    { type: 'result', model: 'User', command: 'rotate', outcome: 'done', processed: 5, ...all, isResumed: false },
  ])
  for (const [index, date] of (await datesOf()).entries()) expect(date).toBeGreaterThan(before[index])
  expect(calls().sort()).toEqual([...Array(5).fill('Decrypt'), ...Array(5).fill('GenerateDataKey')])
  const [found] = await cli.User.find().sort('_id')
  expect(await found.email).toBe(emailOf(0))
})

test('all models that there are have their turn, a model with its discriminators, by whatever name its methods have', async () => {
  await cli.users(1)
  await cli.Note.create({ title: 'a', text: 'b' })
  const { code, lines } = await cli.run(['rotate', ...models])
  expect(code).toBe(0)
  const results = lines.filter(({ type }) => type === 'result')
  expect(results.map(({ model, updated }) => [model, updated])).toEqual([
    ['User', 1],
    ['Note', 1],
  ])
  expect((await cli.run(['verify', ...models, '--model', 'Memo'])).lines.at(-1)).toMatchObject({
    model: 'Memo',
    processed: 0,
  })
})

test.each([
  [['rotate'], 3, 6],
  [['rewrap'], 3, 3],
  [['verify'], 3, 3],
  [['erase', '--filter', '{"name":{"$ne":"n0"}}'], 2, 0],
  [['migrate'], 2, 2],
  [['migrate', '--undo'], 3, 3],
  [['migrate', '--drop-indexes'], 2, 2],
  [['rotate', '--partition', '2/2'], 2, 4],
])(
  '%j --dry-run tells records, calls and dollars, and neither writes nor asks KMS',
  async (command, records, kmsCalls) => {
    await cli.users(3)
    if (command[0] === 'migrate') {
      await cli.collection().insertMany([{ email: 'clear@example.org' }, { dob: new Date() }])
      await cli.collection().createIndex({ email: 1 })
    }
    const [before, collections] = [await raw(), await cli.collections()]
    const { code, lines, stderr } = await cli.run([...command, ...models, '--model', 'User', '--dry-run'], {
      MIGRATING: 'true',
    })
    expect([code, stderr]).toEqual([0, ''])
    expect(lines.at(-1)).toEqual({
      ...{ type: 'plan', model: 'User', command: command[0], outcome: 'done', failed: 0 },
      ...{ records, kmsCalls, usd: Number((kmsCalls * 0.000003).toFixed(6)) },
    })
    expect([calls(), writing()]).toEqual([[], []])
    expect([await raw(), await cli.collections()]).toEqual([before, collections])
    if (command[0] === 'migrate') expect(await cli.collection().indexes()).toHaveLength(2)
  },
)

test('records that fail are told of by id, path and code, and never by value', async () => {
  const users = await cli.users(3)
  await cli.collection().updateOne({ _id: users[1]._id }, { $set: { email: 'secret@example.org' } })
  const { code, lines, stdout, stderr } = await cli.run(['verify', ...models, '--model', 'User'])
  expect(code).toBe(1)
  expect(lines.filter(({ type }) => type === 'failure')).toEqual([
    {
      ...{ type: 'failure', model: 'User', id: { $oid: String(users[1]._id) }, path: 'email', code: 'PLAINTEXT_FOUND' },
      message: expect.stringContaining(`User/${users[1]._id} email`),
    },
  ])
  expect(lines.at(-1)).toMatchObject({ type: 'result', outcome: 'failed', processed: 3, unchanged: 2, failed: 1 })
  expect(stdout + stderr).not.toContain('secret@example.org')
})

test('who acts is told where the application asks for it', async () => {
  await cli.Note.create([{ text: 'a' }, { text: 'b' }])
  cli.kms.clearCalls()
  const verify = ['verify', ...models, '--model', 'Note']
  const env = { REQUIRE_ACTOR: 'true' }
  const { code, stderr } = await cli.run(verify, env)
  expect([code, stderr, calls()]).toEqual([2, expect.stringMatching(/^ACTOR_REQUIRED: Note/), []])
  expect((await cli.run([...verify, '--actor', 'ada', '--reason', 'audit'], env)).lines.at(-1)).toMatchObject({
    unchanged: 2,
  })
})

test('a filter is Extended JSON, and what is wrong with it is told without it', async () => {
  const users = await cli.users(3, (index) => ({ at: new Date(Date.UTC(2026, index, 1)) }))
  const by = async (filter: string) => {
    const { code, lines, stderr } = await cli.run(['verify', ...models, '--model', 'User', '--filter', filter])
    return [code, lines.at(-1)?.processed, stderr]
  }
  expect(await by(`{"_id":{"$oid":"${users[1]._id}"}}`)).toEqual([0, 1, ''])
  expect(await by('{"at":{"$gte":{"$date":"2026-02-01T00:00:00Z"}}}')).toEqual([0, 2, ''])
  const [code, , stderr] = await by('{"name":"secret')
  expect([code, stderr]).toEqual([2, expect.stringContaining('--filter is no object of Extended JSON')])
  expect(stderr).not.toContain('secret')
  expect((await by('{"email":"ada"}'))[0]).toBe(2)
})

test('migrate encrypts what is in the clear, drops the indexes of before, and undoes it', async () => {
  const at = { MIGRATING: 'true' }
  await cli.collection().insertMany([{ email: 'a@example.org' }, { email: 'b@example.org' }, { name: 'none' }])
  await cli.collection().createIndex({ email: 1 })
  const done = await cli.run(['migrate', ...models], at)
  expect([done.code, done.lines.at(-1)]).toEqual([0, expect.objectContaining({ updated: 2, indexes: ['email_1'] })])
  const dropped = await cli.run(['migrate', ...models, '--drop-indexes', '--yes'], at)
  expect([dropped.code, dropped.lines.at(-1).droppedIndexes]).toEqual([0, ['email_1']])
  expect((await raw()).map(({ email }) => email?.constructor.name)).toEqual(['Binary', 'Binary', undefined])
  expect(await cli.collection().indexes()).toHaveLength(1)
  const undone = await cli.run(['migrate', ...models, '--undo', '--yes'], at)
  expect([undone.code, undone.lines.at(-1).updated]).toEqual([0, 2])
  expect((await raw()).map(({ email }) => email)).toEqual(['a@example.org', 'b@example.org', undefined])
  const none = await cli.run(['migrate', ...models])
  expect([none.code, none.stderr]).toEqual([2, expect.stringContaining('no model is migrating')])
})

test('erase takes away what opens the records that the filter finds, and asks KMS for nothing', async () => {
  await cli.users(3)
  const args = ['erase', ...models, '--model', 'User', '--filter', '{"name":"n1"}']
  const { code, stderr } = await cli.run(args)
  expect([code, stderr]).toEqual([2, expect.stringContaining('Give --yes')])
  expect(sent()).toEqual([])
  expect((await cli.run([...args, '--yes'])).lines.at(-1)).toMatchObject({ outcome: 'done', processed: 1, updated: 1 })
  expect(calls()).toEqual([])
  const erased = (await raw()).map(({ encrypted_kms_key: [key] }) => key.erasedAt !== undefined)
  expect(erased).toEqual([false, true, false])
})

test('rewrap has KMS wrap what is under another key', async () => {
  await cli.users(2)
  const { arn } = cli.kms.createKey()
  cli.kms.updateAlias('alias/programs', arn)
  const { code, lines } = await cli.run(['rewrap', ...models, '--model', 'User'])
  expect([code, lines.at(-1).updated]).toEqual([0, 2])
  expect(calls()).toEqual(['ReEncrypt', 'ReEncrypt'])
  expect((await raw()).map(({ encrypted_kms_key: [key] }) => key.keyId)).toEqual([arn, arn])
})

test('backfill makes the index values of records from before', async () => {
  await cli.users(2)
  const none = await cli.run(['backfill', ...models])
  expect([none.code, none.stderr]).toEqual([
    2,
    expect.stringContaining('nothing to backfill: no field has a blind index'),
  ])
  const { stdout } = await cli.run(['index-key', '--key-id', 'alias/programs'])
  cli.kms.clearCalls()
  const { code, lines } = await cli.run(['backfill', ...models], { INDEX_KEY: stdout.trim() })
  expect([code, lines.at(-1)]).toEqual([0, expect.objectContaining({ model: 'User', outcome: 'done', updated: 2 })])
  expect(calls()).toEqual(['Decrypt', 'Decrypt', 'Decrypt'])
  expect((await raw()).map(({ email_bidx }) => email_bidx?.length() > 0)).toEqual([true, true])
})

test('parts are counted from one, and done side by side', async () => {
  await cli.users(10)
  const before = await datesOf()
  const part = (which: string) => cli.run(['rotate', ...models, '--model', 'User', '--partition', which])
  const results = await Promise.all(['1/3', '2/3', '3/3'].map(part))
  expect(results.map(({ code, lines }) => [code, lines.at(-1).updated])).toEqual([
    [0, 3],
    [0, 3],
    [0, 4],
  ])
  for (const [index, date] of (await datesOf()).entries()) expect(date).toBeGreaterThan(before[index])
})

test('index-key prints what goes into the configuration', async () => {
  const { code, stdout, stderr } = await cli.run(['index-key', '--key-id', 'alias/programs', '--name', 'eu'])
  expect([code, stdout]).toEqual([0, expect.stringMatching(/^[\w-]{100,}\n$/)])
  expect(stderr).toContain('indexKey')
  expect(cli.kms.calls).toEqual([
    expect.objectContaining({
      eventName: 'GenerateDataKey',
      requestParameters: expect.objectContaining({ encryptionContext: { BlindIndex: 'eu' } }),
    }),
  ])
  const { lines } = await cli.run(['index-key', '--key-id', 'alias/programs', '--json'])
  expect(lines).toEqual([{ type: 'index-key', indexKey: expect.stringMatching(/^[\w-]{100,}$/) }])
})

describe('exit codes', () => {
  const misuses: [string[], RegExp][] = [
    [[], /Usage:/],
    [['rotat'], /unknown command 'rotat'/],
    [['rotate', ...models, '--olderthan', '5'], /unknown option/],
    [['rotate'], /required option.*--require/],
    [['rotate', '--require', './nowhere.cjs'], /There is no module \.\/nowhere\.cjs/],
    [['rotate', '--require', 'node:fs'], /No model with encrypted fields/],
    [['rotate', ...models, '--model', 'Usr'], /There is no model Usr.*User/],
    [['rotate', ...models, '--concurrency', '0'], /positive integer/],
    [['rotate', ...models, '--partition', '0/4'], /such as 1\/4/],
    [['rotate', ...models, '--partition', '5/4'], /such as 1\/4/],
    [['rotate', ...models, '--partition', '1/4', '--no-resume'], /cannot be used with/],
    [['rotate', ...models, '--older-than', 'yesterday'], /Expected a date/],
    [['erase', ...models, '--model', 'User'], /required option.*--filter/],
    [['erase', ...models, '--filter', '{}'], /required option.*--model/],
    [
      ['erase', ...models, '--model', 'User', '--filter', '{}', '--yes'],
      /eraseKmsKey\(\): filter: expected conditions/,
    ],
    [['migrate', ...models, '--undo', '--drop-indexes'], /cannot be used with/],
    [['migrate', ...models, '--drop-indexes', '--partition', '1/2', '--yes'], /run over all records/],
    [['index-key'], /required option.*--key-id/],
  ]
  test.each(misuses)('2 for %j', async (args, message) => {
    const { code, stderr } = await cli.run(args)
    expect([code, stderr]).toEqual([2, expect.stringMatching(message)])
    expect([stderr.includes('    at '), writing()]).toEqual([false, []])
  })

  test('2 without a database to connect to', async () => {
    const { code, stderr } = await cli.run(['status', ...models], { MONGODB_URI: '' })
    expect([code, stderr]).toEqual([2, expect.stringContaining('Give --uri or MONGODB_URI')])
  })

  test('3 without the database, and its password is not shown', async () => {
    const uri = 'mongodb://ada:sesame@127.0.0.1:9/test?serverSelectionTimeoutMS=50'
    for (const [args, env] of [
      [['--uri', uri], {}],
      [[], { MONGODB_URI: uri }],
      [['--uri', uri.replace('mongodb:', 'mongo:')], {}],
    ] as const) {
      const { code, stdout, stderr } = await cli.run(['status', ...models, ...args], env)
      expect([code, stderr === '']).toEqual([3, false])
      expect(stdout + stderr).not.toContain('sesame')
    }
  })

  test('3 where KMS lets nobody in, once for all records', async () => {
    await cli.users(50)
    const fault = cli.kms.inject({ error: 'IncompleteSignatureException' })
    const { code, stderr, lines } = await cli.run(['verify', ...models, '--concurrency', '1'])
    fault.remove()
    expect([code, stderr]).toEqual([3, expect.stringContaining('KMS_CREDENTIALS_REJECTED')])
    expect(lines.at(-1)).toMatchObject({ type: 'error', code: 'KMS_CREDENTIALS_REJECTED' })
    expect(calls().length).toBeLessThan(10)
  })

  test('0 for the version, and for help, of each command', async () => {
    expect(await cli.run(['--version'])).toMatchObject({ code: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) })
    const { code, stdout } = await cli.run(['--help'])
    expect(code).toBe(0)
    const names = [...stdout.matchAll(/^ {2}([\w-]+) \[options\]/gm)].map(([, name]) => name as string)
    expect(names).toEqual([
      'status',
      'migrate',
      'backfill',
      'rotate',
      'rewrap',
      'verify',
      'erase',
      'index-key',
      'audit',
    ])
    for (const name of names) {
      const help = await cli.run([name, '--help'])
      expect([help.code, help.stdout]).toEqual([
        0,
        expect.stringContaining(`Usage: mongoose-kms-encrypted ${name} [options]`),
      ])
      expect(help.stdout).toMatch(/Exit codes:\n +0 +done/)
    }
  })
})
