import { insist, rotation, useRaceTrack, type Writer, writers } from './racing'

const track = useRaceTrack()
const { interrupt, model, raw, wrote } = track

type Start = 'a record with a data key' | 'a record without a data key'
const starts: readonly Start[] = ['a record with a data key', 'a record without a data key']

async function start(Racer: any, state: Start): Promise<unknown> {
  if (state === 'a record with a data key') return (await Racer.create({ name: 'Ada', note: wrote('kept note') }))._id
  return (await Racer.collection.insertOne({ name: 'Ada' })).insertedId
}

/** Holds `held` at its write, lets `other` come before it, and then lets it go on, again where it is refused. */
async function race(Racer: any, id: unknown, held: Writer, other: () => Promise<unknown>, value: string) {
  const write = await held.begin(Racer, id, 'email', wrote(value))
  const collection = held.command === 'bulkWrite' ? {} : { collection: Racer.collection.name }
  let first = true
  return insist(() => {
    if (!first) return write()
    first = false
    return interrupt({ command: held.command, ...collection }, write, other)
  })
}

const pairs = starts.flatMap((state) =>
  writers.flatMap((held) => [...writers, rotation].map((other) => [state, held, other] as const)),
)

describe.each(starts)('on %s', (state) => {
  test.each(
    pairs.filter(([each]) => each === state).map(([, held, other]) => [held.name, other.name, held, other] as const),
  )('%s beside %s of another field keeps both', async (_held, _other, held, other) => {
    const Racer = model()
    const id = await start(Racer, state)
    await race(
      Racer,
      id,
      held,
      async () => (await other.begin(Racer, id, 'phone', wrote('other phone')))(),
      'held email',
    )
    const found = await (await Racer.findById(id)).decrypt()
    expect(found.email).toBe('held email')
    expect(found.phone).toBe(other === rotation ? undefined : 'other phone')
    if (state === 'a record with a data key') expect(found.note).toBe('kept note')
  })

  test.each(writers.map((held) => [held.name, held] as const))(
    '%s beside a save of the same field leaves the one or the other',
    async (_held, held) => {
      const Racer = model()
      const id = await start(Racer, state)
      await race(
        Racer,
        id,
        held,
        async () => (await writers[0]!.begin(Racer, id, 'email', wrote('other email')))(),
        'held email',
      )
      expect(await (await Racer.findById(id)).email).toBe('held email')
    },
  )
})

test.each(writers.map((other) => [other.name, other] as const))(
  'a rotation starts anew when %s comes between its reading and its writing',
  async (_name, other) => {
    const Racer = model()
    const id = await start(Racer, 'a record with a data key')
    const [before] = await raw(Racer)
    const rotate = await rotation.begin(Racer, id, 'email', '')
    await interrupt({ command: 'update', collection: Racer.collection.name }, rotate, async () =>
      (await other.begin(Racer, id, 'email', wrote('other email')))(),
    )
    const [after] = await raw(Racer)
    expect(after!.encrypted_kms_key).toHaveLength(1)
    expect(after!.encrypted_kms_key[0].commitment).not.toEqual(before!.encrypted_kms_key[0].commitment)
    expect(await (await Racer.findById(id)).decrypt()).toMatchObject({ email: 'other email', note: 'kept note' })
  },
)

test('two rotations at once leave the fields under the key of the last one', async () => {
  const Racer = model()
  const id = await start(Racer, 'a record with a data key')
  const rotate = await rotation.begin(Racer, id, 'email', '')
  await interrupt({ command: 'update', collection: Racer.collection.name }, rotate, async () =>
    (await rotation.begin(Racer, id, 'email', ''))(),
  )
  expect((await raw(Racer))[0]!.encrypted_kms_key).toHaveLength(1)
  expect(await (await Racer.findById(id)).note).toBe('kept note')
})

