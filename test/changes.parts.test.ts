import { mongo, Schema, type Types } from 'mongoose'
import { kmsEncrypted, localKms } from '../lib'
import { modelOf, rawCollection, secret, useDatabase } from './support'

/** A field is stored as one envelope: what one process changes in it is a change of what that process has read. */

const { connection, raw } = useDatabase()
const provider = localKms()

const note = new Schema({ k: String }).plugin(kmsEncrypted as any, { provider, fields: { tags: [String] } })
const fields = {
  list: [String],
  map: { type: Map, of: String },
  nested: { a: String, b: String },
  parts: [new Schema({ a: String })],
  any: {},
  plain: String,
  count: Number,
}
const model = (settings: object = {}) =>
  modelOf(connection, new Schema({ name: String, notes: [note] }, settings), { provider, fields })
const User = model()

// Mongoose 8.17 does not validate the clone of a document with subdocuments.
const Flat = modelOf(connection, new Schema({ name: String }), { provider, fields })

const stored = () => ({
  list: [secret('first entry')],
  map: { a: secret('first of a') },
  nested: { a: secret('first within') },
  parts: [{ a: secret('first part') }],
  any: { a: secret('first of any') },
  plain: secret('a plain text'),
  notes: [{ k: 'x', tags: [secret('first tag')] }],
})

async function two(Model = User) {
  const { _id } = await Model.create(stored())
  const [one, other] = [await Model.findById(_id), await Model.findById(_id)]
  for (const doc of [one, other]) for (const each of [doc, ...(doc.notes ?? [])]) await each.decrypt()
  return { _id, one, other }
}

const both = [secret('that of one'), secret('that of other')] as const

/** Each changes a part, and would keep what it has read of the rest. */
const changes: [string, string, (doc: any, text: string) => unknown][] = [
  ['list', 'push()', (doc, text) => doc.list.push(text)],
  ['list', 'set()', (doc, text) => doc.list.set(0, text)],
  ['list', 'document.set()', (doc, text) => doc.set('list.0', text)],
  ['map', 'set()', (doc, text) => doc.map.set(text.slice(-5).trim(), text)],
  ['nested', 'assignment', (doc, text) => Object.assign(doc.nested, { b: text })],
  ['parts', 'a field of a subdocument', (doc, text) => Object.assign(doc.parts[0], { a: text })],
  ['parts', 'push()', (doc, text) => doc.parts.push({ a: text })],
  ['any', 'markModified()', (doc, text) => Object.assign(doc.any, { b: text }) && doc.markModified('any')],
  ['notes.0.tags', 'push()', (doc, text) => doc.notes[0].tags.push(text)],
]

const textOf = async (Model: any, _id: unknown) => {
  const lean = await Model.decrypt(await Model.findById(_id).lean())
  return JSON.stringify(lean, (_key, value) => (value instanceof Map ? Object.fromEntries(value) : value))
}

