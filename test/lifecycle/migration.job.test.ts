import mongoose, { Schema } from 'mongoose'
import { misconfigured, named, plugin, provider, refused, useFaults, userModel } from '../faults/support'
import { isSealed, sealedIn, versions } from './migrating'

// The jobs that encrypt all that was stored before, and that undo it.
const database = useFaults()
const { connection, raw, tamper, plant } = database
const { Binary } = mongoose.mongo.BSON

const nothing = {
  processed: 0,
  updated: 0,
  unchanged: 0,
  failed: 0,
  checkpoint: undefined,
  failures: [],
  interrupted: false,
}
const indexed = { email: { type: String, unique: true }, phone: { type: String, blindIndex: true }, dob: Date }
const before = { email: String, phone: String, dob: Date }

async function people(options: object = {}, fields: object = indexed, old: object = before) {
  const both = await versions(database, options, fields, {}, old)
  const commands: any[] = []
  both.New.db
    .getClient()
    .on('commandStarted', ({ commandName, command }: any) => commands.push({ commandName, command }))
  return { ...both, commands }
}

const ada = { name: 'Ada', email: 'ada@example.org', phone: '+44 1', dob: new Date(0) }
const bob = { name: 'Bob', email: 'bob@example.org' }

describe('Model.migrateToKms()', () => {
  test('encrypts all that is in the clear, with index values, and changes nothing else', async () => {
    const { Old, New, kms } = await people()
    await Old.create([ada, bob, { name: 'None' }, { name: 'Null', email: null }])
    await New.create({ name: 'New', email: 'new@example.org' })
    const stored = await raw(Old)
    kms.calls.generate = 0
    const result = await New.migrateToKms()
    expect(result).toMatchObject({
      processed: 2,
      updated: 2,
      unchanged: 0,
      failed: 0,
      failures: [],
      interrupted: false,
    })
    const after = await raw(Old)
    expect(after.map((each) => sealedIn(each))).toEqual([['email', 'phone', 'dob'], ['email'], [], [], ['email']])
    const { email, phone, dob, ...kept } = stored[0]
    expect(after[0]).toMatchObject(kept)
    expect(after[0]).toMatchObject({ email_bidx: expect.anything(), phone_bidx: expect.anything() })
    expect(Object.keys(after[0])).not.toContain('__t')
    expect([email, phone, dob]).toEqual([ada.email, ada.phone, ada.dob])
    expect(after.slice(2)).toEqual(stored.slice(2))
    expect(kms.calls).toEqual({ generate: 2, unwrap: 0 })
    const found = await New.findOne({ email: 'ada@example.org' })
    expect(await found.decrypt()).toEqual({ email: ada.email, phone: ada.phone, dob: ada.dob })
    expect(await New.countDocuments({ email: { $ne: null, $not: { $type: 'binData' } } })).toBe(0)
  })

  test('a second run reads alone, and finds nothing', async () => {
    const { Old, New, commands, kms } = await people()
    await Old.create([ada, bob])
    await New.migrateToKms()
    commands.length = kms.calls.generate = 0
    expect(await New.migrateToKms()).toMatchObject(nothing)
    expect(commands.map(({ commandName }) => commandName)).toEqual(['find', 'listIndexes'])
    expect(kms.calls).toEqual({ generate: 0, unwrap: 0 })
  })

  test('one update for each record, tied to all that it replaces; of a key that the record has it opens that', async () => {
    const { Old, New, commands, kms } = await people()
    await New.create({ ...bob, phone: '+44 2' })
    await Old.updateOne({}, { $set: { phone: '+44 3', dob: new Date(1) } })
    commands.length = kms.calls.generate = 0
    expect(await New.migrateToKms()).toMatchObject({ updated: 1 })
    const updates = commands.flatMap(({ commandName, command }) => (commandName === 'update' ? command.updates : []))
    expect(updates).toHaveLength(1)
    expect(JSON.stringify(updates[0].q)).toContain('+44 3')
    expect(kms.calls).toEqual({ generate: 0, unwrap: 1 })
    expect((await raw(Old))[0].encrypted_kms_key).toHaveLength(1)
    expect(await New.findOne({ phone: '+44 3' })).not.toBeNull()
  })

  test('of every type, also where MongoDB cannot tell what is in the clear', async () => {
    const of = {
      tags: [String],
      parts: [Buffer],
      meta: Schema.Types.Mixed,
      photo: Buffer,
      uuid: Schema.Types.UUID,
      address: { city: String },
    }
    const { Old, New } = await people({}, of, of)
    const uuid = new mongoose.Types.UUID()
    const given = {
      tags: ['a', null, 'b'],
      parts: [Buffer.from('one')],
      meta: [null],
      photo: Buffer.from([1, 2]),
      uuid,
      address: { city: 'London' },
    }
    await Old.collection.insertOne({
      name: 'all',
      ...given,
      parts: [new Binary(Buffer.from('one'))],
      uuid: new Binary(uuid.buffer, 4),
    })
    await Old.collection.insertOne({ name: 'bytes', photo: new Binary(Buffer.alloc(80, 1), 0) })
    expect(await New.migrateToKms()).toMatchObject({ processed: 2, updated: 2, failed: 0 })
    expect((await raw(Old)).map(sealedIn)).toEqual([Object.keys(of), ['photo']])
    const [all, bytes] = await New.find().sort({ _id: 1 })
    const read = await all.decrypt()
    expect([read.tags, read.meta, String(read.uuid), read.address]).toEqual([
      ['a', null, 'b'],
      [null],
      String(uuid),
      { city: 'London' },
    ])
    expect(Buffer.from((await bytes.photo).buffer.subarray?.(0, 80) ?? (await bytes.photo))).toHaveLength(80)
    expect(await New.migrateToKms()).toMatchObject({ updated: 0, failed: 0 })
  })

  test('of subdocuments in arrays, maps and arrays of arrays', async () => {
    const plainContact = new Schema<any>({ label: String, phone: String })
    const contact = new Schema<any>({ label: String }).plugin(plugin, {
      provider,
      fields: { phone: String },
      migrating: true,
    })
    const shape = (each: Schema) => ({
      home: each,
      list: [each],
      map: { type: Map, of: each },
      deep: [[each]],
      within: { list: [each] },
    })
    const name = named('Shapes')
    const Old = (await database.open()).model<any>(name, new Schema<any>(shape(plainContact) as any)) as any
    const New = connection.model<any>(name, new Schema<any>(shape(contact) as any)) as any
    const one = { label: 'x', phone: '+44 1' }
    for (const each of [
      { home: one },
      { list: [one, one] },
      { map: { a: one } },
      { deep: [[one]] },
      { within: { list: [{ label: 'y' }, one] } },
    ])
      await Old.create(each)
    const again = await New.migrateToKms()
    expect(again).toMatchObject({ updated: 5, failed: 0 })
    // With its space: base64 may have the rest by chance.
    expect(JSON.stringify(await raw(Old))).not.toContain('+44 1')
    expect(await New.migrateToKms()).toMatchObject({ updated: 0 })
    const read = await New.decrypt(await New.find().sort({ _id: 1 }).lean())
    const phones = JSON.stringify(read).match(/"phone":"\+44 1"/g)
    expect(phones).toHaveLength(6)
    expect(await New.migrateFromKms()).toMatchObject({ updated: 5, failed: 0 })
    expect(JSON.stringify(await raw(Old)).match(/"phone":"\+44 1"/g)).toHaveLength(6)
    expect(JSON.stringify(await raw(Old))).not.toContain('kms_key')
  })

  test('with a key of the owner’s, one for the record and what it holds', async () => {
    const contact = new Schema<any>({}).plugin(plugin, { fields: { phone: String }, migrating: true, dataKey: 'owner' })
    const schema = new Schema<any>({ contacts: [contact] })
    const New = userModel(connection, schema, { migrating: true })
    await plant(New, { email: 'ada@example.org', contacts: [{ _id: new mongoose.Types.ObjectId(), phone: '+44 1' }] })
    expect(await New.migrateToKms()).toMatchObject({ updated: 1 })
    const [stored] = await raw(New)
    expect([isSealed(stored.email), isSealed(stored.contacts[0].phone), stored.encrypted_kms_key.length]).toEqual([
      true,
      true,
      1,
    ])
    await New.migrateFromKms()
    const [back] = await raw(New)
    expect(back).toEqual({
      _id: stored._id,
      email: 'ada@example.org',
      contacts: [{ _id: stored.contacts[0]._id, phone: '+44 1' }],
    })
  })

  test('a record that fails is told of, its other fields and the other records are done', async () => {
    const { Old, New } = await people()
    await New.init()
    await Old.collection.insertMany([
      { ...ada },
      { ...bob, email: ada.email, phone: '+44 2' },
      { name: 'Odd', dob: 'never', phone: '+44 3' },
    ] as any)
    const { failures, ...counts } = await New.migrateToKms({ concurrency: 1 })
    expect(counts).toMatchObject({ processed: 3, updated: 1, failed: 2 })
    expect(failures.map(({ error }: any) => error.code)).toEqual([11000, 'PLAINTEXT_FOUND'])
    expect(failures.map(({ error }: any) => `${error.message}${JSON.stringify(error)}`).join()).not.toMatch(
      /example\.org|never/,
    )
    expect((await raw(Old)).map(sealedIn)).toEqual([['email', 'phone', 'dob'], ['phone'], ['phone']])
  })

  test('a record whose `_id` is stored as another type than the schema says', async () => {
    const { Old, New } = await people({}, { email: String }, { email: String })
    await plant(Old, { _id: '65f000000000000000000000' as never, email: 'ada@example.org' })
    expect(await New.migrateToKms()).toMatchObject({ updated: 1, failed: 0 })
    expect(sealedIn((await raw(Old))[0])).toEqual(['email'])
  })

  test('leaves nothing for verifyKms() to find, which names what is in the clear before', async () => {
    const { Old, New } = await people()
    await Old.create(ada)
    const codes = async () => (await New.verifyKms()).failures.map(({ path, code }: any) => [path, code])
    const found = ['email', 'phone', 'dob'].map((path) => [path, 'PLAINTEXT_FOUND'])
    expect(await codes()).toEqual(expect.arrayContaining(found))
    expect(await New.migrateToKms({ partition: { index: 0, of: 1 } })).toMatchObject({ updated: 1 })
    expect(await codes()).toEqual([])
  })

  test('takes the options of all jobs', async () => {
    const { Old, New } = await people()
    await Old.create([ada, bob])
    const progress: number[] = []
    const first = await New.migrateToKms({
      filter: { name: 'Bob' },
      batchSize: 1,
      onProgress: ({ updated }: any) => progress.push(updated),
    })
    expect([first.updated, progress]).toEqual([1, [1]])
    expect((await raw(Old)).map((each) => sealedIn(each).length)).toEqual([0, 1])
    const stopped = new AbortController()
    stopped.abort()
    expect(await New.migrateToKms({ signal: stopped.signal })).toMatchObject({ interrupted: true })
    await misconfigured(() => New.migrateToKms({ no: 1 }), /migrateToKms\(\): there is no option no/)
    await misconfigured(() => New.migrateToKms({ dropIndexes: 1 }), /dropIndexes: expected true or false/)
    for (const part of [{ filter: {} }, { partition: { index: 0, of: 2 } }, { resume: 1 }])
      await misconfigured(
        () => New.migrateToKms({ dropIndexes: true, ...part }),
        /dropIndexes: with (filter|partition|resume)/,
      )
  })

  test.each(['migrateToKms', 'migrateFromKms'])('%s is refused where nothing migrates', async (job) => {
    const Model = userModel(connection)
    await misconfigured(() => Model[job](), /migrating: true/)
    const doc = await Model.create({ email: 'ada@example.org' })
    await misconfigured(() => doc[job](), /migrating: true/)
  })
})

