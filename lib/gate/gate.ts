import { OperationError } from '../errors'
import { type AnyModel, type AnySchema, type Host, hostOf, type Plain } from '../mongoose/host'
import { beforeCast, convertDocuments, whenSet } from '../mongoose/model'
import { childSchemasOf, discriminatorsOf } from '../mongoose/schema'
import { checkArrayFilters } from '../queries/arrayfilters'
import { checkPath, checkSort, translateFilter } from '../queries/filter'
import { translatePipeline } from '../queries/pipeline'
import { translateProjection } from '../queries/projection'
import { learnDependencies } from '../record/context'
import { nameOf } from '../record/identity'
import { fieldsBelow, layoutOf, type Place } from '../schema/layout'
import type { Use } from '../schema/use'
import { usesOf } from '../schema/uses'
import { bulkWrite } from './bulk'
import { insertMany, insertOne } from './insert'
import { updateMany } from './many'
import { refuseUnknown } from './plan'
import { updateOne } from './update'

/**
 * Where everything passes that Mongoose, its plugins and the application send to a collection: its methods are wrapped, once for
 * each collection object. In comes what is about to be sent, after every hook and cast; out goes what holds envelopes where values
 * were, tied to their records. Keeps invariants 1, 2 and 3 of the design.
 */
export class Gate {
  /** The models that store in this collection. */
  readonly models = new Set<AnyModel>()
  /** The collection's own methods. */
  readonly native: Native
  #layout: Place = layoutOf([])
  #shape = ''

  constructor(collection: Collection) {
    this.native = Object.fromEntries(wrapped.map((name) => [name, collection[name]?.bind(collection)])) as never
    for (const [name, pass] of Object.entries(passes)) {
      const native = collection[name]
      if (!native) continue
      collection[name] = (...args: any[]) => {
        if (this.layout.isClear) return native.apply(collection, args)
        // Mongoose 8 calls some of these from callbacks, where a throw would end the process.
        return synchronous.has(name) ? pass(this, args) : Promise.resolve().then(() => pass(this, args))
      }
    }
  }

  /** What is encrypted in this collection, and where. */
  get layout(): Place {
    // Discriminators, of subdocuments too, come to a schema after its model was compiled.
    let shape = ''
    for (const { schema } of this.models) shape += shapeOf(schema, new Set())
    if (shape !== this.#shape) {
      this.#shape = shape
      this.#layout = layoutOf(this.models)
    }
    return this.#layout
  }

  get host(): Host {
    const [model] = this.models
    return hostOf(model!.schema)
  }

  /** The uses of the plugin whose fields are stored here. */
  get uses(): Set<Use> {
    return new Set(fieldsBelow(this.layout).flatMap(({ place }) => place.fields.map(({ use }) => use)))
  }

  /** Names an operation in messages. */
  place(method: string): string {
    const [model] = this.models
    return `${nameOf(model ?? {})}.${method}()`
  }

  /** The layout of another collection of the same connection, by its name. */
  layoutOfCollection(name: string): Place | undefined {
    const [model] = this.models
    const others = Object.values((model?.db.models ?? {}) as Record<string, AnyModel>)
    const other = others.find((each) => each.collection.name === name)
    const layout = other && gates.get(other.collection as never)?.layout
    return layout?.isClear ? undefined : layout
  }
}

type Collection = Record<string, (...args: any[]) => any>

/** The methods that are sent to, past the gate. */
type Native = {
  readonly [name in (typeof wrapped)[number]]: (...args: any[]) => any
}

const wrapped = [
  'find',
  'findOne',
  'countDocuments',
  'distinct',
  'aggregate',
  'deleteOne',
  'deleteMany',
  'findOneAndDelete',
  'insertOne',
  'insertMany',
  'updateOne',
  'updateMany',
  'replaceOne',
  'findOneAndUpdate',
  'findOneAndReplace',
  'bulkWrite',
] as const

/** What gives a cursor or a bulk at once, and thus must throw at once. */
const synchronous = new Set(['find', 'aggregate', 'initializeOrderedBulkOp', 'initializeUnorderedBulkOp'])

type Pass = (gate: Gate, args: any[]) => any

