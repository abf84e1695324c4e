import { Schema } from 'mongoose'
import {
  contactSchema,
  expectReads,
  named,
  plugin,
  provider,
  refused,
  secret,
  settles,
  useFaults,
  userModel,
} from './support'

const { connection, raw } = useFaults()
const fields = { email: String, age: Number, born: Date, tags: [String] }
const User = userModel(connection, { name: String }, { fields })

async function locked() {
  await User.create({ name: 'Ada', email: secret('ada@example.org'), age: 36, born: new Date(0), tags: ['first'] })
  return User.findOne()
}

/** What is set, and how it is made of the value of a locked field. */
const uses: [string, string, (user: any) => unknown][] = [
  ['a template string', 'email', (user) => `${user.email}.x`],
  // biome-ignore lint/style/useTemplate: it is what is tested
  ['value + text', 'email', (user) => user.email + '.x'],
  // biome-ignore lint/style/useTemplate: it is what is tested
  ['text + value', 'email', (user) => 'x' + user.email],
  ['String(value)', 'email', (user) => String(user.email)],
  ['concat()', 'email', (user) => 'x'.concat(user.email)],
  ['join()', 'email', (user) => [user.email, 'x'].join()],
  ['toString()', 'email', (user) => user.email.toString()],
  ['replace()', 'email', (user) => 'x'.replace('x', user.email)],
  ['value + 1', 'age', (user) => user.age + 1],
  ['value - 1', 'age', (user) => user.age - 1],
  ['unary plus', 'age', (user) => +user.age],
  ['Number(value)', 'age', (user) => Number(user.age)],
  ['Math.max()', 'age', (user) => Math.max(user.age, 1)],
  ['a comparison', 'age', (user) => (user.age > 18 ? 1 : 2)],
  ['parseInt()', 'age', (user) => Number.parseInt(user.age, 10)],
  ['new Date(value)', 'born', (user) => new Date(user.born)],
  ['a key of an object', 'email', (user) => ({ x: 'y' })[user.email as 'x']],
  ['a tag in a list', 'tags', (user) => [`${user.email}`]],
]

describe('fault 21: a field of a locked record that is used as if it were a value', () => {
  test.each(uses)('throws, and nothing is stored of it: %s', async (_name, path, use) => {
    const user = await locked()
    const before = await raw(User)
    const error = await refused(() => user.set(path, use(user)), 'VALUE_NOT_AWAITED', /await/i)
    expect(error.name).toBe('RecordError')
    expect(error.message).toMatch(/email|age|born|tags/)
    expect(user.isModified()).toBe(false)
    await user.save()
    expect(await raw(User)).toEqual(before)
    expect(await user.email).toBe('ada@example.org')
  })

  test('throws by +=, ++ and in a subdocument', async () => {
    const user = await locked()
    await refused(() => {
      user.email += '.x'
    }, 'VALUE_NOT_AWAITED')
    await refused(() => {
      user.age++
    }, 'VALUE_NOT_AWAITED')
    const Owner = connection.model<any>(named('Owner'), new Schema<any>({ one: contactSchema() })) as any
    await Owner.create({ one: { label: 'home', phone: secret('+44 111 1111') } })
    const owner = await Owner.findOne()
    await refused(() => {
      owner.one.phone += '.x'
    }, 'VALUE_NOT_AWAITED')
    await Promise.all([user.save(), owner.save()])
    await expectReads(User, {}, { email: 'ada@example.org', age: 36 })
    await expectReads(Owner, {}, { 'one.phone': '+44 111 1111' })
  })

  test.each<[string, string, (user: any) => unknown]>([
    ['to itself', 'VALUE_NOT_AWAITED', (user) => Object.assign(user, { email: user.email })],
    ['to itself by set()', 'VALUE_NOT_AWAITED', (user) => user.set('email', user.email)],
    ['to another field', 'VALUE_NOT_AWAITED', (user) => Object.assign(user, { email: user.age })],
    ['to a clear field', 'ValidationError', (user) => Object.assign(user, { name: user.email })],
    ['within a list', 'ValidationError', (user) => Object.assign(user, { tags: [user.email] })],
    ['to a new record', 'VALUE_NOT_AWAITED', (user) => new User({ name: 'Eve', email: user.email }).save()],
    ['by an update', 'VALUE_NOT_AWAITED', (user) => User.updateOne({ _id: user._id }, { email: user.email })],
    ['to a clear field by an update', 'CastError', (user) => User.updateOne({ _id: user._id }, { name: user.email })],
  ])('is refused when it is assigned without await: %s', async (_name, code, assign) => {
    const user = await locked()
    await settles(
      code,
      async () => {
        await assign(user)
        await user.save()
      },
      () => {},
    )
    await expectReads(User, { name: 'Ada' }, { email: 'ada@example.org', age: 36, tags: ['first'] })
  })
})

test('a part of an object that was not selected cannot be set, and all of it stays stored', async () => {
  const schema = new Schema<any>({ other: String }).plugin(plugin, {
    provider,
    fields: { address: { city: String, zip: String } },
  })
  const User = connection.model<any>(named('User'), schema)
  const address = { city: secret('Ockham'), zip: secret('GU23 6NU') }
  const { _id } = await User.create({ other: 'o', address })
  const user = await User.findById(_id).select('other')
  expect(user.address.city).toBeUndefined()
  const assign = () => {
    user.address.city = secret('London')
  }
  expect(assign).toThrow(expect.objectContaining({ code: 'RECORD_LOCKED' }))
  await user.save()
  expect(await (await User.findById(_id)).decrypt()).toEqual({ address })
  await user.set({ address: { city: secret('Kingston') } }).save()
  expect(await (await User.findById(_id)).decrypt()).toEqual({ address: { city: 'Kingston' } })
})
