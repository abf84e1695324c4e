import mongoose, { Schema } from 'mongoose'
import { eight, expectReads, named, plugin, provider, secret, settles, useFaults } from './support'

const { connection, open } = useFaults()
const options = { provider, fields: { email: String, address: { city: String } } }

/** A hook that gets the arguments of the operation, on a version that gives it `next` and one that does not. */
function given(act: (first: any) => unknown): any {
  if (!eight) return (first: unknown) => void act(first)
  return (next: () => void, first: unknown) => {
    act(first)
    next()
  }
}

const email = 'set by a hook'

/** What a foreign hook does to an operation, and the operation. */
const setting: [string, (schema: Schema<any>) => unknown, (Model: any) => Promise<unknown>][] = [
  [
    'pre save, of a new record',
    (schema) =>
      schema.pre('save', function hook(this: any) {
        this.email = email
      }),
    (Model) => Model.create({ name: 'Ada' }),
  ],
  [
    'pre save by set()',
    (schema) =>
      schema.pre('save', function hook(this: any) {
        this.set('email', email)
      }),
    (Model) => new Model({ name: 'Ada', address: { city: 'Rome' } }).save(),
  ],
  [
    'pre save, later on',
    (schema) =>
      schema.pre('save', async function hook(this: any) {
        await new Promise((resume) => setImmediate(resume))
        this.email = email
      }),
    (Model) => Model.create({ name: 'Ada' }),
  ],
  [
    'pre validate',
    (schema) =>
      schema.pre('validate', function hook(this: any) {
        this.email = email
      }),
    (Model) => Model.create({ name: 'Ada' }),
  ],
  [
    'pre updateOne by set()',
    (schema) =>
      schema.pre('updateOne', function hook(this: any) {
        this.set('email', email)
      }),
    (Model) => Model.updateOne({ name: 'Bob' }, { name: 'Ada' }),
  ],
  [
    'pre updateOne by getUpdate()',
    (schema) =>
      schema.pre('updateOne', function hook(this: any) {
        Object.assign(this.getUpdate(), { email })
      }),
    (Model) => Model.updateOne({ name: 'Bob' }, { name: 'Ada' }),
  ],
  [
    'pre updateOne by $set',
    (schema) =>
      schema.pre('updateOne', function hook(this: any) {
        Object.assign(this.getUpdate().$set, { email })
      }),
    (Model) => Model.updateOne({ name: 'Bob' }, { $set: { name: 'Ada' } }),
  ],
  [
    'pre updateOne by setUpdate()',
    (schema) =>
      schema.pre('updateOne', function hook(this: any) {
        this.setUpdate({ $set: { name: 'Ada', email } })
      }),
    (Model) => Model.updateOne({ name: 'Bob' }, { name: 'Eve' }),
  ],
  [
    'pre findOneAndUpdate',
    (schema) =>
      schema.pre('findOneAndUpdate', function hook(this: any) {
        this.set({ email })
      }),
    (Model) => Model.findOneAndUpdate({ name: 'Bob' }, { name: 'Ada' }),
  ],
  [
    'pre updateMany',
    (schema) =>
      schema.pre('updateMany', function hook(this: any) {
        this.set({ email })
      }),
    (Model) => Model.updateMany({ name: 'Bob' }, { name: 'Ada' }),
  ],
  [
    'pre replaceOne',
    (schema) =>
      schema.pre('replaceOne', function hook(this: any) {
        this.setUpdate({ name: 'Ada', email })
      }),
    (Model) => Model.replaceOne({ name: 'Bob' }, { name: 'Ada' }),
  ],
  [
    'pre insertMany',
    (schema) =>
      schema.pre(
        'insertMany',
        given((docs) => docs.map((doc: any) => Object.assign(doc, { email }))),
      ),
    (Model) => Model.insertMany([{ name: 'Ada' }]),
  ],
  [
    'pre insertMany, lean',
    (schema) =>
      schema.pre(
        'insertMany',
        given((docs) => docs.map((doc: any) => Object.assign(doc, { email }))),
      ),
    (Model) => Model.insertMany([{ name: 'Ada' }], { lean: true }),
  ],
  [
    'pre insertMany of one that has others, lean',
    (schema) =>
      schema.pre(
        'insertMany',
        given((docs) => docs.map((doc: any) => Object.assign(doc, { email }))),
      ),
    (Model) => Model.insertMany([{ name: 'Ada', address: { city: 'Rome' } }], { lean: true }),
  ],
  [
    'pre insertMany that adds a record, lean',
    (schema) =>
      schema.pre(
        'insertMany',
        given((docs) => docs.push({ name: 'Ada', email })),
      ),
    (Model) => Model.insertMany([{ name: 'Eve' }], { lean: true }),
  ],
  [
    'pre bulkWrite that adds an update',
    (schema) =>
      schema.pre(
        'bulkWrite' as never,
        given((ops) => ops.push({ updateOne: { filter: { name: 'Ada' }, update: { email } } })),
      ),
    (Model) => Model.bulkWrite([{ updateOne: { filter: { name: 'Bob' }, update: { name: 'Ada' } } }]),
  ],
  [
    'pre bulkWrite that adds an update by $set',
    (schema) =>
      schema.pre(
        'bulkWrite' as never,
        given((ops) => ops.push({ updateOne: { filter: { name: 'Ada' }, update: { $set: { email } } } })),
      ),
    (Model) => Model.bulkWrite([{ updateOne: { filter: { name: 'Bob' }, update: { name: 'Ada' } } }]),
  ],
  [
    'pre bulkWrite that adds an insert',
    (schema) =>
      schema.pre(
        'bulkWrite' as never,
        given((ops) => ops.push({ insertOne: { document: { name: 'Ada', email } } })),
      ),
    (Model) => Model.bulkWrite([{ deleteOne: { filter: { name: 'Bob' } } }]),
  ],
  [
    'pre bulkWrite that changes an update',
    (schema) =>
      schema.pre(
        'bulkWrite' as never,
        given((ops) => Object.assign(ops[0].updateOne, { update: { name: 'Ada', email } })),
      ),
    (Model) => Model.bulkWrite([{ updateOne: { filter: { name: 'Bob' }, update: { name: 'Ada' } } }]),
  ],
]

