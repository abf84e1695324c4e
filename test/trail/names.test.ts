import fc from 'fast-check'
import { Names } from '../../lib/trail/names'

test('each name has one number, from 0 on, and is given back by it', () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.string({ unit: 'grapheme' }), fc.constantFrom('', 'User/1', 'User/11'))),
      (given) => {
        const names = new Names()
        const numbers = new Map<string, number>()
        for (const name of given) {
          if (!numbers.has(name)) numbers.set(name, numbers.size)
          expect(names.numberOf(name)).toBe(numbers.get(name))
        }
        expect(names.size).toBe(numbers.size)
        for (const [name, number] of numbers) expect(names.nameOf(number)).toBe(name)
      },
    ),
  )
})

test('there may be many of them, of any length', () => {
  const names = new Names()
  const nameOf = (index: number) => `User/${`${index}/`.repeat(1 + (index % 40))}`
  for (let index = 0; index < 50_000; index++) expect(names.numberOf(nameOf(index))).toBe(index)
  for (let index = 0; index < 50_000; index++) {
    if (names.numberOf(nameOf(index)) !== index || names.nameOf(index) !== nameOf(index)) throw new Error(nameOf(index))
  }
  expect(names.size).toBe(50_000)
})

test('of a name that is longer than any encryption context may be, the first of it counts', () => {
  const names = new Names()
  expect(names.numberOf('x'.repeat(100_000))).toBe(0)
  expect(names.numberOf('x'.repeat(200_000))).toBe(0)
  expect(names.nameOf(0)).toBe('x'.repeat(64 * 1024 - 1))
  expect(names.numberOf('y')).toBe(1)
})
