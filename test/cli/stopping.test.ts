import { emailOf, type Outcome, useProgram } from './support'

// Jobs that are stopped, or killed, and go on when they are started again.
const cli = useProgram()
const rotate = ['rotate', ...cli.models, '--model', 'User', '--batch-size', '2', '--concurrency', '2']
const datesOf = async () => (await cli.raw()).map(({ encrypted_kms_key: [key] }) => key.createdAt.getTime())

/** Runs it until nobody else has it: the lease of one that was killed ends some time. */
async function runWhenFree(args: readonly string[]): Promise<Outcome> {
  while (true) {
    const outcome = await cli.run(args)
    if (outcome.lines.at(-1)?.code !== 'JOB_RUNNING') return outcome
    expect(outcome.code).toBe(3)
  }
}

async function expectAllRotated(before: readonly number[]): Promise<void> {
  for (const [index, date] of (await datesOf()).entries()) expect([index, date > before[index]!]).toEqual([index, true])
  const opened = await cli.User.decrypt(await cli.User.find().sort('_id').lean())
  expect(opened.map(({ email }: any) => email)).toEqual(before.map((_, index) => emailOf(index)))
}

test.each(['SIGINT', 'SIGTERM'] as const)('%s ends what was begun, and the next call goes on', async (signal) => {
  await cli.users(12)
  const before = await datesOf()
  const hold = cli.kms.inject({ operation: 'Decrypt', after: 6, hold: true })
  const running = cli.start(rotate)
  await hold.reached(1)
  running.child.kill(signal)
  await running.hasWritten('Stopping')
  hold.remove()
  const { code, lines } = await running.ended
  const { processed } = lines.at(-1)
  expect([code, lines.at(-1)]).toEqual([130, expect.objectContaining({ outcome: 'interrupted', updated: processed })])
  expect([processed > 0, processed < 12]).toEqual([true, true])
  const next = await cli.run(rotate)
  expect([next.code, next.lines.at(-1)]).toEqual([
    0,
    expect.objectContaining({ isResumed: true, updated: 12 - processed }),
  ])
  expect(next.lines[0]).toMatchObject({ type: 'start', records: 12 - processed, checkpoint: lines.at(-1).checkpoint })
  expect(next.stderr).toContain('goes on where it was stopped')
  expect(cli.kms.calls).toHaveLength(24)
  await expectAllRotated(before)
})

test('with --no-resume it begins anew', async () => {
  await cli.users(6)
  const hold = cli.kms.inject({ operation: 'Decrypt', after: 3, hold: true })
  const running = cli.start(['verify', ...rotate.slice(1)])
  await hold.reached(1)
  running.child.kill('SIGINT')
  await running.hasWritten('Stopping')
  hold.remove()
  expect((await running.ended).code).toBe(130)
  const { lines } = await cli.run(['verify', ...rotate.slice(1), '--no-resume'])
  expect(lines.at(-1)).toMatchObject({ isResumed: false, processed: 6 })
})

test('a second signal ends it at once, and its lease is waited for', async () => {
  await cli.users(12)
  const before = await datesOf()
  const hold = cli.kms.inject({ operation: 'Decrypt', after: 6, hold: true })
  const running = cli.start([...rotate, '--lease', '1'])
  await hold.reached(1)
  running.child.kill('SIGINT')
  await running.hasWritten('Stopping')
  running.child.kill('SIGINT')
  expect(await running.ended).toMatchObject({ code: 130, lines: expect.not.arrayContaining([{ type: 'result' }]) })
  hold.remove()
  expect(await runWhenFree(rotate)).toMatchObject({ code: 0 })
  await expectAllRotated(before)
})

test('killed at any moment, it is done by who comes next', async () => {
  await cli.users(16)
  const before = await datesOf()
  const after = Math.floor(Math.random() * 30)
  const hold = cli.kms.inject({ after, hold: true })
  const running = cli.start([...rotate, '--lease', '1'])
  await hold.reached(1)
  running.child.kill('SIGKILL')
  await running.ended
  hold.remove()
  const { code, lines } = await runWhenFree(rotate)
  expect([after, code, lines.at(-1).failed]).toEqual([after, 0, 0])
  await expectAllRotated(before)
})

test('a reader who has gone stops it as a signal does', async () => {
  await cli.users(12)
  const before = await datesOf()
  const hold = cli.kms.inject({ operation: 'Decrypt', after: 6, hold: true })
  const running = cli.start(rotate)
  await hold.reached(1)
  running.child.stdout!.destroy()
  hold.remove()
  expect(await running.ended).toMatchObject({ code: 130 })
  expect(await cli.run(rotate)).toMatchObject({ code: 0 })
  await expectAllRotated(before)
})
