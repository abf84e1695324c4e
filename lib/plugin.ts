import type { Connection, Query } from 'mongoose'
import { ConfigurationError } from './errors'
import { gateConnection } from './gate/client'
import { checkBulk, checkWatch, gateModel } from './gate/passes'
import { withAudit } from './kms/actor'
import { backfillBlindIndexes, backfillDocument } from './lifecycle/backfill'
import { eraseKmsKey, rewrapKmsKey } from './lifecycle/keys'
import { brand, type KnownJob, modelMade } from './lifecycle/known'
import { migrateDocumentToKms, migrateToKms } from './lifecycle/migrate'
import { migrateDocumentFromKms, migrateFromKms } from './lifecycle/restore'
import { rotateDocument, rotateKmsKeys } from './lifecycle/rotate'
import { sendPast } from './lifecycle/sending'
import { kmsStatus, statusOfDocument } from './lifecycle/status'
import { verifyDocument, verifyKms } from './lifecycle/verify'
import {
  type AnyModel,
  type AnySchema,
  type Doc,
  type Host,
  hostOf,
  isDocument,
  modelOf,
  type Plain,
  schemaOf,
} from './mongoose/host'
import { afterDefaults, afterExec, beforeBulkWrite, beforeWatch, onCursor } from './mongoose/model'
import { always, forgetDiscriminator } from './mongoose/schema'
import { type DriverCursor, openAhead } from './record/ahead'
import {
  concurrencyOf,
  type DecryptManyOptions,
  decryptDocument,
  decryptRecords,
  openAllOnLoad,
} from './record/decrypting'
import { fillDefaults } from './record/defaults'
import { addClone, addDirty, addSetters, coverSelection, extendDocuments } from './record/documents'
import { erase } from './record/erasure'
import { readForeign } from './record/foreign'
import { readBox } from './record/opening'
import { rewrap } from './record/rewrapping'
import { rememberContexts } from './record/rings'
import { coverInspection } from './record/shown'
import { encryptedPartsOf, noticeChanges, stage } from './record/staging'
import { coverValidation, pathsToValidate } from './record/validation'
import { maskContainers } from './schema/containers'
import type { JobOptions, MigrationOptions, RotateOptions, StatusOptions } from './schema/jobs'
import { makeIndexType, makeKeysType } from './schema/kept'
import { holdsUse, isEncrypted } from './schema/layout'
import type { KmsEncryptedOptions } from './schema/options'
import { makeFieldType } from './schema/type'
import type { KmsEncryptedPlugin } from './schema/types'
import { makeUse, type Use } from './schema/use'
import { baseOf, checkModel, usesOf } from './schema/uses'

/** What the plugin does to a schema, step by step. */
function kmsEncrypted(schema: AnySchema, options?: KmsEncryptedOptions): void {
  const use = makeUse(schema, options, { read: readBox, pathsToValidate })
  coverHost(use.host)
  refuseCompiled(schema)
  const isFirst = usesOf(schema).length === 0
  if (isFirst) extendDocuments(use.host, schema)
  addPaths(schema, use)
  addMethods(schema, use)
  addHooks(schema, use, isFirst)
  schema.on('init', coverModel)
}

/**
 * Mongoose schema plugin: encrypts fields under a data key of the record's own, wrapped by a KMS. Used as
 * `schema.plugin(kmsEncrypted, options)`; its type gives the fields to the documents of the schema.
 *
 * @throws {ConfigurationError} when an option cannot be used as it is; see its `code`
 */
const plugin = kmsEncrypted as unknown as KmsEncryptedPlugin

export { plugin as kmsEncrypted }

/** Schemas of which models were made. The models themselves are not gone through: there may be thousands. */
const compiled = new WeakSet<AnySchema>()

function refuseCompiled(schema: AnySchema): void {
  if (!compiled.has(schema)) return
  throw new ConfigurationError(
    'OPTION_INVALID',
    'kmsEncrypted: a model was made of this schema before, and knows nothing of the fields. Use the plugin before the model is made.',
  )
}

function addPaths(schema: AnySchema, use: Use): void {
  const { host, keyPath, byOwner } = use
  const define = schema.path.bind(schema) as (path: string, type: unknown) => unknown
  for (const field of use.fields.values()) define(field.name, makeFieldType(host, schema, { field, use }))
  if (!byOwner) define(keyPath, makeKeysType(host, schema, keyPath, use))
  if (use.indexKeys) for (const part of ['keyId', 'version', 'createdAt']) schema.index({ [`${keyPath}.${part}`]: 1 })
  for (const index of use.indexes) {
    const { path, isUnique } = index
    define(path, makeIndexType(host, schema, index, use))
    // Records without a value are not among those that must differ, nor are elements of arrays without one, which a partial index would
    // have as null where the record has others.
    schema.index({ [path]: 1 }, { ...(isUnique ? { unique: true } : {}), sparse: true })
  }
}

