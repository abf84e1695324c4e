import { Schema } from 'mongoose'
import { localKms } from '../lib'
import { insist, rotation, useRaceTrack, writerOf, writers } from './racing'

const track = useRaceTrack()
const { interrupt, model, raw, wrote } = track

const updateOf = (Racer: any) => ({ command: 'update', collection: Racer.collection.name })
const context = (doc: { _id: unknown }) => ({ Record: String(doc._id) })

describe('a second generation of keys', () => {
  function generations() {
    const Old = model()
    const New = model({ like: Old, version: 2, previousVersions: { 1: { keyId: localKms().keyId, context } } })
    return { Old, New }
  }

  test.each(writers.map((held) => [held.name, held] as const))(
    '%s adds its key beside the old one, unless that is rotated meanwhile',
    async (_name, held) => {
      const { Old, New } = generations()
      const old = await Old.create({ name: 'Ada', note: wrote('kept note') })
      const write = await held.begin(New, old._id, 'email', wrote('held email'))
      const at = held.command === 'bulkWrite' ? { command: 'bulkWrite' } : { ...updateOf(New), command: held.command }
      let first = true
      await insist(() => {
        if (!first) return write()
        first = false
        // As many keys as before, and another one.
        return interrupt(at, write, () => old.rotateKmsKey())
      })
      expect((await raw(New))[0]!.encrypted_kms_key.map((entry: any) => entry.version)).toEqual([1, 2])
      expect(await (await New.findById(old._id)).decrypt()).toMatchObject({ email: 'held email', note: 'kept note' })
    },
  )

  test('a process of the first generation writes on beside one of the second', async () => {
    const { Old, New } = generations()
    const { _id } = await Old.create({ name: 'Ada', note: wrote('kept note') })
    const old = await Old.findById(_id)
    old.phone = wrote('old phone')
    await interrupt(
      updateOf(New),
      () => old.save(),
      async () => {
        const record = await New.findById(_id)
        record.email = wrote('new email')
        await record.save()
      },
    )
    expect(await (await New.findById(_id)).decrypt()).toEqual({
      email: 'new email',
      phone: 'old phone',
      note: 'kept note',
    })
    await (await New.findById(_id)).rotateKmsKey()
    expect((await raw(New))[0]!.encrypted_kms_key.map((entry: any) => entry.version)).toEqual([2])
  })
})

test('a rotation by a process that does not know a field keeps the key of that field', async () => {
  const Old = model({ fields: { email: String } })
  const New = model({ like: Old })
  const { _id } = await New.create({ email: wrote('first email'), phone: wrote('kept phone') })
  await (await Old.findById(_id)).rotateKmsKey()
  const found = await New.findById(_id)
  expect(await found.decrypt()).toEqual({ email: 'first email', phone: 'kept phone', note: undefined })
  expect((await raw(New))[0]!.encrypted_kms_key).toHaveLength(2)
  await found.rotateKmsKey()
  expect((await raw(New))[0]!.encrypted_kms_key).toHaveLength(1)
})

test('a rotation starts anew when a key came to the record with a field that it does not know', async () => {
  const Old = model({ fields: { email: String } })
  const New = model({ like: Old, version: 2, previousVersions: { 1: { keyId: localKms().keyId, context } } })
  const record = await Old.create({ email: wrote('first email') })
  await interrupt(
    updateOf(Old),
    () => record.rotateKmsKey(),
    async () => {
      await New.updateOne({ _id: record._id }, { phone: wrote('new phone') })
    },
  )
  expect(await (await New.findById(record._id)).decrypt()).toMatchObject({ email: 'first email', phone: 'new phone' })
  expect((await raw(New))[0]!.encrypted_kms_key.map((entry: any) => entry.version).sort()).toEqual([1, 2])
})

test('a rotation of a record that is deleted meanwhile is refused as a save would be', async () => {
  const Racer = model()
  const record = await Racer.create({ note: wrote('kept note') })
  await expect(
    interrupt(
      updateOf(Racer),
      () => record.rotateKmsKey(),
      () => Racer.deleteOne({ _id: record._id }),
    ),
  ).rejects.toMatchObject({ name: 'DocumentNotFoundError' })
  expect(await raw(Racer)).toEqual([])
  await expect(new Racer({ note: 'kept note' }).rotateKmsKey()).rejects.toMatchObject({ name: 'DocumentNotFoundError' })
})

