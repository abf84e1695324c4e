import type { Connection } from 'mongoose'
import { OperationError } from '../errors'
import type { AnyModel, Plain } from '../mongoose/host'
import { aroundExec, asStored, beforeCast, convertDocuments, whenSet } from '../mongoose/model'
import { checkArrayFilters } from '../queries/arrayfilters'
import { checkFilter, checkPath, checkSort } from '../queries/filter'
import { checkCast } from '../queries/indexvalue'
import { checkChanges } from '../queries/pipeline'
import { translateProjection } from '../queries/projection'
import { type Compare, translateFilter } from '../queries/translation'
import { itemsOf, optionsOf } from '../queries/values'
import type { Place } from '../schema/layout'
import { encryptedFieldOf } from '../schema/type'
import { bulkWrite } from './bulk'
import { beforeReading, gateAggregation, gateFind } from './cursors'
import { inFieldTerms } from './duplicates'
import { type Collection, type Gate, knownGate, type Native, newGate } from './gate'
import { insertMany, insertOne } from './insert'
import { lookupOf, lookupOfPipeline, whenReady } from './lookup'
import { updateMany } from './many'
import { refuseUnknown } from './plan'
import { isOfPopulate, populated } from './population'
import type { Sending } from './request'
import { updateOne } from './update'

/** What gives a cursor, stream or bulk at once, and thus must throw at once. */
const synchronous = new Set(['find', 'aggregate', 'watch', 'initializeOrderedBulkOp', 'initializeUnorderedBulkOp'])

/** What stores nothing, so that nothing can be stored twice. */
const storingNothing = new Set([
  ...synchronous,
  'findOne',
  'countDocuments',
  'count',
  'distinct',
  'deleteOne',
  'deleteMany',
  'findOneAndDelete',
])

/** What a method does, by the name that it is called by. The arguments are those of one call, and may be replaced. */
type Pass = (gate: Gate, args: any[], method: keyof Native) => any

const filtering: Pass = (gate, args, method) => {
  return whenReady(lookupOf(gate, args[0], gate.place(method), args[1]?.session), (sent) => {
    args[0] = sent
    return gate.native[method](...args)
  })
}

const reading: Pass = (gate, args, method) => {
  if (args[1]) args[1] = withProjection(gate, method, args[1])
  return filtering(gate, args, method)
}

const updating: Pass = (gate, args, method) => requested(gate, args, method, updateOne)

const passes: Record<string, Pass> = {
  find: (gate, [filter, options, ...rest], method) => {
    const { sent, pending } = lookupOf(gate, filter, gate.place(method), options?.session)
    const projected = options && withProjection(gate, method, options)
    return gateFind(gate, gate.native.find(sent, projected, ...rest), pending, options?.session)
  },
  findOne: reading,
  findOneAndDelete: reading,
  countDocuments: filtering,
  count: filtering,
  deleteMany: filtering,
  deleteOne: (gate, args, method) => {
    checkSort(gate.root, args[1]?.sort, gate.place(method))
    return filtering(gate, args, method)
  },
  distinct: (gate, [path, filter, ...rest], method) => {
    checkPath(gate.root, path, gate.place(method))
    return whenReady(lookupOf(gate, filter, gate.place(method), rest[0]?.session), (sent) =>
      gate.native.distinct(path, sent, ...rest),
    )
  },
  aggregate: (gate, [pipeline, ...rest], method) => {
    const rootOf = (name: string) => gate.layoutOfCollection(name)
    const look = (stages: unknown) => lookupOfPipeline(gate.root, stages, rootOf, gate.place(method))
    const { sent, pending } = look(pipeline)
    return gateAggregation(gate.native.aggregate(sent, ...rest), itemsOf(pipeline) ?? [], pending, look)
  },
  watch: (gate, [pipeline, ...rest]) => {
    checkStream(gate, pipeline)
    return gate.native.watch(pipeline, ...rest)
  },
  createIndex: async (gate, [keys, options, ...rest], method) => {
    checkFilter(gate.root, options?.partialFilterExpression, gate.place(method))
    return gate.native.createIndex(keys, options, ...rest)
  },
  createIndexes: async (gate, [indexes, ...rest], method) => {
    for (const index of itemsOf(indexes) ?? [])
      checkFilter(gate.root, optionsOf(index).partialFilterExpression, gate.place(method))
    return gate.native.createIndexes(indexes, ...rest)
  },
  insertOne: (gate, [document, options]) => insertOne(gate, document, options),
  insertMany: (gate, [documents, options]) => insertMany(gate, documents, options),
  bulkWrite: (gate, [operations, options]) => bulkWrite(gate, operations, options),
  updateMany: (gate, args, method) => requested(gate, args, method, updateMany),
  updateOne: updating,
  replaceOne: updating,
  findOneAndUpdate: updating,
  findOneAndReplace: updating,
  initializeOrderedBulkOp: refuseBulk,
  initializeUnorderedBulkOp: refuseBulk,
}

function refuseBulk(gate: Gate): never {
  throw new OperationError(
    'WRITE_REFUSED',
    `${gate.place('initializeBulkOp')}: what such a bulk writes is not encrypted. Use bulkWrite().`,
  )
}

/** Refuses a change stream that could not match what it is to match, before it is made: nobody waits for its errors. */
export function checkWatch(model: AnyModel, pipeline: unknown): void {
  const gate = gateOf(model.collection)
  if (!gate.layout.isClear) checkStream(gate, pipeline)
}

function checkStream(gate: Gate, pipeline: unknown): void {
  checkChanges(gate.root, pipeline, (name) => gate.layoutOfCollection(name), gate.place('watch'))
}

