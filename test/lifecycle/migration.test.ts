import { Schema } from 'mongoose'
import { misconfigured, named, plugin, provider, refused, useFaults } from '../faults/support'
import { isSealed, sealedIn, versions } from './migrating'

// Records that were stored in the clear before the plugin was there: how they are read, and encrypted with their next write.
const database = useFaults()
const { connection, raw, tamper, plant } = database

const given = {
  name: 'Ada',
  email: 'ada@example.org',
  dob: new Date('1815-12-10'),
  height: 1.65,
  tags: ['first', 'second'],
  address: { street: 'St James’s Square', city: 'London' },
  meta: { any: [1, 'two'] },
  photo: Buffer.from('pixels'),
  scores: { chess: 3 },
}
const { name: _name, ...fields } = given
const allFields = Object.keys(fields)

function plain(person: any) {
  const { email, dob, height, tags, address, meta, photo, scores } = person
  const { street, city } = address
  const shown = scores instanceof Map ? Object.fromEntries(scores) : scores
  return {
    ...{ email, dob, height, tags: [...tags], address: { street, city }, meta, scores: shown },
    photo: Buffer.from(Buffer.isBuffer(photo) ? photo : photo.buffer),
  }
}

describe('what is stored in the clear is read', () => {
  test('by the fields of a document, at once and of their types, with no call to the KMS', async () => {
    const { Old, New, kms } = await versions(database)
    await Old.create(given)
    const before = await raw(Old)
    const ada = await New.findOne({ name: 'Ada' })
    expect(plain(ada)).toEqual(fields)
    expect(await ada.email).toBe('ada@example.org')
    expect(plain(await ada.decrypt())).toEqual(fields)
    expect(JSON.stringify(ada)).not.toContain('example.org')
    expect(kms.calls).toEqual({ generate: 0, unwrap: 0 })
    expect(await raw(Old)).toEqual(before)
  })

  test('by Model.decrypt() of lean objects and cursors, and where records are opened on load', async () => {
    const { Old, New, again } = await versions(database)
    await Old.create(given)
    expect(plain(await New.decrypt(await New.findOne().lean()))).toEqual(fields)
    expect(plain(await New.decrypt(await New.findOne().select('-encrypted_kms_key').lean()))).toEqual(fields)
    for await (const one of New.decrypt(New.find().lean())) expect(plain(one)).toEqual(fields)
    const OnLoad = await again({ decrypt: 'onLoad' })
    expect(plain(await OnLoad.findOne())).toEqual(fields)
    expect(plain(OnLoad.hydrate(await OnLoad.findOne().lean()))).toEqual(fields)
  })

  test('cast to the type that the field has; what cannot be is an error of that field alone, without the value', async () => {
    const { New, again } = await versions(
      database,
      {},
      { email: String, height: Number, dob: Date, tags: [Number], isOn: Boolean },
    )
    await plant(New, { name: 'odd', email: 42, height: '1.8', dob: '1815-12-10', tags: ['seventy'], isOn: 'perhaps' })
    const odd = await New.findOne()
    expect([odd.email, odd.height, odd.dob]).toEqual(['42', 1.8, new Date('1815-12-10')])
    for (const field of ['tags', 'isOn']) {
      const error = await refused(() => odd[field], 'PLAINTEXT_FOUND', /cannot be cast to (Array|Boolean)/)
      expect(`${error.message}${error.stack}${JSON.stringify(error)}`).not.toMatch(/perhaps|seventy/)
      expect(error.cause).toBeUndefined()
    }
    await refused(() => New.findOne().then((doc: any) => doc.decrypt()), 'PLAINTEXT_FOUND')
    const eager = await (await again({ decrypt: 'onLoad' })).findOne()
    expect(eager.height).toBe(1.8)
    await refused(() => eager.isOn, 'PLAINTEXT_FOUND')
    odd.name = 'even'
    await odd.save()
    const [stored] = await raw(New)
    expect(sealedIn(stored)).toEqual(['email', 'height', 'dob'])
    expect([stored.tags, stored.isOn, stored.name]).toEqual([['seventy'], 'perhaps', 'even'])
    odd.isOn = true
    await odd.save()
    expect(sealedIn((await raw(New))[0])).toContain('isOn')
  })

  test('but never bytes with the subtype of envelopes, or bytes where the field holds none', async () => {
    const { New } = await versions(database, {}, { email: String, photo: Buffer })
    const { Binary } = (await import('mongoose')).default.mongo.BSON
    await plant(New, { email: new Binary(Buffer.from('damaged'), 0x80), photo: new Binary(Buffer.alloc(64, 7), 0x80) })
    await plant(New, { email: new Binary(Buffer.from('of another kind'), 0) })
    const [one, two] = await New.find().sort({ _id: 1 })
    await refused(() => one.email, 'ENVELOPE_TRUNCATED')
    await refused(() => one.photo, 'ENVELOPE_UNKNOWN')
    await refused(() => two.email, 'PLAINTEXT_FOUND')
  })

  test('and without the option it is refused as ever', async () => {
    const { Old, again } = await versions(database)
    await Old.create(given)
    await refused(
      async () => (await (await again({ migrating: false })).findOne()).email,
      'PLAINTEXT_FOUND',
      /not encrypted/,
    )
  })
})