test('a rotation that is overtaken every time gives up, and the record is as the others wrote it', async () => {
  const Racer = model()
  const record = await Racer.create({ note: wrote('kept note') })
  const [before] = await raw(Racer)
  const collection = Racer.collection.name
  // The collection of the driver is not held: its update is of another shape.
  const isRotation = (command: any) => command.updates[0].u.$set?.encrypted_kms_key !== undefined
  const holds = Array.from({ length: 5 }, (_, index) =>
    track.server.faults.hold({ command: 'update', collection, where: isRotation, nth: index + 1 }),
  )
  const rotating = record.rotateKmsKey()
  rotating.catch(() => {})
  for (const [index, hold] of holds.entries()) {
    await hold.reached
    await Racer.updateOne({ _id: record._id }, { email: wrote(`email number ${index}`) })
    hold.release()
  }
  await expect(rotating).rejects.toMatchObject({ code: 'RECORD_CHANGED' })
  const [after] = await raw(Racer)
  expect(after!.encrypted_kms_key).toEqual(before!.encrypted_kms_key)
  expect(await (await Racer.findById(record._id)).email).toBe('email number 4')
  await record.rotateKmsKey()
  expect(await (await Racer.findById(record._id)).email).toBe('email number 4')
})

test('an unsaved change survives a rotation of the same document', async () => {
  const Racer = model()
  const record = await Racer.create({ email: wrote('first email'), note: wrote('kept note') })
  record.email = wrote('unsaved email')
  await record.rotateKmsKey()
  expect(await (await Racer.findById(record._id)).email).toBe('first email')
  expect(record.email).toBe('unsaved email')
  await record.save()
  expect(await (await Racer.findById(record._id)).decrypt()).toMatchObject({
    email: 'unsaved email',
    note: 'kept note',
  })
})

describe('a record that is deleted and made anew with the same _id', () => {
  test.each(writers.map((held) => [held.name, held] as const))(
    'between the reading and the writing of %s',
    async (_name, held) => {
      const Racer = model()
      const id = await start(Racer, 'a record with a data key')
      const anew = async () => {
        await Racer.deleteOne({ _id: id })
        await Racer.create({ _id: id, name: 'Eve', phone: wrote('phone of Eve') })
      }
      const isOnce = held.name.includes('save') || held.name.includes('ulk')
      expect(await race(Racer, id, held, anew, 'held email')).toBe(isOnce)
      expect(await (await Racer.findById(id)).decrypt()).toEqual({
        email: 'held email',
        phone: 'phone of Eve',
        note: undefined,
      })
    },
  )

  test.each(writers.map((held) => [held.name, held] as const))(
    'without a key, %s gives it one',
    async (_name, held) => {
      const Racer = model()
      const id = await start(Racer, 'a record without a data key')
      const anew = async () => {
        await Racer.deleteOne({ _id: id })
        await Racer.collection.insertOne({ _id: id, name: 'Eve' })
      }
      await race(Racer, id, held, anew, 'held email')
      expect(await (await Racer.findById(id)).email).toBe('held email')
    },
  )

  test('a rotation takes the new record, and its own key is not lost', async () => {
    const Racer = model()
    const id = await start(Racer, 'a record with a data key')
    const rotate = await rotation.begin(Racer, id, 'email', '')
    await interrupt({ command: 'update', collection: Racer.collection.name }, rotate, async () => {
      await Racer.deleteOne({ _id: id })
      await Racer.create({ _id: id, phone: wrote('phone of Eve') })
    })
    expect(await (await Racer.findById(id)).decrypt()).toEqual({
      email: undefined,
      phone: 'phone of Eve',
      note: undefined,
    })
  })
})

test.each(writers.filter(({ name }) => !name.includes('upsert')).map((held) => [held.name, held] as const))(
  'a record that is deleted before the writing of %s stays deleted',
  async (_name, held) => {
    const Racer = model()
    const id = await start(Racer, 'a record with a data key')
    const write = await held.begin(Racer, id, 'email', wrote('held email'))
    const at = { command: held.command, ...(held.command === 'bulkWrite' ? {} : { collection: Racer.collection.name }) }
    await interrupt(at, write, () => Racer.deleteOne({ _id: id })).catch((error) => {
      expect(['DocumentNotFoundError', 'MongooseBulkSaveIncompleteError']).toContain(error.name)
    })
    expect(await raw(Racer)).toEqual([])
  },
)

