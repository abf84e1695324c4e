import type { SchemaType } from 'mongoose'
import { type AnySchema, type Doc, replaceMethod } from './host'

/**
 * How schemas hold other schemas, and the private members of schemas and schema types that this library uses, each in one function that
 * says what it is there for, and which tests would notice if it changed.
 */

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
  const element = elementOf(type)
  if (element) visitSchemaType(`${path}.$`, element, visit)
}

/** The schema type of an array's elements. Mongoose 8 has it on every array, 9 by a method. */
export function elementOf(type: SchemaType): SchemaType | undefined {
  if (type.instance !== 'Array') return undefined
  return (type as SchemaType & { getEmbeddedSchemaType?(): SchemaType | undefined }).getEmbeddedSchemaType?.()
}

/** Whether a path holds an array, so that positions stand below it. */
export function isArrayType(type: SchemaType): boolean {
  return type.instance === 'Array' || type.instance === 'DocumentArray'
}

/** The schema of the subdocuments that a path holds. Public on paths of subdocuments, and not in the types. */
export function subschemaOf(type: SchemaType): AnySchema | undefined {
  return (type as SchemaType & { schema?: AnySchema }).schema
}

/** The schema type of a map's values. `$__schemaType`; `subdocuments.test` would store a map in the clear, or be refused. */
export function valueTypeOf(type: SchemaType): SchemaType | undefined {
  return (type as SchemaType & { $__schemaType?: SchemaType }).$__schemaType
}

/** The schemas of a schema's discriminators. Mongoose knows of them before their models are complete. `shapes.test`. */
export function discriminatorsOf(schema: AnySchema): AnySchema[] {
  return Object.values((schema as { discriminators?: Record<string, AnySchema> }).discriminators ?? {})
}

/** Takes a discriminator off a schema again. */
export function forgetDiscriminator(schema: AnySchema, own: AnySchema): void {
  const { discriminators } = schema as { discriminators?: Record<string, AnySchema> }
  for (const [name, each] of Object.entries(discriminators ?? {})) if (each === own) delete discriminators?.[name]
}

/** Key and value by which documents say that they are of a discriminator. `discriminatorMapping`; `shapes.test`. */
export function discriminatorOf(
  schema: AnySchema,
): { readonly key: string; readonly value: unknown; readonly isRoot: boolean } | undefined {
  return (schema as { discriminatorMapping?: { key: string; value: unknown; isRoot: boolean } }).discriminatorMapping
}

/** The schemas of what a schema holds, at whatever depth. `childSchemas`; `embedded-discriminators.test`. */
export function childSchemasOf(schema: AnySchema): AnySchema[] {
  return schema.childSchemas.map((child) => child.schema as AnySchema)
}

/** A type, and those of the array elements and map values in it, from the outside in. */
export function* levelsOf(type: SchemaType): Generator<SchemaType> {
  for (let each: SchemaType | undefined = type; each; each = elementOf(each) ?? valueTypeOf(each)) yield each
}

/**
 * Remembers what is made of a schema until its paths change: schemas change until they are compiled, and are asked with every document after that.
 *
 * @param stateOf tells one state of a schema from another, as far as it matters
 */
export function perSchema<T>(
  make: (schema: AnySchema) => T,
  stateOf: (schema: AnySchema) => unknown = pathsState,
): (schema: AnySchema) => T {
  const known = new WeakMap<AnySchema, { readonly state: unknown; readonly made: T }>()
  return (schema) => {
    const state = stateOf(schema)
    const found = known.get(schema)
    if (found && found.state === state) return found.made
    const made = make(schema)
    known.set(schema, { state, made })
    return made
  }
}

/** Tells one state of the paths of a schema from another: as many as were added may have been removed. */
function pathsState({ paths }: AnySchema): string {
  const names = Object.keys(paths)
  return `${names.length} ${names.at(-1)}`
}

/**
 * Tells one state of a schema and what it holds from another: by its paths and discriminators, which come also after it was compiled.
 * `childSchemas`; `embedded-discriminators.test`.
 */
export function shapeOf(schema: AnySchema, seen?: Set<AnySchema>): string {
  const { paths, discriminators, childSchemas } = schema as AnySchema & { discriminators?: object }
  const count = String(Object.keys(paths).length)
  // Every operation asks, several times: most schemas hold no other.
  return discriminators || childSchemas.length > 0 ? `${count}${shapeBelow(schema, seen ?? new Set())}` : count
}

function shapeBelow(schema: AnySchema, seen: Set<AnySchema>): string {
  if (seen.has(schema)) return ''
  seen.add(schema)
  const own = discriminatorsOf(schema)
  const children = childSchemasOf(schema)
  const parts = [...own, ...children].map((each) => shapeOf(each, seen))
  return `:${own.length}(${parts.join(',')})`
}

/** What is used of a wrapped schema type, beside its public members. `getDefault`, `doValidate`, `doValidateSync`; `validation.test`. */
export interface Inner extends SchemaType {
  cast(value: unknown, doc?: unknown, init?: boolean, prior?: unknown, options?: unknown): any
  applySetters(value: unknown, scope: unknown, init?: boolean, prior?: unknown, options?: unknown): any
  applyGetters(value: unknown, scope: unknown): any
  getDefault(scope: unknown, init?: boolean, options?: unknown, setting?: unknown): any
  doValidate(value: unknown, ...rest: unknown[]): any
  doValidateSync(value: unknown, scope: unknown, options?: unknown): Error | null | undefined
  checkRequired(value: unknown, scope?: unknown): boolean
}

