// Discriminators know the encrypted fields of their base and their own.
import { model, type mongo, Schema } from 'mongoose'
import { kmsEncrypted } from 'mongoose-kms-encrypted'
import { expectType } from './expect'

const Base = model(
  'Base',
  new Schema({ name: String }).plugin(kmsEncrypted, { fields: { email: { type: String, required: true } } }),
)
const Child = Base.discriminator(
  'Child',
  new Schema({ level: { type: Number, required: true } }).plugin(kmsEncrypted, {
    name: 'child',
    fields: { pin: { type: Number, required: true }, born: Date, scores: { type: Map, of: Number } },
  }),
)
const Clear = Base.discriminator('Clear', new Schema({ level: { type: Number, required: true } }))
const Renamed = model(
  'Renamed',
  new Schema({}).plugin(kmsEncrypted, {
    methods: { decrypt: 'open' },
    fields: { email: { type: String, required: true } },
  }),
).discriminator('RenamedClear', new Schema({ level: Number }))
interface Plain {
  email: string
  pin: number
  born?: Date | null
  scores?: Map<string, number> | null
}

export async function create() {
  const given = { name: 'Ada', level: 1, email: 'a', pin: 5, born: new Date(), scores: { a: 1 } }
  const child = await Child.create(given)
  expectType<string | Promise<string>>()(child.email)
  expectType<number | Promise<number>>()(child.pin)
  expectType<number>()(child.level)
  const opened: Plain = await child.decrypt()
  const [ofArray] = await Child.create([given], { ordered: true })
  const openedOfArray: Plain | undefined = await ofArray?.decrypt()
  const inserted = await Child.insertOne(given)
  const openedOfInserted: Plain = await inserted.decrypt()
  const [many] = await Child.insertMany([given])
  expectType<number | undefined>()(await many?.pin)
  expectType<string | Promise<string>>()(new Child(given).email)

  const clear = await Clear.create({ name: 'Ada', level: 1, email: 'a' })
  expectType<number>()(clear.level)
  const openedOfClear: { email: string } = await clear.decrypt()
  return [opened, openedOfArray, openedOfInserted, openedOfClear]
}

export async function find() {
  const child = await Child.findOne({ level: 1 }).orFail()
  const opened: Plain = await child.decrypt()
  expectType<string>()(await child.email)
  expectType<number>()(await child.pin)
  await child.rotateKmsKey()
  const byModel: Plain = await Child.decrypt(child)
  const all: Plain[] = await Child.decrypt(await Child.find())

  const lean = await Child.findOne().orFail().lean()
  expectType<mongo.Binary | null | undefined>()(lean.email)
  expectType<mongo.Binary | null | undefined>()(lean.pin)
  expectType<number>()(lean.level)
  const ofLean: Plain & { level: number } = await Child.decrypt(lean)
  const clear = await Clear.findOne().orFail()
  const ofClear: { email: string } = await Clear.decrypt(clear)
  // @ts-expect-error
  clear.pin
  const ofRenamed: { email: string } = await Renamed.open(await Renamed.findOne().orFail())
  return [opened, byModel, all, ofLean, ofClear, ofRenamed]
}
