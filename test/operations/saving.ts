import { loadAda as ada, changes, empty, gone, values } from './changes'
import { everything } from './models'
import { clear, encrypted, type Row, type Section } from './row'

/** What is not loaded with a record. */
const unloaded = Object.fromEntries([encrypted, clear].map((names) => [names.hidden, everything(names)[names.hidden]]))

const documents: Row[] = [
  changes('document.set(values), save()', async (world, given) => (await ada(world)).set(given).save()),
  changes('document.field = value, save()', async (world, given) => Object.assign(await ada(world), given).save()),
  changes('document.set(field, value), save()', async (world, given) => {
    const doc = await ada(world)
    for (const [path, value] of Object.entries(given)) doc.set(path, value)
    await doc.save()
  }),
  changes('document.field = null, save()', async (world, given) => Object.assign(await ada(world), given).save(), {
    given: ({ text }) => ({ [text]: null }),
    after: empty,
    note: 'Null is stored as it is.',
  }),
  changes('document.field = undefined, save()', async (world, given) => Object.assign(await ada(world), given).save(), {
    given: ({ text }) => ({ [text]: undefined }),
    after: gone,
    note: 'The field is removed.',
  }),
  changes('document.$set(values), save()', async (world, given) => (await ada(world)).$set(given).save()),
  changes('save({ validateBeforeSave: false }) of a change', async (world, given) =>
    (await ada(world)).set(given).save({ validateBeforeSave: false }),
  ),
  changes(
    'save({ middleware: false }) of a change',
    async (world, given) => (await ada(world)).set(given).save({ middleware: false }),
    { since: '9.2' },
  ),
  changes(
    'document.overwrite(values), save()',
    async (world, given) => {
      const doc = await ada(world)
      await doc.overwrite({ name: 'Ada', ...given }).save()
    },
    {
      replaces: true,
      after: (names) => ({ Ada: { ...values(names), ...unloaded } }),
      note: 'Fields that were not loaded stay.',
    },
  ),
  changes('Model.bulkSave(changed documents)', async (world, given) =>
    world.User.bulkSave([(await ada(world)).set(given)], world.options),
  ),
  changes('document.updateOne(values)', async (world, given) => (await ada(world)).updateOne(given, world.options)),
  changes('document.updateOne({ $set: values })', async (world, given) =>
    (await ada(world)).updateOne({ $set: given }, world.options),
  ),
  changes(
    'document.replaceOne(values)',
    async (world, given) => (await ada(world)).replaceOne({ name: 'Ada', ...given }, world.options),
    { replaces: true },
  ),
]

export const savingDocuments: Section = {
  title: 'Saving documents',
  introduction:
    'A save encrypts the fields that were changed, under the data key that the record has. Other fields keep their ciphertext.',
  rows: documents,
}
