import { checkContext, type EncryptionContext } from './format/context'
import { ConfigurationError, RecordError } from './errors'
import { compileFields, type Fields, isDocumentProperty, isPath } from './fields'
import { type AnySchema, type Doc, type Host, hostOf } from './host'
import { KeyManager } from './kms/manager'
import { modelNameOf, ownerOf, recordName, topOf } from './naming'
import type { ContextOption, DecryptOption, KeyIdOption, KmsEncryptedOptions, PreviousVersion } from './schema/options'
import type { KeyProvider } from './kms/provider'
import { awsKms } from './kms/aws'

/** One generation of key and context. */
export interface Generation {
  readonly keyIdOf: (record: Doc) => string
  readonly contextOf: (record: Doc) => EncryptionContext
}

/** The options of one use of the plugin, checked once and frozen. */
export interface Config {
  readonly host: Host
  readonly keys: KeyManager
  readonly fields: Fields
  readonly decrypt: DecryptOption
  readonly keyPath: string
  readonly version: number
  /** The generation that is written, and the earlier ones that are still read, by number. */
  readonly generations: ReadonlyMap<number, Generation>
  /** Whether the context depends on more than the `_id`, so that a change of the record can change it. */
  readonly customContext: boolean
  /** Paths that `context` was seen to read: a change of one would leave the record's fields unreadable. */
  readonly contextDependencies: ReadonlySet<string>
  /** Paths that `context` and `keyId` were seen to read; they are loaded wherever a field is. */
  readonly dependencies: ReadonlySet<string>
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
  'keyPath',
  'ciphertextPath',
  'cache',
])
// `deduplicate` and `tags` are Mongoose's own options of `schema.plugin()`.
const mongooseOwn = new Set(['deduplicate', 'tags'])

let defaultProvider: KeyProvider | undefined

/** @throws {ConfigurationError} when an option cannot be used as it is */
export function makeConfig(schema: AnySchema, options: KmsEncryptedOptions | undefined): Config {
  const host = hostOf(schema)
  if (options === null || typeof options !== 'object') {
    throw invalid('options', 'Expected an object: schema.plugin(kmsEncrypted, { keyId, fields: { email: String } })')
  }
  for (const option of Object.keys(options)) {
    if (!known.has(option) && !mongooseOwn.has(option)) {
      throw invalid(option, `There is no such option. Use one of ${[...known].join(', ')}.`)
    }
  }
  const { name, decrypt = 'onAccess', version = 1, cache } = options
  if (name !== undefined && !(typeof name === 'string' && /^\w+$/.test(name))) {
    throw invalid('name', 'Expected letters, digits and underscores.')
  }
  if (decrypt !== 'onAccess' && decrypt !== 'onLoad') {
    throw invalid('decrypt', `Expected 'onAccess' or 'onLoad', got ${String(decrypt)}.`)
  }
  checkCache(cache)
  const keyPath = checkPath('keyPath', options.keyPath ?? `encrypted_kms_key${name === undefined ? '' : `_${name}`}`)
  const fields = compileFields(host, schema, options.fields, storedPathOf(options.ciphertextPath))
  checkPaths(host, schema, keyPath, fields)
  const provider = checkProvider(options.provider)
  const contextDependencies = new Set<string>()
  const dependencies = new Set<string>()
  const generations = makeGenerations(options, version, provider, (path, option) => {
    dependencies.add(path)
    if (option === 'context') contextDependencies.add(path)
  })
  return Object.freeze({
    host,
    keys: new KeyManager(provider, cache),
    fields,
    decrypt,
    keyPath,
    version: checkVersion('version', version),
    generations,
    contextDependencies,
    dependencies,
    customContext:
      options.context !== undefined ||
      Object.values(options.previousVersions ?? {}).some((previous) => previous.context),
  })
}

type NoteRead = (path: string, option: 'keyId' | 'context') => void

function makeGenerations(options: KmsEncryptedOptions, current: number, provider: KeyProvider, note: NoteRead) {
  const generations = new Map<number, Generation>()
  generations.set(current, makeGeneration('', options.keyId, options.context, provider, note))
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
    generations.set(
      version,
      makeGeneration(`previousVersions.${key}.`, keyId ?? options.keyId, context ?? options.context, provider, note),
    )
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
  note: NoteRead,
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
  return Object.freeze({
    keyIdOf: (record: Doc) => {
      if (typeof keyId !== 'function') return keyId ?? (provider.keyId as string)
      return checkKeyId(keyId(watched(record, (path) => note(path, 'keyId'))), `${modelNameOf(record)}: keyId`)
    },
    contextOf: (record: Doc) => {
      if (isMissing(ownerOf(record)._id)) throw idMissing(record)
      if (context === undefined) return { Record: recordName(record) }
      return checkContext(context(watched(record, (path) => note(path, 'context'))), `${modelNameOf(record)}: context`)
    },
  })
}

