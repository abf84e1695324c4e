import { inspect } from 'node:util'
import { Schema } from 'mongoose'
import { contactSchema, expectReads, plugin, provider, refused, secret, useFaults, userModel } from './support'

const { connection, raw, plant, tamper } = useFaults()
const email = 'ada@example.org'
const phone = '+44 111 1111'

const owned = () => new Schema<any>({ label: String }).plugin(plugin, { fields: ['phone'], dataKey: 'owner' })

/** What is at hand when a rotation is refused: who is asked, and what its message says to do, after which it works. */
interface Case {
  readonly model: any
  /** Asks for the rotation that is refused. */
  rotate(): Promise<unknown>
  /** Does what the message says, and asks again where that is not all that it says. */
  follow(): Promise<unknown>
}

describe('fault 30: what rotateKmsKey() advises when it refuses is what works', () => {
  const contacts = () => [
    { label: 'home', phone: secret(phone) },
    { label: 'work', phone: secret('+44 222 2222') },
  ]
  const ownerModel = () => userModel(connection, { name: String, one: contactSchema(), contacts: [contactSchema()] })

  /** An owner, loaded, and its model. */
  async function anOwner() {
    const model = ownerModel()
    const { _id } = await model.create({ name: 'Ada', email: secret(email), one: contacts()[0], contacts: contacts() })
    return { model, load: () => model.findById(_id), doc: await model.findById(_id), key: { _id } }
  }

  async function aUser(options: object = {}) {
    const model = userModel(connection, { name: String }, options)
    const { _id } = await model.create({ name: 'Ada', email: secret(email) })
    return { model, load: () => model.findById(_id), key: { _id } }
  }

  const cases: [string, string, RegExp, () => Promise<Case>][] = [
    [
      'other writes come between each time',
      'RECORD_CHANGED',
      /Try again\.$/,
      async () => {
        const { model, load } = await aUser()
        const doc = await load()
        const find = model.collection.findOne
        let reads = 0
        const overtake = jest.spyOn(model.collection, 'findOne').mockImplementation(async function (
          this: any,
          ...given
        ) {
          const found = await find.apply(this, given)
          if (++reads <= 5) await model.updateOne({}, { email: secret(email) })
          return found
        })
        return {
          model,
          rotate: () => doc.rotateKmsKey(),
          follow: async () => {
            await doc.rotateKmsKey()
            overtake.mockRestore()
          },
        }
      },
    ],
    [
      'a subdocument has the data key of its owner',
      'WRITE_REFUSED',
      /Do it to that record\.$/,
      async () => {
        const model = userModel(connection, { name: String, one: owned() })
        await model.create({ name: 'Ada', email: secret(email), one: contacts()[0] })
        const doc = await model.findOne()
        return { model, rotate: () => doc.one.rotateKmsKey(), follow: () => doc.rotateKmsKey() }
      },
    ],
    [
      'another process has put a subdocument in its place',
      'RECORD_CHANGED',
      /else load the record\.$/,
      async () => {
        const { model, load, doc } = await anOwner()
        await model.updateOne({}, { one: { label: 'new', phone: secret(phone) } })
        return { model, rotate: () => doc.one.rotateKmsKey(), follow: async () => (await load()).one.rotateKmsKey() }
      },
    ],
    [
      'another process has moved the subdocument',
      'RECORD_CHANGED',
      /else load the record\.$/,
      async () => {
        const { model, load, doc } = await anOwner()
        const other = await load()
        other.contacts.splice(0, 1)
        await other.save()
        return {
          model,
          rotate: () => doc.contacts[1].rotateKmsKey(),
          follow: async () => (await load()).contacts[0].rotateKmsKey(),
        }
      },
    ],
    [
      'a subdocument took the place of a stored one and is not saved',
      'RECORD_CHANGED',
      /If it is new, save the record first, /,
      async () => {
        const { model, doc } = await anOwner()
        doc.one = { label: 'new', phone: secret(phone) }
        const rotate = () => doc.one.rotateKmsKey()
        return { model, rotate, follow: async () => (await doc.save()) && rotate() }
      },
    ],
    [
      'a subdocument came to a list and is not saved',
      'RECORD_CHANGED',
      /If it is new, save the record first, /,
      async () => {
        const { model, doc } = await anOwner()
        doc.contacts.push({ label: 'new', phone: secret('+44 333 3333') })
        const rotate = () => doc.contacts[2].rotateKmsKey()
        return { model, rotate, follow: async () => (await doc.save()) && rotate() }
      },
    ],
    [
      'the record was loaded without its _id',
      'ID_NOT_SELECTED',
      /Select it when loading\.$/,
      async () => {
        const { model, load } = await aUser()
        const doc = await model.findOne().select('-_id email')
        return { model, rotate: () => doc.rotateKmsKey(), follow: async () => (await load()).rotateKmsKey() }
      },
    ],
    [
      'a field is in the clear',
      'PLAINTEXT_FOUND',
      /set the field anew/,
      async () => {
        const model = userModel(connection)
        await plant(model, { name: 'Ada', email: 'plain@example.org' })
        const doc = await model.findOne()
        return {
          model,
          rotate: () => doc.rotateKmsKey(),
          follow: async () => {
            // What was found there is not shown meanwhile.
            await refused(() => doc.email, 'PLAINTEXT_FOUND')
            expect(inspect(doc.toObject({ getters: true }))).not.toContain('plain@')
            doc.email = secret(email)
            await doc.save()
            await doc.rotateKmsKey()
          },
        }
      },
    ],
    ...(['ENVELOPE_TRUNCATED', 'ENVELOPE_REJECTED'] as const).map((code): (typeof cases)[number] => [
      `an envelope is damaged: ${code}`,
      code,
      /Restore the field from a backup or set it anew\.$/,
      async () => {
        const { model, load, key } = await aUser()
        const [{ email: envelope }] = await raw(model)
        const bytes = Buffer.from(envelope.buffer)
        const damaged = code === 'ENVELOPE_TRUNCATED' ? bytes.subarray(0, 20) : Buffer.from(bytes)
        damaged[damaged.length - 1]! ^= 1
        await tamper(model, key, { $set: { email: new (envelope.constructor as any)(damaged, 0x80) } })
        const doc = await load()
        return {
          model,
          rotate: () => doc.rotateKmsKey(),
          follow: async () => {
            doc.email = secret(email)
            await doc.save()
            await doc.rotateKmsKey()
            // Or, the other way.
            await tamper(model, key, { $set: { email: new (envelope.constructor as any)(damaged, 0x80) } })
            await refused(() => doc.rotateKmsKey(), /^(DATA_KEY_MISSING|ENVELOPE_\w+)$/)
            await doc.set({ email: secret(email) }).save()
          },
        }
      },
    ]),
    [
      'the wrapped key is damaged',
      'WRAPPED_KEY_DAMAGED',
      /Restore it from a backup/,
      async () => {
        const { model, load, key } = await aUser()
        const [{ encrypted_kms_key: keys }] = await raw(model)
        await tamper(model, key, { $set: { 'encrypted_kms_key.0.wrapped': 'x' } })
        const doc = await load()
        return {
          model,
          rotate: () => doc.rotateKmsKey(),
          follow: async () => {
            await tamper(model, key, { $set: { encrypted_kms_key: keys } })
            await doc.rotateKmsKey()
          },
        }
      },
    ],
    [
      'the wrapped key is there twice',
      'WRAPPED_KEY_DAMAGED',
      /Restore encrypted_kms_key of the record from a backup\.$/,
      async () => {
        const { model, load, key } = await aUser()
        const [{ encrypted_kms_key: keys }] = await raw(model)
        await tamper(model, key, { $set: { encrypted_kms_key: [...keys, ...keys] } })
        const doc = await load()
        return {
          model,
          rotate: () => doc.rotateKmsKey(),
          follow: async () => {
            await tamper(model, key, { $set: { encrypted_kms_key: keys } })
            await doc.rotateKmsKey()
          },
        }
      },
    ],
    [
      'the key is of a version that the plugin does not know',
      'KEY_VERSION_UNKNOWN',
      /Describe the missing one in previousVersions\.$/,
      async () => {
        const { model, key } = await aUser()
        const same = (options: object) => {
          const schema = new Schema<any>({ name: String }).plugin(plugin, {
            provider,
            fields: { email: String },
            version: 2,
            context: (record: any) => ({ Record: `${model.modelName}/${record._id}` }),
            ...options,
          })
          return connection.model<any>(
            `${model.modelName}_${Object.keys(options).length}`,
            schema,
            model.collection.name,
          )
        }
        const [without, described] = [
          same({}),
          same({
            previousVersions: {
              1: { context: (record: any) => ({ Record: `${model.modelName}/${record._id}` }) },
            },
          }),
        ]
        return {
          model: described,
          rotate: async () => ((await without.findById(key._id)) as any).rotateKmsKey(),
          follow: async () => ((await described.findById(key._id)) as any).rotateKmsKey(),
        }
      },
    ],
  ]

  test.each(cases)('%s', async (_name, code, message, make) => {
    const { model, rotate, follow } = await make()
    const before = await raw(model)
    const error = await refused(rotate, code, message)
    const remedy = /Try again/.test(error.message) ? 'retry' : 'reload'
    expect(error.remedy).toBe(code === 'RECORD_CHANGED' ? remedy : undefined)
    const refusedWith = await raw(model)
    expect(refusedWith.map(keysOf)).toEqual(before.map(keysOf))
    await follow()
    const after = await raw(model)
    expect(after.map(keysOf)).not.toEqual(before.map(keysOf))
    await expectReads(model, {}, { email })
  })

  test('a change of the context that is not saved yet is none: the record is rotated, and saved when it is open', async () => {
    const context = (record: any) => ({ Tenant: `${record.tenant}` })
    const model = userModel(connection, { name: String, tenant: String }, { context })
    await model.create({ name: 'Ada', tenant: 'one', email: secret(email) })
    for (const [index, open] of [false, true].entries()) {
      const doc = await model.findOne()
      if (open) await doc.decrypt()
      doc.tenant = `another ${index}`
      await doc.rotateKmsKey()
      await expectReads(model, { tenant: index === 0 ? 'one' : 'another 0' }, { email })
      await refused(() => doc.save(), 'CONTEXT_CHANGED', /Open the whole record first/)
      await doc.decrypt()
      await doc.save()
      await expectReads(model, { tenant: `another ${index}` }, { email })
    }
  })

  /** All wrapped keys of a stored record, wherever they are. */
  function keysOf(record: any): unknown[] {
    const own = [record, record.one, ...(record.contacts ?? [])]
    return own.map((part) => part?.encrypted_kms_key)
  }

  test('a subdocument in place of a stored one is no reason: the record is rotated, and saved then', async () => {
    const { model, doc } = await anOwner()
    doc.one = { label: 'new', phone: secret('+44 999 9999') }
    await doc.rotateKmsKey()
    await expectReads(model, {}, { email, 'one.phone': phone })
    await doc.save()
    await expectReads(model, {}, { email, 'one.phone': '+44 999 9999' })
    await doc.one.rotateKmsKey()
    await expectReads(model, {}, { email, 'one.phone': '+44 999 9999' })
  })
})

