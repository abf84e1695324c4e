import mongoose from 'mongoose'
import { changes, loadAda, ofAda } from './changes'
import { encrypted, type Names, type Row, type Section, type Values, type World } from './row'

const { Binary } = mongoose.mongo.BSON
const bytes = new Binary(Buffer.alloc(80, 1))
const entry = { version: 1, keyId: 'x', wrapped: bytes, commitment: bytes, createdAt: new Date(0) }
const name = 'Eve'

/** Whether these are the names of encrypted fields: a twin in the clear is assigned a value instead of what is stored. */
const isEncrypted = ({ text }: Names) => text === encrypted.text

/** An assignment of wrapped keys, as of a request body that names them. */
function plants(row: string, run: (world: World, given: any) => Promise<unknown>, more: Partial<Row> = {}): Row {
  return changes(row, run, {
    encrypted: 'STORED_PATH_ASSIGNED',
    given: (names) => (isEncrypted(names) ? { encrypted_kms_key: [entry] } : { [names.text]: names.value }),
    after: (names): Record<string, Values> => ({ Ada: isEncrypted(names) ? {} : { [names.text]: names.value } }),
    ...more,
  })
}

const ignored = { encrypted: 'ignored' } as const
const makes: Partial<Row> = {
  after: (names): Record<string, Values> => ({ Eve: isEncrypted(names) ? {} : { [names.text]: names.value } }),
}
const makesIgnoring: Partial<Row> = { ...makes, ...ignored }
/** What a document has none of, it cannot be given. */
const partOfKeys: Partial<Row> = {
  given: (names) => (isEncrypted(names) ? { 'encrypted_kms_key.0': entry } : { [names.text]: names.value }),
}

