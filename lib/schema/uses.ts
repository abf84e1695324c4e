import type { SchemaOptions } from 'mongoose'
import { ConfigurationError } from '../errors'
import { type AnyModel, type AnySchema, topOf } from '../mongoose/host'
import {
  discriminatorOf,
  discriminatorsOf,
  isArrayType,
  levelsOf,
  perSchema,
  subschemaOf,
  valueTypeOf,
} from '../mongoose/schema'
import type { Field } from './fields'
import { keptOf, keysUseOf } from './kept'
import { fieldAt, fieldsBelow, isEncrypted, layoutOf } from './layout'
import { encryptedFieldOf } from './type'
import { checkIndexKey, type Use } from './use'

/** The uses of the plugin on a schema. They are read off its paths, so that whoever copies a schema copies them. */
export const usesOf = perSchema((schema): readonly Use[] => {
  const uses = new Set<Use>()
  schema.eachPath((_path, type) => {
    const use = keysUseOf(type) ?? encryptedFieldOf(type)?.use
    if (use) uses.add(use)
  })
  return [...uses]
})

/** The encrypted fields of a schema, those of all uses. */
export const fieldsOf = perSchema((schema): readonly { readonly field: Field; readonly use: Use }[] =>
  usesOf(schema).flatMap((use) => [...use.fields.values()].map((field) => ({ field, use }))),
)

/** The encrypted field of a schema that a path stands at or below. */
export function fieldFor(schema: AnySchema, path: unknown): { readonly field: Field; readonly use: Use } | undefined {
  return typeof path === 'string' ? encryptedFieldOf(schema.paths[topOf(path)] as never) : undefined
}

/** The use on the schema of an owner whose data key a use with `dataKey: 'owner'` is for. */
export function ownerUseOf(schema: AnySchema, { name }: Use): Use | undefined {
  return usesOf(schema).find((use) => !use.byOwner && use.name === name)
}

/** The use that the index key of a use's fields comes from: the one whose data key encrypts them. */
export function indexKeyUseOf(use: Use, record: AnySchema): Use {
  return use.byOwner ? (ownerUseOf(record, use) as Use) : use
}

/**
 * Checks a model that was just compiled: by now nobody can change its schema any more.
 *
 * @throws {ConfigurationError} FIELD_INVALID, OPTION_INVALID
 */
export function checkModel(model: AnyModel): void {
  checkRelease(model)
  checkSchema(model.schema, model.modelName, new Set())
  const base = baseOf(model)
  if (base) checkDiscriminator(base.schema, model.schema, model.modelName)
  checkIndexes(model)
  checkVirtuals(model)
  checkOwners(base ?? model)
  checkFrom(model)
  checkIndexed(model)
}

/** What an index needs: a path that MongoDB can index, and a key. */
function checkIndexed(model: AnyModel): void {
  for (const { path, place } of fieldsBelow(layoutOf([model]))) {
    for (const { field, use, record } of place.fields) {
      if (!use.indexed.has(field.name)) continue
      const name = path.join('.')
      if (path.includes('*')) {
        throw new ConfigurationError(
          'FIELD_INVALID',
          `${model.modelName}: ${name} has a blind index, and MongoDB cannot find what is below the keys of a map. Remove blindIndex or unique, or ` +
            'keep the subdocuments in an array.',
        )
      }
      if (!use.byOwner) continue
      const { indexKey } = indexKeyUseOf(use, record)
      if (indexKey) checkIndexKey(indexKey, use.indexes)
      else {
        throw new ConfigurationError(
          'OPTION_INVALID',
          `${model.modelName}: ${name} has a blind index, and the record that holds it no indexKey. Give one where the plugin is used on that.`,
        )
      }
    }
  }
}

/** What another library has stored is read with the whole record. */
function checkFrom(model: AnyModel): void {
  for (const { path, place } of fieldsBelow(layoutOf([model]))) {
    if (!place.fields.some(({ use, within }) => use.from && within !== '')) continue
    throw new ConfigurationError(
      'OPTION_INVALID',
      `${model.modelName}: ${path.join('.')} is a field of a subdocument, and the option from is for those of records.`,
    )
  }
}

