import mongoose, { type ClientSession } from 'mongoose'
import { rotation, useRaceTrack, type Writer, writers } from './racing'

const track = useRaceTrack()
const { connection, model, raw, wrote } = track

/** Each way to run a transaction. `connection.transaction()` also sets back the documents that it saw. */
const runners: readonly (readonly [
  string,
  (work: (session: ClientSession) => Promise<unknown>) => Promise<unknown>,
])[] = [
  ['session.withTransaction()', (work) => connection.withSession((session) => session.withTransaction(work))],
  ['connection.transaction()', (work) => connection.transaction(work)],
]

const transient = { code: 112, message: 'WriteConflict', errorLabels: ['TransientTransactionError'] }

async function withKey(Racer: any) {
  return Racer.create({ name: 'Ada', note: wrote('kept note') })
}

async function withoutKey(Racer: any) {
  const { insertedId } = await Racer.collection.insertOne({ name: 'Ada' })
  return Racer.findById(insertedId)
}

const starts = [
  ['a record with a data key', withKey],
  ['a record without a data key', withoutKey],
] as const

describe.each(runners)('%s', (_runner, run) => {
  test('reads its own encrypted writes, and others do not until it commits', async () => {
    const Racer = model()
    const id = (await withKey(Racer))._id
    await run(async (session) => {
      await Racer.create([{ name: 'Bob', email: wrote('email of Bob') }], { session })
      await Racer.updateOne({ _id: id }, { email: wrote('email of Ada') }, { session })
      const record = await Racer.findById(id).session(session)
      expect(await record.email).toBe('email of Ada')
      record.phone = wrote('phone of Ada')
      await record.save()
      expect(await (await Racer.findById(id).session(session)).decrypt()).toEqual({
        email: 'email of Ada',
        phone: 'phone of Ada',
        note: 'kept note',
      })
      expect(await (await Racer.findOne({ name: 'Bob' }).session(session)).email).toBe('email of Bob')
      expect(await (await Racer.findById(id)).email).toBeUndefined()
      expect(await Racer.findOne({ name: 'Bob' })).toBeNull()
    })
    expect(await (await Racer.findById(id)).phone).toBe('phone of Ada')
    expect(await (await Racer.findOne({ name: 'Bob' })).email).toBe('email of Bob')
  })

  describe.each(starts)('on %s', (_start, start) => {
    test('an abort leaves the stored record as it was', async () => {
      const Racer = model()
      const { _id } = await start(Racer)
      const before = await raw(Racer)
      await expect(
        run(async (session) => {
          const record = await Racer.findById(_id).session(session)
          record.email = wrote('aborted email')
          await record.save()
          await Racer.updateOne({ _id }, { phone: wrote('aborted phone') }, { session })
          await Racer.findOneAndUpdate({ _id }, { email: wrote('aborted email 2') }, { session })
          await record.rotateKmsKey()
          throw new Error('changed my mind')
        }),
      ).rejects.toThrow('changed my mind')
      expect(await raw(Racer)).toEqual(before)
    })

    test('a document saved in an aborted transaction is saved whole afterwards', async () => {
      const Racer = model()
      const { _id } = await start(Racer)
      const record = await Racer.findById(_id)
      record.email = wrote('saved email')
      await expect(
        run(async (session) => {
          await record.save({ session })
          record.phone = wrote('saved phone')
          await record.save({ session })
          throw new Error('changed my mind')
        }),
      ).rejects.toThrow('changed my mind')
      record.$session(null)
      await record.save()
      expect(await (await Racer.findById(_id)).decrypt()).toMatchObject({ email: 'saved email', phone: 'saved phone' })
    })

    test.each(['update', 'commitTransaction'])('is tried again when %s fails for a moment', async (command) => {
      const Racer = model()
      const { _id } = await start(Racer)
      const record = await Racer.findById(_id)
      track.server.faults.fail({ command }, transient)
      let attempts = 0
      await run(async (session) => {
        attempts++
        record.email = wrote('saved email')
        await record.save({ session })
        record.phone = wrote('saved phone')
        await record.save({ session })
        await Racer.updateOne({ _id }, { note: wrote('updated note') }, { session })
      })
      expect(attempts).toBe(2)
      expect(await (await Racer.findById(_id)).decrypt()).toEqual({
        email: 'saved email',
        phone: 'saved phone',
        note: 'updated note',
      })
    })

    test.each([...writers, rotation].map((other) => [other.name, other] as const))(
      'begins anew when %s outside comes first',
      async (_name, other) => {
        const Racer = model()
        const { _id } = await start(Racer)
        let attempts = 0
        await run(async (session) => {
          attempts++
          const record = await Racer.findById(_id).session(session)
          if (attempts === 1) await (await other.begin(Racer, _id, 'phone', wrote('other phone')))()
          record.email = wrote('email inside')
          await record.save()
        })
        expect(attempts).toBe(_start === 'a record without a data key' && other === rotation ? 1 : 2)
        const found = await (await Racer.findById(_id)).decrypt()
        expect(found.email).toBe('email inside')
        if (other !== rotation) expect(found.phone).toBe('other phone')
      },
    )
  })

  test('a save in a later transaction knows that the one before was committed', async () => {
    const Racer = model()
    const record = await withoutKey(Racer)
    await run(async (session) => {
      record.email = wrote('first email')
      await record.save({ session })
    })
    await Racer.updateOne({ _id: record._id }, { email: wrote('other email') })
    await run(async (session) => {
      record.phone = wrote('second phone')
      await record.save({ session })
    })
    expect(await (await Racer.findById(record._id)).decrypt()).toMatchObject({
      email: 'other email',
      phone: 'second phone',
    })
    expect((await raw(Racer))[0]!.encrypted_kms_key).toHaveLength(1)
  })

  test('an upsert that meets another transaction is tried again', async () => {
    const Racer = model()
    await Racer.collection.createIndex({ name: 1 }, { unique: true })
    let attempts = 0
    await run(async (session) => {
      attempts++
      await Racer.findOne({ name: 'Eve' }).session(session)
      if (attempts === 1) await Racer.create({ name: 'Ada', phone: wrote('other phone') })
      await Racer.updateOne({ name: 'Ada' }, { email: wrote('email inside') }, { upsert: true, session })
    })
    expect(await (await Racer.findOne({ name: 'Ada' })).decrypt()).toMatchObject({
      email: 'email inside',
      phone: 'other phone',
    })
  })
})

