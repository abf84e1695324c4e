import { whileSelecting } from './document'
import { type AnyModel, type Doc, isDocument, type Method, type Plain, replaceMethod } from './host'
import { isPlainObject } from './plain'
import { discriminatorOf } from './schema'

/**
 * Private members of Mongoose's models, queries and connections, each in one function that says what it is there for, and which tests
 * would notice if it changed.
 */

/**
 * A document of what is stored, for which no hook of anybody's is called. `$__init` of documents itself, not the one of the model, that
 * runs the hooks; `test/faults/mongoose.test` counts them.
 */
export function recordOf(model: AnyModel, stored: Plain): Doc {
  const { discriminatorKey } = model.schema.options as { discriminatorKey?: string }
  const named = Object.values((model as unknown as { discriminators?: Record<string, AnyModel> }).discriminators ?? {})
  const own = named.find((each) => discriminatorOf(each.schema)?.value === stored[discriminatorKey ?? '__t'])
  const Made = (own ?? model) as unknown as new (values: undefined, fields: undefined, options: object) => Doc
  // As for what is loaded: functions that give defaults are called for what is not stored, and with the record.
  const doc = new Made(undefined, undefined, { skipId: true, willInit: true })
  const { $__init } = model.base.Document.prototype as unknown as { $__init(values: Plain, options: object): void }
  $__init.call(doc, stored, {})
  return doc
}

/**
 * A filter as a find of a model sends it: cast, and for the records of the model alone. `Model.Query`, for no static or hook of the
 * application's is called; `test/lifecycle/job.test`.
 */
export function castFilter(model: AnyModel, filter: Plain): Plain {
  const { Query } = model as unknown as { Query: new (conditions: object, options: object, ...of: object[]) => any }
  const query = new Query({}, {}, model, model.collection).find(filter)
  query.cast(model)
  return query.getFilter()
}

/**
 * The session of `mongoose.transaction()`, where it is passed on by the asynchronous context. `transactionAsyncLocalStorage`;
 * `races.transactions.test`.
 */
export function ambientSession(model: AnyModel): unknown {
  const { transactionAsyncLocalStorage } = model.base as unknown as {
    transactionAsyncLocalStorage?: { getStore(): { session?: unknown } | undefined }
  }
  return transactionAsyncLocalStorage?.getStore()?.session
}

const bulkCovered = new WeakSet<object>()

/**
 * Lets the operations of a bulk write be looked over before Mongoose casts them, and strips what it does not know. `Model.bulkWrite` itself,
 * which statics of the application call too; `test/operations`.
 */
export function beforeBulkWrite(
  base: { bulkWrite: Method },
  look: (model: AnyModel, operations: unknown) => unknown,
): void {
  if (bulkCovered.has(base)) return
  bulkCovered.add(base)
  const { bulkWrite } = base
  base.bulkWrite = async function bulkWriteChecked(this: any, operations: unknown, ...rest: unknown[]) {
    return bulkWrite.call(this, look(this, operations), ...rest)
  }
}

/** Lets the pipeline of a change stream be looked at before the stream is made. `Model.watch` itself; `test/faults/filters.test`. */
export function beforeWatch(base: { watch: Method }, look: (model: AnyModel, pipeline: unknown) => void): void {
  replaceMethod(base, 'watch', (watch) => {
    return function watchChecked(this: any, pipeline: unknown, ...rest: unknown[]) {
      look(this, pipeline)
      return watch.call(this, pipeline, ...rest)
    }
  })
}

const initialised = new WeakSet<object>()

/**
 * Has documents of a discriminator initialised with more than what was selected: Mongoose passes over the rest, for its base may load what the
 * discriminator leaves out. `$isRootDiscriminator`; `test/faults/discriminators.test`.
 */
export function initialiseWith(model: AnyModel, pathsOf: (stored: Plain) => readonly string[]): void {
  const { $isRootDiscriminator } = model.schema as { $isRootDiscriminator?: boolean }
  if (!$isRootDiscriminator || initialised.has(model)) return
  initialised.add(model)
  // Not by a method of the schema: Mongoose would run the hooks of `init` for it once more.
  replaceMethod(model.prototype, 'init', (init) => {
    return function initialise(this: Doc, stored: Plain, ...rest: unknown[]) {
      return whileSelecting(
        this,
        () => pathsOf(Object(stored)),
        () => init.call(this, stored, ...rest),
      )
    }
  })
}

/** Has more filled in by `Model.applyDefaults`, where that is given a plain object; `test/faults/mongoose.test`. */
export function afterDefaults(base: object, fill: (model: AnyModel, object: unknown) => void): void {
  replaceMethod(base, 'applyDefaults', (applyDefaults) => {
    return function applyAllDefaults(this: any, object: unknown) {
      const filled = applyDefaults.call(this, object)
      fill(this, object)
      return filled
    }
  })
}

