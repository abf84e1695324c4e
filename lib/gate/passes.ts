import type { Connection } from 'mongoose'
import { OperationError } from '../errors'
import type { AnyModel, Plain } from '../mongoose/host'
import { asStored, beforeCast, convertDocuments, whenSet } from '../mongoose/model'
import { checkArrayFilters } from '../queries/arrayfilters'
import { checkFilter, checkPath, checkSort } from '../queries/filter'
import { checkPipeline } from '../queries/pipeline'
import { translateProjection } from '../queries/projection'
import { learnDependencies } from '../record/context'
import { usesOf } from '../schema/uses'
import { bulkWrite } from './bulk'
import { type Collection, type Gate, knownGate, type Native, newGate } from './gate'
import { insertMany, insertOne } from './insert'
import { updateMany } from './many'
import { refuseUnknown } from './plan'
import type { Sending } from './request'
import { updateOne } from './update'

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
    checkPipeline(gate.layout, pipeline, layoutOfOther, gate.place('aggregate'))
    return gate.native.aggregate(pipeline, ...rest)
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
  checkFilter(gate.layout, filter, gate.place(method))
  return filter
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

function requestOf(gate: Gate, method: keyof Native, [filter, update, given]: any[]): Sending {
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
      // What is aggregated may lead to or come from another collection.
      if (gate.layout.isClear && name !== 'aggregate') return native.apply(collection, args)
      // Mongoose 8 calls some of these from callbacks, where a throw would end the process.
      if (!synchronous.has(name)) return Promise.resolve().then(() => pass(gate, args))
      try {
        return pass(gate, args)
      } catch (error) {
        if (name !== 'aggregate') throw error
        // A cursor that says it when it is read: nobody waits for what Mongoose 8 calls this from.
        return refusing(gate.native.aggregate([]), error)
      }
    }
  }
  return gate
}

/** Looks over the operations of a bulk write as they are given: an operation that holds a document is copied with what is stored of it. */
export function checkBulk(model: AnyModel, operations: unknown): unknown {
  const { layout } = gateOf(model.collection)
  if (layout.isClear || !Array.isArray(operations)) return operations
  return operations.map((operation, index) => {
    const [[name, body] = []] = Object.entries((operation ?? {}) as Plain)
    const checked = checkOperation(model, body, `${model.modelName}.bulkWrite() operation ${index}`)
    return checked === body ? operation : { ...operation, [name as string]: checked }
  })
}

/** The same of one, in the form of either kind of bulk write. */
export function checkOperation(model: AnyModel, body: unknown, place: string): unknown {
  const { layout } = gateOf(model.collection)
  if (layout.isClear || typeof body !== 'object' || body === null) return body
  const { filter, update, replacement } = body as Plain
  checkFilter(layout, filter, place)
  refuseUnknown(layout, update, model.schema, place)
  const stored = { update: asStored(update), replacement: asStored(replacement) }
  if (stored.update !== update) return { ...body, update: stored.update }
  return stored.replacement === replacement ? body : { ...body, replacement: stored.replacement }
}

/** A cursor that gives an error in the place of everything. */
function refusing(cursor: Plain, error: unknown): Plain {
  const refuse = () => Promise.reject(error)
  for (const name of ['next', 'tryNext', 'hasNext', 'toArray', 'forEach', 'explain']) cursor[name] = refuse
  return Object.assign(cursor, { [Symbol.asyncIterator]: () => ({ next: refuse }) })
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
    checkFilter(layout, filter, place)
    refuseUnknown(layout, update, model.schema, place)
  })
}
