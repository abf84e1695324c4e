import type { Config } from './config'
import { OperationError, RecordError } from './errors'
import type { AnyModel, AnySchema, Doc } from './host'
import { layoutFor, partsOf } from './layout'
import { topOf } from './naming'
import { openFields, readField } from './opening'
import { toPlain } from './plain'
import { type EncryptedRecord, peekRecord, recordOf } from './record'
import { rotateRecord } from './rotation'
import { assigned, assignSealed } from './sealed'
import { mergeErrors, type Selection, validateFieldsSync } from './validation'
import { copyRecord, isUnencrypted, openValuesOf } from './writing'

type Method = (this: Doc, ...args: any[]) => any

function configFor(doc: Doc, path: unknown): Config | undefined {
  return typeof path === 'string' ? layoutFor(doc).byField.get(topOf(path)) : undefined
}

/** The state of every use of the plugin on a document's schema. */
export function recordsOf(doc: Doc): EncryptedRecord[] {
  return layoutFor(doc).configs.map((config) => recordOf(config, doc))
}

/** The same where there is any: an untouched document has none. */
export function touchedRecordsOf(doc: Doc): EncryptedRecord[] {
  return layoutFor(doc).configs.flatMap((config) => peekRecord(config, doc) ?? [])
}

let serialising = 0

/** Whether a document is being turned into a plain object, which must neither throw nor ask the KMS. */
export function isSerialising(): boolean {
  return serialising > 0
}

/** The fields, decrypted, in the shape of plain objects. */
export async function decryptRecord(doc: Doc): Promise<Record<string, unknown>> {
  const plain: Record<string, unknown> = {}
  await Promise.all(
    recordsOf(doc).map(async (record) => {
      const names = [...record.config.fields.byName.keys()]
      await openFields(record, names)
      for (const name of names) plain[name] = toPlain(readField(record, name))
    }),
  )
  return plain
}

/** A document as if all of it were stored in the clear: what another record with its values is made of. */
export async function contentOf(doc: Doc): Promise<Record<string, unknown>> {
  return { ...clearPartOf(doc), ...(await fieldsOf(doc)) }
}

/** The encrypted fields that a document has, in the shape in which they would be stored in the clear. */
export async function fieldsOf(doc: Doc): Promise<Record<string, unknown>> {
  const fields: Record<string, unknown> = {}
  for (const record of recordsOf(doc)) {
    await openFields(record, record.config.fields.byName.keys())
    Object.assign(fields, openValuesOf(record))
  }
  return fields
}

/** The paths of a document that are not encrypted, in the shape in which they are stored. */
export function clearPartOf(doc: Doc): Record<string, unknown> {
  return doc.toObject({
    transform: false,
    virtuals: false,
    depopulate: true,
    flattenDecimals: false,
    flattenMaps: false,
  } as never)
}