/** A subdocument under the key of its owner needs one there. */
function checkOwners(model: AnyModel): void {
  for (const { path, place } of fieldsBelow(layoutOf([model]))) {
    const owners = new Map<Field, Use | undefined>()
    for (const { field, use, record } of place.fields) {
      if (!use.byOwner) continue
      const owner = ownerUseOf(record, use)
      if (owner && (owners.get(field) ?? owner) === owner) {
        owners.set(field, owner)
        if (!use.migrating || owner.migrating) continue
        throw new ConfigurationError(
          'OPTION_INVALID',
          `${model.modelName}: ${path.join('.')} is migrating, and the record that holds it is not. Its data keys are that record's: give it migrating: true, too.`,
        )
      }
      const named = use.name === undefined ? '' : ` of the name ${use.name}`
      const fault = owner
        ? `several discriminators hold it, each with a use of the plugin${named} of its own. Move the use to their base, or make a schema for each`
        : `there is no use of the plugin${named} on the record that holds it. Add one, or give the subdocument a data key of its own`
      throw new ConfigurationError(
        'OPTION_INVALID',
        `${model.modelName}: ${path.join('.')} is encrypted with dataKey: 'owner', and ${fault}.`,
      )
    }
  }
}

/** Hooks of one major release of Mongoose are not called as those of another. */
function checkRelease({ base, schema, modelName }: AnyModel): void {
  const made = (schema as { base?: { version?: string } }).base?.version
  if (!made || made.split('.')[0] === base.version.split('.')[0]) return
  throw new ConfigurationError(
    'OPTION_INVALID',
    `${modelName}: its schema is of Mongoose ${made}, its connection of Mongoose ${base.version}. Look for a second installation (npm ls mongoose).`,
  )
}

/** A populated virtual compares values within one that it cannot look into. */
function checkVirtuals({ schema, modelName }: AnyModel): void {
  const virtuals = Object.entries(schema.virtuals as Record<string, { options?: { localField?: unknown } }>)
  for (const [name, { options }] of virtuals) {
    const { localField } = options ?? {}
    const inside = fieldsOf(schema).find(
      ({ field }) => typeof localField === 'string' && localField.startsWith(`${field.name}.`),
    )
    if (!inside) continue
    throw new ConfigurationError(
      'FIELD_INVALID',
      `${modelName}: the virtual ${name} populates by ${String(localField)}, which is within the encrypted field ${inside.field.name}. Keep what it needs in a field of its own.`,
    )
  }
}

/**
 * Checks a schema and all that it holds: each may have had paths added after the plugin.
 *
 * @param around the schemas that it is held by
 */
function checkSchema(
  schema: AnySchema,
  modelName: string,
  seen: Set<AnySchema>,
  around: ReadonlySet<AnySchema> = new Set(),
): void {
  if (seen.has(schema)) return
  seen.add(schema)
  const within = new Set(around).add(schema)
  checkPaths(schema, modelName)
  checkId(schema, modelName)
  for (const own of discriminatorsOf(schema)) {
    checkDiscriminator(schema, own, modelName)
    checkSchema(own, modelName, seen, within)
  }
  schema.eachPath((path, type) => {
    for (const inner of levelsOf(type)) {
      const held = subschemaOf(inner)
      if (!held) continue
      if (isArrayType(inner) && usesOf(held).length > 0 && !held.path('_id')) throw withoutId(modelName, path)
      if (isEncrypted(held) && [...levelsOf(type)].filter(isArrayType).length > 2) throw tooDeep(modelName, path)
      if (within.has(held) && isEncrypted(held)) throw endless(modelName, path)
      checkSchema(held, modelName, seen, within)
    }
  })
}

/** The `_id` goes into the encryption context as text, which these types have none of that names the record. */
function checkId(schema: AnySchema, modelName: string): void {
  const type = schema.path('_id')
  if (!type || usesOf(schema).length === 0 || !(subschemaOf(type) || valueTypeOf(type))) return
  throw new ConfigurationError(
    'FIELD_INVALID',
    `${modelName}: its _id is a ${type.instance}, of which there is no text to name the record by. Declare it as a nested object, ` +
      '_id: { … }, or as Mixed.',
  )
}

