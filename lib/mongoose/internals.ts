import { type AnyModel, type Doc, isDocument, type Method, type Plain, schemaOf } from './host'

/**
 * Every private member of Mongoose that this library uses, each in one function. Line numbers would age; each says what it is
 * there for, and what a test would notice if it changed.
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

/** A document and all its subdocuments. `$getAllSubdocs`; the saves of `subdocuments.test` would send nothing. */
export function partsOf(doc: Doc): Doc[] {
  return [doc, ...(doc as unknown as { $getAllSubdocs(): Doc[] }).$getAllSubdocs()]
}

/** Whether a path of a loaded document has its value from a default, so that it is not stored. `$isDefault` is public. */
export function isFunctionDefault(doc: Doc, path: string): boolean {
  const type = doc.$isDefault(path) ? (schemaOf(doc).path(path) as { defaultValue?: unknown } | undefined) : undefined
  return typeof type?.defaultValue === 'function'
}

/** The session of `mongoose.transaction()`, where it is passed on by the asynchronous context; `races.transactions.test`. */
export function ambientSession(model: AnyModel): unknown {
  const { transactionAsyncLocalStorage } = model.base as unknown as {
    transactionAsyncLocalStorage?: { getStore(): { session?: unknown } | undefined }
  }
  return transactionAsyncLocalStorage?.getStore()?.session
}

/** Whether a document's own `save()` is under way. `$__.saving`; a `bulkSave()` of what is not valid would ask the KMS. */
export function isSaving(doc: Doc): boolean {
  return Boolean((doc as unknown as { $__: { saving?: unknown } }).$__.saving)
}

/** The same with positions, as paths of updates have them. `$__fullPath`. */
export function indexedPathOf(subdocument: Doc): string {
  return (subdocument as unknown as { $__fullPath(): string }).$__fullPath()
}

/** Notes that a document is stored as it is now. `$__reset`, `$isNew`; a `bulkSave()` that failed would insert it twice. */
export function markSaved(doc: Doc): void {
  doc.$isNew = false
  ;(doc as unknown as { $__reset(): void }).$__reset()
}

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

/** Lets a filter be looked at before Mongoose casts it, and strips what it does not know. `Model.Query`; `filters` of the operations. */
export function beforeCast(model: AnyModel, look: (filter: unknown, update: unknown, operation: string) => void): void {
  const { prototype } = (model as unknown as { Query: { prototype: { cast: Method } } }).Query
  const { cast } = prototype
  Object.defineProperty(prototype, 'cast', {
    configurable: true,
    writable: true,
    value: function castChecked(this: any, of: unknown, filter?: unknown, ...rest: unknown[]) {
      // With a filter of its own it is asked of a part of the projection.
      if (filter === undefined || filter === null) look(this.getFilter(), this.getUpdate(), this.op ?? 'find')
      return cast.call(this, of, filter, ...rest)
    },
  })
}

/**
 * Has documents that are given as the content of a write taken for what is to be stored of them. Mongoose turns them into objects as an
 * application would, if a hook looks at the update, and what is shown to applications is without the encrypted fields.
 */
export function convertDocuments(model: AnyModel): void {
  const { prototype } = (model as unknown as { Query: { prototype: Record<string, Method> } }).Query
  for (const name of [
    'updateOne',
    'updateMany',
    'replaceOne',
    'findOneAndUpdate',
    'findOneAndReplace',
    'merge',
    'setUpdate',
  ]) {
    const original = prototype[name] as Method
    Object.defineProperty(prototype, name, {
      configurable: true,
      writable: true,
      value: function convert(this: any, ...args: unknown[]) {
        return original.apply(this, args.map(asStored))
      },
    })
  }
}

function asStored(value: unknown): unknown {
  return isDocument(value) ? (value as unknown as { toBSON(): unknown }).toBSON() : value
}

/**
 * Has a function called with what a property is, and with whatever it is set to later. `Model.collection`, which `useConnection()`
 * sets, and `connection.client`, which connecting sets; neither tells anybody.
 */
export function whenSet(holder: object, property: string, call: (value: any) => void): void {
  let value = (holder as Plain)[property]
  if (value) call(value)
  Object.defineProperty(holder, property, {
    configurable: true,
    enumerable: true,
    get: () => value,
    set: (given: unknown) => {
      value = given
      if (given) call(given)
    },
  })
}