describe('a save encrypts', () => {
  test('all that was loaded in the clear in one write, though a clear field alone was changed', async () => {
    const { Old, New, kms } = await versions(database)
    await Old.create(given)
    const [before] = await raw(Old)
    const ada = await New.findOne()
    ada.name = 'Countess'
    await ada.save()
    const [after] = await raw(Old)
    expect(sealedIn(after).sort()).toEqual([...allFields].sort())
    expect(after.encrypted_kms_key).toHaveLength(1)
    expect({ ...after, updatedAt: 0 }).toMatchObject({
      name: 'Countess',
      _id: before._id,
      __v: before.__v,
      updatedAt: 0,
    })
    expect(kms.calls.generate).toBe(1)
    expect(plain(ada)).toEqual(fields)
    expect(plain(await (await New.findOne()).decrypt())).toEqual(fields)
  })

  test('nothing where nothing is to be written, and only once', async () => {
    const { Old, New, kms } = await versions(database)
    await Old.create(given)
    const before = await raw(Old)
    const ada = await New.findOne()
    void ada.address.city
    void ada.dob
    await ada.save()
    expect(await raw(Old)).toEqual(before)
    expect(kms.calls).toEqual({ generate: 0, unwrap: 0 })
    ada.name = 'one'
    await ada.save()
    const [sealed] = await raw(Old)
    ada.name = 'two'
    await ada.save()
    const { name, updatedAt, ...same } = (await raw(Old))[0]
    expect(name).toBe('two')
    expect(sealed).toMatchObject(same)
    expect(updatedAt).not.toBe(sealed.updatedAt)
  })

  test('what was changed in place as it is now, and what was set', async () => {
    const { Old, New } = await versions(database)
    await Old.create(given)
    const ada = await New.findOne()
    ada.dob.setFullYear(1900)
    ada.address.city = 'Paris'
    ada.tags.push('third')
    ada.email = 'Lovelace@Example.org'
    ada.meta = { other: 1 }
    await ada.save()
    expect(sealedIn((await raw(Old))[0]).sort()).toEqual([...allFields].sort())
    const read = plain(await (await New.findOne()).decrypt())
    expect(read).toMatchObject({
      ...{ email: 'lovelace@example.org', tags: ['first', 'second', 'third'], meta: { other: 1 } },
      address: { street: 'St James’s Square', city: 'Paris' },
    })
    expect(read.dob.getFullYear()).toBe(1900)
  })

  test('what does not satisfy the validators of today, where they are not asked', async () => {
    const { Old, New, again } = await versions(database, {}, { email: { type: String, match: /@/ } })
    await Old.collection.insertOne({ name: 'old', email: 'no address' })
    const old = await New.findOne()
    old.name = 'new'
    await old.save({ validateModifiedOnly: true })
    expect(isSealed((await raw(Old))[0].email)).toBe(true)
    expect(await (await (await again()).findOne()).email).toBe('no address')
  })

  test('what is selected; the rest is left to a later write', async () => {
    const { Old, New } = await versions(database)
    await Old.create(given)
    const ada = await New.findOne().select('name email')
    ada.name = 'Countess'
    await ada.save()
    const [stored] = await raw(Old)
    expect(sealedIn(stored)).toEqual(['email'])
    expect(stored.encrypted_kms_key).toHaveLength(1)
    const rest = await New.findOne().select('name dob')
    await rest.set('name', 'Ada').save()
    const [both] = await raw(Old)
    expect(sealedIn(both).sort()).toEqual(['dob', 'email'])
    expect(both.encrypted_kms_key).toHaveLength(1)
    expect(plain(await New.decrypt(await New.findOne().lean()))).toEqual(fields)
  })

  test('objects whose keys MongoDB has in another order than JavaScript', async () => {
    const { Old, New, kms } = await versions(
      database,
      {},
      { scores: { type: Map, of: Number }, meta: Schema.Types.Mixed },
    )
    const scores = new Map([
      ['b', 1],
      ['10', 10],
      ['9', 9],
    ])
    await plant(Old, { name: 'Ada', scores, meta: [[{ 1: 2 }]] })
    const ada = await New.findOne()
    ada.name = 'Countess'
    kms.during(() => tamper(Old, {}, { $set: { 'scores.77': 1 } }))
    await ada.save()
    expect(sealedIn((await raw(Old))[0])).toEqual(['meta'])
    await ada.set('name', 'Ada').save()
    expect(sealedIn((await raw(Old))[0])).toEqual(['scores', 'meta'])
    expect(Object.fromEntries(await (await New.findOne()).scores)).toEqual({ b: 1, 9: 9, 10: 10, 77: 1 })
  })

  test('by bulkSave(), and of a clone', async () => {
    const { Old, New } = await versions(database, {}, { email: String, dob: Date })
    await Old.create([{ email: 'one@example.org' }, { email: 'two@example.org' }])
    const all = await New.find()
    for (const each of all) each.name = 'many'
    await New.bulkSave(all)
    expect((await raw(Old)).map(sealedIn)).toEqual([['email'], ['email']])
    await Old.create({ name: 'x', email: 'three@example.org' })
    const clone = (await New.findOne({ name: 'x' })).$clone()
    clone.name = 'y'
    await clone.save()
    expect((await raw(Old)).map(sealedIn)).toEqual([['email'], ['email'], ['email']])
  })

  test('once more where the transaction around it was aborted, and only what is still stored', async () => {
    const { Old, New } = await versions(database, {}, { email: String })
    await Old.create({ name: 'old', email: 'ada@example.org' })
    const ada = await New.findOne()
    const aborted = async () => {
      const session = await connection.startSession()
      session.startTransaction()
      await ada.set('name', 'in a transaction').save({ session })
      await session.abortTransaction()
      await session.endSession()
      ada.$session(null)
    }
    await aborted()
    expect(sealedIn((await raw(Old))[0])).toEqual([])
    await ada.set('name', 'after').save()
    expect(sealedIn((await raw(Old))[0])).toEqual(['email'])
    expect(await (await New.findOne()).email).toBe('ada@example.org')
  })

  test('nothing over what another has written since a transaction was aborted', async () => {
    const { Old, New } = await versions(database, {}, { email: String })
    await Old.create({ name: 'old', email: 'ada@example.org' })
    const ada = await New.findOne()
    const session = await connection.startSession()
    session.startTransaction()
    await ada.set('name', 'in a transaction').save({ session })
    await session.abortTransaction()
    await session.endSession()
    ada.$session(null)
    await Old.updateOne({}, { email: 'newer@example.org' })
    await ada.set('name', 'after').save()
    expect((await raw(Old))[0]).toMatchObject({ name: 'after', email: 'newer@example.org' })
  })
})

