import { RecordError } from '../errors'
import { checkContext, type EncryptionContext } from '../format/context'
import { hasFunctionDefault } from '../mongoose/document'
import { type AnyModel, type Doc, schemaOf, topOf, valuesOf } from '../mongoose/host'
import { checkKeyId, type Generation, type Use } from '../schema/use'
import { type Identity, recordName } from './identity'

/**
 * What the functions `context` and `keyId` give for a record. They see the record as it is or will be stored: what was not
 * loaded, and what a default has made up, is an error and not `undefined`.
 */

/** The encryption context of a record: `Record`, and the pairs that the option adds to it or gives in its place. */
export function contextOf(
  use: Use,
  { context }: Generation,
  identity: Identity,
  subject: Doc | undefined,
): EncryptionContext {
  const record = { Record: identity.name }
  if (context === undefined) return record
  const place = `${identity.model}: context`
  const noteOwner = (path: string) => use.ownerDependencies.add(path)
  const given = checkContext(context(watched(requireSubject(subject), noteContext(use), noteOwner)), place)
  return checkContext({ ...record, ...given }, place)
}

function noteContext(use: Use): (path: string) => void {
  return (path) => {
    use.contextDependencies.add(path)
    use.dependencies.add(path)
  }
}

/** The KMS key for a new data key of a record. */
export function keyIdOf(use: Use, { keyId }: Generation, identity: Identity, subject: Doc | undefined): string {
  if (typeof keyId !== 'function') return keyId
  const given = keyId(watched(requireSubject(subject), (path) => use.dependencies.add(path)))
  return checkKeyId(given, `${identity.model}: keyId`)
}

/** Lets the option functions be seen reading, once, before the first query relies on what they read. */
export function learnDependencies(model: AnyModel, uses: readonly Use[]): void {
  for (const use of uses) {
    if (!use.isCustom || learned.has(use)) continue
    learned.add(use)
    // Functions of the application that give defaults are not called for it: they may count.
    const Blank = model as unknown as new (values: undefined, fields: undefined, options: object) => Doc
    const blank = new Blank(undefined, undefined, { willInit: true })
    for (const { context, keyId } of use.generations.values()) {
      attempt(() => context?.(watched(blank, noteContext(use))))
      attempt(() => typeof keyId === 'function' && keyId(watched(blank, (path) => use.dependencies.add(path))))
    }
  }
}

const learned = new WeakSet<Use>()

/** A blank record need not have a context or key; what was read up to there is known now. */
function attempt(read: () => unknown): void {
  try {
    read()
  } catch {
    // Nothing is lost: what it reads further is noted when a real record is asked.
  }
}

function requireSubject(subject: Doc | undefined): Doc {
  if (!subject) throw new TypeError('a context that is a function needs a record')
  return subject
}

/** The record as an option function sees it: reading a path of it is noted, and refused where its stored value is not known. */
function watched(record: Doc, note: (path: string) => void, noteOwner: (path: string) => void = () => {}): Doc {
  const schema = schemaOf(record)
  const read = (path: string) => {
    const top = topOf(path)
    const kind = schema.pathType(top)
    if (top === '_id' || kind === 'adhocOrUndefined' || kind === 'virtual') return
    note(top)
    requireStored(record, top)
  }
  return new Proxy(record, {
    get(target, property, receiver) {
      if (typeof property !== 'string') return Reflect.get(target, property, receiver)
      if (property === 'ownerDocument' || property === 'parent' || property === '$parent') {
        return () => {
          const owner = (target as any)[property]() as Doc | undefined
          return owner && watched(owner, noteOwner, noteOwner)
        }
      }
      if (wholes.has(property)) for (const path of Object.keys(schema.paths)) read(path)
      if (property === 'get' || property === '$get') {
        return (path: string, ...rest: never[]) => {
          read(path)
          return target.get(path, ...rest)
        }
      }
      read(property)
      return Reflect.get(target, property, receiver)
    },
  })
}

/** Methods that give all of a record: whoever calls them may read any path. */
const wholes = new Set(['toObject', 'toJSON'])

function requireStored(record: Doc, path: string): void {
  if (record.$isNew) return
  // The gate brings along what the options read, and Mongoose is not told.
  if (valuesOf(record)[path] === undefined && !record.isSelected(path)) {
    throw new RecordError(
      'CONTEXT_NOT_SELECTED',
      `${recordName(record)}: ${path} was not selected, and the options context or keyId read it. Select it, or the whole record.`,
    )
  }
  if (hasFunctionDefault(record, path)) {
    throw new RecordError(
      'CONTEXT_NOT_SELECTED',
      `${recordName(record)}: ${path} is not stored, a default has just made it up, and the options context or keyId read it. ` +
        'Store it first, or give it.',
    )
  }
}
