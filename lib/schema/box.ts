import { inspect } from 'node:util'
import { OperationError } from '../errors'
import { sameBytes } from '../format/bytes'
import { encodeText } from '../format/text'
import { markSaved } from '../mongoose/document'
import type { Doc } from '../mongoose/host'
import { isPlainObject, unboxed } from '../mongoose/plain'
import { asGiven, asLoaded, type Basis, byDefault, ofNothing, withSent } from './basis'
import type { Field } from './fields'
import { assign, heldValue, hold, type Origin, storedValue } from './holder'
import { masking } from './masking'
import type { Use } from './use'

/** What a sealed value was encrypted for: the key ring that did it, and the plaintext where it can change in place. */
interface Seal {
  readonly envelope: Uint8Array
  readonly by: unknown
}

/** What a box knows of what is stored, before a write: an envelope, or what is in the clear, and what its value was made of. */
export interface Known {
  readonly stored: Uint8Array | undefined
  readonly clear: Uint8Array | undefined
  readonly basis: Basis
}

/**
 * One value of one encrypted field, as it stands in a document, an update or anything else on its way to the database.
 *
 * ```
 *            open()                 seal()
 *   locked ─────────► open+sealed ◄──────── open       locked   only the envelope, as it was loaded
 *      ▲                │    │                ▲        open     only the plaintext: it was set, or is a default
 *      └──── relock() ──┘    └── changed ─────┘        sealed   both, and they belong together
 * ```
 *
 * It **throws when it is serialised to BSON**: only the gate takes envelopes out of boxes, so what passes it by sends
 * nothing. It shows nothing of what it holds, has no enumerable property, and is equal to no other box.
 */
export class Box {
  readonly #field: Field
  readonly #use: Use
  readonly #loadedId: unknown
  #owner: unknown
  #source: Box | undefined
  #prior: Box | undefined
  #stored: Uint8Array | undefined
  #failure: unknown
  #value: unknown
  #holder: Doc | undefined
  #isOpen = false
  #isUnsaved = false
  #isStale = false
  #seal: Seal | undefined
  #snapshot: Uint8Array | undefined
  #clear: Uint8Array | undefined
  #basis: Basis = asLoaded

  private constructor(field: Field, use: Use, owner: unknown, loadedId?: unknown) {
    this.#field = field
    this.#use = use
    this.#owner = owner
    this.#loadedId = loadedId
  }

  /** A box of a value that was set. */
  static open(field: Field, use: Use, owner: unknown, value: unknown, origin: Origin = 'assigned'): Box {
    const box = new Box(field, use, owner)
    box.#put(value, origin)
    box.#basis = asGiven
    box.#isUnsaved = true
    return box
  }

  /** A box of what is there because nothing is stored: a default, or a nested object that nobody has put anything into. */
  static default(field: Field, use: Use, owner: unknown, value: unknown): Box {
    const box = new Box(field, use, owner)
    box.#put(value, field.complex && value !== undefined ? 'stored' : 'assigned')
    box.#basis = byDefault
    return box
  }

  /** A box of what was loaded. */
  static locked(field: Field, use: Use, owner: unknown, loadedId: unknown, envelope: Uint8Array): Box {
    const box = new Box(field, use, owner, loadedId)
    box.#seal = { envelope, by: undefined }
    box.#stored = envelope
    return box
  }

  /** A box of what was loaded in the clear, where that is migrated: open, and with what is to be replaced by an envelope. */
  static clear(field: Field, use: Use, owner: unknown, loadedId: unknown, value: unknown, clear: Uint8Array): Box {
    const box = new Box(field, use, owner, loadedId)
    box.#clear = clear
    box.#put(value, 'stored')
    return box
  }

  /** A box of something that cannot be had. It keeps the reason, and not what it was. */
  static spoilt(field: Field, use: Use, owner: unknown, failure: unknown): Box {
    const box = new Box(field, use, owner)
    box.#failure = failure
    return box
  }