test('connection.transaction() inserts a new document anew in the second attempt', async () => {
  const Racer = model()
  const record = new Racer({ name: 'Ada', email: wrote('email of Ada') })
  track.server.faults.fail({ command: 'update' }, transient)
  await connection.transaction(async (session) => {
    await record.save({ session })
    record.phone = wrote('phone of Ada')
    await record.save({ session })
  })
  expect(await (await Racer.findById(record._id)).decrypt()).toMatchObject({
    email: 'email of Ada',
    phone: 'phone of Ada',
  })
})

test.each(['update', 'commitTransaction'])(
  'bulkSave() is part of a transaction that is tried again after %s',
  async (command) => {
    const Racer = model()
    const [ada, bob] = [await withKey(Racer), await withoutKey(Racer)]
    track.server.faults.fail({ command }, transient)
    let attempts = 0
    await connection.transaction(async (session) => {
      attempts++
      ada.email = wrote('email of Ada')
      bob.email = wrote('email of Bob')
      await Racer.bulkSave([ada, bob], { session })
    })
    expect(attempts).toBe(2)
    expect(await (await Racer.findById(ada._id)).email).toBe('email of Ada')
    expect(await (await Racer.findById(bob._id)).email).toBe('email of Bob')
  },
)

test('a write outside waits for the transaction and is tied to what that left', async () => {
  const Racer = model()
  const record = await withKey(Racer)
  const outside = await (writers[0] as Writer).begin(Racer, record._id, 'phone', wrote('outside phone'))
  let waiting: Promise<unknown> | undefined
  await connection.transaction(async (session) => {
    const inside = await Racer.findById(record._id).session(session)
    await inside.rotateKmsKey()
    const hold = track.server.faults.hold({ command: 'update', collection: Racer.collection.name })
    waiting = outside().catch((error) => error)
    await hold.reached
    hold.release()
  })
  expect(await waiting).toMatchObject({ code: 'RECORD_CHANGED' })
  await outside()
  expect(await (await Racer.findById(record._id)).decrypt()).toMatchObject({
    phone: 'outside phone',
    note: 'kept note',
  })
})

describe('with the session passed on by the asynchronous context', () => {
  beforeAll(() => mongoose.set('transactionAsyncLocalStorage', true))
  afterAll(() => mongoose.set('transactionAsyncLocalStorage', false))

  test('every write is part of the transaction', async () => {
    const Racer = model()
    const { _id } = await withKey(Racer)
    const keyless = await withoutKey(Racer)
    const before = await raw(Racer)
    await expect(
      connection.transaction(async () => {
        const record = await Racer.findById(_id)
        record.email = wrote('aborted email')
        await record.save()
        await Racer.updateOne({ _id }, { phone: wrote('aborted phone') })
        await Racer.bulkWrite([{ updateOne: { filter: { _id }, update: { note: wrote('aborted note') } } }])
        await Racer.create([{ email: wrote('aborted new email') }])
        await record.rotateKmsKey()
        await Racer.updateOne({ _id: keyless._id }, { email: wrote('aborted first email') })
        keyless.phone = wrote('late phone')
        await keyless.save()
        expect(await (await Racer.findById(keyless._id)).decrypt()).toMatchObject({
          email: 'aborted first email',
          phone: 'late phone',
        })
        throw new Error('changed my mind')
      }),
    ).rejects.toThrow('changed my mind')
    expect(await raw(Racer)).toEqual(before)
    await keyless.save().catch(() => keyless.save())
    expect(await (await Racer.findById(keyless._id)).phone).toBe('late phone')
  })

  test('a job over the collection is refused, and its transaction can go on', async () => {
    const Racer = model()
    const { _id } = await withKey(Racer)
    const before = await raw(Racer)
    await connection.transaction(async () => {
      for (const job of [Racer.rotateKmsKey, Racer.verifyKms]) {
        await expect(job.call(Racer)).rejects.toMatchObject({
          code: 'WRITE_REFUSED',
          message: expect.stringContaining('cannot be part of a transaction'),
        })
      }
      expect(await raw(Racer)).toEqual(before)
      await Racer.updateOne({ _id }, { phone: wrote('new phone') })
    })
    expect(await (await Racer.findById(_id)).phone).toBe('new phone')
    expect(await Racer.rotateKmsKey()).toMatchObject({ updated: 1 })
  })
})
