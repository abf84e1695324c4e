import type { SchemaType } from 'mongoose'
import { ConfigurationError } from '../errors'
import type { AnySchema, Doc, Host } from '../mongoose/host'
import { isPlainObject } from '../mongoose/plain'
import { documentProperties, eachSchemaType, type Inner, isNestedPath } from '../mongoose/schema'
import { type BlindIndex, compileIndex } from '../search/declaration'
import { Binding } from './binding'

/** One encrypted field, as the schema was built with it. */
export interface Field {
  readonly name: string
  readonly host: Host
  /** The schema type that Mongoose makes of the definition; a nested object has none. */
  readonly inner: Inner | undefined
  /** Whether a value is kept in a document of its own, which casts, validates and tracks what is within it. */
  readonly complex: boolean
  /** Whether a value can be changed in place without Mongoose noticing. */
  readonly mutable: boolean
  /** The option `immutable`, which the definition of the inner type goes without. */
  readonly immutable: boolean | ((this: Doc, record: Doc) => boolean)
  /** The option `select` of the field, which decides whether its envelope is loaded. */
  readonly select: boolean | undefined
  /** The blind index by which records are found by the value. */
  readonly index: BlindIndex | undefined
  /** The document class of a complex field's values; made when it is first needed. */
  readonly Holder: () => HolderClass
  /** Lets functions of the definition of a complex field see the record as `this`. */
  readonly binding: Binding
}

/** The document class that holds values of one complex field. */
export type HolderClass = (new (
  values?: object,
  fields?: undefined,
  options?: { defaults: boolean },
) => Doc) & {
  applyDefaults<T extends object>(held: T): T
}

/** Types whose values BSON gives back as they were. */
const roundTripping = new Set(
  'String Number Boolean Date Buffer ObjectId ObjectID Decimal128 BigInt UUID Double Int32 Map Mixed Array DocumentArray Embedded DocumentArrayElement'.split(
    ' ',
  ),
)

/** Names of what this library adds to documents, of the key that it binds everything to, and of what Mongoose adds. */
const reservedNames = new Set<string>(['decrypt', 'rotateKmsKey', 'rewrapKmsKey', 'eraseKmsKey', ...documentProperties])

/** Types whose values change in place without Mongoose noticing. */
const mutableTypes = new Set(['Date', 'Buffer', 'Mixed'])

/** Options of a path that would do nothing, or something else than it says, on a field that is stored encrypted. */
const meaningless: Record<string, string> = {
  index: 'MongoDB cannot index what is encrypted. Remove it; to find records by the value, use blindIndex: true.',
  unique: 'MongoDB cannot compare what is within an encrypted field. Only a field as a whole can be unique.',
  blindIndex: 'Only a field as a whole can have a blind index, and no part of it.',
  sparse: 'MongoDB cannot index what is encrypted. Remove it.',
  text: 'MongoDB cannot search in what is encrypted. Remove it.',
  expires: 'MongoDB cannot read a date that is encrypted. Keep it in a field of its own that is not encrypted.',
  ref: 'populate() cannot follow what is encrypted. Remove it and look the record up by the decrypted value.',
  refPath: 'populate() cannot follow what is encrypted. Remove it and look the record up by the decrypted value.',
  alias: 'An alias would read past the decryption. Remove it.',
  encrypt: "This is the option of MongoDB's own client-side encryption. Remove it.",
}

/** Types whose values hold others, so that Mongoose tracks what is within them by the document around. */
const complexTypes = new Set(['Array', 'DocumentArray', 'Embedded', 'Map'])

/** How a value looks in the database: Mongoose's own containers taken off, nothing left out or flattened. */
export const storedShape = Object.freeze({
  depopulate: true,
  transform: false,
  virtuals: false,
  getters: false,
  minimize: false,
  flattenDecimals: false,
  flattenMaps: false,
  versionKey: false,
})

/**
 * Compiles the option `fields`.
 *
 * @throws {ConfigurationError} FIELD_INVALID when a field cannot be encrypted as it is defined
 */
export function compileFields(host: Host, schema: AnySchema, definition: unknown): ReadonlyMap<string, Field> {
  const named = normalise(definition)
  for (const name of Object.keys(named)) checkName(host, schema, name)
  const fields = Object.entries(named).map(([name, given]) => compileField(host, schema, name, given))
  return new Map(fields.map((field) => [field.name, field]))
}

function compileField(host: Host, schema: AnySchema, name: string, given: unknown): Field {
  const { definition, immutable, blindIndex, unique } = withoutOwn(given, typeKeyOf(schema))
  const fieldSchema = makeSchema(host, schema, { [name]: definition })
  const binding = new Binding()
  eachSchemaType(fieldSchema, checkType)
  if (fieldSchema.indexes().length > 0) throw invalid('fields', `An index was declared. ${meaningless.index}`)
  const inner = fieldSchema.path(name) as Inner | undefined
  const complex = inner === undefined || complexTypes.has(inner.instance)
  if (complex) fieldSchema.eachPath((_path, type) => binding.bind(type))
  let mutable = complex
  eachSchemaType(fieldSchema, (_path, { instance }) => {
    if (mutableTypes.has(instance)) mutable = true
  })
  let Holder: HolderClass | undefined
  return Object.freeze({
    name,
    host,
    inner,
    complex,
    mutable,
    immutable,
    select: inner?.options.select,
    index: compileIndex({ name, instance: instanceOf(inner) }, blindIndex, unique),
    binding,
    Holder: () => {
      Holder ??= makeHolder(host, name, fieldSchema)
      return Holder
    },
  })
}

