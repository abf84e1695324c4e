import type { Connection } from 'mongoose'
import type { World } from './row'

/** Whether the rows of the table are run in a transaction, by the name of it. */
export const places = { 'outside a transaction': false, 'inside a transaction': true }

/** Runs in a transaction, in which the records are made, too: whatever reads or writes outside of it misses them. */
export async function inTransaction(
  connection: Connection,
  inside: boolean,
  run: (options: World['options']) => Promise<void>,
): Promise<void> {
  if (!inside) return run({})
  await connection.transaction(async (session) => {
    await run({ session })
  })
}
