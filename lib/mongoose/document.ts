import type { SchemaType } from 'mongoose'
import { type AnySchema, type Doc, isDocument, type Method, type Plain, schemaOf } from './host'
import { elementOf, isArrayType, levelsOf, perSchema, subschemaOf, valueTypeOf } from './schema'

/**
 * Private members of Mongoose's documents, each in one function that says what it is there for, and which tests would notice if it
 * changed. Line numbers would age.
 */

/** The errors that a document has collected, by their paths. `$__.validationError`; `casting.test` would miss cast errors. */
export function invalidationsOf(doc: Doc): Record<string, Error> {
  const { validationError } = (doc as unknown as { $__: { validationError?: { errors: Record<string, Error> } } }).$__
  return validationError?.errors ?? {}
}

/**
 * Validates a document at once. `$__validateSync` since Mongoose 9.12, where `validateSync()` warns of its end; without it
 * `validation.test` would find the warning.
 */
export function validateNow(doc: Doc, paths: readonly string[] | undefined): Error | null | undefined {
  const { $__validateSync = doc.validateSync } = doc as unknown as { $__validateSync?: Doc['validateSync'] }
  return $__validateSync.call(doc, paths as string[])
}

/** The option `strict` as it holds for one document. `$__.strictMode`; `validation.test` would not see `'throw'`. */
export function strictModeOf(doc: Doc): unknown {
  return (doc as unknown as { $__: { strictMode?: unknown } }).$__.strictMode
}

/** Whether a setter was told to overwrite what is immutable: `set(path, value, { overwriteImmutable: true })`. */
export function isImmutableSetting(options: unknown): boolean {
  return Boolean((options as { overwriteImmutable?: boolean } | null | undefined)?.overwriteImmutable)
}

/**
 * The path of a subdocument in its owner, without positions in arrays and with keys of maps. Mongoose's own leaves out the last position
 * alone, so it is taken off the schema; `subdocuments.test` and `test/faults/subdocuments.test` pin the names.
 */
export function fullPathOf(subdocument: Doc): string {
  const parent = parentOf(subdocument)
  const names = withoutPositions(schemaOf(parent), relativePathOf(subdocument))
  return parent.$isSubdocument ? `${fullPathOf(parent)}.${names}` : names
}

/** The same with positions, as paths of updates have them. */
export function indexedPathOf(subdocument: Doc): string {
  const parent = parentOf(subdocument)
  const own = relativePathOf(subdocument)
  return parent.$isSubdocument ? `${indexedPathOf(parent)}.${own}` : own
}

/**
 * Has the copy of a subdocument look for its owner anew: Mongoose copies the one that it has remembered as well, and not as a document.
 * `$__.ownerDocument`, `$__.fullPath`; `test/clones.test.ts`.
 */
export function forgetOwner(copy: Doc): void {
  const { $__ } = copy as unknown as { $__: { ownerDocument?: unknown; fullPath?: unknown } }
  delete $__.ownerDocument
  delete $__.fullPath
}

function parentOf(subdocument: Doc): Doc {
  return (subdocument as unknown as { $parent(): Doc }).$parent()
}

/**
 * The path of a subdocument in what holds it, with the position; Mongoose's path from the top leaves out positions on the way.
 * `$__pathRelativeToParent`; `subdocuments.test`.
 */
function relativePathOf(subdocument: Doc): string {
  return (subdocument as unknown as { $__pathRelativeToParent(): string }).$__pathRelativeToParent()
}

function withoutPositions(schema: AnySchema, path: string): string {
  const names: string[] = []
  let type: SchemaType | undefined
  for (const segment of path.split('.')) {
    const element = type && elementOf(type)
    if (type && isArrayType(type) && /^\d+$/.test(segment)) {
      type = element
      continue
    }
    names.push(segment)
    type = type ? valueTypeOf(type) : schema.paths[names.join('.') as never]
  }
  return names.join('.')
}

/** A document and all its subdocuments, in arrays of arrays and maps of arrays too, where `$getAllSubdocs` of Mongoose finds none. */
export function partsOf(doc: Doc): Doc[] {
  const parts = [doc]
  for (const path of holdingPaths(schemaOf(doc))) collect(rawValueAt(doc, path), parts)
  return parts
}

function collect(value: unknown, parts: Doc[]): void {
  if (isDocument(value)) parts.push(...partsOf(value))
  else if (Array.isArray(value)) for (const item of value) collect(item, parts)
  else if (value instanceof Map) for (const item of value.values()) collect(item, parts)
}

