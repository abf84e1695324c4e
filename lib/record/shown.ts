import { inspect } from 'node:util'
import { RecordError } from '../errors'
import { isInternalShape, withTransform } from '../mongoose/document'
import { type AnyModel, type Doc, isDocument, type Method, type Plain, schemaOf, valuesOf } from '../mongoose/host'
import { flattenMaps, isPlainObject, toPlain } from '../mongoose/plain'
import { Box } from '../schema/box'
import { fieldsOf, usesOf } from '../schema/uses'
import { openNow, placeOf } from './opening'

/** What is shown of a document: nothing of its fields, unless their values are asked for, or, to people, how it stands with them. */

/** The option by which an inspection asks for the state of fields. */
const states = Symbol('states')

/** Leaves out what is encrypted before any transform of the user's runs. */
export function serialised(own: Method, doc: Doc, given: Plain | undefined, json: boolean | undefined): unknown {
  if (isInternalShape(given)) return own.call(doc, given, json)
  const { inherited, options } = withTransform(given, json, (theirs) => {
    const transform = (current: Doc, result: Plain, asked: Plain) => {
      if (asked.decrypted) show(current, result, asked)
      else hide(current, result)
      const transformed = theirs(current)?.call(current, current, result, asked)
      if ((asked as { [states]?: boolean })[states]) tellStates(current, transformed ?? result)
      return transformed
    }
    hiding.add(transform)
    return transform as Method
  })
  const isInherited = typeof inherited === 'function' && hiding.has(inherited)
  // Said in any case, for what is not said is taken from the options of the schema.
  return own.call(doc, isInherited ? given : { ...options, decrypted: given?.decrypted === true }, json)
}

/** Transforms that leave out encrypted fields already; subdocuments inherit that of their owner. */
const hiding = new WeakSet<object>()

function hide(doc: Doc, result: Plain): void {
  for (const { field } of fieldsOf(schemaOf(doc))) delete result[field.name]
  hideKept(doc, result)
}

/** What is kept beside the fields is of no use to anybody. */
function hideKept(doc: Doc, result: Plain): void {
  for (const { keyPath, byOwner, indexes, fromPaths } of usesOf(schemaOf(doc))) {
    if (!byOwner) delete result[keyPath]
    for (const path of fromPaths) delete result[path]
    for (const { path } of indexes) delete result[path]
  }
}

function show(doc: Doc, result: Plain, { flattenMaps: isFlat, json }: Plain): void {
  hideKept(doc, result)
  for (const { field } of fieldsOf(schemaOf(doc))) {
    const box = valuesOf(doc)[field.name]
    if (!(box instanceof Box)) continue
    if (!openNow(box)) {
      throw new RecordError(
        'RECORD_LOCKED',
        `${placeOf(box)}: it is to be shown decrypted, and is locked. Open it first, with \`await record.${box.use.methods.decrypt}()\`.`,
      )
    }
    const value = toPlain(doc.get(field.name))
    if (value === undefined) delete result[field.name]
    else result[field.name] = (isFlat ?? json) ? flattenMaps(value) : value
  }
}

/** How it stands with a field, in the place of its value. */
class FieldState {
  readonly #text: string

  constructor(box: Box) {
    this.#text = `<encrypted, ${box.isOpen ? 'open' : 'locked'}${box.isUnsaved ? ', not saved' : ''}>`
  }

  toJSON(): undefined {
    return undefined
  }

  [inspect.custom](): string {
    return this.#text
  }
}

function tellStates(doc: Doc, result: unknown): void {
  if (!isPlainObject(result)) return
  for (const { field } of fieldsOf(schemaOf(doc))) {
    const box = valuesOf(doc)[field.name]
    if (box instanceof Box && result[field.name] === undefined) result[field.name] = new FieldState(box)
  }
}

/** Has an inspector, such as that of `console.log()`, name the fields of a record, and say whether they are locked. */
export function coverInspection(model: AnyModel): void {
  const method = function inspectRecord(this: Doc) {
    return isDocument(this) ? this.toObject({ [states]: true } as object) : this
  }
  Object.defineProperty(model.prototype, inspect.custom, { value: method, configurable: true, writable: true })
}
