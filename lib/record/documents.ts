import type { SchemaType } from 'mongoose'
import { RecordError } from '../errors'
import {
  countingAsPrimitive,
  type Dirty,
  forgetOwner,
  indexedPathOf,
  nameCopied,
  rawValueAt,
  revisedDirty,
  serialiser,
  withoutInitialState,
} from '../mongoose/document'
import {
  type AnyModel,
  type AnySchema,
  type Doc,
  type Host,
  isDocument,
  type Method,
  type Plain,
  schemaOf,
  topOf,
  valuesOf,
} from '../mongoose/host'
import { initialiseWith } from '../mongoose/model'
import { isPlainObject, valueAt } from '../mongoose/plain'
import { perSchema, shapeOf } from '../mongoose/schema'
import { Box } from '../schema/box'
import { cleanMarks } from '../schema/holder'
import { keptOf, Stored } from '../schema/kept'
import { follow, holdsUse, layoutOf } from '../schema/layout'
import { encryptedFieldOf, refuseOdd } from '../schema/type'
import { fieldFor, fieldsOf, usesOf } from '../schema/uses'
import { uselessPaths } from './foreign'
import { recordName } from './identity'
import { boxesOf, openNow, readBox } from './opening'
import { rememberRings } from './rings'
import { serialised } from './shown'
import { encryptedPartsOf } from './staging'

/**
 * What documents do otherwise than Mongoose's own: paths below an encrypted field, what is shown of a document, and what a save
 * takes for changed. Each is for comfort; without it a value is refused, or shown as a box, and never sent in the clear.
 */
export function extendDocuments(host: Host, schema: AnySchema): void {
  const own = host.mongoose.Document.prototype as unknown as Record<string, Method>
  const add = (name: string, method: Method) => addMethod(schema, name, method)
  for (const name of ['get', '$get']) {
    add(name, function get(this: Doc, path: unknown, ...rest: unknown[]) {
      const found = fieldFor(schemaOf(this), path)
      const isWhole = !found || (path === found.field.name && found.field.inner !== undefined)
      return isWhole ? own[name]!.call(this, path, ...rest) : getWithin(this, found.field.name, path as string)
    })
  }
  addSetters(host, schema)
  add(serialiser, function serialise(this: Doc, options?: Plain, json?: boolean) {
    return serialised(own[serialiser]!, this, options, json)
  })
  const quick = countingAsPrimitive(own, (value) => value instanceof Box || value instanceof Stored)
  if (quick) add(quick.name, quick.method)
  // The box of a complex value stays, whatever is assigned to it.
  const initial = withoutInitialState(own, (doc, path) => fieldFor(schemaOf(doc), path)?.field.complex === true)
  add(initial.name, initial.method)
  add('$inc', function $inc(this: Doc, path: unknown, by: unknown = 1) {
    for (const each of [path].flat()) if (!increase(this, each, by)) own.$inc!.call(this, each, by)
    return this
  })
  for (const name of ['unmarkModified', '$ignore']) {
    add(name, function unmark(this: Doc, path: string) {
      const box = valuesOf(this)[path]
      if (box instanceof Box) box.unmark()
      return own[name]!.call(this, path)
    })
  }
  addClone(host, schema)
  addDirty(host, schema)
}

/** Has documents keep what the gate has brought along to open fields by, which nobody selected. */
export function coverInitialising(model: AnyModel): void {
  const uses = usesOf(model.schema)
  // What a context depends on is learnt as contexts are made.
  initialiseWith(model, (stored) =>
    uses
      .flatMap(({ keyPath, dependencies }) => [keyPath, ...dependencies])
      .filter((path) => valueAt(stored, path) !== undefined),
  )
}

/** Has `set()` lead into what is within an encrypted field, of a subdocument too, and past all wrapped keys. */
export function addSetters(host: Host, schema: AnySchema): void {
  const own = host.mongoose.Document.prototype as unknown as Record<string, Method>
  for (const name of ['set', '$set']) {
    addMethod(schema, name, function set(this: Doc, path: unknown, value: unknown, ...rest: unknown[]) {
      return setField(own[name]!, this, path, value, rest)
    })
  }
}

function addMethod(schema: AnySchema, name: string, method: Method): void {
  schema.method(name, method as never, { suppressWarning: true } as never)
}

/** What a path of an owner leads to within a subdocument of it. */
function setInPart(own: Method, doc: Doc, path: string, value: unknown, rest: unknown[]): unknown {
  const within = placeWithin(doc, path)
  if (!within) return own.call(doc, path, value, ...rest)
  if (within.isKeys) return doc
  // What is not there is made, as Mongoose makes what is not there on the way to a path.
  if (!isDocument(doc.get(within.record))) own.call(doc, within.record, {}, ...rest)
  const part = doc.get(within.record)
  if (!isDocument(part)) return own.call(doc, path, value, ...rest)
  part.set(within.rest, value)
  return doc
}

