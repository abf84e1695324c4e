import mongoose, { Schema } from 'mongoose'
import {
  contactSchema,
  expectReads,
  misconfigured,
  named,
  plugin,
  provider,
  secret,
  settles,
  useFaults,
} from './support'

const { connection, raw, open } = useFaults()
const key = { discriminatorKey: 'kind' }
const enc = { provider, fields: { email: { type: String, required: true } } }
const model = (schema: Schema<any>, on: any = connection) => on.model(named('Base'), schema)

/** Ways of making a child of a base. Each gives the base and the child once both are compiled. */
const families: [string, (base: Schema<any>, child: Schema<any>, options?: object) => { Base: any; Child: any }][] = [
  [
    'Model.discriminator()',
    (base, child, options) => {
      const Base = model(base)
      return { Base, Child: Base.discriminator(named('Child'), child, options) }
    },
  ],
  [
    'schema.discriminator()',
    (base, child, options) => {
      const name = named('Child')
      base.discriminator(name, child as never, options as never)
      const Base = model(base)
      return { Base, Child: Base.discriminators[name] }
    },
  ],
]

/** Everything that writes a child, by itself and by its base. */
async function expectWrites({ Base, Child }: { Base: any; Child: any }): Promise<void> {
  const kind = Child.modelName
  const writes: [string, (email: string) => Promise<unknown>][] = [
    ['create', (email) => Child.create({ name: 'create', email })],
    ['base create', (email) => Base.create({ kind, name: 'base create', email })],
    ['insertMany', (email) => Child.insertMany([{ name: 'insertMany', email }])],
    ['lean', (email) => Child.insertMany([{ kind, name: 'lean', email }], { lean: true })],
    ['base lean', (email) => Base.insertMany([{ kind, name: 'base lean', email }], { lean: true })],
    ['bulk', (email) => Child.bulkWrite([{ insertOne: { document: { name: 'bulk', email } } }])],
    ['base bulk', (email) => Base.bulkWrite([{ insertOne: { document: { kind, name: 'base bulk', email } } }])],
    ['bulkSave', (email) => Child.bulkSave([new Child({ name: 'bulkSave', email })])],
    ['upsert', (email) => Child.updateOne({ name: 'upsert' }, { email }, { upsert: true })],
    ['an update', (email) => Child.updateOne({ name: 'an update' }, { email })],
    ['a base update', (email) => Base.updateOne({ kind, name: 'a base update' }, { email }, { strict: false })],
    ['a save', async (email) => (await Base.findOne({ name: 'a save' })).set({ email }).save()],
    ['a replacement', (email) => Child.replaceOne({ name: 'a replacement' }, { name: 'a replacement', email })],
  ]
  for (const [name, write] of writes) {
    if (name.startsWith('a ') || name.startsWith('an '))
      await Child.create({ name, email: secret('first@example.org') })
    const email = secret(`${name}@example.org`)
    await settles(
      // The base does not know a field of the child alone.
      name === 'a base update' && !Base.schema.path('email') ? 'UPDATE_REFUSED' : undefined,
      () => write(email),
      () => expectReads(Child, { name }, { email }),
    )
    await Base.deleteMany({})
  }
}

describe('fault 2: a field that is encrypted in one of base and child, and in the clear in the other', () => {
  test.each(families)('is refused where the child declares it again in the clear: %s', async (_name, make) => {
    for (const child of [
      new Schema<any>({ email: String }),
      new Schema<any>({ email: { type: String, lowercase: true } }),
      new Schema<any>({ email: { home: String } }),
      new Schema<any>({ encrypted_kms_key: [Object] }),
    ]) {
      await misconfigured(
        () => make(new Schema<any>({ name: String }, key).plugin(plugin, enc), child),
        /email|encrypted_kms_key/,
      )
    }
  })

  test.each(families)('is refused where the child declares it in a grandchild: %s', async (_name, make) => {
    const child = new Schema<any>({ grade: Number })
    child.plugin((each: Schema) => void each.add({ email: String }))
    await misconfigured(() => make(new Schema<any>({ name: String }, key).plugin(plugin, enc), child), /email/)
  })

  test.each(families)('is refused where the base has it in the clear: %s', async (_name, make) => {
    const base = () => new Schema<any>({ name: String, email: String }, key)
    const child = () => new Schema<any>({ grade: Number }).plugin(plugin, enc)
    await misconfigured(() => make(base(), child()), /email.*Encrypt it there, or give it another name/)
  })

  test.each(families)(
    'is encrypted in the child, or refused, where a nested path of the base is in the way: %s',
    async (_name, make) => {
      const base = () => new Schema<any>({ name: String, address: { city: String } }, key)
      const child = () => new Schema<any>({}).plugin(plugin, { provider, fields: { address: { city: String } } })
      let family: { Base: any; Child: any }
      try {
        family = make(base(), child())
      } catch (error) {
        expect(String(error)).toMatch(/address/)
        return
      }
      const city = secret('St James')
      await family.Child.create({ name: 'Ada', address: { city } })
      await expectReads(family.Child, { name: 'Ada' }, { 'address.city': city })
    },
  )

  test.each(['an array', 'a path'])(
    'is refused in an embedded discriminator of %s, or it is another',
    async (where) => {
      const item = new Schema<any>({ label: String, phone: String }, key)
      const wrap = (each: any) => (where === 'an array' ? [each] : each)
      const make = (schema: Schema<any>) => {
        const owner = new Schema<any>({ name: String, items: wrap(schema) })
        const own = new Schema({}).plugin(plugin, { provider, fields: ['phone'] })
        ;(owner.path('items') as any).discriminator('Phone', own)
        return model(owner)
      }
      await misconfigured(() => make(item), /phone/)
      const Owner = make(item.clone().remove('phone') as Schema<any>)
      const phone = secret('+44 111 1111')
      await Owner.create({ name: 'Ada', items: wrap({ kind: 'Phone', label: 'home', phone }) })
      await expectReads(Owner, { name: 'Ada' }, { [where === 'an array' ? 'items.0.phone' : 'items.phone']: phone })
    },
  )

  test.each(['an array', 'a path'])(
    'is refused where an embedded discriminator of %s declares it again',
    async (where) => {
      const owner = new Schema<any>({ items: where === 'an array' ? [contactSchema({}, key)] : contactSchema({}, key) })
      await misconfigured(() => {
        ;(owner.path('items') as any).discriminator('Clear', new Schema({ phone: String }))
        model(owner)
      }, /phone/)
    },
  )
})