/** A query of a model, seen as what is looked at here. */
export interface QueryHere {
  readonly model: AnyModel
  getFilter(): Plain
  getOptions(): Plain
  projection(fields?: Plain): Plain | null
  selectedInclusively(): boolean
}

/**
 * Does something with the driver's cursor of each that gives documents of a model, before anything is read of it. `cursor()` of the model's
 * own class of queries, and the event `cursor`; `cost.test`.
 */
export function onCursor(model: AnyModel, use: (cursor: unknown) => void): void {
  replaceMethod(queriesOf(model), 'cursor', (makeCursor) => {
    return function cursorSeen(this: any, ...args: unknown[]) {
      // There is none where a hook has skipped the query.
      return makeCursor.apply(this, args).once('cursor', (native: unknown) => {
        if (native && !this.mongooseOptions().lean) use(native)
      })
    }
  })
}

/** Has something done with what queries of a model give, before the application has it. `loading.test`. */
export function afterExec(model: AnyModel, look: (result: unknown) => Promise<unknown>): void {
  aroundExec(model, async (exec) => {
    const result = await exec()
    await look(result)
    return result
  })
}

/** Has something done before and after a query of a model is sent. `exec` of `Model.Query`; `test/search/population`. */
export function aroundExec(
  model: AnyModel,
  run: (exec: () => Promise<unknown>, query: QueryHere) => Promise<unknown>,
): void {
  replaceMethod(queriesOf(model), 'exec', (exec) => {
    return function execAround(this: any, ...args: unknown[]) {
      try {
        return run(() => exec.apply(this, args) as Promise<unknown>, this)
      } catch (error) {
        return Promise.reject(error)
      }
    }
  })
}

/** Has paths loaded that are not by default, and gives those that were not asked for. */
export function withProjected(query: QueryHere, paths: readonly string[]): readonly string[] {
  const projection = query.projection() ?? {}
  const added = paths.filter((path) => !(path in projection || `+${path}` in projection))
  const prefix = query.selectedInclusively() ? '' : '+'
  // Set anew as a whole: `select()` drops a path with a plus where others are left out.
  query.projection({ ...projection, ...Object.fromEntries(added.map((path) => [`${prefix}${path}`, 1])) })
  return added
}

/** Lets a filter be looked at before Mongoose casts it, and strips what it does not know. `Model.Query`; `filters` of the operations. */
export function beforeCast(model: AnyModel, look: (filter: unknown, update: unknown, operation: string) => void): void {
  replaceMethod(queriesOf(model), 'cast', (cast) => {
    return function castChecked(this: any, of: unknown, filter?: unknown, ...rest: unknown[]) {
      // With a filter of its own it is asked of a part of the projection.
      if (filter === undefined || filter === null) look(this.getFilter(), this.getUpdate(), this.op ?? 'find')
      return cast.call(this, of, filter, ...rest)
    }
  })
}

/**
 * Has documents that are given as the content of a write taken for what is to be stored of them. Mongoose turns them into objects as an
 * application would, if a hook looks at the update, and what is shown to applications is without the encrypted fields.
 */
export function convertDocuments(model: AnyModel): void {
  const names = ['updateOne', 'updateMany', 'replaceOne', 'findOneAndUpdate', 'findOneAndReplace', 'merge', 'setUpdate']
  for (const name of names) {
    replaceMethod(queriesOf(model), name, (original) => {
      return function convert(this: any, ...args: unknown[]) {
        return original.apply(this, args.map(asStored))
      }
    })
  }
}

/**
 * Whether a condition is marked as one to be trusted, as `populate()` marks that on the values it looks for. The symbol of `trusted()`;
 * `test/search/population` would have virtuals populated with nothing.
 */
export function isTrusted(condition: unknown): boolean {
  const isMark = ({ description }: symbol) => description === 'mongoose#trustedSymbol'
  return Object.getOwnPropertySymbols(Object(condition)).some(isMark)
}

/**
 * Whether a query is one of a `populate()` whose `match` is a function: of what it finds, Mongoose keeps what fits each record, by comparing in
 * memory. The option `_deferPopulate`, which 8 has not; `test/search/filters.test` would have nothing populated.
 */
export function isComparedInMemory(query: QueryHere): boolean {
  return query.getOptions()._deferPopulate === true
}

/** What the queries of a model have their methods of. */
function queriesOf(model: AnyModel): object {
  return (model as unknown as { Query: { prototype: object } }).Query.prototype
}

/** A value with what is stored of the documents in it in their place; copied where there is one. */
export function asStored(value: unknown): unknown {
  if (isDocument(value)) return (value as unknown as { toBSON(): unknown }).toBSON()
  if (Array.isArray(value)) {
    const items = Array.from(value, asStored)
    return items.some((item, index) => item !== value[index]) ? items : value
  }
  if (!isPlainObject(value)) return value
  let changed: Plain | undefined
  for (const key of Object.keys(value)) {
    const stored = asStored(value[key])
    if (stored !== value[key]) changed = { ...(changed ?? value), [key]: stored }
  }
  return changed ?? value
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
