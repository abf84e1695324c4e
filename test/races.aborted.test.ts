import mongoose, { Schema } from 'mongoose'
import { kmsEncrypted, localKms } from '../lib'
import { modelOf, useDatabase } from './support'

/** A transaction that comes to nothing must leave documents, and the subdocuments in them, that can be saved. */

const { connection } = useDatabase()
const kinds: [string, object][] = [
  ["'owner'", { dataKey: 'owner' }],
  ['a key of their own', { provider: localKms() }],
]

function wardOf(options: object) {
  const note = new Schema<any>({ at: Number }).plugin(kmsEncrypted as any, { ...options, fields: { text: String } })
  const schema = new Schema({ notes: [note], one: note, byKey: { type: Map, of: note } })
  return modelOf(connection, schema, { fields: { allergies: String } })
}

async function opened(Ward: any, id: unknown) {
  const ward = await Ward.findById(id)
  const texts = [...ward.notes, ward.one, ...(ward.byKey?.values() ?? [])].filter(Boolean)
  return [await ward.allergies, ...(await Promise.all(texts.map((each: any) => each.text)))]
}

async function abort(act: (session: any) => Promise<unknown>) {
  const session = await connection.startSession()
  session.startTransaction()
  await act(session)
  await session.abortTransaction()
  await session.endSession()
}

describe.each(kinds)('subdocuments under %s', (_, options) => {
  test.each(['with', 'without'])(
    'are written by the save after a transaction was aborted by hand: %s a key',
    async (key) => {
      const Ward = wardOf(options)
      const text = key === 'with' ? 'a' : undefined
      const { _id } = await Ward.create({ notes: [{ text }], one: { text }, byKey: { entry: { text } } })
      const ward = await Ward.findById(_id)
      ward.notes[0].text = 'b'
      ward.one.text = 'c'
      ward.byKey.get('entry').text = 'd'
      await abort((session) => ward.save({ session }))
      ward.$session(null)
      await ward.save()
      expect(await opened(Ward, _id)).toEqual([undefined, 'b', 'c', 'd'])
    },
  )

  test('are written although another process has changed them since the transaction was aborted', async () => {
    const Ward = wardOf(options)
    const { _id } = await Ward.create({ allergies: 'x', notes: [{ text: 'a' }] })
    const ward = await Ward.findById(_id)
    ward.notes[0].text = 'b'
    ward.allergies = 'y'
    await abort((session) => ward.save({ session }))
    ward.$session(null)
    await Ward.updateOne({ _id }, { 'notes.0.text': 'later', allergies: 'later' })
    await ward.save()
    expect(await opened(Ward, _id)).toEqual(['y', 'b'])
  })

  test('are not written again after a transaction that was committed', async () => {
    const Ward = wardOf(options)
    const { _id } = await Ward.create({ allergies: 'x', notes: [{ text: 'a' }] })
    const ward = await Ward.findById(_id)
    await connection.transaction(async (session) => {
      ward.notes[0].text = 'b'
      ward.allergies = 'y'
      await ward.save({ session })
    })
    await Ward.updateOne({ _id }, { 'notes.0.text': 'later', allergies: 'later' })
    ward.notes[0].at = 1
    await ward.save()
    expect(await opened(Ward, _id)).toEqual(['later', 'later'])
  })

  test.each([{ allergies: 'x' }, { allergies: undefined }])(
    'of a new record are stored when its transaction is tried again: %j',
    async (own) => {
      const Ward = wardOf(options)
      const ward = new Ward({ ...own, notes: [{ text: 'a' }], one: { text: 'b' }, byKey: { entry: { text: 'c' } } })
      let attempts = 0
      await connection.transaction(async (session) => {
        await ward.save({ session })
        if (++attempts === 1)
          throw new mongoose.mongo.MongoServerError({ message: 'again', errorLabels: ['TransientTransactionError'] })
      })
      expect(attempts).toBe(2)
      expect(await opened(Ward, ward._id)).toEqual([own.allergies, 'a', 'b', 'c'])
    },
  )

  test('that were added are stored when their transaction is tried again', async () => {
    const Ward = wardOf(options)
    const { _id } = await Ward.create({ allergies: 'x', notes: [{ text: 'a' }] })
    const ward = await Ward.findById(_id)
    ward.notes.push({ text: 'b' })
    ward.one = { text: 'c' }
    await connection
      .transaction(async (session) => {
        await ward.save({ session })
        throw new Error('comes to nothing')
      })
      .catch(() => undefined)
    await ward.save()
    expect(await opened(Ward, _id)).toEqual(['x', 'a', 'b', 'c'])
  })
})