describe('fault 25: discriminators that merge their hooks and plugins in another way', () => {
  const kinds: [string, object][] = [
    ['mergeHooks: false', { mergeHooks: false }],
    ['mergePlugins: false', { mergePlugins: false }],
    ['neither', { mergeHooks: false, mergePlugins: false }],
    ['clone: false', { clone: false }],
    ['as usual', {}],
  ]

  test.each(families.flatMap(([name, make]) => kinds.map(([kind, options]) => [name, kind, make, options] as const)))(
    'encrypt by every write, and know what is required: %s, %s',
    async (_name, _kind, make, options) => {
      for (const [base, child] of [
        [new Schema<any>({ name: String }, key).plugin(plugin, enc), new Schema<any>({ grade: Number })],
        [new Schema<any>({ name: String }, key), new Schema<any>({ grade: Number }).plugin(plugin, enc)],
      ] as const) {
        const family = make(base, child, options)
        await expect(family.Child.create({ name: 'Ada' })).rejects.toMatchObject({
          errors: { email: { kind: 'required' } },
        })
        await expectWrites(family)
      }
    },
  )

  test.each(['schema option', 'mongoose.set()'])('encrypt under applyPluginsToDiscriminators: %s', async (how) => {
    const own = new mongoose.Mongoose()
    if (how === 'mongoose.set()') own.set('applyPluginsToDiscriminators' as never, true as never)
    let runs = 0
    own.plugin((each: any) => {
      runs++
      each.pre('save', () => {})
    })
    const watched = await open({}, own)
    for (const where of ['base', 'child']) {
      const base = new own.Schema<any>({ name: String }, key as never) as any
      const child = new own.Schema<any>({ grade: Number }) as any
      ;(where === 'base' ? base : child).plugin(plugin, enc)
      const Base = watched.model<any>(named('Base'), base) as any
      await expectWrites({ Base, Child: Base.discriminator(named('Child'), child) })
    }
    expect(runs).toBeGreaterThan(0)
  })

  test.each(families)(
    'with two uses of the plugin are refused without a name, and encrypt both fields with one: %s',
    async (_name, make) => {
      const uses = (name?: string) =>
        make(
          new Schema<any>({ name: String }, key).plugin(plugin, { provider, fields: ['email'] }),
          new Schema<any>({ grade: Number }).plugin(plugin, {
            provider,
            name,
            fields: { diary: { type: String, required: true } },
          }),
        )
      await misconfigured(() => uses(), /encrypted_kms_key.*Choose another keyPath or name/)
      const family = uses('diary')
      const values = { email: secret('ada@example.org'), diary: secret('dear diary') }
      await expect(family.Child.create({ name: 'Ada', email: values.email })).rejects.toMatchObject({
        errors: { diary: { kind: 'required' } },
      })
      await family.Child.create({ name: 'Ada', ...values })
      await expectReads(family.Child, { name: 'Ada' }, values)
      await family.Child.updateOne({ name: 'Ada' }, { diary: secret('another day') })
      await expectReads(family.Child, { name: 'Ada' }, { ...values, diary: 'another day' })
      expect(await raw(family.Base)).toHaveLength(1)
    },
  )

  test.each(families)('with two uses at one key path are refused, whatever their names: %s', async (_name, make) => {
    const use = (name: string, fields: string[]) => [plugin, { provider, name, keyPath: 'keys', fields }] as const
    const base = new Schema<any>({ name: String }, key).plugin(...use('a', ['email']))
    await misconfigured(() => make(base, new Schema<any>({ grade: Number }).plugin(...use('b', ['diary']))), /keys/)
  })

  test.each(families)('with the same schema object as base and child encrypt: %s', async (_name, make) => {
    const shared = new Schema<any>({ name: String }, key).plugin(plugin, enc)
    await expectWrites(make(shared, shared.clone().add({ grade: Number }) as Schema<any>))
  })
})

