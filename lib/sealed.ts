import type { SchemaType } from 'mongoose'
import type { Config } from './config'
import { RecordError } from './errors'
import type { AnySchema, Doc, Host } from './host'

/**
 * What a document holds at its stored paths: ciphertext or wrapped keys, in a box that the driver can serialise and
 * that shows nothing when the document is printed, spread, cloned or turned into JSON.
 */
export class Sealed {
  readonly #stored: unknown

  constructor(stored: unknown) {
    this.#stored = stored
  }

  /** What goes into the database; called by the BSON serialiser. */
  toBSON(): unknown {
    return this.#stored
  }

  toJSON(): undefined {
    return undefined
  }

  get [Symbol.toStringTag](): string {
    return 'Sealed'
  }
}

const minted = new WeakSet<Sealed>()

/** Seals what this library itself has encrypted: such a value may be assigned and may stand in an update. */
export function mint(stored: unknown): Sealed {
  const sealed = new Sealed(stored)
  minted.add(sealed)
  return sealed
}

let trusted = false

/** Runs an assignment of stored paths by this library itself. Everybody else's is refused. */
export function assignSealed(assign: () => void): void {
  trusted = true
  try {
    assign()
  } finally {
    trusted = false
  }
}

/**
 * What a stored path's schema type carries, so that it is found again on clones of the schema. A function, because
 * Mongoose copies objects among the options, and a copy would be another use of the plugin.
 */
interface StoredOptions {
  readonly kmsEncrypted: () => { readonly config: Config; readonly onInit: (config: Config, record: Doc) => void }
}

type StoredTypeClass = new (path: string, options: object) => SchemaType
const classes = new WeakMap<Host, StoredTypeClass>()

/** Makes the schema type of a stored path. `onInit` is called when a document is loaded, or loaded anew. */
export function makeStoredType(
  config: Config,
  path: string,
  onInit: (config: Config, record: Doc) => void,
  select?: boolean,
): SchemaType {
  let Stored = classes.get(config.host)
  if (!Stored) {
    Stored = defineStoredType(config.host)
    classes.set(config.host, Stored)
  }
  return new Stored(path, { kmsEncrypted: () => ({ config, onInit }), ...(select === undefined ? {} : { select }) })
}

/** The uses of the plugin on a schema, found through the paths that they store their keys at. */
export function configsOf(schema: AnySchema): readonly Config[] {
  const configs: Config[] = []
  schema.eachPath((path, type) => {
    const config = (type.options as Partial<StoredOptions> | undefined)?.kmsEncrypted?.().config
    if (config?.keyPath === path) configs.push(config)
  })
  return configs
}

function defineStoredType(host: Host): StoredTypeClass {
  const Base = host.mongoose.SchemaType as unknown as StoredTypeClass & (new (...args: unknown[]) => SchemaType)
  return class KmsEncrypted extends Base {
    constructor(path: string, options: object) {
      super(path, options, 'KmsEncrypted')
      this.set((value: unknown) => {
        if (isOurs(value)) return value
        throw assigned(this.path)
      })
    }

    override cast(value: unknown, record: unknown, init?: boolean): any {
      if (init) {
        const { config, onInit } = (this.options as unknown as StoredOptions).kmsEncrypted()
        onInit(config, record as Doc)
        return value === null || value === undefined || value instanceof Sealed ? value : new Sealed(value)
      }
      if (isOurs(value)) return value
      throw assigned(this.path)
    }

    /** Conditions pass as they are: whether something is stored may be asked. Values must come from this library. */
    castForQuery(operator: string | null | undefined, value: unknown): unknown {
      if ((operator ?? undefined) !== undefined || value === null || isOurs(value)) return value
      throw assigned(this.path)
    }
  }
}

function isOurs(value: unknown): boolean {
  return trusted || (value instanceof Sealed && minted.has(value))
}

/** The refusal of a value for a stored path that did not come from this library. */
export function assigned(path: string): RecordError {
  return new RecordError(
    'STORED_PATH_ASSIGNED',
    `${path} holds what this library stored and cannot be assigned. Assign the encrypted field itself.`,
  )
}

/** Puts something at a stored path as it is in the database, unmodified. To be called within {@link assignSealed}. */
export function restore(doc: Doc, path: string, value: unknown): void {
  doc.set(path, value)
  doc.unmarkModified(path)
}
