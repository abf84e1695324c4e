import { Schema } from 'mongoose'
import { expectReads, named, secret, settles, useFaults, userModel } from './support'

const { connection } = useFaults()
const fields = { email: String, address: { city: String } }
const model = (schema: Schema<any>, name = 'User') => connection.model<any>(named(name), schema) as any

describe('fault 22: documents of another model', () => {
  const Target = userModel(connection, { name: String }, { fields })
  const Plain = model(new Schema<any>({ name: String, email: String }), 'Plain')
  const Source = userModel(connection, { name: String }, { fields })
  const email = 'ada@example.org'

  const states: [string, () => Promise<any>][] = [
    ['of a plain model', async () => new Plain({ name: 'Ada', email })],
    ['of an encrypted model, new', async () => new Source({ name: 'Ada', email })],
    ['of an encrypted model, just saved', () => Source.create({ name: 'Ada', email })],
    [
      'of an encrypted model, locked',
      async () => {
        await Source.create({ name: 'Ada', email })
        return Source.findOne()
      },
    ],
    [
      'of an encrypted model, open',
      async () => {
        await Source.create({ name: 'Ada', email })
        const doc = await Source.findOne()
        await doc.email
        return doc
      },
    ],
    [
      'of the model itself, just saved',
      async () => {
        const doc = await Target.create({ name: 'Ada', email })
        await Target.collection.deleteMany({})
        return doc
      },
    ],
    [
      'of the model itself, locked',
      async () => {
        const { _id } = await Target.create({ name: 'Ada', email })
        const doc = await Target.findOne()
        await Target.deleteOne({ _id })
        return doc
      },
    ],
  ]
  const writes: [string, (doc: any) => Promise<unknown>][] = [
    ['insertMany', (doc) => Target.insertMany([doc])],
    ['insertMany, lean', (doc) => Target.insertMany([doc], { lean: true })],
    ['bulkWrite insertOne', (doc) => Target.bulkWrite([{ insertOne: { document: doc } }])],
    [
      'bulkWrite replaceOne',
      (doc) => Target.bulkWrite([{ replaceOne: { filter: { _id: doc._id }, replacement: doc, upsert: true } }]),
    ],
    [
      'bulkWrite updateOne',
      (doc) => Target.bulkWrite([{ updateOne: { filter: { _id: doc._id }, update: doc, upsert: true } }]),
    ],
    [
      'bulkWrite updateOne $set',
      (doc) => Target.bulkWrite([{ updateOne: { filter: { _id: doc._id }, update: { $set: doc }, upsert: true } }]),
    ],
    ['replaceOne', (doc) => Target.replaceOne({ _id: doc._id }, doc, { upsert: true })],
    ['updateOne', (doc) => Target.updateOne({ _id: doc._id }, doc, { upsert: true })],
    ['findOneAndUpdate', (doc) => Target.findOneAndUpdate({ _id: doc._id }, doc, { upsert: true })],
    ['findOneAndReplace', (doc) => Target.findOneAndReplace({ _id: doc._id }, doc, { upsert: true })],
    ['create', (doc) => Target.create(doc)],
    ['new Model(doc).save()', (doc) => new Target(doc).save()],
    ['new Model({ ...doc._doc }).save()', (doc) => new Target({ ...doc._doc }).save()],
    [
      'new Model(doc.toObject()).save() with the field',
      async (doc) => new Target({ ...doc.toObject(), email: await doc.email }).save(),
    ],
  ]

  /** What is refused, and by which code; all others work. */
  function codeOf(state: string, name: string): string | undefined {
    const isOfOther = /^of an encrypted model/.test(state)
    if (isOfOther && name === 'insertMany, lean') return 'WRITE_REFUSED'
    if (isOfOther && state !== 'of an encrypted model, new') {
      // What is set would be the envelope of the other record, whose key the KMS does not open for this one.
      if (/updateOne|findOneAndUpdate/.test(name)) return 'KMS_WRONG_CONTEXT'
    }
    // It takes over that it was stored before, and is then not found.
    const wasStored = /, (just saved|locked|open)$/.test(state)
    return wasStored && /^(create|new Model\(doc\)\.save\(\))$/.test(name) ? 'DocumentNotFoundError' : undefined
  }

  describe.each(states)('%s', (state, make) => {
    test.each(writes)('are encrypted for the record that they become, or refused: %s', async (name, write) => {
      // The text is planted in the clear by nobody: a plain model keeps it in memory only.
      secret(email)
      const doc = await make()
      await settles(
        codeOf(state, name),
        () => write(doc),
        () => expectReads(Target, { name: 'Ada' }, { email }),
      )
    })
  })
})