/** Tells the subdocuments in the maps of a copy under which key they stand. */
export function nameCopied(copy: Doc): void {
  for (const part of partsOf(copy)) for (const path of holdingPaths(schemaOf(part))) nameByKey(rawValueAt(part, path))
}

/** Mongoose's copy has `$*` in place of the key. `$basePath`; `test/clones.test.ts`. */
function nameByKey(value: unknown): void {
  if (Array.isArray(value)) for (const item of value) nameByKey(item)
  if (!(value instanceof Map)) return
  for (const [key, item] of value) {
    const part = item as { $basePath?: string } | null | undefined
    if (part?.$basePath?.endsWith('.$*')) part.$basePath = `${part.$basePath.slice(0, -2)}${key}`
  }
}

/** The paths of a schema that hold subdocuments. */
const holdingPaths = perSchema((schema) => {
  const paths: string[] = []
  schema.eachPath((path, type) => {
    if (!path.includes('$*') && [...levelsOf(type)].some(subschemaOf)) paths.push(path)
  })
  return paths
})

/**
 * Whether something at or below a path of a loaded document was made up by a default, so that it is not stored. `defaultValue`;
 * `test/faults/contexts.test`.
 */
export function hasFunctionDefault(doc: Doc, path: string): boolean {
  if (!doc.$isDefault()) return false
  const schema = schemaOf(doc)
  return Object.keys(schema.paths).some((each) => {
    if ((each !== path && !each.startsWith(`${path}.`)) || !doc.$isDefault(each)) return false
    return typeof (schema.path(each) as { defaultValue?: unknown }).defaultValue === 'function'
  })
}

/** Whether a document's own `save()` is under way. `$__.saving`; a `bulkSave()` of what is not valid would ask the KMS, in `writes.test`. */
export function isSaving(doc: Doc): boolean {
  return Boolean((doc as unknown as { $__: { saving?: unknown } }).$__.saving)
}

/** Notes that a document is stored as it is now. `$__reset`, `$isNew`; a `bulkSave()` that failed would insert it twice, and `changes.test` find it changed. */
export function markSaved(doc: Doc): void {
  doc.$isNew = false
  ;(doc as unknown as { $__reset(): void }).$__reset()
}

/** The method that `toObject()`, `toJSON()`, `inspect()` and what Mongoose sends come from. `$toObject`; `access.test`. */
export const serialiser = '$toObject'

/**
 * Whether an option of `$toObject()` says that Mongoose itself asks, for what it sends to the database or copies.
 * `_calledWithOptions`, `_skipDepopulateTopLevel`, `_isNested`; `saving.test` and `test/faults/shown.test`.
 */
export function isInternalShape(options: unknown): boolean {
  const given = (options ?? {}) as Plain
  const asked = (given._calledWithOptions ?? given) as Plain
  if (asked._skipDepopulateTopLevel || asked._isNested || asked.bson) return true
  // What a query that is made again asks for, of what it has cast.
  if (asked.flattenDecimals === false && Object.keys(asked).every((key) => key === 'flattenDecimals')) return true
  const { transform, virtuals, ...others } = asked
  // What casts of arrays, updates and merges ask for; a method of the application that asks for the same gets boxes.
  return transform === false && (virtuals === false || virtuals === undefined) && !hasOwnOptions(others)
}

function hasOwnOptions(options: Plain): boolean {
  const { depopulate: _depopulate, omitUndefined: _omitUndefined, ...others } = options
  const { getters, flattenDecimals, ...rest } = others
  // Merging a document into an update asks for these two together.
  const own = getters === false && flattenDecimals === false ? rest : others
  return Object.keys(own).some((key) => !key.startsWith('_'))
}

/** What a save takes for changed, with its path. */
export interface Dirty {
  readonly path: string
  readonly value: unknown
  readonly schema: unknown
}

/** A method `$__dirty` that has `revise` look over what Mongoose's own gives; `changes.test` would find a part of an encrypted value sent. */
export function revisedDirty(
  prototype: Record<string, Method>,
  revise: (doc: Doc, dirty: Dirty[]) => Dirty[],
): { name: string; method: Method } {
  const { $__dirty } = prototype
  return {
    name: '$__dirty',
    method: function dirty(this: Doc) {
      return revise(this, $__dirty!.call(this))
    },
  }
}

/**
 * A method `$__hasOnlyPrimitiveValues` to which some values count as primitives, so that Mongoose copies a document that has only such
 * otherwise in the quick way, and not as one with objects in it. Of `$__` and `_doc`, Mongoose's own looks at no more. Without it saves would take
 * longer; `test/faults/shown.test` looks at what is copied.
 */
