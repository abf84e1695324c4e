import { inspect } from 'node:util'
import { Schema } from 'mongoose'
import { kmsEncrypted } from '../lib'
import { modelOf, secret, useDatabase } from './support'

const { connection } = useDatabase()

const contact = new Schema<any>({ _id: Number, kind: String }).plugin(kmsEncrypted as any, {
  dataKey: 'owner',
  fields: { note: String },
})
const User = modelOf(
  connection,
  new Schema({ name: String, contacts: [contact], friend: { type: Schema.Types.ObjectId, ref: 'Shown' } }),
  { fields: { email: String, born: Date, tags: { type: Map, of: String }, list: [String], size: Number } },
)
const Friend = connection.model<any>('Shown', User.schema.clone())

const values = () => ({
  name: 'Ada',
  email: secret('ada@example.org'),
  born: secret(new Date('1815-12-10T11:22:33.456Z')),
  tags: new Map([['home', secret('tag of Ada')]]),
  list: [secret('first of list')],
  contacts: [{ _id: 1, kind: 'post', note: secret('note of Ada') }],
})
/** What JSON has of them. */
const json = () => ({
  name: 'Ada',
  email: 'ada@example.org',
  born: '1815-12-10T11:22:33.456Z',
  tags: { home: 'tag of Ada' },
  list: ['first of list'],
  contacts: [{ _id: 1, kind: 'post', note: 'note of Ada' }],
})

async function open(found: any): Promise<any> {
  await found.decrypt()
  for (const part of found.contacts) await part.decrypt()
  return found
}

describe('decrypted: true', () => {
  test('gives the values of an open record to toObject() and toJSON(), and nothing of what is kept beside them', async () => {
    const { _id } = await User.create(values())
    const user = await open(await User.findById(_id))
    expect(user.toObject({ decrypted: true })).toEqual({ ...values(), _id, __v: 0 })
    expect(JSON.parse(JSON.stringify(user.toJSON({ decrypted: true })))).toEqual({
      ...json(),
      _id: String(_id),
      __v: 0,
    })
    user.toObject({ decrypted: true }).list.push('more')
    expect(user.list).toHaveLength(1)
  })

  test('is given on to a transform of the schema, and to populated records', async () => {
    const friend = await Friend.create({ name: 'Grace', email: secret('grace@example.org') })
    const { _id } = await User.create({ ...values(), friend: friend._id })
    const user = await open(await User.findById(_id).populate('friend'))
    expect(() => user.toJSON({ decrypted: true })).toThrow(
      expect.objectContaining({ code: 'RECORD_LOCKED', message: expect.stringContaining(`Shown/${friend._id}`) }),
    )
    await user.friend.decrypt()
    const transform = (_doc: unknown, result: any) => ({ shown: result.email, friend: result.friend })
    expect(user.toJSON({ decrypted: true, transform })).toMatchObject({
      shown: 'ada@example.org',
      friend: { shown: 'grace@example.org' },
    })
  })

  test('is refused for a locked record, and a locked subdocument, by name and without a value', async () => {
    await User.create(values())
    const user = await User.findOne()
    expect(() => user.toJSON({ decrypted: true })).toThrow(expect.objectContaining({ code: 'RECORD_LOCKED' }))
    await user.decrypt()
    // Under the key of the record, it is open with it.
    expect(user.toJSON({ decrypted: true }).contacts).toEqual([{ _id: 1, kind: 'post', note: 'note of Ada' }])
  })

  test('shows what was set and not saved, null, and a field that is not there not at all', async () => {
    const user = new User({ email: secret('new@example.org'), born: null })
    expect(user.toObject({ decrypted: true, versionKey: false })).toEqual({
      _id: user._id,
      email: 'new@example.org',
      born: null,
      contacts: [],
      list: [],
    })
  })

  test('counts for one call alone: an option of the schema, and one for Mongoose, change nothing', async () => {
    const schema = new Schema({ name: String }, { toJSON: { decrypted: true }, toObject: { decrypted: true } })
    const Loud = modelOf(connection, schema, { fields: { email: String } })
    const user = await Loud.create({ name: 'Ada', email: secret('ada@example.org') })
    for (const shown of [
      user.toObject(),
      user.toJSON(),
      JSON.parse(JSON.stringify(user)),
      user.toJSON({ virtuals: true }),
    ])
      expect(Object.keys(shown)).not.toContain('email')
    expect(user.toJSON({ decrypted: true }).email).toBe('ada@example.org')
    expect(user.toJSON({ decrypted: false })).not.toHaveProperty('email')
  })
})

describe('an inspection', () => {
  test('names the fields of a record, and how it stands with them, and no value', async () => {
    await User.create({ name: 'Ada', email: secret('ada@example.org'), list: [secret('first of list')] })
    const user = await User.findOne()
    const states = (shown = inspect(user)) =>
      [...shown.matchAll(/(\w+): <([^>]*)>/g)].map(([, name, text]) => [name, text])
    expect(states()).toEqual([
      ['email', 'encrypted, locked'],
      ['list', 'encrypted, locked'],
    ])
    await user.email
    user.size = 7
    expect(states()).toEqual([
      ['email', 'encrypted, open'],
      ['list', 'encrypted, locked'],
      ['size', 'encrypted, open, not saved'],
    ])
    expect(inspect(user)).not.toContain('ada@example.org')
    expect(JSON.stringify(user[inspect.custom]())).not.toContain('encrypted')
  })

  test('of a transform of the schema shows what that leaves, and breaks none', async () => {
    const transform = (_doc: unknown, result: any) => ({ text: result.email?.toUpperCase() ?? 'none' })
    const Other = modelOf(connection, new Schema({}, { toObject: { transform } }), { fields: { email: String } })
    const user = await Other.create({ email: secret('ada@example.org') })
    expect(inspect(user)).toBe("{ text: 'none', email: <encrypted, open> }")
  })
})

test('what an assertion of Jest shows of a locked field says what to do; JSON still leaves it out', async () => {
  const { _id } = await User.create({ email: secret('ada@example.org') })
  const user = await User.findById(_id)
  const place = `${User.modelName}/${_id} email`
  expect(() => expect(user.email).toBe('ada@example.org')).toThrow(
    `Received: "<${place}: locked. Await it, or first await`,
  )
  expect(inspect(user.email)).toBe(`<${place}: locked. Await it, or first await decrypt() of its record>`)
  expect(JSON.stringify({ email: user.email, list: [user.email] })).toBe('{"list":[null]}')
  expect(JSON.stringify(user.email)).toBeUndefined()
})