describe.each<[string, (doc: any, Model: any) => Promise<unknown>]>([
  ['save()', (doc) => doc.save()],
  ['bulkSave()', (doc, Model) => Model.bulkSave([doc])],
])('a change of a part, written by %s', (_name, write) => {
  test.each(changes)('of %s, by %s, does not take away what another process wrote', async (path, _how, change) => {
    const { _id, one, other } = await two()
    change(one, both[0])
    change(other, both[1])
    await write(one, User)
    for (const _again of [1, 2]) {
      await expect(write(other, User)).rejects.toMatchObject({
        code: 'RECORD_CHANGED',
        remedy: 'reload',
        message: expect.stringMatching(
          new RegExp(`has written ${path.split('.').at(-1)}, .*load the record anew`, 'i'),
        ),
      })
    }
    expect(await textOf(User, _id)).toContain(both[0])
    const anew = await User.findById(_id)
    for (const each of [anew, ...anew.notes]) await each.decrypt()
    change(anew, both[1])
    await write(anew, User)
    expect(await textOf(User, _id)).toContain(both[1])
  })

  test.each(changes)('of %s, by %s, is made after a rotation, which changes no value', async (_path, _how, change) => {
    const { _id, one } = await two()
    change(one, both[0])
    await (await User.findById(_id)).rotateKmsKey()
    await expect(write(one, User)).rejects.toMatchObject({
      code: 'RECORD_CHANGED',
      remedy: 'retry',
      message: expect.stringMatching(/Do .* again/),
    })
    await write(one, User)
    expect(await textOf(User, _id)).toContain(both[0])
  })

  test.each(changes)('of %s, by %s, is made after a rotation of the same document', async (_path, _how, change) => {
    const { _id, one } = await two()
    change(one, both[0])
    await one.rotateKmsKey()
    await write(one, User)
    change(one, both[1])
    await write(one, User)
    expect(await textOf(User, _id)).toContain(both[1])
  })

  test('takes away what is set by nobody else, and what is given anew takes the place of all', async () => {
    const { _id, one, other } = await two()
    one.list.push(both[0])
    other.list = [both[1]]
    other.list.push(secret('and another'))
    other.map = { z: both[1] }
    await write(one, User)
    await write(other, User)
    expect(JSON.parse(await textOf(User, _id))).toMatchObject({ list: [both[1], 'and another'], map: { z: both[1] } })
  })

  test('stays for the next call where the write fails', async () => {
    const { _id, one, other } = await two()
    one.list.push(both[0])
    one.name = 'x'
    other.list.push(both[1])
    const { collection } = User
    const { updateOne, bulkWrite } = collection
    const fail = () => Promise.reject(new Error('the network is down'))
    Object.assign(collection, { updateOne: fail, bulkWrite: fail })
    await expect(write(one, User)).rejects.toThrow('the network is down')
    Object.assign(collection, { updateOne, bulkWrite })
    await write(other, User)
    await expect(write(one, User)).rejects.toMatchObject({ code: 'RECORD_CHANGED' })
    expect(await textOf(User, _id)).toContain(both[1])
  })
})

test.each([
  ['a number', 40],
  ['nothing', undefined],
])('what $inc() adds to %s is not lost with what another process adds', async (_name, count) => {
  const { _id } = await User.create({ count })
  const [one, other] = [await User.findById(_id), await User.findById(_id)]
  for (const doc of [one, other]) {
    await doc.decrypt()
    doc.$inc('count', 1)
    doc.$inc('count', 1)
  }
  await one.save()
  await expect(other.save()).rejects.toMatchObject({ code: 'RECORD_CHANGED', message: expect.stringMatching(/anew/) })
  expect(await (await User.findById(_id)).count).toBe((count ?? 0) + 2)
  one.$inc('count', 1)
  await one.save()
  one.count = 7
  one.$inc('count')
  await User.updateOne({ _id }, { count: 1 })
  await one.save()
  expect(await (await User.findById(_id)).count).toBe(8)
})

test.each<[string, (doc: any) => any]>([
  ['before it is cloned', (doc) => doc.list.push(both[1]) && doc.$clone()],
  [
    'in the clone',
    (doc) => {
      const clone = doc.$clone()
      clone.list.push(both[1])
      return clone
    },
  ],
])('what is changed %s is a change of what was read', async (_name, change) => {
  const { _id, one, other } = await two(Flat)
  const clone = change(other)
  one.list.push(both[0])
  await one.save()
  await expect(clone.save()).rejects.toMatchObject({ code: 'RECORD_CHANGED', message: expect.stringMatching(/anew/) })
  expect(await textOf(Flat, _id)).toContain(both[0])
  const again = (await Flat.findById(_id)).$clone()
  await again.decrypt()
  again.list.push(both[1])
  await again.save()
  expect([...(await (await Flat.findById(_id)).list)]).toEqual(['first entry', ...both])
})

