import type { SchemaType } from 'mongoose'
import type { AnyModel, AnySchema } from '../mongoose/host'
import { discriminatorsOf, elementOf, isArrayType, levelsOf, subschemaOf, valueTypeOf } from '../mongoose/schema'
import type { BlindIndex } from '../search/declaration'
import type { Field } from './fields'
import { keptOf } from './kept'
import { encryptedFieldOf } from './type'
import type { Use } from './use'

/** An encrypted field of one of the models of a collection. */
export interface FieldHere {
  readonly field: Field
  readonly use: Use
  readonly model: AnyModel
  /** The schema that it is a field of: that of the model, a discriminator or a subdocument. */
  readonly schema: AnySchema
  /** The schema of the whole record: that of the model or a discriminator of it. */
  readonly record: AnySchema
  /** The path of what holds the field in the record, with a dot after it, and `*` for any key of a map; empty at the top. */
  readonly within: string
}

/**
 * Where encrypted fields and wrapped keys stand in the documents of one collection: one place for each path, with those
 * of subdocuments below it. Several models may share a collection; a place knows what any of them has there.
 */
export class Place {
  readonly children = new Map<string, Place>()
  /** What stands under any key, in a map. */
  any: Place | undefined
  /** Whether what stands here is an array, so that positions lead back to this place. */
  isArray = false
  /** The encrypted fields that are stored here; each model that has one brings its own. */
  readonly fields: FieldHere[] = []
  /** The uses of the plugin whose wrapped keys are stored here, or index values of theirs. */
  readonly keysOf: Use[] = []
  /** Whether a stage may have set, taken away or mixed what stands here: it need not be what was stored, beside what it was stored with. */
  isTouched = false
  /** The blind indexes whose values are stored here. */
  readonly indexOf: BlindIndex[] = []
  /** Those of the children: the indexes of the records that have this shape, where it is one of a collection. */
  indexes: readonly BlindIndex[] = []

  #hasIndexes: boolean | undefined

  /** Whether there are index values below, in records of this shape or subdocuments in them. Asked of what is whole: it is remembered. */
  get hasIndexes(): boolean {
    this.#hasIndexes ??=
      this.indexOf.length > 0 ||
      this.any?.hasIndexes === true ||
      [...this.children.values()].some((child) => child.hasIndexes)
    return this.#hasIndexes
  }

  /** Whether nothing here or below is encrypted. */
  get isClear(): boolean {
    return this.fields.length === 0 && this.keysOf.length === 0 && this.children.size === 0 && this.any === undefined
  }
}

/** Positions in an array: an index, or one of the placeholders of an update. */
const position = /^(\d+|\$(\[\w*\])?)$/

/** The place that one segment of a path leads to, from another place. */
export function step(place: Place | undefined, segment: string): Place | undefined {
  if (place === undefined) return undefined
  const child = place.children.get(segment)
  if (child) return child
  if (place.isArray && position.test(segment)) return place
  return place.any
}

/** Where a path leads, and whether it stops above, at or below an encrypted field or wrapped key. */
export interface Location {
  readonly place: Place
  /** What of the path is left below the place: segments within an encrypted value. */
  readonly below: readonly string[]
  /** The segments that led there. */
  readonly segments: readonly string[]
}

/** Whether a segment is a position, below which what is in the place could stand, and the place is no array. */
export function isPositionOfNone(place: Place, segment: string): boolean {
  return !place.isArray && !place.isClear && /^\d+$/.test(segment)
}

/** Whether a path that leads to nothing encrypted has a position where no array is, on the way through what holds encrypted fields. */
export function leadsPast(root: Place, path: string): boolean {
  let place: Place | undefined = root
  for (const segment of path.split('.')) {
    const next: Place | undefined = step(place, segment)
    if (next === undefined) return place !== root && isPositionOfNone(place, segment)
    place = next
  }
  return false
}

const nothing: readonly string[] = Object.freeze([])

/** Follows a path until it ends, or stands at something encrypted; `undefined` where it leads to nothing encrypted. */
export function follow(root: Place, path: string | readonly string[]): Location | undefined {
  const segments = typeof path === 'string' ? path.split('.') : path
  let place: Place | undefined = root
  for (let index = 0; index < segments.length; index++) {
    place = step(place, segments[index] as string)
    if (place === undefined) return undefined
    if (place.fields.length === 0 && place.keysOf.length === 0) continue
    const end = index + 1
    if (end === segments.length) break
    return { place, below: segments.slice(end), segments: segments.slice(0, end) }
  }
  return place.isClear ? undefined : { place, below: nothing, segments }
}

/** The encrypted field that a path stands at or below, if any. */
export function fieldAt(root: Place, path: string): Location | undefined {
  const location = follow(root, path)
  return location && location.place.fields.length > 0 ? location : undefined
}