describe('an upsert', () => {
  const upserts: readonly (readonly [
    string,
    string,
    (Racer: any, filter: object, update: object) => Promise<unknown>,
  ])[] = [
    ['updateOne()', 'update', (Racer, filter, update) => Racer.updateOne(filter, update, { upsert: true })],
    [
      'findOneAndUpdate()',
      'findAndModify',
      (Racer, filter, update) => Racer.findOneAndUpdate(filter, update, { upsert: true }),
    ],
    [
      'replaceOne()',
      'update',
      (Racer, filter, update) => Racer.replaceOne(filter, { ...filter, ...update }, { upsert: true }),
    ],
    [
      'findOneAndReplace()',
      'findAndModify',
      (Racer, filter, update) => Racer.findOneAndReplace(filter, { ...filter, ...update }, { upsert: true }),
    ],
    [
      'bulkWrite()',
      'update',
      (Racer, filter, update) => Racer.bulkWrite([{ updateOne: { filter, update, upsert: true } }]),
    ],
    [
      'connection.bulkWrite()',
      'bulkWrite',
      (Racer, filter, update) =>
        Racer.db.bulkWrite([{ model: Racer, name: 'updateOne', filter, update, upsert: true }]),
    ],
  ]
  const at = (Racer: any, command: string) => ({
    command,
    ...(command === 'bulkWrite' ? {} : { collection: Racer.collection.name }),
  })

  test.each(upserts)('%s beside another with a unique index: one record', async (_name, command, upsert) => {
    const Racer = model()
    await Racer.collection.createIndex({ name: 1 }, { unique: true })
    let first = true
    const write = () => upsert(Racer, { name: 'Ada' }, { email: wrote('held email') })
    expect(
      await insist(() => {
        if (!first) return write()
        first = false
        return interrupt(at(Racer, command), write, () =>
          Racer.updateOne({ name: 'Ada' }, { phone: wrote('other phone') }, { upsert: true }),
        )
      }),
    ).toBe(_name.includes('ulk'))
    expect(await raw(Racer)).toHaveLength(1)
    expect(await (await Racer.findOne()).email).toBe('held email')
  })

  test.each(upserts)('%s beside another of the same _id: one record', async (_name, command, upsert) => {
    const Racer = model()
    const _id = new Racer()._id
    let first = true
    const write = () => upsert(Racer, { _id }, { email: wrote('held email') })
    await insist(() => {
      if (!first) return write()
      first = false
      return interrupt(at(Racer, command), write, () =>
        Racer.updateOne({ _id }, { phone: wrote('other phone') }, { upsert: true }),
      )
    })
    expect(await raw(Racer)).toHaveLength(1)
    expect(await (await Racer.findOne()).email).toBe('held email')
  })

  test.each(upserts)(
    '%s beside another without a unique index: each has a key of its own',
    async (_name, command, upsert) => {
      const Racer = model()
      await interrupt(
        at(Racer, command),
        () => upsert(Racer, { name: 'Ada' }, { email: wrote('held email') }),
        () => Racer.updateOne({ name: 'Ada' }, { phone: wrote('other phone') }, { upsert: true }),
      )
      const stored = await raw(Racer)
      expect(stored.length).toBeGreaterThanOrEqual(1)
      expect(await (await Racer.findOne({ email: { $ne: null } })).email).toBe('held email')
    },
  )

  test.each(upserts)('%s of a record that is deleted before the write inserts', async (_name, command, upsert) => {
    const Racer = model()
    await Racer.create({ name: 'Ada', note: wrote('note of Ada') })
    let first = true
    const write = () => upsert(Racer, { name: 'Ada' }, { email: wrote('held email') })
    expect(
      await insist(() => {
        if (!first) return write()
        first = false
        return interrupt(at(Racer, command), write, () => Racer.deleteOne({ name: 'Ada' }))
      }),
    ).toBe(_name.includes('ulk'))
    expect(await (await Racer.findOne()).decrypt()).toEqual({
      email: 'held email',
      phone: undefined,
      note: undefined,
    })
  })

  test('that inserts and no longer matches its filter is not taken for overtaken', async () => {
    const Racer = model()
    await interrupt(
      at(Racer, 'findAndModify'),
      () =>
        Racer.findOneAndUpdate(
          { name: 'Ada', count: { $exists: false } },
          { count: 1, email: wrote('held email') },
          { upsert: true },
        ),
      () => Racer.collection.insertOne({ name: 'Ada' }),
    )
    expect((await Racer.find({ count: 1 })).length).toBe(1)
  })
})