/** How the encrypted fields take part in the methods that every document has, by the name of the method. */
const overrides: Record<string, (original: Method) => Method> = {
  get: (original) =>
    function get(path, ...rest) {
      const config = configFor(this, path)
      if (!config || !path.includes('.')) return original.call(this, path, ...rest)
      const value = readField(recordOf(config, this), topOf(path))
      if (value === null || typeof value !== 'object') return undefined
      const isLocked = typeof (value as PromiseLike<unknown>).then === 'function'
      return isLocked ? undefined : recordOf(config, this).values.get(path, ...rest)
    },
  $set: (original) => setOverride(original),
  set: (original) => setOverride(original),
  overwrite: (original) =>
    function overwrite(values) {
      const { byField, storedPaths } = layoutFor(this)
      const planted = [...storedPaths].find((path) => path in values)
      if (planted !== undefined) throw assigned(planted)
      // Mongoose empties what is not given. What is stored for a field goes when the field does.
      const loaded = [...storedPaths].filter((path) => this[path] !== undefined)
      const kept = Object.fromEntries(loaded.map((path) => [path, this[path]]))
      assignSealed(() => original.call(this, { ...values, ...kept }))
      for (const [name, { fields }] of byField) {
        if (!(name in values) && this.isSelected(fields.byName.get(name)!.storedPath)) this.set(name, undefined)
      }
      return this
    },
  $clone: (original) =>
    function $clone(this: Doc) {
      const clone: Doc = original.call(this)
      const clones = partsOf(clone)
      for (const [index, part] of partsOf(this).entries()) {
        for (const record of touchedRecordsOf(part)) copyRecord(record, recordOf(record.config, clones[index] as Doc))
      }
      return clone
    },
  isModified: (original) => isModifiedOverride(original),
  $isModified: (original) => isModifiedOverride(original),
  isDirectModified: (original) =>
    function isDirectModified(path) {
      const paths = typeof path === 'string' ? path.split(' ') : path
      if (!Array.isArray(paths)) return original.call(this, path)
      return paths.some((each: string) => {
        const config = configFor(this, each)
        return config ? (peekRecord(config, this)?.isDirectModified(each) ?? false) : original.call(this, each)
      })
    },
  modifiedPaths: (original) =>
    function modifiedPaths(options) {
      return withFields(this, original.call(this, options), (values) => values.modifiedPaths(options))
    },
  directModifiedPaths: (original) =>
    function (this: Doc) {
      return withFields(this, original.call(this), (values) => values.directModifiedPaths())
    },
  markModified: (original) =>
    function markModified(path, ...rest) {
      const config = configFor(this, path)
      if (!config) return original.call(this, path, ...rest)
      const record = recordOf(config, this)
      if (record.settle(topOf(path))) record.values.markModified(path)
      else record.marked.add(topOf(path))
    },
  unmarkModified: (original) =>
    function unmarkModified(path) {
      const config = configFor(this, path)
      if (!config) return original.call(this, path)
      const record = recordOf(config, this)
      record.marked.delete(topOf(path))
      if (record.known.has(topOf(path))) record.values.unmarkModified(path)
    },
  toObject: (original) => serialiseOverride(original),
  toJSON: (original) => serialiseOverride(original),
  validateSync: (original) =>
    function validateSync(...args) {
      const error = original.apply(this, args)
      const selection = selectionOf(args[0], args[1])
      return recordsOf(this).reduce((merged, record) => {
        const { ValidationError } = record.config.host.mongoose.Error
        return mergeErrors(this, merged, validateFieldsSync(record, selection), ValidationError as never)
      }, error)
    },
}

/** Gives documents of a schema their `decrypt()`, and lets the encrypted fields take part in Mongoose's own methods. */
export function extendDocuments(schema: AnySchema): void {
  if (Object.hasOwn(schema.methods, 'decrypt')) return
  schema.method('decrypt', function decrypt(this: Doc) {
    return decryptRecord(this)
  } as never)
  schema.method('rotateKmsKey', async function rotateKmsKey(this: Doc) {
    for (const record of recordsOf(this)) await rotateRecord(record)
  } as never)
  for (const [name, override] of Object.entries(overrides)) {
    const method: Method = override(function original(this: Doc, ...args: unknown[]) {
      return overridden(this, name, method).apply(this, args)
    })
    schema.method(name as never, method as never, { suppressWarning: true } as never)
  }
}

/** Arguments of `validate()` and `validateSync()` in one form. */
export function selectionOf(paths: unknown, options: unknown): Selection {
  const given = Array.isArray(paths) || typeof paths === 'string' ? paths : undefined
  const settings = (given === undefined ? (options ?? paths) : options) as
    | { pathsToSkip?: string | string[]; validateModifiedOnly?: boolean }
    | null
    | undefined
  return {
    ...(given === undefined ? {} : { paths: listOf(given) }),
    ...(settings?.pathsToSkip ? { pathsToSkip: listOf(settings.pathsToSkip) } : {}),
    validateModifiedOnly: settings?.validateModifiedOnly ?? false,
  }
}

function listOf(paths: string | readonly string[]): string[] {
  return typeof paths === 'string' ? paths.split(' ') : [...paths]
}

/** The methods that an override hides, by the prototype of the document. */
const hidden = new WeakMap<Method, WeakMap<object, Method>>()

/** The method that an override hides: that of the nearest ancestor which is not this override again. */
function overridden(doc: Doc, name: string, override: Method): Method {
  const own = Object.getPrototypeOf(doc)
  let known = hidden.get(override)
  if (!known) {
    known = new WeakMap()
    hidden.set(override, known)
  }
  let method = known.get(own)
  if (!method) {
    method = findOverridden(own, name, override)
    known.set(own, method)
  }
  return method
}