test('a save of changed arrays, refused for a rotation, is no VersionError for ever', async () => {
  const Racer = model({ schema: new Schema({ name: String, list: [String] }) })
  const { _id } = await Racer.create({ list: ['a', 'b'], note: wrote('kept note') })
  const record = await Racer.findById(_id)
  record.list = ['c']
  record.email = wrote('saved email')
  await (await Racer.findById(_id)).rotateKmsKey()
  await expect(record.save()).rejects.toMatchObject({ code: 'RECORD_CHANGED' })
  await record.save()
  const found = await Racer.findById(_id)
  expect([...found.list]).toEqual(['c'])
  expect(await found.email).toBe('saved email')
})

test('under optimisticConcurrency another save is still a VersionError', async () => {
  const Racer = model({ schema: new Schema({ name: String }, { optimisticConcurrency: true }) })
  const { _id } = await Racer.create({ name: 'Ada', note: wrote('first note') })
  const [one, two] = [await Racer.findById(_id), await Racer.findById(_id)]
  one.email = wrote('email of one')
  two.phone = wrote('phone of two')
  await one.save()
  await expect(two.save()).rejects.toMatchObject({ name: 'VersionError' })
  await expect(two.save()).rejects.toMatchObject({ name: 'VersionError' })
})

test('findOneAndUpdate().orFail() that is overtaken is made again, and does not claim that nothing was found', async () => {
  const Racer = model()
  const { _id } = await Racer.create({ note: wrote('kept note') })
  const write = async () => Racer.findOneAndUpdate({ _id }, { email: wrote('held email') }).orFail()
  await interrupt({ ...updateOf(Racer), command: 'findAndModify' }, write, async () =>
    (await rotation.begin(Racer, _id, 'email', ''))(),
  )
  expect(await (await Racer.findById(_id)).email).toBe('held email')
  await expect(Racer.findOneAndUpdate({ name: 'nobody' }, { email: 'x' }).orFail()).rejects.toMatchObject({
    name: 'DocumentNotFoundError',
  })
})

test('an update follows its filter to the record that matches now', async () => {
  const Racer = model()
  const ada = await Racer.create({ name: 'Ada', count: 1, note: wrote('note of Ada') })
  const bob = await Racer.create({ name: 'Bob', count: 2, note: wrote('note of Bob') })
  const write = async () => Racer.updateOne({ count: 1 }, { email: wrote('email of one') })
  const swap = async () => {
    await Racer.updateOne({ _id: ada._id }, { count: 2 })
    await Racer.updateOne({ _id: bob._id }, { count: 1 })
  }
  await interrupt(updateOf(Racer), write, swap)
  expect(await (await Racer.findOne({ name: 'Bob' })).email).toBe('email of one')
  expect(await (await Racer.findOne({ name: 'Ada' })).email).toBeUndefined()
})

test('an upsert by _id leaves the fields of a record that came up meanwhile, but for those it sets', async () => {
  const Racer = model({
    fields: { email: String, phone: String, note: { type: String, default: wrote('default note') } },
  })
  wrote('default note')
  const { _id } = new Racer()
  await interrupt(
    updateOf(Racer),
    async () =>
      Racer.updateOne(
        { _id },
        { $set: { email: wrote('held email') }, $setOnInsert: { phone: wrote('inserted phone') } },
        { upsert: true },
      ),
    () => Racer.collection.insertOne({ _id, name: 'Ada' }),
  )
  const [stored] = await raw(Racer)
  expect(Object.keys(stored!).sort()).toEqual(['_id', 'email', 'encrypted_kms_key', 'name'])
  expect(await (await Racer.findById(_id)).email).toBe('held email')
})

