import type { Connection } from 'mongoose'
import { check, isThere, type Setting, unlessLacking } from './check'
import { kinds, type World } from './row'
import { table } from './table'

/** Whether the rows of the table are run in a transaction, by the name of it. */
const places = { 'outside a transaction': false, 'inside a transaction': true }

/** Runs in a transaction, in which the records are made, too: whatever reads or writes outside of it misses them. */
async function inTransaction(
  connection: Connection,
  inside: boolean,
  run: (options: World['options']) => Promise<void>,
): Promise<void> {
  if (!inside) return run({})
  await connection.transaction(async (session) => {
    await run({ session })
  })
}

/** Tests every row of the table, with fields of each kind, outside a transaction and inside one. */
export function testTable(setting: Setting): void {
  for (const [place, inside] of Object.entries(places)) {
    for (const { title, rows } of table) {
      describe(`${place}, ${title}`, () => {
        for (const row of rows.filter(isThere)) {
          test.each(kinds)(`${row.name}, %s`, (kind) =>
            unlessLacking(row, () =>
              inTransaction(setting.connection, inside, (options) => check(setting, row, kind, options)),
            ),
          )
        }
      })
    }
  }
}