describe('the indexes of before', () => {
  const old = { email: { type: String, unique: true }, phone: { type: String, index: true }, dob: Date }

  test('are named, and stay', async () => {
    const { Old, New } = await people({}, indexed, old)
    Old.schema.index({ name: 1, email: 1 })
    await Old.init()
    await Old.createIndexes()
    expect(await New.migrateToKms()).toMatchObject({
      indexes: ['email_1', 'phone_1', 'name_1_email_1'],
      droppedIndexes: [],
    })
    expect((await New.collection.indexes()).map(({ name }: any) => name)).toContain('email_1')
  })

  test('are dropped where that is asked for, and nothing has failed', async () => {
    const { Old, New } = await people({}, indexed, old)
    await Old.init()
    await New.init()
    await Old.collection.insertMany([{ ...ada }, { ...bob, dob: 'never' }] as any)
    expect(await New.migrateToKms({ dropIndexes: true })).toMatchObject({
      failed: 1,
      indexes: ['email_1', 'phone_1'],
      droppedIndexes: [],
    })
    await tamper(Old, { name: 'Bob' }, { $unset: { dob: 1 } })
    expect(await New.migrateToKms({ dropIndexes: true })).toMatchObject({
      failed: 0,
      indexes: [],
      droppedIndexes: ['email_1', 'phone_1'],
    })
    const names = (await New.collection.indexes()).map(({ name }: any) => name)
    expect(names.sort()).toEqual(['_id_', 'email_bidx_1', 'phone_bidx_1'])
  })
})