describe('an update', () => {
  test('of one or many encrypts the field that it sets, and leaves the others', async () => {
    const { Old, New } = await versions(database)
    await Old.create([given, given])
    await New.updateOne({}, { $set: { email: 'new@example.org' } })
    await New.updateMany({}, { $set: { height: 2, name: 'all' } })
    const stored = await raw(Old)
    expect(stored.map((each) => sealedIn(each).sort())).toEqual([['email', 'height'], ['height']])
    expect(stored.map(({ dob }) => dob)).toEqual([given.dob, given.dob])
    const read = await Promise.all((await New.find()).map((each: any) => each.decrypt()))
    expect(read.map(({ email, height }) => [email, height])).toEqual([
      ['new@example.org', 2],
      ['ada@example.org', 2],
    ])
  })
})

describe('what an older version of the application writes meanwhile', () => {
  test('is never overwritten with what was read before: the rest of the save is made', async () => {
    const { Old, New, kms } = await versions(database, {}, { email: String, phone: String })
    await Old.create({ name: 'Ada', email: 'old@example.org', phone: '+44 1' })
    const ada = await New.findOne()
    ada.name = 'Countess'
    kms.during(() => tamper(Old, {}, { $set: { email: 'new@example.org' } }))
    await ada.save()
    const [stored] = await raw(Old)
    expect(stored).toMatchObject({ name: 'Countess', email: 'new@example.org' })
    expect(sealedIn(stored)).toEqual(['phone'])
    expect(ada.email).toBe('new@example.org')
    ada.name = 'Ada'
    await ada.save()
    expect(sealedIn((await raw(Old))[0])).toEqual(['email', 'phone'])
    expect(await (await New.findOne()).email).toBe('new@example.org')
  })

  test('nor by bulkSave(), which says which documents were not written', async () => {
    const { Old, New, kms } = await versions(database, {}, { email: String })
    await Old.create([
      { name: 'Ada', email: 'old@example.org' },
      { name: 'Bob', email: 'bob@example.org' },
    ])
    const all = await New.find().sort({ _id: 1 })
    for (const each of all) each.name = `${each.name} 2`
    kms.during(() => tamper(Old, { name: 'Ada' }, { $set: { email: 'new@example.org' } }))
    const outcome = await New.bulkSave(all).then(
      () => 'saved',
      (error: Error) => error,
    )
    const [ada, bob] = await raw(Old)
    expect([ada.email, isSealed(bob.email), bob.name]).toEqual(['new@example.org', true, 'Bob 2'])
    expect(ada.name).toBe(outcome === 'saved' ? 'Ada 2' : 'Ada')
    await New.bulkSave(all.filter((each: any) => each.isModified()))
    expect((await raw(Old))[0].name).toBe('Ada 2')
    expect((await New.findOne({ name: 'Ada 2' })).email).toBeDefined()
    expect(await (await New.findOne({ name: 'Ada 2' })).email).toBe('new@example.org')
  })

  test('nor what a newer one has encrypted meanwhile', async () => {
    const { Old, New, kms } = await versions(database, {}, { email: String })
    await Old.create({ name: 'Ada', email: 'old@example.org' })
    const ada = await New.findOne()
    ada.name = 'Countess'
    kms.during(() => New.updateOne({}, { $set: { email: 'new@example.org' } }))
    await ada.save()
    expect((await raw(Old))[0].name).toBe('Countess')
    expect(await ada.email).toBe('new@example.org')
    expect(await (await New.findOne()).email).toBe('new@example.org')
  })

  test('but what the user has set takes its place, as ever', async () => {
    const { Old, New, kms } = await versions(database, {}, { email: String })
    await Old.create({ name: 'Ada', email: 'old@example.org' })
    const ada = await New.findOne()
    ada.email = 'mine@example.org'
    kms.during(() => tamper(Old, {}, { $set: { email: 'theirs@example.org' } }))
    await ada.save()
    expect(await (await New.findOne()).email).toBe('mine@example.org')
  })

  test('and a value of which a part was changed is not written over it', async () => {
    const { Old, New, kms } = await versions(database, {}, { address: { street: String, city: String } })
    await Old.create({ name: 'Ada', address: { street: 'A', city: 'B' } })
    const ada = await New.findOne()
    ada.address.city = 'C'
    kms.during(() => tamper(Old, {}, { $set: { 'address.street': 'D' } }))
    await refused(() => ada.save(), 'RECORD_CHANGED')
    expect((await raw(Old))[0].address).toEqual({ street: 'D', city: 'B' })
    await refused(() => ada.save(), 'RECORD_CHANGED')
    const again = await New.findOne()
    again.address.city = 'C'
    await again.save()
    expect(await (await New.findOne()).address).toMatchObject({ street: 'D', city: 'C' })
  })

  test('nor what was added to a number', async () => {
    const { Old, New, kms } = await versions(database, {}, { height: Number })
    await Old.create({ name: 'Ada', height: 1 })
    const ada = await New.findOne()
    ada.$inc('height', 1)
    kms.during(() => tamper(Old, {}, { $inc: { height: 5 } }))
    await refused(() => ada.save(), 'RECORD_CHANGED', /anew/)
    expect((await raw(Old))[0].height).toBe(6)
    const again = await New.findOne()
    again.$inc('height', 1)
    await again.save()
    expect(await (await New.findOne()).height).toBe(7)
  })

  test('over what is encrypted is read, and encrypted under the key that the record has', async () => {
    const { Old, New, kms } = await versions(database, {}, { email: String })
    const { _id } = await New.create({ name: 'Ada', email: 'first@example.org' })
    await Old.updateOne({ _id }, { email: 'second@example.org' })
    const ada = await New.findOne()
    expect(ada.email).toBe('second@example.org')
    ada.name = 'Countess'
    await ada.save()
    const [stored] = await raw(Old)
    expect([isSealed(stored.email), stored.encrypted_kms_key.length, kms.calls.generate]).toEqual([true, 1, 1])
    expect(await (await New.findOne()).email).toBe('second@example.org')
  })
})