describe('updateMany() of several records, one of them overtaken', () => {
  async function three() {
    const Racer = model()
    const names = ['Ada', 'Bob', 'Eve']
    const records = []
    for (const [count, name] of names.entries())
      records.push(await Racer.create({ name, count, note: wrote(`note of ${name}`) }))
    return { Racer, records }
  }
  const update = (Racer: any) => async () => Racer.updateMany({ count: { $gte: 0 } }, { email: wrote('held email') })
  /** Each record, by its name, and whether it has what was written. */
  async function held(Racer: any) {
    const found = await Racer.find().sort('name')
    const entries = found.map(async (record: any) => [record.name, [await record.email, await record.note]] as const)
    return Object.fromEntries(await Promise.all(entries))
  }
  const written = (name: string) => ({ [name]: ['held email', `note of ${name}`] })

  test.each([0, 1, 2])('by a rotation is written all the same, under its new key: record %i', async (index) => {
    const { Racer, records } = await three()
    const { _id } = records[index]
    const result = await interrupt(updateOf(Racer), update(Racer), async () =>
      (await rotation.begin(Racer, _id, 'email', ''))(),
    )
    expect(result).toMatchObject({ acknowledged: true, matchedCount: 3, modifiedCount: 3 })
    expect(await held(Racer)).toEqual({ ...written('Ada'), ...written('Bob'), ...written('Eve') })
  })

  test('by its deletion is left out, and not counted', async () => {
    const { Racer, records } = await three()
    const result = await interrupt(updateOf(Racer), update(Racer), () => Racer.deleteOne({ _id: records[1]._id }))
    expect(result).toMatchObject({ acknowledged: true, matchedCount: 2, modifiedCount: 2, upsertedCount: 0 })
    expect(await held(Racer)).toEqual({ ...written('Ada'), ...written('Eve') })
  })

  test('by a write after which it does not match any more is left as it is, and not counted', async () => {
    const { Racer, records } = await three()
    const result = await interrupt(updateOf(Racer), update(Racer), async () => {
      await Racer.updateOne({ _id: records[1]._id }, { count: -1 })
      await (await rotation.begin(Racer, records[1]._id, 'email', ''))()
    })
    expect(result).toMatchObject({ matchedCount: 2, modifiedCount: 2 })
    expect(await held(Racer)).toEqual({ ...written('Ada'), Bob: [undefined, 'note of Bob'], ...written('Eve') })
  })
})

describe('bulkSave() of several documents, one of them overtaken', () => {
  test('is refused, and saves the rest when called again', async () => {
    const Racer = model()
    const ada = await Racer.create({ name: 'Ada', note: wrote('note of Ada') })
    const { insertedId } = await Racer.collection.insertOne({ name: 'Eve' })
    const eve = await Racer.findById(insertedId)
    const bob = new Racer({ name: 'Bob', email: wrote('email of Bob') })
    ada.email = wrote('email of Ada')
    eve.email = wrote('email of Eve')
    await (await Racer.findById(ada._id)).rotateKmsKey()
    await expect(Racer.bulkSave([bob, ada, eve])).rejects.toMatchObject({ code: 'RECORD_CHANGED' })
    expect([bob.isNew, bob.isModified(), ada.isModified('email')]).toEqual([false, false, true])
    await insist(() => Racer.bulkSave([bob, ada, eve]))
    for (const record of await Racer.find()) expect(await record.email).toBe(`email of ${record.name}`)
    expect(await Racer.countDocuments()).toBe(3)
  })

  test('takes no document for saved when the connection breaks', async () => {
    const Racer = model()
    const ada = await Racer.create({ name: 'Ada', note: wrote('note of Ada') })
    ada.email = wrote('email of Ada')
    track.server.faults.fail(updateOf(Racer), { code: 2, message: 'failed by a test' })
    await expect(Racer.bulkSave([ada])).rejects.toMatchObject({ code: 2 })
    expect(ada.isModified('email')).toBe(true)
    await Racer.bulkSave([ada])
    expect(await (await Racer.findById(ada._id)).email).toBe('email of Ada')
  })
})

describe('one bulkWrite()', () => {
  test('updates a record without a key twice', async () => {
    const Racer = model()
    const { insertedId: _id } = await Racer.collection.insertOne({ name: 'Ada' })
    await Racer.bulkWrite([
      { updateOne: { filter: { _id }, update: { email: wrote('first email') } } },
      { updateOne: { filter: { _id }, update: { phone: wrote('first phone') } } },
    ])
    expect(await (await Racer.findById(_id)).decrypt()).toMatchObject({ email: 'first email', phone: 'first phone' })
  })

  test('updates what it replaces under the key of the replacement', async () => {
    const Racer = model()
    const { _id } = await Racer.create({ name: 'Ada', note: wrote('kept note') })
    const operations = [
      { replaceOne: { filter: { _id }, replacement: { name: 'Bob', email: wrote('email of Bob') } } },
      { updateOne: { filter: { _id }, update: { phone: wrote('phone of Bob') } } },
    ]
    await Racer.bulkWrite(operations)
    const bob = await Racer.findById(_id)
    expect(await bob.decrypt()).toEqual({ email: 'email of Bob', phone: 'phone of Bob', note: undefined })
    expect((await raw(Racer))[0]!.encrypted_kms_key).toHaveLength(1)
  })

  test('names the operations that were overtaken, and the others are written', async () => {
    const Racer = model()
    const ada = await Racer.create({ name: 'Ada', note: wrote('note of Ada') })
    const bob = await Racer.create({ name: 'Bob', note: wrote('note of Bob') })
    const operations = ['Ada', 'Bob'].map((name) => ({
      updateOne: { filter: { name }, update: { email: wrote(`email of ${name}`) } },
    }))
    await expect(
      interrupt(
        updateOf(Racer),
        () => Racer.bulkWrite(operations),
        async () => (await rotation.begin(Racer, bob._id, 'email', ''))(),
      ),
    ).rejects.toMatchObject({ code: 'RECORD_CHANGED', message: expect.stringMatching(/operations 1 were/) })
    expect(await (await Racer.findById(ada._id)).email).toBe('email of Ada')
    expect(await (await Racer.findById(bob._id)).email).toBeUndefined()
    await Racer.bulkWrite(operations)
    expect(await (await Racer.findById(bob._id)).email).toBe('email of Bob')
  })

  test('does not call an update overtaken that was rotated after it', async () => {
    const Racer = model()
    const { _id } = await Racer.create({ name: 'Ada', note: wrote('kept note') })
    const write = () => Racer.bulkWrite([{ updateOne: { filter: { _id }, update: { email: wrote('held email') } } }])
    await write()
    await (await Racer.findById(_id)).rotateKmsKey()
    track.server.clearCommands()
    await write()
    expect(track.server.commands.map(({ name }) => name)).toEqual(['find', 'update'])
  })
})