const passes: Record<string, Pass> = {
  find: (gate, [filter, options, ...rest]) => gate.native.find(...read(gate, 'find', filter, options), ...rest),
  findOne: (gate, [filter, options, ...rest]) =>
    gate.native.findOne(...read(gate, 'findOne', filter, options), ...rest),
  countDocuments: (gate, [filter, ...rest]) =>
    gate.native.countDocuments(condition(gate, 'countDocuments', filter), ...rest),
  distinct: (gate, [path, filter, ...rest]) => {
    checkPath(gate.layout, path, gate.place('distinct'))
    return gate.native.distinct(path, condition(gate, 'distinct', filter), ...rest)
  },
  aggregate: (gate, [pipeline, ...rest]) => {
    const layoutOfOther = (name: string) => gate.layoutOfCollection(name)
    return gate.native.aggregate(
      translatePipeline(gate.layout, pipeline, layoutOfOther, gate.place('aggregate')),
      ...rest,
    )
  },
  deleteOne: (gate, [filter, options]) => {
    checkSort(gate.layout, options?.sort, gate.place('deleteOne'))
    return gate.native.deleteOne(condition(gate, 'deleteOne', filter), options)
  },
  deleteMany: (gate, [filter, options]) => gate.native.deleteMany(condition(gate, 'deleteMany', filter), options),
  findOneAndDelete: (gate, [filter, options]) =>
    gate.native.findOneAndDelete(...read(gate, 'findOneAndDelete', filter, options)),
  insertOne: (gate, [document, options]) => insertOne(gate, document, options),
  insertMany: (gate, [documents, options]) => insertMany(gate, documents, options),
  bulkWrite: (gate, [operations, options]) => bulkWrite(gate, operations, options),
  updateMany: (gate, args) => updateMany(gate, requestOf(gate, 'updateMany', args)),
  updateOne: (gate, args) => updateOne(gate, requestOf(gate, 'updateOne', args)),
  replaceOne: (gate, args) => updateOne(gate, requestOf(gate, 'replaceOne', args)),
  findOneAndUpdate: (gate, args) => updateOne(gate, requestOf(gate, 'findOneAndUpdate', args)),
  findOneAndReplace: (gate, args) => updateOne(gate, requestOf(gate, 'findOneAndReplace', args)),
  initializeOrderedBulkOp: refuseBulk,
  initializeUnorderedBulkOp: refuseBulk,
}

function refuseBulk(gate: Gate): never {
  throw new OperationError(
    'WRITE_REFUSED',
    `${gate.place('initializeBulkOp')}: what such a bulk writes is not encrypted. Use bulkWrite().`,
  )
}

function condition(gate: Gate, method: string, filter: unknown): unknown {
  return translateFilter(gate.layout, filter, gate.place(method))
}

/** Filter and options of what reads records. */
function read(gate: Gate, method: string, filter: unknown, options: Plain | undefined): [unknown, Plain | undefined] {
  return [condition(gate, method, filter), withProjection(gate, method, options)]
}

function withProjection(gate: Gate, method: string, options: Plain | undefined): Plain | undefined {
  if (!options) return options
  const place = gate.place(method)
  checkSort(gate.layout, options.sort, place)
  for (const model of gate.models) learnDependencies(model, usesOf(model.schema))
  const key = options.projection ? 'projection' : options.fields ? 'fields' : undefined
  const projection = key && translateProjection(gate.layout, options[key], place)
  return projection ? { ...options, [key as string]: projection } : options
}

function requestOf(gate: Gate, method: keyof Native, [filter, update, given]: any[]) {
  const options = withProjection(gate, method, given ?? {}) as Plain
  const place = gate.place(method)
  checkArrayFilters(gate.layout, update, options.arrayFilters, place)
  return {
    method,
    filter: (condition(gate, method, filter) ?? {}) as Plain,
    update,
    options,
    send: (where: Plain, sent: unknown, how: Plain) => gate.native[method](where, sent, how),
  }
}

const gates = new WeakMap<Collection, Gate>()

/** The gate of a collection. */
export function gateOf(collection: object): Gate {
  let gate = gates.get(collection as Collection)
  if (!gate) {
    gate = new Gate(collection as Collection)
    gates.set(collection as Collection, gate)
  }
  return gate
}

const gated = new WeakSet<AnyModel>()

/** Has all that a model sends pass the gate of its collection, also where it is given another one later. */
export function gateModel(model: AnyModel): void {
  if (gated.has(model)) return
  gated.add(model)
  whenSet(model, 'collection', (collection) => gateOf(collection).models.add(model))
  convertDocuments(model)
  // Mongoose leaves out of a filter what the schema does not know, such as the fields of a discriminator.
  beforeCast(model, (filter, update, operation) => {
    const { layout } = gateOf(model.collection)
    if (layout.isClear) return
    const place = `${model.modelName}.${operation}()`
    translateFilter(layout, filter, place)
    refuseUnknown(layout, update, model.schema, place)
  })
}

/** Tells one state of a schema and what it holds from another: by its paths and discriminators. */
function shapeOf(schema: AnySchema, seen: Set<AnySchema>): string {
  if (seen.has(schema)) return ''
  seen.add(schema)
  const own = discriminatorsOf(schema)
  const parts = [...own, ...childSchemasOf(schema)].map((each) => shapeOf(each, seen))
  return `${Object.keys(schema.paths).length}:${own.length}(${parts.join(',')})`
}