function findOverridden(own: any, name: string, override: Method): Method {
  let prototype = own
  while (prototype[name] !== override) prototype = Object.getPrototypeOf(prototype)
  while (prototype[name] === override) prototype = Object.getPrototypeOf(prototype)
  return prototype[name]
}

function setOverride(original: Method): Method {
  return function set(path, value, ...rest) {
    if (path !== null && typeof path === 'object') return setAll(this, original, path, value, rest)
    const config = configFor(this, path)
    if (!config || !path.includes('.')) return original.call(this, path, value, ...rest)
    const record = recordOf(config, this)
    const name = topOf(path)
    if (!record.settle(name) && record.envelope(name)) {
      // Part of a value can only be changed when the rest of it is there.
      const current = readField(record, name)
      if (typeof (current as PromiseLike<unknown> | null)?.then === 'function') {
        throw new RecordError(
          'RECORD_LOCKED',
          `${record.place(name)}: open it with \`await record.${name}\` before you set ${path}.`,
        )
      }
    }
    record.values.set(path, value, ...rest)
    record.known.add(name)
    record.assigned.add(name)
    return this
  }
}

/** An object of values may name paths below a field, which are no paths of the schema. */
function setAll(doc: Doc, original: Method, values: Record<string, unknown>, value: unknown, rest: unknown[]): Doc {
  const below = Object.keys(values).filter((path) => path.includes('.') && configFor(doc, path))
  if (below.length === 0) return original.call(doc, values, value, ...rest)
  const others = Object.entries(values).filter(([path]) => !below.includes(path))
  original.call(doc, Object.fromEntries(others), value, ...rest)
  for (const path of below) doc.set(path, values[path])
  return doc
}

function isModifiedOverride(original: Method): Method {
  return function isModified(paths, ...rest) {
    if (!paths)
      return original.call(this) || touchedRecordsOf(this).some((record) => record.modifiedPaths(direct).length > 0)
    const list = typeof paths === 'string' ? paths.split(' ') : (paths as string[])
    const others = list.filter((path) => !configFor(this, path))
    if (others.length > 0 && original.call(this, others, ...rest)) return true
    return list.some((path) => {
      const config = configFor(this, path)
      return config !== undefined && (peekRecord(config, this)?.isModified(path) ?? false)
    })
  }
}

const direct = (values: Doc) => values.directModifiedPaths()

/** Modified paths by the names that users know: fields instead of where they are stored. */
function withFields(doc: Doc, paths: string[], list: (values: Doc) => string[]): string[] {
  const { storedPaths } = layoutFor(doc)
  return [
    ...paths.filter((path) => !storedPaths.has(path)),
    ...touchedRecordsOf(doc).flatMap((record) => record.modifiedPaths(list)),
  ]
}

function serialiseOverride(original: Method): Method {
  return function serialise(options) {
    // Mongoose makes what it sends to the database by the same methods.
    const forDatabase = options?.transform === false && options.virtuals === false && options.getters === false
    if (forDatabase) refuseUnencrypted(this)
    serialising++
    let object: any
    try {
      object = original.call(this, options)
    } finally {
      serialising--
    }
    if (forDatabase || object === null || typeof object !== 'object') return object
    const { byField, storedPaths } = layoutFor(this)
    for (const path of storedPaths) delete object[path]
    for (const name of byField.keys()) delete object[name]
    if (options?._isNested) origins.set(object, this)
    return object
  }
}

/** Mongoose 8 turns a document that is given as an update into an object before any hook or method sees it. */
const origins = new WeakMap<object, Doc>()

/** The document that was given as the content of a write, if it was one. */
export function documentGiven(model: AnyModel, content: unknown): Doc | undefined {
  if (content === null || typeof content !== 'object') return undefined
  return content instanceof model ? (content as unknown as Doc) : origins.get(content)
}

/** The last line: a write that ran none of the hooks would leave out what they were to encrypt. */
function refuseUnencrypted(doc: Doc): void {
  const record = touchedRecordsOf(doc).find(isUnencrypted)
  if (!record) return
  throw new OperationError(
    'WRITE_REFUSED',
    `${record.place()}: this way of writing does not encrypt, so nothing was sent. Use save(), create(), insertMany(), bulkSave() or ` +
      'the bulkWrite() of the model.',
  )
}
