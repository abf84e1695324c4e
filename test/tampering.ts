import { type Connection, Schema } from 'mongoose'
import { DecryptionError, kmsEncrypted, localKms } from '../lib'
import { modelOf, rawCollection, secret } from './support'

export type Raw = Record<string, any>

/** A model with two data keys: one for `email` and `dob`, one for `phone`. */
export function people(connection: Connection, options: Record<string, any> = {}) {
  const schema = new Schema({ name: String })
  schema.plugin(kmsEncrypted, { provider: localKms(), ...options, name: 'phone', fields: { phone: String } } as never)
  return modelOf(connection, schema, { ...options, fields: { email: String, dob: Date } })
}

/** A well-formed envelope, that of the email of a stored record. */
export const envelopeOf = (stored: Raw | undefined) => stored!.email

export const values = { email: 'ada@example.org', dob: new Date('1815-12-10'), phone: '+44 20 7946' }

export async function store(model: any, count = 2): Promise<Raw[]> {
  secret(values.email)
  secret(values.phone)
  for (let index = 0; index < count; index++) await model.create({ name: `Ada ${index}`, ...values })
  return rawCollection(model).find().sort({ _id: 1 }).toArray()
}

export const replace = (model: any, stored: Raw) => rawCollection(model).replaceOne({ _id: stored._id }, stored)

/** What reading each field gives: its value, or the code of a `DecryptionError`; anything else is thrown. */
export async function outcome(record: any): Promise<Record<string, unknown>> {
  const outcomes: Record<string, unknown> = {}
  for (const field of ['email', 'dob', 'phone']) {
    try {
      outcomes[field] = await record[field]
    } catch (error) {
      if (!(error instanceof DecryptionError)) throw error
      expect(error.message).toContain(String(record._id))
      outcomes[field] = error.code
    }
  }
  return outcomes
}

/** Reads a tampered record among others, which must not notice. */
export async function readTampered(model: any, tampered: Raw): Promise<Record<string, unknown>> {
  await replace(model, tampered)
  const [first, second] = await model.find().sort('_id')
  expect(first.name).toBe('Ada 0')
  expect(first.toObject({ virtuals: true }).name).toBe('Ada 0')
  expect(await outcome(second)).toEqual(values)
  return outcome(first)
}
