import type { SchemaType } from 'mongoose'
import { RecordError } from '../errors'
import { sameBytes } from '../format/bytes'
import { bytesOf } from '../format/entry'
import { envelopeOf, looksLikeEnvelope } from '../format/envelope'
import { invalidationsOf, isImmutableSetting, strictModeOf, validateNow } from '../mongoose/document'
import { type Doc, type Host, isDocument, type Plain, valuesOf } from '../mongoose/host'
import { isPlainObject } from '../mongoose/plain'
import { applySettersOf, castNullish, type Inner, unmerged } from '../mongoose/schema'
import { Approximate } from '../search/approximate'
import { Box } from './box'
import type { Field } from './fields'
import { cleanMarks, hold, storedValue, validateInTurn } from './holder'
import { masked, masking } from './masking'
import type { Use } from './use'

/** What a schema type stands for, told to whoever finds it in a schema. */
interface Encrypted {
  readonly field: Field
  readonly use: Use
}

const encryptedTypes = new WeakMap<SchemaType, Encrypted>()

/** The encrypted field that a schema type stands for, if it is one of this library. */
export function encryptedFieldOf(type: SchemaType | undefined): Encrypted | undefined {
  return type && encryptedTypes.get(type)
}

/** What an encrypted path mirrors of the type it wraps, because Mongoose reads it from there. */
const mirrored = ['isRequired', 'originalRequiredValue', 'requiredValidator', 'selected', 'setters'] as const

/** Mongoose passes over paths without validators; a value that is held by a document of its own has some within. */
const visited = [{ type: 'encrypted', validator: () => true }]

/** Schema types are classes of the Mongoose in use, so each has its own. */
const classes = new WeakMap<object, TypeClass>()
type TypeClass = new (path: string, options: object, instance?: unknown, parent?: unknown) => SchemaType

/** Makes the schema type of an encrypted field: Mongoose's own type of the definition, with its values in boxes. */
export function makeFieldType(host: Host, parent: unknown, encrypted: Encrypted): SchemaType {
  const FieldType = classFor(host)
  return new FieldType(encrypted.field.name, { encrypted: unmerged(encrypted) }, undefined, parent)
}

function classFor(host: Host): TypeClass {
  const { SchemaType } = host.mongoose
  const made = classes.get(SchemaType) ?? defineFieldType(host)
  classes.set(SchemaType, made)
  return made
}

/** The base class with what TypeScript is not told of it. */
type Base = new (path: string, options: object, instance: string, parent: unknown) => any

