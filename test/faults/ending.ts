/**
 * Has writes refused by way of what Mongoose calls from callbacks, and prints the codes: a program of its own, for what is
 * thrown there would end the process. `TEST_MONGO_URI` names the server, MONGOOSE another version.
 */
import { kmsEncrypted, localKms } from '../../lib'
import { mongooseName } from '../mongooseName'

const mongoose = require(mongooseName) as typeof import('mongoose')

async function main(): Promise<void> {
  const connection = mongoose.createConnection(process.env.TEST_MONGO_URI as string, {
    dbName: process.argv[2] as string,
  })
  const schema = new mongoose.Schema<any>({ name: String }, { autoIndex: false, autoCreate: false })
  schema.plugin(kmsEncrypted as any, { provider: localKms(), fields: { email: String, address: { city: String } } })
  const User = connection.model<any>('Ending', schema)
  const bad = () => ({ name: 'Ada', 'address.city': 'Rome' })
  const calls: (() => Promise<unknown>)[] = [
    () => User.insertMany([bad()], { lean: true }),
    () => User.insertMany([{ name: 'Eve' }, bad()], { lean: true, ordered: false }),
    () => User.aggregate([{ $match: { email: 'x' } }]).exec(),
    () =>
      User.aggregate([{ $match: { email: 'x' } }])
        .cursor()
        .next(),
    () => User.find({ email: 'x' }).cursor().next(),
    () => User.updateMany({}, { $push: { email: 'x' } }).exec(),
  ]
  const codes = []
  for (const call of calls)
    codes.push(
      await call().then(
        () => 'none',
        (error: { code?: string }) => error.code,
      ),
    )
  await connection.close()
  console.log(JSON.stringify(codes))
}

void main()
