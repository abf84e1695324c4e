import type { Config } from './config'
import type { DataKey } from './format/datakey'
import type { WrappedKey } from './format/entry'
import { RecordError } from './errors'
import { type Field, type OpenValues, storedShape } from './fields'
import type { Doc } from './host'
import { modelNameOf, recordName, topOf } from './naming'
import { isPlainObject } from './plain'
import { Sealed } from './sealed'

/** A data key that is open for a record, with the encryption context it was opened under. */
export interface OpenedKey {
  readonly key: DataKey
  /** By `encodeContext`, as it goes into the AAD. */
  readonly context: Uint8Array
}

/**
 * What one use of the plugin knows of one document: the open values of its fields, and its open data keys. It lives as
 * long as the document and never shows on it.
 */
export class EncryptedRecord {
  readonly config: Config
  readonly doc: Doc
  /** Fields whose value is in {@link values}: set, decrypted, or filled by a default. All others are locked or absent. */
  readonly known = new Set<string>()
  /** Fields that the user assigned since the last save, also where Mongoose could not cast the value. */
  readonly assigned = new Set<string>()
  /** Locked fields that are to be encrypted anew, by `markModified`. */
  readonly marked = new Set<string>()
  /** Open data keys by their reference. */
  readonly dataKeys = new Map<string, OpenedKey>()
  /** A data key that was generated for this record and is not stored yet. */
  unsaved: WrappedKey | undefined
  /** What the write under way put on the document. */
  staged: Staged | undefined
  /** What was written last, where that was in a transaction. */
  uncommitted: Uncommitted | undefined
  /** Why the record could not be opened on load. */
  failure: unknown
  /** The encryption contexts when the record was loaded, by version. */
  loadedContexts: ReadonlyMap<number, Buffer> | undefined
  #values: OpenValues | undefined
  /** Values that {@link values} has yet to take over, in the shape in which they are stored. */
  readonly #learnt = new Map<string, unknown>()
  #defaults: Record<string, unknown> | undefined
  /** Fields whose defaults have been applied. */
  readonly #filled = new Set<string>()

  constructor(config: Config, doc: Doc) {
    this.config = config
    this.doc = doc
  }