const keys: Row[] = [
  plants(
    'new Model({ encrypted_kms_key })',
    async ({ User, options }, given) => new User({ name, ...given }).save(options),
    makesIgnoring,
  ),
  plants(
    'Model.create({ encrypted_kms_key })',
    ({ User, options }, given) => User.create([{ name, ...given }], options),
    makesIgnoring,
  ),
  plants(
    "Model.create({ 'encrypted_kms_key.0' })",
    ({ User, options }, given) => User.create([{ name, ...given }], options),
    { ...makesIgnoring, ...partOfKeys },
  ),
  plants(
    'Model.insertOne({ encrypted_kms_key })',
    ({ User, options }, given) => User.insertOne({ name, ...given }, options),
    makesIgnoring,
  ),
  plants(
    'Model.insertMany',
    ({ User, options }, given) => User.insertMany([{ name, ...given }], options),
    makesIgnoring,
  ),
  plants(
    'Model.insertMany, { lean: true }',
    ({ User, options }, given) => User.insertMany([{ name, ...given }], { ...options, lean: true }),
    makes,
  ),
  plants(
    'Model.bulkWrite insertOne',
    ({ User, options }, given) => User.bulkWrite([{ insertOne: { document: { name, ...given } } }], options),
    makesIgnoring,
  ),
  plants(
    'connection.bulkWrite insertOne',
    ({ User, connection, options }, given) =>
      connection.bulkWrite([{ model: User, name: 'insertOne', document: { name, ...given } }] as never, options),
    makesIgnoring,
  ),
  plants(
    'Model.collection.insertOne',
    ({ User, options }, given) => User.collection.insertOne({ name, ...given }, options),
    makes,
  ),
  plants(
    'document.set({ encrypted_kms_key })',
    async (world, given) => (await loadAda(world)).set(given).save(),
    ignored,
  ),
  plants("document.set({ 'encrypted_kms_key.0' })", async (world, given) => (await loadAda(world)).set(given).save(), {
    ...ignored,
    ...partOfKeys,
  }),
  plants(
    'document.encrypted_kms_key = value',
    async (world, given) => Object.assign(await loadAda(world), given).save(),
    ignored,
  ),
  plants('document.updateOne', async (world, given) => (await loadAda(world)).updateOne(given, world.options)),
  plants('updateOne({ encrypted_kms_key })', ({ User, options }, given) => User.updateOne(ofAda, given, options)),
  plants('updateOne $set', ({ User, options }, given) => User.updateOne(ofAda, { $set: given }, options)),
  plants('updateOne, { strict: false }', ({ User, options }, given) =>
    User.updateOne(ofAda, given, { ...options, strict: false }),
  ),
  plants(
    'updateOne, { middleware: false }',
    ({ User, options }, given) => User.updateOne(ofAda, given, { ...options, middleware: false }),
    { since: '9.2' },
  ),
  plants('Model.collection.updateOne', ({ User, options }, given) =>
    User.collection.updateOne(ofAda, { $set: given }, options),
  ),
  plants('updateOne to null', ({ User, options }, given) => User.updateOne(ofAda, given, options), {
    given: (names) => ({ [isEncrypted(names) ? 'encrypted_kms_key' : names.text]: null }),
    after: (names) => ({ Ada: isEncrypted(names) ? {} : { [names.text]: null } }),
  }),
  plants('updateOne $unset', ({ User, options }, given) => User.updateOne(ofAda, { $unset: given }, options), {
    given: (names) => ({ [isEncrypted(names) ? 'encrypted_kms_key' : names.text]: 1 }),
    after: (names) => ({ Ada: isEncrypted(names) ? {} : { [names.text]: undefined } }),
  }),
  plants('updateOne $rename', ({ User, options }, given) => User.updateOne(ofAda, given, options), {
    given: (names) => ({ $rename: { [`extra.${names.text}`]: isEncrypted(names) ? 'encrypted_kms_key' : names.text } }),
    after: () => ({}),
  }),
  plants(
    'updateOne $push to the keys',
    ({ User, options }, given) => User.updateOne(ofAda, { $push: given }, options),
    {
      given: (names) => (isEncrypted(names) ? { encrypted_kms_key: entry } : { labels: 'x' }),
      after: (names) => ({ Ada: isEncrypted(names) ? {} : { labels: [names.item, 'x'] } }),
    },
  ),
  plants('updateOne of a part', ({ User, options }, given) => User.updateOne(ofAda, given, options), {
    given: (names) => (isEncrypted(names) ? { 'encrypted_kms_key.0.keyId': 'x' } : { [names.text]: names.value }),
  }),
  plants('updateMany', ({ User, options }, given) => User.updateMany(ofAda, given, options)),
  plants('findOneAndUpdate', ({ User, options }, given) => User.findOneAndUpdate(ofAda, given, options)),
  plants('upsert', ({ User, options }, given) => User.updateOne({ name }, given, { ...options, upsert: true }), makes),
  plants('pipeline $set', ({ User, options }, given) =>
    User.updateOne(ofAda, [{ $set: given }], { ...options, updatePipeline: true }),
  ),
  plants('bulkWrite updateOne', ({ User, options }, given) =>
    User.bulkWrite([{ updateOne: { filter: ofAda, update: given } }], options),
  ),
  plants('replaceOne', ({ User, options }, given) => User.replaceOne(ofAda, { ...ofAda, ...given }, options), {
    ...ignored,
    replaces: true,
  }),
  plants(
    'findOneAndReplace',
    ({ User, options }, given) => User.findOneAndReplace(ofAda, { ...ofAda, ...given }, options),
    { ...ignored, replaces: true },
  ),
  plants(
    'bulkWrite replaceOne',
    ({ User, options }, given) =>
      User.bulkWrite([{ replaceOne: { filter: ofAda, replacement: { ...ofAda, ...given } } }], options),
    { ...ignored, replaces: true },
  ),
]

export const storedKeys: Section = {
  title: 'Assigning wrapped keys',
  introduction:
    'Nobody but the library writes wrapped keys. So a request body that names `encrypted_kms_key` plants nothing: a document passes over it, as it may be a copy of another, and an update is refused.',
  rows: keys,
}