function withProjection(gate: Gate, method: string, options: Plain): Plain {
  const { sort, min, max, projection, fields } = options
  const place = gate.place(method)
  // Bounds of an index name paths as an order does.
  checkSort(gate.root, sort, place)
  checkSort(gate.root, min, place)
  checkSort(gate.root, max, place)
  const given = projection || fields
  const translated = given && translateProjection(gate.root, given, place)
  return translated ? { ...options, [projection ? 'projection' : 'fields']: translated } : options
}

/** Does a write, once its filter can be sent. */
function requested(
  gate: Gate,
  [filter, update, given]: any[],
  method: keyof Native,
  write: (gate: Gate, request: Sending) => Promise<any>,
): Promise<any> {
  const options = withProjection(gate, method, given ?? {})
  const place = gate.place(method)
  checkArrayFilters(gate.root, update, options.arrayFilters, place)
  const send: Sending['send'] = (where, sent, how) => gate.native[method](where, sent, how)
  return whenReady(lookupOf(gate, filter, place, options.session), (sent) =>
    write(gate, { method, filter: (sent ?? {}) as Plain, update, options, send }),
  )
}

/** The gate of a collection, whose methods are wrapped when it is first asked for. */
export function gateOf(collection: object): Gate {
  return knownGate(collection) ?? wrap(collection as Collection)
}

function wrap(collection: Collection): Gate {
  const gate = newGate(collection)
  for (const [name, pass] of Object.entries(passes)) {
    const native = collection[name]
    if (!native) continue
    collection[name] = (...args: any[]) => {
      try {
        // What is aggregated may lead to or come from another collection.
        if (gate.layout.isClear && name !== 'aggregate') return native.apply(collection, args)
        const passed = pass(gate, args, name as keyof Native)
        return storingNothing.has(name) ? passed : inOwnTerms(gate, passed)
      } catch (error) {
        // Mongoose 8 calls some of these from callbacks, where a throw would end the process.
        if (!synchronous.has(name)) return Promise.reject(error)
        if (name !== 'aggregate') throw error
        // A cursor that says it when it is read: nobody waits for what Mongoose 8 calls this from.
        return beforeReading(gate.native.aggregate([]), () => Promise.reject(error))
      }
    }
  }
  return gate
}

async function inOwnTerms(gate: Gate, passed: Promise<unknown>): Promise<unknown> {
  try {
    return await passed
  } catch (error) {
    throw inFieldTerms([gate], error)
  }
}

/** Looks over the operations of a bulk write as they are given: an operation that holds a document is copied with what is stored of it. */
export function checkBulk(model: AnyModel, operations: unknown): unknown {
  const { layout } = gateOf(model.collection)
  if (layout.isClear || !Array.isArray(operations)) return operations
  return operations.map((operation, index) => {
    const [[name, body] = []] = Object.entries((operation ?? {}) as Plain)
    const checked = checkOperation(model, body, `${model.modelName}.bulkWrite() operation ${index}`, layout)
    return checked === body ? operation : { ...operation, [name as string]: checked }
  })
}

/** The same of one, in the form of either kind of bulk write. */
export function checkOperation(
  model: AnyModel,
  body: unknown,
  place: string,
  layout: Place = gateOf(model.collection).layout,
): unknown {
  if (layout.isClear || typeof body !== 'object' || body === null) return body
  const { filter, update, replacement } = body as Plain
  translateFilter(layout, filter, place, knownTo(model))
  refuseUnknown(layout, update, model.schema, place)
  const stored = { update: asStored(update), replacement: asStored(replacement) }
  if (stored.update !== update) return { ...body, update: stored.update }
  return stored.replacement === replacement ? body : { ...body, replacement: stored.replacement }
}

/**
 * Of a path that its schema does not have, Mongoose may strip the condition, and everything would match; the error of what it cannot cast
 * would hold the value.
 */
function knownTo({ schema, modelName }: AnyModel): Compare {
  return (_index, heres, values, place) => {
    for (const [position, here] of heres.entries()) {
      const { field, within } = here
      if (encryptedFieldOf(schema.path(`${within}${field.name}`) as never)?.field === field) {
        for (const value of itemsOf(values[position]) ?? [values[position]]) checkCast(here, value, place)
        continue
      }
      throw new OperationError(
        'QUERY_REFUSED',
        `${place}: ${within}${field.name} is a field of another model of the collection, and not of ${modelName}. Ask that model.`,
      )
    }
    return values
  }
}

const gated = new WeakSet<AnyModel>()

/** Has all that a model sends pass the gate of its collection, also where it is given another one, or another connection, later. */
export function gateModel(model: AnyModel, coverConnection: (connection: Connection) => void): void {
  if (gated.has(model)) return
  gated.add(model)
  whenSet(model, 'db', coverConnection)
  whenSet(model, 'collection', (collection) => gateOf(collection).models.add(model))
  convertDocuments(model)
  // Mongoose leaves out of a filter what the schema does not know, such as the fields of a discriminator.
  beforeCast(model, (filter, update, operation) => {
    const { layout } = gateOf(model.collection)
    if (layout.isClear) return
    const place = `${model.modelName}.${operation}()`
    translateFilter(layout, filter, place, knownTo(model))
    refuseUnknown(layout, update, model.schema, place)
  })
  aroundExec(model, (exec, query) => {
    if (!isOfPopulate(query)) return exec()
    const { layout } = gateOf(model.collection)
    return layout.isClear ? exec() : populated(layout, query, exec)
  })
}