const strictness: [string, object][] = [
  ['strict', {}],
  ['strict: false', { strict: false }],
]

describe.each(strictness)('what a hook sets is encrypted, or refused: %s', (_name, settings) => {
  const schema = () => new Schema<any>({ name: String }, settings)

  async function expectStored(hook: string, Model: any, write: (Model: any) => Promise<unknown>): Promise<void> {
    await Model.collection.insertOne({ name: 'Bob' })
    secret(email)
    await settles(
      // An update of a bulk write is looked over before the hooks are called, and what they add is cast no more.
      hook.startsWith('pre bulkWrite that adds an update') ? 'UPDATE_REFUSED' : undefined,
      () => write(Model),
      () => expectReads(Model, { name: 'Ada' }, { email }),
    )
  }

  test.each(setting)(
    'fault 5: a global plugin that was registered after the first schema: %s',
    async (hook, add, write) => {
      const own = new mongoose.Mongoose()
      const first = new own.Schema({ name: String }, settings as never) as Schema<any>
      first.plugin(plugin, options)
      own.plugin((each: any) => void add(each))
      const watched = await open({}, own)
      await expectStored(hook, watched.model<any>(named('First'), first), write)
      const second = new own.Schema({ name: String }, settings as never) as Schema<any>
      second.plugin(plugin, options)
      await expectStored(hook, watched.model<any>(named('Second'), second), write)
    },
  )

  test.each(setting)('fault 5: a plugin of the connection: %s', async (hook, add, write) => {
    const watched = await open()
    const User = schema().plugin(plugin, options)
    watched.plugin((each: any) => void add(each))
    await expectStored(hook, watched.model<any>(named('User'), User), write)
  })

  test.each(setting)('faults 5 and 6: a hook of the schema before the plugin: %s', async (hook, add, write) => {
    const User = schema()
    add(User)
    await expectStored(hook, connection.model<any>(named('User'), User.plugin(plugin, options)), write)
  })

  test.each(setting)('faults 5 and 6: a hook of the schema after the plugin: %s', async (hook, add, write) => {
    const User = schema().plugin(plugin, options)
    add(User)
    await expectStored(hook, connection.model<any>(named('User'), User), write)
  })
})

describe('fault 26: a pre insertMany hook that makes new objects of those that it gets', () => {
  const spread = given((docs: any[]) => docs.map((doc, i) => docs.splice(i, 1, { ...doc, name: 'Ada' })))
  const copied = given((docs: any[]) => docs.splice(0, docs.length, ...docs.map((doc) => Object.assign({}, doc))))

  test.each<[string, any, object, 'before' | 'after']>([
    ['by spreading', spread, {}, 'before'],
    ['by spreading', spread, {}, 'after'],
    ['by spreading, lean', spread, { lean: true }, 'before'],
    ['by spreading, lean', spread, { lean: true }, 'after'],
    ['by copying', copied, {}, 'before'],
    ['by copying', copied, { lean: true }, 'after'],
  ])('keeps the fields: %s (case %#)', async (_name, hook, settings, order) => {
    const schema = new Schema<any>({ name: String })
    if (order === 'before') schema.pre('insertMany', hook)
    schema.plugin(plugin, options)
    if (order === 'after') schema.pre('insertMany', hook)
    const User = connection.model<any>(named('User'), schema) as any
    await User.insertMany(
      [{ name: 'Ada', email: secret('ada@example.org'), address: { city: secret('St James') } }],
      settings,
    )
    await expectReads(User, { name: 'Ada' }, { email: 'ada@example.org', 'address.city': 'St James' })
  })
})
