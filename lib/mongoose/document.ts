import { type Doc, type Method, type Plain, schemaOf } from './host'

/**
 * Private members of Mongoose's documents, each in one function that says what it is there for, and which tests would notice if it
 * changed. Line numbers would age.
 */

/** The errors that a document has collected, by their paths. `$__` in all versions; `casting.test` would miss cast errors. */
export function invalidationsOf(doc: Doc): Record<string, Error> {
  const { validationError } = (doc as unknown as { $__: { validationError?: { errors: Record<string, Error> } } }).$__
  return validationError?.errors ?? {}
}

/** The option `strict` as it holds for one document. `$__.strictMode`; `validation.test` would not see `'throw'`. */
export function strictModeOf(doc: Doc): unknown {
  return (doc as unknown as { $__: { strictMode?: unknown } }).$__.strictMode
}

/** Whether a setter was told to overwrite what is immutable: `set(path, value, { overwriteImmutable: true })`. */
export function isImmutableSetting(options: unknown): boolean {
  return Boolean((options as { overwriteImmutable?: boolean } | null | undefined)?.overwriteImmutable)
}

/** The path of a subdocument in its owner, without positions in arrays. `$__fullPath`; `subdocuments.test` pins the names. */
export function fullPathOf(subdocument: Doc): string {
  const { $__fullPath } = subdocument as unknown as { $__fullPath(path: undefined, skipIndex: true): string }
  return $__fullPath.call(subdocument, undefined, true)
}

/** The same with positions, as paths of updates have them. `$__fullPath`. */
export function indexedPathOf(subdocument: Doc): string {
  return (subdocument as unknown as { $__fullPath(): string }).$__fullPath()
}

/** A document and all its subdocuments. `$getAllSubdocs`; the saves of `subdocuments.test` would send nothing. */
export function partsOf(doc: Doc): Doc[] {
  return [doc, ...(doc as unknown as { $getAllSubdocs(): Doc[] }).$getAllSubdocs()]
}

/** Whether a path of a loaded document has its value from a default, so that it is not stored. `$isDefault` is public. */
export function isFunctionDefault(doc: Doc, path: string): boolean {
  const type = doc.$isDefault(path) ? (schemaOf(doc).path(path) as { defaultValue?: unknown } | undefined) : undefined
  return typeof type?.defaultValue === 'function'
}

/** Whether a document's own `save()` is under way. `$__.saving`; a `bulkSave()` of what is not valid would ask the KMS. */
export function isSaving(doc: Doc): boolean {
  return Boolean((doc as unknown as { $__: { saving?: unknown } }).$__.saving)
}

/** Notes that a document is stored as it is now. `$__reset`, `$isNew`; a `bulkSave()` that failed would insert it twice. */
export function markSaved(doc: Doc): void {
  doc.$isNew = false
  ;(doc as unknown as { $__reset(): void }).$__reset()
}

/** The method that `toObject()`, `toJSON()`, `inspect()` and what Mongoose sends come from; `access.test`. */
export const serialiser = '$toObject'

/** Whether an option of `$toObject()` says that Mongoose itself asks, for what it sends to the database or copies. */
export function isInternalShape(options: unknown): boolean {
  const { _calledWithOptions: called, ...given } = (options ?? {}) as Plain
  const asked = (called ?? given) as Plain
  if (asked._skipDepopulateTopLevel || asked._isNested || asked.bson) return true
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

/** What a save takes for changed, with its path. `$__dirty`; `changes.test` would find a part of an encrypted value sent. */
export interface Dirty {
  readonly path: string
  readonly value: unknown
  readonly schema: unknown
}

/** A method `$__dirty` that has `revise` look over what Mongoose's own gives. */
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

/** The value at a path, without getters, through subdocuments and arrays. `$__getValue`; `changes.test`. */
export function rawValueAt(doc: Doc, path: string): unknown {
  return (doc as unknown as { $__getValue(path: string): unknown }).$__getValue(path)
}

/** Has a document whose constructor left out its defaults give defaults to what is put into it. `$__.defaults`; `casting.test`. */
export function restoreDefaults(doc: Doc): void {
  delete (doc as unknown as { $__: { defaults?: boolean } }).$__.defaults
}

/**
 * Options of `$toObject()` with another transform, which subdocuments inherit. `_calledWithOptions` holds what the user called with, and
 * `_defaultToObjectOptions` what the schema says; `access.test` would find fields in what is serialised.
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

function schemaTransform(doc: Doc, json: boolean | undefined): Method | undefined {
  const schema = schemaOf(doc) as unknown as { _defaultToObjectOptions(json?: boolean): Plain | undefined }
  const { transform } = schema._defaultToObjectOptions(json) ?? {}
  return typeof transform === 'function' ? transform : undefined
}
