import { type Connection, Schema } from 'mongoose'
import { type KeyProvider, localKms } from '../../lib'
import { named, plugin, provider } from '../faults/support'

/** A provider that tells which records it opens, and lets something happen while it does. */
export function watchedKms(settings: Partial<KeyProvider> = {}) {
  const local = localKms()
  const opened: string[] = []
  let meanwhile: (record: string) => unknown = () => {}
  return {
    /** The `Record` of each call. */
    opened,
    whileOpening: (act: typeof meanwhile) => {
      meanwhile = act
    },
    provider: {
      keyId: local.keyId,
      generateDataKey: (request) => local.generateDataKey(request),
      async unwrapDataKey(request) {
        opened.push(request.context.Record as string)
        await meanwhile(request.context.Record as string)
        return local.unwrapDataKey(request)
      },
      deriveIndexKey: (request) => local.deriveIndexKey!(request),
      ...settings,
    } as KeyProvider,
  }
}

const plain = { email: String, phone: String, note: String }
const indexed = {
  email: { type: String, unique: true },
  phone: { type: String, blindIndex: true },
  note: String,
}

/**
 * One model as two processes have it: one that stored its records before anything was indexed, and one that has indexes since.
 *
 * @param options of the plugin, for the later one
 */
export function beforeAndAfter(one: Connection, other: Connection, options: object = {}, paths: object = {}) {
  const name = named('Account')
  const make = (connection: Connection, of: object) => {
    const schema = new Schema<any>({ name: String, ...paths }, { timestamps: true }).plugin(plugin, { provider, ...of })
    return connection.model<any>(name, schema) as any
  }
  return { Before: make(one, { fields: plain }), After: make(other, { fields: indexed, ...options }) }
}

/** The names and bodies of the commands that a connection sends. */
export function commandsOf(connection: Connection): { name: string; command: any }[] {
  const sent: { name: string; command: any }[] = []
  connection.getClient().on('commandStarted', ({ commandName: name, command }) => sent.push({ name, command }))
  return sent
}