describe('subdocuments', () => {
  const contacts = (options: object) => {
    const contact = new Schema<any>({ label: String }).plugin(plugin, {
      fields: { phone: String },
      migrating: true,
      ...options,
    })
    return { contacts: [contact], home: contact }
  }
  async function holders(before: object, schema: Schema) {
    const name = named('Holder')
    const Old = (await database.open()).model<any>(name, new Schema<any>({ name: String, ...before })) as any
    return { Old, New: connection.model<any>(name, schema) as any }
  }
  const person = {
    name: 'Ada',
    contacts: [
      { label: 'a', phone: '+44 1' },
      { label: 'b', phone: '+44 2' },
    ],
    home: { phone: '+44 3' },
  }

  test.each([
    ['with keys of their own', { provider }],
    ['under the key of the owner', { dataKey: 'owner' }],
  ])('%s are read, and encrypted with a save of the record', async (_kind, options) => {
    const plainContacts = new Schema<any>({ label: String, phone: String })
    const schema = new Schema<any>({ name: String, ...contacts(options) })
    schema.plugin(plugin, { provider, fields: { email: String }, migrating: true })
    const { Old, New } = await holders({ email: String, contacts: [plainContacts], home: plainContacts }, schema)
    await Old.create({ ...person, email: 'ada@example.org' })
    const ada = await New.findOne()
    expect(ada.contacts.map(({ phone }: any) => phone)).toEqual(['+44 1', '+44 2'])
    expect(ada.home.phone).toBe('+44 3')
    ada.contacts[1].label = 'c'
    await ada.save()
    const [stored] = await raw(Old)
    expect([stored.email, stored.home.phone, ...stored.contacts.map(({ phone }: any) => phone)].map(isSealed)).toEqual([
      true,
      true,
      true,
      true,
    ])
    expect(stored.contacts.map(({ label }: any) => label)).toEqual(['a', 'c'])
    const read = await New.decrypt(await New.findOne().lean())
    expect(read.contacts.map(({ phone }: any) => phone)).toEqual(['+44 1', '+44 2'])
    expect([read.home.phone, read.email]).toEqual(['+44 3', 'ada@example.org'])
  })

  test('that are not written stay as they are where one is added beside them, for their array is not to be written whole', async () => {
    const plainContacts = new Schema<any>({ label: String, phone: String })
    const schema = new Schema<any>({ name: String, contacts: contacts({ provider }).contacts })
    const { Old, New } = await holders({ contacts: [plainContacts] }, schema)
    await Old.create({ name: 'Ada', contacts: person.contacts })
    const ada = await New.findOne()
    ada.contacts.push({ label: 'c', phone: '+44 4' })
    await Old.updateOne({}, { $set: { 'contacts.0.label': 'theirs' } })
    await ada.save()
    const [stored] = await raw(Old)
    expect(stored.contacts.map(({ label }: any) => label)).toEqual(['theirs', 'b', 'c'])
    expect(stored.contacts.map(({ phone }: any) => isSealed(phone))).toEqual([false, false, true])
    const again = await New.findOne()
    again.name = 'Countess'
    await again.save()
    expect((await raw(Old))[0].contacts.map(({ phone }: any) => isSealed(phone))).toEqual([true, true, true])
  })
})

describe('the option', () => {
  test('is true or false', () =>
    misconfigured(() => versions(database, { migrating: 'yes' as never }), /migrating.*true or false/))

  test('needs that of the owner where the key is the owner’s', () =>
    misconfigured(() => {
      const contact = new Schema<any>({}).plugin(plugin, { fields: ['phone'], dataKey: 'owner', migrating: true })
      const schema = new Schema<any>({ contact }).plugin(plugin, { provider, fields: ['email'] })
      connection.model(named('Owner'), schema)
    }, /migrating/))
})
