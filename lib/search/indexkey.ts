import { crc32 } from 'node:zlib'
import { ConfigurationError } from '../errors'
import { lengthPrefixed } from '../format/bytes'
import { type EncryptionContext, encodeContext } from '../format/context'
import type { DataKey } from '../format/datakey'
import { awsKms } from '../kms/aws'
import { KeyManager } from '../kms/manager'
import type { KeyProvider } from '../kms/provider'
import { IndexKey, IndexKeys } from './value'

/** What {@link createIndexKey} needs. */
export interface CreateIndexKeyOptions {
  /** Default: `awsKms()`. */
  readonly provider?: KeyProvider
  /** The KMS key that wraps the index key. Required unless the provider has one of its own. */
  readonly keyId?: string
  /** Tells the index keys of several deployments apart in the log of the KMS. Default: `'default'`. */
  readonly name?: string
}

const defaultName = 'default'
const encodingVersion = 1

/** An index key as it stands in the configuration, wrapped. */
interface WrappedIndexKey {
  readonly name: string
  readonly keyId: string
  readonly wrapped: Uint8Array
  readonly commitment: Uint8Array
}

/** How the index key of one use of the plugin is opened: nothing is done before the first value is needed. */
export interface IndexKeySource {
  /**
   * One call to the KMS for each key, process and provider; one that failed is made again.
   *
   * @throws {KeyProviderError} when the KMS refuses; {DecryptionError} DATA_KEY_MISMATCH when it gives another key
   */
  open(): Promise<IndexKeys>
  /** The same, where it was opened before. */
  readonly opened: IndexKeys | undefined
  /** Whether there is a key for a version of an index. */
  has(version: number): boolean
}

/** How one index key is opened. */
interface KeySource {
  open(): Promise<IndexKey>
}

/**
 * Makes the index key of a deployment: 32 random bytes of the KMS, which `indexKey` of the plugin's options takes, wrapped, as this text. Make
 * one, keep it where the configuration is, and give it to every process: with another one, nothing that is stored is found.
 *
 * @returns text that fits into an environment variable, and is no secret: only the KMS can open it
 * @throws {ConfigurationError} KEY_ID_INVALID, OPTION_INVALID; {KeyProviderError} when the KMS refuses
 */
export async function createIndexKey(options: CreateIndexKeyOptions = {}): Promise<string> {
  const { provider = awsKms(), keyId = provider.keyId, name = defaultName } = options
  if (typeof keyId !== 'string' || keyId === '')
    throw new ConfigurationError('KEY_ID_INVALID', 'createIndexKey: keyId is missing. Give a KMS key id, ARN or alias.')
  if (typeof name !== 'string' || name === '')
    throw new ConfigurationError('OPTION_INVALID', 'createIndexKey: name must be a text that is not empty.')
  const {
    key,
    wrapped,
    keyId: given,
  } = await new KeyManager(provider).generate({ keyId, context: contextFor(name) }, requesterFor(name))
  return encode({ name, keyId: given, wrapped, commitment: key.commitment })
}

/**
 * Finds where the index key of a use comes from.
 *
 * @param given the option `indexKey`: one for all versions of indexes, or each by its version
 * @throws {ConfigurationError} OPTION_INVALID when there is none, or it cannot be used
 */
export function indexKeySource(
  provider: KeyProvider,
  given: string | Readonly<Record<number, string>> | undefined,
  allows: (keyId: string) => boolean,
): IndexKeySource {
  if (typeof given !== 'object' || given === null) {
    const source = keySource(provider, given, allows)
    return openOnce(
      async () => {
        const key = await source.open()
        return new IndexKeys(() => key)
      },
      () => true,
    )
  }
  const sources = new Map(
    Object.entries(given).map(([version, key]) => [Number(version), keySource(provider, key, allows)] as const),
  )
  return openOnce(
    async () => {
      const keys = new Map<number, IndexKey>()
      await Promise.all(Array.from(sources, async ([version, source]) => void keys.set(version, await source.open())))
      return new IndexKeys((version) => keys.get(version) as IndexKey)
    },
    (version) => sources.has(version),
  )
}

