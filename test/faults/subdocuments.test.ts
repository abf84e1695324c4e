import { Schema } from 'mongoose'
import { at, contactSchema, eight, expectReads, named, refused, secret, settles, useFaults, userModel } from './support'

const { connection, raw } = useFaults()

/** Every shape in which a record can hold encrypted subdocuments, by its top path. */
const shapes = {
  contacts: () => ({ contacts: [contactSchema()] }),
  one: () => ({ one: contactSchema() }),
  byPlace: () => ({ byPlace: { type: Map, of: contactSchema() } }),
  nested: () => ({ nested: { list: [contactSchema()], deep: { one: contactSchema() } } }),
  grid: () => ({ grid: [[contactSchema()]] }),
  lists: () => ({ lists: { type: Map, of: [contactSchema()] } }),
  outer: () => ({ outer: [new Schema<any>({ inner: [contactSchema()], single: contactSchema() })] }),
}
type Shape = keyof typeof shapes
const everyShape = Object.keys(shapes) as Shape[]

/** Every place where one can be, and the value there. */
const places = {
  'contacts.0': '+44 100 0000',
  'contacts.1': '+44 101 0000',
  one: '+44 200 0000',
  'byPlace.london': '+44 300 0000',
  'nested.list.0': '+44 400 0000',
  'nested.deep.one': '+44 500 0000',
  'grid.0.0': '+44 600 0000',
  'grid.1.0': '+44 601 0000',
  'lists.work.0': '+44 700 0000',
  'outer.0.inner.0': '+44 800 0000',
  'outer.0.single': '+44 801 0000',
}
type Place = keyof typeof places
const everyPlace = Object.keys(places) as Place[]
const shapeOf = (place: Place) => place.split('.')[0] as Shape
const contact = (place: Place) => ({ label: place, phone: secret(places[place]) })

const values = {
  contacts: () => [contact('contacts.0'), contact('contacts.1')],
  one: () => contact('one'),
  byPlace: () => ({ london: contact('byPlace.london') }),
  nested: () => ({ list: [contact('nested.list.0')], deep: { one: contact('nested.deep.one') } }),
  grid: () => [[contact('grid.0.0')], [contact('grid.1.0')]],
  lists: () => ({ work: [contact('lists.work.0')] }),
  outer: () => [{ inner: [contact('outer.0.inner.0')], single: contact('outer.0.single') }],
}
const given = (shape: Shape) => ({ name: 'Ada', [shape]: values[shape]() })
const phones = (shape: Shape, changed: Record<string, unknown> = {}) => ({
  ...Object.fromEntries(
    everyPlace.filter((place) => shapeOf(place) === shape).map((place) => [`${place}.phone`, places[place]]),
  ),
  ...changed,
})

/** A model for each shape, so that one of them cannot hide the others. */
const models = Object.fromEntries(
  everyShape.map((shape) => [
    shape,
    connection.model<any>(named('Owner'), new Schema<any>({ name: String, ...shapes[shape]() } as never)),
  ]),
) as Record<Shape, any>

async function loaded(shape: Shape, { open = false } = {}): Promise<any> {
  const { _id } = await models[shape].create(given(shape))
  const doc = await models[shape].findById(_id)
  if (open) for (const place of everyPlace.filter((each) => shapeOf(each) === shape)) await at(doc, `${place}.phone`)
  return doc
}

const states = [
  ['locked', false],
  ['open', true],
] as const

describe('fault 24: encrypted subdocuments in lists of lists, maps of lists and wherever else', () => {
  const writes: [string, (Owner: any, record: any) => Promise<any>][] = [
    ['create', (Owner, record) => Owner.create(record)],
    ['insertMany', (Owner, record) => Owner.insertMany([record])],
    ['insertMany, lean', (Owner, record) => Owner.insertMany([record], { lean: true })],
    ['bulkWrite insertOne', (Owner, record) => Owner.bulkWrite([{ insertOne: { document: record } }])],
    ['bulkSave', (Owner, record) => Owner.bulkSave([new Owner(record)])],
    ['replaceOne, upsert', (Owner, record) => Owner.replaceOne({ name: 'Ada' }, record, { upsert: true })],
    ['updateOne, upsert', (Owner, record) => Owner.updateOne({ name: 'Ada' }, record, { upsert: true })],
  ]
  test.each(everyShape.flatMap((shape) => writes.map(([name, write]) => [name, shape, write] as const)))(
    'are encrypted by %s, and read back: %s',
    async (_name, shape, write) => {
      await write(models[shape], given(shape))
      await expectReads(models[shape], { name: 'Ada' }, phones(shape))
    },
  )

  test.each(states.flatMap(([state, open]) => everyPlace.map((place) => [state, place, open] as const)))(
    'are saved when changed in place: %s, %s',
    async (_state, place, open) => {
      const doc = await loaded(shapeOf(place), { open })
      ;(await at(doc, place)).phone = secret('+44 999 9999')
      expect(doc.isModified(shapeOf(place))).toBe(true)
      await doc.save()
      const expected = phones(shapeOf(place), { [`${place}.phone`]: '+44 999 9999' })
      await expectReads(models[shapeOf(place)], { _id: doc._id }, expected)
    },
  )
})

