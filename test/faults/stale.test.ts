import { Schema } from 'mongoose'
import { at, expectReads, named, plugin, provider, secret, useFaults } from './support'

const { connection } = useFaults()

const day = (n: number) => new Date(Date.UTC(2000, 0, n))

/** Types whose values are objects, which a record keeps as they were read: what is stored at first, and what another process writes. */
const kinds: [string, any, any, any][] = [
  ['Date', Date, day(1), day(2)],
  ['Mixed', Schema.Types.Mixed, { a: 'old value' }, { a: 'new value' }],
  ['a list', [String], ['old value'], ['new value']],
  ['a list of dates', [Date], [day(1)], [day(2)]],
  ['Map', { type: Map, of: String }, { a: 'old value' }, { a: 'new value' }],
  ['Buffer', Buffer, Buffer.from('old value'), Buffer.from('new value')],
  ['a nested object', { a: String, at: Date }, { a: 'old value', at: day(1) }, { a: 'new value', at: day(2) }],
  ['subdocuments', [new Schema({ a: String }, { _id: false })], [{ a: 'old value' }], [{ a: 'new value' }]],
  ['String', String, 'old value', 'new value'],
]

const plain = (value: any): unknown => {
  const object = value?.toObject?.({ flattenMaps: true }) ?? value
  if (object instanceof Map) return Object.fromEntries(object)
  return object?._bsontype === 'Binary' ? Buffer.from(object.buffer) : object
}

/** How a document comes to the keys and envelopes that another process has stored. */
const takeovers: [string, (doc: any, Model: any) => Promise<unknown>][] = [
  ['nothing', async () => {}],
  ['a rotation', (doc) => doc.rotateKmsKey().catch(expectCode)],
  [
    'two rotations',
    async (doc) => {
      await doc.rotateKmsKey().catch(expectCode)
      await doc.rotateKmsKey().catch(expectCode)
    },
  ],
  [
    'a retry after RECORD_CHANGED',
    async (doc, Model) => {
      await (await Model.findById(doc._id)).rotateKmsKey()
      doc.email = secret('mine@example.org')
      await doc.save().catch(expectCode)
      await doc.save().catch(expectCode)
    },
  ],
  [
    'a save of another field',
    async (doc) => {
      doc.email = secret('mine@example.org')
      await doc.save().catch(expectCode)
    },
  ],
  [
    'a rotation by another process',
    async (doc, Model) => {
      await (await Model.findById(doc._id)).rotateKmsKey()
      await doc.email
    },
  ],
  [
    'a bulkSave after RECORD_CHANGED',
    async (doc, Model) => {
      await (await Model.findById(doc._id)).rotateKmsKey()
      doc.email = secret('mine@example.org')
      await Model.bulkSave([doc]).catch(expectCode)
      await Model.bulkSave([doc]).catch(expectCode)
    },
  ],
]

function expectCode(error: any): void {
  expect(error).toHaveProperty('code', 'RECORD_CHANGED')
}

describe.each(kinds)('fault 18: %s that was read before another process changed it', (_kind, type, before, after) => {
  test.each(takeovers)('is not written back by a save of a clear field, after %s', async (_name, takeOver) => {
    const schema = new Schema<any>({ name: String }).plugin(plugin, {
      provider,
      fields: { email: String, field: type },
    })
    const Model = connection.model<any>(named('User'), schema) as any
    const { _id } = await Model.create({ name: 'Ada', email: secret('ada@example.org'), field: before })
    const doc = await Model.findById(_id)
    expect(plain(await doc.field)).toEqual(before)

    await Model.updateOne({ _id }, { field: after })
    await takeOver(doc, Model)
    doc.name = 'Countess'
    await doc.save().catch(async (error: any) => {
      expectCode(error)
      await doc.save()
    })

    const loaded = await Model.findById(_id)
    expect(loaded.name).toBe('Countess')
    expect(plain(await loaded.field)).toEqual(after)
    doc.email = secret('later@example.org')
    await doc.save().catch(() => doc.save())
    expect(plain(await at(await Model.findById(_id), 'field'))).toEqual(after)
    await expectReads(Model, { _id }, { email: 'later@example.org' })
  })
})

test('fault 18: after a rotation that took over what is stored, a field that was read reads as it is stored', async () => {
  const schema = new Schema<any>({ name: String }).plugin(plugin, { provider, fields: { born: Date, any: {} } })
  const Model = connection.model<any>(named('User'), schema) as any
  const { _id } = await Model.create({ name: 'Ada', born: day(1), any: { a: 'old value' } })
  const doc = await Model.findById(_id)
  await doc.decrypt()
  await Model.updateOne({ _id }, { born: day(2), any: { a: 'new value' } })
  await doc.rotateKmsKey()
  expect([await doc.born, await doc.any]).toEqual([day(2), { a: 'new value' }])
})

test('fault 18: a change in place that is not saved yet is saved, or refused, after a rotation', async () => {
  const schema = new Schema<any>({ name: String }).plugin(plugin, { provider, fields: { born: Date, any: {} } })
  const Model = connection.model<any>(named('User'), schema) as any
  const { _id } = await Model.create({ name: 'Ada', born: day(1), any: { a: 'old value' } })
  const doc = await Model.findById(_id)
  await doc.decrypt()
  doc.born.setTime(day(5).getTime())
  doc.any.a = secret('my own value')
  const rotated = await doc.rotateKmsKey().then(
    () => true,
    (error: any) => {
      expect(error).toHaveProperty('code')
      return false
    },
  )
  await doc.save()
  const loaded = await Model.findById(_id)
  expect({ rotated, born: await loaded.born, any: await loaded.any }).toEqual({
    rotated,
    born: day(5),
    any: { a: 'my own value' },
  })
})
