import { type Connection, Schema } from 'mongoose'
import { type KeyProvider, localKms } from '../../lib'
import { type FaultDatabase, named, plugin } from '../faults/support'

/** A provider that lets something happen while it makes or opens a data key, and counts both. */
export function hooked() {
  const local = localKms()
  const calls = { generate: 0, unwrap: 0 }
  let meanwhile: (() => unknown) | undefined
  const once = async () => {
    const act = meanwhile
    meanwhile = undefined
    await act?.()
  }
  return {
    calls,
    /** What happens during the next call, once. */
    during: (act: () => unknown) => {
      meanwhile = act
    },
    provider: {
      keyId: local.keyId,
      async generateDataKey(request) {
        calls.generate++
        await once()
        return local.generateDataKey(request)
      },
      async unwrapDataKey(request) {
        calls.unwrap++
        await once()
        return local.unwrapDataKey(request)
      },
      deriveIndexKey: (request) => local.deriveIndexKey!(request),
    } as KeyProvider,
  }
}

const types = {
  email: { type: String, lowercase: true },
  dob: Date,
  height: Number,
  tags: [String],
  address: { street: String, city: String },
  meta: Schema.Types.Mixed,
  photo: Buffer,
  scores: { type: Map, of: Number },
}

/** One collection as two versions of an application have it: one that knows of no encryption, and one that migrates. */
export async function versions(
  { connection, open }: Pick<FaultDatabase, 'connection' | 'open'>,
  options: object = {},
  fields: object = types,
  paths: object = {},
  before: object = fields,
) {
  const name = named('Person')
  const settings = { timestamps: true }
  const kms = hooked()
  const make = (on: Connection, own: object = {}, old = paths) => {
    const schema = new Schema<any>({ name: String, ...old }, settings)
    schema.plugin(plugin, { provider: kms.provider, fields, migrating: true, ...options, ...own })
    return on.model<any>(name, schema) as any
  }
  const Old = (await open()).model<any>(name, new Schema<any>({ name: String, ...paths, ...before }, settings)) as any
  return { Old, New: make(connection), kms, again: async (own?: object) => make(await open(), own) }
}

/** Whether what is stored at a path is an envelope. */
export function isSealed(value: any): boolean {
  return value?.sub_type === 0x80
}

/** Which of these paths of a stored record hold an envelope. */
export function sealedIn(record: any): string[] {
  return Object.keys(record).filter((path) => isSealed(record[path]))
}