describe('what is written meanwhile', () => {
  test('in the clear is never overwritten by what was read before, and is encrypted in its turn', async () => {
    const { Old, New, kms } = await people()
    await Old.create(ada)
    kms.during(() => tamper(Old, {}, { $set: { email: 'newer@example.org' } }))
    expect(await New.migrateToKms()).toMatchObject({ updated: 1, failed: 0 })
    expect(sealedIn((await raw(Old))[0])).toEqual(
      ['phone', 'dob', 'email'].sort((a, b) => Object.keys(indexed).indexOf(a) - Object.keys(indexed).indexOf(b)),
    )
    expect(await (await New.findOne({ email: 'newer@example.org' })).email).toBe('newer@example.org')
  })

  test('encrypted is kept', async () => {
    const { Old, New, kms } = await people()
    await Old.create(ada)
    kms.during(() => New.updateOne({}, { $set: { email: 'newer@example.org' } }))
    expect(await New.migrateToKms()).toMatchObject({ failed: 0 })
    expect(await New.findOne({ email: 'newer@example.org' })).not.toBeNull()
    expect((await raw(Old)).map(sealedIn)).toEqual([Object.keys(before)])
  })

  test('by one who never rests is told of', async () => {
    const { Old, New, kms } = await people({}, { email: String }, { email: String })
    await Old.create(ada)
    let count = 0
    const disturb = async () => {
      await tamper(Old, {}, { $set: { email: `${count++}@example.org` } })
      kms.during(disturb)
    }
    kms.during(disturb)
    const { failures } = await New.migrateToKms()
    expect(failures.map(({ error }: any) => error.code)).toEqual(['RECORD_CHANGED'])
    expect((await raw(Old))[0].email).toBe(`${count - 1}@example.org`)
  })

  test('that takes the record or the field away is left so', async () => {
    const { Old, New, kms } = await people({}, { email: String }, { email: String })
    await Old.create([ada, bob])
    kms.during(() => Old.deleteOne({ name: 'Ada' }))
    expect(await New.migrateToKms({ concurrency: 1 })).toMatchObject({ failed: 0 })
    expect(await raw(Old)).toHaveLength(1)
    await Old.create(ada)
    kms.during(() => Old.updateOne({ name: 'Ada' }, { $unset: { email: 1 } }))
    expect(await New.migrateToKms()).toMatchObject({ failed: 0 })
    expect((await raw(Old))[1]).not.toHaveProperty('email')
  })
})

