import { Schema, Types } from 'mongoose'
import { channels, kmsEncrypted, localKms } from '../lib'
import { secret, useDatabase } from './support'

const { connection, raw } = useDatabase()
const provider = localKms()

function personModel(name: string) {
  const contact = new Schema({ label: String }).plugin(kmsEncrypted, {
    provider,
    fields: { phone: { type: String, required: true }, notes: [String] },
  })
  const profile = new Schema({ title: String }, { _id: false }).plugin(kmsEncrypted, {
    provider,
    fields: { bio: String, motto: String },
  })
  const person = new Schema({ name: String, contacts: [contact], profile, byPlace: { type: Map, of: contact } })
  return connection.model<any>(name, person) as any
}
const Person = personModel('Person')

const given = () => ({
  name: 'Ada',
  contacts: [
    { label: 'home', phone: secret('+44 111 1111') },
    { label: 'work', phone: secret('+44 222 2222'), notes: ['x'] },
  ],
  profile: { title: 'Countess', bio: secret('wrote the first program') },
  byPlace: { london: { label: 'london', phone: secret('+44 333 3333') } },
})

async function expectAll(person: any) {
  expect(await person.contacts[0].phone).toBe('+44 111 1111')
  expect(await person.contacts[1].decrypt()).toEqual({ phone: '+44 222 2222', notes: ['x'] })
  expect(await person.profile.bio).toBe('wrote the first program')
  expect(await person.byPlace.get('london').phone).toBe('+44 333 3333')
}

test.each([
  ['create', () => Person.create(given())],
  ['save', () => new Person(given()).save()],
  ['insertMany', () => Person.insertMany([given()])],
  ['insertMany, lean', () => Person.insertMany([given()], { lean: true })],
  ['bulkSave', () => Person.bulkSave([new Person(given())])],
])('%s encrypts subdocuments under keys of their own', async (_name, write) => {
  await write()
  const [stored] = await raw('people')
  // A lean insert takes no defaults, as for any model.
  expect(Object.keys(stored!.contacts[0]).sort()).toEqual(
    ['_id', 'encrypted_kms_key', ...(_name.includes('lean') ? [] : ['notes']), 'phone', 'label'].sort(),
  )
  const keys = [...stored!.contacts, stored!.profile, stored!.byPlace.london].map((part: any) =>
    part.encrypted_kms_key[0].commitment.toString('hex'),
  )
  expect(new Set(keys).size).toBe(4)
  await expectAll(await Person.findOne())
})

test('a change of one subdocument re-encrypts that field alone', async () => {
  await Person.create(given())
  const [before] = await raw('people')
  const person = await Person.findOne()
  person.contacts[1].phone = secret('+44 999 9999')
  expect(person.isModified('contacts')).toBe(true)
  person.contacts.push({ label: 'new', phone: secret('+44 888 8888') })
  await person.save()
  const [after] = await raw('people')
  expect(after!.contacts[0]).toEqual(before!.contacts[0])
  expect(after!.contacts[1].notes).toEqual(before!.contacts[1].notes)
  expect(after!.contacts[1].phone).not.toEqual(before!.contacts[1].phone)
  const loaded = await Person.findOne()
  expect(await Promise.all(loaded.contacts.map((contact: any) => contact.phone))).toEqual([
    '+44 111 1111',
    '+44 999 9999',
    '+44 888 8888',
  ])
})

test('the encryption context names owner, path and subdocument', async () => {
  const seen: unknown[] = []
  const listen = (event: any) => seen.push(event.context.Record)
  channels.generate.subscribe({ start: listen } as never)
  const person = await Person.create(given())
  channels.generate.unsubscribe({ start: listen } as never)
  expect(seen.sort()).toEqual(
    [
      `Person/${person._id}/contacts/${person.contacts[0]._id}`,
      `Person/${person._id}/contacts/${person.contacts[1]._id}`,
      `Person/${person._id}/profile`,
      `Person/${person._id}/byPlace.london/${person.byPlace.get('london')._id}`,
    ].sort(),
  )
})

test('an invalid field of a subdocument fails the save of its owner under its own path', async () => {
  const person = new Person({ name: 'Ada', contacts: [{ label: 'home' }] })
  await expect(person.save()).rejects.toMatchObject({
    name: 'ValidationError',
    errors: { 'contacts.0.phone': { kind: 'required' } },
  })
  expect(await raw('people')).toEqual([])
})