export function countingAsPrimitive(
  prototype: Record<string, Method>,
  isWhole: (value: unknown) => boolean,
): { name: string; method: Method } | undefined {
  const name = '$__hasOnlyPrimitiveValues'
  const own = prototype[name]
  if (!own) return undefined
  const method = function hasOnlyPrimitiveValues(this: Doc) {
    const { $__, _doc } = this as unknown as { $__: unknown; _doc: Plain }
    const others: Plain = {}
    for (const key of Object.keys(_doc)) {
      const value = _doc[key]
      if (typeof value === 'object' && !isWhole(value)) others[key] = value
    }
    return own.call({ $__, _doc: others } as unknown as Doc)
  }
  return { name, method }
}

/**
 * Has a document take what stands at a path for what was loaded, and not for a default that is to be saved. `$__.activePaths`;
 * `test/lifecycle/migration.from.test`.
 */
export function noteLoaded(doc: Doc, path: string): void {
  ;(doc as unknown as { $__: { activePaths: { init(path: string): void } } }).$__.activePaths.init(path)
}

/**
 * Calls a function while a document takes some paths for selected. `$__.exclude`, `$__.selected`, `$__.selectedIndex`;
 * `test/faults/discriminators.test`.
 */
export function whileSelecting(doc: Doc, pathsOf: () => readonly string[], run: () => unknown): unknown {
  const { $__: state } = doc as unknown as {
    $__: { exclude?: boolean | null; selected?: Plain; selectedIndex?: unknown }
  }
  const { exclude, selected } = state
  // A projection that leaves paths out leaves in all others.
  if (exclude !== false) return run()
  const select = (paths: Plain | undefined) => {
    state.selected = paths
    // What Mongoose has worked out of it.
    if (state.selectedIndex) state.selectedIndex = undefined
  }
  select({ ...selected, ...Object.fromEntries(pathsOf().map((path) => [path, 1])) })
  try {
    return run()
  } finally {
    select(selected)
  }
}

/**
 * A method `$__saveInitialState` that passes over some paths, so that Mongoose takes no mark of them back. It notes there what a path has after a save,
 * and takes the path for set back where it has the same object again; `changes.test`.
 */
export function withoutInitialState(
  prototype: Record<string, Method>,
  isLeftOut: (doc: Doc, path: string) => boolean,
): { name: string; method: Method } {
  const name = '$__saveInitialState'
  const own = prototype[name]!
  const method = function saveInitialState(this: Doc, path: string) {
    if (!isLeftOut(this, path)) own.call(this, path)
  }
  return { name, method }
}

/** The value at a path, without getters, through subdocuments and arrays. `$__getValue`; `subdocuments.test`. */
export function rawValueAt(doc: Doc, path: string): unknown {
  return (doc as unknown as { $__getValue(path: string): unknown }).$__getValue(path)
}

/** Has a document whose constructor left out its defaults give defaults to what is put into it. `$__.defaults`; `roundtrip.test`. */
export function restoreDefaults(doc: Doc): void {
  delete (doc as unknown as { $__: { defaults?: boolean } }).$__.defaults
}

/**
 * Options of `$toObject()` with another transform, which subdocuments inherit. `_calledWithOptions` holds what the user called with, and
 * `_defaultToObjectOptions` what the schema says; `test/faults/shown.test` would find fields in what is serialised.
 *
 * @param transformBy is given the transform that the user's options or the schema ask for, for the document at hand
 */
export function withTransform(
  options: Plain | undefined,
  json: boolean | undefined,
  transformBy: (theirs: (doc: Doc) => Method | undefined) => Method,
): { readonly inherited: unknown; readonly options: Plain } {
  const called = (options?._calledWithOptions ?? options ?? {}) as Plain
  const inline = called.transform
  const transform = transformBy((doc) => {
    if (typeof inline === 'function') return inline
    return inline === false ? undefined : schemaTransform(doc, json)
  })
  const asked = { ...options, transform }
  const nested = options?._calledWithOptions ? { ...asked, _calledWithOptions: { ...called, transform } } : asked
  return { inherited: inline, options: nested }
}

/** The transform that a schema has for its documents. `_defaultToObjectOptions`; `test/faults/shown.test`. */
function schemaTransform(doc: Doc, json: boolean | undefined): Method | undefined {
  const schema = schemaOf(doc) as unknown as { _defaultToObjectOptions(json?: boolean): Plain | undefined }
  const { transform } = schema._defaultToObjectOptions(json) ?? {}
  return typeof transform === 'function' ? transform : undefined
}
