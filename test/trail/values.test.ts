import fc from 'fast-check'
import { ValueReader } from '../../lib/trail/values'

/** What is read of a text that comes in chunks of these lengths, the last of them again and again. */
function read(text: string | Buffer, lengths: readonly number[] = [64 * 1024]) {
  const values: unknown[] = []
  const bad: string[] = []
  const reader = new ValueReader({
    value: (bytes, place) => {
      try {
        values.push(JSON.parse(bytes.toString()))
      } catch {
        bad.push(place)
      }
    },
    bad: (place) => bad.push(place),
  })
  const bytes = Buffer.from(text)
  for (let start = 0, turn = 0; start < bytes.length; turn++) {
    const length = lengths[Math.min(turn, lengths.length - 1)]!
    reader.push(bytes.subarray(start, start + length))
    start += length
  }
  reader.end()
  return { values, bad }
}

const texts = fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom('{"Records":[', '"', '\\', '}]}', '\\"', '😀\n'))
const objects = fc.dictionary(
  texts,
  fc.oneof(texts, fc.integer(), fc.array(fc.dictionary(texts, texts), { maxLength: 3 })),
  {
    maxKeys: 4,
  },
)
const lengths = fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 5 })

const documents: Record<string, (values: readonly unknown[]) => string> = {
  'a file of S3': (values) => JSON.stringify({ Records: values }),
  'several of them after each other': (values) => values.map((each) => JSON.stringify({ Records: [each] })).join('\n'),
  'an answer, indented': (values) => JSON.stringify({ Events: values, NextToken: 'more' }, undefined, 4),
  'an answer with more before the list': (values) => JSON.stringify({ $metadata: {}, Events: values }, undefined, 2),
  'a list': (values) => JSON.stringify(values),
  'an indented list': (values) => JSON.stringify(values, undefined, 1),
  'objects one after the other, indented': (values) =>
    values.map((each) => JSON.stringify(each, undefined, 2)).join('\n'),
  lines: (values) => values.map((each) => JSON.stringify(each)).join('\n'),
  'lines of a file with a byte order mark': (values) =>
    `\ufeff${values.map((each) => JSON.stringify(each)).join('\r\n')}\r\n`,
}

test.each(Object.entries(documents))('the objects of %s are read, wherever chunks end', (_name, format) => {
  fc.assert(
    fc.property(fc.array(objects, { minLength: 1, maxLength: 6 }), lengths, (values, lengths) => {
      // Alone, an empty object is two characters on a line, and one that has a list by this name is taken for what is around it.
      fc.pre(values.every((each) => Object.keys(each).length > 0 && !('Records' in each) && !('Events' in each)))
      const { values: found, bad } = read(format(values), lengths)
      expect(bad).toEqual([])
      expect(found).toEqual(JSON.parse(JSON.stringify(values)))
    }),
  )
})

test('a bad line is told with its number, and the others are read', () => {
  const { values, bad } = read('{"a":1}\n{"a":\n\n  \nnothing\n{"a":"}\n{"a":2}\n')
  expect(values).toEqual([{ a: 1 }, { a: 2 }])
  expect(bad).toEqual(['line 2', 'line 5', 'line 6'])
})

test('a first line that is broken hides no others', () => {
  expect(read('{"a":[{"b\n{"a":2}\n')).toEqual({ values: [{ a: 2 }], bad: ['line 1'] })
  expect(read('nothing\n{"a":2}\n')).toEqual({ values: [{ a: 2 }], bad: ['line 1'] })
})

test('a bad value in a list is told, and the others are read', () => {
  const { values, bad } = read('{"Records":[{"a":1},{"a":nothing},{"a":2}]}')
  expect(values).toEqual([{ a: 1 }, { a: 2 }])
  expect(bad).toEqual(['value 2'])
})

test('a document that ends in the middle is told, and what is whole of it is read', () => {
  expect(read('{"Records":[{"a":1},{"a":{"b":2')).toEqual({ values: [{ a: 1 }], bad: ['end'] })
  expect(read('{"Records":[{"a":1}')).toEqual({ values: [{ a: 1 }], bad: ['end'] })
})

test('a bracket too many is told', () => {
  expect(read('{"Records":[{"a":1}]}]{"Records":[{"a":2}]}')).toEqual({
    values: [{ a: 1 }, { a: 2 }],
    bad: ['value 1'],
  })
})

test('a value that is too long is told and passed over', () => {
  const long = 'x'.repeat(17 * 1024 * 1024)
  expect(read(`{"Records":[{"a":1},{"a":"${long}"},{"a":2}]}`)).toEqual({
    values: [{ a: 1 }, { a: 2 }],
    bad: ['value 2'],
  })
  expect(read(`{"a":1}\n{"a":"${long}"}\n{"a":2}\n`)).toEqual({ values: [{ a: 1 }, { a: 2 }], bad: ['line 2'] })
})

test('nothing is nothing', () => {
  for (const text of ['', '\n', '  ', '[]', '{"Records":[]}', '{"Events": []}']) {
    expect(read(text)).toEqual({ values: [], bad: [] })
  }
})
