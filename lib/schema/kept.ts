import type { SchemaType } from 'mongoose'
import { type Host, isDocument, valuesOf } from '../mongoose/host'
import { unmerged } from '../mongoose/schema'
import type { BlindIndex } from '../search/declaration'
import type { Use } from './use'

/**
 * The paths beside the fields that only this library writes: wrapped keys and index values. On a document they are what was stored,
 * whoever assigns what, and nobody is shown what it is.
 */

/** What such a path holds. */
interface Kept {
  readonly use: Use
  /** The blind index whose values are stored there; wrapped keys where there is none. */
  readonly indexed?: BlindIndex
}

const keptTypes = new WeakMap<SchemaType, Kept>()

/** What a schema type keeps, if it is one of this library. */
export function keptOf(type: SchemaType | undefined): Kept | undefined {
  return type && keptTypes.get(type)
}

/** The use of the plugin whose wrapped keys a schema type stands for. */
export function keysUseOf(type: SchemaType | undefined): Use | undefined {
  const kept = keptOf(type)
  return kept?.indexed ? undefined : kept?.use
}

/** Schema types are classes of the Mongoose in use, so each has its own. */
const classes = new WeakMap<object, TypeClass>()
type TypeClass = new (path: string, options: object, instance?: unknown, parent?: unknown) => SchemaType

/** Makes the schema type of the path of wrapped keys. */
export function makeKeysType(host: Host, parent: unknown, path: string, use: Use): SchemaType {
  return new (classFor(host))(path, { kept: unmerged({ use }) }, undefined, parent)
}

/** Makes the schema type of the path of index values, which are not loaded unless somebody asks for them. */
export function makeIndexType(host: Host, parent: unknown, indexed: BlindIndex, use: Use): SchemaType {
  return new (classFor(host))(indexed.path, { kept: unmerged({ use, indexed }) }, undefined, parent)
}

function classFor(host: Host): TypeClass {
  const { SchemaType } = host.mongoose
  const made = classes.get(SchemaType) ?? defineKeptType(host)
  classes.set(SchemaType, made)
  return made
}

/** The base class with what TypeScript is not told of it. */
type Base = new (path: string, options: object, instance: string, parent: unknown) => any

function defineKeptType(host: Host): TypeClass {
  class KmsKept extends (host.mongoose.SchemaType as unknown as Base) {
    static schemaName = 'KmsKept'
    readonly kept: Kept

    constructor(path: string, options: { kept: Kept }, _instance: unknown, parent: unknown) {
      super(path, {}, 'KmsKept', parent)
      this.kept = options.kept
      this.options = Object.assign(Object.create(Object.getPrototypeOf(this.options)), options)
      if (options.kept.indexed) this.selected = false
      keptTypes.set(this as unknown as SchemaType, options.kept)
    }

    clone(): unknown {
      return new KmsKept(this.path, { kept: this.kept }, undefined, this.parentSchema)
    }

    cast(value: unknown, _doc?: unknown, init?: boolean): unknown {
      if (value instanceof Stored || value === null || value === undefined || !init) return value
      return this.kept.indexed ? new StoredIndex(value) : new StoredKeys(value)
    }

    /** Assigning changes nothing, silently: whoever copies a document's values copies this one, too. */
    applySetters(value: unknown, scope: any, init?: boolean): unknown {
      if (init) return this.cast(value, scope, true)
      return isDocument(scope) ? valuesOf(scope)[this.path] : value
    }

    applyGetters(value: unknown): unknown {
      return value
    }

    castForQuery($conditional: string | null | undefined, value: unknown): unknown {
      return $conditional === '$exists' ? Boolean(value) : value
    }

    toJSONSchema(): unknown {
      return { bsonType: this.kept.indexed ? ['binData', 'array', 'null'] : ['array', 'null'] }
    }
  }
  return KmsKept as unknown as TypeClass
}

/** What is stored at such a path, unparsed. Prints as nothing, and is left out of JSON. */
export class Stored {
  readonly #value: unknown

  constructor(value: unknown) {
    this.#value = value
    // Setting a path below must fail, not hang something on it.
    Object.freeze(this)
  }

  toBSON(): unknown {
    return this.#value
  }

  toJSON(): undefined {
    return undefined
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return '<kept by mongoose-kms-encrypted>'
  }
}

/** The index values that are stored for a record. */
export class StoredIndex extends Stored {}

/** The wrapped keys of a record as they are stored. */
export class StoredKeys extends Stored {
  /** The entries, of which any may be damaged; none where what is stored is no array. */
  get entries(): readonly unknown[] {
    const value = this.toBSON()
    return Array.isArray(value) ? value : []
  }
}
