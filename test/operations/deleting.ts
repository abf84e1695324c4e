import { loadAda } from './changes'
import type { Row, Section, World } from './row'

/** Deletes Ada by whether a field is there. */
function deletes(name: string, run: (world: World, filter: any) => Promise<unknown>, more: Partial<Row> = {}): Row {
  return {
    name,
    encrypted: 'honoured',
    given: ({ text }) => ({ [text]: { $ne: null } }),
    run,
    after: () => ({ Ada: null }),
    ...more,
  }
}

export const deleting: Section = {
  title: 'Deleting records',
  introduction: 'A record is deleted with its key and ciphertext. Here the filter asks whether a field is there.',
  rows: [
    deletes('deleteOne(filter)', ({ User, options }, filter) => User.deleteOne(filter, options)),
    deletes('deleteMany(filter)', ({ User, options }, filter) => User.deleteMany(filter, options)),
    deletes('findOneAndDelete(filter)', ({ User, options }, filter) => User.findOneAndDelete(filter, options)),
    deletes('bulkWrite deleteOne', ({ User, options }, filter) => User.bulkWrite([{ deleteOne: { filter } }], options)),
    deletes('bulkWrite deleteMany', ({ User, options }, filter) =>
      User.bulkWrite([{ deleteMany: { filter } }], options),
    ),
    deletes('connection.bulkWrite deleteMany', ({ User, connection, options }, filter) =>
      connection.bulkWrite([{ model: User, name: 'deleteMany', filter }] as never, options),
    ),
    deletes('document.deleteOne()', async (world) => (await loadAda(world)).deleteOne(world.options), {
      encrypted: 'as usual',
    }),
    deletes(
      'findByIdAndDelete(id)',
      async (world) => world.User.findByIdAndDelete((await loadAda(world))._id, world.options),
      {
        encrypted: 'as usual',
      },
    ),
  ],
}