test('queries and updates that reach into encrypted subdocuments are refused', async () => {
  await Person.create(given())
  const before = await raw('people')
  await expect(Person.find({ 'contacts.phone': 'x' }).exec()).rejects.toMatchObject({ code: 'QUERY_REFUSED' })
  await expect(Person.find({ contacts: { $elemMatch: { phone: 'x' } } }).exec()).rejects.toMatchObject({
    code: 'QUERY_REFUSED',
  })
  secret('plaintext')
  for (const update of [
    { 'contacts.$[].phone': 'plaintext' },
    { 'contacts.7.phone': 'plaintext' },
    { $inc: { 'contacts.0.phone': 1 } },
    { $push: { 'contacts.0.notes': 'plaintext' } },
    { $rename: { name: 'profile.bio' } },
    [{ $set: { 'profile.bio': 'plaintext' } }],
  ] as object[]) {
    await expect(Person.updateOne({}, update, { updatePipeline: true })).rejects.toMatchObject({
      code: 'UPDATE_REFUSED',
    })
  }
  expect(await raw('people')).toEqual(before)
  const id = before[0]!.contacts[0]._id
  await Person.updateOne({}, { $pull: { contacts: { _id: id } } })
  expect((await raw('people'))[0]!.contacts).toHaveLength(1)
})

test.each<[string, object, (person: any) => Promise<unknown>]>([
  ['a field by its position', { 'contacts.1.phone': 'updated phone' }, (person) => person.contacts[1].phone],
  ['a field of a single one', { 'profile.bio': 'updated phone' }, (person) => person.profile.bio],
  ['a field in a map', { 'byPlace.london.phone': 'updated phone' }, (person) => person.byPlace.get('london').phone],
  ['a whole element', { $push: { contacts: { phone: 'updated phone' } } }, (person) => person.contacts[2].phone],
  [
    'several elements',
    { $push: { contacts: { $each: [{ phone: 'updated phone' }, { phone: 'updated phone' }] } } },
    async (person) => (await person.contacts[2].phone) && person.contacts[3].phone,
  ],
  ['a whole single one', { profile: { bio: 'updated phone' } }, (person) => person.profile.bio],
  ['a whole array', { contacts: [{ phone: 'updated phone' }] }, (person) => person.contacts[0].phone],
])('updateOne() of %s is encrypted', async (_name, update, read) => {
  secret('updated phone')
  await Person.create(given())
  const [before] = await raw('people')
  expect(await Person.updateOne({ name: 'Ada' }, update)).toMatchObject({ matchedCount: 1, modifiedCount: 1 })
  const person = await Person.findOne()
  expect(await read(person)).toBe('updated phone')
  const [after] = await raw('people')
  if (after!.contacts.length > 1) expect(after!.contacts[0]).toEqual(before!.contacts[0])
  expect(await person.byPlace.get('london').decrypt()).toMatchObject({ phone: expect.any(String) })
})

test('printing and serialising an owner shows nothing of its subdocuments', async () => {
  await Person.create(given())
  const person = await Person.findOne()
  await expectAll(person)
  expect(JSON.stringify(person.toObject({ virtuals: true }))).not.toMatch(/\+44|program|encrypted/)
})

test('values on load reach into subdocuments', async () => {
  const child = new Schema({}).plugin(kmsEncrypted, { provider, fields: { phone: String }, decrypt: 'onLoad' })
  const Owner = connection.model<any>('Owner', new Schema({ children: [child] })) as any
  await Owner.create({ children: [{ phone: secret('+44 444 4444') }] })
  expect((await Owner.findOne()).children[0].phone).toBe('+44 444 4444')
})

test.each(['own', 'owner'])(
  'a field of a subdocument is selected with what opens it: the key is its %s',
  async (kind) => {
    const options = kind === 'own' ? { provider } : { dataKey: 'owner' }
    const part = new Schema({ label: String }).plugin(kmsEncrypted, { ...options, fields: { phone: String } } as never)
    const owner = new Schema({ name: String, one: part, list: [part] }).plugin(kmsEncrypted, {
      provider,
      fields: { email: String },
    })
    const Owner = connection.model<any>(`SelectedBy${kind}`, owner) as any
    const [one, first, second] = ['of one', 'of the first', 'of the second'].map((phone) => ({ phone: secret(phone) }))
    await Owner.create({ name: 'Ada', one, list: [first, second], email: secret('ada@example.org') })
    for (const selected of ['one.phone', 'list.phone', 'one.phone list.phone']) {
      const expected = { one: ['of one'], list: ['of the first', 'of the second'] }
      const doc = await Owner.findOne().select(selected)
      const lean = await Owner.decrypt(await Owner.findOne().select(selected).lean())
      for (const [path, phones] of Object.entries(expected)) {
        if (!selected.split(' ').includes(`${path}.phone`)) continue
        expect(await Promise.all([doc[path]].flat().map((each: any) => each.phone))).toEqual(phones)
        expect([lean[path]].flat().map(({ phone }: any) => phone)).toEqual(phones)
      }
      expect([doc.name, lean.name, lean.email]).toEqual([undefined, undefined, undefined])
    }
  },
)

