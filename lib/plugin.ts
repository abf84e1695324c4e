import { makeConfig } from './config'
import { extendDocuments, isSerialising } from './document'
import { addFinalHooks, addHooks } from './hooks'
import type { AnySchema, Doc, Host } from './host'
import { readField } from './opening'
import type { KmsEncryptedOptions } from './options'
import { forgetRecord, recordOf } from './record'
import { configsOf, makeStoredType } from './sealed'
import { extendModels } from './statics'

/**
 * Mongoose schema plugin: encrypts fields under a data key of the record's own, wrapped by a KMS.
 *
 * @throws {ConfigurationError} when an option cannot be used as it is; see its `code`
 */
export function kmsEncrypted(schema: AnySchema, options?: KmsEncryptedOptions): void {
  const config = makeConfig(schema, options)
  const { host, fields, keyPath } = config
  const addStored = (path: string, select?: boolean) =>
    schema.add({ [path]: makeStoredType(config, path, forgetRecord, select) } as never)
  for (const { storedPath, select } of fields.byName.values()) addStored(storedPath, select)
  addStored(keyPath)
  for (const name of fields.byName.keys()) addVirtual(schema, name, (doc) => recordOf(config, doc))
  extendDocuments(schema)
  extendModels(schema)
  addHooks(schema, config)
  finaliseWhenCompiled(host)
}

function addVirtual(schema: AnySchema, name: string, stateOf: (doc: Doc) => ReturnType<typeof recordOf>): void {
  schema
    .virtual(name)
    .get(function readEncryptedField(this: unknown) {
      try {
        return readField(stateOf(this as Doc), name)
      } catch (error) {
        if (isSerialising()) return undefined
        throw error
      }
    })
    .set(function setEncryptedField(this: unknown, value: unknown) {
      stateOf(this as Doc).set(name, value)
    })
}

const finalisedHosts = new WeakSet<Host>()
const finalised = new WeakSet<AnySchema>()

/** Mongoose applies global plugins when it compiles a schema, after everything the user has added to it. */
function finaliseWhenCompiled(host: Host): void {
  if (finalisedHosts.has(host)) return
  finalisedHosts.add(host)
  host.mongoose.plugin(function finaliseEncryptedSchema(schema: AnySchema) {
    if (finalised.has(schema) || configsOf(schema).length === 0) return
    finalised.add(schema)
    addFinalHooks(schema)
  } as never)
}