  /** A box of another document's value, which is opened there, and encrypted anew here. */
  static copy(field: Field, use: Use, owner: unknown, source: Box): Box {
    const box = new Box(field, use, owner)
    box.#basis = asGiven
    if (source.isOpen) {
      box.#put(source.copied(), 'stored')
      if (field.mutable) box.#snapshot = box.encode()
    } else {
      box.#source = source
      box.#isUnsaved = true
    }
    return box
  }

  /** Takes over what another box of the same record knows of what is stored. */
  standsFor(box: Box): void {
    this.#isUnsaved = box.isUnsaved
    this.#stored = box.storedEnvelope
    this.#clear = box.#clear
    this.#basis = box.basis
  }

  get field(): Field {
    return this.#field
  }

  get use(): Use {
    return this.#use
  }

  /** The document whose field it is; a query or nothing, where the value is on its way to the database. */
  get owner(): unknown {
    return this.#owner
  }

  set owner(owner: unknown) {
    this.#owner = owner
  }

  /** The `_id` that the owner had when it was loaded. */
  get loadedId(): unknown {
    return this.#loadedId
  }

  /** A box of another document that this one is a copy of, until it is opened. */
  get source(): Box | undefined {
    return this.#source
  }

  /** The box of what is stored, whose place this one took: setting that value again changes nothing. */
  get prior(): Box | undefined {
    return this.#prior
  }

  set prior(prior: Box | undefined) {
    this.#prior = prior
  }

  /** Why it cannot be opened, where that is known already. */
  get failure(): unknown {
    return this.#failure
  }

  set failure(failure: unknown) {
    this.#failure = failure
  }

  get isOpen(): boolean {
    return this.#isOpen
  }

  /** The envelope that belongs to the value as it is now; `undefined` where nothing has encrypted it yet. */
  get envelope(): Uint8Array | undefined {
    return this.#isStale || this.hasChanged ? undefined : this.#seal?.envelope
  }

  /** The envelope that was loaded or made last, whatever has become of the value. */
  get lastEnvelope(): Uint8Array | undefined {
    return this.#seal?.envelope
  }

  /** The key ring that made the envelope or opened it; `undefined` where it was only loaded. */
  get sealedBy(): unknown {
    return this.#seal?.by
  }