test('parts of an object of which nothing was stored are not put in the place of what another process wrote', async () => {
  const { _id } = await User.create({ plain: secret('a plain text') })
  const [one, other] = [await User.findById(_id), await User.findById(_id)]
  one.nested.a = both[0]
  other.nested.b = both[1]
  await one.save()
  await expect(other.save()).rejects.toMatchObject({ code: 'RECORD_CHANGED', message: expect.stringMatching(/anew/) })
  expect(await textOf(User, _id)).toContain(both[0])
})

describe('what is there because nothing is stored', () => {
  const filled = {
    tags: { type: [String], default: () => ['a first tag'] },
    list: [String],
    count: { type: Number, default: 1 },
    day: { type: Date, default: () => new Date(0) },
    any: { type: {}, default: () => ({ a: 1 }) },
    mixed: {},
  }
  const entry = new Schema({ k: String }).plugin(kmsEncrypted as any, { provider, fields: { tags: filled.tags } })
  const Late = modelOf(connection, new Schema({ name: String, notes: [entry] }), { provider, fields: filled })

  /** Documents of a record that is older than its fields. */
  async function older(count = 2) {
    const { insertedId } = await rawCollection(Late).insertOne({ name: 'x', notes: [{ _id: new mongo.ObjectId() }] })
    const docs = []
    for (let index = 0; index < count; index++) docs.push(await Late.findById(insertedId))
    return { _id: insertedId, docs: docs as any[] }
  }

  const opened = async (_id: unknown) => (await Late.findById(_id)).decrypt()

  test.each<[string, (doc: any, text: string) => unknown]>([
    ['a list with a default', (doc, text) => doc.tags.push(text)],
    ['a list without one', (doc, text) => doc.list.push(text)],
    ['a number, by $inc()', (doc) => doc.$inc('count')],
    ['a date', (doc, text) => doc.day.setTime(text.length)],
    ['an object of no type', (doc, text) => doc.set(`any.${text.length}`, text)],
    ['an object of no type that is not there', (doc, text) => doc.set(`mixed.${text.length}`, text)],
    ['a list of a subdocument', (doc, text) => doc.notes[0].tags.push(text)],
  ])('is not changed in the place of what another process wrote: %s', async (_name, change) => {
    const { _id, docs } = await older()
    const [one, other] = docs
    change(one, both[0])
    change(other, both[1])
    await one.save()
    const written = await raw(Late.collection.name)
    for (const _again of [1, 2])
      await expect(other.save()).rejects.toMatchObject({
        code: 'RECORD_CHANGED',
        message: expect.stringMatching(/anew/),
      })
    expect(await raw(Late.collection.name)).toEqual(written)
    const anew = await Late.findById(_id)
    for (const each of [anew, ...anew.notes]) await each.decrypt()
    change(anew, both[1])
    await anew.save()
    expect(await raw(Late.collection.name)).not.toEqual(written)
  })

  test('nor in a clone', async () => {
    const { insertedId } = await rawCollection(Flat).insertOne({ name: 'x' })
    const [one, other] = [await Flat.findById(insertedId), await Flat.findById(insertedId)]
    for (const doc of [one, other]) doc.list.push(both[0])
    const clone = other.$clone()
    await one.save()
    await expect(clone.save()).rejects.toMatchObject({ code: 'RECORD_CHANGED', message: expect.stringMatching(/anew/) })
  })

  test.each<[string, (doc: any) => Promise<unknown>]>([
    ['save()', (doc) => doc.save()],
    [
      'bulkSave()',
      async (doc) => {
        await expect(Late.bulkSave([doc])).rejects.toMatchObject({ message: expect.stringMatching(/Do .* again/) })
        await Late.bulkSave([doc])
      },
    ],
  ])('is not stored by %s of something else in the place of what another process wrote', async (_name, write) => {
    const { _id, docs } = await older()
    const [one, other] = docs
    one.tags.push(both[0])
    one.count = 40
    await one.save()
    other.name = 'y'
    await write(other)
    expect(await opened(_id)).toMatchObject({ tags: ['a first tag', both[0]], count: 40, list: [] })
    expect((await raw(Late.collection.name))[0]).toMatchObject({ name: 'y' })
    expect([await other.count, [...(await other.tags)]]).toEqual([40, ['a first tag', both[0]]])
  })

  test('is not stored by a save of nothing else either', async () => {
    const { _id } = await Late.create({ any: secret('any value') })
    await rawCollection(Late).updateOne({ _id }, { $unset: { count: 1 } })
    const [one, other] = [await Late.findById(_id), await Late.findById(_id)]
    one.count = 40
    await one.save()
    await other.save()
    expect(await opened(_id)).toMatchObject({ count: 40 })
    expect(await other.count).toBe(40)
  })

  test('is not stored later, where a save was refused for something else', async () => {
    const { _id, docs } = await older(3)
    const [one, other, third] = docs
    one.list.push(both[0])
    one.count = 40
    other.list.push(both[1])
    await one.save()
    await expect(other.save()).rejects.toMatchObject({ code: 'RECORD_CHANGED' })
    third.count = 41
    await third.save()
    other.list = [both[1]]
    await other.save()
    expect(await opened(_id)).toMatchObject({ count: 41, list: [both[1]] })
  })

  test('is stored with what else is written, and takes the place of anything once it is given', async () => {
    const { _id, docs } = await older(4)
    const [one, other, third, fourth] = docs
    one.name = 'y'
    await one.save()
    expect((await raw(Late.collection.name))[0]).toMatchObject({ tags: expect.anything(), count: expect.anything() })
    other.set({ tags: [both[0]], count: 1 })
    other.tags.push(both[1])
    await other.save()
    expect(await opened(_id)).toMatchObject({ tags: both, count: 1 })
    third.set({ tags: ['a first tag'], list: [], count: 40 })
    await third.save()
    expect(await opened(_id)).toMatchObject({ tags: ['a first tag'], list: [], count: 40 })
    fourth.count = 1
    await fourth.save()
    expect(await opened(_id)).toMatchObject({ count: 1 })
  })

  test('stays while nothing is stored, whatever else is done to the record', async () => {
    const { _id } = await Late.create({ mixed: { a: secret('an entry') } })
    await rawCollection(Late).updateOne({ _id }, { $unset: { tags: 1, list: 1, count: 1 } })
    const doc = await Late.findById(_id)
    await doc.rotateKmsKey()
    expect([[...doc.tags], [...doc.list], doc.count]).toEqual([['a first tag'], [], 1])
    doc.tags.push(both[0])
    await doc.save()
    expect(await opened(_id)).toMatchObject({ tags: ['a first tag', both[0]], list: [] })
  })
})

