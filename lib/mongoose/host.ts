import type { Document, Model, Mongoose, Schema } from 'mongoose'
import { ConfigurationError } from '../errors'
import { sameBytes } from '../format/bytes'
import type { MakeBinary } from '../format/entry'

/** A document or subdocument of the user's, seen as this library needs it. */
export type Doc = Document<any> & Record<string, unknown>

/** Any schema, whatever its type parameters. */
export type AnySchema = Schema<any, any, any, any, any, any, any, any, any>

/** Any model, whatever its type parameters. */
export type AnyModel = Model<any, any, any, any, any, any>

/** A method of documents. */
export type Method = (this: Doc, ...args: any[]) => any

/** A plain object of any content. */
export type Plain = Record<string, any>

/**
 * The user's own Mongoose, found through the schema, and the BSON library it brings. Importing `mongoose` here instead
 * could give a second copy, whose classes and BSON types the first one does not know.
 */
export interface Host {
  readonly mongoose: Mongoose
  /** A private Mongoose for the documents that hold complex values: its models and connection are nobody else's. */
  readonly workshop: Mongoose
  readonly serialize: (document: Record<string, unknown>) => Uint8Array
  readonly deserialize: (bytes: Uint8Array) => Record<string, unknown>
  readonly binary: MakeBinary
}

/**
 * The earliest version of each supported major one. Before 8.15, a `bulkSave()` that fails leaves its documents marked as if nothing was saved; before
 * 8.17, the methods that are added have no types; before 9.4, `save({ pathsToSave })` forgets what else was changed in a document with subdocuments,
 * and a schema that is handed on does not compile.
 */
const earliest = [
  [8, 17, 0],
  [9, 4, 0],
] as const

const hosts = new WeakMap<Mongoose, Host>()

/** @throws {ConfigurationError} OPTION_INVALID when the schema is not one of a Mongoose that this library can work with */
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
    checkVersion(mongoose)
    host = makeHost(mongoose)
    hosts.set(mongoose, host)
  }
  return host
}

function checkVersion({ version }: Mongoose): void {
  const parts = String(version).split(/[.-]/).map(Number)
  const needed = earliest.find(([major]) => major === parts[0]) ?? earliest[0]
  const difference = needed.map((part, index) => (parts[index] ?? 0) - part).find((each) => each !== 0) ?? 0
  if (difference >= 0) return
  throw new ConfigurationError(
    'OPTION_INVALID',
    `kmsEncrypted needs Mongoose ${needed.join('.')} or later, got ${version}. Update Mongoose, and look for a second copy of it.`,
  )
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

/** Whether a value is a document or subdocument of any Mongoose. `$__`; no document would be encrypted, in `saving.test`. */
export function isDocument(value: unknown): value is Doc {
  if (typeof value !== 'object' || value === null) return false
  // A spread document has the properties of one, and none of its methods.
  return '$__' in value && typeof (value as { $set?: unknown }).$set === 'function'
}

/** Whether two values are stored as the same, of the same type. */
export function isStoredAlike({ serialize }: Host, one: unknown, other: unknown): boolean {
  return one === other || sameBytes(serialize({ v: one }), serialize({ v: other }))
}

/** Puts another method in the place of one. Not enumerable, as those of classes are. */
export function replaceMethod(holder: object, name: string, make: (original: Method) => Method): void {
  const value = make((holder as Plain)[name])
  Object.defineProperty(holder, name, { configurable: true, writable: true, value })
}

/** The schema that a document was made with. */
export function schemaOf(doc: Doc): AnySchema {
  return (
    (doc.constructor as unknown as { schema?: AnySchema }).schema ?? (doc as unknown as { schema: AnySchema }).schema
  )
}

/** The model of a top-level document. */
export function modelOf(doc: Doc): AnyModel {
  return doc.constructor as unknown as AnyModel
}

/** What a document holds at its top-level paths, without getters: Mongoose's own store of values. `_doc`; `saving.test`. */
export function valuesOf(doc: Doc): Plain {
  return (doc as unknown as { _doc: Plain })._doc
}

/** The document that a subdocument is stored in; a document is its own owner. */
export function ownerOf(doc: Doc): Doc {
  const { ownerDocument } = doc as unknown as { ownerDocument?: () => Doc }
  return doc.$isSubdocument && ownerDocument ? ownerDocument.call(doc) : doc
}

/** The first segment of a path. */
export function topOf(path: string): string {
  const dot = path.indexOf('.')
  return dot === -1 ? path : path.slice(0, dot)
}
