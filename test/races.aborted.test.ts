import mongoose, { Schema } from 'mongoose'
import { kmsEncrypted, localKms } from '../lib'
import { modelOf, rawCollection, useDatabase } from './support'

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

describe.each<[string, (doc: any) => Promise<unknown>, RegExp | string]>([
  ['eraseKmsKey', (doc) => doc.eraseKmsKey(), /ERASED/],
  ['rotateKmsKey', (doc) => doc.rotateKmsKey(), 'kept'],
  ['rewrapKmsKey', (doc) => doc.rewrapKmsKey(), 'kept'],
])('%s() of a document', (_, act, after) => {
  const User = modelOf(connection, new Schema({ name: String }), { fields: { email: String, note: String } })
  const actIn = async (doc: any, session: any) => {
    doc.$session(session)
    await act(doc)
  }
  const created = async () => {
    const { _id } = await User.create({ name: 'Ada', email: 'ada@example.org', note: 'kept' })
    return User.findById(_id)
  }

  test('in a transaction that was aborted leaves it as it was: its values, and saves', async () => {
    const user = await created()
    await abort((session) => actIn(user, session))
    user.$session(null)
    expect(await user.email).toBe('ada@example.org')
    user.note = 'new'
    await user.save()
    expect(await (await User.findById(user._id)).decrypt()).toEqual({ email: 'ada@example.org', note: 'new' })
  })

  test.each(['at once', 'after another value was read'])(
    'keeps what was saved after it for the next save, %s',
    async (when) => {
      const user = await created()
      await abort(async (session) => {
        await actIn(user, session)
        user.email = 'new@example.org'
        await user.save()
      })
      user.$session(null)
      if (when !== 'at once') expect(await user.note).toBe('kept')
      await user.save()
      const values = { email: 'new@example.org', note: 'kept' }
      expect(await user.decrypt()).toEqual(values)
      expect(await (await User.findById(user._id)).decrypt()).toEqual(values)
    },
  )

  test('keeps what was saved in a transaction that was aborted before it', async () => {
    const user = await created()
    user.email = 'new@example.org'
    await abort((session) => user.save({ session }))
    user.$session(null)
    await act(user)
    await user.save()
    for (const each of [user, await User.findById(user._id)]) expect(await each.email).toBe('new@example.org')
    expect(await Promise.resolve(user.note).catch(({ code }: any) => code)).toMatch(after)
  })

  test('in a transaction that is tried again keeps what was saved after it', async () => {
    const user = await created()
    let attempts = 0
    user.email = 'new@example.org'
    await connection.transaction(async (session) => {
      await actIn(user, session)
      await user.save()
      if (++attempts === 1)
        throw new mongoose.mongo.MongoServerError({ message: 'again', errorLabels: ['TransientTransactionError'] })
    })
    user.$session(null)
    for (const each of [user, await User.findById(user._id)]) expect(await each.email).toBe('new@example.org')
    expect(await Promise.resolve(user.note).catch(({ code }: any) => code)).toMatch(after)
  })

  test('keeps the first values of a record, which were saved in the same transaction', async () => {
    const { _id } = await User.create({ name: 'Ada' })
    const user = await User.findById(_id)
    user.email = 'new@example.org'
    await abort(async (session) => {
      await user.save({ session })
      await actIn(user, session)
    })
    user.$session(null)
    await user.save()
    for (const each of [user, await User.findById(_id)]) expect(await each.email).toBe('new@example.org')
  })

  test('leaves it so where the first thing afterwards is a save, or all values are asked for', async () => {
    const [saved, opened] = [await created(), await created()]
    for (const user of [saved, opened]) {
      await abort((session) => actIn(user, session))
      user.$session(null)
    }
    saved.email = 'new@example.org'
    await saved.save()
    expect(await (await User.findById(saved._id)).decrypt()).toEqual({ email: 'new@example.org', note: 'kept' })
    expect(await opened.decrypt()).toEqual({ email: 'ada@example.org', note: 'kept' })
  })

  test('in one that was tried again, or committed, is done', async () => {
    const user = await created()
    let attempts = 0
    await connection.transaction(async (session) => {
      await actIn(user, session)
      if (++attempts === 1)
        throw new mongoose.mongo.MongoServerError({ message: 'again', errorLabels: ['TransientTransactionError'] })
    })
    user.$session(null)
    const found = await User.findById(user._id)
    for (const each of [user, found])
      expect(await Promise.resolve(each.note).catch(({ code }: any) => code)).toMatch(after)
    // Nothing of the transaction is left that could be taken back later.
    await user.rotateKmsKey()
    user.name = 'Grace'
    user.email = 'new@example.org'
    await user.save()
    expect(await (await User.findById(user._id)).email).toBe('new@example.org')
  })
})

