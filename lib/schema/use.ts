import { ConfigurationError } from '../errors'
import { awsKms } from '../kms/aws'
import { KeyManager } from '../kms/manager'
import type { KeyProvider } from '../kms/provider'
import { type AnySchema, type Host, hostOf } from '../mongoose/host'
import { unmerged } from '../mongoose/schema'
import { type BlindIndex, compileCompounds } from '../search/declaration'
import { type IndexKeySource, indexKeySource } from '../search/indexkey'
import { compileFields, type Field, instanceOf, isTaken } from './fields'
import type {
  AccessOption,
  ContextOption,
  DecryptOption,
  FromOption,
  KeyIdOption,
  KmsEncryptedOptions,
  PreviousVersion,
} from './options'
import { type Allows, makeTrust } from './trust'

/** One generation of key and context, as it was configured. */
export interface Generation {
  readonly keyId: KeyIdOption
  readonly context: ContextOption | undefined
}

/** How boxes reach the record that they belong to: what the room above knows and this one does not. */
export interface Access {
  /** What the getter of a field gives for its box: the value, or a promise of it. */
  read(box: { readonly field: Field }, scope: unknown): unknown
  /** The paths of a field's value that a validation under way is for; `undefined` for all. */
  pathsToValidate(scope: unknown, field: string): readonly string[] | undefined
}

/** Names of the document methods of one use of the plugin. */
interface MethodNames {
  readonly decrypt: string
  readonly rotateKmsKey: string
}

/** One use of the plugin on a schema: its options, checked once and frozen. */
export interface Use {
  readonly host: Host
  readonly access: Access
  readonly keys: KeyManager
  readonly fields: ReadonlyMap<string, Field>
  /** Their names, as every event of the trace has them. */
  readonly fieldNames: readonly string[]
  readonly decrypt: DecryptOption
  /** The option `name`, which tells the uses on one schema apart. */
  readonly name: string | undefined
  /** Whether the fields are encrypted under the data key of the record that holds the subdocument. */
  readonly byOwner: boolean
  readonly keyPath: string
  /** Whether what is stored in the clear is read, and encrypted with the next write. */
  readonly migrating: boolean
  /** What reads values that another library has stored, and the paths that are that library's alone. */
  readonly from: FromOption | undefined
  readonly fromPaths: readonly string[]
  /** Whether key id, version and date of wrapped keys have indexes. */
  readonly indexKeys: boolean
  readonly version: number
  /** The generation that is written, and the earlier ones that are still read, by number. */
  readonly generations: ReadonlyMap<number, Generation>
  /** Which KMS keys are trusted. */
  readonly allows: Allows
  /** The blind indexes of the fields, alone and of several together. */
  readonly indexes: readonly BlindIndex[]
  /** The names of the fields that an index is of. */
  readonly indexed: ReadonlySet<string>
  /** Where the key of blind indexes comes from; `undefined` where there is none. */
  readonly indexKey: IndexKeySource | undefined
  /** Whether key or context depend on more than the `_id`, so that the record must be there to know them. */
  readonly isCustom: boolean
  /** Top-level paths that `context` was seen to read: a change of one would leave the record's fields unreadable. */
  readonly contextDependencies: Set<string>
  /** The same of the document that holds the record, where that is a subdocument. */
  readonly ownerDependencies: Set<string>
  /** The same of `context` and `keyId` together; they are loaded wherever a field is. */
  readonly dependencies: Set<string>
  readonly methods: MethodNames
  /** Which of its duties this process has. */
  readonly duty: AccessOption
  /** Whether a record is opened for a named actor alone. */
  readonly requireActor: boolean
}

const known = new Set([
  'keyId',
  'provider',
  'fields',
  'context',
  'decrypt',
  'name',
  'version',
  'previousVersions',
  'allowKeyIds',
  'keyPath',
  'indexKeys',
  'indexKey',
  'blindIndexes',
  'cache',
  'access',
  'requireActor',
  'dataKey',
  'migrating',
  'from',
  'fromPaths',
  'methods',
])
// `deduplicate` and `tags` are Mongoose's own options of `schema.plugin()`.
const mongooseOwn = new Set(['deduplicate', 'tags'])

let defaultProvider: KeyProvider | undefined

/** What has no meaning where the data key is the owner's. */
const ownersAlone = [
  'keyId',
  'provider',
  'context',
  'version',
  'previousVersions',
  'allowKeyIds',
  'keyPath',
  'indexKeys',
  'indexKey',
  'cache',
  'access',
  'requireActor',
] as const