describe('a write that finds nothing', () => {
  const writes: readonly (readonly [string, string, (Racer: any) => PromiseLike<unknown>])[] = [
    ['updateOne()', 'update', (Racer) => Racer.updateOne({ name: 'Ada' }, { email: wrote('lost email') })],
    [
      'findOneAndUpdate()',
      'findAndModify',
      (Racer) => Racer.findOneAndUpdate({ name: 'Ada' }, { email: wrote('lost email') }),
    ],
    ['replaceOne()', 'update', (Racer) => Racer.replaceOne({ name: 'Ada' }, { email: wrote('lost email') })],
    [
      'findOneAndReplace()',
      'findAndModify',
      (Racer) => Racer.findOneAndReplace({ name: 'Ada' }, { email: wrote('lost email') }),
    ],
    [
      'updateOne() of bulkWrite()',
      'update',
      (Racer) => Racer.bulkWrite([{ updateOne: { filter: { name: 'Ada' }, update: { email: wrote('lost email') } } }]),
    ],
    [
      'replaceOne() of bulkWrite()',
      'update',
      (Racer) =>
        Racer.bulkWrite([{ replaceOne: { filter: { name: 'Ada' }, replacement: { email: wrote('lost email') } } }]),
    ],
  ]
  test.each(writes)(
    '%s sends no value, and does not reach a record that comes up meanwhile',
    async (_name, command, write) => {
      const Racer = model()
      const result = await interrupt(
        { ...updateOf(Racer), command },
        () => write(Racer),
        () => Racer.create({ name: 'Ada', note: wrote('note of Ada') }),
      )
      if (command === 'update') expect(result).toMatchObject({ matchedCount: 0 })
      else expect(result).toBeNull()
      expect(JSON.stringify(track.server.commands)).not.toContain('lost email')
      expect(await (await Racer.findOne()).decrypt()).toEqual({
        email: undefined,
        phone: undefined,
        note: 'note of Ada',
      })
    },
  )
})

test.each(['email', 'phone'])(
  'save({ pathsToSave: ["name", "%s"] }) never stores ciphertext without its key',
  async (path) => {
    const Racer = model()
    const { insertedId } = await Racer.collection.insertOne({ name: 'Ada' })
    const record = await Racer.findById(insertedId)
    record.name = 'Eve'
    record.email = wrote('saved email')
    record.phone = wrote('saved phone')
    await record.save({ pathsToSave: ['name', path] })
    const [stored] = await raw(Racer)
    expect(path in stored!).toBe('encrypted_kms_key' in stored!)
    await record.save()
    expect(await (await Racer.findById(insertedId)).decrypt()).toMatchObject({
      email: 'saved email',
      phone: 'saved phone',
    })
  },
)

test('a document that failed to save reads and saves as the user left it', async () => {
  const Racer = model()
  const { _id } = await Racer.create({ note: wrote('kept note') })
  const record = await Racer.findById(_id)
  record.email = wrote('unsaved email')
  await (await writerOf('save()').begin(Racer, _id, 'email', wrote('other email')))()
  await (await Racer.findById(_id)).rotateKmsKey()
  await expect(record.save()).rejects.toMatchObject({ code: 'RECORD_CHANGED' })
  expect([record.email, record.isModified('email'), record.isModified('note')]).toEqual(['unsaved email', true, false])
  await record.save()
  expect(record.isModified()).toBe(false)
  expect(await record.note).toBe('kept note')
})