test('a record that was erased in a transaction that was aborted, and gives plain values, can be opened again', async () => {
  const User = modelOf(connection, new Schema({}), { decrypt: 'onLoad', fields: { email: String } })
  const { _id } = await User.create({ email: 'ada@example.org' })
  const user = await User.findById(_id)
  await abort(async (session) => {
    user.$session(session)
    await user.eraseKmsKey()
  })
  user.$session(null)
  await user.decrypt()
  expect(user.email).toBe('ada@example.org')
})

test('what was saved and rotated in one transaction that was aborted is written by the next save', async () => {
  const User = modelOf(connection, new Schema({ name: String }), { fields: { email: String, note: String } })
  const { _id } = await User.create({ email: 'ada@example.org', note: 'kept' })
  const user = await User.findById(_id)
  user.email = 'new@example.org'
  await abort(async (session) => {
    await user.save({ session })
    await user.rotateKmsKey()
  })
  user.$session(null)
  await user.save()
  expect(await (await User.findById(_id)).decrypt()).toEqual({ email: 'new@example.org', note: 'kept' })
})

test.each(['save', 'eraseKmsKey'])(
  'a subdocument that came with a transaction that was aborted holds up no save: %s() was called first',
  async (first) => {
    const Ward = wardOf({ provider: localKms() })
    const { _id } = await Ward.create({ allergies: 'a' })
    const ward = await Ward.findById(_id)
    await abort(async (session) => {
      ward.$session(session)
      ward.allergies = 'b'
      if (first === 'eraseKmsKey') await ward.eraseKmsKey()
      ward.notes.push({ text: 'new' })
      await ward.save()
      if (first === 'save') await ward.eraseKmsKey()
    })
    ward.$session(null)
    await ward.save()
    expect(await opened(Ward, _id)).toEqual(['b'])
  },
)

test('a record of which the migration was aborted is migrated by the next save', async () => {
  const User = modelOf(connection, new Schema({ name: String }), { migrating: true, fields: { email: String } })
  const { insertedId: _id } = await rawCollection(User).insertOne({ name: 'Ada', email: 'ada@example.org' } as any)
  const user = await User.findById(_id)
  await abort(async (session) => {
    user.$session(session)
    await user.migrateToKms()
  })
  user.$session(null)
  user.name = 'Grace'
  await user.save()
  expect(await user.email).toBe('ada@example.org')
  const found = await User.findById(_id)
  expect([await found.email, found.name]).toEqual(['ada@example.org', 'Grace'])
  expect((await rawCollection(User).findOne({ _id }))!.email).not.toBe('ada@example.org')
})

/** What is done to a document in a transaction, and what it makes of its values. */
const deeds: Record<string, (doc: any) => unknown> = {
  change: async (doc) => {
    await doc.decrypt()
    doc.list.push('more')
    doc.$inc('count', 1)
  },
  assign: (doc) => doc.set({ list: ['anew'], count: 40 }),
  save: (doc) => doc.save(),
  rotate: (doc) => doc.rotateKmsKey(),
}

function* orders(length: number): Generator<string[]> {
  if (length === 0) yield []
  else
    for (const before of orders(length - 1))
      for (const deed of Object.keys(deeds)) if (deed !== before.at(-1)) yield [...before, deed]
}

function madeBy(order: readonly string[], { list, count }: { list: string[]; count: number }) {
  return order.reduce(
    (values, deed) => {
      if (deed === 'assign') return { list: ['anew'], count: 40 }
      return deed === 'change' ? { list: [...values.list, 'more'], count: values.count + 1 } : values
    },
    { list, count },
  )
}

describe.each([
  ['has values', { list: ['first'], count: 1 }],
  ['has none', {}],
])('in an aborted transaction, of a record that %s', (_, values) => {
  const Counter = modelOf(connection, new Schema({ name: String }), { fields: { list: [String], count: Number } })
  const all = [...orders(3), ['change', 'rotate', 'change', 'save'], ['change', 'save', 'rotate', 'change']].filter(
    (order) => order.includes('change') || order.includes('assign'),
  )

  test.each(all.map((order) => [order.join(', '), order] as const))(
    '%s: the next save does it',
    async (_order, order) => {
      const start = { list: [], count: 0, ...values }
      const { _id } = await Counter.create(values)
      const both = [await Counter.findById(_id), await Counter.findById(_id)]
      for (const doc of both) {
        await abort(async (session) => {
          doc.$session(session)
          for (const deed of order) await deeds[deed]!(doc)
        })
        doc.$session(null)
      }
      const [one, other] = both
      await one.save()
      for (const doc of [one, await Counter.findById(_id)])
        expect(await doc.decrypt()).toMatchObject(madeBy(order, start))
      // What was made of what is not stored any more is not put in the place of what is; what was given as a whole is.
      if (order.includes('assign')) await other.save()
      else
        for (const _again of [1, 2])
          await expect(other.save()).rejects.toMatchObject({ message: expect.stringMatching(/anew/) })
      expect(await (await Counter.findById(_id)).decrypt()).toMatchObject(madeBy(order, start))
    },
  )
})