/** @throws {ConfigurationError} when an option cannot be used as it is */
export function makeUse(schema: AnySchema, options: KmsEncryptedOptions | undefined, access: Access): Use {
  const host = hostOf(schema)
  if (options === null || typeof options !== 'object') {
    throw invalid('options', 'Expected an object: schema.plugin(kmsEncrypted, { keyId, fields: { email: String } })')
  }
  for (const option of Object.keys(options)) {
    if (!known.has(option) && !mongooseOwn.has(option)) {
      throw invalid(option, `There is no such option. Use one of ${[...known].join(', ')}.`)
    }
  }
  const {
    name,
    decrypt = 'onAccess',
    version = 1,
    cache,
    migrating = false,
    indexKeys = false,
    requireActor = false,
  } = options
  if (name !== undefined && !(typeof name === 'string' && /^\w+$/.test(name))) {
    throw invalid('name', 'Expected letters, digits and underscores.')
  }
  if (decrypt !== 'onAccess' && decrypt !== 'onLoad') {
    throw invalid('decrypt', `Expected 'onAccess' or 'onLoad', got ${String(decrypt)}.`)
  }
  if (typeof migrating !== 'boolean') throw invalid('migrating', `Expected true or false, got ${String(migrating)}.`)
  const fromPaths = checkFrom(options)
  if (typeof indexKeys !== 'boolean') throw invalid('indexKeys', 'Expected true or false.')
  if (typeof requireActor !== 'boolean') throw invalid('requireActor', 'Expected true or false.')
  checkCache(cache)
  const duty = checkAccess(options.access, decrypt)
  const byOwner = checkDataKey(options)
  const methods = checkMethods(host, options.methods)
  const keyPath = checkPath('keyPath', options.keyPath ?? `encrypted_kms_key${name === undefined ? '' : `_${name}`}`)
  if (!byOwner) refuseSecondUse(schema, keyPath)
  const fields = compileFields(host, schema, options.fields)
  const indexes = makeIndexes(host, schema, fields, options.blindIndexes)
  if (!byOwner) checkKeyPath(host, schema, keyPath, fields, indexes)
  const provider = byOwner ? unused : checkProvider(options.provider)
  const generations = byOwner ? new Map() : makeGenerations(options, checkVersion('version', version), provider)
  const allows = makeTrust(
    options.allowKeyIds,
    new Map(Array.from(generations, ([number, { keyId }]) => [number, keyId])),
  )
  return unmerged({
    host,
    access,
    keys: new KeyManager(provider, cache),
    fields,
    fieldNames: Object.freeze([...fields.keys()]),
    decrypt,
    name,
    byOwner,
    keyPath,
    migrating,
    from: options.from,
    fromPaths,
    indexKeys,
    version,
    generations,
    allows,
    indexes,
    indexed: new Set(indexes.flatMap((index) => index.fields)),
    indexKey: byOwner ? undefined : makeIndexKey(options, indexes, provider, (keyId) => allows(keyId, version)),
    isCustom: [...generations.values()].some(
      ({ keyId, context }) => context !== undefined || typeof keyId === 'function',
    ),
    contextDependencies: new Set<string>(),
    ownerDependencies: new Set<string>(),
    // Whoever loads a field loads what it is read from, and what is taken away with that.
    dependencies: new Set<string>(options.from && [...fromPaths, ...fields.keys()]),
    methods,
    duty,
    requireActor,
  })
}

function makeIndexes(
  host: Host,
  schema: AnySchema,
  fields: ReadonlyMap<string, Field>,
  option: KmsEncryptedOptions['blindIndexes'],
): readonly BlindIndex[] {
  const compounds = compileCompounds(option, (name) => {
    const field = fields.get(name)
    return field && { name, instance: instanceOf(field.inner) }
  })
  const indexes = [...[...fields.values()].flatMap(({ index }) => index ?? []), ...compounds]
  for (const [position, { name, path }] of indexes.entries()) {
    const isDouble = indexes.slice(0, position).some((other) => other.path === path)
    if (!isDouble && !fields.has(path) && !isTaken(host, schema, path)) continue
    throw new ConfigurationError(
      'FIELD_INVALID',
      `kmsEncrypted: ${name}: the path ${path}, where index values are stored, is already taken. Choose another name.`,
    )
  }
  return indexes
}

function makeIndexKey(
  { indexKey }: KmsEncryptedOptions,
  indexes: readonly BlindIndex[],
  provider: KeyProvider,
  allows: (keyId: string) => boolean,
): IndexKeySource | undefined {
  // Subdocuments may need it, of which nothing is known here.
  if (indexes.length === 0 && indexKey === undefined && !provider.deriveIndexKey) return undefined
  const source = indexKeySource(provider, indexKey, allows)
  checkIndexKey(source, indexes)
  return source
}

