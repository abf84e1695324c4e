import { Schema } from 'mongoose'
import { modelOf, secret, useDatabase } from './support'

const { connection, raw } = useDatabase()

test('a saved record holds ciphertext and one wrapped key, and reads back on access', async () => {
  const User = modelOf(connection, new Schema({ name: String }), { fields: { email: String, dob: Date } })
  const email = secret('ada@example.org')
  const created = await User.create({ name: 'Ada', email, dob: new Date('1815-12-10') })
  expect(created.email).toBe(email)

  const [stored] = await raw(User.collection.name)
  expect(Object.keys(stored!).sort()).toEqual(['__v', '_id', 'dob', 'email', 'encrypted_kms_key', 'name'])
  expect(stored!.email.sub_type).toBe(0x80)
  expect(stored!.encrypted_kms_key).toHaveLength(1)

  const user = await User.findOne({ name: 'Ada' })
  expect(await user.email).toBe(email)
  expect(user.dob).toEqual(new Date('1815-12-10'))
  expect(await user.decrypt()).toEqual({ email, dob: new Date('1815-12-10') })
})
