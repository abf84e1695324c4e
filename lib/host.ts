import type { Document, Model, Mongoose, Schema, SchemaType } from 'mongoose'
import type { MakeBinary } from './format/entry'
import { ConfigurationError } from './errors'

/** A document or subdocument of the user's, seen as this library needs it. */
export type Doc = Document<any> & Record<string, unknown>

/** Any schema, whatever its type parameters. */
export type AnySchema = Schema<any, any, any, any, any, any, any, any, any>

/** Any model, whatever its type parameters. */
export type AnyModel = Model<any, any, any, any, any, any>

/** A method of documents. */
export type Method = (this: Doc, ...args: any[]) => any

/**
 * The user's own Mongoose, found through the schema, and the BSON library it brings. Importing `mongoose` here instead
 * could give a second copy, whose classes and BSON types the first one does not know.
 */
export interface Host {
  readonly mongoose: Mongoose
  /** A private Mongoose for the documents that hold open values: its models and connection are nobody else's. */
  readonly workshop: Mongoose
  readonly serialize: (document: Record<string, unknown>) => Uint8Array
  readonly deserialize: (bytes: Uint8Array) => Record<string, unknown>
  readonly binary: MakeBinary
}

const hosts = new WeakMap<Mongoose, Host>()

/** @throws {ConfigurationError} OPTION_INVALID when the schema is not one of Mongoose */
export function hostOf(schema: AnySchema): Host {
  const mongoose = (schema as { base?: Mongoose } | undefined)?.base
  if (!mongoose?.mongo?.BSON) {
    throw new ConfigurationError(
      'OPTION_INVALID',
      'kmsEncrypted expects a Mongoose schema: schema.plugin(kmsEncrypted, {…})',
    )
  }
  let host = hosts.get(mongoose)
  if (!host) {
    host = makeHost(mongoose)
    hosts.set(mongoose, host)
  }
  return host
}

function makeHost(mongoose: Mongoose): Host {
  const { BSON } = mongoose.mongo
  const Fresh = (mongoose as unknown as { Mongoose: new (options: object) => Mongoose }).Mongoose
  return Object.freeze({
    mongoose,
    workshop: new Fresh({ autoIndex: false, autoCreate: false, bufferCommands: false }),
    serialize: (document) => BSON.serialize(document),
    deserialize: (bytes) => BSON.deserialize(bytes),
    binary: (bytes, subtype) => new BSON.Binary(bytes, subtype),
  } satisfies Host)
}

/** Visits every schema type of a schema, those of its subdocuments, array elements and map values included. */
export function eachSchemaType(schema: AnySchema, visit: (path: string, type: SchemaType) => void, prefix = ''): void {
  schema.eachPath((path, type) => visitSchemaType(`${prefix}${path}`, type, visit))
}

function visitSchemaType(path: string, type: SchemaType, visit: (path: string, type: SchemaType) => void): void {
  visit(path, type)
  const { schema } = type as SchemaType & { schema?: AnySchema }
  if (schema) {
    eachSchemaType(schema, visit, `${path}.`)
    return
  }
  // Map values are paths of their own, `map.$*`; array elements are not.
  const element = type.instance === 'Array' ? type.getEmbeddedSchemaType() : undefined
  if (element) visitSchemaType(`${path}.$`, element, visit)
}

/** Hooks of Mongoose itself carry this mark and run even where a call says `{ middleware: false }`; so do ours. */
const builtIn = Symbol.for('mongoose:built-in-middleware')

/** Marks a hook as one that no call can switch off. */
export function always<F extends (...args: any[]) => unknown>(hook: F): F {
  return Object.assign(hook, { [builtIn]: true })
}