function defineFieldType(host: Host): TypeClass {
  const { Error: MongooseError } = host.mongoose
  class KmsEncrypted extends (host.mongoose.SchemaType as unknown as Base) {
    static schemaName = 'KmsEncrypted'
    readonly encrypted: Encrypted

    constructor(path: string, options: { encrypted: Encrypted }, _instance: unknown, parent: unknown) {
      super(path, {}, 'KmsEncrypted', parent)
      const { encrypted } = options
      this.encrypted = encrypted
      encryptedTypes.set(this as unknown as SchemaType, encrypted)
      const { inner, immutable } = encrypted.field
      // Whoever clones a type makes a new one of its class from its path and options.
      const own = Object.create(Object.getPrototypeOf(this.options))
      this.options = Object.assign(own, inner?.options, immutable ? { immutable } : {}, { encrypted })
      this.$immutable = immutable || undefined
      for (const property of mirrored) this.mirror(property)
      Object.defineProperty(this, 'validators', { get: () => this.ownValidators(), set() {}, enumerable: true })
      Object.defineProperty(this, 'defaultValue', { get: () => this.ownDefault(), set() {}, enumerable: true })
      // Mongoose passes over getters where there are none.
      this.getters = [(value: unknown) => value]
    }

    mirror(property: (typeof mirrored)[number]): void {
      const { inner, Holder } = this.encrypted.field
      const missing = property === 'setters' ? [] : undefined
      const get = () => {
        if (inner) return (inner as any)[property]
        if (property !== 'isRequired') return missing
        const paths = Object.values((Holder() as any).schema.paths) as Inner[]
        return paths.some((type) => type.isRequired)
      }
      delete this[property]
      Object.defineProperty(this, property, { get, set() {}, enumerable: true, configurable: true })
    }

    ownValidators(): unknown[] {
      const { inner, complex } = this.encrypted.field
      const own = inner?.validators ?? []
      return complex && own.length === 0 ? visited : own
    }

    /** Mongoose asks whether there is a default before it asks for it. */
    ownDefault(): unknown {
      const { field } = this.encrypted
      if (!field.complex) return (field.inner as any).defaultValue
      this.hasDefault ??= hasDefault(field)
      return this.hasDefault ? () => storedValue(field, hold(field, undefined, 'assigned')) : undefined
    }

    clone(): unknown {
      return new KmsEncrypted(this.path, { encrypted: this.encrypted }, undefined, this.parentSchema)
    }

    /** Every way of a value into a document or a query: by setters and casts of the inner type, into a box. */
    applySetters(value: any, scope: any, ...rest: [init?: boolean, prior?: unknown, options?: unknown]): unknown {
      return masking(this.encrypted.field, scope, () => this.setAndCast(value, scope, ...rest))
    }

    setAndCast(value: any, scope: any, init?: boolean, prior?: unknown, options?: unknown): unknown {
      if (value instanceof Box || init) return value == null ? value : this.cast(value, scope, init, prior, options)
      const { field } = this.encrypted
      refuseOdd(field, scope, value)
      if (isDocument(scope) && this.keepsPrior(scope, value, prior, options)) return prior
      if (!isDocument(scope) && bytesOf(value) && looksLikeEnvelope(bytesOf(value)!)) return value
      const before = prior instanceof Box && prior.isOpen && !field.complex ? prior.value() : undefined
      const set = field.complex ? value : applySettersOf(field.inner!, value, scope, before, options)
      if (set === null || set === undefined) return nullish(field, set, scope, prior, options)
      return this.castToBox(set, scope, false, prior, options)
    }

    cast(value: any, scope?: any, ...rest: [init?: boolean, prior?: unknown, options?: unknown]): unknown {
      return masking(this.encrypted.field, scope, () => this.castToBox(value, scope, ...rest))
    }

    castToBox(value: any, scope?: any, init?: boolean, prior?: unknown, options?: unknown): unknown {
      const { field, use } = this.encrypted
      if (value === null || value === undefined) return value
      if (value instanceof Box) return adopt(value, this.encrypted, scope)
      if (init) return isDocument(scope) ? load(this.encrypted, scope, value) : value
      if (scope === undefined || scope === null || isPlainObject(scope)) return castPlain(field, value)
      if (field.complex) return this.castComplex(value, scope, prior)
      const known = prior instanceof Box && prior.isOpen ? prior.value() : undefined
      const made = field.inner!.cast(value, scope, false, known, options)
      // Such as the number of an empty text: there is no index value of it, and none may stand beside it.
      if (use.indexed.has(field.name) && (made === null || made === undefined)) return made
      const box = Box.open(field, use, scope, made)
      if (!isDocument(scope) || !(prior instanceof Box)) return box
      box.prior = prior.prior ?? (prior.lastEnvelope ? prior : undefined)
      return sameValue(box, prior, scope) ?? sameValue(box, box.prior, scope) ?? box
    }

    castComplex(value: unknown, scope: unknown, prior: unknown): Box {
      const { field, use } = this.encrypted
      if (prior instanceof Box && prior.isOpen && prior.owner === scope && isDocument(scope)) {
        const { isDefault } = prior
        prior.assign(value)
        cleanMarks(field, prior.holder as Doc, scope)
        takeErrors(field, prior.holder as Doc, scope)
        // Mongoose takes what is assigned in the place of a default for a change, be it the same.
        if (isDefault) scope.markModified(field.name)
        return prior
      }
      const isConstructing = isDocument(scope) && scope.$isNew && prior === undefined
      const box = Box.open(field, use, scope, value, isConstructing ? 'constructed' : 'assigned')
      takeErrors(field, box.holder as Doc, scope)
      return box
    }

    /** Whether an immutable field stays as it is. */
    keepsPrior(doc: Doc, value: unknown, prior: unknown, options: unknown): boolean {
      const { immutable } = this.encrypted.field
      if (!immutable || doc.$isNew || isImmutableSetting(options)) return false
      if (typeof immutable === 'function' && !immutable.call(doc, doc)) return false
      const isSame = prior instanceof Box ? prior.isOpen && prior.stored() === value : prior === value
      if (strictModeOf(doc) === 'throw' && !isSame) {
        const Strict = MongooseError.StrictModeError as unknown as new (
          path: string,
          text: string,
          is: boolean,
        ) => Error
        throw new Strict(this.path, `Path \`${this.path}\` is immutable and strict mode is set to throw.`, true)
      }
      return true
    }

    applyGetters(value: unknown, scope: unknown): unknown {
      const { encrypted } = this
      if (value instanceof Box) return encrypted.use.access.read(value, scope)
      if (value !== null && value !== undefined) return value
      const { inner } = encrypted.field
      if (inner) return encrypted.field.complex ? value : inner.applyGetters(value, scope)
      return isDocument(scope) && value === undefined ? emptyNested(encrypted, scope) : value
    }

    getDefault(scope: unknown, init?: boolean, options?: object, setting?: unknown): unknown {
      const { field, use } = this.encrypted
      if (field.complex) {
        if (this.ownDefault() === undefined) return undefined
        const holder = hold(field, scope, 'assigned')
        const value = storedValue(field, holder)
        return isPlainObject(scope) ? value : Box.default(field, use, scope, value)
      }
      const value = field.inner!.getDefault(scope, init, { ...options, skipCast: false }, setting)
      const isBare = value === null || value === undefined || isPlainObject(scope)
      return isBare ? value : Box.default(field, use, scope, value)
    }

    // Mongoose 8 takes a callback in the second place, 9 gives a promise.
    doValidate(value: unknown, ...rest: any[]): unknown {
      const callback = typeof rest[0] === 'function' ? rest.shift() : undefined
      const validated = this.validateValue(value, rest[0], rest[1])
      if (!callback) return validated
      validated.then(
        () => setImmediate(callback, null),
        (error: unknown) => setImmediate(callback, error),
      )
      return undefined
    }

    async validateValue(value: unknown, scope: unknown, options: unknown): Promise<void> {
      const { field, use } = this.encrypted
      if (value instanceof Box && !value.isOpen) return
      const holder = holderOf(field, value, scope)
      if (!holder) {
        const held = value instanceof Box ? value.value() : value
        return validateInner(field.inner as Inner, held, scope, options).catch((error) => {
          throw masked(field, error, field.name)
        })
      }
      const paths = use.access.pathsToValidate(scope, field.name)
      try {
        await validateInTurn(holder, paths)
      } catch (error) {
        const own = report(field, error, scope)
        if (own) throw own
      }
    }

    doValidateSync(value: unknown, scope: unknown, options?: unknown): unknown {
      const { field, use } = this.encrypted
      if (value instanceof Box && !value.isOpen) return null
      const holder = holderOf(field, value, scope)
      if (!holder) {
        const held = value instanceof Box ? value.value() : value
        return masked(field, field.inner!.doValidateSync(held, scope, options), field.name)
      }
      const error = validateNow(holder, use.access.pathsToValidate(scope, field.name))
      return error ? (report(field, error, scope) ?? null) : null
    }

    checkRequired(value: unknown, scope: unknown): boolean {
      if (!(value instanceof Box)) return this.encrypted.field.inner?.checkRequired(value, scope) ?? true
      return !value.isOpen || (this.encrypted.field.inner?.checkRequired(value.value(), scope) ?? true)
    }

    /** Called alike for a value in an update and for a condition in a filter; only the gate can tell which it is. */
    castForQuery($conditional: string | null | undefined, value: any, context: unknown): unknown {
      if ($conditional !== null && $conditional !== undefined) return value
      if (value === null || value === undefined || value instanceof RegExp || value instanceof Approximate) return value
      const { field, use } = this.encrypted
      if (!field.complex) return forQuery(field, use, this.applySetters(value, context))
      try {
        return this.applySetters(value, context)
      } catch (error) {
        // Mongoose asks this type for what is below it, too: the gate, which sees the path, says what is wrong.
        return Box.spoilt(field, use, context, error)
      }
    }

    /** With `useBsonType`, for MongoDB's validation, what is stored; else the values as the application has them. */
    toJSONSchema(options?: { useBsonType?: boolean }): unknown {
      // Mongoose 8 sets an enum of its own accord, which is one of values, and would have MongoDB refuse all envelopes.
      if (options?.useBsonType) return Object.defineProperty({ bsonType: ['binData', 'null'] }, 'enum', { set() {} })
      const { inner, Holder, name } = this.encrypted.field
      if (inner) return (inner as any).toJSONSchema(options)
      return (Holder() as any).schema.toJSONSchema(options).properties[name]
    }
  }
  return KmsEncrypted as unknown as TypeClass
}

