import { noteArguments } from './arguments'
import { coverBase } from './bases'
import { makeConfig } from './config'
import { coverConnection } from './connections'
import { extendDocuments } from './document'
import { addHooks, finalise } from './hooks'
import type { AnyModel, AnySchema, Doc, Host } from './host'
import { forgetLayout, isEncrypted } from './layout'
import { noticeChanges } from './noticing'
import { readField } from './opening'
import type { KmsEncryptedOptions } from './schema/options'
import { forgetRecord, recordOf } from './record'
import { makeStoredType } from './sealed'
import { isSerialising } from './serialising'
import { extendModels } from './statics'
import type { KmsEncryptedPlugin } from './schema/types'

function kmsEncrypted(schema: AnySchema, options?: KmsEncryptedOptions): void {
  const config = makeConfig(schema, options)
  const { host, fields, keyPath } = config
  const addStored = (path: string, select?: boolean) =>
    schema.add({ [path]: makeStoredType(config, path, forgetRecord, select) } as never)
  for (const { storedPath, select } of fields.byName.values()) addStored(storedPath, select)
  addStored(keyPath)
  forgetLayout(schema)
  for (const name of fields.byName.keys()) addVirtual(schema, name, (doc) => recordOf(config, doc))
  extendDocuments(schema)
  extendModels(schema)
  addHooks(schema, config)
  schema.on('init', coverModel)
  finaliseWhenCompiled(host)
}

/**
 * Mongoose schema plugin: encrypts fields under a data key of the record's own, wrapped by a KMS. Used as
 * `schema.plugin(kmsEncrypted, options)`; its type gives the fields to the documents of the schema.
 *
 * @throws {ConfigurationError} when an option cannot be used as it is; see its `code`
 */
const plugin = kmsEncrypted as unknown as KmsEncryptedPlugin

export { plugin as kmsEncrypted }

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

const coveredHosts = new WeakSet<Host>()

/** Mongoose applies global plugins when it compiles a schema, after everything the user has added to it. */
function finaliseWhenCompiled(host: Host): void {
  if (coveredHosts.has(host)) return
  coveredHosts.add(host)
  host.mongoose.plugin(function finaliseEncryptedSchema(schema: AnySchema) {
    if (!isEncrypted(schema)) return
    extendModels(schema)
    finalise(schema)
    schema.on('init', coverModel)
  } as never)
}

/** Covers what no hook does. */
function coverModel(model: AnyModel): void {
  coverConnection(model.db)
  coverBase(model)
  noteArguments(model, noticeChanges)
}
