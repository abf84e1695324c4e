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

async function prepared(state: (typeof states)[number], Model: any, values: object = given()) {
  if (state === 'new') return new Model(values)
  const created = await Model.create(values)
  if (state === 'created') return created
  const doc = await Model.findById(created._id)
  if (state === 'loaded and opened' && doc.notes) for (const each of [doc, ...partsOf(doc)]) await each.decrypt?.()
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

describe('what can change in place is not shared with a copy', () => {
  const Changing = modelOf(connection, new Schema({ name: String }), {
    fields: { born: Date, photo: Buffer, any: Schema.Types.Mixed, at: { when: Date, any: Schema.Types.Mixed } },
  })
  const values = () => ({
    born: new Date(5),
    photo: Buffer.from('abc'),
    any: { list: [secret('first of a list')] },
    at: { when: new Date(6), any: { deep: [1] } },
  })
  const change = async (doc: any) => {
    await doc.decrypt()
    doc.born.setTime(7)
    doc.photo[0] = 0x7a
    doc.any.list.push(secret('second of a list'))
    doc.at.when.setTime(8)
    doc.at.any.deep.push(2)
  }

  test.each(states)('%s', async (state) => {
    const doc = await prepared(state, Changing, values())
    if (state === 'loaded and opened') await doc.decrypt()
    const copy = doc.$clone()
    await change(copy)
    expect(await doc.decrypt()).toEqual(values())
    expect(doc.isModified('born') && !doc.$isNew).toBe(false)
    const other = doc.$clone()
    await change(doc)
    expect(await other.decrypt()).toEqual(values())
    await copy.save()
    expect((await (await Changing.findById(doc._id)).decrypt()).any.list).toHaveLength(2)
  })
})