describe('a copy of a record that is kept in another, as by an audit log', () => {
  const Log: any = connection.model<any>('CopyLog', new Schema<any>({ copy: Schema.Types.Mixed }))
  const copies: [string, (doc: any) => unknown][] = [
    ['the document', (doc) => doc],
    ['what it holds', (doc) => ({ ...doc._doc })],
    ['its changes', (doc) => doc.$getChanges?.() ?? doc.getChanges()],
  ]

  test.each(copies)('is refused as %s, and by a message that says what to keep', async (_name, copy) => {
    const User = userModel(connection, { name: String })
    const doc = await User.create({ name: 'Ada', email: secret(email) })
    doc.email = secret('new@example.org')
    const error = await refused(() => Log.create({ copy: copy(doc) }), 'WRITE_REFUSED', /^email is encrypted/)
    expect(error.message).toMatch(/To keep a copy elsewhere, write what toObject\(\) gives, or what is stored\.$/)
    expect(await raw(Log)).toEqual([])
  })

  test('can be made of what toObject() gives, or of what is stored', async () => {
    const User = userModel(connection, { name: String })
    const doc = await User.create({ name: 'Ada', email: secret(email) })
    await Log.create({ copy: doc.toObject() })
    const lean = await User.findById(doc._id).lean()
    await Log.create({ copy: lean })
    await User.deleteOne({ _id: doc._id })
    await User.insertMany([(await Log.findOne({ 'copy.email': { $ne: null } }).lean()).copy], { lean: true })
    await expectReads(User, { name: 'Ada' }, { email })
  })
})
