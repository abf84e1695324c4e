import mongoose, { Schema } from 'mongoose'
import { kmsEncrypted, localKms, withAudit } from '../lib'
import { modelOf, rawCollection, useDatabase } from './support'
const { connection } = useDatabase()
const notes = (options: object) => new Schema<any>({ at: Number }).plugin(kmsEncrypted as any, { ...options, fields: { text: String } })
const two = () => {
  const local = localKms()
  const other = { ...local, keyId: 'other', }
  return local
}
const local = localKms()
const moved = { keyId: 'moved', generateDataKey: (r: any) => local.generateDataKey({ ...r, keyId: local.keyId }), unwrapDataKey: (r: any) => local.unwrapDataKey({ ...r, keyId: local.keyId }),
  rewrapDataKey: async (r: any) => ({ ...(await local.rewrapDataKey!({ ...r, keyId: local.keyId, to: { ...r.to, keyId: local.keyId } })), keyId: 'moved' }) } as any
test.each(['rotateKmsKey', 'rewrapKmsKey', 'eraseKmsKey'])('odd _id: %s', async (job) => {
  const A = modelOf(connection, new Schema({ _id: Schema.Types.Mixed, n: Number }), { provider: local, fields: { ssn: String } }) as any
  const id = new mongoose.Types.ObjectId()
  await A.create({ _id: String(id), ssn: 'one' })
  const raw = rawCollection(A)
  // another model on the same collection with _id ObjectId
  const B = connection.model<any>(A.modelName + 'B', new Schema({ n: Number }).plugin(kmsEncrypted as any, { provider: moved, allowKeyIds: [local.keyId], previousVersions: [], fields: { ssn: String } } as any), A.collection.name) as any
  const r = await B[job]({ filter: { _id: { $exists: true } } })
  console.log(job, r.updated, r.unchanged, r.failures.map((f: any) => f.error.code + f.error.message), Object.keys((await raw.findOne({}))!.encrypted_kms_key[0]))
})
test('ALS transaction', async () => {
  const U = modelOf(connection, new Schema({ n: Number, notes: [notes({ provider: localKms() })] }), { fields: { ssn: String } }) as any
  await U.create([{ n: 1, ssn: 'one', notes: [{ text: 'x' }] }, { n: 2, ssn: 'two' }])
  mongoose.set('transactionAsyncLocalStorage', true)
  try {
    for (const job of ['rotateKmsKey', 'rewrapKmsKey', 'eraseKmsKey']) {
      const raw0 = JSON.stringify(await rawCollection(U).find().toArray())
      await connection.transaction(async () => {
        const r = await U[job]({ filter: { n: { $gt: 0 } } })
        console.log(job, r.updated, r.unchanged, r.failures.map((f: any) => f.error.code + f.error.message))
        throw new Error('x')
      }).catch((e: any) => console.log(String(e)))
      console.log('same', raw0 === JSON.stringify(await rawCollection(U).find().toArray()))
    }
  } finally { mongoose.set('transactionAsyncLocalStorage', false) }
})