/** @throws {ConfigurationError} OPTION_INVALID when a version of an index has no key */
export function checkIndexKey(source: IndexKeySource, indexes: readonly BlindIndex[]): void {
  for (const { name, versions } of indexes) {
    const missing = versions.find(({ number }) => !source.has(number))
    if (missing) throw invalid('indexKey', `There is none for version ${missing.number} of the blind index ${name}.`)
  }
}

/** Stands where the owner's provider is asked instead. */
const unused: KeyProvider = {
  generateDataKey: () => Promise.reject(new Error('the data key is the owner’s')),
  unwrapDataKey: () => Promise.reject(new Error('the data key is the owner’s')),
}

function checkDataKey(options: KmsEncryptedOptions): boolean {
  const { dataKey } = options
  if (dataKey === undefined) return false
  if (dataKey !== 'owner') throw invalid('dataKey', `Expected 'owner', or nothing, got ${String(dataKey)}.`)
  const meaningless = ownersAlone.find((option) => options[option] !== undefined)
  if (meaningless !== undefined) {
    throw invalid(
      meaningless,
      "With dataKey: 'owner' it is the owner's that counts. Give it where the plugin is used on the owner.",
    )
  }
  return true
}

function checkFrom({ from, fromPaths = [], migrating }: KmsEncryptedOptions): readonly string[] {
  if (from !== undefined && typeof from !== 'function')
    throw invalid('from', 'Expected a function of what is stored that gives values by the names of fields.')
  if (from && migrating !== true) throw invalid('from', 'It is for migrating: true. Give both, or neither.')
  if (!Array.isArray(fromPaths)) throw invalid('fromPaths', 'Expected a list of top-level paths.')
  if (fromPaths.length > 0 && !from) throw invalid('fromPaths', 'They are what the option from reads. Give that, too.')
  return fromPaths.map((path) => checkPath('fromPaths', path))
}

function checkMethods(host: Host, given: KmsEncryptedOptions['methods']): MethodNames {
  const methods = { decrypt: 'decrypt', rotateKmsKey: 'rotateKmsKey', ...given }
  for (const [method, name] of Object.entries(methods)) {
    if (method !== 'decrypt' && method !== 'rotateKmsKey') {
      throw invalid(`methods.${method}`, 'There is no such method. Use decrypt, rotateKmsKey.')
    }
    if (typeof name !== 'string' || !/^[A-Za-z_]\w*$/.test(name)) {
      throw invalid(`methods.${method}`, 'Expected the name that the method is to have, such as "decryptFields".')
    }
    // Whatever has a method then is awaited by whoever is given it.
    if (name === 'then' || name in host.mongoose.Model.prototype || name in host.mongoose.Model)
      throw invalid(`methods.${method}`, `Documents or models of Mongoose have a ${name} already. Choose another name.`)
  }
  if (methods.decrypt === methods.rotateKmsKey)
    throw invalid('methods.rotateKmsKey', `Both methods would have the name ${methods.decrypt}. Choose another.`)
  return Object.freeze(methods)
}

function makeGenerations(options: KmsEncryptedOptions, current: number, provider: KeyProvider) {
  const generations = new Map<number, Generation>()
  generations.set(current, makeGeneration('', options.keyId, options.context, provider))
  const previous = options.previousVersions ?? {}
  if (typeof previous !== 'object') throw invalid('previousVersions', 'Expected an object such as { 1: { keyId } }.')
  for (const [key, generation] of Object.entries(previous)) {
    const version = checkVersion(`previousVersions.${key}`, Number(key))
    const { keyId, context } = checkPrevious(`previousVersions.${key}`, generation)
    if (version === current) {
      throw invalid(
        `previousVersions.${key}`,
        `Version ${current} is the current one. Raise version, or remove this entry.`,
      )
    }
    const prefix = `previousVersions.${key}.`
    generations.set(version, makeGeneration(prefix, keyId ?? options.keyId, context ?? options.context, provider))
  }
  return generations
}

function checkPrevious(option: string, generation: unknown): PreviousVersion {
  if (generation === null || typeof generation !== 'object') {
    throw invalid(option, 'Expected an object such as { keyId } or { context }.')
  }
  const unknown = Object.keys(generation).find((name) => name !== 'keyId' && name !== 'context')
  if (unknown !== undefined) {
    throw invalid(`${option}.${unknown}`, 'There is no such option. Use one of keyId, context.')
  }
  return generation
}