describe('fault 23: a path of a subdocument, from its owner', () => {
  const ways: [string, (doc: any, path: string, value: string) => unknown][] = [
    ['set(path, value)', (doc, path, value) => doc.set(path, value)],
    ['set({ path: value })', (doc, path, value) => doc.set({ [path]: value })],
    ['$set(path, value)', (doc, path, value) => doc.$set(path, value)],
  ]
  const reachable = everyPlace.filter((place) => !/grid|lists/.test(place))

  test.each(
    states.flatMap(([state, open]) =>
      reachable.flatMap((place) => ways.map(([way, set]) => [way, place, state, open, set] as const)),
    ),
  )('is set, shown as modified and saved: %s of %s, %s', async (_way, place, _state, open, set) => {
    const path = `${place}.phone`
    const doc = await loaded(shapeOf(place), { open })
    set(doc, path, secret('+44 999 9999'))
    expect({ get: await doc.get(path), modified: doc.isModified(path) }).toEqual({
      get: '+44 999 9999',
      modified: true,
    })
    expect(doc.modifiedPaths()).toContain(shapeOf(place))
    await doc.save()
    expect(doc.isModified()).toBe(false)
    await expectReads(models[shapeOf(place)], { _id: doc._id }, phones(shapeOf(place), { [path]: '+44 999 9999' }))
  })

  test.each(reachable)('is read by get() of a locked owner: %s', async (place) => {
    const doc = await loaded(shapeOf(place))
    expect(doc.isModified(`${place}.phone`)).toBe(false)
    expect(await doc.get(`${place}.phone`)).toBe(places[place])
  })
})

describe('fault 30: a new subdocument in place of a stored one', () => {
  const fresh = () => ({ label: 'new', phone: secret('+44 999 9999') })
  const ways: [string, Place, (doc: any) => unknown][] = [
    ['assigning a path', 'one', (doc) => Object.assign(doc, { one: fresh() })],
    ['set(path, object)', 'one', (doc) => doc.set('one', fresh())],
    ['set({ path: object })', 'one', (doc) => doc.set({ one: fresh() })],
    ['assigning a nested path', 'nested.deep.one', (doc) => Object.assign(doc.nested.deep, { one: fresh() })],
    ['assigning a whole nested object', 'nested.deep.one', (doc) => doc.set('nested.deep', { one: fresh() })],
    ['map.set()', 'byPlace.london', (doc) => doc.byPlace.set('london', fresh())],
    ['set(path in a map)', 'byPlace.london', (doc) => doc.set('byPlace.london', fresh())],
    ['array.set()', 'contacts.0', (doc) => doc.contacts.set(0, fresh())],
    ['splice', 'contacts.0', (doc) => doc.contacts.splice(0, 1, fresh())],
    ['a whole new list', 'contacts.0', (doc) => Object.assign(doc, { contacts: [fresh(), doc.contacts[1]] })],
    ['assigning within a subdocument', 'outer.0.single', (doc) => Object.assign(doc.outer[0], { single: fresh() })],
    [
      'its own contents with a new value',
      'one',
      (doc) => Object.assign(doc, { one: { ...doc.one.toObject(), ...fresh() } }),
    ],
    ['a document', 'one', (doc) => Object.assign(doc, { one: new models.one({ one: fresh() }).one })],
  ]

  test.each(
    states.flatMap(([state, open]) => ways.map(([way, place, act]) => [way, state, place, open, act] as const)),
  )('is saved, again and again: by %s, %s', async (_way, _state, place, open, act) => {
    const Owner = models[shapeOf(place)]
    const doc = await loaded(shapeOf(place), { open })
    act(doc)
    await doc.save()
    const expected = phones(shapeOf(place), { [`${place}.phone`]: '+44 999 9999' })
    await expectReads(Owner, { _id: doc._id }, expected)
    act(doc)
    doc.name = 'Countess'
    await doc.save()
    await expectReads(Owner, { name: 'Countess' }, expected)
  })

  test('nothing in its place, and then something, is saved', async () => {
    const doc = await loaded('one')
    doc.one = undefined
    await doc.save()
    expect((await raw(models.one))[0]).not.toHaveProperty('one.phone')
    doc.one = fresh()
    await doc.save()
    await expectReads(models.one, {}, { 'one.phone': '+44 999 9999' })
  })
})

