import { decryptRecord } from './contents'
import { RecordError } from './errors'
import type { AnySchema, Doc, Method } from './host'
import { layoutFor, partsOf } from './layout'
import { topOf } from './naming'
import { readField } from './opening'
import { peekRecord, recordOf } from './record'
import { configFor, recordsOf, touchedRecordsOf } from './records'
import { rotateRecord } from './rotation'
import { assigned, assignSealed } from './sealed'
import { copyRecord } from './sealing'
import { selectionOf } from './selection'
import { serialiseOverride } from './serialising'
import { mergeErrors, validateFieldsSync } from './validation'

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
