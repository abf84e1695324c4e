import { useProgram } from './support'

// The command line as a person has it before him: what is on the screen, and what is typed.
const cli = useProgram()
const of = [...cli.models, '--model', 'User']
const few = ['--batch-size', '2', '--concurrency', '2']
const erasedOf = async () => (await cli.raw()).map(({ encrypted_kms_key: [key] }) => key.erasedAt !== undefined)

test('a job shows a bar with its rate and the time that is left, and then what it has done', async () => {
  await cli.users(12)
  const hold = cli.kms.inject({ operation: 'Decrypt', after: 8, hold: true })
  const screen = cli.open(['rotate', ...of, ...few])
  await screen.shows(/^rotate User █+░+ \d+% \| \d+\/12 \| \d+\/(s|min) \| \d+:\d\d left$/m)
  await hold.reached(1)
  hold.remove()
  expect(await screen.ended).toBe(0)
  expect(screen.text.split('\n')).toEqual([
    expect.stringMatching(/^rotate User █{24} 100% \| 12\/12 \| \d+\/(s|min) \| 0:00 left$/),
    'User: 12 rotated, 0 unchanged, 0 failed.',
  ])
})

test('Ctrl-C stops it, and the same command goes on', async () => {
  await cli.users(12)
  const hold = cli.kms.inject({ operation: 'Decrypt', after: 6, hold: true })
  const screen = cli.open(['rotate', ...of, ...few])
  await hold.reached(1)
  screen.type('\x03')
  await screen.shows(/^Stopping: what was begun ends/m)
  hold.remove()
  expect(await screen.ended).toBe(130)
  const [, rotated] =
    /^User: (\d+) rotated, 0 unchanged, 0 failed, stopped after \1 of 12\. Start it again to go on\.$/m.exec(
      screen.text,
    ) ?? []
  expect([screen.text, Number(rotated) > 0]).toEqual([screen.text, true])
  const next = cli.open(['rotate', ...of, ...few])
  expect(await next.ended).toBe(0)
  expect(next.text).toContain('User: goes on where it was stopped')
  expect(next.text).toContain(`User: ${12 - Number(rotated)} rotated, 0 unchanged, 0 failed.`)
})

test('what failed is listed below the counts', async () => {
  const users = await cli.users(3)
  await cli.collection().updateOne({ _id: users[1]._id }, { $set: { email: 'secret@example.org' } })
  const screen = cli.open(['verify', ...of])
  expect(await screen.ended).toBe(1)
  expect(screen.text).toMatch(/^verify User █+ 100% \| 3\/3, 1 failed \|/m)
  expect(screen.text).toMatch(
    new RegExp(
      `^User: 2 in order, 1 failed\\.\n  ${users[1]._id} email PLAINTEXT_FOUND: User/${users[1]._id} email`,
      'm',
    ),
  )
  expect(screen.text).not.toContain('secret')
})

/** Where it is to be done, as far as it may be told. */
const place = () => `collection users of the database ${cli.User.db.name} at ${cli.host}.`

test('erase asks with the number of records and where they are, and does it for yes alone', async () => {
  await cli.users(3)
  const args = ['erase', ...of, '--filter', '{"name":{"$ne":"n0"}}']
  for (const typed of ['y\r', '\r', '\x03', '\x04']) {
    const screen = cli.open(args)
    await screen.shows(/^The encrypted values of 2 records of User will be lost for good\. Type yes to go on:$/m)
    expect(screen.text).toContain(`User: 2 records, ${place()}\n`)
    screen.type(typed)
    expect([typed, await screen.ended]).toEqual([typed, 130])
    expect(screen.text).toContain('Nothing was done.')
  }
  const ended = cli.open(args)
  await ended.shows(/Type yes to go on:$/m)
  ended.kill('SIGTERM')
  expect(await ended.ended).toBe(130)
  expect(await erasedOf()).toEqual([false, false, false])
  const screen = cli.open(args)
  await screen.shows(/Type yes to go on:$/m)
  screen.type('yes\r')
  expect(await screen.ended).toBe(0)
  expect(screen.text).toContain('User: 2 erased, 0 unchanged, 0 failed.')
  expect(await erasedOf()).toEqual([false, true, true])
  const again = cli.open(args)
  expect([await again.ended, again.text]).toEqual([0, 'User: nothing to erase.'])
})

test('migrate asks before it decrypts, and before it drops indexes', async () => {
  const at = { MIGRATING: 'true' }
  await cli.users(2)
  for (const [option, question] of [
    ['--undo', /The values of 2 records of User will be stored in the clear\./],
    [
      '--drop-indexes',
      /1 record of User will be encrypted, and then MongoDB's indexes on the encrypted fields dropped\./,
    ],
  ] as const) {
    if (option === '--drop-indexes') await cli.collection().insertOne({ email: 'clear@example.org' })
    const screen = cli.open(['migrate', ...of, option], at)
    await screen.shows(question)
    expect(screen.text).toContain(place())
    screen.type('no\r')
    expect(await screen.ended).toBe(130)
  }
  expect((await cli.raw()).map(({ email }) => email.constructor.name)).toEqual(['Binary', 'Binary', 'String'])
})

test('indexes are dropped where no record is left in the clear, if that is what is wanted', async () => {
  const at = { MIGRATING: 'true' }
  const [{ _id }] = await cli.users(1)
  await cli.collection().createIndex({ email: 1 })
  const names = async () => (await cli.collection().indexes()).map(({ name }) => name)
  const args = ['migrate', ...of, '--drop-indexes']
  for (const [typed, code, after] of [
    ['no', 130, ['_id_', 'email_1']],
    ['yes', 0, ['_id_']],
  ] as const) {
    const screen = cli.open(args, at)
    await screen.shows(/^0 records of User will be encrypted, .* dropped\. Type yes to go on:$/m)
    screen.type(`${typed}\r`)
    expect([typed, await screen.ended, await names()]).toEqual([typed, code, after])
  }
  expect((await cli.raw()).map((record) => record._id)).toEqual([_id])
})

test('status is a table', async () => {
  await cli.users(3)
  await cli.User.collection.conn.db.collection('users').insertOne({ name: 'none' })
  const screen = cli.open(['status', ...of])
  expect(await screen.ended).toBe(0)
  const table = screen.text.split('\n').map((line) => line.trim().replace(/ {2,}/, ': '))
  expect(table).toEqual([
    ...['User: 4', 'encrypted_kms_key: 3', expect.stringMatching(/^key arn:aws:kms:\S+: 3$/), 'version 1: 3'],
    ...['older than 30 days: 0', 'older than 90 days: 0', 'older than 365 days: 0', 'no data key, or erased: 1'],
  ])
})

test('a dry run tells what it would cost', async () => {
  await cli.users(3)
  const screen = cli.open(['rotate', ...of, '--dry-run'])
  expect(await screen.ended).toBe(0)
  expect(screen.text.replaceAll('\n', '')).toContain(
    'User: 3 records, at most 6 calls to KMS, less than $0.01 at $0.03 for 10,000 (an estimate: prices differ by region). Nothing was changed.',
  )
})

test('with --json it is the lines of a pipe, and no bar', async () => {
  await cli.users(3)
  const screen = cli.open(['verify', ...of, '--json'])
  expect(await screen.ended).toBe(0)
  expect(screen.text).not.toMatch(/█|in order/)
  expect(screen.text.match(/"type":"(start|progress|result)"/g)).toHaveLength(3)
})