function openOnce(make: () => Promise<IndexKeys>, has: (version: number) => boolean): IndexKeySource {
  let opened: IndexKeys | undefined
  return Object.freeze({
    async open() {
      opened ??= await make()
      return opened
    },
    get opened() {
      return opened
    },
    has,
  })
}

function keySource(provider: KeyProvider, given: string | undefined, allows: (keyId: string) => boolean): KeySource {
  if (given === undefined) {
    if (!provider.deriveIndexKey) {
      throw new ConfigurationError(
        'OPTION_INVALID',
        'kmsEncrypted: indexKey is missing, and fields with a blind index need one. Make it once by createIndexKey({ provider, keyId }), keep it ' +
          'in the configuration, and give it as indexKey; if it comes from the environment, the variable is not set.',
      )
    }
    return sharedSource(provider, '', () => new KeyManager(provider).deriveIndexKey(contextFor(defaultName)))
  }
  const index = parse(given)
  if (!allows(index.keyId)) {
    throw new ConfigurationError(
      'OPTION_INVALID',
      `kmsEncrypted: indexKey is under the KMS key ${index.keyId}, which is not among those of the options. If it is one of yours, add it to ` +
        'allowKeyIds.',
    )
  }
  return sharedSource(provider, given, () => unwrap(provider, index))
}

const sources = new WeakMap<KeyProvider, Map<string, KeySource>>()

/** All uses with the same provider and index key share one opening. */
function sharedSource(provider: KeyProvider, given: string, open: () => Promise<DataKey>): KeySource {
  const known = sources.get(provider) ?? new Map<string, KeySource>()
  sources.set(provider, known)
  const source = known.get(given) ?? makeSource(open)
  known.set(given, source)
  return source
}

function makeSource(open: () => Promise<DataKey>): KeySource {
  let opening: Promise<IndexKey> | undefined
  return Object.freeze({
    open() {
      opening ??= open().then(
        // Of a data key, what encrypts stands for the whole: the bytes themselves are gone.
        ({ encryptionKey }) => new IndexKey(encryptionKey),
        (error) => {
          opening = undefined
          throw error
        },
      )
      return opening
    },
  })
}

function unwrap(provider: KeyProvider, { name, keyId, wrapped, commitment }: WrappedIndexKey): Promise<DataKey> {
  const context = contextFor(name)
  const request = { wrapped, keyId, commitment, context, encoded: encodeContext(context) }
  return new KeyManager(provider).unwrap(request, requesterFor(name), 'indexKey')
}

function contextFor(name: string): EncryptionContext {
  return { BlindIndex: name }
}

function requesterFor(name: string) {
  return { model: 'BlindIndex', id: name, fields: [], read: [] }
}

/** `version 1 ‖ name, key id, wrapped key and commitment, each after its length ‖ CRC-32`, as base64url. */
function encode({ name, keyId, wrapped, commitment }: WrappedIndexKey): string {
  const parts = lengthPrefixed([Buffer.from(name), Buffer.from(keyId), wrapped, commitment])
  const content = Buffer.concat([Buffer.of(encodingVersion), parts])
  const checksum = Buffer.alloc(4)
  checksum.writeUInt32BE(crc32(content))
  return Buffer.concat([content, checksum]).toString('base64url')
}

function parse(given: unknown): WrappedIndexKey {
  const bytes = Buffer.from(typeof given === 'string' ? given : '', 'base64url')
  const content = bytes.subarray(0, -4)
  const isWhole =
    bytes.length > 5 && bytes.toString('base64url') === given && bytes.readUInt32BE(content.length) === crc32(content)
  if (!isWhole || content[0] !== encodingVersion) {
    throw new ConfigurationError(
      'OPTION_INVALID',
      'kmsEncrypted: indexKey is no text that createIndexKey() gave. Look whether all of it was copied.',
    )
  }
  const parts: Buffer[] = []
  for (let at = 1; at < content.length; at += 4 + (parts.at(-1) as Buffer).length) {
    const start = at + 4
    parts.push(content.subarray(start, start + content.readUInt32BE(at)))
  }
  const [name, keyId, wrapped, commitment] = parts as [Buffer, Buffer, Buffer, Buffer]
  return { name: name.toString(), keyId: keyId.toString(), wrapped, commitment }
}
