import type { Connection } from 'mongoose'
import type { AnyModel, Plain } from '../mongoose/host'
import { whenSet } from '../mongoose/model'
import { checkPipeline } from '../queries/pipeline'
import { allInOrder } from '../record/outcomes'
import { Place } from '../schema/layout'
import { type Begun, type Bulk, begin, newBulk, type Prepared, sendBulk } from './bulk'
import { inFieldTerms } from './duplicates'
import { type Gate, layoutIn } from './gate'
import { checkOperation, gateOf } from './passes'

const covered = new WeakSet<object>()

/** Has `connection.bulkWrite()`, which writes to many collections by the client, pass the gates of those. */
export function gateConnection(connection: Connection): void {
  if (covered.has(connection)) return
  covered.add(connection)
  whenSet(connection, 'client', (client) => gateClient(connection, client))
  const native = connection.bulkWrite as (...args: any[]) => Promise<unknown>
  connection.bulkWrite = async function bulkWrite(this: Connection, operations: unknown, ...rest: unknown[]) {
    if (!Array.isArray(operations)) return native.call(this, operations, ...rest)
    const checked = (operations as Plain[]).map((operation, index) => {
      const { model } = operation ?? {}
      const own = typeof model === 'string' ? this.models[model] : model
      return own?.schema ? checkOperation(own, operation, `${own.modelName}.bulkWrite() operation ${index}`) : operation
    })
    return native.call(this, checked, ...rest)
  } as never
  const aggregate = connection.aggregate as (...args: any[]) => Plain
  connection.aggregate = function aggregateChecked(this: Connection, ...args: unknown[]) {
    return checkedAggregation(this, aggregate.apply(this, args))
  } as never
}

/** An aggregation of the database itself reads no records, and may write what it computes to where some are. */
function checkedAggregation(connection: Connection, aggregation: Plain): Plain {
  const { exec, cursor, pipeline } = aggregation as Record<string, (...args: unknown[]) => unknown>
  const check = () =>
    checkPipeline(
      new Place(),
      pipeline!.call(aggregation),
      (name) => layoutIn(connection, name),
      'connection.aggregate()',
    )
  return Object.assign(aggregation, {
    async exec(...args: unknown[]) {
      check()
      return exec!.apply(aggregation, args)
    },
    cursor(...args: unknown[]) {
      check()
      return cursor!.apply(aggregation, args)
    },
  })
}

/** The connections to databases of their own that share a client. Mongoose itself does not know all of them. */
const sharing = new WeakMap<object, Set<Connection>>()

function gateClient(connection: Connection, client: { bulkWrite?: (...args: any[]) => Promise<any> }): void {
  const native = client.bulkWrite
  const connections = sharing.get(client) ?? new Set()
  sharing.set(client, connections.add(connection))
  if (!native || covered.has(client)) return
  covered.add(client)
  client.bulkWrite = async (models: readonly Plain[], options: Plain = {}) => {
    const bulks = new Map<Gate, Bulk>()
    const begun: Begun[] = []
    const namespaces = gatesOf([...connection.base.connections, ...connections])
    const some = models.map(({ namespace }) => namespaces.get(namespace)).find((gate) => gate !== undefined)
    if (!some) return native.call(client, models, options)
    for (const [index, { namespace, name, ...body }] of models.entries()) {
      const gate = namespaces.get(namespace)
      if (!gate) {
        // What is for a collection that no model is of goes along as it is.
        const operation = { [name]: body }
        begun.push(async () => named(namespace, name, { gate: some, operation, sealed: [], matches: undefined }))
        continue
      }
      const bulk = bulks.get(gate) ?? newBulk(gate, operationsOf(models, namespace), options)
      bulks.set(gate, bulk)
      const encrypt = await begin(bulk, { [name]: body }, index)
      begun.push(async () => named(namespace, name, await encrypt()))
    }
    const prepared = await allInOrder(begun.map((encrypt) => encrypt()))
    try {
      return await sendBulk(prepared, options, (operations) => native.call(client, operations, options))
    } catch (error) {
      throw inFieldTerms(bulks.keys(), error)
    }
  }
}

/** The operations for one collection, in the form that a collection takes. */
function operationsOf(models: readonly Plain[], namespace: unknown): Plain[] {
  return models.filter((model) => model.namespace === namespace).map(({ name, ...body }) => ({ [name]: body }))
}

/** An operation in the form that the client takes. */
function named(namespace: unknown, name: unknown, { operation, ...rest }: Prepared): Prepared {
  const [body] = Object.values(operation) as Plain[]
  return { ...rest, operation: { namespace, name, ...body } }
}

/** The gates of the collections of connections, by their namespaces. */
function gatesOf(connections: readonly Connection[]): Map<string, Gate> {
  const models = connections.flatMap((each) => Object.values(each.models) as AnyModel[])
  return new Map(models.map((model) => [`${model.db.name}.${model.collection.name}`, gateOf(model.collection)]))
}