function addMethods(schema: AnySchema, use: Use): void {
  const { decrypt, rotateKmsKey } = use.methods
  const methods: Record<string, (this: Doc) => unknown> = {
    [decrypt]: function decryptFields(this: Doc) {
      return decryptDocument(this)
    },
    [rotateKmsKey]: function rotateKey(this: Doc) {
      return rotateDocument(this)
    },
    async rewrapKmsKey(this: Doc) {
      await rewrap(this, sendPast)
    },
    async eraseKmsKey(this: Doc) {
      await erase(this, sendPast)
    },
    migrateToKms(this: Doc) {
      return migrateDocumentToKms(this)
    },
    migrateFromKms(this: Doc) {
      return migrateDocumentFromKms(this)
    },
    ...documentJobs,
  }
  for (const [name, method] of Object.entries(methods)) {
    refuseTaken(schema.methods[name as never], name, 'method')
    schema.method(name, ours(method) as never)
  }
  for (const [name, method] of Object.entries(staticsBy(use.methods))) {
    refuseTaken(schema.statics[name as never], name, 'static')
    schema.static(name, method as never)
  }
}

/** Functions of this library, to be told from those of the application; and by any copy of it. */
const own = new WeakSet<object>()

function ours<F extends object>(method: F, value: unknown = true): F {
  own.add(method)
  return Object.defineProperty(method, brand, { value })
}

function job<F extends object>(name: string, method: F, isFor: KnownJob['isFor'] = () => true): F {
  return ours(method, { name, isFor, withAudit } satisfies KnownJob)
}

const decryptAll = ours(function decryptAll(this: AnyModel, records: unknown, options?: DecryptManyOptions): unknown {
  return decryptRecords(this, records, options)
})

const hasIndexed = ({ schema }: AnyModel) => holdsUse(schema, ({ indexes }) => indexes.length > 0)
const hasMigrating = ({ schema }: AnyModel) => holdsUse(schema, ({ migrating }) => migrating)

/** The jobs over the records of a model, which are statics of it. */
const jobs = {
  backfillBlindIndexes: job(
    'backfillBlindIndexes',
    function backfill(this: AnyModel, options?: JobOptions) {
      return backfillBlindIndexes(this, options)
    },
    hasIndexed,
  ),
  verifyKms: job('verifyKms', function verifyAll(this: AnyModel, options?: JobOptions) {
    return verifyKms(this, options)
  }),
  kmsStatus: job('kmsStatus', function statusOfAll(this: AnyModel, options?: StatusOptions) {
    return kmsStatus(this, options)
  }),
  rewrapKmsKey: job('rewrapKmsKey', function rewrapKeys(this: AnyModel, options?: JobOptions) {
    return rewrapKmsKey(this, options)
  }),
  eraseKmsKey: job('eraseKmsKey', function eraseKeys(this: AnyModel, options?: JobOptions) {
    return eraseKmsKey(this, options)
  }),
  migrateToKms: job(
    'migrateToKms',
    function migrate(this: AnyModel, options?: MigrationOptions) {
      return migrateToKms(this, options)
    },
    hasMigrating,
  ),
  migrateFromKms: job(
    'migrateFromKms',
    function restore(this: AnyModel, options?: JobOptions) {
      return migrateFromKms(this, options)
    },
    hasMigrating,
  ),
}

/** Those that are methods of a document as well. */
const documentJobs = {
  kmsStatus: ours(function status(this: Doc) {
    return statusOfDocument(this)
  }),
  backfillBlindIndexes: ours(function backfill(this: Doc) {
    return backfillDocument(this)
  }),
  verifyKms: ours(function verify(this: Doc) {
    return verifyDocument(this)
  }),
}

/** The statics of a model, by the names of its methods. */
function staticsBy({
  decrypt,
  rotateKmsKey,
}: Use['methods']): Record<string, (this: AnyModel, ...args: never[]) => unknown> {
  const rotateAll = function rotateAll(this: AnyModel, options?: RotateOptions) {
    return rotateKmsKeys(this, rotateKmsKey, options)
  }
  return { [decrypt]: decryptAll, [rotateKmsKey]: job('rotateKmsKey', rotateAll), ...jobs }
}

