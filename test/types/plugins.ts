// Several plugins on one schema, and what else a schema may have.
import { type Document, type HydratedDocument, type HydratedDocumentFromSchema, model, Schema } from 'mongoose'
import { kmsEncrypted } from 'mongoose-kms-encrypted'
import { expectType } from './expect'

function stamped(schema: Schema, options?: { field: string }) {
  schema.add({ [options?.field ?? 'at']: Date })
}

const schema = new Schema(
  { name: { type: String, required: true } },
  {
    methods: {
      greet(greeting: string) {
        return `${greeting} ${this.name}`
      },
    },
    statics: {
      byName(name: string) {
        return this.findOne({ name })
      },
    },
  },
)
  .plugin(stamped)
  .plugin(kmsEncrypted, { fields: { email: { type: String, required: true } } })
  .plugin(stamped, { field: 'seen' })
  .plugin(kmsEncrypted, { name: 'phone', decrypt: 'onLoad', fields: { phone: { type: String, required: true } } })
  .plugin(kmsEncrypted, { name: 'third', fields: ['notes'] })
  .index({ name: 1 })
const User = model('User', schema)

interface Plain {
  email: string
  phone: string
  notes?: string | null
}

export async function severalKeys() {
  const user = await User.findOne().orFail()
  expectType<string | Promise<string>>()(user.email)
  expectType<string>()(user.phone)
  expectType<string | null | undefined>()(await user.notes)
  const opened: Plain = await user.decrypt()
  expectType<string>()(opened.email)
  expectType<ReturnType<typeof user.decrypt>>()(user.decrypt())
  const result: Plain = null! as Awaited<ReturnType<typeof user.decrypt>>
  expectType<string>()(result.phone)

  const byModel: Plain = await User.decrypt(user)
  const leans: (Plain & { name: string })[] = await User.decrypt(await User.find().lean())
  const created = await User.create({ name: 'Ada', email: 'a', phone: 'b', notes: 'c' })
  const ofCreated: Plain = await created.decrypt()
  return [byModel, leans, ofCreated]
}

export async function keptFromTheSchema() {
  const user = await User.findOne().orFail()
  expectType<string>()(user.greet('Hello'))
  expectType<string>()(user.name)
  // @ts-expect-error
  user.greet(5)
  const found = await User.byName('Ada').orFail()
  expectType<string>()(found.name)
  // @ts-expect-error
  User.byName(5)
}

export async function queryHelpersAndVirtuals() {
  const other = new Schema(
    { first: { type: String, required: true }, last: String },
    {
      query: {
        named(first: string) {
          return this.where({ first })
        },
      },
      virtuals: {
        full: {
          get(): string {
            return 'full'
          },
        },
      },
    },
  ).plugin(kmsEncrypted, { fields: ['email'] })
  const Other = model('Other', other)
  const found = await Other.findOne().named('Ada').orFail()
  expectType<string>()(found.first)
  expectType<string>()(found.full)
  expectType<string | null | undefined>()(await found.email)
}

export function hooksSeeTheFields() {
  schema.pre('save', function () {
    expectType<string | Promise<string>>()(this.email)
    expectType<string>()(this.name)
  })
  schema.post('save', (user) => {
    expectType<string>()(user.phone)
  })
  schema.virtual('domain').get(function () {
    expectType<string>()(this.phone)
    return 'x'
  })
}

export function otherPluginsAreAsBefore() {
  const plain = new Schema({ name: String })
  expectType<typeof plain>()(plain.plugin(stamped))
  expectType<typeof plain>()(plain.plugin(stamped, { field: 'x' }))
  expectType<typeof plain>()(plain.plugin((it) => void it.set('strict', 'throw')))
  // @ts-expect-error
  plain.plugin(stamped, { field: 5 })
  // @ts-expect-error
  plain.plugin('stamped')
}

export async function discriminators() {
  const Base = model('Base', new Schema({ name: String }).plugin(kmsEncrypted, { fields: ['email'] }))
  const Child = Base.discriminator('Child', new Schema({ level: { type: Number, required: true } }))
  const child = await Child.findOne().orFail()
  expectType<string | null | undefined>()(await child.email)
  expectType<number>()(child.level)

  const Sealed = Base.discriminator(
    'Sealed',
    new Schema({ level: Number }).plugin(kmsEncrypted, { name: 'x', fields: ['pin'] }),
  )
  const sealed = await Sealed.findOne().orFail()
  expectType<string | null | undefined>()(await sealed.email)
  expectType<string | null | undefined>()(await sealed.pin)
}

export function embedded() {
  const address = new Schema({ city: String }).plugin(kmsEncrypted, { fields: ['street'] })
  const person = new Schema({ name: String, home: address, others: [address] })
  model('Person', person)
}

export function asParameters() {
  const takesAnySchema = (any: Schema) => any.obj
  takesAnySchema(schema)
  const takesDocument = (doc: Document) => doc._id
  takesDocument(new User())
  const takesHydrated = (doc: HydratedDocument<{ name: string }>) => doc.name
  takesHydrated(new User())
}

export function hooksGiveTheDocumentsOfTheSchema() {
  type UserDocument = HydratedDocumentFromSchema<typeof schema>
  const takes = (user: UserDocument) => user.email
  schema.pre('save', function () {
    takes(this)
  })
  schema.post('save', (user) => void takes(user))
  const explicit = new Schema<{ name: string }>({ name: String }).plugin(kmsEncrypted, { fields: ['email'] })
  const takesExplicit = (user: HydratedDocumentFromSchema<typeof explicit>) => user.email
  explicit.pre('save', function () {
    takesExplicit(this)
  })
  takesExplicit(new (model('Explicit', explicit))())
}