function makeGeneration(
  prefix: string,
  keyId: KeyIdOption | undefined,
  context: ContextOption | undefined,
  provider: KeyProvider,
): Generation {
  if (keyId === undefined && provider.keyId === undefined) {
    throw new ConfigurationError(
      'KEY_ID_INVALID',
      `kmsEncrypted: ${prefix}keyId is missing. Give a KMS key id, ARN or alias; if it comes from the environment, the variable is not set.`,
    )
  }
  if (keyId !== undefined && typeof keyId !== 'function') checkKeyId(keyId, `kmsEncrypted: ${prefix}keyId`)
  if (context !== undefined && typeof context !== 'function') {
    throw new ConfigurationError(
      'CONTEXT_INVALID',
      `kmsEncrypted: ${prefix}context must be a function of the record, such as (doc) => ({ Record: \`User/\${doc._id}\` })`,
    )
  }
  return Object.freeze({ keyId: keyId ?? (provider.keyId as string), context })
}

/** @throws {ConfigurationError} KEY_ID_INVALID */
export function checkKeyId(keyId: unknown, place: string): string {
  if (typeof keyId === 'string' && keyId !== '') return keyId
  throw new ConfigurationError(
    'KEY_ID_INVALID',
    `${place}: expected a KMS key id, ARN or alias, got ${keyId === '' ? 'an empty string' : typeof keyId}`,
  )
}

function checkProvider(provider: KeyProvider | undefined): KeyProvider {
  if (provider === undefined) {
    // One for all schemas, so that its bound on parallel calls holds for the whole process.
    defaultProvider ??= awsKms()
    return defaultProvider
  }
  if (typeof provider?.generateDataKey !== 'function' || typeof provider.unwrapDataKey !== 'function') {
    throw invalid(
      'provider',
      'Expected a KeyProvider, such as awsKms() or localKms(). Did you pass the function uncalled?',
    )
  }
  for (const name of ['concurrency', 'maxWaiting', 'timeoutMs'] as const) {
    const value = provider[name]
    if (value === undefined || isCount(value)) continue
    throw invalid('provider', `Its ${name} must be a positive integer, at most 2147483647, got ${String(value)}.`)
  }
  return provider
}

function checkAccess(duty: AccessOption = 'read-write', decrypt: DecryptOption): AccessOption {
  if (!['read-write', 'read-only', 'write-only'].includes(duty))
    throw invalid('access', `Expected 'read-write', 'read-only' or 'write-only', got ${String(duty)}.`)
  if (duty !== 'write-only' || decrypt !== 'onLoad') return duty
  throw invalid('access', "A process that opens no record cannot have decrypt: 'onLoad'.")
}

function checkVersion(option: string, version: unknown): number {
  if (isCount(version)) return version
  throw invalid(option, `Expected a positive integer, got ${String(version)}.`)
}

/** A positive int32. Timers of Node take no more milliseconds than this: they would end at once. */
export function isCount(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) > 0 && (value as number) < 2 ** 31
}

function checkCache(cache: KmsEncryptedOptions['cache']): void {
  if (cache === undefined) return
  for (const bound of ['maxAgeMs', 'maxEntries'] as const) {
    if (!isCount(cache?.[bound])) {
      throw invalid(
        `cache.${bound}`,
        'Expected a positive integer, at most 2147483647: { maxAgeMs: 60_000, maxEntries: 1_000 }.',
      )
    }
  }
}

function checkPath(option: string, path: unknown): string {
  if (typeof path === 'string' && /^[^$.\0][^.\0]*$/.test(path)) return path
  throw invalid(
    option,
    `Expected a top-level path without dots, got ${typeof path === 'string' ? `"${path}"` : typeof path}.`,
  )
}

function refuseSecondUse(schema: AnySchema, keyPath: string): void {
  if (!schema.path(keyPath)) return
  throw invalid(
    'keyPath',
    `The schema already has a path ${keyPath}. Is the plugin used twice on this schema, by a module or factory that runs once more? ` +
      "Give a second data key a name: { name: 'phone' }.",
  )
}

function checkKeyPath(
  host: Host,
  schema: AnySchema,
  keyPath: string,
  fields: ReadonlyMap<string, Field>,
  indexes: readonly BlindIndex[],
): void {
  const isIndex = indexes.some(({ path }) => path === keyPath)
  if (fields.has(keyPath) || isIndex || isTaken(host, schema, keyPath)) {
    throw invalid('keyPath', `The path ${keyPath} is already taken. Choose another with keyPath.`)
  }
}

function invalid(option: string, message: string): ConfigurationError {
  return new ConfigurationError('OPTION_INVALID', `kmsEncrypted: ${option}: ${message}`)
}