/** Has the driver give no answer to the next write, which is made, and make none after it, until it is mended. */
function breakNetwork(): () => void {
  const driver = mongo.Collection.prototype as any
  const { updateOne, bulkWrite } = driver
  let isDown = false
  const broken = (method: any) =>
    async function write(this: unknown, ...args: unknown[]) {
      if (!isDown) await method.apply(this, args)
      isDown = true
      throw new Error('no answer')
    }
  Object.assign(driver, { updateOne: broken(updateOne), bulkWrite: broken(bulkWrite) })
  return () => Object.assign(driver, { updateOne, bulkWrite })
}

describe.each<[string, (doc: any) => Promise<unknown>]>([
  ['save()', (doc) => doc.save()],
  ['bulkSave()', (doc) => User.bulkSave([doc])],
])('what was written without an answer by %s is known for its own', (_name, write) => {
  const again = (doc: any) => write(doc).catch(() => write(doc))

  test.each([1, 3])('after %d calls that failed', async (calls) => {
    const { _id, one } = await two()
    one.list.push(both[0])
    const mend = breakNetwork()
    for (let call = 0; call < calls; call++) await expect(write(one)).rejects.toThrow('no answer')
    mend()
    await again(one)
    expect([...(await (await User.findById(_id)).list)]).toEqual(['first entry', both[0]])
  })

  test.each<[string, (doc: any) => unknown, (doc: any) => unknown, (doc: any) => Promise<unknown>]>([
    ['more of a list', (doc) => doc.list.push('a'), (doc) => doc.list.push('b'), async (doc) => [...(await doc.list)]],
    ['$inc()', (doc) => doc.$inc('count'), (doc) => doc.$inc('count'), (doc) => doc.count],
    [
      'an object of no type',
      (doc) => doc.set('any.a', 1),
      (doc) => doc.set('any.b', 2),
      async (doc) => ({ ...(await doc.any) }),
    ],
    [
      'a nested object',
      (doc) => doc.set('nested.a', 'a'),
      (doc) => doc.set('nested.b', 'b'),
      async (doc) => (await doc.nested).toObject?.() ?? doc.nested,
    ],
  ])('where %s follows, of nothing', async (_what, change, then, read) => {
    const { _id } = await User.create({ list: [], plain: secret('a plain text') })
    const one = await User.findById(_id)
    await one.decrypt()
    change(one)
    const mend = breakNetwork()
    await expect(write(one)).rejects.toThrow('no answer')
    mend()
    then(one)
    await again(one)
    const expected = await read(one)
    expect(await read(await User.findById(_id))).toEqual(expected)
  })
})

