// Methods and statics: under other names, and what `this` is in those of the application.
import { type HydratedDocument, type HydratedDocumentFromSchema, type Model, model, Schema } from 'mongoose'
import { type Encrypted, kmsEncrypted } from 'mongoose-kms-encrypted'
import { expectAssignable, expectType } from './expect'

const fields = { email: { type: String, required: true } } as const
type Person = HydratedDocument<{ name: string }, Encrypted<typeof fields>>

export async function otherNames() {
  const User = model(
    'User',
    new Schema({ name: String }, { methods: { decrypt: () => 'mine' }, statics: { decrypt: () => 'mine' } }).plugin(
      kmsEncrypted,
      { fields, methods: { decrypt: 'open', rotateKmsKey: 'renew' } },
    ),
  )
  const user = await User.findOne().orFail()
  expectType<{ email: string }>()(await user.open())
  expectType<void>()(await user.renew())
  expectType<string>()(user.decrypt())
  expectType<string>()(User.decrypt())
  // @ts-expect-error
  user.rotateKmsKey
  expectType<{ email: string }>()(await User.open(user))
  expectType<{ email: string }[]>()(await User.open([user]))
  const lean = await User.open(await User.findOne().orFail().lean())
  expectType<string>()(lean.email)
  expectType<string | null | undefined>()(lean.name)
}

export async function oneOtherName() {
  const note = new Schema({}).plugin(kmsEncrypted, { fields: ['text'], methods: { decrypt: 'open' } })
  const Note = model('Note', note)
  const found = await Note.findOne().orFail()
  expectType<{ text?: string | null }>()(await found.open())
  await found.rotateKmsKey()
  // @ts-expect-error
  found.decrypt
  // @ts-expect-error
  Note.decrypt
  const parent = await model('Parent', new Schema({ notes: [note] }))
    .findOne()
    .orFail()
  expectType<string | null | undefined>()((await parent.notes[0]?.open())?.text)
}

export async function thisInTheOptionsOfASchema() {
  const User = model(
    'User',
    new Schema(
      { name: { type: String, required: true } },
      {
        methods: {
          greet() {
            return `Hello ${this.name}`
          },
        },
        statics: {
          byName(name: string) {
            return this.findOne({ name })
          },
        },
      },
    ).plugin(kmsEncrypted, { fields }),
  )
  const user = await User.findOne().orFail()
  expectType<string>()(user.greet())
  expectType<string>()((await User.byName('Ada').orFail()).name)
}

// The options are there before the plugin: where they use an encrypted field, `this` has to be declared, and once one
// function declares it, Mongoose gives the others none.
export async function thisWithEncryptedFields() {
  const User = model(
    'User',
    new Schema(
      { name: { type: String, required: true } },
      {
        methods: {
          async domain(this: Person) {
            return (await this.email).split('@')[1]
          },
        },
        statics: {
          byName(this: Model<Person>, name: string) {
            return this.findOne({ name })
          },
        },
      },
    ).plugin(kmsEncrypted, { fields }),
  )
  const user = await User.findOne().orFail()
  expectType<string | undefined>()(await user.domain())
  expectType<string>()(await (await User.byName('Ada').orFail()).email)
}

export async function thisAfterThePlugin() {
  const schema = new Schema({ name: { type: String, required: true } }).plugin(kmsEncrypted, { fields })
  schema.method('domain', async function () {
    expectType<string>()(this.name)
    return (await this.email).split('@')[1]
  })
  schema.virtual('open').get(function () {
    return expectType<string | Promise<string>>()(this.email)
  })
  type FromSchema = HydratedDocumentFromSchema<typeof schema>
  expectType<{ email: string }>()(await (null! as FromSchema).decrypt())
  expectType<string | Promise<string>>()((null! as FromSchema).email)
  expectAssignable<FromSchema>(await model('User', schema).findOne().orFail())
}