describe('of one document', () => {
  test('migrateToKms() encrypts the stored record, and leaves what was changed', async () => {
    const { Old, New } = await people(
      {},
      { email: String, address: { street: String, city: String } },
      { email: String, address: { street: String, city: String } },
    )
    await Old.create({ email: 'ada@example.org', address: { street: 'A', city: 'B' } })
    const doc = await New.findOne()
    doc.name = 'changed'
    doc.address.city = 'C'
    await doc.migrateToKms()
    expect((await raw(Old))[0]).not.toHaveProperty('name')
    expect(sealedIn((await raw(Old))[0])).toEqual(['email', 'address'])
    expect(await doc.email).toBe('ada@example.org')
    await doc.save()
    const read = await (await New.findOne()).decrypt()
    expect(read).toMatchObject({ email: 'ada@example.org', address: { street: 'A', city: 'C' } })
    await doc.migrateToKms()
    await refused(() => new New({ name: 'not stored' }).migrateToKms(), /./).catch((error) =>
      expect(String(error)).toContain('DocumentNotFoundError'),
    )
  })

  test('migrateFromKms() undoes it', async () => {
    const { Old, New } = await people()
    await Old.create(ada)
    const [stored] = await raw(Old)
    const doc = await New.findOne()
    await doc.migrateToKms()
    doc.name = 'changed'
    await doc.migrateFromKms()
    expect(await raw(Old)).toEqual([stored])
    expect([doc.email, doc.name]).toEqual(['ada@example.org', 'changed'])
    await doc.save()
    expect(sealedIn((await raw(Old))[0])).toEqual(['email', 'phone', 'dob'])
  })
})