function hasDefault(field: Field): boolean {
  const value = storedValue(field, hold(field, undefined, 'assigned'))
  return value !== undefined && (field.inner !== undefined || Object.keys(value as object).length > 0)
}

/** Without a document or query around, as in a bulk write, a value is cast and not put into a box: in a filter it would be cast again. */
function forQuery(field: Field, use: Use, cast: unknown): unknown {
  if (!use.indexed.has(field.name) || cast instanceof Box || cast === null || cast === undefined) return cast
  const bytes = bytesOf(cast)
  return bytes && looksLikeEnvelope(bytes) ? cast : Box.open(field, use, undefined, cast)
}

function nullish(field: Field, value: unknown, scope: any, prior: unknown, options: unknown): unknown {
  if (field.complex || !field.inner) return value
  const cast = castNullish(field.inner, value)
  return cast === null || cast === undefined ? cast : field.inner.cast(cast, scope, false, prior, options)
}

/**
 * Refuses what would be stored as something that nobody meant.
 *
 * @throws {RecordError} VALUE_NOT_AWAITED, STORED_PATH_ASSIGNED
 */
export function refuseOdd(field: Field, scope: unknown, value: unknown): void {
  if (typeof (value as PromiseLike<unknown> | null | undefined)?.then === 'function') {
    throw new RecordError('VALUE_NOT_AWAITED', `${field.name}: got a promise. Await the value before you assign it.`)
  }
  const bytes = isDocument(scope) ? bytesOf(value) : undefined
  if (bytes && looksLikeEnvelope(bytes)) {
    throw new RecordError(
      'STORED_PATH_ASSIGNED',
      `${field.name}: got what is stored for a field, encrypted. Assign the value itself; open a lean object with decrypt().`,
    )
  }
}

