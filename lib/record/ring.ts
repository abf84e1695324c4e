import { isDeepStrictEqual } from 'node:util'
import { AccessError, DecryptionError, KeyProviderError, RecordError } from '../errors'
import { sameBytes } from '../format/bytes'
import { type EncryptionContext, encodeContext } from '../format/context'
import { type DataKey, type KeyReference, referenceText } from '../format/datakey'
import {
  bytesOf,
  encodeWrappedKey,
  erasedAtOf,
  int32Of,
  isTombstone,
  parseWrappedKey,
  referenceOf,
  type WrappedKey,
} from '../format/entry'
import { encodeAadPrefix } from '../format/envelope'
import { type Audit, currentAudit } from '../kms/actor'
import { type Doc, valuesOf } from '../mongoose/host'
import { StoredKeys } from '../schema/kept'
import type { Use } from '../schema/use'
import { contextOf, keyIdOf } from './context'
import type { Identity } from './identity'

/** A data key that is open for a record. */
export interface OpenKey {
  readonly key: DataKey
  /** The encryption context it was opened under, encoded as it goes into the AAD. */
  readonly context: Uint8Array
  readonly entry: WrappedKey
  /** The entry as it is or will be stored. */
  readonly stored: unknown
}

/** The encryption context of one generation of keys. */
interface KnownContext {
  readonly version: number
  readonly context: EncryptionContext
  readonly encoded: Uint8Array
}

/**
 * The data keys of one record under one use of the plugin: those that are stored, open or not, and one that was generated and
 * is not known to be stored yet. With the boxes of a document it is all the state there is of it.
 */
export class KeyRing {
  readonly use: Use
  readonly identity: Identity
  /** The record that the functions `context` and `keyId` are asked of; a document of the user's, or one made for it. */
  readonly subject: Doc | undefined
  /** The ring of the same document before its `_id`, owner or context changed: its keys are replaced by those here. */
  readonly replaces: KeyRing | undefined
  /** What the subject has at the path of wrapped keys, as this ring knows it. */
  storedAs: unknown
  #stored: readonly unknown[]
  #pending: OpenKey | undefined
  #generating: Promise<OpenKey> | undefined
  readonly #open = new Map<KeyReference, OpenKey>()
  readonly #contexts: KnownContext[] = []
  #prefix: { readonly context: Uint8Array; readonly bytes: Uint8Array } | undefined

  constructor(use: Use, identity: Identity, stored: readonly unknown[], subject?: Doc, replaces?: KeyRing) {
    this.use = use
    this.identity = identity
    this.subject = subject
    this.replaces = replaces
    this.#stored = stored
    this.storedAs = subject && valuesOf(subject)[use.keyPath]
  }

  /** The entries that the record is known to have in the database. */
  get stored(): readonly unknown[] {
    return this.#stored
  }

  /** Whether what is stored at the path of wrapped keys is null, to which MongoDB adds nothing. */
  get isNull(): boolean {
    return this.subject !== undefined && this.#stored.length === 0 && this.storedAs === null
  }

  /** The data key that is to be stored with the next write. */
  get pending(): OpenKey | undefined {
    return this.#pending
  }

  /** Whether the record has the data key with this reference, or is about to. */
  has(reference: KeyReference): boolean {
    return (
      (this.#pending && referenceOf(this.#pending.entry.commitment) === reference) || this.indexOf(reference) !== -1
    )
  }

  /** The position of a stored data key; -1 where it is not stored. */
  indexOf(reference: KeyReference): number {
    return this.#stored.findIndex((entry) => storedReference(entry) === reference)
  }

  /** Whether the data key with this reference was taken away by an erasure, as far as is known here. */
  isErased(reference: KeyReference): boolean {
    return !this.has(reference) && this.#stored.some(isTombstone)
  }

  /** The encryption context of one generation of keys. Remembered, so that a change of the record does not alter it. */
  context(version: number) {
    let known = this.#knownContext(version)
    if (!known) {
      const generation = this.use.generations.get(version)
      if (!generation) {
        throw new DecryptionError(
          'KEY_VERSION_UNKNOWN',
          `${this.identity.name}: a data key of version ${version} is stored, and the plugin knows version ` +
            `${[...this.use.generations.keys()].join(', ')}. Describe the missing one in previousVersions.`,
        )
      }
      const context = contextOf(this.use, generation, this.identity, this.subject)
      known = { version, context, encoded: encodeContext(context) }
      this.#contexts.push(known)
    }
    return known
  }

  #knownContext(version: number): KnownContext | undefined {
    return this.#contexts.find((each) => each.version === version)
  }

