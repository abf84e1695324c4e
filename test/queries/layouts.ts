import mongoose, { Schema } from 'mongoose'
import { kmsEncrypted, localKms, OperationError } from '../../lib'
import type { AnyModel } from '../../lib/mongoose/host'
import { layoutOf, type Place } from '../../lib/schema/layout'

const provider = localKms()
const connection = mongoose.createConnection()

export function encrypted(definition: object, options: object): Schema {
  const key = 'dataKey' in options ? {} : { provider }
  return new Schema(definition as never).plugin(kmsEncrypted as never, { ...key, ...options } as never)
}

let models = 0

export function modelOf(schema: Schema): AnyModel {
  return connection.model(`Queried${++models}`, schema) as unknown as AnyModel
}

const contact = (options: object = { fields: { phone: String } }) => encrypted({ label: String }, options)

/** A model with encrypted fields in all places where there can be any. */
export const User = modelOf(
  encrypted(
    {
      name: String,
      tags: [String],
      contacts: [contact()],
      one: contact(),
      byPlace: { type: Map, of: [contact()] },
      byName: { type: Map, of: contact() },
      nested: { deep: { down: contact() }, clear: String },
      grid: [[contact()]],
      owned: [contact({ dataKey: 'owner', fields: { note: String } })],
    },
    { fields: { email: String, labels: [String], address: { city: String, street: String }, raw: Buffer } },
  ),
)

export const root: Place = layoutOf([User])
export const place = 'User.find()'
export const value = 'a value that no message may show'

export class Filter {
  constructor(values: object) {
    Object.assign(this, values)
  }
}

/** What is thrown, which must be a refusal that names the place and the path, and shows no value. */
export function refusal(run: () => unknown, code = 'QUERY_REFUSED'): string {
  let error: unknown
  try {
    run()
  } catch (thrown) {
    error = thrown
  }
  if (!(error instanceof OperationError)) throw new Error(`Expected an OperationError, got ${error}`, { cause: error })
  expect(error.code).toBe(code)
  expect(error.message).toMatch(/^User\.\w+\(\)/)
  expect(error.message).not.toContain(value)
  return error.message
}

/** What nobody would give on purpose. */
export const odd: unknown[] = [
  null,
  undefined,
  '',
  'text',
  0,
  true,
  [],
  [null],
  {},
  [[]],
  new Map(),
  () => {},
  Symbol('x'),
]

/** A branch of `$cond` or `$switch`; an object literal with `then` looks like a promise. */
export function branch(condition: unknown, result: unknown): object {
  return Object.fromEntries([
    ['if', condition],
    ['case', condition],
    ['then', result],
  ])
}