/** The record as an option function sees it: reading a path of it is noted, so that it can be loaded and guarded. */
function watched(record: Doc, note: (path: string) => void): Doc {
  const { schema } = record.constructor as unknown as { schema: AnySchema }
  const noteIfPath = (path: string) => {
    const top = topOf(path)
    if (top !== '_id' && schema.pathType(top) !== 'adhocOrUndefined' && schema.pathType(top) !== 'virtual') note(top)
  }
  return new Proxy(record, {
    get(target, property, receiver) {
      const value = Reflect.get(target, property, receiver)
      if (typeof property !== 'string') return value
      if (property === 'get' || property === '$get') {
        return (path: string, ...rest: never[]) => {
          noteIfPath(path)
          return target.get(path, ...rest)
        }
      }
      noteIfPath(property)
      return value
    },
  })
}

function checkKeyId(keyId: unknown, place: string): string {
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
  const { concurrency } = provider
  if (concurrency !== undefined && !(Number.isInteger(concurrency) && concurrency > 0)) {
    throw invalid('provider', `Its concurrency must be a positive integer, got ${String(concurrency)}.`)
  }
  return provider
}

function checkVersion(option: string, version: unknown): number {
  if (Number.isInteger(version) && (version as number) > 0 && (version as number) < 2 ** 31) return version as number
  throw invalid(option, `Expected a positive integer, got ${String(version)}.`)
}

function checkCache(cache: KmsEncryptedOptions['cache']): void {
  if (cache === undefined) return
  for (const bound of ['maxAgeMs', 'maxEntries'] as const) {
    if (!(Number.isInteger(cache?.[bound]) && cache[bound] > 0)) {
      throw invalid(`cache.${bound}`, 'Expected a positive integer: { maxAgeMs: 60_000, maxEntries: 1_000 }.')
    }
  }
}

function storedPathOf(ciphertextPath: KmsEncryptedOptions['ciphertextPath']): (field: string) => string {
  if (ciphertextPath === undefined) return (field) => `encrypted_${field}`
  if (typeof ciphertextPath !== 'function') {
    throw invalid('ciphertextPath', 'Expected a function of the field name, such as (field) => `${field}_ciphertext`.')
  }
  return (field) => checkPath('ciphertextPath', ciphertextPath(field))
}

function checkPath(option: string, path: unknown): string {
  if (typeof path === 'string' && /^[^$.\0][^.\0]*$/.test(path)) return path
  throw invalid(
    option,
    `Expected a top-level path without dots, got ${typeof path === 'string' ? `"${path}"` : typeof path}.`,
  )
}

function checkPaths(host: Host, schema: AnySchema, keyPath: string, fields: Fields): void {
  const taken = new Set<string>(fields.byName.keys())
  if (schema.path(keyPath)) {
    throw invalid(
      'keyPath',
      `The schema already has a path ${keyPath}. Give a second data key a name: { name: 'phone' }.`,
    )
  }
  for (const path of [keyPath, ...[...fields.byName.values()].map((field) => field.storedPath)]) {
    const isTaken = taken.has(path) || isPath(schema, path) || Boolean(schema.virtualpath(path))
    if (isTaken || isDocumentProperty(host, schema, path)) {
      throw invalid(
        'ciphertextPath',
        `The path ${path} is already taken. Choose another with ciphertextPath or keyPath.`,
      )
    }
    taken.add(path)
  }
}

function isMissing(value: unknown): boolean {
  return value === undefined || value === null
}

function idMissing(record: Doc): RecordError {
  return new RecordError(
    'ID_NOT_SELECTED',
    `${modelNameOf(record)}: the record has no _id, and its encryption context and ciphertexts are bound to it. ` +
      'Select _id when you load the record.',
  )
}

function invalid(option: string, message: string): ConfigurationError {
  return new ConfigurationError('OPTION_INVALID', `kmsEncrypted: ${option}: ${message}`)
}
