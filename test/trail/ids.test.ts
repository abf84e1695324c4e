import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { Ids } from '../../lib/trail/ids'

test('ids are told apart as strings are, whatever they look like', () => {
  const alike = '0123456789abcdef'.replaceAll(/./g, (digit) => `${digit}`)
  const uuids = fc.uuid()
  const others = fc.oneof(
    fc.string(),
    fc.constantFrom('', alike, 'x'.repeat(36), '00000000-0000-0000-0000-00000000000g'),
  )
  fc.assert(
    fc.property(fc.array(fc.oneof(uuids, others)), (given) => {
      const ids = new Ids()
      const known = new Set<string>()
      for (const id of given) {
        expect(ids.mark(id)).toBe(known.has(id))
        expect(ids.add(id)).toBe(!known.has(id))
        known.add(id)
      }
      expect(ids.size).toBe(known.size)
    }),
  )
})

test('a UUID is the same in capitals', () => {
  const ids = new Ids()
  const id = randomUUID()
  ids.add(id)
  expect(ids.add(id.toUpperCase())).toBe(false)
})

test('what was marked stays so as the set grows, and nothing else is', () => {
  const ids = new Ids()
  const given = Array.from({ length: 20_000 }, () => randomUUID())
  for (const [index, id] of given.entries()) {
    ids.add(id)
    if (index % 3 === 0) ids.mark(id)
  }
  ids.mark(given[0]!)
  expect(given.filter((id, index) => ids.isMarked(id) !== (index % 3 === 0))).toEqual([])
  expect(ids.marked).toBe(Math.ceil(given.length / 3))
  expect(ids.isMarked(randomUUID())).toBe(false)
  expect(ids.mark(randomUUID())).toBe(false)
})

test('ids that differ in one digit are different', () => {
  const id = '11111111-1111-1111-1111-111111111111'
  const ids = new Ids()
  ids.add(id)
  for (let index = 0; index < id.length; index++) {
    if (id[index] !== '-') expect(ids.add(`${id.slice(0, index)}2${id.slice(index + 1)}`)).toBe(true)
  }
})