/** Those of a model that has fields in what it holds alone. */
const statics = staticsBy({ decrypt: 'decrypt', rotateKmsKey: 'rotateKmsKey' })

function refuseTaken(method: unknown, name: string, kind: string): void {
  if (method === undefined || own.has(method as object)) return
  if ((method as { [brand]?: boolean })[brand]) {
    throw new ConfigurationError(
      'OPTION_INVALID',
      `kmsEncrypted: two copies of mongoose-kms-encrypted are used on one schema. Look for a second installation (npm ls), or for code that ` +
        'is loaded anew while schemas are kept.',
    )
  }
  throw new ConfigurationError(
    'OPTION_INVALID',
    `kmsEncrypted: the schema has a ${kind} ${name} of its own. ${
      Object.hasOwn(jobs, name)
        ? 'Give it another name.'
        : `Give that of the plugin another name by the option methods: { methods: { ${name}: '${name}Fields' } }.`
    }`,
  )
}

/** By now the application has added all that it will; a method in the place of one of the library would hide it. */
function checkMethods(model: AnyModel): void {
  for (const use of usesOf(model.schema)) {
    for (const name of [...Object.values(use.methods), ...Object.keys(documentJobs)])
      refuseTaken((model.prototype as Record<string, unknown>)[name], name, 'method')
    for (const name of Object.keys(staticsBy(use.methods)))
      refuseTaken((model as unknown as Record<string, unknown>)[name], name, 'static')
  }
}

/** Hooks for comfort: the gate encrypts what they miss. */
function addHooks(schema: AnySchema, use: Use, isFirst: boolean): void {
  if (use.isCustom) addInitHook(schema, (doc) => !finished.has(schemaOf(doc)))
  if (use.decrypt === 'onLoad') addLoadHooks(schema)
  if (use.from) addForeignHooks(schema)
  // Only where the last ones cannot be added: Mongoose compiles the schema of a discriminator without global plugins.
  if (isFirst) addSaveHooks(schema, (doc) => !finished.has(schemaOf(doc)))
}

/** Notes what contexts were made of. For subdocuments too, when the owner is complete: before, they do not know where they stand. */
function addInitHook(schema: AnySchema, isActive: (doc: Doc) => boolean): void {
  schema.post(
    'init',
    always(function rememberEncryptionContexts(this: unknown) {
      const doc = this as Doc
      if (!doc.$isSubdocument && isActive(doc)) for (const part of encryptedPartsOf(doc)) rememberContexts(part)
    }),
  )
}

/** Reads what another library has stored. Without them such a value is refused, and never taken for one in the clear. */
function addForeignHooks(schema: AnySchema): void {
  const read = new WeakMap<object, Plain>()
  schema.pre(
    'init',
    always(function keepStored(this: unknown, stored: Plain) {
      read.set(this as Doc, stored)
    }) as never,
  )
  schema.post(
    'init',
    always(function readStored(this: unknown) {
      readForeign(this as Doc, read.get(this as Doc) ?? {})
      read.delete(this as Doc)
    }),
  )
}

function addSaveHooks(schema: AnySchema, isActive: (doc: Doc) => boolean): void {
  const isFor = (doc: Doc) => !doc.$isSubdocument && isActive(doc)
  schema.pre(
    'validate',
    always(function noticeChangesInPlace(this: unknown) {
      if (isFor(this as Doc)) for (const part of encryptedPartsOf(this as Doc)) noticeChanges(part)
    }) as never,
  )
  schema.pre(
    'save',
    // A promise only where there is something to do: Mongoose waits for each.
    always(function encryptFields(this: unknown) {
      return isFor(this as Doc) ? stage(this as Doc) : undefined
    }) as never,
  )
}

/** Schemas whose hooks run after all of the application's. */
const finished = new WeakSet<AnySchema>()

function finishSchema(schema: AnySchema): void {
  if (finished.has(schema) || !isEncrypted(schema)) return
  finished.add(schema)
  addSaveHooks(schema, () => true)
  if (holdsUse(schema, ({ isCustom }) => isCustom)) addInitHook(schema, () => true)
  if (holdsUse(schema, opensOnLoad)) addLoadHooks(schema)
  if (usesOf(schema).length > 0) return
  addDirty(hostOf(schema), schema)
  addSetters(hostOf(schema), schema)
  addClone(hostOf(schema), schema)
  for (const [name, method] of Object.entries(statics))
    if (schema.statics[name as never] === undefined) schema.static(name, method as never)
}

