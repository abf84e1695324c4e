import type { SchemaType } from 'mongoose'
import type { AnySchema, Plain } from '../mongoose/host'
import { isPlainObject } from '../mongoose/plain'
import { subschemaOf } from '../mongoose/schema'
import { fieldsOf } from '../schema/uses'

/**
 * Fills defaults into what a plain object has within its encrypted fields: `Model.applyDefaults()` of Mongoose goes by the paths of the
 * schema, and an encrypted field is one, whatever it holds.
 */
export function fillDefaults(schema: AnySchema, object: unknown): void {
  if (!isPlainObject(object)) return
  for (const { field } of fieldsOf(schema)) {
    const value = object[field.name]
    if (!field.complex || value === null || typeof value !== 'object') continue
    const holder: Plain = { [field.name]: value }
    field.binding.own(holder as never, object)
    field.Holder().applyDefaults(holder)
  }
  for (const type of Object.values(schema.paths) as SchemaType[]) {
    const held = subschemaOf(type)
    if (held) for (const each of [object[type.path]].flat()) fillDefaults(held, each)
  }
}
