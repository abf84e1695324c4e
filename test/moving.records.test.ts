import { Schema, Types } from 'mongoose'
import { kmsEncrypted, localKms } from '../lib'
import { modelOf, secret, useDatabase } from './support'

/** Subdocuments of one record that are put into another, in each way and place. */

const { connection } = useDatabase()
const provider = localKms()

const given = () => ({
  notes: [{ text: secret('note of a list') }],
  one: { text: secret('note by itself') },
  byKey: { k: { text: secret('note of a map') } },
  lists: { w: [{ text: secret('note of a list in a map') }] },
})
const partsOf = (doc: any): any[] =>
  [...doc.notes, doc.one, ...(doc.byKey?.values() ?? []), ...(doc.lists?.get('w') ?? [])].filter(Boolean)
const textsOf = async (Model: any, id: unknown) =>
  Promise.all(partsOf(await Model.findById(id)).map((part) => part.text))

/** Puts what `from` has into `to`, or into a record that it gives. */
type Way = (from: any, to: any, Model: any) => unknown

const ways: Record<string, readonly [put: Way, ...texts: string[]]> = {
  'an element that is pushed': [(from, to) => void to.notes.push(from.notes[0]), 'note of a list'],
  'a whole list': [(from, to) => void Object.assign(to, { notes: from.notes }), 'note of a list'],
  'a new list of it': [(from, to) => void Object.assign(to, { notes: [from.notes[0]] }), 'note of a list'],
  'a single one': [(from, to) => void Object.assign(to, { one: from.one }), 'note by itself'],
  'an element as a single one': [(from, to) => void Object.assign(to, { one: from.notes[0] }), 'note of a list'],
  'a single one that is pushed': [(from, to) => void to.notes.push(from.one), 'note by itself'],
  'a value of a map that is pushed': [(from, to) => void to.notes.push(from.byKey.get('k')), 'note of a map'],
  'a whole map': [(from, to) => void Object.assign(to, { byKey: from.byKey }), 'note of a map'],
  'a whole map by set()': [(from, to) => void to.set('byKey', from.get('byKey')), 'note of a map'],
  'a value of a map under another key': [
    (from, to) => void Object.assign(to, { byKey: new Map([['other', from.byKey.get('k')]]) }),
    'note of a map',
  ],
  'a map of lists': [(from, to) => void Object.assign(to, { lists: from.lists }), 'note of a list in a map'],
  'a new record of them': [
    (from, _to, Model) => new Model({ notes: from.notes, byKey: from.byKey }),
    'note of a list',
    'note of a map',
  ],
  'a new record of the record': [
    (from, _to, Model) => Object.assign(new Model(from), { _id: new Types.ObjectId(), $isNew: true }),
    'note of a list',
    'note by itself',
    'note of a map',
    'note of a list in a map',
  ],
}

const kinds = { 'keys of their own': { provider }, "the owner's key": { dataKey: 'owner' } }

describe.each(Object.entries(kinds))('subdocuments under %s', (_kind, options) => {
  const note = new Schema({ at: Number }).plugin(kmsEncrypted, { ...options, fields: { text: String } } as never)
  const shape = {
    name: String,
    notes: [note],
    one: note,
    byKey: { type: Map, of: note },
    lists: { type: Map, of: [note] },
  }
  const Model = modelOf(connection, new Schema(shape), { fields: { allergies: [String] } })

  async function records() {
    const [{ _id: from }, { _id: to }] = [await Model.create(given()), await Model.create({ name: 'to' })]
    return [await Model.findById(from), await Model.findById(to)]
  }

  async function expectMoved(from: any, to: any, way: string) {
    const [, ...texts] = ways[way]!
    expect((await textsOf(Model, to._id)).sort()).toEqual([...texts].sort())
    expect(await textsOf(Model, from._id)).toHaveLength(4)
  }

  test.each(Object.keys(ways))('that are open are saved in the other record, and stay in theirs: %s', async (way) => {
    const [from, other] = await records()
    for (const part of partsOf(from)) await part.decrypt()
    const to: any = ways[way]![0](from, other, Model) ?? other
    await to.save()
    await expectMoved(from, to, way)
  })

  test.each(Object.keys(ways))(
    'that are locked are saved, or say that they are to be opened first: %s',
    async (way) => {
      const [from, other] = await records()
      const to: any = ways[way]![0](from, other, Model) ?? other
      const refused = await to.save().then(
        () => undefined,
        (error: any) => error,
      )
      if (!refused) return expectMoved(from, to, way)
      expect(refused).toMatchObject({ code: 'RECORD_LOCKED' })
      expect(await textsOf(Model, other._id)).toEqual([])
      expect(await textsOf(Model, from._id)).toHaveLength(4)
    },
  )
})