/** The default of a type, for an object that is no document. `getDefault`; lean inserts of `subdocuments.test`. */
export function defaultOf(type: SchemaType): unknown {
  return (type as Inner).getDefault({}, false)
}

type AnyFunction = (...args: any[]) => unknown

/**
 * Puts other functions in the place of those of a type: setters, getters, defaults and validators, which Mongoose calls for the document
 * at hand. `$immutableSetter`, `defaultValue`, `originalRequiredValue`; `validation.test`, and `test/faults/mongoose.test` for defaults.
 *
 * @param bound makes the other function of one
 * @param ownerOf gives the document that the functions are to see
 */
export function bindFunctions(
  type: SchemaType,
  bound: (fn: AnyFunction) => AnyFunction,
  ownerOf: (scope: object) => object,
): void {
  const internals = type as SchemaType & {
    setters: AnyFunction[]
    getters: AnyFunction[]
    $immutableSetter?: AnyFunction
    defaultValue?: unknown
    originalRequiredValue?: unknown
  }
  // What keeps an immutable value is a setter as well, one that must see the held values. Mongoose may add it twice.
  const { immutable } = type.options ?? {}
  const keeper = internals.$immutableSetter?.toString()
  internals.setters = internals.setters.filter((setter) => setter.toString() !== keeper).map(bound)
  if (typeof immutable === 'function') {
    type.options.immutable = (scope: object) => immutable.call(ownerOf(scope), ownerOf(scope))
  }
  if (immutable) type.immutable(true)
  internals.getters = internals.getters.map(bound)
  const { defaultValue, originalRequiredValue } = internals
  if (typeof defaultValue === 'function' && defaultValue === type.options?.default) {
    const own = bound(defaultValue as AnyFunction)
    // Mongoose passes the document as the argument too.
    internals.defaultValue = (scope: object) => own.call(scope, ownerOf(scope))
  }
  // Over a copy, because `required()` puts its validator into the list.
  for (const validator of [...type.validators] as Array<{ type?: string; validator?: AnyFunction }>) {
    if (validator.type === 'required') {
      if (typeof originalRequiredValue !== 'function') continue
      const isRequired = bound(originalRequiredValue as AnyFunction)
      type.required(false).required({ ...validator, isRequired } as never)
    } else if (validator.validator) validator.validator = bound(validator.validator)
  }
}

/** Whether a path is one of a nested object, which has no schema type. `schema.nested`; `fields.test`. */
export function isNestedPath(schema: AnySchema, path: string): boolean {
  return Object.hasOwn((schema as unknown as { nested: object }).nested, path)
}

/** Names of properties that documents have from Mongoose, and that are not on the prototype of models. `_doc`; `fields.test`. */
export const documentProperties = ['_id', '_doc', 'db', 'schema', 'collection', 'discriminators'] as const

/** The mark of Mongoose's own hooks. `mongoose:built-in-middleware`; `loading.test`. */
const builtIn = Symbol.for('mongoose:built-in-middleware')

/** Marks a hook as Mongoose marks its own, so that it runs even where a call says `{ middleware: false }`. */
export function always<F extends (...args: any[]) => unknown>(hook: F): F {
  return Object.assign(hook, { [builtIn]: true })
}

/** Runs the setters of a type without its cast. `_applySetters`; `casting.test` would miss `lowercase` and the like. */
export function applySettersOf(type: Inner, value: unknown, scope: unknown, prior: unknown, options: unknown): unknown {
  const { _applySetters } = type as Inner & { _applySetters(...args: unknown[]): unknown }
  return _applySetters.call(type, value, scope, false, prior, options)
}

/** Has something done around the casts of a type. `cast`, `castForQuery`; `test/faults/masked.test`. */
export function aroundCasts(type: SchemaType, run: (cast: () => unknown) => unknown): void {
  for (const name of ['cast', 'castForQuery']) {
    replaceMethod(type, name, (original) => {
      return function castAround(this: Doc, ...args: unknown[]) {
        return run(() => original.apply(this, args))
      }
    })
  }
}

/** What a type makes of null and undefined. `_castNullish`, which Mongoose 8 does not have on every type; `validation.test`. */
export function castNullish(type: Inner, value: unknown): unknown {
  const { _castNullish } = type as Inner & { _castNullish?(value: unknown): unknown }
  return _castNullish ? _castNullish.call(type, value) : value
}

/**
 * What a schema type keeps for itself. Mongoose before 8.20 merges the plain objects that it finds in the schema types of a discriminator into
 * those of its base, so that each would have members of both; to it, what bears a tag is no plain object. `test/faults/discriminators.test.ts`
 * notices on the earliest supported Mongoose.
 */
export function unmerged<T extends object>(kept: T): Readonly<T> {
  return Object.freeze(Object.defineProperty(kept, Symbol.toStringTag, { value: 'Kept' }))
}