describe('fault 34: an owner that was just created', () => {
  test.each(everyPlace)('is changed and saved, as often as one likes: %s', async (place) => {
    const shape = shapeOf(place)
    const doc = await models[shape].create(given(shape))
    for (const value of ['+44 901 0000', '+44 902 0000']) {
      ;(await at(doc, place)).phone = secret(value)
      // Mongoose itself notices no change there, as long as the record was not loaded.
      if (shape === 'grid' || shape === 'lists') doc.markModified(shape)
      await doc.save()
      await expectReads(models[shape], { _id: doc._id }, phones(shape, { [`${place}.phone`]: value }))
    }
    await doc.validate()
  })

  test.each<[string, Shape, (doc: any) => any[], string]>([
    ['a list', 'contacts', (doc) => doc.contacts, 'contacts.2.phone'],
    ['a list below a nested path', 'nested', (doc) => doc.nested.list, 'nested.list.1.phone'],
    ['a list of a map', 'lists', (doc) => doc.lists.get('work'), 'lists.work.1.phone'],
    ['a list of a list', 'grid', (doc) => doc.grid[0], 'grid.0.1.phone'],
    ['a list of a subdocument', 'outer', (doc) => doc.outer[0].inner, 'outer.0.inner.1.phone'],
  ])('gets one more, and is saved: %s', async (_name, shape, list, path) => {
    const doc = await models[shape].create(given(shape))
    list(doc).push({ label: 'more', phone: secret('+44 903 0000') })
    await doc.save()
    await expectReads(models[shape], {}, phones(shape, { [path]: '+44 903 0000' }))
    await doc.validate()
  })
})

describe('fault 38: save({ pathsToSave })', () => {
  test.each([
    ['the subdocument', ['one'], true],
    ['the subdocument and another', ['name', 'one'], true],
    ['a path of it', ['one.phone'], true],
    ['another', ['name'], false],
  ])(
    'with a changed encrypted subdocument saves what it names, and the rest later: %s',
    async (_name, pathsToSave, saved) => {
      const doc = await loaded('one')
      doc.one.phone = secret('+44 999 9999')
      doc.name = 'Countess'
      await settles(
        undefined,
        () => doc.save({ pathsToSave }),
        async () => {
          const phone = await at(await models.one.findById(doc._id), 'one.phone')
          expect(phone).toBe(saved ? '+44 999 9999' : places.one)
        },
      )
      await doc.save()
      // Mongoose 8 forgets such a change, whether it is encrypted or not. The document must not come to a dead end.
      if (eight) await (await models.one.findById(doc._id)).set({ one: { phone: '+44 999 9999' } }).save()
      await expectReads(models.one, eight ? {} : { name: 'Countess' }, { 'one.phone': '+44 999 9999' })
    },
  )
})

describe('fault 40: a list of encrypted subdocuments that is filtered, sorted or mapped', () => {
  const kept = (doc: any) => [...doc.contacts]
  test.each(
    states.flatMap(([state, open]) =>
      (
        [
          ['filter', (doc: any) => doc.contacts.filter(({ label }: any) => label === 'contacts.1'), ['contacts.1']],
          ['slice', (doc: any) => doc.contacts.slice(1), ['contacts.1']],
          ['reverse', (doc: any) => kept(doc).reverse(), ['contacts.1', 'contacts.0']],
          [
            'spread with a new one',
            (doc: any) => [{ label: 'new', phone: secret('+44 999 9999') }, ...doc.contacts],
            [undefined, 'contacts.0', 'contacts.1'],
          ],
          ['map to themselves', (doc: any) => doc.contacts.map((each: any) => each), ['contacts.0', 'contacts.1']],
          [
            'concat',
            (doc: any) => doc.contacts.concat([{ label: 'new', phone: secret('+44 999 9999') }]),
            ['contacts.0', 'contacts.1', undefined],
          ],
          ['filter to nothing', (doc: any) => doc.contacts.filter(() => false), []],
        ] as [string, (doc: any) => any[], (Place | undefined)[]][]
      ).map(([name, change, expected]) => [name, state, open, change, expected] as const),
    ),
  )('and assigned is saved, with all values: %s, %s', async (_name, _state, open, change, expected) => {
    const doc = await loaded('contacts', { open })
    doc.contacts = change(doc)
    await doc.save()
    const found = await models.contacts.findById(doc._id)
    const read = []
    for (const each of found.contacts) read.push(await each.phone)
    expect(read).toEqual(expected.map((place) => (place ? places[place] : '+44 999 9999')))
  })
})