/** The name of the schema type of a field. */
export function instanceOf(inner: Inner | undefined): string {
  return inner?.instance ?? 'Object'
}

/** Compiles the class and lets go of the model, which Mongoose would keep for ever. */
function makeHolder({ workshop }: Host, name: string, schema: AnySchema): HolderClass {
  const modelName = `encrypted ${name}`
  const model = workshop.model(modelName, schema) as unknown as HolderClass
  workshop.deleteModel(modelName)
  return model
}

function typeKeyOf(schema: AnySchema): string {
  return (schema.options as { typeKey?: string }).typeKey ?? 'type'
}

/** The options of a field that are not for the type it wraps. */
interface OwnOptions {
  readonly definition: unknown
  /** Whether a field can be set again is decided where its box is; the inner type would compare with what is in the box. */
  readonly immutable: Field['immutable']
  /** MongoDB would index envelopes. */
  readonly unique?: unknown
  readonly blindIndex?: unknown
}

const ownOptions = ['immutable', 'unique', 'blindIndex'] as const

function withoutOwn(given: unknown, typeKey: string): OwnOptions {
  const type = isPlainObject(given) ? given[typeKey] : undefined
  const isOptions = type !== undefined && !(isPlainObject(type) && Object.hasOwn(type, typeKey))
  if (!isOptions || !ownOptions.some((option) => Object.hasOwn(given as object, option)))
    return { definition: given, immutable: false }
  const { immutable, unique, blindIndex, ...definition } = given as Partial<OwnOptions>
  return { definition, immutable: immutable ?? false, unique, blindIndex }
}

function normalise(definition: unknown): Record<string, unknown> {
  if (Array.isArray(definition)) {
    const wrong = definition.findIndex((name) => typeof name !== 'string')
    if (wrong !== -1) throw invalid('fields', `A list of fields must hold names, got ${typeof definition[wrong]}.`)
    definition = Object.fromEntries(definition.map((name) => [name, String]))
  }
  if (definition === null || typeof definition !== 'object') {
    throw invalid('fields', "Expected a schema definition such as { email: String }, or names such as ['email'].")
  }
  if ('instanceOfSchema' in definition) {
    throw invalid('fields', 'Expected a plain definition, got a Schema. Write the fields out: { email: String }.')
  }
  if (Object.keys(definition).length === 0) {
    throw invalid('fields', 'No field is named. Name at least one: { email: String }.')
  }
  return { ...definition } as Record<string, unknown>
}

function checkName(host: Host, schema: AnySchema, name: string): void {
  if (!/^[^$.\0][^.\0]*$/.test(name)) {
    throw invalid(
      name,
      'A name must not be empty, start with $ or hold a dot. Define nested fields as an object: { address: { city: String } }.',
    )
  }
  if (isPath(schema, name)) {
    throw invalid(name, 'The schema already has a path of this name. Remove it there: the plugin defines it.')
  }
  if (schema.virtualpath(name)) {
    throw invalid(name, 'The schema already has a virtual of this name. Remove it there: the plugin defines it.')
  }
  if (isDocumentProperty(host, schema, name)) {
    throw invalid(name, 'Documents already have a property of this name. Choose another.')
  }
}

/** Whether a path that this library defines has a name that something else has. */
export function isTaken(host: Host, schema: AnySchema, path: string): boolean {
  return isPath(schema, path) || Boolean(schema.virtualpath(path)) || isDocumentProperty(host, schema, path)
}

/** Whether a schema has a path of this name, be it a nested one. */
export function isPath(schema: AnySchema, name: string): boolean {
  return Boolean(schema.path(name)) || isNestedPath(schema, name)
}

/** Whether documents of a schema have, or will have once it is compiled, a property of this name that is no path yet. */
export function isDocumentProperty(host: Host, schema: AnySchema, name: string): boolean {
  const { id, versionKey, discriminatorKey } = schema.options as Record<string, unknown>
  if (reservedNames.has(name) || name === versionKey || name === discriminatorKey) return true
  return name in host.mongoose.Model.prototype || name in schema.methods || (name === 'id' && id !== false)
}

function makeSchema(host: Host, schema: AnySchema, named: Record<string, unknown>): AnySchema {
  const { typeKey, strict } = schema.options as { typeKey?: string; strict?: boolean | 'throw' }
  try {
    const fieldSchema = new host.workshop.Schema(named as never, {
      ...(typeKey === undefined ? {} : { typeKey }),
      ...(strict === undefined ? {} : { strict }),
      id: false,
      versionKey: false,
      minimize: false,
    }) as unknown as AnySchema
    // Not among the options above, which subdocuments inherit: they have an `_id`.
    return fieldSchema.set('_id', false)
  } catch (cause) {
    throw new ConfigurationError('FIELD_INVALID', `kmsEncrypted: fields: ${(cause as Error).message}`, { cause })
  }
}

function checkType(path: string, type: SchemaType): void {
  if (!roundTripping.has(type.instance)) {
    throw invalid(
      path,
      `Values of the type ${type.instance} would not come back from BSON as they were. Use one of Mongoose's own types.`,
    )
  }
  const options = (type.options ?? {}) as Record<string, unknown>
  for (const [option, advice] of Object.entries(meaningless)) {
    if (options[option] !== undefined && options[option] !== false) {
      throw invalid(path, `The option ${option} has no meaning here. ${advice}`)
    }
  }
}

function invalid(path: string, message: string): ConfigurationError {
  return new ConfigurationError(
    'FIELD_INVALID',
    `kmsEncrypted: ${path === 'fields' ? path : `fields.${path}`}: ${message}`,
  )
}
