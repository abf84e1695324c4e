import type { Connection } from 'mongoose'
import { newBulk, prepareOperation, writeBulk } from './bulk'
import type { AnyModel } from './host'
import { reachesEncrypted } from './layout'

type BulkWrite = (this: Connection, operations: unknown, options?: object) => Promise<unknown>
type ConnectionOperation = { name?: string; model?: AnyModel | string } & Record<string, any>

const covered = new WeakSet<Connection>()

/** Lets `connection.bulkWrite()`, which runs no hooks of schemas, encrypt what it writes for models of this library. */
export function coverConnection(connection: Connection): void {
  if (covered.has(connection)) return
  covered.add(connection)
  const original = connection.bulkWrite as unknown as BulkWrite
  const bulkWrite: BulkWrite = async function bulkWrite(operations, options) {
    if (!Array.isArray(operations)) return original.call(this, operations, options)
    const bulk = newBulk(options ?? {})
    const prepared: unknown[] = []
    for (const [index, operation] of (operations as ConnectionOperation[]).entries()) {
      prepared.push(await prepareFor(this, bulk, operation, index))
    }
    return writeBulk(bulk, () => original.call(this, prepared, options))
  }
  connection.bulkWrite = bulkWrite as never
}

async function prepareFor(
  connection: Connection,
  bulk: ReturnType<typeof newBulk>,
  operation: ConnectionOperation,
  index: number,
) {
  const { name, model: given, ...rest } = operation ?? {}
  // What names no model or operation is for Mongoose to complain of.
  const model = typeof given === 'string' ? (connection.models[given] as AnyModel | undefined) : given
  if (name === undefined || !model?.schema || !reachesEncrypted(model.schema)) return operation
  return { ...(await prepareOperation(bulk, model, name, rest, index)), name, model: given }
}