describe('fault 33: hooks of a family', () => {
  const hooks = [
    'find',
    'findOne',
    'updateOne',
    'findOneAndUpdate',
    'deleteOne',
    'countDocuments',
    'replaceOne',
  ] as const

  test.each(families)('run as often as without the library: %s', async (_name, make) => {
    const counts = async (encrypted: boolean) => {
      const ran: Record<string, number> = {}
      const count = (name: string) => () => {
        ran[name] = (ran[name] ?? 0) + 1
      }
      const base = new Schema<any>({ name: String, ...(encrypted ? {} : { email: String }) }, key)
      const child = new Schema<any>({ grade: Number })
      for (const hook of hooks) {
        base.pre(hook as 'find', count(`base pre ${hook}`))
        base.post(hook as 'find', count(`base post ${hook}`))
        child.pre(hook as 'find', count(`child pre ${hook}`))
      }
      for (const [schema, which] of [
        [base, 'base'],
        [child, 'child'],
      ] as const) {
        schema.pre('save', count(`${which} pre save`))
        schema.post('save', count(`${which} post save`))
        schema.post('init', count(`${which} post init`))
        schema.pre('validate', count(`${which} pre validate`))
      }
      if (encrypted) base.plugin(plugin, { provider, fields: ['email'] })
      const { Base, Child } = make(base, child)
      const email = encrypted ? secret('ada@example.org') : 'x'
      for (const Model of [Base, Child]) {
        await Model.create({ name: 'Ada', email })
        await (await Model.findOne({ name: 'Ada' })).set({ email: encrypted ? secret('eve@example.org') : 'y' }).save()
        await Model.find()
        await Model.updateOne({ name: 'Ada' }, { email })
        await Model.findOneAndUpdate({ name: 'Ada' }, { email })
        await Model.replaceOne({ name: 'Ada' }, { name: 'Ada', email })
        await Model.countDocuments()
        await Model.deleteOne({ name: 'Ada' })
      }
      return ran
    }
    expect(await counts(true)).toEqual(await counts(false))
  })
})

describe('fault 49: a projection, of which Mongoose gives to a document of a child what was asked for alone', () => {
  const note = () => new Schema({ at: Date }).plugin(plugin, { dataKey: 'owner', fields: ['text'] })

  test.each(families)('brings along what opens the fields: %s', async (_name, make) => {
    const context = ({ ward, unit }: any) => ({ Ward: `${unit.code}/${ward}` })
    const family = make(
      new Schema<any>({ ward: { type: String, required: true }, unit: { code: String, floor: Number } }, key).plugin(
        plugin,
        { ...enc, context },
      ),
      new Schema<any>({ notes: [note()] }).plugin(plugin, { provider, name: 'diary', fields: ['diary'] }),
    )
    const values = { email: secret('ada@example.org'), diary: secret('dear diary') }
    const text = secret('admitted')
    const { _id } = await family.Child.create({
      ward: 'north',
      unit: { code: 'N', floor: 3 },
      notes: [{ text }],
      ...values,
    })
    const Visit = model(new Schema<any>({ who: { type: Schema.Types.ObjectId, ref: family.Child.modelName } }))
    const visit = await Visit.create({ who: _id })
    for (const Model of [family.Base, family.Child]) {
      for (const [field, value] of Object.entries(values)) {
        const found = await Model.findById(_id).select(field)
        expect([await found[field], found.ward]).toEqual([value, field === 'email' ? 'north' : undefined])
        expect(found.isSelected('ward')).toBe(false)
        const populated = await Visit.findById(visit._id).populate({ path: 'who', model: Model, select: field })
        expect(await populated.who[field]).toBe(value)
      }
      const floor = await Model.findById(_id).select('unit.floor email')
      expect([await floor.email, floor.unit.floor]).toEqual([values.email, 3])
      const noted = await Model.findById(_id).select('notes')
      expect(await noted.notes[0].text).toBe(text)
      const left = await Model.findById(_id).select('-email')
      expect([await left.diary, left.email]).toEqual([values.diary, undefined])
    }
    const found = await family.Base.findById(_id).select('diary')
    await found.set({ diary: secret('another day') }).save()
    await expectReads(family.Child, { _id }, { ...values, diary: 'another day' })
  })

  test.each(families)('has what was left out still left out: %s', async (_name, make) => {
    const family = make(
      new Schema<any>({ name: String }, key).plugin(plugin, enc),
      new Schema<any>({ grade: { type: Number, select: false }, room: String }),
    )
    const email = secret('ada@example.org')
    const { _id } = await family.Child.create({ name: 'Ada', grade: 1, room: 'a', email })
    for (const Model of [family.Base, family.Child]) {
      const all = await Model.findById(_id)
      expect([all.grade, all.room, await all.email]).toEqual([undefined, 'a', email])
      const named = await Model.findById(_id).select('name')
      expect([named.name, named.room, named.email]).toEqual(['Ada', undefined, undefined])
    }
  })
})
