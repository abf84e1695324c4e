import { restoreDefaults } from '../mongoose/document'
import { type Doc, isDocument, replaceMethod } from '../mongoose/host'
import { holdsOthers, isPlainObject } from '../mongoose/plain'
import type { Field } from './fields'
import { storedShape } from './fields'

/**
 * The values of complex fields: nested objects, arrays, maps and subdocuments. Mongoose tracks what is within them by the
 * document around, so each is held by a small private document that has this one field, and tells the record of changes.
 */

/** How a value comes into its holder. */
export type Origin =
  /** Given to the constructor of a new record: what it lacks is filled in by defaults. */
  | 'constructed'
  /** Assigned to a record. */
  | 'assigned'
  /** Read from the database, in the shape in which it is stored. */
  | 'stored'

/** Makes the holder of a value; of the field's default where there is none. */
export function hold(field: Field, record: unknown, origin: Origin, value?: unknown): Doc {
  const Holder = field.Holder()
  const holder = new Holder(undefined, undefined, { defaults: false })
  if (isDocument(record) || isPlainObject(record)) field.binding.own(holder, record)
  // The defaults left out are its own: subdocuments in arrays would take the setting over.
  restoreDefaults(holder)
  Holder.applyDefaults(holder)
  const wasNew = isDocument(record) ? record.$isNew : true
  if (origin === 'stored') holder.init({ [field.name]: value })
  else if (value !== undefined) assign(field, holder, value, origin === 'constructed')
  holder.$isNew = wasNew
  if (isDocument(record)) {
    // The field itself is marked by Mongoose, if it is set at all.
    for (const path of holder.directModifiedPaths()) if (path !== field.name) record.markModified(path)
    tellOfChanges(holder, record)
  }
  return holder
}

/** Assigns to a holder. Of what is no object, a nested one would keep nothing, or something that is none. */
export function assign({ name, inner, host }: Field, holder: Doc, given: unknown, isConstructing = false): void {
  holder.$markValid(name)
  // The driver stores a map as an object; Mongoose would set none of its entries.
  const value = !inner && given instanceof Map ? Object.fromEntries(given) : given
  if (!inner && value !== null && (!holdsOthers(value) || Array.isArray(value)))
    holder.invalidate(name, new host.mongoose.Error.CastError('Object', value, name))
  else if (isConstructing) holder.set({ [name]: value })
  else holder.set(name, value)
}

/** The value in the shape in which it is stored; `undefined` where there is none. */
export function storedValue({ name }: Field, holder: Doc): unknown {
  return (holder.toObject(storedShape) as Record<string, unknown>)[name]
}

/** The value as the user sees it. The property of a nested object has setters for what is in it. */
export function heldValue({ name, inner }: Field, holder: Doc): unknown {
  return inner ? holder.get(name) : holder[name]
}

const validations = new WeakMap<Doc, Promise<unknown>>()

/**
 * Validates a holder. Where a subdocument is new below a path that was set, Mongoose validates a field of it twice side by side, by itself
 * and by its owner. Two of a subdocument may run side by side, but of a document that has no owner, as a holder, they may not.
 */
export function validateInTurn(holder: Doc, paths: readonly string[] | undefined): Promise<unknown> {
  const validate = () => holder.validate(paths as never)
  const running = validations.get(holder)
  const validation = running ? running.then(validate, validate) : validate()
  validations.set(holder, validation)
  return validation
}

/** Takes marks off a record that are gone from the holder: Mongoose cleans up below what is set as a whole. */
export function cleanMarks({ name }: Field, holder: Doc, record: Doc): void {
  const marks = new Set(holder.directModifiedPaths())
  for (const path of record.directModifiedPaths()) {
    if (path.startsWith(`${name}.`) && !marks.has(path)) record.unmarkModified(path)
  }
}

/** Has a record's paths marked with those of the holder: they are the same, for the holder's one path is the field. */
function tellOfChanges(holder: Doc, record: Doc): void {
  replaceMethod(holder, 'markModified', (markModified) => {
    return function markBoth(this: Doc, path: string, scope?: never) {
      markModified.call(this, path, scope)
      record.markModified(path)
    }
  })
}