/** All places with an encrypted field at or below a place, with their paths from it; positions are left out. */
export function fieldsBelow(place: Place, path: readonly string[] = []): { path: readonly string[]; place: Place }[] {
  const found = place.fields.length > 0 ? [{ path, place }] : []
  for (const [segment, child] of place.children) found.push(...fieldsBelow(child, [...path, segment]))
  if (place.any) found.push(...fieldsBelow(place.any, [...path, '*']))
  return found
}

/** The paths of wrapped keys at or below a place; positions are left out, and `*` stands for any key of a map. */
export function keyPathsBelow(place: Place, path: readonly string[] = []): string[] {
  const found = place.keysOf.length > place.indexOf.length ? [path.join('.')] : []
  for (const [segment, child] of place.children) found.push(...keyPathsBelow(child, [...path, segment]))
  if (place.any) found.push(...keyPathsBelow(place.any, [...path, '*']))
  return found
}

/** The layout of the documents that these models store, those of their discriminators among them. */
export function layoutOf(models: Iterable<Pick<AnyModel, 'schema'>>): Place {
  const root = new Place()
  for (const model of models)
    addSchema(root, model.schema, { model: model as AnyModel, record: model.schema, within: '' }, new Set())
  prune(root)
  return root
}

/** Whether documents of a schema hold anything encrypted, be it in a subdocument or a discriminator. */
export function isEncrypted(schema: AnySchema, seen: Set<AnySchema> = new Set()): boolean {
  if (seen.has(schema)) return false
  seen.add(schema)
  const types = Object.values(schema.paths) as SchemaType[]
  return (
    types.some((type) => holdsEncrypted(type, seen)) || discriminatorsOf(schema).some((own) => isEncrypted(own, seen))
  )
}

/** Whether any field that documents of a schema hold is of such a use. */
export function holdsUse(schema: AnySchema, is: (use: Use) => boolean): boolean {
  return fieldsBelow(layoutOf([{ schema }])).some(({ place }) => place.fields.some(({ use }) => is(use)))
}

function holdsEncrypted(type: SchemaType, seen: Set<AnySchema>): boolean {
  return [...levelsOf(type)].some((inner) => {
    const schema = subschemaOf(inner)
    return encryptedFieldOf(inner) || keptOf(inner) || (schema && isEncrypted(schema, seen))
  })
}

function addSchema(
  root: Place,
  schema: AnySchema,
  of: Pick<FieldHere, 'model' | 'record' | 'within'>,
  seen: ReadonlySet<AnySchema>,
): void {
  // A schema may hold itself; what is within is found at the first level, as deep as documents are looked at.
  if (seen.has(schema)) return
  const within = new Set(seen).add(schema)
  schema.eachPath((path, type) => {
    let place = root
    for (const segment of path.split('.')) {
      if (segment === '$*') {
        place.any ??= new Place()
        place = place.any
      } else {
        let child = place.children.get(segment)
        if (!child) {
          child = new Place()
          place.children.set(segment, child)
        }
        place = child
      }
    }
    addType(place, path, type, { ...of, schema }, within)
  })
  for (const own of discriminatorsOf(schema))
    addSchema(root, own, schema === of.record ? { ...of, record: own } : of, within)
}

function addType(
  place: Place,
  path: string,
  type: SchemaType,
  of: Omit<FieldHere, 'field' | 'use'>,
  seen: ReadonlySet<AnySchema>,
): void {
  const encrypted = encryptedFieldOf(type)
  const kept = keptOf(type)
  // The key of the owner may be another in each discriminator.
  const isSame = ({ field, use, record }: FieldHere) =>
    field === encrypted?.field && (!use.byOwner || record === of.record)
  if (encrypted && !place.fields.some(isSame)) place.fields.push({ ...encrypted, ...of })
  if (kept && !place.keysOf.includes(kept.use)) place.keysOf.push(kept.use)
  if (kept?.indexed && !place.indexOf.includes(kept.indexed)) place.indexOf.push(kept.indexed)
  if (encrypted || kept) return
  const schema = subschemaOf(type)
  const value = valueTypeOf(type)
  const element = elementOf(type)
  if (isArrayType(type)) place.isArray = true
  if (schema) addSchema(place, schema, { ...of, within: `${of.within}${path.replaceAll('$*', '*')}.` }, seen)
  if (element) addType(place, path, element, of, seen)
  if (value) {
    place.any ??= new Place()
    addType(place.any, `${path}.*`, value, of, seen)
  }
}

/** Takes out what leads to nothing encrypted, so that a look at a document goes no further than it must. */
function prune(place: Place): void {
  place.indexes = [...new Set([...place.children.values()].flatMap(({ indexOf }) => indexOf))]
  for (const [segment, child] of place.children) {
    prune(child)
    if (child.isClear) place.children.delete(segment)
  }
  if (place.any) {
    prune(place.any)
    if (place.any.isClear) place.any = undefined
  }
}