  /** The document of the open values; it casts, validates and tracks changes. */
  get values(): OpenValues {
    this.#values ??= this.config.fields.open(this.doc)
    if (this.#learnt.size > 0) {
      const { $isNew } = this.#values
      const learnt = Object.fromEntries(this.#learnt)
      this.#learnt.clear()
      this.#values.init(learnt)
      this.#values.$isNew = $isNew
    }
    return this.#values
  }

  /** The value of a known field, as the user sees it. */
  read(name: string): unknown {
    // A record that is only read needs no document for its values, as far as they are immutable.
    const learnt = this.#learnt.get(name)
    const isReady = this.#learnt.has(name) && (learnt === null || typeof learnt === this.field(name).primitive)
    if (isReady) return learnt
    // The property of a nested object has setters for what is in it; `get()` gives a copy.
    return this.field(name).nested ? this.values[name] : this.values.get(name)
  }

  /** Whether the user may hold the value of a field, and change it in place. */
  isHandedOut(name: string): boolean {
    return this.known.has(name) && !this.#learnt.has(name)
  }

  /** The open values in the shape in which they are stored. */
  shape(): Record<string, unknown> {
    return this.values.toObject(storedShape) as Record<string, unknown>
  }

  /** Names the record, and a field of it, in messages. */
  place(field?: string): string {
    return field === undefined ? recordName(this.doc) : `${recordName(this.doc)} ${field}`
  }

  field(name: string): Field {
    const field = this.config.fields.byName.get(name)
    if (!field) throw new TypeError(`${modelNameOf(this.doc)} has no encrypted field ${name}`)
    return field
  }

  /** The envelope of a locked field; `undefined` for a field that is not locked. */
  envelope(name: string): Sealed | undefined {
    if (this.known.has(name)) return undefined
    const stored = this.doc[this.field(name).storedPath]
    return stored instanceof Sealed ? stored : undefined
  }

  /** Makes the value of a field known where that takes no key: absent fields have their default. */
  settle(name: string): boolean {
    const { storedPath, nested } = this.field(name)
    if (this.known.has(name)) {
      // Defaults inside a nested object are filled in even where the object was given, as when a document is made.
      if (nested && this.doc.$isNew && !this.#filled.has(name)) this.fillDefaults(name)
      return true
    }
    const stored = this.doc[storedPath]
    if (stored instanceof Sealed) return false
    if (!this.doc.$isNew && !this.doc.isSelected(storedPath)) return false
    this.#filled.add(name)
    this.learn({ [name]: stored === null ? null : this.#defaultOf(name) })
    return true
  }

  #defaultOf(name: string): unknown {
    this.#defaults ??= this.config.fields.defaultsFor(this.doc)
    return this.#defaults[name]
  }

  /** Fills in the defaults of what a nested object lacks, as Mongoose does when it makes and when it loads a document. */
  fillDefaults(name: string): void {
    this.#filled.add(name)
    const missing = withoutPresent(this.#defaultOf(name), this.shape()[name])
    if (missing !== undefined) this.learn({ [name]: missing })
  }

  /** Takes over values in the shape in which they are stored, as unmodified. */
  learn(values: Record<string, unknown>): void {
    for (const [name, value] of Object.entries(values)) {
      // A nested object is joined with what is there of it, so each part is taken over by itself.
      if (this.#learnt.has(name)) void this.values
      if (value !== undefined) this.#learnt.set(name, value)
      this.known.add(name)
    }
  }

  set(name: string, value: unknown): void {
    if (isThenable(value)) {
      throw new RecordError(
        'VALUE_NOT_AWAITED',
        `${this.place(name)}: got a promise. Await the value before you assign it.`,
      )
    }
    const hidden = this.#hidesValue(name)
    this.values.set(name, value)
    // Mongoose has left the value as it was, and here it stays where it is.
    if (hidden && this.config.fields.isImmutable(name, this.doc)) return
    // Mongoose compares with the value before, which does not show where the field is locked or was not loaded.
    if (hidden && this.values.$isValid(name)) this.values.markModified(name)
    this.known.add(name)
    this.assigned.add(name)
    // An owner learns of changes in a subdocument, for its timestamps and `isModified()`, through paths that it knows.
    if (this.doc.$isSubdocument) this.doc.markModified(this.field(name).storedPath)
  }

  /** Whether the record has a value for a field, or may have one, that is not among the open values. */
  #hidesValue(name: string): boolean {
    if (this.known.has(name) || this.doc.$isNew) return false
    const { storedPath } = this.field(name)
    return this.doc[storedPath] !== undefined || !this.doc.isSelected(storedPath)
  }

  /** Whether a path of this record is modified. `path` is a field, or a path below one. */
  isModified(path: string): boolean {
    const name = topOf(path)
    if (this.marked.has(name) || this.staged?.fields.has(name)) return true
    return this.known.has(name) && !this.#learnt.has(name) && (this.#values?.isModified(path) ?? false)
  }

  /** The same without what follows from paths above or below. */
  isDirectModified(path: string): boolean {
    if (this.marked.has(path) || this.staged?.fields.has(path)) return true
    return this.known.has(topOf(path)) && (this.#values?.isDirectModified(path) ?? false)
  }

  /** The modified paths of this record's fields, as Mongoose would list them. */
  modifiedPaths(list: (values: OpenValues) => string[]): string[] {
    const paths = new Set([...this.marked, ...(this.staged?.fields.keys() ?? [])])
    if (this.#values) {
      for (const path of list(this.#values)) if (this.known.has(topOf(path))) paths.add(path)
    }
    return [...paths]
  }
}

/** The part of `defaults` for which `present` has nothing. */
function withoutPresent(defaults: unknown, present: unknown): unknown {
  if (present === undefined) return defaults
  if (!isPlainObject(defaults) || !isPlainObject(present)) return undefined
  const missing: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(defaults)) {
    const rest = withoutPresent(value, present[key])
    if (rest !== undefined) missing[key] = rest
  }
  return Object.keys(missing).length > 0 ? missing : undefined
}

const records = new WeakMap<Config, WeakMap<Doc, EncryptedRecord>>()

/** The state that is kept for a document; made when first asked for. */
export function recordOf(config: Config, doc: Doc): EncryptedRecord {
  let known = records.get(config)
  if (!known) {
    known = new WeakMap()
    records.set(config, known)
  }
  let record = known.get(doc)
  if (!record) {
    record = new EncryptedRecord(config, doc)
    known.set(doc, record)
  }
  return record
}

/** The state that is kept for a document, if any: an untouched record has none. */
export function peekRecord(config: Config, doc: Doc): EncryptedRecord | undefined {
  return records.get(config)?.get(doc)
}

/** Drops what is kept for a document, with its open keys. */
export function forgetRecord(config: Config, doc: Doc): void {
  records.get(config)?.delete(doc)
}

function isThenable(value: unknown): boolean {
  return typeof (value as PromiseLike<unknown> | null | undefined)?.then === 'function'
}

/** What a write put on the document, and how to take it back. */
export interface Staged {
  /** The fields written, with what was stored before. */
  readonly fields: Map<string, unknown>
  /** The paths of open values that were modified. */
  readonly modified: Set<string>
  /** What was at the key path before, where the write changes it. */
  keysBefore?: { readonly value: unknown }
  /** The condition that the write is under. */
  guard?: Record<string, unknown>
  /** The data key that the fields were encrypted with, if any needed one. */
  used?: UsedKey
}

/** What was written in a transaction that may still be aborted. */
export interface Uncommitted {
  /** The driver's own object, one for each transaction. */
  readonly transaction: { readonly isActive: boolean; readonly isCommitted: boolean }
  readonly staged: Staged
}

/** The data key of a write. */
export interface UsedKey {
  readonly opened: OpenedKey
  readonly commitment: Uint8Array
  /** The entry to store, where the record does not have it yet. */
  readonly added?: WrappedKey
  /** The commitments of the keys that the record had when it was loaded. */
  readonly before: readonly Uint8Array[]
}