/** The ciphertext that is stored for Ada, in the place of a value. */
async function withEnvelope({ User, options }: World, given: any) {
  const [stored] = await User.collection.find(ofAda, options).toArray()
  return encrypted.text in given ? { ...given, [encrypted.text]: stored[encrypted.text] } : given
}

/** An assignment of a ciphertext, that of the very record and field. */
function puts(row: string, run: (world: World, given: any) => Promise<unknown>, more: Partial<Row> = {}): Row {
  return changes(row, async (world, given) => run(world, await withEnvelope(world, given)), {
    encrypted: 'honoured',
    given: ({ text, value }) => ({ [text]: value }),
    after: (names) => ({ Ada: isEncrypted(names) ? {} : { [names.text]: names.value } }),
    ...more,
  })
}

const refused = { encrypted: 'STORED_PATH_ASSIGNED' } as const
const creates: Partial<Row> = { ...refused, after: (names) => ({ Eve: { [names.text]: names.value } }) }

/** A record that is taken away and put back as it was stored. */
function restores(row: string, run: (world: World, stored: Values) => Promise<unknown>): Row {
  return {
    name: row,
    encrypted: 'honoured',
    given: () => ({}),
    run: async (world) => {
      const { User, options } = world
      const [stored] = await User.collection.find(ofAda, options).toArray()
      await User.deleteOne(ofAda, options)
      await run(world, stored)
    },
  }
}

const envelopes: Row[] = [
  puts(
    'new Model({ email: ciphertext })',
    ({ User, options }, given) => save(new User({ name, ...given }), options),
    creates,
  ),
  puts('Model.create', ({ User, options }, given) => User.create([{ name, ...given }], options), creates),
  puts('Model.insertMany', ({ User, options }, given) => User.insertMany([{ name, ...given }], options), creates),
  puts(
    'Model.bulkWrite insertOne',
    ({ User, options }, given) => User.bulkWrite([{ insertOne: { document: { name, ...given } } }], options),
    creates,
  ),
  puts(
    'document.set({ email: ciphertext })',
    async (world, given) => (await loadAda(world)).set(given).save(),
    refused,
  ),
  puts(
    'document.email = ciphertext',
    async (world, given) => Object.assign(await loadAda(world), given).save(),
    refused,
  ),
  puts('updateOne({ email: ciphertext })', ({ User, options }, given) => User.updateOne(ofAda, given, options), {
    note: 'As a backup is put back. One of another record, field or key would not decrypt.',
  }),
  puts('findOneAndUpdate', ({ User, options }, given) => User.findOneAndUpdate(ofAda, given, options)),
  puts('bulkWrite updateOne', ({ User, options }, given) =>
    User.bulkWrite([{ updateOne: { filter: ofAda, update: given } }], options),
  ),
  puts('Model.collection.updateOne', ({ User, options }, given) =>
    User.collection.updateOne(ofAda, { $set: given }, options),
  ),
  restores('Model.insertMany([stored record], { lean: true })', ({ User, options }, stored) =>
    User.insertMany([stored], { ...options, lean: true }),
  ),
  restores('Model.collection.insertOne(stored record)', ({ User, options }, stored) =>
    User.collection.insertOne(stored, options),
  ),
  restores('Model.collection.replaceOne(filter, stored record, { upsert: true })', ({ User, options }, stored) =>
    User.collection.replaceOne({ _id: stored._id }, stored, { ...options, upsert: true }),
  ),
  restores('Model.collection.bulkWrite insertOne', ({ User, options }, stored) =>
    User.collection.bulkWrite([{ insertOne: { document: stored } }], options),
  ),
]

async function save(document: any, options: World['options']) {
  return document.save(options)
}

export const storedEnvelopes: Section = {
  title: 'Putting ciphertext back',
  introduction:
    'A record that was stored can be put back as it was, with its keys, by whatever makes no document of it. To a document, ciphertext is no value of a field.',
  rows: envelopes,
}