describe('Model.migrateFromKms()', () => {
  test('gives back what was stored before, without keys and index values', async () => {
    const { Old, New } = await people()
    await Old.create([ada, bob, { name: 'None' }])
    const stored = await raw(Old)
    await New.migrateToKms()
    expect(await New.migrateFromKms()).toMatchObject({ processed: 2, updated: 2, unchanged: 0, failed: 0 })
    expect(await raw(Old)).toEqual(stored)
    expect(await New.migrateFromKms()).toMatchObject(nothing)
    expect(await Old.findOne({ email: ada.email })).toMatchObject(ada)
    await New.migrateToKms()
    expect((await raw(Old)).map((each) => sealedIn(each).length)).toEqual([3, 1, 0])
  })

  test('leaves a record that cannot be opened as it is, and goes on', async () => {
    const { New } = await people()
    await New.create([ada, bob])
    await tamper(
      New,
      { name: 'Ada' },
      { $set: { phone: new Binary(Buffer.concat([Buffer.of(1), Buffer.alloc(40)]), 0x80) } },
    )
    const [damaged] = await raw(New)
    const { failures, ...counts } = await New.migrateFromKms()
    expect(counts).toMatchObject({ updated: 1, failed: 1 })
    expect(failures[0].error.code).toBe('DATA_KEY_MISSING')
    const [same, done] = await raw(New)
    expect(same).toEqual(damaged)
    expect(Object.keys(done)).not.toContain('encrypted_kms_key')
  })

  test('never takes a key away that something is under: of fields that another version of the schema knows', async () => {
    const { New, again } = await people()
    const Later = await again({ fields: { ...indexed, note: String } })
    await Later.create({ ...ada, note: 'a quiet note' })
    expect(await New.migrateFromKms()).toMatchObject({ updated: 1 })
    expect(sealedIn((await raw(New))[0])).toEqual(['note'])
    expect(await (await Later.findOne()).note).toBe('a quiet note')
    await Later.migrateFromKms()
    expect(Object.keys((await raw(New))[0])).not.toContain('encrypted_kms_key')
  })

  test('takes nothing away that is written meanwhile', async () => {
    const { New, kms, again } = await people()
    const Other = await again()
    await New.create(ada)
    kms.during(() => Other.updateOne({}, { $set: { email: 'newer@example.org' } }))
    expect(await New.migrateFromKms()).toMatchObject({ updated: 1, failed: 0 })
    expect((await raw(New))[0]).toMatchObject({ ...ada, email: 'newer@example.org' })
  })
})
