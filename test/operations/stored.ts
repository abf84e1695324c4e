import { changes, loadAda, ofAda } from './changes'
import type { Row, Section, World } from './row'

const planted = Buffer.alloc(80, 1)

/** An assignment to where a field is stored, as of a request body that names it. */
function assigns(name: string, run: (world: World, given: any) => Promise<unknown>, more: Partial<Row> = {}): Row {
  return changes(name, run, {
    encrypted: 'STORED_PATH_ASSIGNED',
    given: (names) => ({ [names.storedText]: names.storedText === names.text ? names.value : planted }),
    after: (names) => ({ Ada: { [names.text]: names.value } }),
    ...more,
  })
}

const creates: Partial<Row> = { after: (names) => ({ Eve: { [names.text]: names.value } }) }
const name = 'Eve'

const rows: Row[] = [
  assigns(
    'new Model({ encrypted_email })',
    async ({ User, options }, given) => new User({ name, ...given }).save(options),
    creates,
  ),
  assigns(
    'Model.create({ encrypted_email })',
    ({ User, options }, given) => User.create([{ name, ...given }], options),
    creates,
  ),
  assigns(
    'Model.create({ encrypted_kms_key })',
    ({ User, options }, given) => User.create([{ name, ...given }], options),
    {
      ...creates,
      given: (names) =>
        names.storedText === names.text
          ? { [names.text]: names.value }
          : {
              encrypted_kms_key: [
                { version: 1, keyId: 'x', wrapped: planted, commitment: planted, createdAt: new Date() },
              ],
            },
    },
  ),
  assigns(
    'Model.insertOne({ encrypted_email })',
    ({ User, options }, given) => User.insertOne({ name, ...given }, options),
    creates,
  ),
  assigns('Model.insertMany', ({ User, options }, given) => User.insertMany([{ name, ...given }], options), creates),
  assigns(
    'Model.insertMany, { lean: true }',
    ({ User, options }, given) => User.insertMany([{ name, ...given }], { ...options, lean: true }),
    creates,
  ),
  assigns(
    'Model.bulkWrite insertOne',
    ({ User, options }, given) => User.bulkWrite([{ insertOne: { document: { name, ...given } } }], options),
    creates,
  ),
  assigns(
    'connection.bulkWrite insertOne',
    ({ User, connection, options }, given) =>
      connection.bulkWrite([{ model: User, name: 'insertOne', document: { name, ...given } }] as never, options),
    creates,
  ),
  assigns('document.set({ encrypted_email })', async (world, given) => (await loadAda(world)).set(given).save()),
  assigns('document.encrypted_email = value', async (world, given) =>
    Object.assign(await loadAda(world), given).save(),
  ),
  assigns('document.updateOne', async (world, given) => (await loadAda(world)).updateOne(given, world.options)),
  assigns('updateOne({ encrypted_email })', ({ User, options }, given) => User.updateOne(ofAda, given, options)),
  assigns('updateOne $set', ({ User, options }, given) => User.updateOne(ofAda, { $set: given }, options)),
  assigns('updateOne, { strict: false }', ({ User, options }, given) =>
    User.updateOne(ofAda, given, { ...options, strict: false }),
  ),
  assigns(
    'updateOne, { middleware: false }',
    ({ User, options }, given) => User.updateOne(ofAda, given, { ...options, middleware: false }),
    { since: '9.2' },
  ),
  assigns('updateOne to null', ({ User, options }, given) => User.updateOne(ofAda, given, options), {
    given: (names) => ({ [names.storedText]: null }),
    after: (names) => ({ Ada: { [names.text]: null } }),
  }),
  assigns('updateOne $unset', ({ User, options }, given) => User.updateOne(ofAda, { $unset: given }, options), {
    given: (names) => Object.fromEntries(names.stored.map((path) => [path, 1])),
    after: (names) => ({ Ada: { [names.text]: undefined } }),
  }),
  assigns('updateOne $rename', ({ User, options }, given) => User.updateOne(ofAda, given, options), {
    given: (names) => ({ $rename: { [`extra.${names.storedText}`]: names.storedText } }),
    after: () => ({}),
  }),
  assigns(
    'updateOne $push to the keys',
    ({ User, options }, given) => User.updateOne(ofAda, { $push: given }, options),
    {
      given: (names) => (names.storedText === names.text ? { labels: 'x' } : { encrypted_kms_key: { version: 1 } }),
      after: (names) => ({ Ada: { labels: [names.item, 'x'] } }),
    },
  ),
  assigns('updateMany', ({ User, options }, given) => User.updateMany(ofAda, given, options)),
  assigns('findOneAndUpdate', ({ User, options }, given) => User.findOneAndUpdate(ofAda, given, options)),
  assigns(
    'upsert',
    ({ User, options }, given) => User.updateOne({ name }, given, { ...options, upsert: true }),
    creates,
  ),
  assigns(
    'upsert by a filter',
    ({ User, options }, given) => User.updateOne({ name, ...given }, { age: 7 }, { ...options, upsert: true }),
    { after: (names) => ({ Eve: { [names.text]: names.value, age: 7 } }) },
  ),
  assigns('pipeline $set', ({ User, options }, given) =>
    User.updateOne(ofAda, [{ $set: given }], { ...options, updatePipeline: true }),
  ),
  assigns('bulkWrite updateOne', ({ User, options }, given) =>
    User.bulkWrite([{ updateOne: { filter: ofAda, update: given } }], options),
  ),
  assigns('replaceOne', ({ User, options }, given) => User.replaceOne(ofAda, { ...ofAda, ...given }, options), {
    replaces: true,
  }),
  assigns(
    'findOneAndReplace',
    ({ User, options }, given) => User.findOneAndReplace(ofAda, { ...ofAda, ...given }, options),
    { replaces: true },
  ),
  assigns(
    'bulkWrite replaceOne',
    ({ User, options }, given) =>
      User.bulkWrite([{ replaceOne: { filter: ofAda, replacement: { ...ofAda, ...given } } }], options),
    { replaces: true },
  ),
]

export const stored: Section = {
  title: 'Assigning what is stored',
  introduction:
    'Nobody but the library writes ciphertext and wrapped keys. So a request body that names `encrypted_email` or `encrypted_kms_key` plants nothing.',
  rows,
}