  /** Remembers the contexts of a record that was just loaded. One that cannot be had fails where it is needed. */
  rememberContexts(): void {
    for (const version of this.use.generations.keys()) {
      try {
        this.context(version)
      } catch {
        // A partly selected record may have none. That must not fail the find.
      }
    }
  }

  /** Whether the record that this ring stands for is still the same, and has the contexts that its keys and envelopes are bound to. */
  standsFor(identity: Identity): boolean {
    if (identity.name !== this.identity.name || !sameBytes(identity.place, this.identity.place)) return false
    const { use } = this
    if (!use.isCustom) return true
    const bound = this.#stored.flatMap((entry) => [versionOf(entry), boundVersionOf(entry)])
    return [...new Set([use.version, ...bound])].every((version) => this.#hasContext(version as number, identity))
  }

  #hasContext(version: number, identity: Identity): boolean {
    const remembered = this.#knownContext(version)
    if (!remembered) return true
    const { use, subject } = this
    const now = contextOf(use, use.generations.get(version)!, identity, subject)
    return sameBytes(encodeContext(now), remembered.encoded)
  }

  /** The data key with this reference, if it is open. */
  opened(reference: KeyReference): OpenKey | undefined {
    return this.#open.get(reference)
  }

  /**
   * Opens the data key with this reference, unless it is open: one call to the KMS.
   *
   * @throws {DecryptionError} {KeyProviderError}; {RecordError} KEY_NOT_SELECTED; {AccessError} ACCESS_WRITE_ONLY, ACTOR_REQUIRED
   */
  async open(reference: KeyReference, fields: readonly string[]): Promise<OpenKey> {
    const known = this.#open.get(reference)
    if (known) return known
    this.requireReading(fields)
    const stored = this.#entryWith(reference, fields)
    const begun = begunAhead.get(stored as object)
    // Whoever else is said to act has a call of his own in the trace.
    if (begun && isDeepStrictEqual(begun.audit, currentAudit())) {
      const opened = await begun.opening.finally(() => begunAhead.delete(stored as object))
      this.#open.set(reference, opened)
      return opened
    }
    const entry = parseWrappedKey(stored, this.identity.name)
    this.#requireAllowed(entry)
    const { wrapped, keyId, commitment, version, boundVersion } = entry
    const bound = this.context(boundVersion).encoded
    const { context, encoded } = this.context(version)
    try {
      const request = { wrapped, keyId, commitment, context, encoded }
      const key = await this.use.keys.unwrap(request, this.#requester(fields), this.identity.name)
      const opened = { key, context: bound, entry, stored }
      this.#open.set(reference, opened)
      return opened
    } catch (error) {
      throw this.#named(error)
    }
  }

  /** Begins to open the data key with this reference for the ring of a document that will have the same stored entry. */
  openAhead(reference: KeyReference, fields: readonly string[]): void {
    const stored = this.#stored[this.indexOf(reference)]
    if (stored === undefined) return
    const opening = this.open(reference, fields)
    // Whoever takes it is told why it fails.
    opening.catch(() => {})
    begunAhead.set(stored as object, { opening, audit: currentAudit() })
  }

  /** The data key to encrypt with, where that is open already. */
  openWriter(): OpenKey | undefined {
    const current = this.#current
    if (current === undefined) return this.#pending
    const open = this.#open.get(storedReference(current) as KeyReference)
    return open?.stored === current ? open : undefined
  }

  /** The data key to encrypt with: the record's newest of the current version, or a new one. */
  async writer(): Promise<OpenKey> {
    this.requireWriting()
    const current = this.#current
    if (current !== undefined) {
      const reference = referenceOf(parseWrappedKey(current, this.identity.name).commitment)
      // Whoever may not open a key writes under one that was made here.
      if (this.use.duty !== 'write-only' || this.#open.has(reference)) return this.open(reference, [])
    }
    if (this.#pending) return this.#pending
    this.#generating ??= this.#generate()
    return this.#generating
  }

  /** The stored key that is written under: the newest of the current version. */
  get #current(): unknown {
    if (this.#stored.length === 0) return undefined
    return newestOf(this.#stored.filter((entry) => versionOf(entry) === this.use.version))
  }

  /** What encryption binds to beside the field, for one place under one key's context. */
  prefix(context: Uint8Array, place: Uint8Array): Uint8Array {
    // A record has one place, and its subdocuments under its key have one each.
    if (place !== this.identity.place) return encodeAadPrefix(context, place)
    if (this.#prefix?.context !== context) this.#prefix = { context, bytes: encodeAadPrefix(context, place) }
    return this.#prefix.bytes
  }

  /** The entries as they are to be stored with a whole record. */
  toStore(): unknown[] {
    return this.#pending ? [...this.#stored, this.#pending.stored] : [...this.#stored]
  }

  /** The data key has been stored with a write: from now on it is one of the record's own. */
  committed(key: OpenKey): void {
    const reference = referenceOf(key.entry.commitment)
    this.#open.set(reference, key)
    if (this.#pending === key) this.#pending = undefined
    if (this.indexOf(reference) === -1) this.takeOver([...this.#stored, key.stored])
  }

  /** The write that stored a data key has been undone. */
  undone(key: OpenKey): void {
    const reference = referenceOf(key.entry.commitment)
    this.takeOver(this.#stored.filter((entry) => storedReference(entry) !== reference))
    // An erasure that was undone with it has let go of it.
    this.#open.set(reference, key)
    this.#pending ??= key
  }

  /** Has those of the same record or subdocument, of which this is a copy. */
  keepTombstones({ stored }: KeyRing): void {
    if (!this.#stored.some(isTombstone)) this.takeOver([...stored.filter(isTombstone), ...this.#stored])
  }

  /** Takes over what was found in the database. */
  takeOver(stored: readonly unknown[]): void {
    this.#stored = stored
    const { subject, use } = this
    if (!subject) return
    this.storedAs = new StoredKeys(stored)
    valuesOf(subject)[use.keyPath] = this.storedAs
  }

  /**
   * Has the KMS wrap a stored key anew, under the KMS key and context of the current version.
   *
   * @returns the entry to store: the one given, where it is current or no wrapped key
   * @throws {KeyProviderError} {DecryptionError} WRAPPED_KEY_DAMAGED, KEY_VERSION_UNKNOWN
   */
  async rewrap(stored: unknown): Promise<unknown> {
    if (isTombstone(stored)) return stored
    this.requireWriting()
    this.requireReading([])
    if (this.isCurrent(stored)) return stored
    const { use } = this
    const entry = parseWrappedKey(stored, this.identity.name)
    this.#requireAllowed(entry)
    const { context, encoded } = this.context(use.version)
    const to = { keyId: this.#currentKeyId, context }
    const request = { ...entry, context: this.context(entry.version).context, to }
    const answer = await use.keys
      .rewrap(request, this.#requester([]))
      .catch((error) => Promise.reject(this.#named(error)))
    // What envelopes are bound to is not what the KMS is told, unless it is the same.
    const isBoundAlike = sameBytes(this.context(entry.boundVersion).encoded, encoded)
    const boundVersion = isBoundAlike ? use.version : entry.boundVersion
    const renewed = { ...entry, ...answer, version: use.version, boundVersion }
    this.#requireAllowed(renewed)
    return encodeWrappedKey(renewed, use.host.binary)
  }

  /**
   * Whether a stored key is under the KMS key and context of the current version, as far as is known.
   *
   * @throws {DecryptionError} WRAPPED_KEY_DAMAGED
   */
  isCurrent(stored: unknown): boolean {
    const { version, keyId } = parseWrappedKey(stored, this.identity.name)
    return version === this.use.version && this.use.keys.isSameKey(keyId, this.#currentKeyId)
  }

  get #currentKeyId(): string {
    const { use, identity, subject } = this
    return keyIdOf(use, use.generations.get(use.version)!, identity, subject)
  }

  /** Lets go of all open keys. */
  forget(): void {
    for (const { entry } of this.#open.values()) this.use.keys.forget({ ...entry, ...this.context(entry.version) })
    this.#open.clear()
    this.#pending = undefined
  }

  /** Makes an open key known that was generated elsewhere, by a rotation. */
  learn(key: OpenKey): void {
    this.#open.set(referenceOf(key.entry.commitment), key)
  }

  /** Draws a new data key that is in no way part of the record yet. */
  async draw(attempts = 3): Promise<OpenKey> {
    const { use, identity } = this
    const { context, encoded } = this.context(use.version)
    const generated = use.keys.generate({ keyId: this.#currentKeyId, context }, this.#requester([]))
    const { key, wrapped, keyId } = await generated.catch((error) => Promise.reject(this.#named(error)))
    const entry = {
      version: use.version,
      boundVersion: use.version,
      keyId,
      wrapped,
      commitment: key.commitment,
      createdAt: this.#nextDate(),
    }
    this.#requireAllowed(entry)
    if (!this.has(referenceOf(key.commitment)))
      return { key, context: encoded, entry, stored: encodeWrappedKey(entry, use.host.binary) }
    // Four bytes tell the keys of a record apart; should chance make two alike, another key is drawn.
    if (attempts > 1) return this.draw(attempts - 1)
    throw new KeyProviderError(
      'KMS_FAILED',
      `${identity.name}: the key provider gives the same data key again and again, where each must be a new one.`,
    )
  }

  /** Later than that of every data key the record has, whatever the clock was of who made it: the newest is written under. */
  #nextDate(): Date {
    const latest = Math.max(0, ...this.#stored.map(timeOf))
    return new Date(Math.min(Math.max(Date.now(), latest + 1), 8.64e15))
  }

  async #generate(): Promise<OpenKey> {
    try {
      this.#pending = await this.draw()
      this.learn(this.#pending)
      return this.#pending
    } finally {
      this.#generating = undefined
    }
  }

  /** The stored entry with a reference, unparsed. */
  #entryWith(reference: KeyReference, fields: readonly string[]): unknown {
    const { identity, use, subject } = this
    const [stored, another] = this.#stored.filter((each) => storedReference(each) === reference)
    if (another !== undefined) {
      throw new DecryptionError(
        'WRAPPED_KEY_DAMAGED',
        `${identity.name}: two wrapped keys have the reference ${referenceText(reference)}. Restore ${use.keyPath} of the record from a backup.`,
      )
    }
    if (stored !== undefined) return stored
    if (
      subject &&
      !subject.$isNew &&
      !(valuesOf(subject)[use.keyPath] instanceof StoredKeys) &&
      !subject.isSelected(use.keyPath)
    ) {
      throw new RecordError(
        'KEY_NOT_SELECTED',
        `${identity.name}: ${use.keyPath} was not selected when the record was loaded. Select it, or the whole record.`,
      )
    }
    const erasedAt = this.#stored.map(erasedAtOf).find((date) => date !== undefined)
    if (erasedAt) {
      throw new DecryptionError(
        'ERASED',
        `${identity.name} ${fields.join(', ')}: the data key was erased on ${erasedAt.toISOString()}, and with it the value.`,
      )
    }
    throw new DecryptionError(
      'DATA_KEY_MISSING',
      `${identity.name} ${fields.join(', ')}: the record has no data key with the reference ${referenceText(reference)}. The stored bytes are ` +
        'damaged or come from another record.',
    )
  }

  /** Errors of the KMS do not know which record they are about. */
  #named(error: unknown): unknown {
    if (!(error instanceof KeyProviderError)) return error
    const { code, message, cause } = error
    return new KeyProviderError(code, `${this.identity.name}: ${message}`, cause === undefined ? undefined : { cause })
  }

  /** Whoever may write to the database could name a KMS key of his own. */
  #requireAllowed({ keyId, version }: WrappedKey): void {
    if (this.use.allows(keyId, version)) return
    throw new KeyProviderError(
      'KMS_KEY_NOT_ALLOWED',
      `${this.identity.name}: a data key is under the KMS key ${keyId}, which is not among those of the options. If it is one of yours, add ` +
        'it to allowKeyIds; or else somebody has put it there.',
    )
  }

  /**
   * Refuses where this process is not to open records, or nobody is said to act.
   *
   * @throws {AccessError} ACCESS_WRITE_ONLY, ACTOR_REQUIRED
   */
  requireReading(fields: readonly string[]): void {
    const { duty, requireActor } = this.use
    if (duty !== 'write-only' && (!requireActor || currentAudit()?.actor !== undefined)) return
    const place = [this.identity.name, fields.join(', ')].filter(Boolean).join(' ')
    if (duty === 'write-only') {
      throw new AccessError(
        'ACCESS_WRITE_ONLY',
        `${place}: this process does not open records (access: 'write-only'). Read it where access is 'read-write' or 'read-only'.`,
      )
    }
    throw new AccessError(
      'ACTOR_REQUIRED',
      `${place}: nobody is said to act, which requireActor asks for. Read it within withAudit({ actor, reason }, () => …), also where a ` +
        'value is awaited later than the record.',
    )
  }

  /**
   * Refuses where this process is not to encrypt anything.
   *
   * @throws {AccessError} ACCESS_READ_ONLY
   */
  requireWriting(): void {
    if (this.use.duty !== 'read-only') return
    throw new AccessError(
      'ACCESS_READ_ONLY',
      `${this.identity.name}: this process does not write encrypted values (access: 'read-only'). Write where access is 'read-write' or ` +
        "'write-only'.",
    )
  }

  /** Who asks the KMS, for the trace. */
  #requester(read: readonly string[]) {
    return { model: this.identity.model, id: this.identity.id, fields: this.use.fieldNames, read }
  }
}

/** Openings that were begun ahead, and for whom, by stored entry, until they are taken. */
const begunAhead = new WeakMap<object, { readonly opening: Promise<OpenKey>; readonly audit: Audit | undefined }>()

/** The commitment of a stored key, without checking the rest of it: one that is damaged must not stop the others. */
export function storedCommitment(stored: unknown): Uint8Array | undefined {
  return bytesOf((stored as { commitment?: unknown } | null)?.commitment)
}

/** The reference of a stored key, likewise. */
export function storedReference(stored: unknown): KeyReference | undefined {
  const commitment = storedCommitment(stored)
  return commitment && referenceOf(commitment)
}

/** The entry that was made last: an older one may have been put back behind it. */
function newestOf(entries: readonly unknown[]): unknown {
  return entries.reduce<unknown>(
    (newest, entry) => (newest === undefined || timeOf(entry) >= timeOf(newest) ? entry : newest),
    undefined,
  )
}

function timeOf(entry: unknown): number {
  const { createdAt } = (entry ?? {}) as { createdAt?: unknown }
  return createdAt instanceof Date ? createdAt.getTime() || 0 : 0
}

function versionOf(stored: unknown): number | undefined {
  return int32Of((stored as { version?: unknown } | null)?.version)
}

function boundVersionOf(stored: unknown): number | undefined {
  return int32Of((stored as Partial<WrappedKey> | null)?.boundVersion)
}