describe('fault 35: bulk writes and replacements', () => {
  const writes: [string, (Owner: any, record: any) => Promise<unknown>][] = [
    [
      'bulkWrite replaceOne',
      (Owner, record) => Owner.bulkWrite([{ replaceOne: { filter: { name: 'Ada' }, replacement: record } }]),
    ],
    [
      'bulkWrite updateOne',
      (Owner, record) => Owner.bulkWrite([{ updateOne: { filter: { name: 'Ada' }, update: record } }]),
    ],
    [
      'bulkWrite insertOne of a document',
      (Owner, record) => Owner.bulkWrite([{ insertOne: { document: new Owner(record) } }]),
    ],
    ['replaceOne', (Owner, record) => Owner.replaceOne({ name: 'Ada' }, record)],
    ['findOneAndReplace', (Owner, record) => Owner.findOneAndReplace({ name: 'Ada' }, record)],
    ['document.replaceOne', async (Owner, record) => (await Owner.findOne()).replaceOne(record)],
  ]
  test.each(everyShape.flatMap((shape) => writes.map(([name, write]) => [name, shape, write] as const)))(
    'with encrypted subdocuments work: %s, %s',
    async (_name, shape, write) => {
      await models[shape].create(given(shape))
      await write(models[shape], { ...given(shape), name: 'Countess' })
      await expectReads(models[shape], { name: 'Countess' }, phones(shape))
    },
  )

  test('a refusal does not advise what was refused', async () => {
    const update = { $push: { contacts: { $each: [{ phone: secret('+44 111 1111') }], $sort: { phone: 1 } } } }
    for (const [name, write] of [
      ['bulkWrite', () => models.contacts.bulkWrite([{ updateOne: { filter: {}, update } }])],
      ['updateOne', () => models.contacts.updateOne({}, update)],
    ] as [string, () => Promise<unknown>][]) {
      const { message } = await refused(write, 'UPDATE_REFUSED')
      expect(message).not.toMatch(new RegExp(`use[^.]*${name}`, 'i'))
    }
  })
})

describe('fault 17: rotateKmsKey() of an owner, in every shape', () => {
  const owners = Object.fromEntries(
    everyShape.map((shape) => [shape, userModel(connection, { name: String, ...shapes[shape]() })]),
  ) as Record<Shape, any>
  const keyOf = async (record: any, path: string) => {
    const keys = await at(record, path)
    expect(keys).toHaveLength(1)
    return Buffer.from(keys[0].wrapped.buffer).toString('hex')
  }

  test.each(states.flatMap(([state, open]) => everyShape.map((shape) => [state, shape, open] as const)))(
    'gives new keys to all that it holds, and all reads back: %s, %s',
    async (_state, shape, open) => {
      const Owner = owners[shape]
      const held = Object.keys(phones(shape))
      const paths = ['', ...held.map((path) => path.replace(/phone$/, ''))].map((path) => `${path}encrypted_kms_key`)
      const keys = async () => {
        const [record] = await raw(Owner)
        return Promise.all(paths.map((path) => keyOf(record, path)))
      }
      await Owner.create({ ...given(shape), email: secret('ada@example.org') })
      const before = await keys()
      const doc = await Owner.findOne()
      if (open) for (const path of held) await at(doc, path)
      await doc.rotateKmsKey()
      const after = await keys()
      expect(new Set([...before, ...after]).size).toBe(2 * paths.length)
      await expectReads(Owner, {}, { ...phones(shape), email: 'ada@example.org' })
      // The document goes on with the new keys.
      for (const path of held) (await at(doc, path.replace(/\.phone$/, ''))).phone = secret('+44 999 9999')
      await doc.save()
      const changed = Object.fromEntries(held.map((path) => [path, '+44 999 9999']))
      await expectReads(Owner, {}, { ...changed, email: 'ada@example.org' })
      expect(await keys()).toEqual(after)
    },
  )
})
