import { createHash } from 'node:crypto'
import { type Connection, Schema } from 'mongoose'
import { named, plugin, provider } from '../faults/support'

/** Accounts that are found by an encrypted address, which no two of them share. */
export function accountModel(
  connection: Connection,
  options: object = {},
  email: object = { type: String, lowercase: true, unique: true },
  name = named('Account'),
): any {
  const schema = new Schema<any>({ name: String }).plugin(plugin, {
    provider,
    fields: { email, note: String },
    ...options,
  })
  return connection.model<any>(name, schema)
}

/** What nobody may find in the database: hashes of a value that need no key. */
export function hashesOf(text: string): Buffer[] {
  return ['sha256', 'sha1', 'md5', 'sha512'].map((name) => createHash(name).update(text).digest())
}

/** The bytes of a stored index value. */
export function bytesAt(record: any, path = 'email_bidx'): string | undefined {
  const value = record?.[path]
  if (value === undefined) return undefined
  expect(value.sub_type).toBe(0)
  expect(value.buffer).toHaveLength(32)
  return Buffer.from(value.buffer).toString('hex')
}