function castPlain(field: Field, value: unknown): unknown {
  if (!field.complex) return field.inner!.cast(value)
  const holder = hold(field, undefined, 'assigned', value)
  takeErrors(field, holder, undefined)
  return storedValue(field, holder)
}

/** The box of what is stored at the path of a field. */
export function load({ field, use }: Encrypted, doc: Doc, value: unknown): Box {
  const envelope = envelopeAt({ field, use }, value)
  if (envelope) return Box.locked(field, use, doc, valuesOf(doc)._id, envelope)
  const isRead = use.migrating && !use.from
  return (
    (isRead && loadClear({ field, use }, doc, value, { [field.name]: value })) || Box.spoilt(field, use, doc, undefined)
  )
}

/** The envelope that is stored for a field. While it migrates, bytes may be a value that was there before. */
export function envelopeAt({ use }: Encrypted, stored: unknown): Uint8Array | undefined {
  const envelope = envelopeOf(stored)
  if (!envelope || !use.migrating || looksLikeEnvelope(envelope)) return envelope
  // What has the subtype and not the form is a damaged one.
  return (stored as { sub_type?: number }).sub_type === undefined ? undefined : envelope
}

/** Types that MongoDB stores as bytes; of others, text would be made of them. */
export const binaryTypes = new Set(['Buffer', 'Mixed', 'UUID'])

/**
 * The paths of what stands for a value while there is no envelope: its own; or of all fields and what another library has beside them, for what
 * it has is taken away as a whole.
 */
export function clearPaths({ field, use }: Pick<Encrypted, 'field' | 'use'>): readonly string[] {
  return use.from ? [...use.fields.keys(), ...use.fromPaths] : [field.name]
}

