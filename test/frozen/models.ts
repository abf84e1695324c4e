import { type Connection, Schema } from 'mongoose'
import { kmsEncrypted, localKms } from '../../lib'

/** The secret that wrapped the data keys of the frozen records; known to everybody. */
const provider = localKms({ secret: Buffer.alloc(32, 'frozen: known to everybody') })

/** One value of each type that can be encrypted, under the default context. */
function everyType(connection: Connection) {
  const schema = new Schema({ name: String })
  schema.plugin(kmsEncrypted, {
    provider,
    fields: {
      string: String,
      number: Number,
      boolean: Boolean,
      date: Date,
      buffer: Buffer,
      objectId: Schema.Types.ObjectId,
      decimal: Schema.Types.Decimal128,
      bigint: BigInt,
      uuid: Schema.Types.UUID,
      map: { type: Map, of: Number },
      mixed: Schema.Types.Mixed,
      strings: [String],
      address: { street: String, geo: { lat: Number, lon: Number } },
      visits: [{ _id: false, at: Date, note: String }],
    },
  })
  return connection.model('FrozenTypes', schema, 'frozen_types')
}

const anyId = { _id: Schema.Types.Mixed, tenant: String }

/** Two data keys, contexts and a key path of their own, a second version, and an `_id` of any type. */
function everyOption(connection: Connection, version: 1 | 2 = 2) {
  const first = { context: (record: { _id: unknown }) => ({ Record: `First/${record._id}` }) }
  const second = {
    context: (record: { _id: unknown; tenant?: string | null }) => ({
      Zone: 'Übersee',
      '€': 'sorted by the bytes of UTF-8',
      𐀀: 'after it, though not in UTF-16',
      Tenant: String(record.tenant),
      Record: `Second/${record._id}`,
    }),
  }
  const generations = version === 1 ? { version, ...first } : { version, ...second, previousVersions: { 1: first } }
  const schema = new Schema(anyId)
  schema.plugin(kmsEncrypted, { provider, fields: ['email'], ...generations })
  schema.plugin(kmsEncrypted, {
    provider,
    name: 'phone',
    keyPath: 'phone_key',
    fields: ['phone'],
  })
  return connection.model('FrozenOptions', schema, 'frozen_options', { overwriteModels: true })
}

/** Subdocuments with data keys of their own: one, and some in an array, with and without an `_id`. */
function everyShape(connection: Connection) {
  const contact = new Schema({ kind: String })
  contact.plugin(kmsEncrypted, { provider, fields: ['address'] })
  const place = new Schema({ country: String }, { _id: false })
  place.plugin(kmsEncrypted, { provider, fields: ['city'] })
  const schema = new Schema({ place, contacts: [contact], nested: { contacts: [contact] } })
  schema.plugin(kmsEncrypted, { provider, fields: ['name'] })
  return connection.model('FrozenShapes', schema, 'frozen_shapes')
}

/** A context whose function names no record, so that the library does. */
function everyTenant(connection: Connection) {
  const schema = new Schema(anyId)
  const context = ({ tenant }: { tenant?: string | null }) => ({ Tenant: String(tenant) })
  schema.plugin(kmsEncrypted, { provider, fields: ['email'], context })
  return connection.model('FrozenTenants', schema, 'frozen_tenants')
}

export const frozenModels = { types: everyType, options: everyOption, shapes: everyShape, tenants: everyTenant }

/** The decrypted fields of a record, and of its subdocuments where it has any. */
export async function valuesOf(record: any): Promise<Record<string, any>> {
  const values: Record<string, any> = await record.decrypt()
  const subdocuments = [record.place, ...(record.contacts ?? []), ...(record.nested?.contacts ?? [])]
  if (!record.place) return values
  return { ...values, subdocuments: await Promise.all(subdocuments.map((subdocument) => subdocument.decrypt())) }
}
