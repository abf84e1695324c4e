import type { Config } from './config'
import { OperationError, RecordError } from './errors'
import type { AnySchema, Doc } from './host'
import { layoutFor } from './layout'
import { topOf } from './naming'
import { openFields, readField } from './opening'
import { toPlain } from './plain'
import { type EncryptedRecord, peekRecord, recordOf } from './record'
import { rotateRecord } from './rotation'
import { mergeErrors, type Selection, validateFieldsSync } from './validation'
import { isUnencrypted } from './writing'

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
  isModified: (original) => isModifiedOverride(original),
  $isModified: (original) => isModifiedOverride(original),
  isDirectModified: (original) =>
    function isDirectModified(path) {
      const paths = typeof path === 'string' ? path.split(' ') : path
      if (!Array.isArray(paths)) return original.call(this, path)
      return paths.some((each: string) =>
        configFor(this, each) ? directModifiedPaths(this).includes(each) : original.call(this, each),
      )
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
    function validateSync(paths, options) {
      const error = original.call(this, paths, options)
      const selection = selectionOf(paths, options)
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

function directModifiedPaths(doc: Doc): string[] {
  return touchedRecordsOf(doc).flatMap((record) => record.modifiedPaths(direct))
}

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
    return object
  }
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
