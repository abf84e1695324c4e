import type { AnyModel, Doc } from './host'
import { layoutFor } from './layout'
import { topOf } from './naming'

/** What the methods of a document were asked for and hooks are not told, or not in every version of Mongoose. */
interface Arguments {
  /** The paths of `validate()`. */
  validate?: readonly string[] | undefined
  /** The option `pathsToSave` of `save()`, as the user gave it. */
  save?: readonly string[] | undefined
}

const noted = new WeakMap<Doc, Arguments>()

/** The paths that a validation under way is for; `undefined` for all. */
export function pathsToValidateOf(doc: Doc): readonly string[] | undefined {
  const { validate, save } = noted.get(doc) ?? {}
  return validate ?? save
}

/** Whether a save under way is to write a field of a stored document. */
export function isToSave(doc: Doc, field: string): boolean {
  return noted.get(doc)?.save?.some((path) => topOf(path) === field) ?? true
}

/**
 * Notes the arguments of `save()` and `validate()`. Not by methods of the schema: where those have the name of an
 * operation, Mongoose takes its own hooks off it. `beforeSave` is called before any hook of a save.
 */
export function noteArguments(model: AnyModel, beforeSave: (doc: Doc) => void): void {
  const prototype = model.prototype as Record<string, any>
  if (Object.hasOwn(prototype, noting)) return
  Object.defineProperty(prototype, noting, { value: true })
  for (const name of ['validate', '$validate']) {
    const original = prototype[name]
    define(prototype, name, async function validate(this: Doc, ...args: unknown[]) {
      return during(this, 'validate', listOf(args[0]), () => original.apply(this, args))
    })
  }
  for (const name of ['save', '$save']) {
    const original = prototype[name]
    define(prototype, name, async function save(this: Doc, options?: SaveOptions, ...rest: unknown[]) {
      beforeSave(this)
      const paths = listOf(options?.pathsToSave)
      if (!paths) return original.call(this, options, ...rest)
      const stored = { ...options, pathsToSave: paths.flatMap((path) => storedPathsFor(this, path)) }
      return during(this, 'save', paths, () => original.call(this, stored, ...rest))
    })
  }
}

const noting = Symbol('notes arguments')

interface SaveOptions {
  readonly pathsToSave?: readonly string[]
}

function define(prototype: object, name: string, value: unknown): void {
  Object.defineProperty(prototype, name, { value, configurable: true, writable: true })
}

async function during<T>(
  doc: Doc,
  method: keyof Arguments,
  paths: readonly string[] | undefined,
  run: () => Promise<T>,
): Promise<T> {
  const before = noted.get(doc)
  noted.set(doc, { ...before, [method]: paths })
  try {
    return await run()
  } finally {
    if (before) noted.set(doc, before)
    else noted.delete(doc)
  }
}

/** Anything but a list means everything to Mongoose. */
function listOf(paths: unknown): readonly string[] | undefined {
  return Array.isArray(paths) ? paths : undefined
}

/** The paths that are written for a path as the user knows it. A new data key is stored with what it encrypts. */
function storedPathsFor(doc: Doc, path: string): string[] {
  const name = topOf(path)
  const config = layoutFor(doc).byField.get(name)
  return config ? [config.fields.byName.get(name)!.storedPath, config.keyPath] : [path]
}