test('what an aborted transaction wrote does not take away what another process wrote after it', async () => {
  const { _id, one, other } = await two()
  const session = await connection.startSession()
  session.startTransaction()
  one.list.push(both[0])
  one.$session(session)
  await one.save()
  await session.abortTransaction()
  await session.endSession()
  other.list.push(both[1])
  await other.save()
  one.$session(null)
  await expect(one.save()).rejects.toMatchObject({ code: 'RECORD_CHANGED', message: expect.stringMatching(/anew/) })
  expect(await textOf(User, _id)).toContain(both[1])
})

test('a change of a part that another process has taken away is refused', async () => {
  const { _id, one } = await two()
  one.list.push(both[0])
  await User.updateOne({ _id }, { $unset: { list: 1 } })
  await expect(one.save()).rejects.toMatchObject({
    code: 'RECORD_CHANGED',
    message: expect.stringMatching(/load the record anew/),
  })
  expect((await raw(User.collection.name))[0]).not.toHaveProperty('list')
})

test('a change of a part in a transaction that is tried anew', async () => {
  const { _id, one } = await two()
  let tries = 0
  await connection
    .transaction(async (session) => {
      one.$session(session)
      one.list.push(secret(`entry of try ${++tries}`))
      await one.save()
      one.list.push(secret(`second of try ${tries}`))
      await one.save()
      if (tries === 1)
        throw Object.assign(new Error('again'), {
          errorLabelSet: 0,
          hasErrorLabel: (label: string) => label === 'TransientTransactionError',
        })
    })
    .catch((error: Error) => expect(error.message).toBe('again'))
  one.$session(null)
  one.list.push(secret('after the transaction'))
  await one.save()
  expect([...(await (await User.findById(_id)).list)]).toContain('after the transaction')
})

test('under optimisticConcurrency it is a VersionError, as ever', async () => {
  const Careful = model({ optimisticConcurrency: true })
  const { one, other } = await two(Careful)
  one.list.push(both[0])
  other.list.push(both[1])
  await one.save()
  await expect(other.save()).rejects.toMatchObject({ name: 'VersionError' })
})

test('a record that is gone is not found, as ever', async () => {
  const { _id, one } = await two()
  one.list.push(both[0])
  await rawCollection(User).deleteOne({ _id: _id as Types.ObjectId })
  await expect(one.save()).rejects.toMatchObject({ name: 'DocumentNotFoundError' })
})