function checkPaths(schema: AnySchema, modelName: string): void {
  for (const use of usesOf(schema)) {
    for (const name of use.fields.keys()) {
      if (encryptedFieldOf(schema.path(name))?.use === use) continue
      throw new ConfigurationError(
        'FIELD_INVALID',
        `${modelName}: ${name} is encrypted, and ${whatBecameOf(schema, name)}`,
      )
    }
    for (const index of use.indexes) {
      if (keptOf(schema.path(index.path))?.indexed === index) continue
      throw new ConfigurationError(
        'FIELD_INVALID',
        `${modelName}: ${index.path} holds the index values of ${index.name}, and ${whatBecameOf(schema, index.path)}`,
      )
    }
    if (use.byOwner || keysUseOf(schema.path(use.keyPath)) === use) continue
    throw new ConfigurationError(
      'OPTION_INVALID',
      `${modelName}: ${use.keyPath} holds wrapped keys, and ${whatBecameOf(schema, use.keyPath, 'Choose another keyPath or name.')}`,
    )
  }
}

/** What the schema has where the plugin has put a path of its own, and what to do about it. */
function whatBecameOf(schema: AnySchema, path: string, advice = 'Remove one of the two.'): string {
  return schema.path(path)
    ? `the schema declares it again as something else. ${advice}`
    : `the schema has ${path} no more: it was removed, or left out by pick() or omit(). Use the plugin after that, on what is left.`
}

/** The model that a model is a discriminator of. While it is compiled, only the schema of its base knows of it. */
export function baseOf(model: AnyModel): AnyModel | undefined {
  // What is no discriminator is not looked for among all models: there may be thousands.
  if (discriminatorOf(model.schema)?.isRoot !== false) return undefined
  const models = Object.values(model.db.models) as AnyModel[]
  return models.find((each) => each !== model && discriminatorsOf(each.schema).includes(model.schema))
}

/** What its base declares in the clear would be stored in the clear by whoever knows only the base. */
function checkDiscriminator(base: AnySchema, own: AnySchema, modelName: string): void {
  for (const { field, use } of fieldsOf(own)) {
    const type = base.path(field.name)
    if (!type || encryptedFieldOf(type)?.use === use) continue
    throw new ConfigurationError(
      'FIELD_INVALID',
      `${modelName}: ${field.name} is encrypted, and what it is a discriminator of declares it as something else. Encrypt it there, or ` +
        'give it another name.',
    )
  }
}

function checkIndexes(model: AnyModel): void {
  const { schema, modelName } = model
  const layout = layoutOf([model])
  const { shardKey, timeseries } = (schema as unknown as { options: SchemaOptions }).options
  const named: [string, (string | undefined)[]][] = [
    ...schema.indexes().map(([index]): [string, string[]] => ['an index', Object.keys(index)]),
    ['the option shardKey', Object.keys(shardKey ?? {})],
    ['the option timeseries', [timeseries?.timeField, timeseries?.metaField]],
  ]
  for (const [what, paths] of named) {
    const path = paths.find((each) => each !== undefined && fieldAt(layout, each))
    if (path === undefined) continue
    throw new ConfigurationError(
      'FIELD_INVALID',
      `${modelName}: ${what} names ${path}, which is encrypted: MongoDB cannot compare what is encrypted. Remove it.`,
    )
  }
}

/** Mongoose gives what is in such an array neither its place nor its owner. */
function tooDeep(modelName: string, path: string): ConfigurationError {
  return new ConfigurationError(
    'FIELD_INVALID',
    `${modelName}: the subdocuments in ${path} have encrypted fields and are in arrays of arrays of arrays, in which they cannot be told apart. ` +
      'Put them into two levels at most, or make the array itself an encrypted field.',
  )
}

/** What is at any depth would be looked for at some, and stand in the clear at others. */
function endless(modelName: string, path: string): ConfigurationError {
  return new ConfigurationError(
    'FIELD_INVALID',
    `${modelName}: what ${path} holds is of a schema that holds itself, and its encrypted fields would stand at paths without end. Make ` +
      `${path} itself an encrypted field, or keep the records in a collection of their own that name each other by _id.`,
  )
}

/** Elements of an array that have no `_id` could be exchanged unnoticed: nothing tells one from another. */
function withoutId(modelName: string, path: string): ConfigurationError {
  return new ConfigurationError(
    'FIELD_INVALID',
    `${modelName}: the subdocuments in ${path} have encrypted fields and no _id, so that one could be put in the place of another ` +
      'unnoticed. Give them an _id, or make the array itself an encrypted field.',
  )
}
