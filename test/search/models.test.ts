import { Schema } from 'mongoose'
import { misconfigured, named, plugin, provider, refusalIn, refused, secret, useFaults } from '../faults/support'
import { accountModel, bytesAt } from './support'

// Models that share a collection, and what is done with an indexed field in a session.
const { connection, raw } = useFaults()
const [ada, bob] = ['ada@example.org', 'bob@example.org']
const email = { type: String, unique: true }

beforeEach(() => {
  for (const text of [ada, bob]) secret(text)
})

describe('discriminators', () => {
  test('have what their base indexes, and find each other’s', async () => {
    const Account = accountModel(connection)
    const Admin = Account.discriminator(named('Admin'), new Schema<any>({ level: Number }))
    await Account.init()
    await Admin.init()
    await Admin.create({ name: 'Ada', email: ada, level: 3 })
    expect((await Account.findOne({ email: ada })).level).toBe(3)
    expect((await Admin.findOne({ email: ada })).name).toBe('Ada')
    await expect(Account.create({ email: ada })).rejects.toMatchObject({ code: 11000, keyPattern: { email: 1 } })
    await Account.create({ name: 'Bob', email: bob })
    expect(await Admin.findOne({ email: bob })).toBeNull()
    await Admin.updateOne({ email: ada }, { email: null })
    expect(await Account.countDocuments({ email: ada })).toBe(0)
  })

  test('index a field of their own', async () => {
    const Base = connection.model<any>(named('Base'), new Schema<any>({ name: String }))
    const own = new Schema<any>({}).plugin(plugin, { provider, fields: { email } })
    const User = Base.discriminator<any>(named('User'), own)
    await User.init()
    await User.create({ name: 'Ada', email: ada })
    await Base.create({ name: 'Bob' })
    expect((await User.findOne({ email: ada })).name).toBe('Ada')
    expect(await User.countDocuments({ email: bob })).toBe(0)
    await expect(User.create({ email: ada })).rejects.toMatchObject({ code: 11000 })
    expect(bytesAt((await raw(Base))[0])).toBeDefined()
  })

  test('that index one field each in its own way are told so', async () => {
    const Base = connection.model<any>(named('Base'), new Schema<any>({ name: String }))
    const make = () =>
      new Schema<any>({}).plugin(plugin, { provider, fields: { email: { type: String, blindIndex: true } } })
    const [One, Two] = [Base.discriminator<any>(named('One'), make()), Base.discriminator<any>(named('Two'), make())]
    await One.create({ email: ada })
    await Two.create({ email: bob })
    for (const record of await raw(Base)) expect(bytesAt(record)).toBeDefined()
    await refused(() => One.findOne({ email: ada }), 'QUERY_REFUSED', /several models of this collection index email/)
    // Whether it is there needs no index value, and is asked of the field.
    await One.create({})
    expect(await One.countDocuments({ email: null })).toBe(1)
    expect(await One.countDocuments({ email: { $exists: true } })).toBe(1)
    expect(await Two.countDocuments({ email: { $ne: null } })).toBe(1)
  })
})

test('two models of one collection are refused', async () => {
  const collection = named('shared')
  const make = () =>
    connection.model<any>(
      named('Shared'),
      new Schema<any>({}, { collection }).plugin(plugin, { provider, fields: { email } }),
    )
  const One = make()
  await One.create({ email: ada })
  make()
  const act = () => One.findOne({ email: ada })
  await misconfigured(act, /blind indexes in one collection/)
  await misconfigured(() => One.insertMany([{ email: bob }]), /blind indexes in one collection/)
  expect(await raw(One)).toHaveLength(1)
})

test('a subdocument may be beside an indexed field', async () => {
  const contact = new Schema<any>({ label: String }).plugin(plugin, { provider, fields: { phone: String } })
  const schema = new Schema<any>({ contacts: [contact] }).plugin(plugin, { provider, fields: { email } })
  const User = connection.model<any>(named('User'), schema)
  await User.create({ email: ada, contacts: [{ label: 'home', phone: secret('+49 30 123456') }] })
  const user = await User.findOne({ email: ada })
  user.contacts[0].phone = secret('+49 30 654321')
  user.email = bob
  await user.save()
  expect(await (await User.findOne({ email: bob })).contacts[0].phone).toBe('+49 30 654321')
})

test('onLoad, several keys and contexts', async () => {
  const schema = new Schema<any>({ tenant: String })
    .plugin(plugin, { provider, fields: { email }, decrypt: 'onLoad', context: (doc: any) => ({ Tenant: doc.tenant }) })
    .plugin(plugin, { provider, name: 'phone', fields: { phone: { type: String, blindIndex: true } } })
  const User = connection.model<any>(named('User'), schema)
  const phone = secret('+49 30 123456')
  await User.create({ tenant: 'acme', email: ada, phone })
  const user = await User.findOne({ email: ada, phone })
  expect(user.email).toBe(ada)
  user.tenant = 'other'
  await user.save()
  expect(await User.countDocuments({ tenant: 'other', email: ada })).toBe(1)
})

test('in a transaction', async () => {
  const Account = accountModel(connection)
  await Account.init()
  await Account.create({ name: 'Ada', email: ada })
  const failed = connection.transaction(async (session) => {
    await Account.updateOne({ email: ada }, { email: bob }, { session })
    expect(await Account.countDocuments({ email: bob }).session(session)).toBe(1)
    throw new Error('undo')
  })
  await expect(failed).rejects.toThrow('undo')
  expect(await Account.countDocuments({ email: bob })).toBe(0)
  await connection.transaction(async (session) => {
    const account = await Account.findOne({ email: ada }).session(session)
    account.email = bob
    await account.save()
  })
  expect(await Account.countDocuments({ email: bob })).toBe(1)
})

test('a check whether an address is taken, as plugins for validation make it', async () => {
  const schema = new Schema<any>({ name: String }).plugin(plugin, { provider, fields: { email } })
  schema.path('email').validate({
    async validator(this: any, value: string) {
      return (await this.constructor.countDocuments({ email: value, _id: { $ne: this._id } })) === 0
    },
    message: 'is taken',
  } as never)
  const User = connection.model<any>(named('User'), schema)
  await User.create({ email: ada })
  const error: any = await new User({ email: ada }).save().catch((thrown: unknown) => thrown)
  expect(refusalIn(error)).toBeUndefined()
  expect(error.errors.email.message).toBe('is taken')
})

test('filters of before and after a field is indexed', async () => {
  const collection = named('later')
  const make = (type: unknown) =>
    connection.model<any>(
      'Later',
      new Schema<any>({ name: String }, { collection }).plugin(plugin, { provider, fields: { email: type } }),
    )
  const Before = make(String)
  await Before.create({ name: 'Ada', email: ada })
  connection.deleteModel('Later')
  const After = make({ type: String, blindIndex: true })
  // What was written before is not found until it is written again.
  expect(await After.countDocuments({ email: ada })).toBe(0)
  const old = await After.findOne({ name: 'Ada' })
  await old.decrypt()
  old.markModified('email')
  await old.save()
  expect(await After.countDocuments({ email: ada })).toBe(1)
})
