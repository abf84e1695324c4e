// The blocks of docs/typescript.md, each in a function, in their order and as they stand there: test/docs/readme.test compares them.
import {
  type HydratedDocument,
  type HydratedDocumentFromSchema,
  type Model,
  model,
  type mongo,
  Schema,
  type Types,
} from 'mongoose'
import {
  type Encrypted,
  type EncryptedMethods,
  type EncryptedStatics,
  kmsEncrypted,
  type PlainFields,
} from 'mongoose-kms-encrypted'
import { expectType } from './expect'

export async function inferredFromTheChain() {
  interface IUser {
    name: string
  }

  const fields = { email: { type: String, required: true }, dob: Date } as const
  const userSchema = new Schema<IUser>({ name: { type: String, required: true } }).plugin(kmsEncrypted, {
    keyId: process.env.KMS_KEY_ID,
    fields,
  })
  const User = model('User', userSchema)
  type UserDocument = HydratedDocumentFromSchema<typeof userSchema>
  type NewUser = IUser & PlainFields<typeof fields>

  const register = (user: NewUser): Promise<UserDocument> => User.create(user)
  const domainOf = async (user: UserDocument) => (await user.email).split('@')[1]

  const ada = await register({ name: 'Ada', email: 'ada@example.org' })
  expectType<string | undefined>()(await domainOf(ada))
  expectType<{ email: string; dob?: Date | null }>()(await ada.decrypt())
  // @ts-expect-error
  register({ name: 'Ada' })
}

export async function modelsWrittenByHand() {
  interface IUser {
    name: string
  }
  interface IUserMethods {
    greet(): string
  }

  const fields = { email: { type: String, required: true }, dob: Date } as const
  type UserModel = Model<IUser, object, IUserMethods & Encrypted<typeof fields>> & EncryptedStatics
  type UserDocument = HydratedDocument<IUser, IUserMethods & Encrypted<typeof fields>>

  const userSchema = new Schema<IUser, UserModel, IUserMethods>({ name: { type: String, required: true } })
  userSchema.plugin(kmsEncrypted, { keyId: process.env.KMS_KEY_ID, fields })
  userSchema.method('greet', function () {
    return `Hello ${this.name}`
  })
  const User = model<IUser, UserModel>('User', userSchema)

  const domainOf = async (user: UserDocument) => (await user.email).split('@')[1]
  const user = await User.findOne({ name: 'Ada' }).orFail()
  expectType<string>()(user.greet())
  expectType<string | Promise<string>>()(user.email)
  expectType<string | undefined>()(await domainOf(user))
  const opened: PlainFields<typeof fields> = await user.decrypt()
  const byModel: PlainFields<typeof fields> = await User.decrypt(user)
  return [opened, byModel]
}

export async function methodsThatReadEncryptedFields() {
  interface IUser {
    name: string
  }

  const fields = { email: { type: String, required: true } } as const
  type UserDocument = HydratedDocument<IUser, Encrypted<typeof fields>>

  const userSchema = new Schema(
    { name: { type: String, required: true } },
    {
      methods: {
        async domain(this: UserDocument) {
          return (await this.email).split('@')[1]
        },
      },
      statics: {
        byName(this: Model<UserDocument>, name: string) {
          return this.findOne({ name })
        },
      },
    },
  ).plugin(kmsEncrypted, { keyId: process.env.KMS_KEY_ID, fields })
  const User = model('User', userSchema)

  const user = await User.byName('Ada').orFail()
  expectType<string>()(await user.email)
  expectType<string | undefined>()(await (await User.findOne().orFail()).domain())
}

export async function subdocumentsWrittenByHand() {
  interface INote {
    at: Date
  }
  interface IPatient {
    name: string
    notes: INote[]
  }

  const fields = { text: { type: String, required: true } } as const
  type Note = Types.Subdocument<Types.ObjectId, unknown, INote> & INote & Encrypted<typeof fields>
  type PatientModel = Model<IPatient, object, { notes: Types.DocumentArray<INote, Note> }>

  const noteSchema = new Schema<INote>({ at: { type: Date, required: true } })
  noteSchema.plugin(kmsEncrypted, { keyId: process.env.KMS_KEY_ID, fields })
  const patientSchema = new Schema<IPatient, PatientModel>({ name: String, notes: [noteSchema] })
  const Patient = model<IPatient, PatientModel>('Patient', patientSchema)

  const patient = await Patient.findOne().orFail()
  expectType<string | undefined>()(await patient.notes[0]?.text)
  expectType<string | undefined>()((await patient.notes[0]?.decrypt())?.text)
}

export async function repositoriesForAnyModel() {
  const userSchema = new Schema({ name: { type: String, required: true } }).plugin(kmsEncrypted, {
    keyId: process.env.KMS_KEY_ID,
    fields: { email: { type: String, required: true } },
  })
  const User = model('User', userSchema)

  class Repository<Doc extends EncryptedMethods> {
    constructor(readonly model: Model<any, any, any, any, Doc, Schema> & EncryptedStatics) {}

    async byId(id: string): Promise<Doc> {
      return await this.model.findById(id).orFail()
    }

    async find(filter: Record<string, unknown>): Promise<Doc[]> {
      return await this.model.find(filter)
    }
  }

  const users = new Repository(User)
  const emailOf = async (id: string) => (await users.byId(id)).email

  expectType<string>()(await emailOf('1'))
  expectType<{ email: string }>()(await (await users.byId('1')).decrypt())
  const [first] = await users.find({ name: 'Ada' })
  expectType<string | undefined>()(await first?.email)
  // @ts-expect-error
  new Repository(model('Clear', new Schema({ name: String })))
}

export async function interfacesThatHaveTheFields() {
  interface IUser {
    name: string
    email: string
  }

  const userSchema = new Schema<IUser>({ name: { type: String, required: true } }).plugin(kmsEncrypted, {
    keyId: process.env.KMS_KEY_ID,
    fields: { email: { type: String, required: true } },
  })
  const User = model('User', userSchema)

  const user = await User.findOne().orFail()
  expectType<string | Promise<string>>()(user.email)
  const lean = await User.findOne().orFail().lean()
  expectType<mongo.Binary | null | undefined>()(lean.email)

  const Wrong = model<IUser>('User', userSchema)
  expectType<string>()((await Wrong.findOne().orFail()).email)
}