/** Has a copy of a document keep what the document knows of where it is stored, whatever `_id` it is given. */
export function addClone(host: Host, schema: AnySchema): void {
  const own = host.mongoose.Document.prototype as unknown as Record<string, Method>
  addMethod(schema, '$clone', function $clone(this: Doc) {
    const clone = cloneBoxes(own.$clone!.call(this) as Doc)
    if (clone.$isSubdocument) return clone
    nameCopied(clone)
    for (const part of encryptedPartsOf(clone)) rememberRings(part)
    return clone
  })
}

/** Whether a path of an owner leads to the wrapped keys of a subdocument, or below an encrypted field of it. */
function placeWithin(doc: Doc, path: string) {
  const location = path.includes('.') ? follow(layoutFor(schemaOf(doc)), path) : undefined
  if (!location || location.segments.length < 2) return undefined
  const isKeys = location.place.keysOf.length > 0
  if (!isKeys && (location.place.fields.length === 0 || location.below.length === 0)) return undefined
  const record = location.segments.slice(0, -1).join('.')
  return { isKeys, record, rest: path.slice(record.length + 1) }
}

const layoutFor = perSchema((schema) => layoutOf([{ schema }]), shapeOf)

/** Has a save take a change within an encrypted value for one of the field. For whatever holds encrypted subdocuments, too. */
export function addDirty(host: Host, schema: AnySchema): void {
  const { name, method } = revisedDirty(host.mongoose.Document.prototype as never, wholeFields)
  addMethod(schema, name, method as Method)
}

function wholeFields(doc: Doc, dirty: Dirty[]): Dirty[] {
  const whole = new Map<string, Dirty>()
  for (const item of dirty) {
    if (isLoadedSince(doc, item)) continue
    const path = item && fieldPathAbove(doc, item.path)
    if (path === undefined) whole.set(item.path, item)
    else if (!whole.has(path)) whole.set(path, { path, value: rawValueAt(doc, path), schema: schemaOf(doc).path(path) })
  }
  return [...whole.values(), ...migratedWith(doc, [...whole.keys()])]
}

/** Whether Mongoose would save as a default what was found to be stored by now. */
function isLoadedSince(doc: Doc, { path, value }: Dirty): boolean {
  return value instanceof Box && !value.isDefault && !value.isUnsaved && doc.$isDefault(path)
}

/** What is stored in the clear and encrypted with what else is written. Of what is written as a whole, it is part already. */
function migratedWith(doc: Doc, written: readonly string[]): Dirty[] {
  if (written.length === 0 || doc.$isNew || doc.$isSubdocument || !migrates(schemaOf(doc))) return []
  const clear = encryptedPartsOf(doc).flatMap((part) =>
    boxesOf(part).flatMap((box) => {
      const { name } = box.field
      const path = part.$isSubdocument ? `${indexedPathOf(part)}.${name}` : name
      const isWritten = written.some(
        (each) => each === path || path.startsWith(`${each}.`) || each.startsWith(`${path}.`),
      )
      return box.isMigrating && !isWritten ? [{ path, value: box, schema: schemaOf(part).path(name) }] : []
    }),
  )
  // With a value that they were read with, for it is known then that they are what they were.
  const useless = clear.length > 0 ? uselessPaths(doc) : []
  return [...clear, ...useless.map((path) => ({ path, value: undefined, schema: undefined }))]
}

const migrates = perSchema((schema) => holdsUse(schema, ({ migrating }) => migrating), shapeOf)

/** The encrypted field that a path is within, in the document or a subdocument of it. */
function fieldPathAbove(doc: Doc, path: string): string | undefined {
  for (let dot = path.indexOf('.'); dot !== -1; dot = path.indexOf('.', dot + 1)) {
    const above = path.slice(0, dot)
    if (encryptedFieldOf(schemaOf(doc).path(above))) return above
  }
  return undefined
}

/** What a path below an encrypted field leads to, where the field is open; a locked one has nothing to give at once. */
function getWithin(doc: Doc, name: string, path: string): unknown {
  // A nested object that was never set is made when it is looked at.
  if (valuesOf(doc)[name] === undefined) void doc[name]
  const box = valuesOf(doc)[name]
  if (!(box instanceof Box)) return box === null && path === name ? null : undefined
  if (!attemptOpen(box)) return path === name ? readBox(box, doc) : undefined
  if (box.holder) {
    box.value()
    return box.holder.get(path)
  }
  return valueAt(box.value(), path.split('.').slice(1))
}

function attemptOpen(box: Box): boolean {
  try {
    return openNow(box)
  } catch {
    return false
  }
}

function setField(own: Method, doc: Doc, path: unknown, value: unknown, rest: unknown[]): unknown {
  if (typeof path !== 'string') return setAll(own, doc, path, value, rest)
  const type = typeAbove(doc, path)
  // Whoever sets what a request brings must not be able to set these.
  if (keptOf(type)) return doc
  const found = encryptedFieldOf(type)
  if (!found) return setInPart(own, doc, path, value, rest)
  refuseOdd(found.field, doc, value)
  if (!path.includes('.')) return own.call(doc, path, value, ...rest)
  setBelow(own, doc, found.field.name, path, value)
  return doc
}

