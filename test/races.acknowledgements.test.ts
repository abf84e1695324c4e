import { insist, rotation, useRaceTrack, writers } from './racing'

const everyWriter = [...writers, rotation].map((writer) => [writer.name, writer] as const)
const starts = ['a record with a data key', 'a record without a data key'] as const

/** Where a write is lost: on its way to the server, or on the way of the answer back. */
const losses = ['dropBefore', 'dropAfter'] as const

describe.each([
  ['the driver tries again', true],
  ['the user tries again', false],
])('where %s', (_who, retryWrites) => {
  const track = useRaceTrack({ retryWrites, retryReads: true })
  const { model, raw, wrote } = track

  async function start(Racer: any, state: (typeof starts)[number]) {
    if (state === 'a record with a data key') return Racer.create({ name: 'Ada', note: wrote('kept note') })
    return { _id: (await Racer.collection.insertOne({ name: 'Ada' })).insertedId }
  }

  /** Makes the write, and makes it again when the connection broke, as a user would. */
  async function again(write: () => Promise<unknown>): Promise<unknown> {
    try {
      return await write()
    } catch (error) {
      if (retryWrites || !['MongoNetworkError', 'MongoBulkWriteError'].includes((error as Error).name)) throw error
      return insist(write)
    }
  }

  describe.each(losses)('%s', (loss) => {
    describe.each(starts)('on %s', (state) => {
      test.each(everyWriter.filter(([name]) => name !== rotation.name || state === 'a record with a data key'))(
        '%s is made once',
        async (_name, writer) => {
          const Racer = model()
          const { _id } = await start(Racer, state)
          const write = await writer.begin(Racer, _id, 'email', wrote('lost email'))
          const collection = writer.command === 'bulkWrite' ? {} : { collection: Racer.collection.name }
          track.server.faults[loss]({ command: writer.command, ...collection })
          await again(write)
          const [stored] = await raw(Racer)
          expect(stored!.encrypted_kms_key).toHaveLength(1)
          const open = await (await Racer.findById(_id)).decrypt()
          expect(open.email).toBe(writer === rotation ? undefined : 'lost email')
          expect(open.note).toBe(state === 'a record with a data key' ? 'kept note' : undefined)
        },
      )

      test('save() again, after another process has rotated the key meanwhile', async () => {
        const Racer = model()
        const { _id } = await start(Racer, state)
        const record = await Racer.findById(_id)
        record.email = wrote('lost email')
        track.server.faults[loss]({ command: 'update', collection: Racer.collection.name })
        const lost = await record.save().catch((error: Error) => error)
        expect(lost instanceof Error).toBe(!retryWrites)
        await (await Racer.findById(_id)).rotateKmsKey()
        record.phone = wrote('later phone')
        await insist(() => record.save())
        expect(await (await Racer.findById(_id)).decrypt()).toMatchObject({ email: 'lost email', phone: 'later phone' })
      })
    })

    test('a new record is inserted once, and the document can be saved again', async () => {
      const Racer = model()
      const record = new Racer({ name: 'Ada', email: wrote('new email') })
      track.server.faults[loss]({ command: 'insert', collection: Racer.collection.name })
      const lost = await record.save().catch((error: Error) => error)
      if (lost instanceof Error) {
        expect(record.email).toBe('new email')
        // As for any document: an insert whose answer was lost is a duplicate when it is made again.
        const second = await record.save().catch((error: { code: unknown }) => error)
        expect(second.code).toBe(loss === 'dropAfter' ? 11000 : undefined)
      }
      const [stored, ...others] = await raw(Racer)
      expect(others).toEqual([])
      expect(stored!.encrypted_kms_key).toHaveLength(1)
      expect(await (await Racer.findById(record._id)).email).toBe('new email')
    })

    test('an upsert inserts one record', async () => {
      const Racer = model()
      await Racer.collection.createIndex({ name: 1 }, { unique: true })
      track.server.faults[loss]({ command: 'update', collection: Racer.collection.name })
      await again(async () => Racer.updateOne({ name: 'Ada' }, { email: wrote('upserted email') }, { upsert: true }))
      expect(await raw(Racer)).toHaveLength(1)
      expect(await (await Racer.findOne()).email).toBe('upserted email')
    })
  })
})
