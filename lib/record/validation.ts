import { type AnyModel, type Doc, isDocument, ownerOf, replaceMethod, schemaOf, topOf } from '../mongoose/host'
import { fieldFor } from '../schema/uses'

/**
 * Mongoose validates paths that it knows, and knows nothing of what is within an encrypted field. So `validate(['address.city'])` is
 * told of the field, and the field of what was asked for.
 */

const asked = new WeakMap<Doc, ReadonlyMap<string, readonly string[]>>()

/** The paths within a field that a validation under way is for; `undefined` for all of it. */
export function pathsToValidate(scope: unknown, field: string): readonly string[] | undefined {
  return isDocument(scope) ? asked.get(ownerOf(scope))?.get(field) : undefined
}

const covered = new WeakSet<object>()

/** Not by methods of the schema: where those have the name of an operation, Mongoose takes its own hooks off it. */
export function coverValidation({ prototype }: AnyModel): void {
  if (covered.has(prototype)) return
  covered.add(prototype)
  for (const name of ['validate', '$validate', 'validateSync'] as const) {
    replaceMethod(prototype, name, (original) => {
      return function validate(this: Doc, paths: unknown, ...rest: unknown[]) {
        const within = pathsWithin(this, paths)
        if (!within) return original.call(this, paths, ...rest)
        asked.set(this, within)
        const list = [paths].flat().flatMap((path) => String(path).split(' '))
        const whole = [...new Set(list.map((path) => (fieldFor(schemaOf(this), path) ? topOf(path) : path)))]
        const done = () => asked.delete(this)
        const result = original.call(this, whole, ...rest)
        if (typeof result?.finally === 'function') return result.finally(done)
        done()
        return result
      }
    })
  }
}

function pathsWithin(doc: Doc, paths: unknown): Map<string, string[]> | undefined {
  if (typeof paths !== 'string' && !Array.isArray(paths)) return undefined
  const within = new Map<string, string[]>()
  for (const path of [paths].flat().flatMap((each) => String(each).split(' '))) {
    if (!path.includes('.') || !fieldFor(schemaOf(doc), path)) continue
    within.set(topOf(path), [...(within.get(topOf(path)) ?? []), path])
  }
  return within.size > 0 ? within : undefined
}