/** An object of values may name what are no paths of the schema: below a field, of the document or of a subdocument. */
function setAll(own: Method, doc: Doc, values: unknown, value: unknown, rest: unknown[]): unknown {
  // With a prefix it is what stands below that path.
  if (typeof value === 'string' && value !== '' && isPlainObject(values) && isEncryptedAt(doc, value)) {
    for (const [key, item] of Object.entries(values)) doc.set(`${value}.${key}`, item)
    return doc
  }
  if (typeof values !== 'object' || values === null || isDocument(values) || value)
    return own.call(doc, values, value, ...rest)
  const ours: string[] = []
  for (const key of Object.keys(values)) {
    const type = typeAbove(doc, key)
    const found = encryptedFieldOf(type)
    if (found) refuseOdd(found.field, doc, (values as Plain)[key])
    if (keptOf(type) || (key.includes('.') && (found || placeWithin(doc, key)))) ours.push(key)
  }
  if (ours.length === 0) return own.call(doc, values, value, ...rest)
  const others = Object.entries(values).filter(([key]) => !ours.includes(key))
  own.call(doc, Object.fromEntries(others), value, ...rest)
  for (const key of ours) doc.set(key, (values as Plain)[key])
  return doc
}

/** Whether a path leads to or below an encrypted field, of the document or of a subdocument. */
function isEncryptedAt(doc: Doc, path: string): boolean {
  return (follow(layoutFor(schemaOf(doc)), path)?.place.fields.length ?? 0) > 0
}

/** The type that the first segment of a path has in the schema. */
function typeAbove(doc: Doc, path: string): SchemaType | undefined {
  return schemaOf(doc).paths[topOf(path)]
}

/** Adds to an encrypted number, which MongoDB could not. */
function increase(doc: Doc, path: unknown, by: unknown): boolean {
  const found = fieldFor(schemaOf(doc), path)
  if (!found || (path === found.field.name && found.field.inner?.instance !== 'Number')) return false
  const { name } = found.field
  const box = valuesOf(doc)[name]
  if (box instanceof Box && !attemptOpen(box)) throw partIsLocked(doc, name, 'add to it')
  const value = doc.get(path as string) ?? 0
  if (typeof value !== 'number') return false
  doc.set(path as string, value + Number(by))
  const sum = valuesOf(doc)[name]
  // Of an object, the part is noticed as any other that is changed.
  if (sum instanceof Box && path === name) sum.madeOf(box instanceof Box ? box : undefined)
  return true
}

function partIsLocked(doc: Doc, name: string, deed: string): RecordError {
  return new RecordError(
    'RECORD_LOCKED',
    `${recordName(doc)} ${name}: open it with \`await record.${name}\` before you ${deed}.`,
  )
}

/** Part of a value can only be changed when the rest of it is there. */
function setBelow(own: Method, doc: Doc, name: string, path: string, value: unknown): void {
  const held = valuesOf(doc)[name]
  const box = held instanceof Box ? held : undefined
  if ((box && !attemptOpen(box)) || (!box && !doc.$isNew && !doc.isSelected(name))) {
    throw partIsLocked(doc, name, `set ${path}`)
  }
  const rest = path.slice(name.length + 1)
  const found = fieldFor(schemaOf(doc), name)
  if (!box && found?.field.complex) {
    // What is set below it is all that there is.
    valuesOf(doc)[name] = Box.default(found.field, found.use, doc, undefined)
    setBelow(own, doc, name, path, value)
  } else if (box?.holder) {
    box.value()
    box.holder.set(path, value)
    cleanMarks(box.field, box.holder, doc)
  } else if (typeof box?.value() === 'object') {
    setIn(box.value() as Plain, rest.split('.'), value)
    doc.markModified(path)
  } else {
    own.call(doc, name, setIn({}, rest.split('.'), value))
    const made = valuesOf(doc)[name]
    if (held === undefined && made instanceof Box) made.madeOf(undefined)
  }
}

/** Sets part of a value in place, as Mongoose does within a Mixed. */
function setIn(value: Plain, [segment, ...rest]: string[], part: unknown): Plain {
  if (rest.length === 0) value[segment as string] = part
  else {
    value[segment as string] ??= {}
    setIn(value[segment as string], rest, part)
  }
  return value
}

/** A clone has boxes of its own: Mongoose copies what it knows, and keeps other objects as they are. */
function cloneBoxes(clone: Doc): Doc {
  forgetOwner(clone)
  const values = valuesOf(clone)
  for (const { field, use } of fieldsOf(schemaOf(clone))) {
    const box = values[field.name]
    if (!(box instanceof Box) || box.owner === clone) continue
    const copy = Box.copy(field, use, clone, box)
    // What nobody changed is not written, or it would take the place of what others have written meanwhile.
    copy.standsFor(box)
    values[field.name] = copy
  }
  return clone
}
