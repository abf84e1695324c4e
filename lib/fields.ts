import type { SchemaType } from 'mongoose'
import { Binding } from './binding'
import { ConfigurationError } from './errors'
import { type AnySchema, type Doc, eachSchemaType, type Host } from './host'
import { topOf } from './naming'

/** One encrypted field, as the schema was built with it. */
export interface Field {
  readonly name: string
  /** Where its envelope is stored. */
  readonly storedPath: string
  /** Its schema paths: one, or those of its leaves where the field is a nested object. */
  readonly paths: readonly string[]
  /** Whether the field is a nested object and thus has no schema path of its own. */
  readonly nested: boolean
  readonly required: boolean
  /** Whether updates leave it as it is. */
  readonly immutable: boolean
  /** The `typeof` of its values where they are immutable and the same for the user as BSON gives them. */
  readonly primitive: string | undefined
  /** Whether a value can be changed in place without Mongoose noticing. */
  readonly mutable: boolean
  /** The option `select` of the field, which decides whether its envelope is loaded. */
  readonly select: boolean | undefined
}

/** Types whose values BSON gives back as they were. */
const roundTripping = new Set(
  'String Number Boolean Date Buffer ObjectId ObjectID Decimal128 BigInt UUID Double Int32 Map Mixed Array DocumentArray Embedded DocumentArrayElement'.split(
    ' ',
  ),
)

/** Names of what this library adds to documents, of the key that it binds everything to, and of what Mongoose adds. */
const reservedNames = new Set('decrypt rotateKmsKey _id _doc db schema collection discriminators'.split(' '))

/** Types whose values are the same as BSON gives them, and that nobody can change in place. */
const primitiveTypes = new Set(['String', 'Number', 'Boolean'])

/** Types whose values change in place without Mongoose noticing. */
const mutableTypes = new Set(['Date', 'Buffer', 'Mixed'])

/** Options of a path that would do nothing, or something else than it says, on a field that is stored encrypted. */
const meaningless: Record<string, string> = {
  index: 'MongoDB cannot index what is encrypted. Remove it.',
  unique: 'MongoDB cannot compare what is encrypted. Remove it.',
  sparse: 'MongoDB cannot index what is encrypted. Remove it.',
  text: 'MongoDB cannot search in what is encrypted. Remove it.',
  expires: 'MongoDB cannot read a date that is encrypted. Keep it in a field of its own that is not encrypted.',
  ref: 'populate() cannot follow what is encrypted. Remove it and look the record up by the decrypted value.',
  refPath: 'populate() cannot follow what is encrypted. Remove it and look the record up by the decrypted value.',
  alias: 'An alias would read past the decryption. Remove it.',
  encrypt: "This is the option of MongoDB's own client-side encryption. Remove it.",
}

/** A document of the fields alone, which casts, validates and tracks them as Mongoose would in the record itself. */
export type OpenValues = Doc

/** The compiled definition of the encrypted fields. */
export interface Fields {
  readonly byName: ReadonlyMap<string, Field>
  /** Whether a field of a stored record cannot be set any more. */
  readonly isImmutable: (name: string, record: Doc) => boolean
  /** Makes an empty document of the fields for a record. Functions of the definition see the record as `this`. */
  readonly open: (record: Doc) => OpenValues
  /** The defaults of the fields for a record, in the shape in which they are stored. */
  readonly defaultsFor: (record: Doc) => Record<string, unknown>
}

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
export function compileFields(
  host: Host,
  schema: AnySchema,
  definition: unknown,
  storedPathOf: (field: string) => string,
): Fields {
  const named = normalise(definition)
  for (const name of Object.keys(named)) checkName(host, schema, name)
  const fieldSchema = makeSchema(host, schema, named)
  const binding = new Binding()
  eachSchemaType(fieldSchema, checkType)
  fieldSchema.eachPath((_path, type) => binding.bind(type))
  if (fieldSchema.indexes().length > 0) throw invalid('fields', `An index was declared. ${meaningless.index}`)

  const byName = describe(fieldSchema, Object.keys(named), storedPathOf)
  const withDefault = [...byName.values()].filter((field) =>
    field.paths.some((path) => hasDefault(fieldSchema.path(path))),
  )
  const model = host.workshop.model(`Fields${Object.keys(host.workshop.models).length}`, fieldSchema)
  return Object.freeze({
    byName,
    isImmutable: (name: string, record: Doc) => {
      const { immutable } = fieldSchema.path(name)?.options ?? {}
      return typeof immutable === 'function' ? Boolean(immutable.call(record, record)) : Boolean(immutable)
    },
    open: (record: Doc) => {
      const values = new model(undefined, undefined, { defaults: false }) as unknown as OpenValues
      // The defaults left out are its own: subdocuments in arrays would take the setting over.
      delete (values as unknown as { $__: { defaults?: boolean } }).$__.defaults
      values.$isNew = record.$isNew
      return binding.own(values, record)
    },
    defaultsFor: (record: Doc) => {
      if (withDefault.length === 0) return {}
      const all = binding.constructFor(record, () => new model()).toObject(storedShape) as Record<string, unknown>
      return Object.fromEntries(withDefault.map(({ name }) => [name, all[name]]))
    },
  })
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

/** Whether a schema has a path of this name, be it a nested one. */
export function isPath(schema: AnySchema, name: string): boolean {
  return Boolean(schema.path(name)) || Object.hasOwn((schema as unknown as { nested: object }).nested, name)
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

function hasDefault(type: SchemaType): boolean {
  return (type as SchemaType & { defaultValue?: unknown }).defaultValue != null
}

function describe(schema: AnySchema, names: string[], storedPathOf: (field: string) => string) {
  const paths = Object.keys(schema.paths)
  const mutable = new Set<string>()
  eachSchemaType(schema, (path, { instance }) => {
    if (mutableTypes.has(instance)) mutable.add(topOf(path))
  })
  return new Map(
    names.map((name) => {
      const own = paths.filter((path) => path === name || path.startsWith(`${name}.`))
      const nested = !paths.includes(name)
      const required = own.some((path) => schema.path(path).options.required)
      const type = nested ? undefined : schema.path(name)
      const field: Field = Object.freeze({
        name,
        storedPath: storedPathOf(name),
        paths: own,
        nested,
        primitive: type && primitiveOf(type),
        mutable: mutable.has(name),
        required,
        immutable: Boolean(type?.options.immutable),
        select: type?.options.select,
      })
      return [name, field]
    }),
  )
}

function primitiveOf(type: SchemaType): string | undefined {
  const { getters } = type as SchemaType & { getters: readonly unknown[] }
  return primitiveTypes.has(type.instance) && getters.length === 0 ? type.instance.toLowerCase() : undefined
}

function invalid(path: string, message: string): ConfigurationError {
  return new ConfigurationError(
    'FIELD_INVALID',
    `kmsEncrypted: ${path === 'fields' ? path : `fields.${path}`}: ${message}`,
  )
}
