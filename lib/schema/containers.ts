import type { SchemaType } from 'mongoose'
import { type AnySchema, type Doc, type Host, replaceMethod } from '../mongoose/host'
import { eachSchemaType, levelsOf, subschemaOf } from '../mongoose/schema'
import { isEncrypted } from './layout'
import { maskingCast } from './masking'
import { encryptedFieldOf } from './type'

const covered = new WeakSet<SchemaType>()

/** Has no type that holds subdocuments with encrypted fields show what it cannot cast. */
export function maskContainers(host: Host, schema: AnySchema): void {
  eachSchemaType(schema, (_path, type) => {
    const isHolding = [...levelsOf(type)].map(subschemaOf).some((own) => own && isEncrypted(own))
    if (!isHolding || encryptedFieldOf(type) || covered.has(type)) return
    covered.add(type)
    for (const name of ['cast', 'castForQuery']) {
      replaceMethod(type, name, (cast) => {
        return function castMasked(this: Doc, ...args: unknown[]) {
          return maskingCast(host, type, () => cast.apply(this, args))
        }
      })
    }
  })
}