/** What stands there in a record or subdocument, encoded so that it can be compared. */
export function encodeClear(of: Pick<Encrypted, 'field' | 'use'>, record: Plain | undefined): Uint8Array {
  const entries = clearPaths(of).map((path) => [path, record?.[path]] as const)
  return of.field.host.serialize(Object.fromEntries(entries.filter(([, value]) => value !== undefined)))
}

/** The box of a value that is stored without encryption, or by another library, cast as the field is; `undefined` where it is nothing of that type. */
export function loadClear({ field, use }: Encrypted, doc: Doc, value: unknown, record: Plain): Box | undefined {
  if (bytesOf(value) && !binaryTypes.has(field.inner?.instance as string)) return undefined
  try {
    // Encoded first: what is within the value may be changed in place.
    const box = Box.clear(field, use, doc, valuesOf(doc)._id, value, encodeClear({ field, use }, record))
    const isCast = box.holder === undefined || Object.keys(invalidationsOf(box.holder)).length === 0
    return isCast && (box.stored() ?? null) !== null ? box : undefined
  } catch {
    // Mongoose's message would hold the value.
    return undefined
  }
}

/** The box that a document gets where it is given that of another, or its own once more. */
function adopt(box: Box, { field, use }: Encrypted, scope: unknown): Box {
  if (box.field === field && (box.owner === scope || !isDocument(scope))) return box
  if (!box.isOpen && !box.lastEnvelope && !box.source) return box
  if (box.field === field && box.isOpen && !box.lastEnvelope && !isDocument(box.owner)) {
    // A value that was set by a path of the document around belongs to the subdocument that it came to stand in.
    box.owner = scope
    return box
  }
  return Box.copy(field, use, isDocument(scope) ? scope : undefined, box)
}

/** The box that holds the same value already, so that nothing is modified. */
function sameValue(box: Box, other: Box | undefined, scope: unknown): Box | undefined {
  if (!other?.isOpen || other.isDefault || other.owner !== scope || other.hasChanged) return undefined
  return sameBytes(other.encode(), box.encode()) ? other : undefined
}

function emptyNested({ field, use }: Encrypted, doc: Doc): unknown {
  if (!doc.$isNew && !doc.isSelected(field.name)) return notSelected(field)
  const box = Box.default(field, use, doc, undefined)
  valuesOf(doc)[field.name] = box
  return box.value()
}

/** What is stored of the object is not here: a part of it that was set would take the place of all of it. */
function notSelected({ name }: Field): object {
  return new Proxy(Object.freeze({}), {
    set(_target, part) {
      throw new RecordError(
        'RECORD_LOCKED',
        `${name}: it was not selected when the record was loaded. Select it before you set ${name}.${String(part)}.`,
      )
    },
  })
}

function takeErrors(field: Field, holder: Doc, scope: unknown): void {
  const own = report(field, { errors: invalidationsOf(holder) }, scope)
  if (own) throw own
}

/** Gives a record the errors within a field under their own paths. The one of the field itself is for the caller. */
function report(field: Field, error: unknown, scope: unknown): Error | undefined {
  const { errors } = error as { errors?: Record<string, Error> }
  if (!errors) {
    if (error instanceof Error) throw error
    return undefined
  }
  const all = Object.entries(errors).map(([path, each]) => [path, masked(field, each, path)] as const)
  const { [field.name]: own, ...others } = Object.fromEntries(all)
  if (isDocument(scope)) for (const [path, each] of Object.entries(others)) scope.invalidate(path, each as never)
  else if (!own) return Object.values(others)[0]
  return own
}

function holderOf(field: Field, value: unknown, scope: unknown): Doc | undefined {
  if (!field.complex) return undefined
  if (value instanceof Box) return value.holder
  // What is absent may be required, as a whole or in a part.
  if ((value ?? null) === null && field.inner) return undefined
  return hold(field, scope, 'assigned', value)
}

async function validateInner(inner: Inner, value: unknown, scope: unknown, options: unknown): Promise<void> {
  if (inner.doValidate.length < 4) return inner.doValidate(value, scope, options)
  return new Promise((resolve, reject) => {
    inner.doValidate(value, (error: unknown) => (error ? reject(error) : resolve()), scope, options)
  })
}
