import type { Names, Row, Section, World } from './row'

const values = (names: Names) => ({
  [names.text]: names.value,
  [names.number]: names.newNumber,
  [names.list]: [names.item],
  [names.nested]: { city: names.newCity },
  [names.date]: names.newDate,
})

/** Makes a record that is called Eve. */
function creates(name: string, run: (world: World, eve: object) => Promise<unknown>, more: Partial<Row> = {}): Row {
  return {
    name,
    encrypted: 'encrypted',
    given: values,
    run: (world, given) => run(world, { name: 'Eve', ...given }),
    after: (names) => ({ Eve: values(names) }),
    ...more,
  }
}

export const creating: Section = {
  title: 'Creating records',
  introduction:
    'Each new record gets a data key of its own, with one call to the KMS. A record without a value for any encrypted field gets none.',
  rows: [
    creates('new Model(values).save()', ({ User, options }, eve) => new User(eve).save(options)),
    creates('new Model().set(values)', ({ User, options }, eve) => new User().set(eve).save(options)),
    creates('document.field = value', ({ User, options }, eve) => Object.assign(new User(), eve).save(options)),
    creates('Model.create(values)', ({ User, options }, eve) => User.create([eve], options)),
    creates('Model.insertOne(values)', ({ User, options }, eve) => User.insertOne(eve, options)),
    creates('Model.insertMany(values)', ({ User, options }, eve) => User.insertMany([eve], options)),
    creates('Model.insertMany(documents)', ({ User, options }, eve) => User.insertMany([new User(eve)], options)),
    creates('Model.insertMany(one)', ({ User, options }, eve) => User.insertMany(eve, options)),
    creates('Model.insertMany(values, { ordered: false })', ({ User, options }, eve) =>
      User.insertMany([eve], { ...options, ordered: false }),
    ),
    creates('Model.insertMany(values, { rawResult: true })', ({ User, options }, eve) =>
      User.insertMany([eve], { ...options, rawResult: true }),
    ),
    creates('Model.insertMany(values, { lean: true })', ({ User, options }, eve) =>
      User.insertMany([eve], { ...options, lean: true }),
    ),
    creates('Model.bulkSave(new documents)', ({ User, options }, eve) => User.bulkSave([new User(eve)], options)),
    creates('Model.bulkWrite insertOne', ({ User, options }, eve) =>
      User.bulkWrite([{ insertOne: { document: eve } }], options),
    ),
    creates('Model.bulkWrite insertOne of a document', ({ User, options }, eve) =>
      User.bulkWrite([{ insertOne: { document: new User(eve) } }], options),
    ),
    creates('connection.bulkWrite insertOne', ({ User, connection, options }, eve) =>
      connection.bulkWrite([{ model: User, name: 'insertOne', document: eve }] as never, options),
    ),
    creates('save({ validateBeforeSave: false })', ({ User, options }, eve) =>
      new User(eve).save({ ...options, validateBeforeSave: false }),
    ),
    creates(
      'save({ middleware: false })',
      ({ User, options }, eve) => new User(eve).save({ ...options, middleware: false }),
      { since: '9.2' },
    ),
    creates(
      'insertMany(values, { middleware: false })',
      ({ User, options }, eve) => User.insertMany([eve], { ...options, middleware: false }),
      { since: '9.2' },
    ),
    creates('new Model(values, undefined, { strict: false })', ({ User, options }, eve) =>
      new User(eve, undefined, { strict: false }).save(options),
    ),
    creates('updateOne(filter, values, { upsert: true })', ({ User, options }, { name, ...eve }: any) =>
      User.updateOne({ name }, eve, { ...options, upsert: true }),
    ),
    creates('updateOne $setOnInsert, upsert', ({ User, options }, { name, ...eve }: any) =>
      User.updateOne({ name }, { $setOnInsert: eve }, { ...options, upsert: true }),
    ),
    creates('findOneAndUpdate $set, upsert', ({ User, options }, { name, ...eve }: any) =>
      User.findOneAndUpdate({ name }, { $set: eve }, { ...options, upsert: true }),
    ),
    creates('findByIdAndUpdate, upsert', ({ User, options, connection }, eve) =>
      User.findByIdAndUpdate(new connection.base.Types.ObjectId(), eve, { ...options, upsert: true }),
    ),
    creates('replaceOne, upsert', ({ User, options }, eve) =>
      User.replaceOne({ name: 'Eve' }, eve, { ...options, upsert: true }),
    ),
    creates('findOneAndReplace, upsert', ({ User, options }, eve) =>
      User.findOneAndReplace({ name: 'Eve' }, eve, { ...options, upsert: true }),
    ),
    creates('bulkWrite updateOne, upsert', ({ User, options }, { name, ...eve }: any) =>
      User.bulkWrite([{ updateOne: { filter: { name }, update: { $set: eve }, upsert: true } }], options),
    ),
    creates('bulkWrite replaceOne, upsert', ({ User, options }, eve) =>
      User.bulkWrite([{ replaceOne: { filter: { name: 'Eve' }, replacement: eve, upsert: true } }], options),
    ),
    creates('updateMany(filter, values, { upsert: true })', ({ User, options }, { name, ...eve }: any) =>
      User.updateMany({ name }, eve, { ...options, upsert: true }),
    ),
  ],
}
