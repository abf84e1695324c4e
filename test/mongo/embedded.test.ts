import mongoose from 'mongoose'

describe('smoke', () => {
  it('works', async () => {
    const uri = process.env.TEST_MONGO_URI!
    const connection = await mongoose.createConnection(uri, { dbName: 'smoke' }).asPromise()
    const User = connection.model('User', new mongoose.Schema({ name: { type: String, unique: true }, n: Number }))
    await User.init()
    const user = await User.create({ name: 'x', n: 1 })
    user.n = 2
    await user.save()
    expect((await User.findOne({ name: 'x' }))!.n).toBe(2)
    expect(await User.countDocuments()).toBe(1)
    await expect(User.create({ name: 'x' })).rejects.toThrow(
      'E11000 duplicate key error collection: smoke.users index: name_1 dup key: { name: "x" }',
    )
    await User.deleteMany({})
    await connection.transaction(async (session) => {
      await User.create([{ name: 'y' }], { session })
      expect(await User.countDocuments()).toBe(0)
    })
    expect(await User.countDocuments()).toBe(1)
    await connection.dropDatabase()
    await connection.close()
  })
})
