import type { SchemaType } from 'mongoose'
import type { AnySchema, Host } from '../mongoose/host'
import { aroundCasts, eachSchemaType, levelsOf, subschemaOf } from '../mongoose/schema'
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
    aroundCasts(type, (cast) => maskingCast(host, type, cast))
  })
}