test('one locked subdocument of another record may be put into two places', async () => {
  for (const _each of [1, 2]) await Person.create(given())
  const [one, other] = await Person.find()
  one.byPlace = new Map([['moved', other.byPlace.get('london')]])
  one.contacts = [one.byPlace.get('moved')]
  await one.save()
  const found = await Person.findById(one._id)
  expect([await found.byPlace.get('moved').phone, await found.contacts[0].phone]).toEqual(Array(2).fill('+44 333 3333'))
})

describe('an owner with encrypted fields of its own', () => {
  const part = () =>
    new Schema({ label: String }).plugin(kmsEncrypted, {
      provider,
      fields: { address: { city: String }, phone: String },
    })
  const whole = (options: object) =>
    new Schema({ name: String, one: part(), list: [part()], byPlace: { type: Map, of: part() } }).plugin(kmsEncrypted, {
      provider,
      fields: { email: String },
      ...options,
    })
  const Owner = connection.model<any>('OwnerOfItsOwn', whole({})) as any
  const address = () => ({ address: { city: secret('London-W1') }, phone: '1' })
  const Whole = connection.model<any>(
    'OwnerWithAddress',
    whole({ fields: { address: { city: String }, phone: String } }),
  ) as any

  test.each(['one.address.city', 'list.0.address.city', 'byPlace.home.address.city'])(
    'takes %s by set(), alone, in an object, and beside others',
    async (path) => {
      const ways: ((doc: any, city: string) => unknown)[] = [
        (doc, city) => doc.set(path, city),
        (doc, city) => doc.set({ [path]: city }),
        (doc, city) => doc.set({ name: 'Eve', [path]: city, email: secret('set@example.org') }),
        (doc, city) => doc.$set({ [path]: city, [path.replace('address.city', 'encrypted_kms_key')]: [] }),
      ]
      for (const [index, set] of ways.entries()) {
        const city = secret(`Paris, by way ${index}`)
        const { _id } = await Owner.create({
          name: 'Ada',
          one: address(),
          list: [address()],
          byPlace: { home: address() },
        })
        const doc = await Owner.findById(_id)
        await doc.decrypt()
        await Promise.all([doc.one, doc.list[0], doc.byPlace.get('home')].map((each) => each.decrypt()))
        set(doc, city)
        await doc.save()
        const stored = await Owner.findById(_id)
        for (const [place, each] of Object.entries({
          one: stored.one,
          list: stored.list[0],
          byPlace: stored.byPlace.get('home'),
        }))
          expect((await each.decrypt()).address.city).toBe(path.startsWith(place) ? city : 'London-W1')
        if (index === 2) expect([stored.name, await stored.email]).toEqual(['Eve', 'set@example.org'])
      }
    },
  )

  test.each(['one.address.city', 'byPlace.home.address.city', 'list.0.address.city'])(
    'makes the subdocument that %s leads to',
    async (path) => {
      const at = async (id: unknown) => {
        const found = await Owner.findById(id)
        const part = path.startsWith('list')
          ? found.list[0]
          : path.startsWith('one')
            ? found.one
            : found.byPlace?.get('home')
        return (await part?.decrypt())?.address
      }
      const city = secret('Paris, where nothing was')
      for (const make of [
        () => Owner.create({ name: 'Ada', [path]: city }),
        () => new Owner({ [path]: city }).save(),
        async () => {
          const { _id } = await Owner.create({ name: 'Ada' })
          const doc = await Owner.findById(_id)
          doc.set(path, city)
          return doc.save()
        },
      ])
        expect(await at((await make())._id)).toEqual({ city })
    },
  )

  test('takes an object with a prefix that leads to a field of several parts', async () => {
    for (const prefix of ['one.address', 'list.0.address', 'address']) {
      const city = secret(`Paris, by ${prefix}`)
      const { _id } = await Whole.create({ one: address(), list: [address()], ...address() })
      const doc = await Whole.findById(_id)
      const part = prefix === 'address' ? doc : prefix.startsWith('one') ? doc.one : doc.list[0]
      expect(() => doc.set({ city }, prefix)).toThrow(expect.objectContaining({ code: 'RECORD_LOCKED' }))
      await part.decrypt()
      doc.set({ city }, prefix)
      await doc.save()
      const found = await Whole.findById(_id)
      const stored = prefix === 'address' ? found : prefix.startsWith('one') ? found.one : found.list[0]
      expect((await stored.decrypt()).address).toEqual({ city })
    }
  })

  test('that are opened on access gives those of a subdocument on load, and the other way round', async () => {
    const eager = () => new Schema({}).plugin(kmsEncrypted, { provider, fields: { phone: String }, decrypt: 'onLoad' })
    const lazy = () => new Schema({}).plugin(kmsEncrypted, { provider, fields: { phone: String } })
    const Lazy = connection.model<any>(
      'LazyOwner',
      new Schema({ list: [eager()] }).plugin(kmsEncrypted, { provider, fields: { email: String } }),
    ) as any
    const Eager = connection.model<any>(
      'EagerOwner',
      new Schema({ list: [lazy()] }).plugin(kmsEncrypted, { provider, fields: { email: String }, decrypt: 'onLoad' }),
    ) as any
    const content = () => ({ email: secret('ada@example.org'), list: [{ phone: secret('+44 444 4444') }] })
    for (const Each of [Lazy, Eager]) await Each.create(content())
    const lazyOwner = await Lazy.findOne()
    expect(lazyOwner.list[0].phone).toBe('+44 444 4444')
    expect(lazyOwner.email).not.toBe('ada@example.org')
    expect(await lazyOwner.email).toBe('ada@example.org')
    const eagerOwner = await Eager.findOne()
    expect(eagerOwner.email).toBe('ada@example.org')
    expect(eagerOwner.list[0].phone).not.toBe('+44 444 4444')
    expect(await eagerOwner.list[0].phone).toBe('+44 444 4444')
  })

  test('whose own and subdocuments’ fields are opened on access has no hook that looks at what was loaded', () => {
    const names = (schema: any) => schema.s.hooks._posts.get('find') ?? []
    expect(names(Person.schema)).toEqual([])
    expect(names(Owner.schema)).toEqual([])
  })
})

