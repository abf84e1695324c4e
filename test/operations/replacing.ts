import { loadAda as ada, changes, ofAda } from './changes'
import type { Row, Section, World } from './row'

const notLoaded = { pin: undefined, code: undefined }

const replacing = (name: string, run: (world: World, given: any) => Promise<unknown>, more: Partial<Row> = {}) =>
  changes(name, (world, given) => run(world, { name: 'Ada', ...given }), { replaces: true, ...more })

const replacements: Row[] = [
  replacing('replaceOne(filter, values)', ({ User, options }, given) => User.replaceOne(ofAda, given, options)),
  replacing('replaceOne(filter, document)', async (world, given) =>
    world.User.replaceOne(ofAda, new world.User({ _id: (await ada(world))._id, ...given }), world.options),
  ),
  replacing('findOneAndReplace(filter, document)', async (world, given) =>
    world.User.findOneAndReplace(ofAda, new world.User({ _id: (await ada(world))._id, ...given }), world.options),
  ),
  replacing('bulkWrite replaceOne by a document', async (world, given) =>
    world.User.bulkWrite(
      [{ replaceOne: { filter: ofAda, replacement: new world.User({ _id: (await ada(world))._id, ...given }) } }],
      world.options,
    ),
  ),
  replacing(
    'replaceOne by a loaded document',
    async (world, given) => {
      const doc = (await ada(world)).set(given)
      return world.User.replaceOne(ofAda, doc, world.options)
    },
    {
      replaces: false,
      clear: 'encrypted',
      opens: 2,
      after: (names) => ({ Ada: { [names.text]: names.value, [names.number]: names.newNumber, ...notLoaded } }),
      note: 'It is opened for that.',
    },
  ),
  replacing('replaceOne, { strict: false }', ({ User, options }, given) =>
    User.replaceOne(ofAda, given, { ...options, strict: false }),
  ),
  replacing(
    'replaceOne, { middleware: false }',
    ({ User, options }, given) => User.replaceOne(ofAda, given, { ...options, middleware: false }),
    { since: '9.2' },
  ),
  replacing('findOneAndReplace(filter, values)', ({ User, options }, given) =>
    User.findOneAndReplace(ofAda, given, options),
  ),
  replacing('bulkWrite replaceOne', ({ User, options }, given) =>
    User.bulkWrite([{ replaceOne: { filter: ofAda, replacement: given } }], options),
  ),
  replacing('connection.bulkWrite replaceOne', ({ User, connection, options }, given) =>
    connection.bulkWrite([{ model: User, name: 'replaceOne', filter: ofAda, replacement: given }] as never, options),
  ),
]

export const replacingRecords: Section = {
  title: 'Replacing records',
  introduction: 'A replacement brings a new data key. What it does not name is gone, as in any replacement.',
  rows: replacements,
}