const opensOnLoad = ({ decrypt }: Use) => decrypt === 'onLoad'

const loading = new WeakSet<AnySchema>()

function addLoadHooks(schema: AnySchema): void {
  if (loading.has(schema)) return
  loading.add(schema)
  const operations = ['find', 'findOne', 'findOneAndUpdate', 'findOneAndReplace', 'findOneAndDelete'] as const
  for (const operation of operations) {
    schema.post(
      operation as never,
      always(async function openLoadedRecords(this: Query<unknown, unknown>, result: unknown) {
        await openLoaded(result)
      }) as never,
    )
  }
}

/** A discriminator that is refused must not be left with its base, which Mongoose has told of it already. */
function checkOrForget(model: AnyModel): void {
  const base = baseOf(model)
  try {
    checkModel(model)
    checkMethods(model)
  } catch (error) {
    if (base) forgetDiscriminator(base.schema, model.schema)
    throw error
  }
}

const loadingBases = new WeakSet<AnyModel>()

/** A base model was compiled before its discriminator, and has none of its hooks. */
function openAfterLoading(base: AnyModel): void {
  if (loadingBases.has(base)) return
  loadingBases.add(base)
  afterExec(base, openLoaded)
}

const readAhead = new WeakSet<AnyModel>()

function openCursorsAhead(model: AnyModel): void {
  if (readAhead.has(model)) return
  readAhead.add(model)
  onCursor(model, (cursor) => openAhead(cursor as DriverCursor, model))
}

async function openLoaded(result: unknown): Promise<void> {
  const docs = documentsOf(result)
  const [doc] = docs
  if (doc) await openAllOnLoad(docs, concurrencyOf(modelOf(doc)))
}

/** The documents among what a query gives: an array, one document, raw metadata around one, null, or lean objects. */
function documentsOf(result: unknown): Doc[] {
  if (Array.isArray(result)) return result.filter(isDocument)
  if (isDocument(result)) return [result]
  const value = (result as { value?: unknown } | null | undefined)?.value
  return isDocument(value) ? [value] : []
}

/** A base model was compiled before it held anything encrypted. */
function addStatics(base: AnyModel): void {
  for (const [name, value] of Object.entries(statics))
    if (!(name in base)) Object.defineProperty(base, name, { value, configurable: true })
}

const coveredHosts = new WeakSet<Host>()

/** Has every model of a Mongoose pass the gate, those that hold encrypted fields later, too. */
function coverHost(host: Host): void {
  if (coveredHosts.has(host)) return
  coveredHosts.add(host)
  const { mongoose } = host
  // Mongoose applies global plugins when it compiles a schema, after everything the user has added to it.
  mongoose.plugin(function finishEncryptedSchema(schema: AnySchema) {
    finishSchema(schema)
    schema.on('init', coverModel)
  } as never)
  beforeBulkWrite(mongoose.Model as never, checkBulk)
  beforeWatch(mongoose.Model as never, checkWatch)
  afterDefaults(mongoose.Model, ({ schema }, object) => fillDefaults(schema, object))
  for (const connection of mongoose.connections) {
    coverConnection(connection)
    for (const model of Object.values(connection.models) as AnyModel[]) {
      compiled.add(model.schema)
      gateModel(model, coverConnection)
    }
  }
}

const coveredConnections = new WeakSet<Connection>()

function coverConnection(connection: Connection): void {
  if (coveredConnections.has(connection)) return
  coveredConnections.add(connection)
  gateConnection(connection)
  // Discriminators are made without the global plugins.
  connection.on('model', coverModel)
}

function coverModel(model: AnyModel): void {
  compiled.add(model.schema)
  if (!isEncrypted(model.schema) && !model.db) return
  modelMade.publish(model)
  checkOrForget(model)
  gateModel(model, coverConnection)
  if (isEncrypted(model.schema)) maskContainers(hostOf(model.schema), model.schema)
  const base = isEncrypted(model.schema) ? baseOf(model) : undefined
  if (base && holdsUse(model.schema, opensOnLoad)) openAfterLoading(base)
  if (holdsUse(model.schema, opensOnLoad)) openCursorsAhead(model)
  if (base) addStatics(base)
  if (isEncrypted(model.schema)) coverInspection(model)
  if (usesOf(model.schema).length === 0) return
  coverValidation(model)
  coverSelection(model)
}