test.each([
  ['a single subdocument', (person: any) => person.profile, ['bio', 'motto']],
  ['an element of an array', (person: any) => person.contacts[0], ['phone', 'notes']],
  ['a value of a map', (person: any) => person.byPlace.get('london'), ['phone', 'notes']],
])('two first writers of %s do not lose each other', async (_name, part, [first, second]) => {
  await connection.collection('people').insertOne({
    name: 'Ada',
    profile: { title: 'Countess' },
    contacts: [{ _id: new Types.ObjectId(), label: 'home' }],
    byPlace: { london: { _id: new Types.ObjectId(), label: 'london' } },
  })
  const [one, two] = [await Person.findOne(), await Person.findOne()]
  part(one)[first!] = secret('written first')
  part(two)[second!] = secret('written second')
  await one.save({ validateBeforeSave: false })
  await two.save({ validateBeforeSave: false })
  const values = await part(await Person.findOne()).decrypt()
  expect([values[first!], [values[second!]].flat()]).toEqual(['written first', ['written second']])
})

test('decrypt() of a lean owner opens its subdocuments, too', async () => {
  await Person.create(given())
  const lean = await Person.findOne().lean()
  const opened = await Person.decrypt(lean)
  expect(opened).toMatchObject({
    name: 'Ada',
    contacts: [
      { label: 'home', phone: '+44 111 1111' },
      { label: 'work', phone: '+44 222 2222', notes: ['x'] },
    ],
    profile: { title: 'Countess', bio: 'wrote the first program' },
    byPlace: { london: { label: 'london', phone: '+44 333 3333' } },
  })
  expect(JSON.stringify(opened)).not.toContain('encrypted_')
  expect(lean.contacts[0].phone.sub_type).toBe(0x80)
})

test.each([
  [
    'sort',
    (contacts: any) => contacts.sort((a: any, b: any) => b.label.localeCompare(a.label)),
    ['+44 222 2222', '+44 111 1111'],
  ],
  ['splice', (contacts: any) => contacts.splice(0, 1), ['+44 222 2222']],
  ['pull', (contacts: any) => contacts.pull({ _id: contacts[1]._id }), ['+44 111 1111']],
])('%s in place keeps what the elements hold', async (_name, change, expected) => {
  await Person.create(given())
  const person = await Person.findOne()
  change(person.contacts)
  await person.save()
  const loaded = await Person.findOne()
  expect(await Promise.all(loaded.contacts.map((contact: any) => contact.phone))).toEqual(expected)
})

test('assigning a new array of loaded elements loses nothing', async () => {
  await Person.create(given())
  const person = await Person.findOne()
  person.contacts = [...person.contacts].reverse()
  await person.save()
  const phones = await Promise.all((await Person.findOne()).contacts.map((contact: any) => contact.phone))
  expect(phones).toEqual(['+44 222 2222', '+44 111 1111'])
})