  /** Whether an open value was changed in place since it was opened or sealed. */
  get hasChanged(): boolean {
    if (!this.#isOpen || !this.field.mutable) return false
    if (this.#snapshot) return !sameBytes(this.encode(), this.#snapshot)
    return this.isDefault && (this.#holder?.isModified() ?? false)
  }

  /** Whether it holds a value that is not known to be stored: it was set, changed or encrypted, and no write has ended since. */
  get isUnsaved(): boolean {
    return this.#isUnsaved || this.hasChanged
  }

  set isUnsaved(isUnsaved: boolean) {
    this.#isUnsaved = isUnsaved
  }

  /** What is stored in place of an envelope, as it was read, by `encodeClear`; `undefined` where nothing is. */
  get clear(): Uint8Array | undefined {
    return this.#clear
  }

  set clear(clear: Uint8Array | undefined) {
    this.#clear = clear
  }

  /** What its value was made of, as far as it is known by now. */
  get basis(): Basis {
    const basis = this.#basis
    if (basis.isDefault && this.hasChanged) return { ...basis, isDefault: false }
    if (basis.replaces !== 'value' || basis.plaintext || !this.hasChanged) return basis
    return { ...basis, plaintext: this.#snapshot }
  }

  /** What its write takes the place of: the envelope that its value was made of, or null where that was nothing; `undefined` for whatever is stored. */
  get replaces(): Uint8Array | null | undefined {
    const { replaces, plaintext } = this.basis
    return replaces === 'nothing' ? null : plaintext && this.storedEnvelope
  }

  /** Whether it is there because nothing is stored, be it changed since. */
  get isDefault(): boolean {
    return this.#basis.isDefault
  }

  /** Whether the next write of the record is to encrypt it, though nobody has set it. */
  get isMigrating(): boolean {
    return this.#clear !== undefined && this.basis.plaintext === undefined
  }

  /** Whether nobody has set what a write brings with the rest of a record: a write that another process made meanwhile counts more. */
  get isIncidental(): boolean {
    return this.isMigrating || (this.isDefault && !this.hasChanged)
  }

  /** Takes its value for what was made of that of another box, or of nothing: others may make theirs of it meanwhile. */
  madeOf(box: Box | undefined): void {
    if (box === this) return
    const basis = box ? box.basis : ofNothing
    if (basis.replaces === 'value') this.#basis = { ...basis, plaintext: basis.plaintext ?? box?.encode() }
    else if (basis.replaces === 'nothing') this.#basis = { ...basis, isDefault: false }
    this.#stored = box?.storedEnvelope
    this.#clear = box ? box.#clear : undefined
  }

  /** Takes the value as it is now for one that need not be written; what is changed after that is noticed. */
  unmark(): void {
    this.#isUnsaved = false
    if (this.field.mutable && this.#isOpen) this.#snapshot ??= this.encode()
  }

  /** The document that holds a complex value. */
  get holder(): Doc | undefined {
    return this.#holder
  }

  /** The open value as the user sees it, before getters. */
  value(): unknown {
    if (this.field.mutable && this.#isOfRecord) this.#snapshot ??= this.encode()
    return this.#holder ? heldValue(this.field, this.#holder) : this.#value
  }

  /** Whether a change of it would be one of what is stored, or of there being nothing. */
  get #isOfRecord(): boolean {
    return Boolean(this.#seal || this.#clear) || (this.isDefault && (this.#owner as Doc | undefined)?.$isNew === false)
  }

  /** The open value in the shape in which Mongoose would have stored it. */
  stored(): unknown {
    if (this.#holder) return storedValue(this.field, this.#holder)
    const { toObject, _bsontype } = Object(this.#value) as {
      toObject?: (options: object) => unknown
      _bsontype?: string
    }
    const isBytes = Buffer.isBuffer(this.#value) && _bsontype === undefined && toObject !== undefined
    if (isBytes) return toObject.call(this.#value, { transform: false, virtuals: false })
    return this.field.inner?.instance === 'Mixed' ? unboxed(this.#value) : this.#value
  }

  /** The same for another box: what can change in place is not shared. */
  copied(): unknown {
    return this.field.mutable ? this.field.host.deserialize(this.encode()).v : this.stored()
  }

  /** The plaintext: BSON of `{ v: value }`. */
  encode(): Uint8Array {
    const value = this.stored()
    return typeof value === 'string' ? encodeText(value) : this.field.host.serialize({ v: value })
  }

  /** Whether it is a nested object that nobody has put anything into: Mongoose has one always, and stores none. */
  get isEmpty(): boolean {
    return this.field.inner === undefined && this.#isOpen && isEmptyObject(this.stored())
  }

  /** The envelope that was stored when it was last known, by this box or by the one whose place it took. */
  get storedEnvelope(): Uint8Array | undefined {
    return this.#stored ?? this.#prior?.storedEnvelope
  }

  /** Takes over the plaintext of the envelope, by the key ring that decrypted it. */
  opened(value: unknown, by: unknown): void {
    if (this.#isOpen) return
    this.#failure = undefined
    this.#put(value, 'stored')
    if (this.#seal) {
      this.#seal = { envelope: this.#seal.envelope, by }
      return
    }
    this.#source = undefined
    if (this.field.mutable) this.#snapshot = this.encode()
  }

  /** Notes the envelope that a key ring made of the value as it is now, whose plaintext is kept where it may change, else zeroed. */
  sealed(envelope: Uint8Array, by: unknown, plaintext: Uint8Array): void {
    this.#basis = withSent(this.basis, envelope)
    this.#seal = { envelope, by }
    this.#snapshot = this.field.mutable && this.#isOpen ? plaintext : undefined
    if (!this.#snapshot) plaintext.fill(0)
    this.#isUnsaved = true
    this.#isStale = false
    this.#source = undefined
    this.#stored = this.storedEnvelope
    this.#prior = undefined
  }

  /** Has a value that was only looked for (as loaded) belong to a key ring. */
  belongsTo(by: unknown): void {
    if (this.#seal) this.#seal = { envelope: this.#seal.envelope, by }
  }

  /** Whether an envelope is one of those of the writes since the last that is known to be made: each may have been made though it failed. */
  hasSent(envelope: Uint8Array): boolean {
    return this.#basis.sent.some((each) => sameBytes(each, envelope))
  }

  /** What is stored has been encrypted anew, or by a write that failed: what was changed is changed of that. */
  rebased(envelope: Uint8Array, plaintext: Uint8Array): void {
    this.#stored = envelope
    this.#basis = { ...asLoaded, plaintext, sent: this.#basis.sent }
  }

  /** What it knows of what is stored, for {@link restored}. */
  get known(): Known {
    return { stored: this.storedEnvelope, clear: this.#clear, basis: this.basis }
  }

  /** Takes back that it was stored: it is written again, in the place of what it was made of, unless all of it was given since. */
  restored(known: Known): void {
    if (this.#basis.replaces !== 'anything') this.#basis = known.basis
    this.storedAgain(known)
    this.#isUnsaved = true
  }

  /** Takes back what has become of what is stored. The value is what it is by now. */
  storedAgain({ stored, clear }: Known): void {
    this.#stored = stored
    this.#clear = this.#basis.replaces === 'value' ? clear : undefined
  }

  /** Forgets the plaintext, and holds another envelope that was found in the database. */
  relock(envelope: Uint8Array, by: unknown): void {
    this.#isOpen = false
    this.#isUnsaved = false
    this.#isStale = false
    this.#basis = asLoaded
    this.#value = undefined
    this.#holder = undefined
    this.#snapshot = undefined
    this.#source = undefined
    this.#failure = undefined
    this.#clear = undefined
    this.#seal = { envelope, by }
    this.#stored = envelope
  }

  /** Has the value encrypted anew by the next write: somebody said that it was modified. */
  renew(): void {
    this.#isStale = true
  }

  /** Assigns to a complex value that is held already, so that Mongoose compares, casts and marks within it. */
  assign(value: unknown): void {
    if (this.#holder) assign(this.field, this.#holder, value)
    // What is as it was, is to be stored if it was not.
    this.#isUnsaved ||= this.isDefault || (this.#holder?.isModified(this.field.name) ?? false)
    this.#basis = asGiven
    this.#clear = undefined
  }

  /** The value has been stored with a write. */
  settled(): void {
    this.#isUnsaved = false
    this.#basis = asLoaded
    this.#clear = undefined
    this.#stored = this.#seal?.envelope
    if (this.#holder) markSaved(this.#holder)
  }

  #put(value: unknown, origin: Origin): void {
    const field = this.#field
    if (field.complex) this.#holder = hold(field, this.#owner, origin, value)
    else if (origin !== 'stored') this.#value = value
    else this.#value = masking(field, undefined, () => field.inner!.cast(value, this.#owner, true))
    // By now: what cannot be cast stays closed.
    this.#isOpen = true
  }

  /** Mongoose's comparison takes two objects for different where these are; nothing else about boxes tells them apart. */
  get prototype(): this {
    return this
  }

  toBSON(): never {
    throw new OperationError(
      'WRITE_REFUSED',
      `${this.field.name} is encrypted, and this way of writing (or comparing) it does not encrypt, so nothing was sent. Write by a ` +
        'model of Mongoose, its documents or its queries. To keep a copy elsewhere, write what toObject() gives, or what is stored.',
    )
  }

  toJSON(): undefined {
    return undefined
  }

  [inspect.custom](): string {
    return '<encrypted>'
  }
}

function isEmptyObject(value: unknown): boolean {
  if (value === undefined) return true
  return isPlainObject(value) && Object.values(value).every(isEmptyObject)
}
