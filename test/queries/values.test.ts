import mongoose from 'mongoose'
import { entriesOf, isOff, isSwitch, itemsOf, pathsIn } from '../../lib/queries/values'
import { Filter } from './layouts'

const { Binary, Decimal128, Double, Int32, Long, ObjectId } = mongoose.mongo

test('what holds others is looked into, whatever its class', () => {
  const nothing = Object.assign(Object.create(null), { a: 1 })
  for (const value of [{ a: 1 }, new Filter({ a: 1 }), nothing, new Map([['a', 1]]), { toBSON: () => ({ a: 1 }) }]) {
    expect(entriesOf(value)).toEqual([['a', 1]])
    expect(itemsOf(value)).toBeUndefined()
  }
  for (const value of [[1], { toBSON: () => [1] }]) {
    expect(itemsOf(value)).toEqual([1])
    expect(entriesOf(value)).toBeUndefined()
  }
  const Person = mongoose.createConnection().model('Person', new mongoose.Schema({ a: [Number] }, { _id: false }))
  const person = new Person({ a: [1] })
  expect(entriesOf(person)?.map(([key]) => key)).toEqual(['a'])
  expect(itemsOf(person.a)).toEqual([1])
})

test('what is one value is not', () => {
  const values = [
    null,
    undefined,
    1,
    'a',
    true,
    1n,
    Symbol('a'),
    () => {},
    new Date(),
    /a/,
    Buffer.from('a'),
    new Uint8Array(1),
  ]
  for (const value of [...values, new ObjectId(), new Binary(Buffer.from('a')), Long.fromNumber(1)]) {
    expect(entriesOf(value)).toBeUndefined()
    expect(itemsOf(value)).toBeUndefined()
  }
})

test('paths are read off objects within objects, down to operators and values', () => {
  const date = new Date()
  expect(
    pathsIn({ a: 1, b: { c: 0, d: { e: date } }, f: { $slice: 1 }, g: {}, h: [{ i: 1 }], 'j.k': new Map([['l', 1]]) }),
  ).toEqual([
    ['a', 1],
    ['b.c', 0],
    ['b.d.e', date],
    ['f', { $slice: 1 }],
    ['g', {}],
    ['h', [{ i: 1 }]],
    ['j.k.l', 1],
  ])
})

test('numbers of all classes switch a path on or off', () => {
  for (const value of [0, false, 0n, Long.fromNumber(0), new Int32(0), new Double(0), Decimal128.fromString('0')]) {
    expect([isSwitch(value), isOff(value)]).toEqual([true, true])
  }
  for (const value of [
    1,
    -2,
    true,
    1n,
    Long.fromNumber(1),
    new Int32(1),
    new Double(0.5),
    Decimal128.fromString('1'),
  ]) {
    expect([isSwitch(value), isOff(value)]).toEqual([true, false])
  }
  for (const value of ['', '$a', { $slice: 1 }, [], {}, Symbol('a'), () => {}]) {
    expect([isSwitch(value), isOff(value)]).toEqual([false, false])
  }
})
