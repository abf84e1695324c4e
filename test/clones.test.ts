import mongoose, { Schema } from 'mongoose'
import { kmsEncrypted, localKms } from '../lib'
import { copiesParents } from './copying'
import { modelOf, secret, useDatabase } from './support'

/** `$clone()` of a record with encrypted fields and subdocuments, saved as another record, or as the same. */

const { connection } = useDatabase()
const provider = localKms()

const states = ['new', 'created', 'loaded', 'loaded and opened'] as const

function shapeOf(options: object) {
  const note = new Schema({ at: Number }).plugin(kmsEncrypted, { ...options, fields: { text: String } } as never)
  return {
    name: String,
    notes: [note],
    one: note,
    byKey: { type: Map, of: note },
    middle: new Schema({ notes: [note] }),
    lists: { type: Map, of: [note] },
  }
}
const own = { fields: { allergies: [String] } }
const models = {
  'subdocuments under keys of their own': modelOf(connection, new Schema(shapeOf({ provider })), own),
  'subdocuments alone': connection.model<any>('OwnerOfNothing', new Schema(shapeOf({ provider }))) as any,
  "subdocuments under the owner's key": modelOf(connection, new Schema(shapeOf({ dataKey: 'owner' })), own),
}
const cases = Object.entries(models).flatMap(([kind, Model]) => states.map((state) => [state, kind, Model] as const))

const texts = ['note one', 'first note', 'second note', 'note by key', 'note of the middle', 'note of a list']
const given = () => {
  const [one, first, second, byKey, inMiddle, inList] = texts.map((text) => ({ text: secret(text) }))
  return {
    allergies: [secret('penicillin')],
    one,
    notes: [first, second],
    byKey: { key: byKey },
    middle: { notes: [inMiddle] },
    lists: { work: [inList] },
  }
}
const partsOf = (doc: any): any[] => [
  doc.one,
  ...doc.notes,
  ...doc.byKey.values(),
  ...doc.middle.notes,
  ...doc.lists.get('work'),
]

async function prepared(state: (typeof states)[number], Model: any) {
  if (state === 'new') return new Model(given())
  const created = await Model.create(given())
  if (state === 'created') return created
  const doc = await Model.findById(created._id)
  if (state === 'loaded and opened') for (const each of [doc, ...partsOf(doc)]) await each.decrypt?.()
  return doc
}

async function expectAll(Model: any, id: unknown, expected = texts) {
  const doc = await Model.findById(id)
  expect(await Promise.all(partsOf(doc).map((part) => part.text))).toEqual(expected)
  if (Model.schema.path('allergies')) expect(await doc.allergies).toEqual(['penicillin'])
}

if (copiesParents) {
  test.each(cases)('of a %s record is saved under another _id: %s', async (state, _kind, Model) => {
    const doc = await prepared(state, Model)
    const copy = doc.$clone()
    copy._id = new mongoose.Types.ObjectId()
    copy.$isNew = true
    await copy.save()
    await expectAll(Model, copy._id)
    if (state !== 'new') await expectAll(Model, doc._id)
    else expect(await Model.countDocuments()).toBe(1)
  })

  test.each(cases)('of a %s record is changed and saved: %s', async (state, _kind, Model) => {
    const doc = await prepared(state, Model)
    const copy = doc.$clone()
    const changed = texts.map((text) => secret(`${text}, changed`))
    for (const [index, part] of partsOf(copy).entries()) {
      part.at = index
      part.text = changed[index]
    }
    // Mongoose itself notices no change there, as long as the record was not loaded.
    copy.markModified('lists')
    await copy.save()
    await expectAll(Model, copy._id, changed)
    expect(await doc.one.text).toBe('note one')
  })
} else {
  test.each(cases)('of a %s record is refused by Mongoose, and nothing is written: %s', async (state, _kind, Model) => {
    const doc = await prepared(state, Model)
    const before = await Model.countDocuments()
    const copy = doc.$clone()
    copy._id = new mongoose.Types.ObjectId()
    copy.$isNew = true
    await expect(copy.save()).rejects.toThrow('does not have a parent')
    expect(await Model.countDocuments()).toBe(before)
  })
}
