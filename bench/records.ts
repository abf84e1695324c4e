import { randomBytes } from 'node:crypto'
import { model, Schema } from 'mongoose'
import { type KmsEncryptedOptions, kmsEncrypted } from 'mongoose-kms-encrypted'

/** Three strings of 32 bytes. */
export const fields = { first: String, second: String, third: String }
export const fieldNames = ['first', 'second', 'third'] as const

export const text = () => randomBytes(16).toString('hex')
export const values = () => ({ first: text(), second: text(), third: text() })

export function plainModel(name = 'Plain') {
  return model(name, new Schema(fields))
}

export type PlainModel = ReturnType<typeof plainModel>

/** It is used as a plain one is. */
export function encryptedModel(name: string, options: Omit<KmsEncryptedOptions, 'fields'>): PlainModel {
  return model(name, new Schema({}).plugin(kmsEncrypted, { ...options, fields })) as unknown as PlainModel
}

/** Reads the fields one after another, each as a user would. */
export async function readFields(record: Readonly<Record<string, unknown>>): Promise<void> {
  for (const field of fieldNames) if (!(await record[field])) throw new Error(`A record has no ${field}.`)
}
