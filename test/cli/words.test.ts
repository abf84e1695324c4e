import * as library from '../../lib'
import { paceOf } from '../../lib/cli/bar'
import { count, date, partition } from '../../lib/cli/options'
import { describeFailure, Output, withoutPasswords } from '../../lib/cli/output'
import { costOf, withPlural } from '../../lib/cli/words'

// How the command line reads and tells numbers.
test('rate and remaining time', () => {
  expect(paceOf(0, 100, 5000)).toBe('…')
  expect(paceOf(50, 100, 10_000)).toBe('5/s | 0:10 left')
  expect(paceOf(1, 121, 2000)).toBe('30/min | 4:00 left')
  expect(paceOf(1000, 1_000_000, 4000)).toBe('250/s | 1:06:36 left')
  expect(paceOf(100, 100, 4000)).toBe('25/s | 0:00 left')
})

test('what calls cost', () => {
  expect(costOf(0)).toEqual({ usd: 0, text: '$0' })
  expect(costOf(1)).toMatchObject({
    usd: 0.000003,
    text: expect.stringMatching(/^less than \$0\.01 at \$0\.03 for 10,000/),
  })
  expect(costOf(2_000_000)).toMatchObject({ usd: 6, text: expect.stringMatching(/^about \$6\.00 at/) })
  expect([0, 1, 2].map((each) => withPlural(each, 'record'))).toEqual(['0 records', '1 record', '2 records'])
})

test('parts are said from one, and given from zero', () => {
  expect(['1/4', '4/4', '1/1'].map(partition)).toEqual([
    { index: 0, of: 4 },
    { index: 3, of: 4 },
    { index: 0, of: 1 },
  ])
  for (const text of ['0/4', '5/4', '1', '1/0', '-1/4', '1/4/2', '1.5/4', 'a/b', ' 1/4'])
    expect(() => partition(text)).toThrow('such as 1/4')
})

test('counts and dates', () => {
  expect(['1', '50'].map(count)).toEqual([1, 50])
  for (const text of ['0', '-1', '1.5', '1e3', '', 'x', '01']) expect(() => count(text)).toThrow('positive integer')
  expect(date('2026-01-31')).toEqual(new Date('2026-01-31T00:00:00Z'))
  expect(date('2026-01-31T12:00:00Z')).toEqual(new Date('2026-01-31T12:00:00Z'))
  for (const text of ['yesterday', '90', '2026-13-01', '01/31/2026'])
    expect(() => date(text)).toThrow('such as 2026-01-31')
})

test('the messages of all errors of this library are told, and of no others', () => {
  const classes = Object.values(library).filter(
    (each): each is any => typeof each === 'function' && each.prototype instanceof library.KmsEncryptedError,
  )
  expect(classes.length).toBeGreaterThan(6)
  for (const Made of classes)
    expect(describeFailure(new Made('CODE', 'what'))).toEqual({ code: 'CODE', message: 'what' })
  expect(describeFailure(Object.assign(new TypeError('a value'), { code: 5 }))).toEqual({
    code: 5,
    message: 'TypeError',
  })
  expect(describeFailure(null)).toEqual({ code: undefined, message: 'Error' })
})

test('no password of a connection string is told', () => {
  expect(withoutPasswords('mongodb+srv://ada:p%40ss@cluster.example.org/db failed')).toBe(
    'mongodb+srv://…@cluster.example.org/db failed',
  )
  expect(withoutPasswords('no mongodb://a:p@ss@h1,h2/x, nor mongodb://h:1/y')).toBe(
    'no mongodb://…@h1,h2/x, nor mongodb://h:1/y',
  )
})

test('what a terminal would obey is written nowhere, and no id makes lines of its own', () => {
  const hostile = 'a\x1b[2J\x9b1A\u202e\u{e0041}\u2060b'
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  const obeyed = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e\u2060]|\u{e0041}/u
  const written: string[] = []
  const stream = (isTTY: boolean) => ({ isTTY, write: (text: string) => written.push(text) }) as never
  for (const isTTY of [true, false]) {
    const output = new Output({ stdout: stream(isTTY), stderr: stream(isTTY) })
    output.text(`one ${hostile}\ntwo`)
    output.message(`one ${hostile}\ntwo`)
    output.line({ hostile })
    output.error(new library.RecordError('RECORD_LOCKED', hostile))
  }
  expect(written.join('')).not.toMatch(obeyed)
  expect(written[0]).toMatch(/^one a.*b\ntwo\n$/)
  const lines = written.filter((text) => text.startsWith('{"hostile"'))
  expect(lines.map((line) => JSON.parse(line))).toEqual([{ hostile }])
  const { message } = describeFailure(new library.RecordError('RECORD_LOCKED', 'User/a\nUser: 5 rotated'))
  expect(message).toBe('User/a\ufffdUser: 5 rotated')
})
